"""What users have in files of their own: a network, a figure whose runs take no time, and one that trains."""

TARGET = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))
"""

FIGURE = """
import numpy as np
import xarray as xr

from nonsingular.experiments.claims import Claim, mean
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.spec import Spec
from nonsingular.plots.style import new_figure


def run(spec, workspace):
    values = [np.random.default_rng(seed).normal(0.6) for seed in range(spec.seed, spec.seed + spec.runs)]
    return xr.Dataset({"x": ("run", values)}, {"run": list(range(spec.seed, spec.seed + spec.runs))})


def drawn(results):
    figure = new_figure()
    figure.subplots().plot(results.x.values)
    return {"x": figure}


FIGURE = Experiment(
    "mine/normal", "Normal", lambda scale, data=None: Spec("mine/normal", scale, runs=4), run, drawn,
    (Claim("mine/normal/positive", "here", "x is positive.", lambda r: mean(r.x)),),
)
"""

TRAINED = """
import nonsingular as ns
from nonsingular.experiments.figure import Curves
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import claim, faster
from nonsingular.networks import named
from nonsingular.training import Member


def study(size):
    return size.spec(
        data=ns.data.DataSpec("digits", train=200, test=100),
        networks=[Member(name, named(name, depth=5, width=16)) for name in ("plain", "residual")],
        training=ns.TrainingSpec(epochs=size.epochs, batch=20),
        instruments=["train_accuracy", "gradient_norm"],
    )


FIGURE = ns.Figure(
    "mine/trained",
    "Five layers",
    source="here",
    sizes=Scales(runs=(1, 4, 4, 4), epochs=(8, 8, 8, 8)),
    study=study,
    draw={"accuracy": Curves("train_accuracy", title="Five layers")},
    claims={"faster": claim("Residual networks train faster than plain ones", faster("residual", "plain") > 0)},
)
"""
