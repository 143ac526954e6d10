"""The monitor in other people's loops: right numbers, no traces left behind."""

import gc
import math
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import nonsingular as ns
from nonsingular.diagnosis.bench.zoo import mlp
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
        "update": model[0].weight.grad.norm() / model[0].weight.norm().detach(),
        "weight": model[0].weight.norm().detach(),
    }
    model.zero_grad()
    with ns.Monitor(model) as monitor:
        F.cross_entropy(model(x), y).backward()
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


def test_alarms(model):
    with torch.no_grad():
        model[2].bias.fill_(-100.0)
    with ns.Monitor(model) as monitor:
        assert monitor.alarms == []
        F.cross_entropy(model(batch()[0]), batch()[1]).backward()
        monitor.step()
    assert any("2 is positive for any sample" in line for line in monitor.alarms)
    healthy = mlp(12, 10, 2, 16)
    with ns.Monitor(healthy) as monitor:
        F.cross_entropy(healthy(batch()[0]), batch()[1]).backward()
        monitor.step()
    assert monitor.alarms == []
    with torch.no_grad():
        healthy[0].weight.fill_(math.nan)
    with ns.Monitor(healthy) as monitor:
        F.cross_entropy(healthy(batch()[0]), batch()[1]).backward()
        monitor.step()
    assert "not finite" in monitor.alarms[0]


def test_history_is_bounded(model):
    with ns.Monitor(model, every=1, keep=3) as monitor:
        train(model, monitor, 6)
    assert [step for step, _ in monitor.history] == [3, 4, 5]


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
    assert "nonsingular/signal/net.2" in next(tmp_path.rglob("metrics.csv")).read_text()


def test_transformers(tmp_path):
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
            str(tmp_path), per_device_train_batch_size=4, num_train_epochs=1, use_cpu=True, report_to=[],
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
    assert hooks(model) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"every": 0}, "every must be at least 1"),
        ({"log": 3}, "log must be"),
    ],
)
def test_bad_input(model, arguments, message):
    with pytest.raises(InputError, match=message):
        ns.Monitor(model, **arguments)
    with pytest.raises(InputError, match="no layers"):
        ns.Monitor(nn.ReLU())
