import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nonsingular import measures
from nonsingular.data import Task
from nonsingular.experiments.run.instruments import INSTRUMENTS, Snapshot, representations
from nonsingular.networks import VGGSpec, build, plainnet, resnet
from nonsingular.training import Trainer, TrainingSpec

SHAPE = (2, 6, 6)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(representations, "SAMPLES", 32)
    monkeypatch.setattr(representations, "BATCH", 16)


def trainer_of(spec, runs=2, batch=16):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, *SHAPE, generator=generator)
    task = Task(x, torch.arange(64) % 3, x[:8], torch.arange(8) % 3, classes=3)
    return Trainer([build(spec, SHAPE, 3, s) for s in range(runs)], range(runs), task, TrainingSpec(batch=batch))


def the_slow_way(trainer, run):
    """All activations and gradients of both batches in memory at once, measured by the plain functions."""
    network = trainer.population.network(run).double().train()
    layers = measures.layer_names(network)
    with torch.no_grad(), measures.capture(network, layers) as seen:
        network(trainer.task.train_inputs[:32].double())
    features = {n: seen.activations[n].flatten(1) for n in layers}
    activations, gradients = {n: [] for n in layers}, {n: [] for n in layers}
    for number in range(2):
        rows = slice(16 * number, 16 * (number + 1))
        x, y = trainer.task.train_inputs[rows].double(), trainer.task.train_labels[rows]
        with measures.capture(network, layers) as seen:
            loss = F.cross_entropy(network(x), y, reduction="sum")
        found = torch.autograd.grad(loss, list(seen.activations.values()))
        for name, gradient in zip(layers, found, strict=True):
            activations[name].append(seen.activations[name].detach())
            gradients[name].append(gradient.flatten(1))
    together = {n: measures.responses(torch.cat(a)) for n, a in activations.items()}
    values = {
        f"streamed_{name}": [getattr(measures, name)(together[n]) for n in layers]
        for name in ("condition_number", "effective_rank", "linear_dependence", "dead_units")
    }
    values["sample_condition_number"] = [measures.condition_number(features[n]) for n in layers]
    values["streamed_gradient_norm"] = [measures.gradient_norm(torch.cat(gradients[n])) for n in layers]
    values["largest_singular_value"] = [measures.singular_values(together[n])[0] for n in layers]
    values["smallest_singular_value"] = [measures.singular_values(together[n])[-1] for n in layers]
    parts = [[np.quantile(measures.responses(a).numpy(), 0.75) for a in activations[n]] for n in layers]
    values["activation_q75"] = [torch.tensor(np.mean(p)) for p in parts]
    return {name: torch.stack(v).double() for name, v in values.items()}


@pytest.mark.parametrize(
    "spec",
    [resnet(8, width=4), plainnet(8, width=4), plainnet(8, width=4, batch_norm=False), VGGSpec(9, width=2, hidden=5)],
    ids=["resnet", "plainnet", "no norm", "vgg"],
)
def test_streamed_instrument_against_the_slow_way(spec):
    trainer = trainer_of(spec)
    before = {k: v.clone() for k, v in trainer.population.buffers.items()}
    found = INSTRUMENTS["representations"].measure(Snapshot(trainer))
    assert set(found) == set(INSTRUMENTS["representations"].variables)
    assert all(v.shape == (2, spec.depth) for v in found.values())
    for run in range(2):
        for name, expected in the_slow_way(trainer, run).items():
            if name == "smallest_singular_value":  # zero to rounding where the rank is deficient
                torch.testing.assert_close(found[name][run], expected, rtol=1e-6, atol=1e-10)
            else:
                torch.testing.assert_close(found[name][run], expected, rtol=1e-6, atol=1e-15)
    assert all(torch.equal(before[k], v) for k, v in trainer.population.buffers.items())


def test_a_diverged_run_is_nan_and_alone():
    trainer = trainer_of(resnet(8, width=4))
    healthy = INSTRUMENTS["representations"].measure(Snapshot(trainer))
    with torch.no_grad():
        trainer.population.parameters["layers.1.conv.weight"][1] = torch.nan
    found = INSTRUMENTS["representations"].measure(Snapshot(trainer))
    for name, values in found.items():
        torch.testing.assert_close(values[0], healthy[name][0])
        assert values[1].isnan().all()


def test_a_dead_channel_makes_the_condition_number_infinite():
    trainer = trainer_of(plainnet(8, width=4))
    with torch.no_grad():
        trainer.population.parameters["layers.2.norm.weight"][0, 1] = 0  # with a bias of 0 the rectifier stays shut
    found = INSTRUMENTS["representations"].measure(Snapshot(trainer))
    assert found["streamed_condition_number"][0, 2].isinf()
    assert found["streamed_condition_number"][1].isfinite().all()
    assert found["streamed_dead_units"][0, 2] == 1 / 4


def test_weight_quantiles_against_numpy():
    trainer = trainer_of(resnet(8, width=4))
    found = INSTRUMENTS["weight_quantiles"].measure(Snapshot(trainer))
    for layer in (0, 3):
        weights = trainer.population.parameters[f"layers.{layer}.conv.weight"][1].detach().numpy()
        assert found["weight_q95"][1, layer].item() == pytest.approx(np.quantile(weights, 0.95), rel=1e-5)


def test_gradients_of_convolutions_are_norms_over_channels_and_places():
    trainer = trainer_of(plainnet(8, width=4, batch_norm=False))
    found = INSTRUMENTS["gradient_norm"].measure(Snapshot(trainer, samples=16))["gradient_norm"]
    network = trainer.population.network(1)
    with measures.capture(network, measures.layer_names(network)) as seen:
        loss = F.cross_entropy(network(trainer.task.train_inputs[:16]), trainer.task.train_labels[:16], reduction="sum")
    gradients = torch.autograd.grad(loss, list(seen.activations.values()))
    expected = torch.stack([g.flatten(1).norm(dim=1).mean() for g in gradients])
    torch.testing.assert_close(found[1], expected, rtol=1e-4, atol=1e-8)
