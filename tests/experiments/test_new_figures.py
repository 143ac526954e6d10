"""A new figure is one file below papers/: found where it stands, drawn, judged, and checked without touching a test."""

import importlib
import inspect
import pkgutil
import re
import sys
from pathlib import Path

import pytest
from null_results import null_results, resampled
from shown import lacking, misplaced
from synthetic_results import BUILDERS
from test_null_models import ALLOWED, SEEDS, held

from nonsingular import papers
from nonsingular.experiments.experiment import Experiment
from nonsingular.papers import registry
from nonsingular.papers.registry import experiments

SHOWN_IN = {
    "synthetic_results.py": tuple(BUILDERS),
    "test_figures.py": ("orhan2018/fig1",),
    "../theory/test_experiments.py": ("orhan2017/binary", "orhan2018/fig2", "orhan2018/figS4", "orhan2018/figS5"),
    "test_trainability.py": ("li2018/gradient", "li2018/trainability"),
    "test_li2018.py": tuple(f"li2018/fig{n}" for n in (1, 2, 5, 6, 7, 9)),
    "test_oyedotun2021.py": tuple(
        f"oyedotun2021/{name}"
        for name in ("table1", "table2", "table3", "table4", "depth-sweep", "remedies", "vgg-warm-start")
    )
    + tuple(f"oyedotun2021/fig{n}" for n in (5, 6, 7, 8)),
    "test_blumenfeld2020.py": tuple(
        f"blumenfeld2020/{name}"
        for name in ("table1", "table2", "table3", "learning-rates", "mixup", "ntk", "perturbation", "signal")
    )
    + tuple(f"blumenfeld2020/fig{n}" for n in (1, 3, 4, 7, 8, 9, 10))
    + ("blumenfeld2020/subnetworks",),
}
"""File -> figures whose judges it shows by results of its own; of all others ``lacking`` makes them up."""

FILE = '''
"""Half the layers."""

from nonsingular.data import DataSpec
from nonsingular.experiments.figure import Curves, Figure
from nonsingular.experiments.needs import trained
from nonsingular.experiments.quantities import of
from nonsingular.experiments.scales import Scales
from nonsingular.experiments.verbs import claim, faster, larger
from nonsingular.networks import named
from nonsingular.training import Member, TrainingSpec

FIGURE = Figure(
    "PAPER/fig99",
    "Half the layers",
    source="PAPER figure 99",
    sizes=Scales(runs=(3, 10, 20, 50), epochs=(2, 20, 50, 100)),
    study=lambda size: size.spec(
        data=DataSpec(size.dataset("digits")),
        networks=(Member("five", named("plain", depth=5)), Member("ten", named("plain", depth=10))),
        training=TrainingSpec(epochs=size.epochs, batch=100),
        instruments=("train_accuracy", "mean_overlap"),
    ),
    draw={"accuracy": Curves("train_accuracy", title="Five and ten layers")},
    needs=trained(),
    claims={
        "faster": claim("Five layers train faster than ten", faster("five", "ten") > 0),
        "overlap": claim("Their units overlap less", larger(of("mean_overlap"), "five", "ten") < BOUND),
    },
)
'''


@pytest.fixture(autouse=True)
def fewer_resamples(monkeypatch):
    with resampled(monkeypatch, 500):
        yield


@pytest.fixture
def dropped(tmp_path, monkeypatch):
    """Puts a file into a paper's folder (a copy beside the real one), and gives the figure that is found there."""

    def drop(paper="someone2026", bound="0"):
        (tmp_path / paper).mkdir()
        (tmp_path / paper / "__init__.py").write_text("")
        (tmp_path / paper / "fig99.py").write_text(FILE.replace("PAPER", paper).replace("BOUND", bound))
        package = importlib.import_module(f"nonsingular.papers.{paper}") if paper in PACKAGES else papers
        beside = tmp_path if package is papers else tmp_path / paper
        monkeypatch.setattr(package, "__path__", [*package.__path__, str(beside)])
        registry._all.cache_clear()
        return registry.experiment(f"{paper}/fig99")

    yield drop
    for name in [name for name in sys.modules if name.endswith("fig99") or "someone2026" in name]:
        del sys.modules[name]
    registry._all.cache_clear()


PACKAGES = [m.name for m in pkgutil.iter_modules(papers.__path__) if m.ispkg]


@pytest.mark.parametrize("paper", ["someone2026", "orhan2018"])
def test_a_new_file_is_a_figure_that_lacks_nothing(dropped, paper):
    figure = dropped(paper)
    assert figure in list(experiments())
    assert lacking(figure) == ""
    assert misplaced(figure, sys.modules[f"nonsingular.papers.{paper}.fig99"].__file__) == ""
    assert all(n <= ALLOWED for n in held(figure, "wandering", SEEDS).values())
    assert set(figure.draw(null_results(figure.spec("smoke"), "different", 0))) == {"accuracy"}


def test_what_a_figure_lacks_is_one_line(dropped):
    figure = dropped(bound="1000")  # no overlap is as large: nothing could contradict the claim
    assert lacking(figure).startswith("someone2026/fig99/overlap never fails on 40 random results")
    assert misplaced(figure, "papers/orhan2018/fig99.py") == (
        "someone2026/fig99 stands in papers/orhan2018: its id begins with orhan2018/"
    )


def test_examples_are_held_to_what_they_are_examples_of(dropped):
    figure = dropped(bound="1000")
    spec = figure.spec("smoke")
    object.__setattr__(figure, "examples", lambda sign: null_results(spec, "different", sign + 1))
    assert lacking(figure).endswith("examples of +1 must hold and those of -1 fail")


def test_every_figure_is_shown_somewhere():
    found = {e.id: e for e in experiments()}
    shown = [id for ids in SHOWN_IN.values() for id in ids]
    assert set(shown) <= set(found)
    assert [line for id, e in found.items() if id not in shown and (line := lacking(e))] == []
    assert all((Path(__file__).parent / name).exists() for name in SHOWN_IN)


@pytest.mark.parametrize("paper", PACKAGES)
def test_files_of_a_papers_folder_are_figures_and_what_is_none_is_a_part(paper):
    package = importlib.import_module(f"nonsingular.papers.{paper}")
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        values = vars(importlib.import_module(module.name)).values()
        figures = [f for v in values for f in (v if isinstance(v, tuple) else (v,)) if isinstance(f, Experiment)]
        assert bool(figures) == (not module.ispkg), f"{module.name}: what declares no figure lies in parts/"
        assert not [line for f in figures if (line := misplaced(f, package.__path__[0] + "/x.py"))]


FOLDERS = [
    m.name.removeprefix("nonsingular.papers.")
    for m in pkgutil.walk_packages(papers.__path__, "nonsingular.papers.")
    if m.ispkg
]


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_map_of_a_folder_says_what_its_files_say_of_themselves(folder):
    """Of those that it lists: a new file needs no second one, a new folder no map."""
    package = importlib.import_module(f"nonsingular.papers.{folder}")
    map_ = inspect.getdoc(package) or ""
    listed = re.findall(r"^- ``(\w+)``: (.*(?:\n  .*)*)", map_, re.M)
    assert len(listed) == map_.count("\n- ")
    for name, words in listed:
        own = inspect.getdoc(importlib.import_module(f"{package.__name__}.{name}")).split("\n\n")[0]
        assert " ".join(words.split()) == " ".join(own.split())
