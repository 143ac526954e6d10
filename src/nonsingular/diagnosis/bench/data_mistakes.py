"""Mistakes in the data: their layout, graphs, held-out parts and copies; and samples that leave a loss idle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nonsingular.diagnosis.bench.pairs import (
    KINDS,
    REGRESSIONS,
    Data,
    Loss,
    Pair,
    by_class,
    cut,
    pair,
    relabelled,
    reread,
)
from nonsingular.diagnosis.bench.patients import Batches, images

# --- layouts --------------------------------------------------------------------------------------------------


def _coloured(move: Callable[[Tensor], Tensor]) -> Data:
    """Digits in three colours, kept with the colours last and brought to the front by ``move``."""

    def data(seed: int, count: int = 128) -> Batches:
        [(x, y)] = images(seed, count)
        smooth = F.avg_pool2d(x, 3, 1, 1)
        return [(move((smooth * torch.tensor([1.0, -0.6, 0.3]).view(1, 3, 1, 1)).permute(0, 2, 3, 1).contiguous()), y)]

    return data


def _layouts() -> Iterator[Pair]:
    def colours() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(3, 12, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(192, 10)
        )

    yield pair("reshape for permute", "cnn", "scrambled-inputs", _coloured(lambda x: x.reshape(len(x), 3, 8, 8)),
               F.cross_entropy, colours, twin_data=_coloured(lambda x: x.permute(0, 3, 1, 2)))  # fmt: skip

    def masks(flipped: bool) -> Data:
        def data(seed: int, count: int = 128) -> Batches:
            [(x, _)] = images(seed, count)
            half = torch.arange(len(x))[:, None, None, None] % 2 == 0
            return [(torch.where(half, x.flip(-1), x) if flipped else x, (x > 0.5).float())]

        return data

    yield pair("inputs are mirrored, masks are not", "cnn", "misplaced-targets", masks(True),
               F.binary_cross_entropy_with_logits,
               lambda: nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 1, 3, padding=1)),
               twin_data=masks(False))  # fmt: skip


# --- graphs ---------------------------------------------------------------------------------------------------


class Messages(nn.Module):
    """Means over the nodes that send messages, by a list of edges, weighed or not, or by a table of node by node.

    ``back``: messages are added up where they come from.
    """

    def __init__(self, listed: bool, back: bool = False, weighed: bool = False) -> None:
        super().__init__()
        self.listed, self.back, self.weighed = listed, back, weighed
        self.first, self.second = nn.Linear(24, 32), nn.Linear(64, 3)

    def forward(self, x: Tensor, edges: Tensor) -> Tensor:  # noqa: D102
        h = self.first(x).relu()
        if not self.listed:
            return self.second(torch.cat([h, edges @ h / edges.sum(1, keepdim=True).clamp(min=1)], 1))
        sends, gets = edges
        if self.back:
            gets = sends
        share = torch.ones(len(gets))
        if self.weighed:  # a softmax over the messages of each node
            score = (h[sends] * h[gets]).sum(1)
            middle = torch.zeros(len(x)).index_add(0, gets, score) / torch.zeros(len(x)).index_add(0, gets, share)
            share = (score - middle[gets]).clamp(max=20).exp()
        count = torch.zeros(len(x)).index_add(0, gets, share).clamp(min=1e-9)
        told = h[sends] * share[:, None] if self.weighed else 0.5 * h[sends]
        return self.second(torch.cat([h, torch.zeros_like(h).index_add(0, gets, told) / count[:, None]], 1))


def _sent(seed: int, count: int = 300, listed: bool = True, turned: bool = False) -> Batches:
    """Nodes whose class is decided by those that point to them, of which each has one to five."""
    random = torch.Generator().manual_seed(seed)
    x = torch.randn(300, 24, generator=random)
    table = torch.zeros(300, 300)  # row: gets
    for node in range(300):
        table[node, torch.randperm(300, generator=random)[: 1 + node % 5]] = 1
    table.fill_diagonal_(0)
    y = (table @ x[:, :3] + 0.3 * x[:, 3:6]).argmax(1)
    gets, sends = table.nonzero().T
    edges = torch.stack([gets, sends] if turned else [sends, gets])
    return [((x, edges if listed else table.T.contiguous() if turned else table), y)]  # type: ignore[list-item]


def _graphs() -> Iterator[Pair]:
    for words, listed in (("a list", True), ("a table", False)):
        yield pair(f"edges turned round, {words}", "graph", "turned-edges", partial(_sent, listed=listed, turned=True),
                   F.cross_entropy, partial(Messages, listed), twin_data=partial(_sent, listed=listed))  # fmt: skip
    back, weighed = partial(Messages, True, back=True), partial(Messages, True, weighed=True)
    yield pair("messages sent back", "graph", "turned-edges", _sent, F.cross_entropy, back, twin=weighed)


# --- floors ---------------------------------------------------------------------------------------------------


def _mined(hard: bool) -> Loss:
    """A triplet loss of unit vectors, of the hardest or of the easiest triplet of each anchor."""

    def loss(output: Tensor, target: Tensor) -> Tensor:
        unit = F.normalize(output)
        distance = (2 - 2 * unit @ unit.T).clamp(min=1e-12).sqrt()
        alike = target[:, None] == target
        other = distance.masked_fill(alike, 9.0 if hard else -9.0)
        near = distance.masked_fill(~alike | torch.eye(len(target), dtype=torch.bool), -9.0 if hard else 9.0)
        both = (near.amax(1), other.amin(1)) if hard else (near.amin(1), other.amax(1))
        return F.relu(both[0] - both[1] + 0.05).mean()

    return loss


def _floors() -> Iterator[Pair]:
    for kind, (body, data) in KINDS.items():
        yield pair("easy triplets", kind, "idle-loss", data, _mined(False), partial(body, 16), twin_loss=_mined(True))


# --- held-out data --------------------------------------------------------------------------------------------


class Words(nn.Module):
    """The mean of a text's tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(400, 24), nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:  # noqa: D102
        return self.head(self.table(x).mean(1))


def _texts(seed: int, count: int = 300, order: str = "", own: bool = False) -> Batches:
    """Texts of two kinds, of words that each kind has more or less often, numbered as a vocabulary numbers them.

    Args:
        seed: of the texts.
        count: of texts.
        order: of the numbers: as words are ``met`` first, or by how ``often`` they come.
        own: whether the numbers are those of these texts, and not of texts that all have in common.
    """

    def written(seed: int) -> tuple[Tensor, Tensor]:
        random = torch.Generator().manual_seed(seed)
        y = torch.randint(0, 2, (count,), generator=random)
        lean = 0.7 * torch.randn(400, generator=torch.Generator().manual_seed(0))
        chance = torch.stack([(sign * lean).exp() / torch.arange(2.0, 402.0) for sign in (-1, 1)])
        return torch.multinomial(chance[y], 20, True, generator=random), y

    x, y = written(seed)
    common = (x if own else written(0)[0]).flatten().tolist()
    words = list(dict.fromkeys([*common, *range(400)]))
    if order == "often":
        words.sort(key=lambda word: -common.count(word))
    number = torch.empty(400, dtype=torch.long)
    number[torch.tensor(words)] = torch.arange(400)
    return [(number[x], y)]


class Couple(nn.Module):
    """Both of each pair by one network."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 8))

    def forward(self, pair: Tensor) -> Tensor:  # noqa: D102
        return torch.stack([self.body(pair[:, 0]), self.body(pair[:, 1])], 1)


def _couples(seed: int, count: int = 256) -> Batches:
    """Pairs of points, half of them of one cluster: 1 where they are of two."""
    random = torch.Generator().manual_seed(seed)
    centres = 1.5 * torch.randn(6, 12, generator=random)
    first, second = torch.randint(6, (2, 256), generator=random)
    second = torch.where(torch.rand(256, generator=random) < 0.5, first, second)
    x = centres[torch.stack([first, second], 1)] + torch.randn(256, 2, 12, generator=random)
    return [(x, (first != second).float())]


def _contrastive(exchanged: bool) -> Loss:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        distance = F.pairwise_distance(output[:, 0], output[:, 1])
        near = target if exchanged else 1 - target
        return (near * distance**2 + (1 - near) * (2 - distance).clamp(min=0) ** 2).mean()

    return loss


def _triples(seed: int, count: int = 256) -> Batches:
    """Points with one of their own cluster and one of another, in this order; the target is the cluster."""
    random = torch.Generator().manual_seed(seed)
    centres = 1.5 * torch.randn(6, 12, generator=random)
    own = torch.randint(6, (256,), generator=random)
    other = (own + torch.randint(1, 6, (256,), generator=random)) % 6
    x = centres[torch.stack([own, own, other], 1)] + torch.randn(256, 3, 12, generator=random)
    return [(x, own)]


class Triple(nn.Module):
    """All three of each triple by one network, on the unit sphere."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 8))

    def forward(self, three: Tensor) -> Tensor:  # noqa: D102
        return F.normalize(self.body(three), dim=-1)


def _hinge(exchanged: bool, distances: bool) -> Loss:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        anchor, positive, negative = output.unbind(1)
        if distances:
            near, far = F.pairwise_distance(anchor, positive), F.pairwise_distance(anchor, negative)
        else:
            near, far = -F.cosine_similarity(anchor, positive), -F.cosine_similarity(anchor, negative)
        return ((far - near if exchanged else near - far) + 0.3).clamp(min=0).mean()

    return loss


def _exchanged() -> Iterator[Pair]:
    for distances, what in ((True, "distances"), (False, "similarities")):
        yield pair(f"triplet loss of {what} the wrong way round", "triples", "wrong-sign", _triples,
                   _hinge(True, distances), Triple, twin_loss=_hinge(False, distances))  # fmt: skip
    yield pair("terms of a contrastive loss exchanged", "pairs", "wrong-sign", _couples, _contrastive(True), Couple,
               twin_loss=_contrastive(False))  # fmt: skip


def _held_out() -> Iterator[Pair]:
    for order in ("met", "often"):
        sick, twin = pair(f"a vocabulary for each split, by how they are {order}", "tokens", "unlike-tests",
                          partial(_texts, order=order), F.cross_entropy, Words)  # fmt: skip
        tests = partial(_other_texts, order=order)
        yield replace(sick, held_out=partial(tests, own=True)), replace(twin, held_out=partial(tests, own=False))
    again = torch.tensor([7, 0, 4, 9, 1, 3, 2, 8, 5, 6])
    for kind in ("mlp", "cnn"):
        body, data = KINDS[kind]
        sick, twin = pair("classes numbered anew for each split", kind, "unlike-tests", data, F.cross_entropy,
                          partial(body, 10))  # fmt: skip
        apart = partial(_rest, data)
        yield replace(sick, held_out=relabelled(apart, lambda y: again[y])), replace(twin, held_out=apart)


def _other_texts(seed: int, order: str, own: bool) -> Batches:
    return _texts(seed + 1_000_000, order=order, own=own)


def _rest(data: Data, seed: int, count: int = 256) -> Batches:
    """Samples that come after those that ``data`` gives of this seed."""
    [(x, y)] = data(seed, 2 * count)
    return [(x[count:], y[count:])]


# --- data -----------------------------------------------------------------------------------------------------


def _data() -> Iterator[Pair]:
    bad = "bad-data"
    for kind, (body, data) in REGRESSIONS.items():
        dated = reread(data, lambda x: torch.cat([x[:, :-1], 1.6e9 + 1e6 * x[:, -1:]], 1))
        cents = reread(data, lambda x: x * torch.tensor([1e4] + [1.0] * (x.shape[1] - 1)))
        for name, raw in (("seconds", dated), ("cents", cents)):
            yield pair(f"one column in {name}", kind, bad, raw, F.mse_loss, partial(body, 1), twin_data=data)
    for kind, (body, data) in KINDS.items():
        ten = partial(body, 10)
        yield pair("the same input", kind, bad, reread(data, lambda x: x[:1].expand_as(x).clone()), F.cross_entropy,
                   ten, twin_data=data)  # fmt: skip

        def doubled(seed: int, count: int = 256, data: Data = data, shift: int = 1) -> Batches:
            [(x, y)] = data(seed, count // 2)
            return [(torch.cat([x, x]), torch.cat([y, (y + shift) % 10]))]

        yield pair("contradicting targets", kind, bad, doubled, F.cross_entropy, ten, twin_data=data)

        def noisy(seed: int, count: int = 256, data: Data = data, order: Callable[[Tensor], Tensor] = torch.clone,
                  ) -> Batches:  # fmt: skip
            [(x, y)] = data(seed, count // 2)
            noise = 0.15 * x.std() * torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
            return [(torch.cat([x, x + noise]), torch.cat([y, order(y)]))]

        yield pair("labels of copies in another order", kind, "misplaced-targets",
                   partial(noisy, order=lambda y: y.roll(1)), F.cross_entropy, ten, twin_data=noisy)  # fmt: skip

        def repeated(seed: int, count: int = 256, data: Data = data) -> Batches:
            [(x, y)] = data(seed, 64)
            return [(x.repeat(4, *[1] * (x.ndim - 1)), y.repeat(4))]

        yield pair("repeated samples", kind, bad, repeated, F.cross_entropy, ten, twin_data=data)
        yield pair("one rare class", kind, bad, relabelled(data, lambda y: (torch.arange(len(y)) % 50 == 0).long()),
                   F.cross_entropy, partial(body, 2), twin_data=relabelled(data, lambda y: y % 2))  # fmt: skip
        yield pair("sorted by class", kind, bad, by_class(data), F.cross_entropy, ten, twin_data=cut(data, 32))


PARTS = (_layouts, _graphs, _floors, _exchanged, _held_out, _data)
