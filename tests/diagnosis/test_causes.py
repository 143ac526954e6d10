"""Causes before symptoms, and rules of the loop on what was recorded of one: nothing is trained here."""

import contextlib
import io
import json
import math
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from nonsingular.diagnosis import contract, healthy
from nonsingular.diagnosis.batches import problem
from nonsingular.diagnosis.findings import Finding, _ranked, findings
from nonsingular.diagnosis.loop.bootstraps import DISCOUNTS
from nonsingular.diagnosis.loop.observer import Observer
from nonsingular.diagnosis.loop.pairing import numbers_of, order_of_rows, rows_apart
from nonsingular.diagnosis.loop.records import Call, Held, Loader, Loop, Movement, Thinned, Trainee, Update
from nonsingular.diagnosis.loop.returns import FORWARD, REVERSED, _come_before, judged, returns_in_sight
from nonsingular.diagnosis.loop.statistics import MEASURES
from nonsingular.diagnosis.loop.statistics.steps import loss_factor
from nonsingular.diagnosis.loop.taps import tapped
from nonsingular.diagnosis.loop.turned import Turned
from nonsingular.diagnosis.records import Statistic
from nonsingular.places import Place

HERE = Place(__file__, 1)


def first(numbers):
    """The kind that is told first of statistics with these values."""
    return findings({n: Statistic(v, (), "words") for n, v in numbers.items()}, healthy.limits())[0].kind


@pytest.mark.parametrize(
    ("cause", "kind"),
    [
        ({"left-alone": 0.3}, "untrained-parameters"),
        ({"flat-step": 1.0}, "untrained-parameters"),
        ({"left-out-labels": 0.1}, "invalid-targets"),
        ({"backwards": 0.4}, "wrong-sign"),
        ({"loop-idle-clip": 1.0}, "idle-clipping"),
        ({"loop-stale": 0.5}, "gradients-accumulate"),
        ({"cut-inputs": 0.9}, "gradient-cut"),
        ({"statistics-stay": 0.5}, "degenerate-normalisation"),
    ],
)
def test_what_the_program_shows_comes_before_what_is_inferred(cause, kind):
    symptoms = {
        "flat": 1.0, "gradient-decades": 30.0, "blind": 7.0, "outweighed": 5.0, "loop-large-step": 1.0,
        "loop-decay": 9.0, "output": 9.0,
    }  # fmt: skip
    assert first(symptoms) != kind
    assert first(symptoms | cause) == kind
    assert first(cause | symptoms) == kind


def test_a_structure_that_cannot_learn_comes_before_its_steps():
    assert first({"scrambled": 1.0, "loop-large-step": 1.0, "loop-decay": 9.0}) == "shape-mismatch"


def test_a_certain_trifle_comes_behind():
    def finding(kind, severity, certain=False):
        return Finding(kind, severity, (), (), "", "", (), certain=certain)

    mild, grave = finding("untrained-parameters", 0.05, certain=True), finding("vanishing-signal", 0.9)
    assert [f.kind for f in _ranked([mild, grave])] == ["vanishing-signal", "untrained-parameters"]
    sure, worse = finding("samples-mixed", 0.5, certain=True), finding("dead-units", 1.0)
    ranked = _ranked([worse, sure])
    assert [(f.kind, f.because) for f in ranked] == [("samples-mixed", ""), ("dead-units", "samples-mixed")]
    # An inferred kind never explains a certain one.
    cut, flat = finding("untrained-parameters", 0.9, certain=True), finding("vanishing-gradient", 1.0)
    assert next((f.kind, f.because) for f in _ranked([cut, flat])) == ("untrained-parameters", "")


def test_losses_of_either_sign_have_a_factor_of_their_size():
    assert loss_factor(Loop(factors=Thinned([-1.0, 1.0, 1.0, -1.0]))) == 1  # an actor's and a critic's in turn
    assert loss_factor(Loop(factors=Thinned([-0.01, 0.01]))) == 0.01


# --- steps ----------------------------------------------------------------------------------------------------


def loop(steps=30, **facts):
    """A loop of one optimiser that took so many steps, with a loss that stands still."""
    held = Held("optimizer", "SGD", HERE, ids={1}, size=10, steps=steps, place=HERE)
    seen = Loop(optimisers=[held], steps=steps, backwards=steps, ended=True)
    seen.losses.extend((i, 2.0) for i in range(steps))
    for name, value in facts.items():
        setattr(seen, name, value)
    return seen


def value(name, seen):
    return MEASURES[name](seen).value


def test_one_step_a_pass_through_the_data():
    def with_loader(steps, backwards, drawn, begun=6, length=20):
        return loop(steps, backwards=backwards, loaders={1: Loader(begun, length, HERE, drawn)})

    assert value("loop-few-steps", with_loader(6, 120, 120)) == 20
    assert value("loop-few-steps", with_loader(6, 6, 6)) == 20  # each pass ends after its first batch
    assert math.isnan(value("loop-few-steps", with_loader(120, 120, 120)))
    assert math.isnan(value("loop-few-steps", with_loader(30, 120, 120)))  # accumulated over four
    assert math.isnan(value("loop-few-steps", with_loader(6, 6, 6, length=1)))


def test_gradients_that_are_cleared_unused_are_counted_and_attacks_and_accumulation_are_not():
    torch.manual_seed(0)
    model, x = nn.Linear(4, 1), torch.randn(8, 4)
    sgd = torch.optim.SGD(model.parameters(), 0.01)

    def rounds(clear_each, attack=False, parts=4):
        observer = Observer()
        with tapped(observer):
            for _ in range(4):
                for _ in range(parts):
                    if clear_each:
                        sgd.zero_grad()
                    given = x.clone().requires_grad_(attack)
                    model(given).square().mean().backward()
                sgd.step()
                sgd.zero_grad()
        return value("loop-wasted", observer.finish())

    assert rounds(True) == 0.75
    assert math.isnan(rounds(False))
    assert math.isnan(rounds(True, attack=True))


def test_clipping_without_a_new_gradient():
    model = nn.Linear(4, 1)
    sgd = torch.optim.SGD(model.parameters(), 0.01)

    def clipped(before):
        observer = Observer()
        with tapped(observer):
            for _ in range(4):
                sgd.zero_grad()
                loss = model(torch.randn(8, 4)).square().mean()
                if before:
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                loss.backward()
                if not before:
                    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                sgd.step()
        return value("loop-idle-clip", observer.finish())

    assert (clipped(True), clipped(False)) == (1.0, 0.0)


def test_clipping_a_part_of_what_an_optimiser_holds():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    sgd = torch.optim.SGD(model.parameters(), 0.01)

    def clipped(part):
        observer = Observer()
        with tapped(observer):
            for _ in range(4):
                sgd.zero_grad()
                model(torch.randn(8, 4)).square().mean().backward()
                nn.utils.clip_grad_norm_(part.parameters(), 1e-3)  # a generator, which is looked through once
                sgd.step()
        return observer.finish()

    half, whole = clipped(model[0]), clipped(model)
    assert value("loop-part-clipped", half) == 0.5
    assert math.isnan(value("loop-part-clipped", whole))
    assert whole.updates[0].used < 2e-3 < whole.updates[0].made


def test_replicas_that_start_apart():
    def copies(apart):
        models = [nn.Linear(4, 1) for _ in range(2)]
        seen = loop(trainees=[Trainee(f"m{i}", m, calls=[Call(0, True, True, HERE)]) for i, m in enumerate(models)])
        for i in range(5):
            rows = {
                id(p): Movement(1.0 + apart * k, 0.1, 2.0 + i, -0.2, 0.0, 0.0, 0.0)
                for k, m in enumerate(models) for p in m.parameters()
            }  # fmt: skip
            seen.updates.append(Update(i, 0, 0.1, parameters=rows))
        return value("loop-replicas", seen)

    assert copies(0.1) == 1.0
    assert math.isnan(copies(0.0))


def test_batches_that_come_several_times_in_a_pass():
    def passes(samples, again=1):
        trainee = Trainee("model", nn.Linear(2, 1))
        trainee.calls = [
            Call(i, True, True, HERE, graded=True, sample=s, passed=(1 + i // 8, i % 8))
            for i, s in enumerate(samples) for _ in range(again)
        ]  # fmt: skip
        return value("loop-repeated", loop(trainees=[trainee]))

    assert passes([i // 2 for i in range(16)]) == 0.5  # two workers with one seed
    assert passes(list(range(8)) * 2) == 0  # the same data in every pass
    assert passes(list(range(16)), again=2) == 0  # two forward passes a batch


def test_a_train_of_ones_own_that_nobody_calls():
    class Staged(nn.Linear):
        def train(self, mode=True):
            return super().train(mode)

    def trained(told):
        model = Staged(2, 1)
        trainee = Trainee("model", model, calls=[Call(0, True, True, HERE, graded=True)], told=told)
        return value("loop-own-train", loop(trainees=[trainee], moved={id(model.weight)}))

    assert trained(0) == 1.0
    assert math.isnan(trained(3))


@pytest.mark.parametrize(("cut", "joint", "told"), [(True, False, 1.0), (False, False, None), (True, True, None)])
def test_a_judge_that_is_given_a_detached_output(cut, joint, told):
    torch.manual_seed(0)
    maker, judge = nn.Linear(3, 4), nn.Linear(4, 1)
    held = [*maker.parameters(), *judge.parameters()] if joint else maker.parameters()
    sgd = torch.optim.SGD(held, 0.01)
    observer = Observer()
    with tapped(observer):
        for _ in range(5):
            made = maker(torch.randn(8, 3))
            loss = judge(made.detach() if cut else made).mean() + 0.1 * made.square().mean()
            sgd.zero_grad()
            loss.backward()
            sgd.step()
    found = value("loop-cut-feed", observer.finish())
    assert found == told or (told is None and math.isnan(found))


def test_weights_that_were_kept_without_a_copy():
    model = nn.Linear(3, 1)
    sgd = torch.optim.SGD(model.parameters(), 0.01)

    def restored(kept):
        observer = Observer()
        with tapped(observer):
            for _ in range(4):
                sgd.zero_grad()
                model(torch.randn(8, 3)).mean().backward()
                sgd.step()
            model.load_state_dict(kept)
        return value("loop-own-state", observer.finish())

    assert restored(model.state_dict()) == 1.0
    assert math.isnan(restored({k: v.clone() for k, v in model.state_dict().items()}))


# --- schedules ------------------------------------------------------------------------------------------------


def scheduled(tmp_path, mode, metrics, line):
    (tmp_path / "train.py").write_text(line + "\n")
    seen = loop()
    seen.optimisers[0].rates.append(0.1)
    seen.optimisers[0].schedule = "ReduceLROnPlateau"
    seen.optimisers[0].schedule_place = Place(str(tmp_path / "train.py"), 1)
    seen.optimisers[0].scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(
        torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1), mode
    )
    seen.optimisers[0].metrics = metrics
    return value("loop-plateau", seen)


@pytest.mark.parametrize(
    ("mode", "metrics", "line", "wrong"),
    [
        ("max", [2.0, 1.5, 1.1], "scheduler.step(val_loss)", True),
        ("max", [2.0, 1.5, 1.1], "scheduler.step(v)", True),  # both fall
        ("min", [0.3, 0.5, 0.7], "scheduler.step(accuracy)", True),
        ("min", [2.0, 1.5, 1.1], "scheduler.step(val_loss)", False),
        ("min", [1.0, 1.2, 1.5], "scheduler.step(v)", False),  # it may overfit
        ("max", [0.3, 0.5, 0.7], "scheduler.step(accuracy)", False),
    ],
)
def test_the_mode_of_a_plateau_scheduler(mode, metrics, line, wrong, tmp_path):
    told = [(m, 2.0 - i / 2) for i, m in enumerate(metrics)]
    assert scheduled(tmp_path, mode, told, line) == wrong


def test_a_warm_up_that_is_longer_than_the_training():
    def warmed(rates, factor, steps=30):
        seen = loop(steps)
        o = seen.optimisers[0]
        sgd = torch.optim.SGD([nn.Parameter(torch.ones(1))], 0.1)
        o.scheduler, o.base = torch.optim.lr_scheduler.LambdaLR(sgd, factor), 0.1
        for rate in rates:
            o.rates.append(rate)
        return value("loop-warming", seen)

    slow = lambda n: min(1.0, n / 5000)  # noqa: E731
    assert warmed([0.1 * slow(i + 1) for i in range(30)], slow) == pytest.approx(math.log10(5000 / 30), rel=0.01)
    short = lambda n: min(1.0, n / 10)  # noqa: E731
    assert warmed([0.1 * short(i + 1) for i in range(30)], short) == pytest.approx(0, abs=1e-9) or math.isnan(
        warmed([0.1 * short(i + 1) for i in range(30)], short)
    )


def test_a_small_rate_is_small_where_its_schedule_never_leads_to_the_base():
    """A schedule whose factor never comes near 1 is judged by the largest that it has."""
    from nonsingular.diagnosis.loop.statistics.steps import highest_rate_ahead

    sgd = torch.optim.SGD([nn.Parameter(torch.ones(1))], 1e-3)
    held = Held("o", "SGD", HERE, base=1e-3)
    held.scheduler = torch.optim.lr_scheduler.LambdaLR(sgd, lambda n: min((n + 1) ** -0.5, (n + 1) * 4000**-1.5))
    assert highest_rate_ahead(held) == pytest.approx(1e-3 * 4000**-0.5, rel=0.02)
    held.scheduler = torch.optim.lr_scheduler.StepLR(sgd, 3)
    assert math.isnan(highest_rate_ahead(held))


# --- rows and data --------------------------------------------------------------------------------------------


def test_targets_in_another_order_than_their_inputs():
    torch.manual_seed(0)
    x, n, y = torch.randn(16, 5), torch.randint(1, 9, (16,)), torch.randint(0, 3, (16,))
    order = n.argsort(descending=True)
    batch = [x, n, y]
    found = order_of_rows(x[order], batch)
    assert torch.equal(found, order)
    assert rows_apart(y, batch, found) is True
    assert rows_apart(y[order], batch, found) is False
    assert rows_apart(y, batch, order_of_rows(x, batch)) is False
    assert rows_apart(y[order], batch, order_of_rows(x, batch)) is True
    assert order_of_rows(x[order][:, :3], batch) is not None  # cut to the longest sample
    assert order_of_rows(0.3 * x + 0.7 * x[order], batch) is None  # mixed
    assert rows_apart(y.float(), batch, found) is None  # made anew


def test_a_data_set_that_is_written_over_is_told_from_one_that_is_not():
    class Rows:
        def __init__(self):
            self.x, self.name = torch.ones(8, 3), "rows"

    rows = Rows()
    once = numbers_of(rows)
    assert numbers_of(rows) == once == (24.0,)
    rows.x -= 0.5
    assert numbers_of(rows) == (12.0,)
    assert numbers_of(torch.utils.data.Subset(rows, [0, 1])) == (12.0,)
    assert numbers_of([1, 2]) is None


def drifting(levels, rewritten=False):
    model = nn.Linear(2, 1)
    trainee = Trainee("model", model)
    trainee.calls = [Call(i, True, True, HERE, graded=True, level=x, rewritten=rewritten) for i, x in enumerate(levels)]
    return loop(trainees=[trainee], moved={id(p) for p in model.parameters()})


def test_inputs_that_drift():
    steady = [(0.01 * (-1) ** i, 1 + 0.02 * (i % 3)) for i in range(40)]
    assert math.isnan(value("loop-drift", drifting(steady)))
    shrinking = [(m, s * 10 ** (-i / 20)) for i, (m, s) in enumerate(steady)]
    assert value("loop-drift", drifting(shrinking)) > 1
    assert math.isnan(value("loop-rewritten", drifting(shrinking)))  # no data set is known to have changed
    assert value("loop-rewritten", drifting(shrinking, rewritten=True)) > 1
    assert math.isnan(value("loop-rewritten", drifting(steady, rewritten=True)))  # buffers are filled anew
    noisy = [(0.0, 10 ** (((7 * i) % 11) / 5 - 1)) for i in range(40)]  # of any size at all times
    assert math.isnan(value("loop-drift", drifting(noisy)))


@pytest.mark.parametrize(("file", "told"), [("/home/me/episode.py", FORWARD), ("/x/site-packages/torch/torch.py", "")])
def test_rewards_are_looked_for_in_modules_of_the_users_own(file, told):
    episode = ModuleType("episode")
    episode.__file__, episode.rewards = file, [1.0, 0.0, 2.0, 1.0, 3.0]
    returns = [1.0, 1.0, 3.0, 4.0, 7.0]
    assert returns_in_sight() == told, returns


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("baseline", [lambda x: x, lambda x: x - x.mean(0), lambda x: (x - x.mean()) / x.std()])
@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_what_log_probabilities_are_multiplied_by_is_held_against_rewards(discount, baseline, turned):
    torch.manual_seed(1)
    table = torch.randn(12, 6).double()
    rewards = table.t() if turned else table
    factors = torch.tensor([[discount ** (t - s) * (s <= t) for s in range(6)] for t in range(6)]).double()

    def told(weights):
        return returns_in_sight([weights.t() if turned else weights])

    assert rewards.numel() == 72
    assert told(baseline(table @ factors.t())) == FORWARD
    assert not told(baseline(table @ factors))
    assert not told(baseline(table))
    assert not told(baseline(table.sum(1, keepdim=True).expand(12, 6)))
    assert not told(torch.randn(12, 6))


@pytest.mark.parametrize("standardised", [False, True])
@pytest.mark.parametrize("discount", [1.0, 0.99, 0.9])
def test_returns_are_held_against_rewards(standardised, discount):
    torch.manual_seed(1)
    rewards = torch.randn(20).double()

    def told(order, turn=False):
        sums, total = [], 0.0
        for r in rewards.tolist()[:: -1 if order else 1]:
            total = r + discount * total
            sums.append(total)
        sums = sums[::-1] if turn else sums
        out = torch.tensor(sums).double()
        return ((out - out.mean()) / out.std() if standardised else out).tolist()

    assert judged(rewards.tolist(), told(True, turn=True)) == ""
    assert judged(rewards.tolist(), told(False)) == FORWARD
    assert judged(rewards.tolist(), told(True)) == REVERSED
    assert judged(rewards.tolist(), torch.randn(20).tolist()) == ""


@pytest.mark.parametrize("shape", [(1,), (2,), (7,), (64,), (100,), (3, 33)])
def test_discounted_sums_are_those_of_one_step_after_the_other(shape):
    rewards = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    discounts = torch.tensor(DISCOUNTS, dtype=torch.float64).reshape(-1, *[1] * (rewards.ndim - 1))
    sums, total = [], 0.0
    for t in range(shape[-1]):
        total = rewards[..., t] + discounts * total
        sums.append(total)
    torch.testing.assert_close(torch.from_numpy(_come_before(rewards.numpy())), torch.stack(sums, -1))


def test_seeds_that_are_set_at_every_step():
    seen = loop()
    seen.seeds[0, HERE] = 30
    assert value("loop-reseeded", seen) == 1.0
    seen.seeds[0, HERE] = 3
    assert value("loop-reseeded", seen) == 0.1


def test_16_bit_steps_that_are_half_lost():
    seen = loop()
    seen.updates.extend(
        Update(i, 0, 1e-4, parameters={1: Movement(1.0, 1e-5, 1.0, -1.0, 0.0, 0.7, 0.0)}, dtype="bfloat16")
        for i in range(10)
    )
    assert value("loop-lost-steps", seen) == pytest.approx(0.7)
    assert first({"loop-lost-steps": 0.7, "loop-small-step": 5.0}) == "underflow"


# --- the contract ---------------------------------------------------------------------------------------------


def numbers(model, loss, x, y):
    return contract.statistics(problem(model, loss, [(x, y)], 64))


def test_right_and_wrong_outputs_tell_the_sign_of_any_loss():
    torch.manual_seed(0)
    x = torch.randn(32, 6)
    y, t = (x[:, :1] * x[:, 1:2]), (x[:, 0] > 0).long()
    square, alike = lambda o, y: (o - y).square().mean(), lambda o, y: -F.cosine_similarity(o, y, dim=0).mean()
    for loss in (square, alike):
        assert numbers(nn.Linear(6, 1), loss, x, y)["backwards"].value < -0.5
    assert numbers(nn.Linear(6, 1), lambda o, y: -square(o, y), x, y)["backwards"].value > 0.5
    picked = lambda o, t: -o.log_softmax(1)[torch.arange(32), t].mean()  # noqa: E731
    assert numbers(nn.Linear(6, 3), picked, x, t)["backwards"].value < -0.5
    assert numbers(nn.Linear(6, 3), lambda o, t: -picked(o, t), x, t)["backwards"].value > 0.5
    # What is made of the targets before they are compared: their opposite, and one class against the others.
    for loss, of in (
        (lambda o, y: square(o, 1 - y), y),
        (lambda o, t: -((t > 0) * F.logsigmoid(o[:, 0]) + (t < 1) * F.logsigmoid(-o[:, 0])).mean(), t),
        (lambda o, t: F.binary_cross_entropy(o.sigmoid()[:, 0], (t > 0).float()), t),
    ):
        assert not numbers(nn.Linear(6, 1 if of is y else 3), loss, x, of)["backwards"].value > 0.05
    rewards = torch.rand(32, 3)
    chosen = rewards.argmax(1, keepdim=True)  # which earned less than was expected
    policy = lambda o, r: -(o.log_softmax(1).gather(1, chosen) * (r.gather(1, chosen) - 1.0)).mean()  # noqa: E731
    assert not numbers(nn.Linear(6, 3), policy, x, rewards)["backwards"].value > 0.05
    embedded = numbers(nn.Linear(6, 8), lambda o, t: (o[t == 0].mean(0) * o[t == 1].mean(0)).sum().square(), x, t)
    assert not embedded["backwards"].value > 0.05
    ignoring = numbers(nn.Linear(6, 3), lambda o, t: o.square().mean() + 0 * t.sum(), x, t)
    assert not ignoring["backwards"].value > 0.05


def test_dropout_of_attention_that_knows_no_modes():
    class Net(nn.Module):
        def __init__(self, always):
            super().__init__()
            self.first, self.last, self.always = nn.Linear(6, 8), nn.Linear(8, 1), always

        def forward(self, x):
            h = self.first(x)[:, None].expand(-1, 4, -1)
            p = 0.2 if self.always or self.training else 0.0
            return self.last(F.scaled_dot_product_attention(h, h, h, dropout_p=p).mean(1))

    x, y = torch.randn(32, 6), torch.randn(32, 1)
    assert [numbers(Net(a), F.mse_loss, x, y)["random-evaluation"].value for a in (True, False)] == [1.0, 0.0]


def test_padding_that_counts_in_the_loss():
    torch.manual_seed(0)
    x, model = torch.randint(1, 9, (32, 8)), nn.Embedding(9, 9)
    y = torch.randint(1, 9, (32, 8)) * (torch.arange(8) < torch.randint(2, 8, (32, 1)))

    def counted(y, **given):
        loss = lambda o, y: F.cross_entropy(o.flatten(0, 1), y.flatten(), **given)  # noqa: E731
        return numbers(model, loss, x, y)["padding-counted"].value

    assert counted(y) == pytest.approx(float((y == 0).double().mean()))
    assert counted(y, ignore_index=0) == 0
    assert counted(torch.where(torch.arange(8) % 3 == 1, 0, y)) == 0  # zeros elsewhere too: a class
    assert counted(torch.randint(1, 9, (32, 8))) == 0


def test_probabilities_that_are_cut_or_held_against_ones_and_zeros():
    torch.manual_seed(0)
    x = torch.randn(32, 6)
    y, one = (x[:, :1] > 0).float(), F.one_hot((x[:, 0] > 0).long(), 2).float()

    def entropy(p, y):
        return -(y * p.log() + (1 - y) * (1 - p).log()).mean()

    cut = numbers(nn.Linear(6, 1), lambda o, y: entropy(o.clamp(1e-7, 1 - 1e-7), y), x, y)
    safe = numbers(nn.Linear(6, 1), lambda o, y: entropy(o.sigmoid().clamp(1e-7, 1 - 1e-7), y), x, y)
    assert [n["clipped-logits"].value == 1 for n in (cut, safe)] == [True, False]
    for loss in (lambda o, y: F.l1_loss(o.softmax(1), y), lambda o, y: (o.softmax(1) - y).abs().mean()):
        assert numbers(nn.Linear(6, 2), loss, x, one)["unsuited"].value == 1
    assert numbers(nn.Linear(6, 2), lambda o, y: F.mse_loss(o.softmax(1), y), x, one)["unsuited"].value == 0
    assert numbers(nn.Linear(6, 2), F.l1_loss, x, one)["unsuited"].value == 0


def test_a_loss_that_is_linear_in_its_outputs_is_not_called_endless():
    torch.manual_seed(0)
    x, y = torch.randn(32, 6), torch.randn(32, 1)
    assert numbers(nn.Linear(6, 1), lambda o, y: (o * y.sign()).mean(), x, y)["endless"].value == 0
    assert numbers(nn.Linear(6, 1), lambda o, y: -(o - y).square().mean(), x, y)["endless"].value == 1
    assert numbers(nn.Linear(6, 1), F.mse_loss, x, y)["undefined"].value == 0


def test_a_step_of_two_networks_and_optimisers_is_rehearsed_and_the_first_is_looked_at(tmp_path, monkeypatch):
    from nonsingular import cli

    (tmp_path / "gan.py").write_text(
        "import torch\nfrom torch import nn\nimport torch.nn.functional as F\n"
        "class Gan(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.g, self.d = nn.Linear(2, 3), nn.Sequential(nn.Linear(3, 8), nn.ReLU(), nn.Linear(8, 1))\n"
        "def build():\n    return Gan()\n"
        "def optimiser(model):\n    return [torch.optim.Adam(m.parameters(), 1e-3) for m in (model.d, model.g)]\n"
        "def batches():\n    return [(torch.randn(16, 3), torch.zeros(16)) for _ in range(6)]\n"
        "def train_step(model, batch, optimisers):\n    real, fake = batch[0], model.g(torch.randn(16, 2))\n"
        "    loss = F.softplus(-model.d(real)).mean() + F.softplus(model.d(fake.detach())).mean()\n"
        "    loss.backward()\n    optimisers[0].step()\n"  # and nobody clears the discriminator's gradients
        "    optimisers[1].zero_grad()\n    F.softplus(-model.d(fake)).mean().backward()\n    optimisers[1].step()\n"
    )
    monkeypatch.chdir(tmp_path)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert cli.run(["diagnose", "gan.py:build", "--step", "gan.py:train_step", "--json"]) == 0
    assert json.loads(out.getvalue())["findings"][0]["kind"] == "gradients-accumulate"


# --- rates and settings ---------------------------------------------------------------------------------------


def stepped(make, schedule=lambda optimiser: None, steps=12):
    """What is recorded of some steps of an optimiser, with its schedule."""
    torch.manual_seed(0)
    model, x, observer = nn.Linear(4, 1), torch.randn(8, 4), Observer()
    with tapped(observer):
        optimiser = make(model.parameters())
        scheduler = schedule(optimiser)
        for _ in range(steps):
            optimiser.zero_grad()
            F.mse_loss(model(x), x[:, :1]).backward()
            optimiser.step()
            if scheduler is not None:
                scheduler.step()
    return observer.finish()


@pytest.mark.parametrize(
    ("make", "odd"),
    [
        (lambda p: torch.optim.SGD(p, 0.03, 1e-4, 0.9), True),
        (lambda p: torch.optim.SGD(p, 0.03, 5e-4, 0, 0.9), True),
        (lambda p: torch.optim.SGD(p, 0.03, momentum=1.5), True),
        (lambda p: torch.optim.Adam(p, 1e-3, (0.999, 0.9)), True),
        (lambda p: torch.optim.AdamW(p, 1e-3, (0.1, 0.001)), True),
        (lambda p: torch.optim.RMSprop(p, 1e-3, 1e-4), True),
        (lambda p: torch.optim.Adagrad(p, 1e-2, 0.9), True),
        (lambda p: torch.optim.AdamW(p, lr=1e-6, weight_decay=1e-3), True),
        (lambda p: torch.optim.SGD(p, 0.03, 0.9, 0, 1e-4), False),
        (lambda p: torch.optim.SGD(p, 0.03, 0.9, 0.9), False),
        (lambda p: torch.optim.SGD(p, 0.03, dampening=0.9), False),  # has no effect
        (lambda p: torch.optim.SGD(p, 0.03), False),
        (lambda p: torch.optim.Adam(p, 1e-3, (0.0, 0.9)), False),
        (lambda p: torch.optim.AdamW(p, 1e-3, weight_decay=0.3), False),
        (lambda p: torch.optim.RMSprop(p, 1e-3), False),
        (lambda p: torch.optim.Adadelta(p), False),
        (lambda p: torch.optim.Adagrad(p, 1e-2), False),
        (lambda p: torch.optim.AdamW(p, lr=1e-6, weight_decay=0.0), False),
        (lambda p: torch.optim.Adafactor(p), False),
        (lambda p: torch.optim.Adamax(p), False),
    ],
)
def test_settings_that_are_hardly_meant_are_told_by_their_values(make, odd):
    seen = stepped(make, steps=4)
    assert (value("loop-settings", seen) == 1) == odd, seen.optimisers[0].settings


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: torch.optim.Adam(p, 1e-3, (0.999, 0.9)), "in each other's place"),
        (lambda p: torch.optim.Adam(p, 1e-3, (0.999, 0.5)), "in each other's place"),
        (lambda p: torch.optim.SGD(p, 0.03, 1e-4, 0.9), "in each other's place"),
        (lambda p: torch.optim.RMSprop(p, 1e-3, 1e-8, 0.9), "in each other's place"),
        (lambda p: torch.optim.Adam(p, 1e-3, (0.9, 0.5)), "over some 10 steps and their squares over 2 alone"),
        (lambda p: torch.optim.AdamW(p, 1e-3, (0.0, 0.3)), "over some 1.4 steps"),
        (lambda p: torch.optim.RMSprop(p, 1e-3, 0.3), "over some 1.4 steps"),
        (lambda p: torch.optim.Adagrad(p, 1e-2, 0.9), "divided by 9.1"),
        (lambda p: torch.optim.SGD(p, 0.03, 1.5), "never fades"),
    ],
)
def test_only_what_would_be_usual_the_other_way_round_is_called_exchanged(make, said):
    remedy = MEASURES["loop-settings"](stepped(make, steps=4)).remedy
    assert said in remedy
    assert ("each other's place" in remedy) == ("each other's place" in said)


@pytest.mark.parametrize(
    ("rate", "schedule", "decades"),
    [
        (3e-3, lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda i: 3e-3 * min(1, (i + 1) / 4)), 2.5),
        (0.1, lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda i: 0.1 * 0.9**i), 1.0),
        (1e-3, lambda o: torch.optim.lr_scheduler.ConstantLR(o, 1e-3, 1000), 3.0),
        (1e-3, lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda i: min(1, (i + 1) / 4000)), None),  # a warm-up
        (1e-3, lambda o: torch.optim.lr_scheduler.LinearLR(o, 1e-4, total_iters=100_000), None),
        (1.0, lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda i: 8**-2 * min((i + 1) ** -0.5, i / 64)), None),
        (1e-3, lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12), None),
        (1e-3, lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 1e-3, 12), None),
        (1e-3, lambda o: None, None),
    ],
)
def test_a_schedule_that_never_comes_to_the_rate(rate, schedule, decades):
    seen = stepped(lambda p: torch.optim.Adam(p, rate), schedule)
    found = value("loop-scaled-away", seen)
    assert math.isnan(found) if decades is None else math.isclose(found, decades, abs_tol=0.05)


# --- what a loss compares ---------------------------------------------------------------------------------------


def cosine(a, b):
    return -F.cosine_similarity(a, b).mean()


def divergence(a, b):
    return 4 * F.kl_div((a / 2).log_softmax(1), (b / 2).softmax(1), reduction="batchmean")


@pytest.mark.parametrize(
    ("loss", "both"),
    [
        (lambda f, g, x: F.mse_loss(f(x), g(x)), True),
        (lambda f, g, x: ((f(x) - g(x)) ** 2).mean(), True),
        (lambda f, g, x: 0.5 * F.l1_loss(f(x), g(x)), True),
        (lambda f, g, x: divergence(f(x), g(x)), True),
        (lambda f, g, x: F.mse_loss(F.normalize(f(x)), F.normalize(g(x))), True),
        (lambda f, g, x: cosine(f(g(x)), g(x + 0.1)) / 2 + cosine(f(g(x + 0.1)), g(x)) / 2, True),
        (lambda f, g, x: F.mse_loss(f(x), g(x).detach()), False),
        (lambda f, g, x: cosine(f(g(x)), g(x + 0.1).detach()), False),
        (lambda f, g, x: divergence(f(x), g(x).detach()), False),
        (lambda f, g, x: F.mse_loss(f(x), g(x)) + F.cross_entropy(g(x), torch.arange(8) % 4), False),  # held by labels
        (lambda f, g, x: f(x).mean() - g(x).mean(), False),  # a critic
        (lambda f, g, x: -F.logsigmoid(f(x) - g(x)).mean(), False),  # a preference
        (lambda f, g, x: F.mse_loss((f(x) - g(x)).norm(dim=1), x[:, 0]), False),  # distances that are given
        (lambda f, g, x: ((f(x) - g(x)).square().sum(1) - x[:, 0]).square().mean(), False),
        (lambda f, g, x: F.mse_loss((f(x) * g(x)).sum(1), x[:, 0]), False),
        (lambda f, g, x: F.triplet_margin_loss(f(x), g(x), f(x.flip(0))), False),
        (lambda f, g, x: F.cross_entropy(f(x) @ g(x).t(), torch.arange(8)), False),
        (lambda f, g, x: F.mse_loss(f(g(x)), x), False),
    ],
)
def test_a_distance_whose_ends_are_both_trained(loss, both):
    torch.manual_seed(0)
    f, g, x, observer = nn.Linear(4, 4), nn.Linear(4, 4), torch.randn(8, 4), Observer()
    with tapped(observer):
        optimiser = torch.optim.SGD([*f.parameters(), *g.parameters()], 0.01)
        for _ in range(4):
            optimiser.zero_grad()
            loss(f, g, x).backward()
            optimiser.step()
    assert (value("loop-drawn-together", observer.finish()) == 1) == both


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell, self.out = nn.GRUCell(3, 5), nn.Linear(5, 2)

    def forward(self, x, state):
        state = self.cell(x, state)
        return self.out(state), state


@pytest.mark.parametrize(
    ("carry", "beside", "each", "cut"),
    [
        (lambda h, t: h.detach(), True, False, True),
        (lambda h, t: h.data, True, False, True),
        (lambda h, t: h, True, False, False),
        (lambda h, t: h.detach() if t % 4 == 3 else h, True, False, False),  # truncated
        (lambda h, t: h.detach(), False, False, False),  # a refinement of the same input
        (lambda h, t: h.detach(), True, True, False),  # each call has a loss of its own
    ],
)
@pytest.mark.parametrize("plain", [False, True])
def test_a_state_that_loses_its_graph_at_each_time_step(carry, beside, each, cut, plain):
    torch.manual_seed(0)
    model, head, observer = nn.GRUCell(3, 5) if plain else Cell(), nn.Linear(5, 2), Observer()
    with tapped(observer):
        optimiser = torch.optim.SGD([*model.parameters(), *head.parameters()], 0.01)
        for _ in range(5):
            x, h, loss = torch.randn(8, 6, 3), torch.zeros(8, 5), torch.zeros(())
            for t in range(6):
                made = model(x[:, t if beside else 0], carry(h, t))
                out, h = (head(made), made) if plain else made
                loss = loss + out.square().mean() if each else out.square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    assert (value("loop-cut-state", observer.finish()) == 1) == cut


@pytest.mark.parametrize(
    ("turn", "told"),
    [
        (lambda x, y: (x.flip(-1), y), (6, 0)),
        (lambda x, y: (x.rot90(1, (-2, -1)), y), (6, 0)),
        (lambda x, y: (x.roll(3, -2), y), (6, 0)),
        (lambda x, y: (x.flip(-1), y.flip(-1)), (0, 6)),
        (lambda x, y: (x.rot90(1, (-2, -1)), y.rot90(1, (-2, -1))), (0, 6)),
        (lambda x, y: (x, y), (0, 0)),
        (lambda x, y: (1.2 * x, y), (0, 0)),  # its contrast
        (lambda x, y: (x.flip(1), y), (0, 0)),  # its channels
        (lambda x, y: (x.flip(-1), torch.ones_like(y)), (0, 0)),
        (lambda x, y: (x.flip(-1), (y + y.flip(-1)).clamp(max=1)), (0, 0)),  # the same both ways round
    ],
)
@pytest.mark.parametrize("classes", [False, True])
def test_dense_targets_go_the_way_of_their_inputs(turn, told, classes):
    torch.manual_seed(0)
    x, y, kept = torch.randn(6, 3, 8, 8), (torch.rand(6, 1, 8, 8) < 0.3).float(), Turned()
    for inputs, targets in ((x, turn(x, y)[1] if told == (0, 0) else y), turn(x, y)):
        kept.given(inputs)
        found = kept.compared(targets[:, 0].long() if classes else targets)
    assert found == told


def test_as_many_classes_as_places_are_no_dense_targets():
    x, kept = torch.randn(6, 1, 10), Turned()
    for inputs in (x, x.flip(-1)):
        kept.given(inputs)
        found = kept.compared(torch.eye(10)[:6])
    assert found == (0, 0)


def test_inputs_that_are_to_be_turned_back_have_no_targets_that_stayed():
    x, kept = torch.randn(6, 3, 8, 8), Turned()
    for inputs in (x, x.flip(-1)):
        kept.given(inputs)
        found = kept.compared(x)
    assert found == (0, 0)
