"""Whether inputs say anything of targets, by the test that suits the inputs: numbers, or token ids."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nonsingular.diagnosis.course import joined
from nonsingular.diagnosis.neighbours import chance_of_neighbours
from nonsingular.diagnosis.tokens import chance_of_tokens, ids_of
from nonsingular.objective import Batch


def chance_of_relation(batches: Sequence[Batch]) -> float:
    """p-value of a permutation test: how often permuted targets are related to the inputs as much as these.

    Args:
        batches: with one tensor of targets; token ids may be padded to another length in each.

    Returns:
        As ``chance_of_tokens`` of token ids, with their masks and lengths if there are any; else as
        ``chance_of_neighbours``.

    Raises:
        InputError: batches that do not go together.
    """
    known = [ids for b in batches if (ids := ids_of(b.inputs)) is not None and isinstance(b.target, Tensor)]
    if len(known) < len(batches):
        return chance_of_neighbours(joined(batches))
    width = max(ids.shape[1] for ids in known)
    padded = [F.pad(ids.cpu(), (0, width - ids.shape[1]), value=-1) for ids in known]
    return chance_of_tokens(torch.cat(padded), torch.cat([torch.atleast_1d(b.target.cpu()) for b in batches]))
