"""The smallest proved change as a diff against the user's file, where exactly one place of it is meant."""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from nonsingular.diagnosis.optimisers import ELEMENTWISE
from nonsingular.diagnosis.programs import CLIP
from nonsingular.diagnosis.prove import Trial
from nonsingular.diagnosis.treatments import PRESCRIPTIONS, looks_at_inputs

MODULES = {
    "softmax": "Softmax", "log_softmax": "LogSoftmax", "sigmoid": "Sigmoid", "logsigmoid": "LogSigmoid",
    "tanh": "Tanh", "relu": "ReLU", "hardtanh": "Hardtanh", "softplus": "Softplus", "elu": "ELU",
}  # fmt: skip
"""Functions -> modules that call them."""
Edit = tuple[int, int, str]
"""From here to there in the source, and what stands there then."""
IMPORT = "import nonsingular as ns"


def called(treatment: str) -> str:
    """What a treatment is called in Python; those of the program have no function and keep their names."""
    return f"ns.treatments.{treatment}" if treatment in PRESCRIPTIONS else treatment


def diff(path: Path, trial: Trial, factory: str = "") -> str:
    """The change that a treatment means in the user's own file, as a unified diff.

    Args:
        path: the file that builds the network.
        trial: what was proved.
        factory: name of the function in it that returns the network, alone or before its loss; "" where none is known.

    Returns:
        "" where the change is none of the file, or could stand in more than one place.
    """
    if not path.is_file():
        return ""
    source = changed = path.read_text(encoding="utf-8")
    for name in trial.treatment.split(" + "):
        edited = _edited(changed, replace(trial, treatment=name), factory)
        if edited is None:
            return ""
        changed = edited
    before, after = (text.splitlines(keepends=True) for text in (source, changed))
    return "".join(difflib.unified_diff(before, after, path.name, path.name, n=2))


def _edited(source: str, trial: Trial, factory: str) -> str | None:
    network = trial.treatment in PRESCRIPTIONS
    find = (lambda tree, source: _returned(tree, source, factory, trial.treatment)) if network else _finder(trial)
    if find is None:
        return None
    try:
        found = find(ast.parse(source), source)
    except (SyntaxError, ValueError):
        return None
    if len(found) != 1:
        return None
    [(start, end, new)] = found
    changed = source[:start] + new + source[end:]
    return _importing(changed) if network else changed


def _returned(tree: ast.AST, source: str, factory: str, treatment: str) -> list[Edit]:
    """What the factory returns, or the first of what it returns, treated; nothing where that may be no network."""
    assert isinstance(tree, ast.Module)
    functions = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
    if factory not in functions or (looks_at_inputs(treatment) and "batches" not in functions):
        return []
    inputs = ", next(iter(batches()))[0]" if looks_at_inputs(treatment) else ""
    built = functions[factory]
    edits = []
    for value in [n.value for n in ast.walk(built) if isinstance(n, ast.Return)]:
        several = value.elts if isinstance(value, ast.Tuple) else []
        network = several[0] if several else value
        if network is not None and (several or _is_network(network, built)):
            start, end = _span(network, source)
            edits.append((start, end, f"{called(treatment)}({source[start:end]}{inputs}).model"))
        else:
            edits += [(0, 0, ""), (0, 0, "")]  # more than one place
    return edits


def _is_network(value: ast.expr, function: ast.FunctionDef) -> bool:
    """Whether this is what a class is called to make, or a name for it; other calls may return a pair."""
    if isinstance(value, ast.Attribute):
        return value.attr == "model" and isinstance(value.value, ast.Call)  # of a treatment
    if isinstance(value, ast.Name):
        given = [
            n.value for n in ast.walk(function)
            if isinstance(n, ast.Assign) and any(isinstance(t, ast.Name) and t.id == value.id for t in n.targets)
        ]  # fmt: skip
        return len(given) == 1 and not isinstance(given[0], ast.Name) and _is_network(given[0], function)
    return isinstance(value, ast.Call) and _last(value.func)[:1].isupper()


def _importing(source: str) -> str | None:
    """With ``ns`` imported; None where it is the name of something else."""
    tree = ast.parse(source)
    bound = {a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom) for a in n.names}
    names = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    if IMPORT in source.splitlines():
        return source
    if "ns" in bound | names:
        return None
    first = [n for n in tree.body if isinstance(n, ast.Import | ast.ImportFrom)]
    documented = [n for n in tree.body[:1] if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant)]
    after = (first or documented)[-1:]
    line = after[0].end_lineno or 0 if after else 0
    lines = source.splitlines(keepends=True)
    return "".join([*lines[:line], f"{IMPORT}\n", *lines[line:]])


def _finder(trial: Trial) -> Callable[[ast.AST, str], list[Edit]] | None:
    name = trial.treatment
    if name.startswith("learning_rate_"):
        factor = float(name.removeprefix("learning_rate_").removesuffix("x"))
        return lambda tree, source: _rates(tree, source, factor)
    if name == "remove_last_activation" and (last := re.search(r"the last (\w+) removed", trial.what)):
        activation = last[1]
        return lambda tree, source: _activations(tree, source, activation)
    if name == "another_loss" and (swap := re.search(r"(\w+) instead of (\w+)", trial.what)):
        new, old = swap[1], swap[2]
        return lambda tree, source: _losses(tree, source, old, new)
    if name == "no_weight_decay":
        return lambda tree, source: [
            (*_span(k.value, source), "0.0")
            for k in _keywords(tree, "weight_decay")
            if isinstance(k.value, ast.Constant)
        ]
    if name == "clip_gradients":
        return _clips
    if name == "adam":
        return _optimisers
    return None


def _rates(tree: ast.AST, source: str, factor: float) -> list[Edit]:
    return [
        (*_span(k.value, source), f"{k.value.value * factor:.6g}")
        for k in _keywords(tree, "lr")
        if isinstance(k.value, ast.Constant) and isinstance(k.value.value, int | float)
    ]


def _keywords(tree: ast.AST, name: str) -> list[ast.keyword]:
    return [k for node in ast.walk(tree) if isinstance(node, ast.Call) for k in node.keywords if k.arg == name]


def _activations(tree: ast.AST, source: str, name: str) -> list[Edit]:
    """The last module of a Sequential, or the call that a forward returns."""
    found: list[Edit] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _last(node.func) == "Sequential" and len(node.args) > 1:
            final, before = node.args[-1], node.args[-2]
            if isinstance(final, ast.Call) and _last(final.func) == MODULES.get(name):
                found.append((_span(before, source)[1], _span(final, source)[1], ""))
        if isinstance(node, ast.FunctionDef) and node.name == "forward":
            returned = [n.value for n in ast.walk(node) if isinstance(n, ast.Return)]
            found += [e for value in returned for e in _called(value, source, name)]
    return found


def _called(value: ast.expr | None, source: str, name: str) -> list[Edit]:
    if not (isinstance(value, ast.Call) and _last(value.func) == name):
        return []
    start, end = _span(value, source)
    if value.args and isinstance(value.func, ast.Attribute) and _last(value.func.value) in ("F", "torch", "functional"):
        kept = value.args[0]
    elif isinstance(value.func, ast.Attribute):  # x.softmax(-1)
        kept = value.func.value
    else:
        return []
    inner = _span(kept, source)
    return [(start, end, source[inner[0] : inner[1]])]


def _losses(tree: ast.AST, source: str, old: str, new: str) -> list[Edit]:
    return [
        (_span(node.func, source)[1] - len(old), _span(node, source)[1], f"{new}()")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and _last(node.func) == old
    ]


def _optimisers(tree: ast.AST, source: str) -> list[Edit]:
    """The optimiser that is made, as Adam over the same parameters."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _last(node.func) in ELEMENTWISE and len(node.args) == 1:
            name = _span(node.func, source)[1] - len(_last(node.func))
            held = slice(*_span(node.args[0], source))
            found.append((name, _span(node, source)[1], f"Adam({source[held]}, lr=1e-3)"))
    return found


def _clips(tree: ast.AST, source: str) -> list[Edit]:
    """A line before ``optimiser.step()`` of a step that the file has."""
    found = []
    for function in (n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)):
        names = [a.arg for a in function.args.args]
        steps = [
            n for n in ast.walk(function)
            if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call) and _last(n.value.func) == "step"
        ]  # fmt: skip
        if "model" in names and len(steps) == 1:
            start = _span(steps[0], source)[0]
            indent = " " * steps[0].col_offset
            line = f"torch.nn.utils.clip_grad_norm_(model.parameters(), {CLIP:g})\n{indent}"
            found.append((start, start, line))
    return found


def _last(node: ast.AST) -> str:
    """The last name of ``a.b.c``."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _span(node: ast.expr | ast.stmt, source: str) -> tuple[int, int]:
    """Where a node stands in the source, in characters."""
    lines = source.splitlines(keepends=True)

    def place(line: int, column: int) -> int:
        return sum(map(len, lines[: line - 1])) + len(lines[line - 1].encode()[:column].decode())

    assert node.end_lineno is not None
    assert node.end_col_offset is not None
    return place(node.lineno, node.col_offset), place(node.end_lineno, node.end_col_offset)
