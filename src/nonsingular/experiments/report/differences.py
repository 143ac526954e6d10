"""How a run differs from the same experiment at the paper's scale, and the command that makes it again.

Both follow from specs alone. A field that a kept spec lacks did not exist when it was written and is passed over.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nonsingular.data.sources import IMAGES
from nonsingular.experiments.about import About
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.overrides import Overrides, make_spec
from nonsingular.experiments.spec import Spec

KeptSpec = Mapping[str, Any]
"""A spec as ``spec.json`` holds it."""

WORDS = {
    "runs": "independent runs",
    "seed": "first seed",
    "data.name": "data set",
    "data.train": "training images, before mirroring",
    "data.test": "test images",
    "data.mirror": "mirror images added",
    "data.scaling": "input scaling",
    "data.pca": "principal components",
    "data.size": "pixels a side",
    "networks": "networks",
    "training.epochs": "epochs",
    "training.batch": "images a batch",
    "training.learning_rate": "learning rate",
    "training.optimiser": "optimiser",
    "training.momentum": "momentum",
    "training.nesterov": "Nesterov momentum",
    "training.precision": "arithmetic",
    "training.weight_decay": "weight decay",
}


def from_paper(experiment: Experiment, kept: KeptSpec) -> list[str]:
    """What the run did otherwise than the experiment at the paper's scale, a phrase each: ``epochs: 12, not 100``."""
    if "paper" not in experiment.scales:
        return []
    paper = _as_kept(make_spec(experiment, "paper", Overrides()))
    return between(kept, paper, passed=("scale", "seed"))


def between(ours: KeptSpec, theirs: KeptSpec, passed: Sequence[str] = ()) -> list[str]:
    """What two kept specs hold and hold unequal, a phrase each; without the fields ``passed``."""
    return [f"{name}: {a}, not {b}" for name, a, b in _told(ours, theirs, passed)]


def command(kept: KeptSpec, about: About, experiment: Experiment | None = None) -> tuple[str, list[str]]:
    """The command that repeats a run, and what it would do otherwise because the experiment has changed since.

    Args:
        kept: the spec.
        about: how the run was asked for; where that was not kept, what the command leaves out is told as a change.
        experiment: the run's, where it is known; a figure in a user's own file is not.

    Raises:
        InputError: the experiment no longer takes what the run was asked for.
    """
    scale, asked = str(kept["scale"]), replace(about.overrides, runs=None, seed=None)
    runs, seed = int(kept["runs"]), int(kept.get("seed", 0))  # of all that were added and merged
    changed: list[str] = []
    if experiment is None:
        asked = replace(asked, runs=runs, seed=seed or None)
    else:
        own = make_spec(experiment, scale, asked)
        asked = replace(asked, runs=_other(runs, own.runs), seed=_other(seed, own.seed))
        again = _as_kept(make_spec(experiment, scale, asked))
        changed = [f"{name}: {before}, then {now}" for name, before, now in _told(kept, again)]
    words = ["nonsingular", "reproduce", about.name or str(kept["experiment"]), "--scale", scale]
    for name, value in vars(asked).items():
        if value not in (None, ()):
            words += [f"--{name}", ",".join(value) if isinstance(value, tuple) else str(value)]
    return shlex.join(words), changed


def _other(value: int, default: int) -> int | None:
    return None if value == default else value


def share(experiment: Experiment, kept: KeptSpec) -> dict[str, float | None]:
    """The parts of the paper scale's training ``steps`` (None where nothing is trained) and ``runs`` that a run has."""
    if "paper" not in experiment.scales:
        return {"steps": None, "runs": None}
    paper = _as_kept(make_spec(experiment, "paper", Overrides()))
    ours, theirs = _steps(kept), _steps(paper)
    return {"steps": ours / theirs if ours and theirs else None, "runs": int(kept["runs"]) / int(paper["runs"])}


def _steps(kept: KeptSpec) -> int:
    """Of the training of one network; 0 where nothing is trained."""
    data, training = kept.get("data"), kept.get("training")
    if not data or not training:
        return 0
    images = IMAGES[str(data["name"])] if data.get("train") is None else int(data["train"])
    return int(training["epochs"]) * ((2 if data.get("mirror") else 1) * images // int(training["batch"]))


def _as_kept(spec: Spec) -> dict[str, Any]:
    kept: dict[str, Any] = json.loads(spec.to_json())
    return kept


Path = tuple[str, ...]
"""Where a value stands in a spec: ``("training", "epochs")``."""


def _told(ours: KeptSpec, theirs: KeptSpec, passed: Sequence[str] = ()) -> Iterator[tuple[str, str, str]]:
    """Name, our value and theirs in words, for all that both specs hold and hold unequal.

    What differs alike in several networks is told once.
    """
    a, b = dict(_flat(ours)), dict(_flat(theirs))
    alike: dict[tuple[Path, str, str], list[str]] = {}
    for path, value in a.items():
        if path not in b or b[path] == value or path[0] in passed:
            continue
        if path == ("networks",):
            yield "networks", *_only(value, b[path])
        elif path[0] == "networks":
            found = (tuple(p for p in path[2:] if p != "network"), _shown(path, value), _shown(path, b[path]))
            alike.setdefault(found, []).append(path[1])
        else:
            yield _words(path), _shown(path, value), _shown(path, b[path])
    shared = set(a.get(("networks",), ())) & set(b.get(("networks",), ()))
    for (field, value, other), names in alike.items():
        of = "every network" if len(names) == len(shared) > 1 else ", ".join(names)
        yield f"{_plain(field)} of {of}", value, other


def _only(ours: Sequence[str], theirs: Sequence[str]) -> tuple[str, str]:
    """Two lists in words; of long ones what the other lacks."""
    if len(ours) <= 3 and len(theirs) <= 3:
        return ", ".join(ours), ", ".join(theirs)
    more, less = ([x for x in a if x not in b] for a, b in ((ours, theirs), (theirs, ours)))
    return (f"{len(ours)}" + (f" (with {', '.join(more)})" if more else "")), (
        f"{len(theirs)}" + (f" (with {', '.join(less)})" if less else "")
    )


def _flat(kept: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Paths and values; of the networks the list of names, and then each under its own."""
    if path == ("networks",) and kept:
        yield path, [str(m["name"]) for m in kept]
        kept = {str(m["name"]): {k: v for k, v in m.items() if k != "name"} for m in kept}
    if isinstance(kept, Mapping):
        for key, value in kept.items():
            yield from _flat(value, (*path, str(key)))
    else:
        yield path, kept


def _words(path: Path) -> str:
    name = ".".join(path)
    if name in WORDS:
        return WORDS[name]
    if path[0] == "instruments":
        return f"epochs with {_plain(path[1:])}"
    return _plain(path[1:] if path[0] in ("settings", "training", "data") else path)


def _plain(path: Path) -> str:
    if path[-1:] == ("source",):  # of a user's own class or function
        path = (*path[:-2], f"{path[-2]}'s code" if len(path) > 1 else "code")
    return ", ".join(path).replace("_", " ")


def _shown(path: Path, value: Any) -> str:
    if path[-1:] == ("source",):
        return f"version {str(value)[:6]}"
    if value is None:
        return "all" if path and path[0] in ("data", "instruments", "settings") else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_shown((), v) for v in value) or "none"
    return f"{value:,}".replace(",", " ") if isinstance(value, int) else str(value)


def protocol(kept: KeptSpec) -> list[tuple[str, str]]:
    """The protocol of a run as label and words, for readers; ``spec.json`` has all of it."""
    data, training = kept.get("data"), kept.get("training")
    first, runs = int(kept.get("seed", 0)), int(kept["runs"])
    seeds = f"seeds {first} to {first + runs - 1}" if runs > 1 else f"seed {first}"
    if kept.get("seeds"):
        seeds = "seeds " + ", ".join(map(str, kept["seeds"]))
    told = [("Scale", str(kept["scale"])), ("Runs", f"{runs} ({seeds})")]
    if data:
        mirror = " and their mirror images" if data.get("mirror") else ""
        train, test = (_shown(("data", part), data.get(part)) for part in ("train", "test"))
        told.append(("Data", f"{data['name']}: {train} training images{mirror}, {test} test images"))
        pca = f", {data['pca']} principal components" if data.get("pca") else ""
        told.append(("Input scaling", f"{data['scaling']}{pca}"))
    if kept.get("networks"):
        told.append(("Networks", ", ".join(str(m["name"]) for m in kept["networks"])))
    if training:
        told.append(("Epochs", str(training["epochs"])))
        extra = "".join(
            f", {_plain((name,))} {_shown((), training[name])}"
            for name in ("momentum", "weight_decay", "milestones", "warm_up")
            if training.get(name)
        )
        told.append(
            (
                "Optimiser",
                f"{training['optimiser']}, learning rate {training['learning_rate']}{extra}, "
                f"batches of {training['batch']}, {training['precision']}",
            )
        )
        if training.get("augment", "none") != "none":
            told.append(("Augmentation", str(training["augment"])))
    settings = [(path, value) for path, value in _flat(kept.get("settings") or {}, ("settings",))]
    return [*told, *((_words(path).capitalize(), _shown(path, value)) for path, value in settings)]
