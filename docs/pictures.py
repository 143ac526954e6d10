"""The pictures of first pages, from real runs: ``python docs/pictures.py`` draws them again in two minutes."""

from __future__ import annotations

from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import nn
from torch.nn import functional as F

import nonsingular as ns
from nonsingular.files import write_whole
from nonsingular.plots.landscape import relief
from nonsingular.plots.saving import svg
from nonsingular.plots.spectra import density
from nonsingular.plots.style import BLACK, BLUE, GREEN, GREY, VERMILION, new_figure, style

FOLDER = Path(__file__).parent / "pictures"


def build(seed: int = 0) -> nn.Module:
    """Twenty layers of 32 units with PyTorch's default weights."""
    torch.manual_seed(seed)
    layers: list[nn.Module] = [nn.Linear(64, 32), nn.ReLU()]
    for _ in range(18):
        layers += [nn.Linear(32, 32), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(32, 10))


def diagnosis(task: ns.data.Task) -> Figure:
    """What vanishes through depth, and what treatments gained."""
    batches = [(task.train_inputs, task.train_labels)]
    found = ns.diagnose(build(), F.cross_entropy, batches, steps=100, build=build)
    assert found.proof is not None
    tried = [t for t in found.proof.trials if t.treated is not None]
    with style():
        figure = new_figure(9, 3.2)
        left, right = figure.subplots(1, 2)
        at = range(1, len(found.layers) + 1)
        spread, gradient = ([getattr(layer, name) for layer in found.layers] for name in ("spread", "gradient"))
        left.semilogy(at, spread, "o-", ms=3, color=VERMILION, label="what tells samples apart")
        left.semilogy(at, gradient, "o-", ms=3, color=BLUE, label="gradient")
        left.set(xlabel="layer", ylabel="size (activation and loss units)", title=found.findings[0].kind)
        left.legend(loc="upper center")
        for y, trial in enumerate(tried):
            value, low, high = (100 * x for x in (trial.gained.value, trial.gained.low, trial.gained.high))
            tone = GREEN if trial.verdict == "helps" else GREY
            right.errorbar(value, y, xerr=[[value - low], [high - value]], fmt="o", color=tone, capsize=3)
        right.axvline(0, color=BLACK, lw=0.8)
        right.set_yticks(range(len(tried)), [trial.treatment for trial in tried])
        right.set_ylim(len(tried) - 0.5, -0.5)
        right.set(xlabel="learned more than untreated (points)", title="tried on copies")
        return figure


def trained(task: ns.data.Task, name: str, depth: int, width: int, seed: int, epochs: int) -> nn.Module:
    """A network after some epochs of Adam."""
    network = ns.networks.build(ns.networks.named(name, depth=depth, width=width), task.inputs, task.classes, seed)
    trainer = ns.Trainer([network], [seed], task, ns.TrainingSpec(batch=50, learning_rate=2e-3))
    for _ in range(epochs):
        trainer.train_epoch()
    print(name, float(trainer.evaluate(task.train_inputs, task.train_labels).accuracy[0]))
    return trainer.population.network(0)


def surface(task: ns.data.Task) -> Figure:
    """The loss around a plain and a residual network from the same first weights."""
    batches = [(task.train_inputs[:300], task.train_labels[:300])]
    surfaces = []
    for name in ("plain", "residual"):
        model = trained(task, name, 20, 24, 1, 15)
        x, y = (ns.landscape.gaussian(model, seed) for seed in (0, 1))
        surfaces.append(ns.surface(model, F.cross_entropy, batches, x, y, grid=17))
    return relief(surfaces, ["plain, 20 layers", "residual, 20 layers"], "Loss around what they learned (digits)")


def spectrum(task: ns.data.Task) -> Figure:
    """Densities of two Hessians with their exact counts."""
    batches = [(task.train_inputs[:500], task.train_labels[:500])]
    models = {name: trained(task, name, 8, 12, 0, 20) for name in ("plain", "residual")}
    spectra = {n: ns.spectrum(ns.Hessian(m, F.cross_entropy, batches), eigenvalues=True) for n, m in models.items()}
    return density(spectra, "Eight layers of 12 units, digits, after training")


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    digits = ns.data.prepare(ns.data.DataSpec("digits"))
    for draw in (diagnosis, surface, spectrum):
        write_whole(FOLDER / f"{draw.__name__}.svg", svg(draw(digits)))
