"""Small exact models: from two units to signals through depth.

Every function returns labelled arrays in float64 and needs no data; ``docs/explanation/small_models.md`` tells what
each model shows.
"""

from nonsingular.theory import (
    binary_weights,
    linear_dependence,
    linear_networks,
    rescaling,
    signal_propagation,
    student_teacher,
    subnetworks,
    two_units,
)

__all__ = [
    "binary_weights",
    "linear_dependence",
    "linear_networks",
    "rescaling",
    "signal_propagation",
    "student_teacher",
    "subnetworks",
    "two_units",
]
