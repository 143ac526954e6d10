"""Measures of a network: pure functions, tensors in, tensors out, broadcasting over leading axes such as ``run``."""

from nonsingular.measures.capture import Capture, capture, layer_names, weight_names
from nonsingular.measures.representations import (
    StreamedRepresentation,
    condition_number,
    effective_rank,
    linear_dependence,
    singular_values,
)
from nonsingular.measures.signals import activation_norm, below_epsilon, gradient_norm, root_mean_square
from nonsingular.measures.skips import eigenvalues as skip_eigenvalues
from nonsingular.measures.skips import eigenvector_correlations, row_correlations
from nonsingular.measures.symmetry import (
    backward_correlation,
    forward_correlation,
    symmetry_breaking,
    unique_features,
)
from nonsingular.measures.units import (
    dead_units,
    incoming,
    incoming_norm,
    maximum_overlap,
    mean_overlap,
    responses,
    zero_response,
)

__all__ = [
    "Capture",
    "StreamedRepresentation",
    "activation_norm",
    "backward_correlation",
    "below_epsilon",
    "capture",
    "condition_number",
    "dead_units",
    "effective_rank",
    "eigenvector_correlations",
    "forward_correlation",
    "gradient_norm",
    "incoming",
    "incoming_norm",
    "layer_names",
    "linear_dependence",
    "maximum_overlap",
    "mean_overlap",
    "responses",
    "root_mean_square",
    "row_correlations",
    "singular_values",
    "skip_eigenvalues",
    "symmetry_breaking",
    "unique_features",
    "weight_names",
    "zero_response",
]
