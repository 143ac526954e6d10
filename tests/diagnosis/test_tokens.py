"""Whether token ids say anything of targets: by a true p-value, and only where a relation would be seen."""

import math

import pytest
import torch

from nonsingular.diagnosis.relation import chance_of_relation
from nonsingular.diagnosis.tokens import chance_of_tokens, ids_of
from nonsingular.objective import Batch


def texts(samples, words=50, length=12, seed=0):
    """Token ids, the frequent ones as frequent as in a language (Zipf)."""
    generator = torch.Generator().manual_seed(seed)
    weights = 1 / torch.arange(1.0, words + 1)
    return torch.multinomial(weights.expand(samples, words), length, True, generator=generator)


def marked(ids, mark=7):
    """Which of two marks comes first."""
    place = torch.stack([torch.randperm(ids.shape[1])[:2].sort().values for _ in ids])
    first = torch.rand(len(ids)) < 0.5
    ids = torch.where(ids >= mark, ids + 2, ids)
    ids.scatter_(1, place, torch.stack([mark + first.long(), mark + 1 - first.long()], 1))
    return ids, first.long()


def test_the_p_value_of_targets_without_relation_is_uniform():
    torch.manual_seed(0)
    chances = torch.tensor([chance_of_tokens(texts(128, seed=i), torch.randint(0, 3, (128,))) for i in range(24)])
    assert not chances.isnan().any()
    for at in (0.1, 0.25, 0.5):  # within three standard errors of a share of 24
        assert abs(float((chances <= at).double().mean()) - at) < 3 * math.sqrt(at * (1 - at) / 24)


@pytest.mark.parametrize(
    "target",
    [
        lambda ids: (ids < 3).sum(1).gt(4).long(),  # how many of some words
        lambda ids: (ids == 5).any(1).long(),  # one word
        lambda ids: (ids == 5).sum(1).float() + 0.1 * torch.randn(len(ids)),  # a number
        lambda ids: (ids[:, 0] < 2).long(),  # the first word alone
        lambda ids: ids.roll(-1, 1),  # the next token at every place
    ],
)
def test_relations_are_seen_and_shuffled_ones_are_not(target):
    torch.manual_seed(0)
    ids = texts(160)
    assert chance_of_tokens(ids, target(ids)) <= 0.01
    shuffled = [chance_of_tokens(ids, target(ids)[torch.randperm(160)]) for _ in range(4)]
    assert sum(not c <= 0.1 for c in shuffled) >= 2  # each is nine times of ten


def test_an_order_that_counts_do_not_show_is_seen_by_places():
    torch.manual_seed(0)
    ids, first = marked(texts(256))
    assert chance_of_tokens(ids, first) <= 0.01
    assert chance_of_tokens(ids, first, ordered=False) > 0.1


def test_nothing_is_said_where_no_relation_would_be_seen():
    torch.manual_seed(0)
    assert math.isnan(chance_of_tokens(texts(20), torch.arange(20) % 2))  # few samples
    ids = torch.arange(128 * 6).view(128, 6)  # no word comes twice
    assert math.isnan(chance_of_tokens(ids, torch.arange(128) % 2))
    assert math.isnan(chance_of_tokens(texts(128), torch.zeros(128, dtype=torch.long)))  # nothing to relate
    rare = (torch.arange(128) == 64).long()  # one sample of a class
    assert math.isnan(chance_of_tokens(texts(128), rare))


def test_ids_are_known_with_their_masks_and_lengths():
    ids = texts(40)
    for inputs in (
        ids,
        (ids, ids > 3),
        {"ids": ids, "mask": (ids > 3).float()},
        (ids, torch.full((40,), 12)),
        ((ids - 3).sign(), ids),
    ):
        assert torch.equal(ids_of(inputs), ids)
    for inputs in (ids.float(), ids.to(torch.uint8), (ids, ids), (ids, torch.randn(40, 3)), ids[:, 0]):
        assert ids_of(inputs) is None


def test_batches_of_other_lengths_are_asked_together():
    torch.manual_seed(0)
    ids = texts(256)
    target = (ids == 5).any(1).long()
    lengths = [12, 14, 17, 12]
    padded = [torch.nn.functional.pad(x, (0, n - 12)) for x, n in zip(ids.split(64), lengths, strict=True)]
    batches = [Batch(x, y, 64) for x, y in zip(padded, target.split(64), strict=True)]
    assert chance_of_relation(batches) <= 0.01
