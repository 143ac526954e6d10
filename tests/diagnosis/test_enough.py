"""After which steps a script is stopped, and what is said of it."""

import pytest

from nonsingular.diagnosis.bench.loops import watched
from nonsingular.diagnosis.loop.enough import TIMES

START = """import torch
from torch import nn

torch.manual_seed(SEED)
x = torch.randn(64, 6)
y = x.sum(1, keepdim=True)

def net():
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 1))

def step(model, optimiser, target):
    optimiser.zero_grad()
    nn.functional.mse_loss(model(x), target).backward()
    optimiser.step()

"""
TEACHER = """teacher, student = net(), net()
first = torch.optim.Adam(teacher.parameters(), 1e-2)
for i in range(FIRST):
    step(teacher, first, y)
second = torch.optim.SGD(student.parameters(), 1e-2)
for i in range(100):
    with torch.no_grad():
        told = teacher(x)
    step(student, second, told)
"""
ONE = """model = net()
other = torch.optim.SGD(model.parameters(), 1e-2)  # never used
optimiser = torch.optim.Adam(model.parameters(), 1e-2)
for i in range(100):
    step(model, optimiser, y)
"""
IN_TURN = """a, b = net(), net()
one, two = (torch.optim.Adam(m.parameters(), 1e-2) for m in (a, b))
for i in range(400):
    step(a, one, y)
    if i % 3 == 2:
        step(b, two, y)
"""
BEFORE = """model = net()
warm = torch.optim.SGD(model[2].parameters(), 1e-2)
for i in range(20):
    step(model, warm, y)
optimiser = torch.optim.Adam(model.parameters(), 1e-2)
for i in range(200):
    step(model, optimiser, y)
"""
ANEW = """model = net()
for rate in (1e-2, 1e-3):
    optimiser = torch.optim.Adam(model.parameters(), rate) if rate > 5e-3 else torch.optim.SGD(model.parameters(), rate)
    for i in range(50):
        step(model, optimiser, y)
"""


def steps(folder, source, most):
    found = watched(START + source, 0, folder, most)
    return [h.steps for h in found.loop.optimisers], found


@pytest.mark.parametrize(
    ("source", "taken"),
    [
        (ONE, [0, 50]),
        (TEACHER.replace("FIRST", "50"), [50, 50]),
        (TEACHER.replace("FIRST", "30"), [30, 50]),
        (TEACHER.replace("FIRST", "51"), [50]),
        (IN_TURN, [150, 50]),
        (BEFORE, [20, 50]),
        (ANEW, [50, 50]),
    ],
    ids=["one", "a teacher", "a short teacher", "a long teacher", "in turn", "a warm start", "anew"],
)
def test_each_optimiser_that_trains_on_has_its_steps(source, taken, tmp_path):
    assert steps(tmp_path, source, 50)[0] == taken


def test_one_that_steps_seldom_is_waited_for_so_long(tmp_path):
    taken, _ = steps(tmp_path, IN_TURN.replace("i % 3 == 2", "i % 15 == 14"), 20)
    assert sum(taken) == TIMES * 20


def test_what_was_not_seen_is_said(tmp_path):
    _, found = steps(tmp_path, TEACHER.replace("FIRST", "60"), 50)
    [note] = found.loop.notes
    line = (START + TEACHER).splitlines().index("first = torch.optim.Adam(teacher.parameters(), 1e-2)") + 1
    assert note == (
        f"the script was stopped after 50 steps of optimiser (Adam) on model, made at {tmp_path / 'train.py'}:{line}: "
        "what it does and trains after them was not seen"
    )
    assert found.to_json()["notes"] == [note]
    _, found = steps(tmp_path, TEACHER.replace("FIRST", "60"), None)
    assert not found.loop.notes
    _, found = steps(tmp_path, TEACHER.replace("FIRST", "50"), 50)
    assert "50 steps of optimiser (Adam)" in found.loop.notes[0]
    assert "50 steps of optimiser (SGD)" in found.loop.notes[0]


def test_the_steps_of_a_later_training_are_measured_one_by_one(tmp_path):
    source = START + TEACHER.replace("FIRST", "90")
    _, found = steps(tmp_path, TEACHER.replace("FIRST", "90"), None)
    assert sum(u.optimiser == 1 for u in found.loop.updates) > 20
    kept = watched(source.replace("    optimiser.zero_grad()\n", "    first.zero_grad()\n"), 0, tmp_path, 100)
    assert kept.findings[0].kind == "gradients-accumulate"
    assert not found.findings
