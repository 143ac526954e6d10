"""What connectionist temporal classification asks of its arguments."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nonsingular.diagnosis.batches import problem
from nonsingular.diagnosis.contract import alignments, scene

LABELS = [[0, 2, 2], [3, 1], [1, 3, 1], [2]]


def padded(labels, by=0):
    return torch.tensor([[*row, *[by] * (3 - len(row))] for row in labels])


def called(targets, lengths, blank=0, frames=6, classes=5, form=lambda scores: scores.transpose(0, 1)):
    torch.manual_seed(0)
    n = len(lengths)

    def loss(output, target):
        scores = form(output.log_softmax(2))
        return F.ctc_loss(scores, targets, torch.full((n,), frames), torch.tensor(lengths), blank, zero_infinity=True)

    return scene(problem(nn.Linear(3, classes), loss, [(torch.randn(n, frames, 3), torch.zeros(n))], 512))


@pytest.mark.parametrize("joined", [False, True])
def test_the_blank_is_looked_for_among_the_labels_that_count(joined):
    lengths = [len(row) for row in LABELS]
    targets = torch.tensor([label for row in LABELS for label in row]) if joined else padded(LABELS)
    found = alignments.blank_among_labels(called(targets, lengths))
    assert found.value == 1 / 4  # padding is no label
    assert "blank=4" in found.remedy
    assert alignments.blank_among_labels(called(targets, lengths, blank=4)).value == 0
    assert alignments.blank_among_labels(called(targets, lengths, blank=3)).value == 1 / 2


def test_padding_that_is_counted_is_told_from_a_blank_that_is_a_label():
    labels = [[1, 2, 2], [3, 1], [1, 3, 1], [2]]
    found = alignments.blank_among_labels(called(padded(labels), [3] * 4))
    assert found.value == 1 / 2
    assert "target_lengths" in found.remedy
    assert "target_lengths" not in alignments.blank_among_labels(called(padded(LABELS), [3, 2, 3, 1])).remedy


@pytest.mark.parametrize(("frames", "short"), [(2, 2), (3, 1), (4, 0)])
def test_labels_that_repeat_want_a_frame_between_them(frames, short):
    lengths = [len(row) for row in LABELS]
    found = alignments.too_few_frames(called(padded(LABELS), lengths, 4, frames))
    assert found.value == short / 4


def test_the_loss_itself_is_infinite_where_frames_are_said_to_be_too_few():
    scores, n = torch.randn(4, 4, 5).log_softmax(2), torch.tensor([len(row) for row in LABELS])
    for frames in (2, 3, 4):
        each = F.ctc_loss(scores, padded(LABELS), torch.full((4,), frames), n, 4, reduction="none")
        found = alignments.too_few_frames(called(padded(LABELS), n.tolist(), 4, frames))
        assert float(each.isinf().double().mean()) == found.value


@pytest.mark.parametrize(("form", "value"), [(lambda scores: scores, 1), (lambda scores: scores.transpose(0, 1), 0)])
def test_samples_are_told_from_steps_where_there_are_as_many(form, value):
    assert alignments.time_for_samples(called(padded(LABELS), [1] * 4, 4, 4, form=form)).value == value


def test_other_losses_are_not_asked():
    seen = scene(problem(nn.Linear(3, 2), F.cross_entropy, [(torch.randn(8, 3), torch.arange(8) % 2)], 512))
    for check in (alignments.blank_among_labels, alignments.too_few_frames, alignments.time_for_samples):
        assert math.isnan(check(seen).value)
