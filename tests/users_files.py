"""What users have in files of their own: a network, and a figure whose runs take no time."""

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
