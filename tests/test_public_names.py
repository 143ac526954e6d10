"""The names at the top: the same to Python and to a type checker, and free until they are used."""

import ast
import functools
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import nonsingular as ns

ROOT = Path(__file__).parents[1]


def declared():
    """name -> where a type checker takes it from."""
    tree = ast.parse(Path(ns.__file__).read_text())
    block = next(node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
    return {alias.asname: (node.module, alias.name) for node in block.body for alias in node.names}


def test_a_type_checker_sees_the_same_names():
    assert set(declared()) == set(ns.__all__)
    for name, (module, there) in declared().items():
        __import__(f"{module}.{there}" if name in ns._MODULES else module)
        assert getattr(ns, name) is getattr(sys.modules[module], there), name


def test_every_flat_name_is_held_against_its_type():
    """By mypy, in `make lint`: tests/typing/public_names.py."""
    checked = (ROOT / "tests" / "typing" / "public_names.py").read_text()
    assert [name for name in ns._NAMES if not re.search(rf"\bns\.{name}\b", checked)] == []


MODEL, BATCH = torch.nn.Linear(3, 2), (torch.ones(4, 3), torch.arange(4) % 2)
MISSPELT = {  # public name -> a keyword that it lacks and the nearest one that it has: its own, a base's, an option's
    "Hessian": ("param", "params"),
    "Objective": ("sed", "seed"),
    "Monitor": ("evry", "every"),
    "diagnose": ("step", "steps"),
    "objective.brought": ("mod", "mode"),
    "rehearse": ("second", "seconds"),
    "reproduce": ("network", "networks"),
    "spectrum": ("metod", "method"),
    "surface": ("weight", "weights"),
    "curvature.GaussNewton": ("microbatches", "microbatch"),
    "curvature.EmpiricalFisher": ("batch", "batches"),
    "curvature.MonteCarloFisher": ("draw", "draws"),
    "curvature.Jacobian": ("output", "outputs"),
    "curvature.PopulationHessian": ("buffer", "buffers"),
    "curvature.eigenpairs": ("tolerances", "tolerance"),
    "landscape.Losses": ("metric", "metrics"),
    "landscape.line": ("mod", "mode"),
    "landscape.trajectory": ("gird", "grid"),
    "landscape.explore": ("metric", "metrics"),
    "landscape.convexity": ("step", "steps"),
    "landscape.eigenvectors": ("step", "steps"),
}


def hands_on(thing):
    """Whether Python would tell a misspelt keyword by another name: a base class's, or that of what is handed them."""
    if inspect.isclass(thing) and "__init__" not in vars(thing):
        return any("__init__" in vars(base) for base in thing.__mro__ if base.__module__.startswith("nonsingular"))
    if getattr(thing, "_is_protocol", False) or not callable(thing):
        return False
    options = [p for p in inspect.signature(thing).parameters.values() if p.kind is p.VAR_KEYWORD]
    return any("Unpack" in str(p.annotation) for p in options)


def test_misspelt_keywords_are_told_by_the_public_name():
    for name, (given, nearest) in MISSPELT.items():
        called = functools.reduce(getattr, name.split("."), ns)
        message = rf"^{called.__name__}\(\) takes no keyword '{given}'; did you mean '{nearest}'\?$"
        with pytest.raises(TypeError, match=message):
            called(MODEL, torch.nn.functional.cross_entropy, [BATCH], **{given: 1})


def test_no_public_name_hands_misspelt_keywords_on():
    modules = {name: getattr(ns, name) for name in ns._MODULES}
    public = {f"{m}.{n}": getattr(module, n) for m, module in modules.items() for n in getattr(module, "__all__", ())}
    untold = {n for n, thing in public.items() if inspect.isroutine(thing) or inspect.isclass(thing) if hands_on(thing)}
    assert untold <= {*MISSPELT, *(f"{module}.{n}" for n, module in ns._NAMES.items())}


def test_a_misspelt_name_is_told_by_the_nearest():
    with pytest.raises(AttributeError, match="no attribute 'diagnos'; did you mean 'diagnose'"):
        ns.diagnos  # noqa: B018
    with pytest.raises(AttributeError, match=r"no attribute '_private'$"):
        ns._private  # noqa: B018


def test_importing_loads_nothing_heavy():
    heavy = (
        "import sys, nonsingular; print([m for m in ('torch', 'numpy', 'xarray', 'matplotlib') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", heavy], capture_output=True, text=True).stdout.strip() == "[]"


def test_the_shell_completes_commands():
    """As bash asks for it."""
    asks = {"_NONSINGULAR_COMPLETE": "complete_bash", "COMP_WORDS": "nonsingular re", "COMP_CWORD": "1"}
    program = "import sys; sys.argv[0] = 'nonsingular'; from nonsingular.cli import main; main()"
    environment = {"PYTHONPATH": ":".join(sys.path)} | asks
    run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert run.stdout.split() == ["report", "reproduce"]


def test_version_citation_and_changelog_agree():
    for file, form in {
        "pyproject.toml": 'version = "{}"',
        "CITATION.cff": "version: {}",
        "CHANGELOG.md": "## {} (",
    }.items():
        assert form.format(ns.__version__) in (ROOT / file).read_text(), file
