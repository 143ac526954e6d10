"""What a user brings: a model, a loss, data; checked once at the door and handed to every part."""

from nonsingular.errors import first_line
from nonsingular.objective.data import Batch, read
from nonsingular.objective.failures import (
    FAILURES,
    available_bytes,
    is_of_code,
    is_out_of_memory,
    out_of_memory,
    require_bytes,
    told,
)
from nonsingular.objective.losses import Evaluated, Loss, Metric, cross_entropy_fits, misfit, own_loss
from nonsingular.objective.models import evaluating, taken_by
from nonsingular.objective.objective import Objective, Options, State, brought
from nonsingular.objective.trees import NotAlike, merge, tensors, tree_map
from nonsingular.objective.weights import skips_first

__all__ = [
    "FAILURES",
    "Batch",
    "Evaluated",
    "Loss",
    "Metric",
    "NotAlike",
    "Objective",
    "Options",
    "State",
    "available_bytes",
    "brought",
    "cross_entropy_fits",
    "evaluating",
    "first_line",
    "is_of_code",
    "is_out_of_memory",
    "merge",
    "misfit",
    "out_of_memory",
    "own_loss",
    "read",
    "require_bytes",
    "skips_first",
    "taken_by",
    "tensors",
    "told",
    "tree_map",
]
