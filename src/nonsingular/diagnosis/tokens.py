"""Do token ids say anything of targets? A permutation test over counts, places and neighbouring pairs of ids.

That a test sees no relation says something only where it would see one. So it is also asked of targets that hang on
these very inputs, by a score of each token that is drawn at random: where it overlooks those, there are too few
samples, or too many words, and nothing is said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils._pytree import tree_leaves

from nonsingular.diagnosis.values import is_mask

SAMPLES, NEIGHBOURS, PERMUTATIONS = 512, 5, 199
FEWEST = 32  # samples
RELATED = 0.1  # p-value up to which that is a relation
PLANTED, SEEN, SURELY = 20, 0.95, 0.02  # relations that are planted, and the part of them to be seen at that p-value
MET = 3  # places of ids up to which they are things that meet, as users and items, and no text
FEATURES = 1000  # ids, pairs and places of ids that are told apart, the most frequent
SKETCH = 64  # numbers in which longer rows of targets are compared

Rows = Float[Tensor, "sample number"]


def ids_of(inputs: Any) -> Int[Tensor, "sample place"] | None:
    """The token ids among the inputs; None where there are none, or more than ids, their masks and their lengths."""
    leaves = [t for t in tree_leaves(inputs) if isinstance(t, Tensor) and t.ndim > 1]
    if len(leaves) > 1:
        leaves = [t for t in leaves if not is_mask(t)]
    if len(leaves) != 1 or leaves[0].ndim != 2 or leaves[0].dtype not in (torch.int64, torch.int32):
        return None
    return leaves[0].detach().long()


def chance_of_tokens(ids: Int[Tensor, "sample place"], targets: Tensor, ordered: bool = True) -> float:
    """p-value of a permutation test: how often permuted targets are related to token ids as much as these.

    The statistic is the largest of several, each over its deviation under permutations: by counts of tokens, by tokens
    at their places and by pairs of neighbouring tokens, whether samples that are alike have like targets (all pairs
    of samples, and each with its nearest), what tokens tell together, and the one that tells most. Targets that are
    less alike than by chance are related too.

    Args:
        ids: of tokens.
        targets: a class, a number, or a row of them for each sample.
        ordered: whether the order of the tokens may say something too, or their counts alone.

    Returns:
        1/200 to 1; NaN where there are fewer than 32 samples, and in the place of more than 0.1 where of 20 targets
        that do hang on a random score of the tokens more than one is overlooked at 0.02.
    """
    if len(ids) != len(targets) or len(ids) < FEWEST:
        return math.nan
    ids, rows = ids[:SAMPLES], _rows(targets[:SAMPLES])
    n, generator = len(ids), torch.Generator().manual_seed(0)
    views = [view for view in _views(ids, ordered) if view.shape[1]]
    if not views or not bool(rows.any()):
        return math.nan
    measured = [_Measured(view) for view in views]

    def of(order: Int[Tensor, " sample"]) -> Float[Tensor, " statistic"]:
        permuted = rows[order]
        alike = permuted @ permuted.T  # which costs less than to permute it
        return torch.cat([m.of(permuted, alike) for m in measured])

    null = torch.stack([of(torch.randperm(n, generator=generator)) for _ in range(PERMUTATIONS)])
    own = _chance(of(torch.arange(n)), null)
    if own <= RELATED:
        return own
    planted = [of(_planted(_scores(views[0], ids, generator), rows, generator)) for _ in range(PLANTED)]
    return own if sum(_chance(p, null) <= SURELY for p in planted) >= SEEN * PLANTED else math.nan


def _chance(own: Float[Tensor, " statistic"], null: Float[Tensor, "permutation statistic"]) -> float:
    """That of permutations the largest deviation is as large, all being treated alike."""
    pool = torch.cat([own[None], null]).double()
    off = ((pool - pool.mean(0)) / pool.std(0).clamp_min(1e-12)).abs().amax(1)
    return float((off >= off[0]).double().mean())


def _scores(counts: Rows, ids: Int[Tensor, "sample place"], generator: torch.Generator) -> Float[Tensor, " sample"]:
    """A random score of each sample's tokens: their sum, or their product where it is ids of a few things that meet.

    What a user makes of an item says nothing of what others do: neither alone has to be liked more.
    """
    if ids.shape[1] > MET:
        return counts @ torch.randn(counts.shape[1], generator=generator)
    columns = [column.unique(return_inverse=True)[1] for column in ids.T]
    return torch.stack([torch.randn(int(c.max()) + 1, generator=generator)[c] for c in columns]).prod(0)


def _planted(score: Float[Tensor, " sample"], rows: Rows, generator: torch.Generator) -> Int[Tensor, " sample"]:
    """An order in which these targets hang on the inputs: they rise with a score of the samples."""
    rise = rows @ torch.randn(rows.shape[1], generator=generator)
    order = torch.empty(len(rows), dtype=torch.long)
    order[score.argsort()] = rise.argsort(stable=True)
    return order


class _Measured:
    """How targets are related to one view of the inputs."""

    def __init__(self, view: Rows) -> None:
        centred = view - view.mean(0)
        self._norms = centred.norm(dim=0).clamp_min(1e-12)
        self._columns = (centred / self._norms).T
        unit = view / view.norm(dim=1, keepdim=True).clamp_min(1e-12)
        self._alike = (unit @ unit.T).fill_diagonal_(0)
        near = self._alike.clone().fill_diagonal_(-math.inf)
        self._near = near.topk(min(NEIGHBOURS, len(view) - 1)).indices

    def of(self, rows: Rows, alike: Float[Tensor, "sample sample"]) -> Float[Tensor, "4"]:
        """Over all pairs of samples, over nearest ones, by all columns together, by the one that tells most."""
        told = (self._columns @ rows).square().sum(1)
        nearest = alike.gather(1, self._near).mean()
        every = torch.dot(self._alike.view(-1), alike.view(-1)) / alike.numel()
        return torch.stack([every, nearest, (told * self._norms).sum(), told.max()])


def _views(ids: Int[Tensor, "sample place"], ordered: bool) -> Iterator[Rows]:
    """Counts of tokens, tokens at their places, and pairs of neighbours."""
    ids = ids - int(ids.min())
    many = int(ids.max()) + 1
    yield _counts(ids)
    if ordered:
        yield _counts(ids + many * torch.arange(ids.shape[1]))
        yield _counts(ids[:, :-1] + many * ids[:, 1:])


def _counts(codes: Int[Tensor, "sample place"]) -> Rows:
    """How often each code is in each sample; of the most frequent, without those that all have alike."""
    if not codes.numel():
        return torch.zeros(len(codes), 0)
    known, at = codes.unique(return_inverse=True)
    kept = torch.bincount(at.flatten(), minlength=len(known)).argsort(descending=True, stable=True)[:FEATURES]
    column = torch.full((len(known),), len(kept), dtype=torch.long)
    column[kept] = torch.arange(len(kept))
    table = torch.zeros(len(codes), len(kept) + 1)
    table.scatter_add_(1, column[at], torch.ones(at.shape))
    table = table[:, :-1]
    return table[:, (table != table[0]).any(0)]


def _rows(targets: Tensor) -> Rows:
    """Targets as numbers whose products say how much alike they are; classes are alike where they are the same."""
    flat = targets.detach().reshape(len(targets), -1).cpu()
    if flat.is_floating_point():
        rows = flat.double().nan_to_num()
    else:
        codes = flat.long() - int(flat.min()) + torch.arange(flat.shape[1]) * (int(flat.max() - flat.min()) + 1)
        known, at = codes.unique(return_inverse=True)
        table = _codes(len(known))
        rows = torch.stack([table[row].sum(0) for row in at])
    rows = rows - rows.mean(0)
    return (rows / rows.norm().clamp_min(1e-12) * math.sqrt(len(rows))).float()


def _codes(many: int) -> Float[Tensor, "code number"]:
    """A row for each code; of many, signs at random, whose products are nearly those."""
    if many <= SKETCH:
        return torch.eye(many, dtype=torch.float64)
    signs = torch.randint(0, 2, (many, SKETCH), generator=torch.Generator().manual_seed(0))
    return (2 * signs - 1).double() / math.sqrt(SKETCH)
