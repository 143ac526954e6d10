"""``nonsingular demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nonsingular.cli.commands import THE_PAPERS
from nonsingular.cli.commands.reproduce import print_outcome, reproduced
from nonsingular.cli.options import Device

SHOWN = THE_PAPERS


def command(
    out: Annotated[Path, typer.Option(help="Folder of the results; an earlier demo there is replaced.")] = Path(
        "out/demo"
    ),
    device: Device = "auto",
) -> None:
    """Train plain, residual, hyper-residual and bias-regularised networks on digits: two minutes on two cores."""
    from nonsingular.cli.tables.claims import print_claims
    from nonsingular.cli.tables.summary import print_summary
    from nonsingular.experiments.demo import COLUMNS
    from nonsingular.experiments.overrides import Overrides
    from nonsingular.experiments.registry import experiment
    from nonsingular.experiments.reproduce import discard, summary

    discard(out, "demo")
    outcome = reproduced(experiment("demo").id, "laptop", Overrides(), out, None, device, resume=False)
    print_summary(summary(outcome.results, COLUMNS), outcome.results.sizes["run"])
    print_claims([j.to_json() for j in outcome.judgements])
    print_outcome(outcome)
