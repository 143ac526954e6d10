"""The page of ``nonsingular play``: styles and scripts in one file that loads nothing."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2

from nonsingular import __version__
from nonsingular.files import make_way, plain, write_whole
from nonsingular.policy import policy
from nonsingular.theory import binary_weights, linear_dependence

THEORY = (
    "numbers",
    "student_teacher",
    "two_units",
    "linear_dependence",
    "linear_networks",
    "binary_weights",
    "signal_propagation",
)
PARTS = ("plot", "controls", "picture", "shell")
MODELS = ("two_units", "linear_dependence", "linear_networks", "skip", "binary_weights", "signal_propagation")
"""In the order in which they are shown."""

TEACHERS = range(6)
"""Seeds of the random teachers among which the page chooses."""
SHAPE = binary_weights.Shape(inputs=3, hidden=3)


def page() -> str:
    """The whole page.

    Example:
        >>> page().startswith("<!doctype html>")
        True
    """
    here = files("nonsingular.play")
    names = [f"theory/{name}.js" for name in THEORY] + [f"parts/{name}.js" for name in PARTS]
    names += [f"models/{name}.js" for name in MODELS]
    parts = [here.joinpath(name).read_text(encoding="utf-8") for name in names]
    data = json.dumps(plain(drawn())).replace("<", "\\u003c")
    script = "\n".join([*parts, f"play.data = {data};", "play.start();"])
    style = here.joinpath("parts/page.css").read_text(encoding="utf-8")
    template = jinja2.Template(
        here.joinpath("parts/page.html").read_text(encoding="utf-8"), undefined=jinja2.StrictUndefined
    )
    return template.render(script=script, style=style, policy=policy(script, style=style), version=__version__)


def write_page(path: Path) -> Path:
    """Write the page and return its path.

    Raises:
        InputError: ``path`` is a folder, or lies below a file.
    """
    make_way(path)
    write_whole(path, page())
    return path


def drawn() -> dict[str, Any]:
    """What is random in the models, drawn by the library: the teachers, and the binary networks' inputs and skips."""
    teachers = [linear_dependence.random_teacher(seed) for seed in TEACHERS]
    return {
        "dependence": [{"J": teacher.J, "W": teacher.W} for teacher in teachers],
        "binary": {name: [_binary(name, seed) for seed in TEACHERS] for name in binary_weights.NETWORKS},
    }


def _binary(network: str, seed: int) -> dict[str, Any]:
    problem = binary_weights.problem(network, SHAPE, seed)
    sizes = {"inputs": SHAPE.inputs, "hidden": SHAPE.hidden, "state": problem.state}
    return {**sizes, "x": problem.x, "skip": problem.skip, "bias": problem.bias[0]}
