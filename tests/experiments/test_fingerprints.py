"""Another version of a user's code is another spec, wherever the change stands; what is the same stays the same."""

import importlib
import random
import sys
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

import processes
from nonsingular.errors import InputError
from nonsingular.experiments.fingerprint import fingerprint
from nonsingular.experiments.spec import Spec
from nonsingular.training import Member

WIDTH = 8


def closing_over(value):
    return lambda shape, classes: nn.Linear(shape[0], classes, bias=bool(value))


def helped(shape, classes):
    return layer(shape[0], classes)


def layer(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, WIDTH), nn.Linear(WIDTH, outputs))


class Base(nn.Module):
    def width(self):
        return WIDTH


class Wide(Base):
    def __init__(self):
        super().__init__()
        self.last = layer(64, 10)


def source(factory):
    return fingerprint(factory)["source"]


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, 2),
        ([1, (2, "x")], [1, (2, "y")]),
        ({"a": 1}, {"a": 2}),
        ({1, 2}, {1, 3}),
        (np.zeros(2), np.ones(2)),
        (torch.zeros(2), torch.ones(2)),
        (np.float32(1), np.float64(1)),
        (nn.Linear(2, 2), nn.Linear(2, 2)),
        (np.tanh, np.cos),
        (torch.relu, torch.tanh),
        (partial(layer, 3), partial(layer, 4)),
        (closing_over(1), closing_over(2)),
    ],
)
def test_what_is_closed_over_counts(a, b):
    assert source(closing_over(a)) != source(closing_over(b))
    assert source(closing_over(a)) == source(closing_over(a))


def test_globals_count_through_helpers_bases_and_classes(monkeypatch):
    before = [source(x) for x in (helped, layer, Wide, Base, partial(layer, 3))]
    assert before == [source(x) for x in (helped, layer, Wide, Base, partial(layer, 3))]
    monkeypatch.setitem(globals(), "WIDTH", 9)
    assert all(a != source(x) for a, x in zip(before, (helped, layer, Wide, Base, partial(layer, 3)), strict=True))


def test_what_is_not_used_does_not_count(monkeypatch):
    before = source(helped)
    monkeypatch.setitem(globals(), "UNUSED", 3)
    monkeypatch.setitem(globals(), "np", None)
    assert source(helped) == before


@pytest.mark.parametrize("value", [np.random.default_rng(0), random.Random(0), object()])
def test_what_cannot_be_told_apart_is_refused(value):
    spec = Spec("mine/x", "smoke", networks=(Member("mine", closing_over(value)),))
    with pytest.raises(InputError, match=r"closing_over.*uses an object of \w+ by which versions"):
        spec.to_json()


def test_objects_of_a_users_class_count_with_what_they_hold():
    class Config:
        def __init__(self, width):
            self.width = width

        def __call__(self, shape, classes):
            return nn.Linear(shape[0], classes)

    assert source(Config(1)) != source(Config(2))
    assert source(closing_over(Config(1))) != source(closing_over(Config(2)))
    assert source(Config(1)) == source(Config(1))


def test_recursion_ends():
    def one(n):
        return two(n - 1) if n else nn.Linear(2, 2)

    def two(n):
        return one(n)

    assert source(one) == source(one)


MINE = """
import torch
import widths

SET = {"a", "b", "c"}


def make():
    return torch.nn.Linear(widths.WIDTH, len(SET))
"""


def said(folder, answer):
    """The fingerprint of ``MINE`` in a process of its own, whose text hashes are its own too."""
    sys.path.insert(0, str(folder))
    sys.dont_write_bytecode = True  # of a file that changes within a second
    answer.put(source(importlib.import_module("mine").make))


def test_a_fingerprint_is_the_same_in_another_process(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    context, found = processes.server(), []
    for width in (4, 4, 5):
        (tmp_path / "widths.py").write_text(f"WIDTH = {width}\n")
        answer = context.SimpleQueue()
        process = context.Process(target=said, args=(tmp_path, answer))
        process.start()
        found.append(answer.get())
        process.join()
    assert found[0] == found[1] != found[2]
