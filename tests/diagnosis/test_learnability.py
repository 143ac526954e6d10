"""What copies learn, what from, and what makes them learn: known patterns and known mistakes."""

import copy
import math
import re
import sys
import time

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from nonsingular.diagnosis.constants import best_constant
from nonsingular.diagnosis.course import Protocol, arm, never, run
from nonsingular.diagnosis.learnability import learnability
from nonsingular.diagnosis.optimisers import like, named
from nonsingular.diagnosis.patches import diff
from nonsingular.diagnosis.programs import PROGRAMS, TREATMENTS
from nonsingular.diagnosis.prove import copies, known, proved
from nonsingular.errors import InputError

QUICK = Protocol(steps=60, seeds=3, batch=32)


def mlp(inputs=8, outputs=3, last=None):
    return lambda seed: _made(seed, inputs, outputs, last)


def _made(seed, inputs, outputs, last):
    torch.manual_seed(seed)
    layers = [nn.Linear(inputs, 32), nn.ReLU(), nn.Linear(32, outputs)]
    return nn.Sequential(*layers, *([last] if last is not None else []))


def classes(count=320):
    x = torch.randn(count, 8, generator=torch.Generator().manual_seed(0))
    return x, x[:, :3].argmax(1)


def numbers(count=320):
    x = torch.randn(count, 8, generator=torch.Generator().manual_seed(0))
    return x, (x[:, :2].sum(1, keepdim=True))


def learned(build, loss, data, steps=None, protocol=QUICK):
    return learnability(arm(copies(build, protocol), loss, [data], protocol, steps), protocol, {})[0]


# --- the best constant ------------------------------------------------------------------------------------------


def test_best_constants_are_those_of_the_textbook():
    x, y = classes()
    told = arm(copies(mlp(), QUICK), F.cross_entropy, [(x, y)], QUICK)
    share = torch.bincount(told.told.target).double() / len(told.told.target)
    assert best_constant(told, told.told) == pytest.approx(float(-(share * share.log()).sum()), rel=1e-4)
    x, y = numbers()
    told = arm(copies(mlp(outputs=1), QUICK), F.mse_loss, [(x, y)], QUICK)
    assert best_constant(told, told.told) == pytest.approx(float(told.told.target.var(unbiased=False)), rel=1e-4)
    told = arm(copies(mlp(outputs=1), QUICK), F.l1_loss, [(x, y)], QUICK)
    median = told.told.target.median()
    assert best_constant(told, told.told) == pytest.approx(float((told.told.target - median).abs().mean()), rel=1e-2)


def test_a_best_constant_that_takes_too_long_is_not_known():
    slow = iter(range(1000))

    def loss(output, target):
        next(slow)
        time.sleep(0.05)
        return F.l1_loss(output, target)

    x, y = numbers()
    told = arm(copies(mlp(outputs=1), QUICK), loss, [(x, y)], QUICK)
    done = next(slow)
    assert math.isnan(best_constant(told, told.told, seconds=0.1))
    assert next(slow) - done < 6
    expected = best_constant(told, told.told)
    assert best_constant(told, told.told, seconds=60) == expected


def test_a_loss_of_probabilities_has_a_best_constant():
    x, _ = classes()
    y = (x[:, :1] > 0.5).float()
    told = arm(copies(mlp(outputs=1, last=nn.Sigmoid()), QUICK), nn.BCELoss(), [(x, y)], QUICK)
    p = told.told.target.mean()
    assert best_constant(told, told.told) == pytest.approx(float(-(p * p.log() + (1 - p) * (1 - p).log())), rel=1e-3)


# --- arms that are left --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("steps", "verdict", "left"),
    [
        (named("sgd", 1e-6), "stuck", {"inputs alike", "targets permuted"}),
        (named("sgd", 3e-2), "learns", {"inputs alike"}),
        (named("adam", 3e-2), "learns", {"inputs alike", "one batch"}),
    ],
)
def test_arms_that_have_told_what_they_are_there_for_are_left_and_the_verdict_is_the_same(
    monkeypatch, steps, verdict, left
):
    def found():
        return learned(mlp(), F.cross_entropy, classes(), steps)

    fast = found()
    monkeypatch.setattr(sys.modules["nonsingular.diagnosis.learnability"], "complete", lambda *_: never)
    slow = found()
    assert fast.verdict == slow.verdict == verdict
    assert {r.arm for r in fast.rows if r.stopped is not None} == left
    assert {r.stopped for r in slow.rows} == {None}
    for quick, whole in zip(fast.rows, slow.rows, strict=True):
        if quick.stopped is None:
            assert quick.to_json() == whole.to_json()
        else:
            assert 18 <= quick.stopped < 60
            assert f"stopped at step {quick.stopped} of 60: " in quick.what
            assert quick.learned.value == pytest.approx(whole.learned.value, abs=0.025)


# --- patterns -----------------------------------------------------------------------------------------------------


def test_what_trains_is_said_to_train():
    found = learned(mlp(), F.cross_entropy, classes(), named("adam", 1e-2))
    assert found.verdict == "learns"
    assert "look at your loop" in found.words
    by = {r.arm: r for r in found.rows}
    assert by["untreated"].learned.low > 0.5
    assert by["inputs alike"].learned.value < 0.05
    assert by["targets permuted"].held_out.value < 0.05


def test_a_step_too_small_is_no_fault_of_the_data():
    found = learned(mlp(), F.cross_entropy, classes(), named("sgd", 1e-6))
    assert found.verdict == "stuck"
    assert "not in the data" in found.words


def test_runs_that_differ_too_much_accuse_nothing():
    """A healthy linear map, two seeds, a few small steps: where training starts is all there is to see."""
    x = torch.rand(64, 4, generator=torch.Generator().manual_seed(0))
    y = x @ torch.tensor([[0.3, -0.8], [-0.1, 0.6], [1.0, -0.2], [0.4, 0.9]]) + 0.5

    def build(seed):
        torch.manual_seed(seed)
        return nn.Linear(4, 2)

    found = learned(build, F.mse_loss, (x, y), named("adam", 1e-3), Protocol(steps=60, seeds=2, batch=64))
    one = next(r for r in found.rows if r.arm == "one batch")
    assert one.learned.low < 0 < 0.5 < one.learned.high
    assert "runs differ so much" in found.words
    assert "The cause lies" not in found.words


def test_a_step_too_large_diverges():
    found = learned(mlp(outputs=1), F.mse_loss, numbers(), named("sgd", 1e3))
    assert found.verdict == "diverges"
    assert "3 of 3 runs diverged" in found.words


def test_targets_that_inputs_tell_nothing_of_are_memorised():
    x, _ = classes(100)
    y = torch.randint(0, 3, (100,), generator=torch.Generator().manual_seed(1))
    found = learned(mlp(), F.cross_entropy, (x, y), named("adam", 2e-2), Protocol(steps=150, seeds=3, batch=32))
    assert found.verdict == "memorises"
    assert "Permuted targets are fitted as well" in found.words


def test_constant_targets_leave_nothing_to_learn():
    x, _ = numbers()
    assert learned(mlp(outputs=1), F.mse_loss, (x, torch.ones(len(x), 1))).verdict == "nothing to learn"


def test_losses_of_model_and_batch_have_no_constant_but_the_first_loss():
    x, y = numbers()

    def loss(model, batch):
        return F.mse_loss(model(batch[0]), batch[1]) + 1e-4 * model[0].weight.square().sum()

    found = learned(mlp(outputs=1), loss, (x, y), named("adam", 1e-2))
    assert found.verdict == "learns"
    assert found.constant_is != "the best prediction that is the same for every sample"


# --- the user's own optimiser ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3),
        lambda m: torch.optim.RMSprop(m.parameters(), lr=1e-2),
        lambda m: torch.optim.AdamW(
            [{"params": m[0].parameters(), "lr": 1e-2}, {"params": m[2].parameters()}], lr=1e-3
        ),
        lambda m: torch.optim.Adam([m[0].weight], lr=1e-2),
        lambda m: torch.optim.SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True),
        lambda m: torch.optim.Adam(m.parameters(), lr=1e-2, amsgrad=True, weight_decay=1e-2, foreach=False),
        lambda m: torch.optim.Adagrad(m.parameters(), lr=1e-2, lr_decay=0.1, initial_accumulator_value=0.1),
        lambda m: torch.optim.SGD(m.parameters(), lr=torch.tensor(0.1), maximize=True),
    ],
)
def test_copies_are_stepped_as_the_users_network_would_be(make):
    """The obvious way: the user's own network, its optimiser, the same batches in the same order."""
    x, y = classes()
    protocol = Protocol(steps=6, seeds=2, batch=32)
    build = mlp()
    whole = arm(copies(build, protocol), F.cross_entropy, [(x, y)], protocol, like(make, build(0)))
    curve = run(whole, protocol)
    model = build(1)
    optimiser = make(model)
    from nonsingular.training.trainer import _permutation  # the order of batches is the trainer's own

    order = _permutation(len(whole.train), 1, 0)
    for step in range(6):
        rows = whole.train[order[32 * step : 32 * step + 32]]
        optimiser.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimiser.step()
    told = whole.train[:512]
    assert curve.loss[1] == pytest.approx(float(F.cross_entropy(model(x[told]), y[told]).detach()), rel=1e-4)


def test_optimisers_that_cannot_be_stacked_are_refused():
    with pytest.raises(InputError, match="LBFGS"):
        like(lambda m: torch.optim.LBFGS(m.parameters()), mlp()(0))
    with pytest.raises(InputError, match="made for another model"):
        like(torch.optim.Adam(mlp()(0).parameters()), mlp()(0))
    with pytest.raises(InputError, match=r"must return a torch\.optim\.Optimizer"):
        like(lambda m: None, mlp()(0))


def test_gradients_are_clipped_run_by_run():
    steps = named("sgd", 1.0)
    from dataclasses import replace

    p = {"w": nn.Parameter(torch.zeros(2, 3))}
    p["w"].grad = torch.tensor([[3.0, 4.0, 0.0], [0.3, 0.4, 0.0]])
    replace(steps, clip=1.0)(p).step()
    torch.testing.assert_close(-p["w"].detach(), torch.tensor([[0.6, 0.8, 0.0], [0.3, 0.4, 0.0]]))


# --- treatments of the program -----------------------------------------------------------------------------------


def trial(name, build, loss, data, steps=None, protocol=QUICK):
    untreated = arm(copies(build, protocol), loss, [data], protocol, steps)
    return proved(untreated, known([name]), protocol, {}).trials[0]


def test_removing_a_softmax_helps_cross_entropy():
    found = trial(
        "remove_last_activation", mlp(last=nn.Softmax(1)), nn.CrossEntropyLoss(), classes(), named("adam", 1e-2)
    )
    assert found.verdict == "helps"
    assert "softmax" in found.what


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(8, 32), nn.Linear(32, 1)

    def forward(self, x):
        return torch.sigmoid(self.b(torch.sigmoid(self.a(x)))).squeeze(-1)


def test_only_the_last_activation_is_removed_however_it_is_written():
    x, _ = classes()
    told = arm([Functional(), Functional()], F.mse_loss, [(x, x[:, 0])], QUICK)
    changed, _ = TREATMENTS["remove_last_activation"](told)
    net = told.networks[0]
    expected = net.b(torch.sigmoid(net.a(x))).squeeze(-1)
    torch.testing.assert_close(changed.networks[0](x), expected)
    with pytest.raises(InputError, match="comes last"):
        TREATMENTS["remove_last_activation"](arm(copies(mlp(), QUICK), F.cross_entropy, [classes()], QUICK))


def test_scaling_targets_helps_far_targets():
    x, y = numbers()
    found = trial("scale_targets", mlp(outputs=1), nn.MSELoss(), (x, 1000 + 300 * y), named("adam", 1e-2))
    assert found.verdict == "helps"


def test_matching_shapes_helps_where_the_loss_broadcasts():
    x, y = numbers()

    class Flat(nn.Sequential):
        def forward(self, x):
            return super().forward(x).squeeze(-1)

    def build(seed):
        return Flat(*mlp(outputs=1)(seed))

    found = trial("match_shapes", build, nn.MSELoss(), (x, y), named("adam", 1e-2))
    assert found.verdict == "helps"


def test_rates_decay_and_clipping_change_the_steps_and_nothing_else():
    x, y = classes()
    make = lambda m: torch.optim.AdamW(m.parameters(), lr=0.01, weight_decay=0.5)  # noqa: E731
    told = arm(copies(mlp(), QUICK), F.cross_entropy, [(x, y)], QUICK, like(make, mlp()(0)))
    assert PROGRAMS["learning_rate_10x"](told)[0].steps.groups[0][1]["lr"] == pytest.approx(0.1)
    assert PROGRAMS["no_weight_decay"](told)[0].steps.decay == 0
    assert PROGRAMS["clip_gradients"](told)[0].steps.clip == 1.0
    with pytest.raises(InputError, match="AdamW already"):
        PROGRAMS["adam"](told)
    for name in ("learning_rate_10x", "no_weight_decay", "clip_gradients"):
        assert PROGRAMS[name](told)[0].networks is told.networks


def test_treatments_that_cannot_apply_are_not_offered():
    found = ns.diagnose(
        mlp()(0), F.cross_entropy, [classes()], steps=60, build=mlp(), curvature=False,
        protocol=Protocol(steps=60, seeds=3, batch=32, learning_rate=3e-5),
    )  # fmt: skip
    assert found.learns.verdict == "stuck"
    tried = {t.treatment for t in found.proof.trials}
    assert "scale_targets" not in tried  # class numbers have no scale
    assert "adam" not in tried  # it is Adam
    assert all(t.verdict != "does not apply" for t in found.proof.trials)
    assert found.proof.best.treatment.startswith("learning_rate")


def test_silence_is_no_answer():
    """A healthy network with steps: nothing found, and yet a table and a word about where to look."""
    found = ns.diagnose(
        mlp()(0), F.cross_entropy, [classes()], steps=60, curvature=False, build=mlp(),
        protocol=Protocol(steps=60, seeds=2, batch=32, learning_rate=1e-2),
    )  # fmt: skip
    assert found.findings == ()
    assert found.learns.verdict == "learns"
    assert found.proof is None
    assert "It trains here" in str(found)
    assert found.to_json()["learns"]["verdict"] == "learns"


def test_the_users_network_is_untouched():
    model = mlp()(0)
    before = copy.deepcopy(model.state_dict())
    learned(model, F.cross_entropy, classes())
    assert all(torch.equal(v, model.state_dict()[k]) for k, v in before.items())


# --- diffs ---------------------------------------------------------------------------------------------------------

FILE = """import torch
from torch import nn
import torch.nn.functional as F

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.out = nn.Linear(3, 2)

    def forward(self, x):
        return F.softmax(self.out(x), dim=1)

def build():
    return Net(), nn.MSELoss()

def optimiser(model):
    return torch.optim.SGD(model.parameters(), lr=0.5, weight_decay=0.1)

def train_step(model, batch, optimiser):
    loss = model(batch)
    loss.backward()
    optimiser.step()
"""


@pytest.mark.parametrize(
    ("treatment", "what", "minus", "plus"),
    [
        ("learning_rate_0.1x", "", "lr=0.5", "lr=0.05"),
        ("remove_last_activation", "the last softmax removed", "F.softmax(self.out(x), dim=1)", "return self.out(x)"),
        ("another_loss", "CrossEntropyLoss instead of MSELoss", "nn.MSELoss()", "nn.CrossEntropyLoss()"),
        ("adam", "", "SGD(model.parameters(), lr=0.5", "torch.optim.Adam(model.parameters(), lr=1e-3)"),
        ("no_weight_decay", "", "weight_decay=0.1", "weight_decay=0.0"),
        ("clip_gradients", "", "", "clip_grad_norm_(model.parameters(), 1)"),
    ],
)
def test_the_proved_change_as_a_diff(tmp_path, treatment, what, minus, plus):
    from nonsingular.diagnosis.prove import Trial

    path = tmp_path / "mine.py"
    path.write_text(FILE)
    found = diff(path, Trial(treatment, what))
    removed = "".join(line for line in found.splitlines() if line.startswith("-") and not line.startswith("---"))
    added = "".join(line for line in found.splitlines() if line.startswith("+") and not line.startswith("+++"))
    assert minus in removed
    assert plus in added
    compile(_applied(FILE, found), "mine.py", "exec")
    path.write_text(FILE + FILE)  # two places: none is guessed
    assert diff(path, Trial(treatment, what)) == ""
    assert diff(tmp_path / "absent.py", Trial(treatment, what)) == ""


@pytest.mark.parametrize("inputs", [True, False])
@pytest.mark.parametrize(
    "returned",
    [
        "return Net(), nn.MSELoss()",
        "return Net()",
        "net = Net()\n    return net",
        "net = make()\n    return net, F.mse_loss",
    ],
)
def test_a_treatment_of_the_network_is_a_diff_that_can_be_applied(tmp_path, returned, inputs):
    from nonsingular.diagnosis.prove import Trial

    batches = "\ndef batches():\n    return [(torch.randn(9, 3), torch.randn(9, 2))]\n"
    body = FILE.replace("return Net(), nn.MSELoss()", returned) + "\ndef make():\n    return Net()\n"
    path, trial = tmp_path / "mine.py", Trial("rescale_input" if inputs else "zero_readout", "")
    path.write_text(body + batches)
    found = diff(path, trial, "build")
    patched: dict = {}
    exec(compile(_applied(body + batches, found), "mine.py", "exec"), patched)
    built = patched["build"]()
    network = built[0] if isinstance(built, tuple) else built
    assert type(network).__name__ == ("Rescaled" if inputs else "Net")
    assert diff(path, trial) == diff(path, trial, "absent") == ""
    path.write_text(body)
    assert bool(diff(path, trial, "build")) == (not inputs)  # without batches() nobody knows what inputs are


@pytest.mark.parametrize(
    "returned", ["return make()", "ns = 1\n    return Net()", "if ns:\n        return Net()\n    return Net()"]
)
def test_no_diff_where_what_is_returned_may_be_a_pair_or_stands_twice(tmp_path, returned):
    from nonsingular.diagnosis.prove import Trial

    path = tmp_path / "mine.py"
    path.write_text(FILE.replace("return Net(), nn.MSELoss()", returned))
    assert diff(path, Trial("zero_readout", ""), "build") == ""


def _applied(source, patch):
    """The source with the hunks of a unified diff in it."""
    lines, shift = source.splitlines(), 0
    for hunk in re.split(r"^@@ ", patch, flags=re.MULTILINE)[1:]:
        head, *body = hunk.splitlines()
        at = int(re.match(r"-(\d+)", head)[1]) - 1 + shift
        old, new = ([line[1:] for line in body if line[:1] in f" {sign}"] for sign in "-+")
        assert lines[at : at + len(old)] == old
        lines[at : at + len(old)] = new
        shift += len(new) - len(old)
    return "\n".join(lines)


def _constant_of(told):
    return best_constant(told, told.told)


def test_held_out_losses_are_held_against_their_own_constant():
    """Targets whose spread differs between the samples that losses are told of and the held-out ones."""
    x, y = numbers(400)
    told = arm(copies(mlp(outputs=1), QUICK), F.mse_loss, [(x, y)], QUICK)
    y = y.clone()
    y[told.test] *= 10
    untreated = arm(copies(mlp(outputs=1), QUICK), F.mse_loss, [(x, y)], QUICK)
    found, _ = learnability(untreated, QUICK, kept := {})
    by = {r.arm: r for r in found.rows}
    for name in ("untreated", "targets permuted"):
        constant = float(y[untreated.test].var(unbiased=False))
        held = sum(kept[name].held_out) / len(kept[name].held_out)
        assert by[name].held_out.value == pytest.approx(1 - held / constant, abs=1e-3)


def test_nothing_is_not_a_number():
    assert math.isnan(_constant_of(arm([nn.LSTM(8, 4)] * 2, lambda out, y: out[0].mean(), [classes()], QUICK)))
