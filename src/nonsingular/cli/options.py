"""The options that several commands share, and what their words stand for."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nonsingular.cli.terminal import complain
from nonsingular.errors import InputError

if TYPE_CHECKING:
    import torch

    from nonsingular.training import TrainingSpec

AIM = 120.0
"""Seconds that what a command suggests takes, where what was asked for takes longer."""

# --- every command

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on where a stopped run ended.")]
Replace = Annotated[bool, typer.Option("--replace", help="Throw an earlier result in OUT away.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        envvar="NONSINGULAR_DATA",
        help="Folder of Parquet files, one folder a data set.",
        show_default="the Hugging Face hub",
    ),
]

# --- a user's own network

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="package.module:factory or file.py:factory; its code is run. It returns a model, or (model, loss_fn); the "
        "file may also have batches(), and a loss_fn, loss or criterion.",
    ),
]
Checkpoint = Annotated[
    Path | None,
    typer.Option("--checkpoint", help="Weights: safetensors, or a file of torch.save.", show_default="the factory's"),
]
Data = Annotated[str | None, typer.Option("--data", help="Data set.", show_default="digits")]
Batches = Annotated[
    Path | None,
    typer.Option(
        "--batches",
        help="File of torch.save: a list of (inputs, targets).",
        show_default="the file's batches()",
    ),
]
SCALING = "unit"  # of every command and of ``data.DataSpec``
Scaling = Annotated[
    str | None,
    typer.Option(
        "--scaling",
        help="Inputs of a data set: raw, centred, standardised, channels or unit; *FACTOR may follow.",
        show_default=SCALING,
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="What batches weigh by: samples, tokens (what is not ignored) or equal.",
        show_default="what is proved",
    ),
]
RandomSeed = Annotated[
    int | None,
    typer.Option(
        "--random-seed",
        help="Of random numbers that the loss draws, the same in every evaluation.",
        show_default="none",
    ),
]
Mode = Annotated[
    str,
    typer.Option(
        "--mode",
        help="eval (running statistics, no dropout) or train (the batch's statistics, dropout by --random-seed).",
    ),
]
SAMPLES = 1000
Samples = Annotated[
    int | None, typer.Option("--samples", help="Training images of the data set to use.", show_default=str(SAMPLES))
]

# --- experiments of the papers

Folders = Annotated[
    list[Path],
    typer.Argument(metavar="DIR", help="Folders that reproduce has written."),
]
Figures = Annotated[
    list[str] | None,
    typer.Option(
        "--figure",
        help="FILE.py:NAME of an experiment of your own among them; its code is run.",
        show_default="the papers' alone",
    ),
]
Scale = Annotated[str, typer.Option("--scale", help="smoke (seconds), laptop (minutes), overnight (hours) or paper.")]
OtherData = Annotated[str | None, typer.Option("--data", help="Data set.", show_default="the scale's")]
OtherScaling = Annotated[
    str | None,
    typer.Option(
        "--scaling",
        help="Inputs: raw, centred, standardised, channels or unit; *FACTOR may follow.",
        show_default="the experiment's",
    ),
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", help="Passes through the training set.", show_default="the scale's")
]
Precision = Annotated[
    str,
    typer.Option(
        "--precision",
        help="Of training: auto (the experiment's own, whose digits are the results), float32, or bfloat16 (mixed), "
        "which is faster where convolutions are wide.",
    ),
]


_IN_PYTHON = {
    "give seed=": "give --random-seed N",
    "take statistics='recomputed'": "--statistics recomputed takes them from the data",
    "recompute them with mode='eval'": "recompute them with --mode eval",
    "give {name: function of (output, target)}": "give FILE.py:function of (output, target)",
    "measure it in evaluation mode (mode='eval')": "measure it with --mode eval",
    "give weights='samples', 'tokens', 'equal' or a function batch -> weight": "give --weights samples, tokens or "
    "equal",
    "give reduction='sum'": "let it average",
    "give smaller batches, or microbatch=": "give smaller batches",
    "use method='lanczos'": "use --method lanczos",
    "use method='exact' or 'lanczos'": "use --method exact or lanczos",
    "seconds= gives it more": "--seconds gives it more",
    "say which by form='output' or form='model', or name its arguments so": "name its arguments so",
}
"""Advice of the library, and the same in the words of the commands."""


@contextmanager
def in_options_words() -> Iterator[None]:
    """Within: advice of the library to give an argument names the option for it, or what to do where there is none."""
    try:
        yield
    except InputError as error:
        raise InputError(options_words(str(error))) from error


def options_words(said: str) -> str:
    """What the library says, its advice to give an argument in the words of the commands."""
    for python, here in _IN_PYTHON.items():
        said = said.replace(python, here)
    return said


def typed(context: typer.Context, *names: str) -> list[str]:
    """Those of some options that were typed, as they are typed."""
    sources = {name: context.get_parameter_source(name) for name in names}
    found = [name for name, source in sources.items() if source is not None and source.name == "COMMANDLINE"]
    return [f"--{name.strip('_').replace('_', '-')}" for name in found]


def refuse_typed(context: typer.Context, names: Iterable[str], why: str) -> None:
    """Refuse options that mean nothing beside the others.

    Args:
        context: of the command.
        names: of its parameters.
        why: the rest of the sentence, behind the option.

    Raises:
        InputError: one of them was typed.
    """
    for option in typed(context, *names):
        raise InputError(f"{option} {why}")


def keep_earlier(out: Path, found: str | None, replace: bool, resume: bool | None = None) -> None:
    """Refuse to write over what an earlier command took its time for, unless that is asked for.

    Args:
        out: folder of the results.
        found: what it holds of an earlier command, in words; None where it holds nothing.
        replace: whether that may be thrown away.
        resume: whether it is gone on with; None for a command that cannot.

    Raises:
        InputError: it would be written over.
    """
    if found is None or resume or replace:
        return
    on = "" if resume is None else "go on with it by its own command and --resume, "
    raise InputError(f"{out} holds {found}: {on}name another --out, or throw it away with --replace")


def smaller_scales(scale: str) -> str:
    """The scales below one, and how long they take, in words."""
    takes = {"smoke": "seconds", "laptop": "minutes", "overnight": "hours"}
    smaller = itertools.takewhile(lambda name: name != scale, takes)
    return ", ".join(f"--scale {name} takes {takes[name]}" for name in reversed(list(smaller)))


def mode(name: str) -> str:
    """The mode of a model that a word stands for.

    Raises:
        InputError: an unknown word.
    """
    if name not in ("eval", "train"):
        raise InputError(f"unknown mode {name!r}; there are eval, train")
    return name


def device(name: str) -> torch.device:
    """The device that a word stands for.

    Raises:
        InputError: an unknown word, or no CUDA device.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"unknown device {name!r}; there are auto, cpu, cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("no CUDA device here; use --device cpu (or auto)")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def warn_of_emulation(training: TrainingSpec | None, where: torch.device) -> None:
    """One line where a precision was asked for that this machine is slow in."""
    from nonsingular.training import emulates_bfloat16

    if training and training.precision == "bfloat16" and emulates_bfloat16(where):
        complain("this CPU only emulates bfloat16 and is many times slower in it; --precision float32 is not")


def tell_precision(asked: str, training: TrainingSpec | None, where: torch.device) -> None:
    """One line that says what ``auto`` took; it comes when the work is done, as bad input is one line alone."""
    from nonsingular.machine import WORTH, known

    if training is None or asked != "auto":
        return
    here = known(where)
    gain = here.gain("convolution") if here else 0.0
    faster = f"; bfloat16, by name, computes convolutions {gain:.2g} times as fast here" if gain >= WORTH else ""
    typer.echo(f"precision auto: {training.precision}{faster}", err=True)
