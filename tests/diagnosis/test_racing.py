"""Arms of a proof that are not trained to their end."""

import copy
import math
import sys
import types

import pytest
import torch
import torch.nn.functional as F

from nonsingular.diagnosis import Kept, Protocol, plan, prove, racing
from nonsingular.diagnosis.bench import zoo
from nonsingular.diagnosis.bench.patients import flat
from nonsingular.diagnosis.course import POINTS, Curve, arm, never, run
from nonsingular.diagnosis.scale import BEST, Scale
from nonsingular.diagnosis.treatments import Treated
from nonsingular.training import Trainer

STEPS = tuple(range(0, 101, 10))
SCALE = Scale(1.0, 0.0, "a constant")
FINITE = [True] * 5


def curve(end, spread=0.0, points=POINTS):
    """Losses that fall from 1 to ``end`` on a straight line, run by run ``spread`` apart there."""
    path = tuple(
        tuple(1 - (1 - end + spread * (run - 2)) * at / POINTS for run in range(5)) for at in range(points + 1)
    )
    return Curve(path[-1], path[-1], (0.5,) * 5, path, STEPS[: points + 1])


STUCK, WINNER = curve(1.0), curve(0.2, 0.02)


def first_stop(arm, before=STUCK, best=WINNER, scale=SCALE):
    enough = racing.hopeless(before, best, scale)
    return next((at for at in range(len(arm.path)) if enough(arm.path[: at + 1], FINITE)), None)


@pytest.mark.parametrize(
    ("arm", "stop"),
    [
        (curve(1.0), racing.FIRST),  # as the untreated ones, while another wins
        (curve(0.98, 0.001), racing.FIRST),
        (curve(1.5, 0.02), racing.FIRST),
        (curve(0.2, 0.02), None),  # wins itself
        (curve(0.8, 0.01), None),  # gains
        (curve(1.0, 0.3), None),  # some runs gain: nobody knows
    ],
)
def test_an_arm_is_left_where_it_shows_nothing_while_another_wins(arm, stop):
    assert first_stop(arm) == stop


def test_it_is_left_for_nothing_else():
    assert first_stop(curve(1.0), best=None) is None
    assert first_stop(curve(1.0), scale=None) is None  # another loss: nothing to compare on the way
    assert first_stop(curve(1.0), best=curve(0.97)) is None  # hardly ahead
    late = curve(1.0)
    early = [path for at, path in enumerate(late.path) if at < racing.FIRST]
    assert not racing.hopeless(STUCK, WINNER, SCALE)(early, FINITE)


def test_a_run_that_is_lost_ends_an_arm_at_once_unless_untreated_ones_are_lost_too():
    lost = [True, True, False, True, True]
    assert racing.hopeless(STUCK, None, None)(STUCK.path[:2], lost)
    diverged = Curve((math.inf,) * 5, (math.inf,) * 5, (math.nan,) * 5, ((math.inf,) * 5,) * 11, STEPS)
    assert not racing.hopeless(diverged, WINNER, SCALE)(STUCK.path[:2], lost)


@pytest.mark.parametrize(
    ("arm", "goal", "stop"),
    [
        (curve(0.0), 0.99, None),  # all of it is learned with the last step only
        (curve(0.0), 0.5, 5),
        (curve(0.0), 0.1, racing.FIRST),  # reached before, asked from there on
        (curve(0.0, 0.4), 0.5, 5),  # in the mean
        (curve(1.0), -0.01, racing.FIRST),
        (curve(1.2), -0.01, None),  # worse than a constant
        (curve(-0.5), 0.99, None),  # losses below 0: how much is left?
        (curve(0.0), math.nan, None),
        (Curve((math.inf,) * 5, (), (), ((math.inf,) * 5,) * 11, STEPS), -0.01, None),
    ],
)
def test_an_arm_that_has_told_what_it_is_there_for_is_left(arm, goal, stop):
    def first(scale):
        enough = racing.complete(STUCK, goal, scale)
        return next((at for at in range(len(arm.path)) if enough(arm.path[: at + 1], FINITE)), None)

    assert first(Scale(1.0, 0.0, BEST)) == stop
    assert first(SCALE) is None  # a constant that is what training came to


def test_copies_that_are_all_lost_take_no_further_step(monkeypatch):
    taken = []
    step = Trainer._step
    monkeypatch.setattr(Trainer, "_step", lambda *a: taken.append(1) or step(*a))
    x, y = torch.randn(200, 4), torch.randn(200, 1)

    def ended(rate):
        taken.clear()
        protocol = Protocol(steps=50, seeds=2, batch=16, learning_rate=rate, optimiser="sgd")
        network = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 1))
        return run(arm([network] * 2, F.mse_loss, [(x, y)], protocol), protocol)

    lost = ended(1e30)
    assert len(taken) < 10
    assert lost.points == tuple(range(0, 51, 5))
    assert lost.loss == lost.held_out == lost.path[-1] == (math.inf,) * 2
    assert all(map(math.isnan, lost.accuracy))
    assert ended(1e-3).diverged == 0
    assert len(taken) >= 50


def test_intervals_of_stopped_arms_are_wider():
    from nonsingular.intervals import difference

    treated, untreated = [0.1, 0.2, 0.15, 0.3, 0.12], [0.1, 0.1, 0.2, 0.1, 0.1]
    once = difference(treated, untreated, paired=True)
    with racing.looking():
        always = difference(treated, untreated, paired=True)
    assert always.low < once.low
    assert always.high > once.high
    assert always.value == once.value


def test_what_was_known_at_a_step():
    whole = curve(0.2)
    assert whole.until(100) is whole
    half = whole.until(50)
    assert half.loss == whole.path[5] == half.path[-1]
    assert half.points[-1] == 50
    assert all(map(math.isnan, half.held_out + half.accuracy))


def test_a_proof_leaves_what_shows_nothing_and_tells_its_step(tmp_path, monkeypatch):
    def deep(seed):
        torch.manual_seed(seed)
        return zoo.glorot(zoo.mlp(64, 10, 8, 16))

    def treated(change):
        def treat(model, inputs, seed):
            copied = copy.deepcopy(model)
            return Treated(change(copied), "done", ())

        return treat

    def shallow(model):
        return zoo.glorot(zoo.mlp(64, 10, 1, 64))

    def overflow(model):
        with torch.no_grad():
            model[0].weight.mul_(1e38)
        return model

    arms = {"shallow": treated(shallow), "nothing": treated(lambda m: m), "overflow": treated(overflow)}
    protocol = Protocol(steps=40, seeds=4, batch=32, learning_rate=0.5, optimiser="sgd")
    data = flat(0, 400)
    kept = Kept(tmp_path, plan("x", deep(0), protocol), resume=False)
    proof = prove(deep, F.cross_entropy, data, arms, protocol, kept=kept)
    by = {t.treatment: t for t in proof.trials}
    assert by["shallow"].verdict == "helps"
    assert by["shallow"].stopped is None
    nothing = by["nothing"]
    assert nothing.stopped == 40 * racing.FIRST // POINTS
    assert (nothing.verdict, nothing.gained.value) == ("no difference", 0.0)
    assert f"stopped at step {nothing.stopped} of 40: nothing gained" in nothing.what
    assert math.isnan(nothing.held_out.value)  # untreated copies were not held out at that step
    lost = by["overflow"]
    assert (lost.verdict, lost.stopped) == ("hurts", 4)
    assert "a run has diverged" in lost.what
    assert {t["treatment"]: t["stopped"] for t in proof.to_json()["trials"]} == {
        "shallow": None, "nothing": nothing.stopped, "overflow": 4,
    }  # fmt: skip
    again = Kept(tmp_path, plan("x", deep(0), protocol), resume=True)
    assert prove(deep, F.cross_entropy, data, arms, protocol, kept=again).to_json() == proof.to_json()
    monkeypatch.setattr(sys.modules["nonsingular.diagnosis.prove"], "hopeless", lambda *_: never)
    slow = prove(deep, F.cross_entropy, data, arms, protocol)
    assert [(t.treatment, t.verdict) for t in slow.trials] == [(t.treatment, t.verdict) for t in proof.trials]
    assert {t.stopped for t in slow.trials} == {None}
    assert slow.trials[0].to_json() == proof.trials[0].to_json()  # what was not left is the same to the last digit


def test_an_arm_that_is_left_and_may_hurt_is_not_called_no_different(monkeypatch):
    untreated = curve(0.9, points=racing.FIRST)

    def verdict(arm):
        module = sys.modules["nonsingular.diagnosis.prove"]  # the package's name is the function's
        monkeypatch.setattr(module, "run", lambda *_, **__: arm)
        ways = {"way": lambda before: (before, "done")}
        protocol = Protocol(steps=STEPS[-1], seeds=5)
        before = types.SimpleNamespace(samples=None, loss_fn=None, steps=None)
        return module.proved(before, ways, protocol, {"untreated": curve(0.9)}, scale=SCALE).trials[0]

    unsure, close = verdict(curve(1.1, 0.3, racing.FIRST)), verdict(untreated)
    assert unsure.gained.low < -0.05
    assert unsure.verdict == "left early"
    assert close.verdict == "no difference"
