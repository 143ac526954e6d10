"""Embeddings whose scale makes outputs as large as they are, as a pass with smaller ones shows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace

from torch import Tensor, nn

from nonsingular.diagnosis.contract.scene import Scene
from nonsingular.diagnosis.outputs import OutputStatistics, numbers
from nonsingular.diagnosis.records import Statistic
from nonsingular.errors import InputError

SMALLER = 0.1  # what tables are multiplied by
FOLLOWS = 3.0  # times that outputs spread less, from where their size is the tables'
LEAST = 0.05  # deviation of the entries of a table that may be too large


def of_embeddings(scene: Scene, statistic: Statistic, outputs: OutputStatistics) -> Statistic:
    """Outputs that are too large, with the embeddings that make them so; as it was where none do.

    Args:
        scene: model and loss.
        statistic: by how much outputs are too large.
        outputs: what is known of them.
    """
    tables = _tables(scene.task.model)
    if not statistic.value > 0 or statistic.where or not tables:
        return statistic
    before, after = _spread(scene), math.nan
    with _times(SMALLER, tables.values()):
        after = _spread(scene)
    if not before > FOLLOWS * after > 0:
        return statistic
    degree = math.log(before / after) / -math.log(SMALLER)  # 2 where two of them are multiplied with each other
    wanted = outputs.spread / outputs.excess if outputs.task == "regressor" else 1.0
    factor = min(1.0, (wanted / before) ** (1 / degree))
    sizes = {name: float(w.detach().std()) for name, w in tables.items()}
    first = next(iter(tables))
    evidence = (
        *({"measure": "deviation of an embedding's entries", "layer": name, "value": s} for name, s in sizes.items()),
        {"measure": f"times that outputs spread less with embeddings times {SMALLER:g}", "value": before / after},
    )
    remedy = (
        f"Draw the embeddings ({', '.join(tables)}) smaller: PyTorch's have a deviation of 1. With "
        f"nn.init.normal_(model.{first}.weight, std={factor * sizes[first]:.1g}) outputs spread as "
        f"{'the targets do' if outputs.task == 'regressor' else 'scores of unit size do'}; smaller is safe."
    )
    return replace(
        statistic, layers=tuple(tables), where=f"{first}.weight", remedy=remedy,
        evidence=(*statistic.evidence, *evidence),
    )  # fmt: skip


def _tables(model: nn.Module) -> dict[str, Tensor]:
    """Weights of the embeddings that are no zeros, and as large as half of the largest."""
    found = {name: m.weight for name, m in model.named_modules() if isinstance(m, nn.Embedding | nn.EmbeddingBag)}
    sizes = {name: float(w.detach().std()) for name, w in found.items() if w.numel() > 1}
    most = max(sizes.values(), default=0.0)
    return {name: found[name] for name, size in sizes.items() if size >= max(LEAST, most / 2)}


@contextmanager
def _times(factor: float, tables: Iterable[Tensor]) -> Iterator[None]:
    """Within, tables are so many times as large; graphs that hold them are none the wiser."""
    weights = list({id(w): w for w in tables}.values())
    kept = [w.data for w in weights]
    try:
        for w in weights:
            w.data = factor * w.data
        yield
    finally:
        for w, data in zip(weights, kept, strict=True):
            w.data = data


def _spread(scene: Scene) -> float:
    """Root mean square deviation of the outputs from their mean over samples; NaN where they are no tensor."""
    try:
        out = numbers(scene.task.predicted(scene.batch))
    except (InputError, RuntimeError, ValueError, TypeError):
        return math.nan
    return math.nan if out is None else float(out.double().var(0, correction=0).mean().sqrt())
