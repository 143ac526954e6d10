"""The monitor in other people's loops: right numbers, no traces left behind."""

import copy
import gc
import math
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from nonsingular.diagnosis.bench.zoo import mlp
from nonsingular.diagnosis.monitor import TrainingStopped
from nonsingular.errors import InputError


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(32, 12, generator=generator), torch.randint(10, (32,), generator=generator)


def train(model, monitor, steps):
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(steps):
        x, y = batch(step)
        loss = F.cross_entropy(model(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        monitor.step()


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in model.modules())


@pytest.fixture
def model():
    torch.manual_seed(0)
    return mlp(12, 10, 3, 16)


def test_it_measures_at_its_cadence_and_only_then_sets_hooks(model):
    logged = []
    with ns.Monitor(model, every=5, log=lambda numbers, step: logged.append((step, numbers))) as monitor:
        assert hooks(model) == 4
        train(model, monitor, 1)
        assert hooks(model) == 0
        train(model, monitor, 11)
    assert [step for step, _ in logged] == [0, 5, 10]
    assert logged == monitor.history
    assert hooks(model) == 0


def test_numbers_are_those_of_a_pass_by_hand(model):
    x, y = batch(0)
    first = model[0](x)
    first.retain_grad()
    h = first
    for module in model[1:]:
        h = module(h)
    F.cross_entropy(h, y).backward()
    expected = {
        "signal": first.detach().square().mean().sqrt(),
        "spread": first.detach().var(0, correction=0).mean().sqrt(),
        "negative": (first.detach().amax(0) <= 0).float().mean(),
        "gradient": 32 * first.grad.norm(dim=1).mean(),
        "update": 0.1 * model[0].weight.grad.norm() / (model[0].weight - 0.1 * model[0].weight.grad).norm().detach(),
        "weight": (model[0].weight - 0.1 * model[0].weight.grad).norm().detach(),
    }
    model.zero_grad()
    with ns.Monitor(model) as monitor:
        F.cross_entropy(model(x), y).backward()
        torch.optim.SGD(model.parameters(), lr=0.1).step()
        monitor.step()
    [(step, numbers)] = monitor.history
    assert step == 0
    for measure, value in expected.items():
        assert numbers[f"nonsingular/{measure}/0"] == pytest.approx(float(value), rel=1e-5)


def test_training_is_the_same_with_and_without(model):
    import copy

    other = copy.deepcopy(model)
    with ns.Monitor(model, every=2) as monitor:
        train(model, monitor, 6)

    class Nothing:
        def step(self):
            pass

    train(other, Nothing(), 6)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_no_reference_cycles(model):
    gc.disable()
    try:
        monitor = ns.Monitor(model, every=1, log=lambda numbers, step: None)
        with monitor:
            train(model, monitor, 2)
        ghost, first = weakref.ref(monitor), weakref.ref(model[0])
        del monitor
        assert ghost() is None
        model[0] = nn.Identity()
        assert first() is None
    finally:
        gc.enable()


def test_hooks_are_gone_after_an_error(model):
    with pytest.raises(RuntimeError, match="loop"), ns.Monitor(model, every=1):
        raise RuntimeError("loop")
    assert hooks(model) == 0


def test_evaluation_in_between_is_not_measured(model):
    with ns.Monitor(model) as monitor:
        model.eval()
        model(1e6 * batch()[0])
        model.train()
        F.cross_entropy(model(batch()[0]), batch()[1]).backward()
        monitor.step()
    assert monitor.history[0][1]["nonsingular/signal/0"] < 10


def test_what_a_measurement_shows_of_the_network(model):
    def seen(network):
        with ns.Monitor(network, on_finding=None) as monitor:
            F.cross_entropy(network(batch()[0]), batch()[1]).backward()
            monitor.step()
        return [(f.kind, f.layers) for f in monitor.findings]

    assert seen(mlp(12, 10, 2, 16)) == []
    with torch.no_grad():
        model[2].bias.fill_(-100.0)
    assert ("dead-units", ("2",)) in seen(model)
    with torch.no_grad():
        model[2].weight.fill_(math.nan)
    assert ("exploding-signal", ("2", "4", "6")) in seen(model)


def forgetful(model, monitor, optimiser, steps=12):
    for number in range(steps):
        x, y = batch(number)
        F.cross_entropy(model(x), y).backward()
        optimiser.step()
        monitor.step()


def test_findings_are_told_once_and_as_asked_for(model):
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    with (
        pytest.warns(UserWarning, match=r"gradients-accumulate \(.*test_monitor.py:\d+\): .*zero_grad") as told,
        ns.Monitor(model, every=5) as monitor,
    ):
        forgetful(model, monitor, optimiser)
    assert len(told) == 1
    assert [f.kind for f in monitor.findings] == ["gradients-accumulate"]
    assert monitor.alarms[0].startswith("gradients-accumulate")
    kept = []
    with ns.Monitor(model, every=5, on_finding=kept.append) as monitor:
        forgetful(model, monitor, optimiser)
    assert [f.kind for f in kept] == ["gradients-accumulate"]
    with ns.Monitor(model, every=5, on_finding="stop") as monitor, pytest.raises(TrainingStopped, match="zero_grad"):
        forgetful(model, monitor, optimiser)
    assert hooks(model) == 0


def test_a_healthy_loop_is_not_warned_of(model, recwarn):
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    with ns.Monitor(model, every=7, optimiser=optimiser) as monitor:
        for number in range(40):
            x, y = batch(number)
            optimiser.zero_grad()
            F.cross_entropy(model(x), y).backward()
            optimiser.step()
            monitor.step()
    assert monitor.findings == []
    assert not [w for w in recwarn if issubclass(w.category, UserWarning)]
    last = monitor.history[-1][1]
    assert last["nonsingular/loss_over_constant"] == pytest.approx(last["nonsingular/loss"] / math.log(10), rel=0.1)
    assert 0 < last["nonsingular/step_over_weight"] < 0.1


def test_the_operation_that_makes_a_gradient_nan_is_named_between_measurements():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 4)

        def forward(self, x):
            return (self.linear(x) * x).square().sum(1, keepdim=True).sqrt()

    torch.manual_seed(0)
    model = Root()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.01)
    state, done = torch.get_rng_state(), []

    def loop(monitor):
        for number in range(30):
            x = torch.ones(8, 4) if number < 20 else torch.zeros(8, 4)
            optimiser.zero_grad()
            F.mse_loss(model(x), torch.ones(8, 1)).backward()
            optimiser.step()
            done.append(number)
            monitor.step()

    with (
        ns.Monitor(model, every=100, optimiser=optimiser, on_finding="stop") as monitor,
        pytest.raises(TrainingStopped) as stopped,
    ):
        loop(monitor)
    assert done[-1] == 20
    [finding] = stopped.value.findings
    assert finding.kind == "nan-gradient"
    assert finding.where.startswith("sqrt at ")
    assert "test_monitor.py" in finding.where
    assert torch.equal(state, torch.get_rng_state())


def test_a_scaled_loss_is_seen_without_its_factor(model):
    """With a gradient scaler: healthy where it steps; a step that still has its factor is told."""
    for scaled, kinds in ((True, []), (False, ["step-too-large"])):
        net, scaler = copy.deepcopy(model), torch.amp.GradScaler("cpu", init_scale=1024.0)
        optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
        with ns.Monitor(net, every=5, optimiser=optimiser, on_finding=None) as monitor:
            for step in range(20):
                x, y = batch(step)
                loss = F.cross_entropy(net(x), y)
                optimiser.zero_grad()
                scaler.scale(loss).backward()
                if scaled:
                    scaler.step(optimiser)
                    scaler.update()
                else:
                    optimiser.step()
                if step == 0:
                    assert monitor._observer.loop.losses[0][1] == pytest.approx(loss.item())
                monitor.step()
        assert [f.kind for f in monitor.findings][:1] == kinds, monitor.findings
    assert str(monitor.findings).startswith("[<step-too-large 0.97 at ")
    assert "update() of the scaler" in str(monitor.findings)


def test_monitors_may_overlap(model):
    """Two of them, as for a GAN, begun and ended in any order, leave nothing behind."""
    other, before = mlp(12, 10, 2, 16), (F.cross_entropy, torch.autograd.backward)
    one, two = ns.Monitor(model, every=3, on_finding=None), ns.Monitor(other, every=4, on_finding=None)
    one.__enter__()
    train(model, one, 2)
    two.__enter__()
    train(other, two, 3)
    one.close()
    train(other, two, 5)
    two.close()
    assert (F.cross_entropy, torch.autograd.backward) == before
    assert not one.findings
    assert not two.findings


def test_history_is_bounded(model):
    with ns.Monitor(model, every=1, keep=3) as monitor:
        train(model, monitor, 6)
    assert [step for step, _ in monitor.history] == [3, 4, 5]


def test_a_lightning_loop_that_freezes_its_readout_by_mistake_stops(model, tmp_path):
    try:
        from lightning.pytorch import LightningModule, Trainer
    except (ImportError, RuntimeError) as reason:
        pytest.skip(f"lightning does not import: {reason}")

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = model

        def training_step(self, pair, index):
            return F.cross_entropy(self.net(pair[0]), pair[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.net[:-1].parameters(), lr=0.1)

    callback = ns.Monitor.lightning(every=4, on_finding="stop")
    data = torch.utils.data.DataLoader([(x, y) for x, y in zip(*batch(), strict=True)], batch_size=2)
    trainer = Trainer(
        max_epochs=5, accelerator="cpu", logger=False, callbacks=[callback], enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(Module(), data)
    assert trainer.global_step < 20
    [finding] = callback.monitor.findings
    assert finding.kind == "optimiser-misses"
    assert finding.layers == ("6.weight", "6.bias")


def test_tensorboard(model, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path) as writer, ns.Monitor(model, every=2, log=writer) as monitor:
        train(model, monitor, 4)
    events = EventAccumulator(str(tmp_path)).Reload()
    found = [(e.step, e.value) for e in events.Scalars("nonsingular/gradient/2")]
    assert found == [(step, pytest.approx(n["nonsingular/gradient/2"])) for step, n in monitor.history]


def test_lightning(model, tmp_path):
    try:
        from lightning.pytorch import LightningModule, Trainer
        from lightning.pytorch.loggers import CSVLogger
    except (ImportError, RuntimeError) as reason:  # RuntimeError: a torchvision that does not fit torch
        pytest.skip(f"lightning does not import: {reason}")

    class Module(LightningModule):
        def __init__(self):
            super().__init__()
            self.net = model

        def training_step(self, pair, index):
            return F.cross_entropy(self.net(pair[0]), pair[1])

        def validation_step(self, pair, index):
            self.net(pair[0])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.1)

    logger, callback = CSVLogger(tmp_path), ns.Monitor.lightning(every=3)
    data = torch.utils.data.DataLoader([(x, y) for x, y in zip(*batch(), strict=True)], batch_size=4)
    module = Module()
    trainer = Trainer(
        max_epochs=1, accelerator="cpu", logger=logger, callbacks=[callback], enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    trainer.fit(module, data, data)
    assert [step for step, _ in callback.monitor.history] == [0, 3, 6]
    assert callback.monitor.history[0][1]["nonsingular/gradient/net.0"] > 0
    assert hooks(module) == 0
    logger.save()
    kept = next(tmp_path.rglob("metrics.csv")).read_text()
    assert "nonsingular/signal/net.2" in kept
    assert "nonsingular/loss_over_constant" in kept
    assert callback.monitor.findings == []


def scalars(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    files = list(folder.rglob("events.out.tfevents*"))
    return {tag for file in files for tag in EventAccumulator(str(file)).Reload().Tags()["scalars"]}


def test_transformers(tmp_path):
    pytest.importorskip("tensorboard")
    transformers = pytest.importorskip("transformers")
    try:
        from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

        callback = ns.Monitor.transformers(every=2)
    except (ImportError, RuntimeError) as reason:
        pytest.skip(f"transformers {transformers.__version__} does not import: {reason}")
    config = BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16,
    )  # fmt: skip
    model = BertForSequenceClassification(config)
    data = [{"input_ids": [i, 2, 3, 4], "labels": i % 2} for i in range(16)]
    try:
        arguments = TrainingArguments(
            str(tmp_path), per_device_train_batch_size=4, num_train_epochs=1, use_cpu=True, report_to=["tensorboard"],
            disable_tqdm=True, save_strategy="no",
        )  # fmt: skip
    except ImportError as reason:
        pytest.skip(f"transformers' Trainer needs more: {reason}")
    trainer = Trainer(model, arguments, train_dataset=data, callbacks=[callback])
    trainer.train()
    assert [step for step, _ in callback.monitor.history] == [0, 2]
    name = "nonsingular/gradient/bert.encoder.layer.0.attention.self.query"
    assert callback.monitor.history[0][1][name] > 0
    assert any(name in row for row in trainer.state.log_history)
    assert "train/nonsingular/step_over_weight" in scalars(tmp_path)
    assert hooks(model) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every must be at least 1"),
        ({"log": 3}, "log must be"),
        ({"on_finding": "shout"}, "on_finding must be"),
        ({"optimiser": 3}, "optimiser must be"),
    ],
)
def test_bad_input(model, arguments, message):
    with pytest.raises(InputError, match=message):
        ns.Monitor(model, **arguments)
    with pytest.raises(InputError, match="no layers"):
        ns.Monitor(nn.ReLU())


def test_a_monitor_and_a_diagnosis_name_the_same_cause_first():
    torch.manual_seed(0)
    model = nn.Sequential(*(m for _ in range(20) for m in (nn.Linear(16, 16), nn.ReLU())), nn.Linear(16, 4))
    x, y = torch.randn(64, 16), torch.arange(64) % 4
    first = ns.diagnose(model, F.cross_entropy, [(x, y)], curvature=False).findings[0]
    with ns.Monitor(model, every=1, on_finding=None) as monitor:
        F.cross_entropy(model(x), y).backward()
        monitor.step()
    assert first.kind == "vanishing-signal"
    assert [f.kind for f in monitor.findings][:1] == [first.kind]
    assert monitor.findings[0].treatments == first.treatments
