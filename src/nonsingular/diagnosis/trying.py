"""What is tried on copies: the learnability arms always, then the treatments that may apply."""

from __future__ import annotations

from collections.abc import Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from nonsingular import progress
from nonsingular.diagnosis.course import STEPS, Arm, Curve, Protocol, arm
from nonsingular.diagnosis.findings import Finding
from nonsingular.diagnosis.learnability import Learnability, four, learnability
from nonsingular.diagnosis.optimisers import Optimiser, Steps, like
from nonsingular.diagnosis.programs import TREATMENTS, together
from nonsingular.diagnosis.prove import TRAINING, Build, Proof, ahead, copies, known, proved, ranked
from nonsingular.errors import InputError
from nonsingular.objective.failures import FAILURES

MOST_ADVISED = 6
"""Treatments of findings that are tried; those of the program come besides where the network does not learn."""

BY_VERDICT = {
    "diverges": (
        "learning_rate_0.1x", "learning_rate_0.01x", "clip_gradients", "rescale_input", "scale_targets", "scale_both",
        "no_weight_decay", "remove_last_activation",
    ),
    "stuck": (
        "match_shapes", "remove_last_activation", "another_loss", "scale_targets", "rescale_input", "scale_both",
        "learning_rate_10x", "learning_rate_100x",
        "learning_rate_0.1x", "adam", "no_weight_decay",
    ),
    "depends on the start": (
        "remove_last_activation", "learning_rate_0.1x", "reinitialise", "insert_normalisation", "rescale_input",
    ),
    "slow": (
        "learning_rate_10x", "learning_rate_100x", "learning_rate_0.1x", "adam", "scale_targets", "rescale_input",
        "scale_both", "match_shapes", "remove_last_activation", "another_loss", "no_weight_decay",
    ),
}  # fmt: skip
"""Treatments of the program by what the learnability arms say."""


@dataclass(frozen=True)
class Tried:
    """What copies showed.

    Attributes:
        learns: the learnability arms; None where no copies could be trained.
        proof: of the treatments; None where none was tried.
        note: why no copies could be trained, or "".
    """

    learns: Learnability | None
    proof: Proof | None
    note: str = ""


def own_steps(optimiser: Optimiser | None, model: nn.Module) -> Steps | None:
    """The user's own optimiser, where one is given.

    Raises:
        InputError: as `like`.

    >>> import torch
    >>> import nonsingular as ns
    >>> model = torch.nn.Linear(4, 1)
    >>> optimiser = torch.optim.SGD(model.parameters(), 0.1)
    >>> ns.diagnosis.own_steps(optimiser, model) is None, ns.diagnosis.own_steps(None, model) is None
    (False, True)
    """
    return None if optimiser is None else like(optimiser, model)


def tried(
    build: nn.Module | Build,
    loss_fn: Any,
    batches: Any,
    advised: Sequence[str],
    protocol: Protocol,
    steps: Steps | None,
    kept: MutableMapping[str, Curve] | None,
    on_run: Callable[[str], None],
    suspected: bool,
    second: Sequence[str] = (),
) -> Tried:
    """Train the learnability arms, and then what is advised and what their pattern suggests.

    Args:
        build: seed -> network, or a network.
        loss_fn: as ``Objective`` takes it.
        batches: likewise.
        advised: treatments that findings name, best first.
        protocol: how to train.
        steps: the user's own optimiser, if any.
        kept: curves of arms trained before.
        on_run: called with the name of each arm that has been trained.
        suspected: whether something wrong was found without training.
        second: treatments of the second cause, where there are two of their own.
    """
    try:
        untreated = arm(copies(build, protocol), loss_fn, batches, protocol, steps)
    except InputError as reason:
        return Tried(None, None, f"no copies were trained: {reason}")
    kept = {} if kept is None else kept
    before = set(kept)
    steps_of_arms = protocol.steps * sum(
        len(a.networks) for n, (a, _) in four(untreated, protocol).items() if n not in kept
    )

    def in_all(treatments: Iterable[str]) -> int:
        return steps_of_arms + ahead(treatments, before, protocol)

    with progress.stretch(TRAINING, in_all(advised[:MOST_ADVISED]), STEPS):
        progress.expect(STEPS, in_all(advised[:MOST_ADVISED]), more=True)
        learns, scale = learnability(untreated, protocol, kept, on_run, suspected)
        names = _chosen(untreated, advised, learns)
        progress.expect(STEPS, in_all(names), more=bool(advised))  # pairs of them may come
        if not names:
            return Tried(learns, None)
        changes = known(names)
        proof = proved(untreated, changes, protocol, kept, on_run, scale)
        pairs = {
            " + ".join(pair): together([changes[name] for name in pair]) for pair in _pairs(advised, proof, second)
        }
        progress.expect(STEPS, in_all([*names, *pairs]))
        paired = proved(untreated, pairs, protocol, kept, on_run, scale)
        return Tried(learns, replace(proof, trials=tuple(ranked([*proof.trials, *paired.trials]))))


def _pairs(advised: Sequence[str], proof: Proof, second: Sequence[str] = ()) -> list[tuple[str, str]]:
    """What the first finding calls for with each of the two that helped most, where the former alone does not help.

    A mistake of the program may be hidden behind a step that is too small. Where nothing helps alone, there may be two
    causes, and it is tried with what the ``second`` calls for.
    """
    first = next((t for t in proof.trials if t.treatment in advised[:1]), None)
    if first is None or first.verdict in ("helps", "hurts"):
        return []
    helped = [t.treatment for t in proof.trials if t.verdict == "helps"]
    harmless = {t.treatment for t in proof.trials if t.verdict not in ("hurts", "diverges", "does not apply")}
    others = helped or [name for name in second if name in harmless and name != first.treatment]
    return [(first.treatment, name) for name in others[:2]]


def _chosen(untreated: Arm, advised: Sequence[str], learns: Learnability) -> list[str]:
    """Those that apply: what findings name first, then what the pattern suggests."""
    names = dict.fromkeys([*advised[:MOST_ADVISED], *BY_VERDICT.get(learns.verdict, ())])
    return [name for name in names if _applies(name, untreated)]


def _applies(name: str, untreated: Arm) -> bool:
    try:
        TREATMENTS[name](replace(untreated, networks=untreated.networks[:1]))
    except (InputError, *FAILURES):
        return False
    return True


def advised(finding: Finding, proof: Proof | None) -> Finding:
    """The finding with the advice that helped, what helped most first; as it was where nothing was tried."""
    if proof is None:
        return finding
    helped = [t.treatment for t in proof.trials if t.verdict == "helps"]
    return replace(finding, treatments=tuple(t for t in helped if t in finding.treatments))
