"""Trained copies kept in a folder, so that a diagnosis that was stopped goes on where it ended."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, MutableMapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nonsingular.checks import checked
from nonsingular.diagnosis.course import Curve, Protocol
from nonsingular.errors import InputError
from nonsingular.files import to_json, write_whole
from nonsingular.words import counted

FILE = "trials.json"


@checked
class Kept(MutableMapping[str, Curve]):
    """Curves by name, on disk as soon as they are set.

    Args:
        folder: where the file is.
        plan: what the curves depend on; curves of another plan are not used.
        resume: whether to go on; otherwise the file starts anew.

    Raises:
        InputError: the folder holds curves of another plan, or a damaged file, and is to be gone on with.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import torch
    >>> import nonsingular as ns
    >>> plan = ns.diagnosis.plan("a.py:build", torch.nn.Linear(4, 1), ns.diagnosis.Protocol(steps=100))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     kept = ns.diagnosis.Kept(Path(folder), plan, resume=False)
    ...     kept["untreated"] = ns.diagnosis.Curve((0.5,), (0.6,), (0.9,), ((2.3,), (0.5,)), (0, 100))
    ...     again = ns.diagnosis.Kept(Path(folder), plan, resume=True)
    ...     again["untreated"].loss
    (0.5,)
    """

    def __init__(self, folder: Path, plan: dict[str, Any], resume: bool) -> None:
        self._path, self._plan = folder / FILE, json.loads(json.dumps(plan))
        self._curves: dict[str, Curve] = {}
        if resume and self._path.exists():
            self._curves = self._read()
        else:
            self._path.unlink(missing_ok=True)

    def __getitem__(self, name: str) -> Curve:
        return self._curves[name]

    def __setitem__(self, name: str, curve: Curve) -> None:
        self._curves[name] = curve
        curves = {k: asdict(c) for k, c in self._curves.items()}
        write_whole(self._path, to_json({"plan": self._plan, "curves": curves}))

    def __delitem__(self, name: str) -> None:
        del self._curves[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._curves)

    def __len__(self) -> int:
        return len(self._curves)

    def _read(self) -> dict[str, Curve]:
        try:
            found = json.loads(self._path.read_text(encoding="utf-8"))
            plan = found["plan"]
            curves = {
                name: Curve(
                    _numbers(c["loss"]), _numbers(c["held_out"]), _numbers(c["accuracy"], math.nan),
                    tuple(map(_numbers, c["path"])), tuple(c["points"]),
                )
                for name, c in found["curves"].items()
            }  # fmt: skip
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"{self._path} is damaged ({error}); delete it, or leave out --resume") from error
        if plan != self._plan:
            wrong = sorted(k for k in {*plan, *self._plan} if plan.get(k) != self._plan.get(k))
            raise InputError(
                f"{self._path} is of a diagnosis with other {', '.join(wrong)}; "
                "name another --out, or leave out --resume"
            )
        return curves


def _numbers(found: Iterable[float | None], missing: float = math.inf) -> tuple[float, ...]:
    """As they were before JSON: the loss of a run that diverged is infinite."""
    return tuple(missing if x is None else float(x) for x in found)


@checked
def earlier(folder: Path) -> str | None:
    """What a folder holds of an earlier proof, in words; None where it holds none.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import nonsingular as ns
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ns.diagnosis.earlier(Path(folder)) is None
    True
    """
    try:
        if (folder / FILE).exists():
            found = json.loads((folder / FILE).read_text(encoding="utf-8"))
            plan, copies = found["plan"], len(found["curves"])
            steps, kinds = counted(plan["protocol"]["steps"], "step"), counted(copies, "kind")
            return f"the proof of {plan['target']} ({steps}, {kinds} of copies trained)"
        proof = json.loads((folder / "diagnosis.json").read_text(encoding="utf-8"))["proof"]
        return f"a proof of {counted(proof['steps'], 'step')}"
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        return "a proof that is damaged" if (folder / FILE).exists() else None


@checked
def discard(folder: Path) -> None:
    """Throw the copies that an earlier proof trained away.

    >>> import tempfile
    >>> from pathlib import Path
    >>> import nonsingular as ns
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     ns.diagnosis.discard(Path(folder))  # nothing was there
    ...     ns.diagnosis.earlier(Path(folder)) is None
    True
    """
    (folder / FILE).unlink(missing_ok=True)


@checked
def plan(target: str, model: nn.Module, protocol: Protocol, **settings: Any) -> dict[str, Any]:
    """What the trained copies depend on: the network's numbers, the protocol and what else is given.

    >>> import torch
    >>> import nonsingular as ns
    >>> protocol = ns.diagnosis.Protocol(steps=100)
    >>> one, other = (ns.diagnosis.plan("a.py:build", torch.nn.Linear(4, 1), protocol) for _ in range(2))
    >>> one == other  # networks with other weights
    False
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(name.encode())
        digest.update(repr((tuple(tensor.shape), tensor.dtype)).encode())
        wide = torch.complex128 if tensor.is_complex() else torch.float64
        digest.update(tensor.detach().cpu().to(wide).contiguous().numpy().tobytes())
    return {"target": target, "network": digest.hexdigest(), "protocol": asdict(protocol), **settings}
