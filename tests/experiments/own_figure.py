"""A user's own file of figures, which imports a module that lies beside it."""

from pathlib import Path

FILE = """
import torch
from torch import nn

from widths import WIDTH
from nonsingular.data import DataSpec
from nonsingular.experiments.claims import Claim
from nonsingular.experiments.verbs import faster
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.spec import Spec
from nonsingular.networks import named
from nonsingular.plots.curves import Panel, over_epochs
from nonsingular.training import Member, TrainingSpec


class MyModule(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second, self.last = nn.Linear(64, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 10)

    def forward(self, x):
        return self.last(torch.relu(self.second(torch.relu(self.first(x)))))


def specs(scale, data=None):
    return Spec(
        "mine/first", scale, runs=2, data=DataSpec(data or "digits", train=200, test=50),
        networks=(Member("mine", MyModule), Member("plain", named("plain", depth=4, width=8))),
        training=TrainingSpec(epochs=2, batch=50, learning_rate=RATE),
        instruments={"train_accuracy": None, "weight_norm": None, "gradient_norm": (0,)},
    )


RATE = 1e-2
FIGURE = Experiment(
    "mine/first", "Mine", specs, run_study,
    lambda r: {"accuracy": over_epochs(r, [Panel("train_accuracy", "training accuracy (%)", percent=True)], "Mine")},
    (Claim("mine/first/faster", "me", "Mine is faster.", faster("mine", "plain").judged, unit="points"),),
    differs=("Wider than anybody's.",),
)
"""


def written(folder: Path, text: str = FILE) -> str:
    """The name of its figure, once it is in a folder."""
    (folder / "figures_of_mine.py").write_text(text)
    (folder / "widths.py").write_text("WIDTH = 6\n")
    return f"{folder / 'figures_of_mine.py'}:FIGURE"
