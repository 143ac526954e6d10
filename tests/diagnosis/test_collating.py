"""Whether a collate function keeps targets beside their inputs."""

import pytest
import torch
from torch.nn.utils.rnn import pad_sequence

from nonsingular.diagnosis.loop.collating import collated_apart

torch.manual_seed(0)
LENGTHS = (3, 7, 5, 6, 4, 8)
SAMPLES = [(torch.randn(n, 2), i % 3) for i, n in enumerate(LENGTHS)]
ORDER = torch.tensor(LENGTHS).argsort(descending=True)
SORTED = [SAMPLES[i] for i in ORDER]


def padded(samples, batch_first=True):
    return pad_sequence([x for x, _ in samples], batch_first=batch_first)


def classes(samples):
    return torch.tensor([y for _, y in samples])


BATCHES = {
    "inputs sorted alone": ((padded(SORTED), classes(SAMPLES)), True),
    "time first": ((padded(SORTED, False), classes(SAMPLES)), True),
    "numbers for classes": ((padded(SORTED), classes(SAMPLES)[:, None].float()), True),
    "both sorted": ((padded(SORTED), classes(SORTED)), False),
    "none sorted": ((padded(SAMPLES), classes(SAMPLES)), False),
    "the order is kept": ((padded(SORTED), ORDER, classes(SAMPLES)), False),
    "its inverse is kept": ((padded(SORTED), ORDER.argsort(), classes(SAMPLES)), False),
    "others beside them": ((padded(SAMPLES), padded(SORTED), classes(SAMPLES)), False),
    "mixed": ((padded(SORTED) + padded(SAMPLES), classes(SAMPLES)), None),
}


@pytest.mark.parametrize("name", BATCHES)
def test_inputs_and_targets_are_followed_through_the_collate_function(name):
    batch, apart = BATCHES[name]
    assert collated_apart(SAMPLES, batch) is apart


def test_lengths_that_go_with_the_inputs_do_not_hide_labels_that_do_not():
    samples, longest = ([(x, len(x), y) for x, y in given] for given in (SAMPLES, SORTED))
    lengths = torch.tensor([n for _, n, _ in longest])
    assert collated_apart(samples, (padded(SORTED), lengths, classes(SAMPLES))) is True
    assert collated_apart(samples, (padded(SORTED), lengths, classes(SORTED))) is False


@pytest.mark.parametrize("together", [True, False])
def test_sequences_may_be_targets(together):
    samples = [(x, x[:, 0].round().long() + i) for i, (x, _) in enumerate(SAMPLES)]
    longest = [samples[i] for i in ORDER]
    tags = pad_sequence([y for _, y in (longest if together else samples)], batch_first=True, padding_value=-1)
    assert collated_apart(samples, (padded(longest), tags)) is not together


def test_samples_of_other_kinds_tell_nothing():
    assert collated_apart([("a", 1), ("b", 2), ("c", 1), ("d", 2)], torch.zeros(4, 2)) is None
    assert collated_apart([], torch.zeros(0)) is None
    assert collated_apart(SAMPLES[:2], (padded(SAMPLES[:2]), classes(SAMPLES[:2]))) is None  # too few
