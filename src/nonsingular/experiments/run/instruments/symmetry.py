"""How alike the features of each layer are: instruments for studies of linear and convolutional networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from nonsingular import measures

if TYPE_CHECKING:
    from nonsingular.experiments.run.instruments.snapshot import Snapshot

SAMPLES = 128  # whose features and gradients are compared: a batch as training has it

CORRELATIONS = ("forward_correlation", "backward_correlation", "forward_centred", "backward_centred", "unique_features")
BREAKING = ("feature_breaking", "gradient_breaking")
LABELS = {
    "forward_correlation": "forward correlation (cosine)",
    "backward_correlation": "backward correlation (cosine)",
    "forward_centred": "forward correlation (centred)",
    "backward_centred": "backward correlation (centred)",
    "unique_features": "unique features",
    "feature_breaking": "symmetry-breaking part of features / their norm",
    "gradient_breaking": "symmetry-breaking part of gradients / their norm",
}


def correlations(snapshot: Snapshot) -> dict[str, Tensor]:
    """Weight correlations, uncentred and centred, and unique features; ``[run, layer]``."""
    population = snapshot.population
    names = measures.weight_names(population.skeleton, population.layers)
    rows: dict[str, list[Tensor]] = {name: [] for name in CORRELATIONS}
    for name in names.values():
        weight = population.parameters[name].detach()
        rows["unique_features"].append(measures.unique_features(weight, stacked=True).double())
        for suffix, centred in (("correlation", False), ("centred", True)):
            rows[f"forward_{suffix}"].append(measures.forward_correlation(weight, centred, stacked=True))
            rows[f"backward_{suffix}"].append(measures.backward_correlation(weight, centred, stacked=True))
    return {name: torch.stack(values, -1) for name, values in rows.items()}


def breaking(snapshot: Snapshot) -> dict[str, Tensor]:
    """Size of the part of features and of gradients by them that differs between channels; ``[run, layer]``."""
    population = snapshot.population
    inputs, labels = snapshot.inputs[:SAMPLES], snapshot.labels[:SAMPLES]
    with torch.no_grad():
        _, features = population.record(inputs, training=True)
    offsets = {name: torch.zeros_like(features[name]).requires_grad_() for name in population.layers}
    outputs, _ = population.record(inputs, offsets, training=True)
    loss = F.cross_entropy(outputs.flatten(0, 1), labels.repeat(len(outputs)), reduction="sum")
    gradients = torch.autograd.grad(loss, list(offsets.values()))
    return {
        "feature_breaking": _by_layer([features[name] for name in population.layers]),
        "gradient_breaking": _by_layer(list(gradients)),
    }


def _by_layer(values: list[Tensor]) -> Tensor:
    return torch.stack([measures.symmetry_breaking(measures.responses(x, stacked=True)) for x in values], -1)
