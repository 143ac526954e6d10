"""Hidden representations layer by layer, batch by batch and in float64: how a study of very deep networks sees them.

The first ``SAMPLES`` training samples come in batches of ``BATCH``, each normalised by its own statistics. Of a layer
nothing is kept but what ``StreamedRepresentation`` and a few sums need, so memory does not grow with the data. A
convolution's places count as further samples of its channels, which are the units. The prefix ``streamed_`` tells these
variables from those of the instruments that look at one batch in float32.

The matrix behind ``sample_condition_number`` has one row a sample and one column a feature (each channel at each
place), of all samples in one batch. It tells another thing: it is singular where samples have come to depend on each
other, or, where there are fewer features than samples, where features have.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from nonsingular import measures

if TYPE_CHECKING:
    from nonsingular.experiments.run.instruments.snapshot import Snapshot

SAMPLES = 256  # or all, where there are fewer
BATCH = 128
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
QUANTILE_VALUES = 100_000  # of a layer in one batch: more are thinned out evenly


def _names(what: str) -> tuple[str, ...]:
    return tuple(f"{what}_q{round(100 * q):02d}" for q in QUANTILES)


ACTIVATION_QUANTILES, WEIGHT_QUANTILES = _names("activation"), _names("weight")
VARIABLES = (
    "streamed_condition_number",
    "sample_condition_number",
    "largest_singular_value",
    "smallest_singular_value",
    "streamed_effective_rank",
    "streamed_linear_dependence",
    "streamed_dead_units",
    "streamed_gradient_norm",
    *ACTIVATION_QUANTILES,
)
LABELS = {
    "streamed_condition_number": "condition number",
    "streamed_effective_rank": "effective rank",
    "streamed_linear_dependence": "variance in top 3 modes (%)",
    "streamed_dead_units": "dead units (%)",
    "streamed_gradient_norm": "mean gradient norm (nats)",
    "sample_condition_number": "condition number, samples by features",
    "largest_singular_value": "largest singular value",
    "smallest_singular_value": "smallest singular value",
    **dict.fromkeys(ACTIVATION_QUANTILES, "activation"),
    **dict.fromkeys(WEIGHT_QUANTILES, "weight"),
}


def representations(snapshot: Snapshot) -> dict[str, Tensor]:
    """Every variable of ``VARIABLES`` by layer: name -> ``[run, layer]``; NaN for runs that have diverged."""
    finite = snapshot.trainer.finite().tolist()
    inputs, labels = snapshot.trainer.task.train_inputs[:SAMPLES], snapshot.trainer.task.train_labels[:SAMPLES]
    batches = list(zip(inputs.split(BATCH), labels.split(BATCH), strict=True))
    layers = len(snapshot.population.layers)
    empty = {name: torch.full((layers,), torch.nan, dtype=torch.float64) for name in VARIABLES}
    device = snapshot.trainer.device
    rows = [
        of_network(snapshot.population.network(run).to(device, torch.float64), batches) if ok else empty
        for run, ok in enumerate(finite)
    ]
    return {name: torch.stack([row[name].cpu() for row in rows]) for name in VARIABLES}


def of_network(
    network: nn.Module, batches: list[tuple[Float[Tensor, "sample ..."], Int64[Tensor, " sample"]]]
) -> dict[str, Float[Tensor, " layer"]]:
    """Every variable of ``VARIABLES`` by layer, of one network in training mode.

    Args:
        network: in float64; its running statistics change.
        batches: inputs and class numbers.
    """
    layers = measures.layer_names(network)
    streams = {name: measures.StreamedRepresentation() for name in layers}
    sums: dict[str, dict[str, Tensor]] = {
        name: defaultdict(lambda: torch.zeros((), dtype=torch.float64)) for name in layers
    }

    def visit(name: str, output: Tensor) -> None:
        activation = output.detach()
        units, mine = measures.responses(activation), sums[name]
        streams[name].update(units)
        # A unit is dead that was zero for every sample of every batch.
        alive = (units != 0).any(0).cpu()
        mine["alive"] = alive if streams[name].samples == len(units) else mine["alive"] | alive
        for quantile, value in zip(ACTIVATION_QUANTILES, quantiles(units), strict=True):
            mine[quantile] = mine[quantile] + value / len(batches)

        def keep_norm(gradient: Tensor) -> None:
            norm = measures.gradient_norm(gradient.flatten(1)).cpu()
            mine["streamed_gradient_norm"] = mine["streamed_gradient_norm"] + norm / len(batches)

        if output.requires_grad:
            output.register_hook(keep_norm)

    def visit_together(name: str, output: Tensor) -> None:
        sums[name]["sample_condition_number"] = measures.condition_number(output.flatten(1)).cpu()

    network.train()
    with torch.no_grad(), measures.capture(network, layers, visit=visit_together):
        network(torch.cat([x for x, _ in batches]).double())
    for x, y in batches:
        with measures.capture(network, layers, visit=visit):
            logits = network(x.double())
        # The gradient of the sum is each sample's own, but for what batch normalisation mixes.
        F.cross_entropy(logits, y, reduction="sum").backward()
    return {name: torch.stack([_value(name, streams[layer], sums[layer]) for layer in layers]) for name in VARIABLES}


def _value(name: str, stream: measures.StreamedRepresentation, sums: dict[str, Tensor]) -> Tensor:
    match name:
        case "streamed_condition_number":
            return stream.condition_number().cpu()
        case "largest_singular_value":
            return stream.singular_values()[0].cpu()
        case "smallest_singular_value":
            return stream.singular_values()[-1].cpu()
        case "streamed_effective_rank":
            return stream.effective_rank().cpu()
        case "streamed_linear_dependence":
            return stream.linear_dependence().cpu()
        case "streamed_dead_units":
            return 1 - sums["alive"].double().mean()
    return sums[name]


def weight_quantiles(snapshot: Snapshot) -> dict[str, Float[Tensor, "run layer"]]:
    """Quantiles of each layer's weights."""
    by_layer = [torch.stack([quantiles(w) for w in weights]) for weights in snapshot.weights]  # [run, quantile] each
    return {name: torch.stack([q[:, i] for q in by_layer], dim=1) for i, name in enumerate(WEIGHT_QUANTILES)}


def quantiles(x: Float[Tensor, "..."]) -> Float[Tensor, " quantile"]:
    """The ``QUANTILES`` of all values in float64, or of an evenly spaced part of them where they are very many."""
    values = x.detach().flatten()
    values = values[:: max(1, len(values) // QUANTILE_VALUES)].double().cpu()
    # NumPy sorts ten times as fast as PyTorch, whose quantiles took four tenths of a deep network's time.
    return torch.from_numpy(np.quantile(np.sort(values.numpy()), QUANTILES))
