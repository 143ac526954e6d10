"""``nonsingular demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nonsingular.cli import interrupts
from nonsingular.cli.commands import THE_PAPERS
from nonsingular.cli.commands.reproduce import print_outcome, reproduced, written
from nonsingular.cli.options import Device, Json
from nonsingular.cli.streams import print_json

SHOWN = THE_PAPERS


def command(
    out: Annotated[
        Path,
        typer.Option(
            help="Folder of the results; an earlier demo there is replaced (reproduce demo --resume goes on with it)."
        ),
    ] = Path("out/demo"),
    device: Device = "auto",
    json_: Json = False,
) -> None:
    """Train plain, residual, hyper-residual and bias-regularised networks on digits: two minutes on two cores."""
    from nonsingular.cli.tables.claims import print_claims
    from nonsingular.cli.tables.summary import print_summary
    from nonsingular.experiments.overrides import Overrides
    from nonsingular.experiments.reproducing import discard, summary
    from nonsingular.papers.demo import COLUMNS
    from nonsingular.papers.registry import experiment

    discard(out, "demo")
    interrupts.resumable(["reproduce", "demo", "--out", str(out), *(["--device", device] if device != "auto" else [])])
    outcome = reproduced(experiment("demo"), "laptop", Overrides(), out, None, device, resume=False)
    reached, claims = summary(outcome.results, COLUMNS), [j.to_json() for j in outcome.judgements]
    if json_:
        networks = {
            network: {name: {"mean": mean, "error": error} for name, (mean, error) in row.items()}
            for network, row in reached.items()
        }
        print_json({"networks": networks, "claims": claims, "files": written(outcome)})
        return
    print_summary(reached, outcome.results.sizes["run"])
    print_claims(claims)
    print_outcome(outcome)
