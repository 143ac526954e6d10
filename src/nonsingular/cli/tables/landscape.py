"""What was evaluated of a loss surface, and how rough it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.markup import escape

from nonsingular.cli.options import options_words
from nonsingular.cli.terminal import Column, console, in_words, number, print_table
from nonsingular.cli.terminal import numbers as columns_of
from nonsingular.words import counted, percentage

AT = {
    "centre": "at the centre, the weights themselves",
    "first": "at the first solution",
    "second": "at the second",
    "end": "at the end of the path",
}


ROUGHNESS = (
    "nonconvex: share of points where the loss curves down in some direction of the plane; excess variation: ups and "
    "downs along grid lines that a single minimum does not have (0 for any bowl); minima: local ones, shallow ones "
    "left out; guidance: mean cosine of the ways downhill and to the lowest point (1 for a round bowl); elongation: "
    "length over breadth of the valley; total variation: of log loss along grid lines, no roughness by itself; "
    "sharpness: mean rise of the loss near the centre."
)


def print_landscape(numbers: Mapping[str, Any], data: Mapping[str, object]) -> None:
    """What was evaluated, on which data, with what error, and how rough the surface is."""
    to = console()
    lost = f"; not finite at {counted(numbers['not_finite'], 'point')}" if numbers["not_finite"] else ""
    to.print(f"loss from {_four(numbers['smallest_loss'])} to {_four(numbers['largest_loss'])}{lost}", highlight=False)
    for name, values in numbers["solutions"].items():
        said = ", ".join(f"{quantity} {_four(value)}" for quantity, value in values.items())
        to.print(f"{AT[name]}: {escape(said)}", highlight=False)
    for name, ends in numbers["metrics"].items():
        to.print(f"{name} from {_four(ends['smallest'])} to {_four(ends['largest'])}", highlight=False)
    for done, error, span in zip(
        *(_as_list(numbers[name]) for name in ("evaluated", "interpolation_error", "range")), strict=True
    ):
        share = f", {percentage(error / span)} of the range" if span > 0 else ""
        scale = "log loss" if numbers["scale"] == "log" else "loss"
        rest = f"; error of the others {error:.2g} in {scale}{share}" if done < numbers["points"] else ""
        to.print(f"{done:,} of {counted(numbers['points'], 'point')} evaluated{rest}", highlight=False)
    to.print(
        f"[dim]{numbers['samples']:,} of {counted(numbers['total_samples'], 'sample')}; {escape(numbers['how'])}[/]"
    )
    if numbers.get("notes"):
        to.print(f"[dim]{escape(options_words(numbers['notes']))}[/]")
    to.print(f"mode: {numbers['mode']}")
    to.print(f"data: {escape(in_words(data))}")
    if "explained" in numbers:
        to.print(f"variance of the path: {', '.join(f'{100 * e:.1f} %' for e in numbers['explained'])}")
        to.print(f"the path leaves the plane by up to {_four(numbers['largest_distance'])}", highlight=False)
    if "roughness" in numbers:
        rows = [
            [name.replace("_", " "), number(row["mean"]), number(row["deviation"])]
            for name, row in numbers["roughness"].items()
        ]
        print_table(to, [Column("roughness", least=16), *columns_of("mean", "deviation over planes")], rows)
        to.print(f"[dim]{ROUGHNESS}[/]")


def _four(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
