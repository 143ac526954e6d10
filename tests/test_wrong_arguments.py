"""Whatever stands in the place of an argument: it works, or one clear line says what is wrong with it.

Each public function is called as its docstring calls it, with one argument exchanged.
"""

import contextlib
import doctest
import importlib
import inspect
import io
import pkgutil
import warnings

import numpy as np
import pytest
import torch
from torch import nn

import nonsingular as ns
from nonsingular import checks
from nonsingular.errors import InputError

PARTS = ("curvature", "data", "diagnosis", "landscape", "measures", "networks", "objective", "theory", "training")
WRONG = ["a", -1, 0.5, None, [], nn.Linear, torch.ones(2, 3, 5), np.ones((2, 3, 5))]
LONG = 300  # characters of a clear line
SLOW = {"prove", "diagnose", "runs_that_fit", "Jacobian", "explore", "save", "convexity"}  # takes a second and more
ELSEWHERE = {"solve": "preconditioner"}  # a matrix of the caller's own, of whatever kind


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Paths are among the wrong arguments: what is written there is not left in the checkout."""
    monkeypatch.chdir(tmp_path)


def public():
    """Functions and classes that tell wrong arguments, with the function that does."""
    names = [i.name for i in pkgutil.walk_packages(ns.__path__, "nonsingular.") if i.name.split(".")[1] in PARTS]
    for module in map(importlib.import_module, (n for n in names if ".bench" not in n)):
        for thing in list(vars(module).values()):
            own = vars(thing).get("__init__") if isinstance(thing, type) else thing
            if (
                getattr(thing, "__module__", "") == module.__name__
                and _is_checked(own)
                and not inspect.isabstract(thing)
            ):
                yield pytest.param(
                    module, thing, own, id=f"{module.__name__.removeprefix('nonsingular.')}.{thing.__name__}"
                )


def _is_checked(function):
    return getattr(getattr(function, "__code__", None), "co_name", "") == "checking"


def called(module, thing, function):
    """The arguments of the first call in the docstring, by name."""
    calls = []
    inner = function.__wrapped__

    def recorded(*arguments, **named):
        calls.append((arguments, named))
        return inner(*arguments, **named)

    cell = next(c for c in function.__closure__ if c.cell_contents is inner)
    tests = [t for t in doctest.DocTestFinder(recurse=False).find(thing, thing.__name__, module) if t.examples]
    cell.cell_contents = recorded
    try:
        for test in tests:
            doctest.DocTestRunner(verbose=False).run(test, out=lambda text: None, clear_globs=False)
    finally:
        cell.cell_contents = inner
    if not calls:
        pytest.skip("no example")
    arguments, named = calls[0]
    given = inspect.signature(inspect.unwrap(inner)).bind(*arguments, **named)
    given.apply_defaults()
    return given


def refusal(act):
    """What is said of bad input; "" where it works."""
    try:
        act()
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("module", "thing", "function"), list(public()))
def test_wrong_arguments_are_told(module, thing, function):
    if thing.__name__ in SLOW:
        pytest.skip("takes seconds")
    given = called(module, thing, function)
    for name, parameter in given.signature.parameters.items():
        mine = "Callable" in str(parameter.annotation) or ELSEWHERE.get(thing.__name__) == name  # fails by itself
        if name == "self" or mine or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        for wrong in WRONG:
            changed = inspect.BoundArguments(given.signature, given.arguments | {name: wrong})
            arguments = changed.args[1:] if isinstance(thing, type) else changed.args
            with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(OSError):
                said = refusal(lambda: thing(*arguments, **changed.kwargs))  # noqa: B023
            assert "\n" not in said
            assert len(said) < LONG, said


class Unsized:
    pass


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: ns.landscape.gaussian(nn.Linear(3, 2), "a"), "seed must be a whole number, got 'a'"),
        (lambda: ns.landscape.gaussian(nn.Linear, 0), "model must be a torch.nn.Module, got type"),
        (lambda: ns.measures.mean_overlap([1.0]), "weights must be a Tensor [*run unit input] of floats, got a list"),
        (lambda: ns.measures.incoming("a"), "weight must be a Tensor, got 'a'"),
        (lambda: ns.measures.incoming(torch.ones(3)), "weight must have 2 axes or more, got shape [3]"),
        (lambda: ns.spectrum("a"), "H must be a SymmetricOperator or a Tensor, got 'a'"),
        (lambda: ns.theory.two_units.separatrix("a"), "z must be numbers, got 'a'"),
        (lambda: ns.Trainer([], [], ns.data.prepare(ns.data.DataSpec()), ns.TrainingSpec()), "networks is empty: give"),
        (
            lambda: ns.Population([nn.Linear(3, 2)], "gpu"),
            "device must be a torch.device or its name, such as 'cpu' or",
        ),
        (lambda: ns.networks.orthogonal(-1), "n must be a whole number of at least 1, got -1"),
        (lambda: checks.at_least(1, n=int), "n must be a whole number of at least 1, got the class int"),
        (
            lambda: checks.at_least(1, n=torch.tensor(2.5)),
            "n must be a whole number of at least 1, got a Tensor of shape []",
        ),
        (lambda: ns.landscape.principal(3, nn.Linear(3, 2)), "states must be a list, got 3"),
        (lambda: ns.Monitor(nn.Linear(3, 2), every=Unsized()), "every must be a whole number, got an Unsized"),
    ],
)
def test_one_clear_line(act, message):
    with pytest.raises(InputError) as caught:
        act()
    assert str(caught.value).startswith(message)


def test_what_works_is_not_refused():
    """Numbers of NumPy and PyTorch, and whatever is called like what is asked for."""

    @checks.checked
    def both(count: int, share: float, name: str = "", rows: "list[int] | None" = None) -> tuple:
        return count, share, name, rows

    assert both(np.int64(3), torch.tensor(0.5), rows="any") == (3, torch.tensor(0.5), "", "any")
    assert both(True, 1) == (True, 1, "", None)
    with pytest.raises(TypeError, match="missing 1 required"):
        both(1)

    @checks.checked
    def several(*names: str, layer: int | None = None) -> tuple:
        return names, layer

    assert several("a", "b", layer=2) == (("a", "b"), 2)
    with pytest.raises(InputError, match="layer must be a whole number or None, got 'a'"):
        several("a", layer="a")


def test_errors_that_no_argument_explains_stay_as_they_are():
    @checks.checked
    def fails(count: int) -> None:
        raise KeyError(count)

    with warnings.catch_warnings(), pytest.raises(KeyError):
        fails(3)


def test_errors_of_the_users_own_code_stay_as_they_are():
    """Whatever the arguments are: a tuple does where a list is asked for, and is not what went wrong."""

    @checks.checked
    def first(rows: list, of: object) -> float:
        return of(rows)

    def misread(rows):
        raise KeyError("label")

    with pytest.raises(KeyError, match="label"):
        first((1, 2), misread)
