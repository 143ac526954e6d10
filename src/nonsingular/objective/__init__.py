"""What a user brings: a model, a loss, data; checked once at the door and handed to every part."""

from nonsingular.objective.data import Batch, read
from nonsingular.objective.failures import available_bytes, first_line, is_out_of_memory, out_of_memory
from nonsingular.objective.losses import Evaluated, Loss, cross_entropy_fits, own_loss
from nonsingular.objective.models import evaluating
from nonsingular.objective.objective import Objective, State, brought
from nonsingular.objective.trees import tensors, tree_map

__all__ = [
    "Batch",
    "Evaluated",
    "Loss",
    "Objective",
    "State",
    "available_bytes",
    "brought",
    "cross_entropy_fits",
    "evaluating",
    "first_line",
    "is_out_of_memory",
    "out_of_memory",
    "own_loss",
    "read",
    "tensors",
    "tree_map",
]
