"""Reproduce a figure from Python: an id of the papers, or a figure of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from nonsingular.checks import checked
from nonsingular.experiments import about
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.overrides import Overrides, make_spec
from nonsingular.experiments.reproducing import Outcome
from nonsingular.experiments.reproducing import reproduce as run
from nonsingular.experiments.run.workspace import SILENT, Progress, Workspace
from nonsingular.papers import registry
from nonsingular.spelling import spelled


@checked
@spelled
def reproduce(
    figure: str | Experiment,
    scale: str = "laptop",
    *,
    out: str | Path | None = None,
    data: str | None = None,
    data_dir: str | Path | None = None,
    scaling: str | None = None,
    networks: Sequence[str] = (),
    runs: int | None = None,
    epochs: int | None = None,
    seed: int | None = None,
    precision: str | None = None,
    device: str | torch.device = "cpu",
    engine: str = "local",
    resume: bool = False,
    progress: Progress = SILENT,
) -> Outcome:
    """Run a figure or table, draw it, judge its claims, and keep all of it in a folder.

    The same as the command ``nonsingular reproduce``; None leaves what the scale has.

    Args:
        figure: an id such as ``orhan2018/fig2`` (``nonsingular reproduce --list``), or a figure of your own.
        scale: ``smoke`` (seconds), ``laptop`` (minutes), ``overnight`` or ``paper``.
        out: folder; ``out/ID`` by default.
        data: name of the data set, where images are trained on.
        data_dir: folder of local data sets.
        scaling: of the inputs, as ``data.DataSpec`` has it.
        networks: only these.
        runs: independent runs of each network.
        epochs: of training.
        seed: of the first run.
        precision: ``float32``, ``bfloat16``, or ``auto`` for the experiment's own.
        device: where networks are trained.
        engine: ``local``, or ``ray`` for a cluster.
        resume: go on in a folder that holds part of it; of more runs than it holds the others are added.
        progress: told how far the work is.

    Raises:
        InputError: unknown id, scale, data set, scaling or network; numbers out of range; ``out`` holds other results.

    >>> import tempfile
    >>> import nonsingular as ns
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     outcome = ns.reproduce("orhan2018/fig1", "smoke", out=folder)
    >>> outcome.judgements[0].verdict
    'holds'
    >>> outcome.results.sizes["run"]
    2
    """
    found = registry.experiment(figure) if isinstance(figure, str) else figure
    asked = Overrides(data, scaling, runs, epochs, seed, tuple(networks), precision)
    folder = Path(out) if out is not None else Path("out") / found.id
    where = None if data_dir is None else Path(data_dir)
    workspace = Workspace(folder, torch.device(device), progress, where, engine=engine)
    how = about.asked(found.id, asked) if isinstance(figure, str) else None  # where one of your own is, nobody knows
    return run(found, make_spec(found, scale, asked), workspace, resume, asked=how)
