"""Trained experiments on every data set: the specs of orhan2018, and runs on small files of the real layout."""

import json

import datasets
import numpy as np
import PIL.Image
import pytest
from synthetic_results import BUILDERS

from nonsingular import cli
from nonsingular.data import SOURCES, load
from nonsingular.experiments.overrides import Overrides, make_spec
from nonsingular.experiments.run.instruments import hessian
from nonsingular.papers.orhan2018.parts import protocol
from nonsingular.papers.registry import experiment, experiments

NAMES = ("digits", "mnist", "cifar10", "cifar100", "svhn", "stl10")
IMAGES = 200
BATCH = 100  # of the smoke scale
SIDE = {"mnist": 28, "stl10": 96}  # pixels; 32 elsewhere
TRAINED = [e.id for e in experiments() if e.paper == "orhan2018" and e.spec("smoke").training is not None]


@pytest.fixture(scope="module")
def small_files(tmp_path_factory):
    """Data sets of few training and test images, as Parquet files with the columns and encodings of the hub's."""
    root = tmp_path_factory.mktemp("data")

    def write(name):
        source = SOURCES[name]
        folder = root / source.folder
        if not folder.exists():
            folder.mkdir()
            for split in ("train", "test"):
                table = _table(name, source, np.random.default_rng([7, split == "train"]))
                table.to_parquet(folder / f"{split}-00000-of-00001.parquet")
        return root

    return write


def _table(name, source, rng, count=IMAGES):
    side, labels = SIDE.get(name, 32), rng.integers(0, source.classes, count)
    # Coarse blocks, as fast to encode as they are to tell apart: the label sets where they are bright.
    shape = (count, 8, 8) if name == "mnist" else (count, 8, 8, 3)
    blocks = rng.integers(0, 100, shape, dtype=np.uint8)
    blocks.reshape(count, -1)[np.arange(count), labels] = 255
    images = [PIL.Image.fromarray(b).resize((side, side), PIL.Image.Resampling.NEAREST) for b in blocks]
    columns = {source.image: (images, datasets.Image())}
    for column, classes in {"fine_label": 100, "coarse_label": 20}.items() if source.folder == "cifar100" else ():
        columns[column] = (labels % classes, datasets.ClassLabel(num_classes=classes))
    columns.setdefault(source.label, (labels, datasets.ClassLabel(num_classes=source.classes)))
    features = datasets.Features({column: feature for column, (_, feature) in columns.items()})
    return datasets.Dataset.from_dict({column: values for column, (values, _) in columns.items()}, features=features)


@pytest.mark.parametrize("scale", ["smoke", "laptop", "overnight", "paper"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("id", TRAINED)
def test_every_experiment_takes_every_data_set(id, name, scale):
    spec = make_spec(experiment(id), scale, Overrides(data=name))
    assert spec.data.name == name
    available = {"stl10": 5000, "digits": 1500}.get(name, 50_000)
    assert (spec.data.train or available) <= available
    assert spec.training.batch <= (spec.data.train or available)
    if id in BUILDERS:  # by the paper's protocol, which a new figure may leave
        assert spec.data.mirror == (name in ("cifar10", "cifar100", "stl10"))
    if id in BUILDERS and scale == "paper":
        assert spec.data.train is None
        assert spec.training.batch == (100 if name == "digits" else 500)


FIGURES = {
    "fig3": ("plain,residual", {"residual-faster-than-plain"}),
    "fig4": ("plain", {"norms"}),
    "fig5": ("residual,bias-regularised,plain", {"residual-above-plain"}),
    "fig6": ("plain,residual", {"residual-no-decay", "plain-decay"}),
    "fig7": ("residual,orthogonal", {"orthogonal-better", "zero-responses"}),
    "fig8": ("tau=0,tau=0.025,covariance-tau=0.025", {"gradients-larger"}),
}
"""Figure -> networks of a short run, and claims that it measures unless none of the networks has trained."""


FILES = ("cifar100", "svhn", "cifar100", "stl10", "svhn", "svhn")  # the large pictures for what trains least


@pytest.mark.parametrize(("figure", "name"), list(zip(FIGURES, FILES, strict=True)))
def test_deep_networks_train_on_files_of_the_real_layout(capsys, tmp_path, small_files, monkeypatch, figure, name):
    root = small_files(name)
    monkeypatch.setattr(protocol, "SMOKE_IMAGES", BATCH)
    monkeypatch.setattr(hessian, "MOMENT_PROBES", 1)  # millions of parameters: quick rather than exact
    assert load(name, root).train.shape[1:] == (3, *[SIDE.get(name, 32)] * 2)
    networks, claims = FIGURES[figure]
    short = ["--networks", networks, "--epochs", "1", "--runs", "2"]
    rows = _reproduced(capsys, f"orhan2018/{figure}", tmp_path, *short, "--data", name, "--data-dir", root)
    assert {row["data"] for row in rows} == {name}
    told = {row["id"].split("/")[-1] for row in rows if row["measured"] is not None or "too little" in row["note"]}
    assert told >= claims


@pytest.mark.parametrize(
    ("id", "name", "networks"),
    [
        ("table1", "mnist", "plainnet,resnet,resnext"),
        ("table3", "cifar100-fine", "plainnet,resnet,resnext"),
        ("fig7", "cifar100-fine", "plainnet,resnet"),
        ("depth-sweep", "cifar100-fine", "resnet-8,densenet-7,highway-7,fractalnet-7"),
        ("vgg-warm-start", "cifar100-fine", "vgg-11,vgg-13,vgg-13-warm"),
    ],
)
def test_very_deep_networks_train_on_files_of_the_real_layout(capsys, tmp_path, small_files, id, name, networks):
    short = ["--networks", networks, "--epochs", "1", "--runs", "1", "--data", name, "--data-dir", small_files(name)]
    rows = _reproduced(capsys, f"oyedotun2021/{id}", tmp_path, *short)
    assert {row["data"] for row in rows} == {name}


@pytest.mark.parametrize("table", ["table1", "table2", "table3"])
@pytest.mark.parametrize("name", [*NAMES, "cifar100-fine"])
def test_the_tables_of_very_deep_networks_take_every_data_set(table, name):
    for scale in ("smoke", "laptop", "overnight", "paper"):
        spec = make_spec(experiment(f"oyedotun2021/{table}"), scale, Overrides(data=name))
        assert spec.data.name == name
        assert spec.training.batch <= (spec.data.train or 1000)
        cropped = scale == "paper" and name not in ("digits", "mnist")
        assert spec.training.augment == ("crop+mirror" if cropped else "none")


@pytest.mark.parametrize("name", ["svhn", "stl10"])
def test_figure_s7_trains_on_its_two_data_sets(capsys, tmp_path, small_files, monkeypatch, name):
    monkeypatch.setattr(protocol, "SMOKE_IMAGES", BATCH)
    monkeypatch.setattr(hessian, "MOMENT_PROBES", 1)  # millions of parameters: quick rather than exact
    root = small_files(name)
    assert load(name, root).train.shape[1:] == (3, *[SIDE.get(name, 32)] * 2)
    data = ["--data", name, "--data-dir", root]
    rows = _reproduced(capsys, "orhan2018/figS7", tmp_path, "--runs", "2", "--epochs", "1", *data)
    assert {row["id"].split("/")[1] for row in rows} == {"figS7"}
    assert json.loads((tmp_path / "o" / "spec.json").read_text())["data"]["name"] == name


def test_figure_s7_is_about_svhn_and_says_how_to_get_it(capsys, tmp_path):
    assert experiment("orhan2018/figS7").spec("paper").data.name == "svhn"
    command = ["reproduce", "orhan2018/figS7", "--data-dir", str(tmp_path), "--out", str(tmp_path / "o")]
    assert cli.run(command) == 2
    assert "hf download ufldl-stanford/svhn" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def _reproduced(capsys, id, tmp_path, *arguments):
    out = str(tmp_path / "o")
    status = cli.run(["reproduce", id, "--scale", "smoke", "--out", out, "--json", *map(str, arguments)])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    assert list((tmp_path / "o" / "figures").glob("*.png"))
    rows = json.loads(captured.out)
    assert len(rows) == len(experiment(id).claims)
    return rows
