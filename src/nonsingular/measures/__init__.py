"""Measures of a network: pure functions, tensors in, tensors out, broadcasting over leading axes such as ``run``."""

from nonsingular.measures.capture import Capture, capture, layer_names, weight_names
from nonsingular.measures.representations import condition_number, effective_rank, linear_dependence
from nonsingular.measures.signals import activation_norm, below_epsilon, gradient_norm, root_mean_square
from nonsingular.measures.skips import eigenvalues as skip_eigenvalues
from nonsingular.measures.skips import eigenvector_correlations, row_correlations
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
    "activation_norm",
    "below_epsilon",
    "capture",
    "condition_number",
    "dead_units",
    "effective_rank",
    "eigenvector_correlations",
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
    "skip_eigenvalues",
    "weight_names",
    "zero_response",
]
