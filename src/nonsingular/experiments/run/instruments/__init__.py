"""What a study measures of a population: small instruments that share one look at the networks.

An instrument names its variables with their dimensions and computes them from a ``Snapshot``, which records activations
and gradients once, when the first instrument asks for them. None looks at all samples of a large data set: accuracies
are those of the first ``EVALUATED`` samples, units, signals and Hessians those of the first ``PROBE_SAMPLES``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from nonsingular import measures
from nonsingular.experiments.run.instruments import hessian, representations, symmetry
from nonsingular.experiments.run.instruments.snapshot import PROBE_SAMPLES, Snapshot

__all__ = ["EVALUATED", "INSTRUMENTS", "LABELS", "PERCENT", "PROBE_SAMPLES", "Instrument", "Snapshot"]

Dims = tuple[str, ...]


@dataclass(frozen=True)
class Instrument:
    """Measured variables: their dimensions beyond network, run and epoch, and how they are computed."""

    variables: Mapping[str, Dims]
    measure: Callable[[Snapshot], Mapping[str, Float[Tensor, "run ..."]]]


def _by_layer(name: str, what: str, measure: Callable[[Tensor], Tensor]) -> Instrument:
    """An instrument with one number a layer, of ``what`` the snapshot has of each."""
    return Instrument({name: ("layer",)}, lambda s: {name: torch.stack([measure(x) for x in getattr(s, what)], dim=-1)})


def _accuracy(split: str) -> Instrument:
    def measure(s: Snapshot) -> dict[str, Tensor]:
        task = s.trainer.task
        inputs = task.train_inputs if split == "train" else task.test_inputs
        labels = task.train_labels if split == "train" else task.test_labels
        result = s.trainer.evaluate(inputs[:EVALUATED], labels[:EVALUATED])
        return {f"{split}_accuracy": result.accuracy, f"{split}_loss": result.loss}

    return Instrument({f"{split}_accuracy": (), f"{split}_loss": ()}, measure)


EVALUATED = 10_000
"""First samples of the training and of the test set on which accuracies are computed, or all where there are fewer: a
binomial standard error of at most half a percent. Mirror images come after all originals: of 50 000 images none is
among the first."""


def _input_norm(s: Snapshot) -> dict[str, Tensor]:
    """The same for all runs."""
    norm = s.inputs.double().flatten(1).square().sum(1).mean().sqrt()
    return {"input_norm": norm.expand(len(s.population))}


def _skip_matrices(s: Snapshot) -> dict[str, Tensor]:
    """Of ``SKIP_LAYERS`` of the layers with a skip matrix; the others are NaN.

    The matrices are in float32, and so is what is told of them, but for moduli: how far they are from 1 is less than
    float32 tells.
    """
    with_skip = [number for number, skip in enumerate(s.skips) if skip is not None]
    places = torch.linspace(0, len(with_skip) - 1, min(SKIP_LAYERS, len(with_skip))).round().long().tolist()
    looked_at = {with_skip[place] for place in places}
    none = torch.full((len(s.population), s.weights[-1].shape[-2]), torch.nan, dtype=torch.float64)
    rows: dict[str, list[Tensor]] = {name: [] for name in SKIP_MATRIX}
    for number, skip in enumerate(s.skips):
        if number not in looked_at:
            skip = None
        values = none if skip is None else measures.skip_eigenvalues(skip)
        rows["skip_modulus"].append(values.abs())
        rows["skip_angle"].append(none if skip is None else values.angle())
        rows["eigenvector_correlation"].append(none if skip is None else measures.eigenvector_correlations(skip))
        rows["skip_correlation"].append(none if skip is None else measures.row_correlations(skip))
    kept = {name: torch.stack(by_layer, dim=1).cpu() for name, by_layer in rows.items()}
    return {name: values if name == "skip_modulus" else values.float() for name, values in kept.items()}


SKIP_LAYERS = 4
"""How many layers' skip matrices are looked at, spread evenly: all are drawn alike, and each has a number a unit."""


SKIP_MATRIX: dict[str, Dims] = dict.fromkeys(
    ("skip_modulus", "skip_angle", "eigenvector_correlation", "skip_correlation"), ("layer", "mode")
)


INSTRUMENTS: dict[str, Instrument] = {
    "train_accuracy": _accuracy("train"),
    "test_accuracy": _accuracy("test"),
    "weight_norm": _by_layer("weight_norm", "weights", lambda w: measures.incoming_norm(w).mean(-1)),
    "mean_overlap": _by_layer("mean_overlap", "weights", measures.mean_overlap),
    "maximum_overlap": _by_layer("maximum_overlap", "weights", measures.maximum_overlap),
    "linear_dependence": _by_layer("linear_dependence", "activations", measures.linear_dependence),
    "effective_rank": _by_layer("effective_rank", "activations", measures.effective_rank),
    "condition_number": _by_layer("condition_number", "activations", measures.condition_number),
    "zero_response": _by_layer("zero_response", "activations", measures.zero_response),
    "silent_rectifier": _by_layer("silent_rectifier", "rectified", measures.zero_response),
    "dead_units": _by_layer("dead_units", "activations", measures.dead_units),
    "activation_norm": _by_layer("activation_norm", "activations", measures.activation_norm),
    "gradient_norm": _by_layer("gradient_norm", "gradients", measures.gradient_norm),
    "weight_gradient": _by_layer("weight_gradient", "weight_gradients", measures.root_mean_square),
    "below_epsilon": _by_layer("below_epsilon", "weight_gradients", measures.below_epsilon),
    "input_norm": Instrument({"input_norm": ()}, _input_norm),
    "logit_norm": Instrument({"logit_norm": ()}, lambda s: {"logit_norm": measures.activation_norm(s.outputs)}),
    "bias_gap": Instrument({"bias_gap": ()}, lambda s: {"bias_gap": s.trainer.bias_gap()}),
    "skip_matrix": Instrument(SKIP_MATRIX, _skip_matrices),
    "representations": Instrument(
        dict.fromkeys(representations.VARIABLES, ("layer",)), representations.representations
    ),
    "weight_quantiles": Instrument(
        dict.fromkeys(representations.WEIGHT_QUANTILES, ("layer",)), representations.weight_quantiles
    ),
    "correlations": Instrument(dict.fromkeys(symmetry.CORRELATIONS, ("layer",)), symmetry.correlations),
    "symmetry_breaking": Instrument(dict.fromkeys(symmetry.BREAKING, ("layer",)), symmetry.breaking),
    "hessian_exact": Instrument(dict.fromkeys(hessian.EXACT, ()), hessian.exact),
    "hessian_lanczos": Instrument(dict.fromkeys(hessian.LANCZOS, ()), hessian.lanczos),
    "hessian_few_lanczos": Instrument(dict.fromkeys(hessian.LANCZOS, ()), hessian.few_lanczos),
    "hessian_moments": Instrument(dict.fromkeys((*hessian.MOMENTS, *hessian.MIXTURE), ()), hessian.moments),
}

LABELS: dict[str, str] = {
    "train_accuracy": "training accuracy (%)",
    "test_accuracy": "test accuracy (%)",
    "train_loss": "training loss (nats)",
    "test_loss": "test loss (nats)",
    "weight_norm": "mean incoming-weight norm",
    "mean_overlap": "mean overlap (correlation)",
    "maximum_overlap": "largest overlap (correlation)",
    "linear_dependence": "variance in top 3 modes (%)",
    "effective_rank": "effective rank",
    "condition_number": "condition number",
    "zero_response": "zero responses (%)",
    "silent_rectifier": "zeros of f(W x + b), before the skip (%)",
    "dead_units": "dead units (%)",
    "activation_norm": "mean norm of activations",
    "gradient_norm": "mean gradient norm (nats)",
    "weight_gradient": "root mean square weight gradient (nats)",
    "below_epsilon": "weights with gradient below Adam's epsilon (%)",
    "input_norm": "root mean square norm of a sample",
    "logit_norm": "mean norm of the logits",
    "bias_gap": "distance of biases from targets / that of zero",
    "skip_modulus": "modulus of skip eigenvalues",
    "skip_angle": "angle of skip eigenvalues (radians)",
    "eigenvector_correlation": "eigenvalues of the eigenvectors' correlations",
    "skip_correlation": "eigenvalues of the skip vectors' correlations",
    **representations.LABELS,
    **symmetry.LABELS,
    **hessian.LABELS,
}
"""Axis labels with units."""

PERCENT = frozenset(name for name, label in LABELS.items() if label.endswith("(%)"))
"""Variables stored as shares and shown in percent."""
