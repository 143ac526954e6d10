"""Measures of a network: pure functions, tensors in, tensors out, broadcasting over leading axes such as ``run``."""

from nonsingular.measures.capture import Capture, capture, layer_names, weight_names
from nonsingular.measures.representations import condition_number, effective_rank, linear_dependence
from nonsingular.measures.signals import activation_norm, gradient_norm
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
    "capture",
    "condition_number",
    "dead_units",
    "effective_rank",
    "gradient_norm",
    "incoming",
    "incoming_norm",
    "layer_names",
    "linear_dependence",
    "maximum_overlap",
    "mean_overlap",
    "responses",
    "weight_names",
    "zero_response",
]
