"""The trained experiments of blumenfeld2020 on small files of the real layout of every data set that takes images."""

import dataclasses
import json

import pytest
from test_data_sets import NAMES, small_files  # noqa: F401

from nonsingular import cli
from nonsingular.experiments.overrides import Overrides, make_spec
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.papers.blumenfeld2020.parts import protocol
from nonsingular.papers.registry import experiment, experiments

TRAINED = [e.id for e in experiments() if e.paper == "blumenfeld2020" and e.spec("smoke").training is not None]


@pytest.mark.parametrize("scale", ["smoke", "laptop", "overnight", "paper"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("id", TRAINED)
def test_every_experiment_takes_every_data_set(id, name, scale):
    spec = make_spec(experiment(id), scale, Overrides(data=name))
    available = {"stl10": 5000, "digits": 1500}.get(name, 50_000)
    assert spec.data.name == name
    assert spec.training.batch <= (spec.data.train or available) <= available
    if scale == "paper":
        assert (spec.data.train, spec.data.size) == (None, None)


@pytest.mark.parametrize(
    ("id", "name", "networks"),
    [
        ("table1", "cifar100", "constnet-he,computation-noise,wide-resnet"),
        ("table2", "svhn", "he,1-average"),
        ("fig4", "stl10", "computation-noise,constnet-he"),
        ("table3", "svhn", "float32 noise dropout 0.01,bfloat16 no noise dropout 0"),
        ("mixup", "cifar100", "mixup 0 constnet"),
        ("fig1", "svhn", "16-from-1,16-from-4,16-from-16"),
    ],
)
def test_items_run_on_files_of_the_real_layout(capsys, tmp_path, small_files, monkeypatch, id, name, networks):  # noqa: F811
    root = small_files(name)
    monkeypatch.setitem(protocol.IMAGES, "smoke", (100, 50, 8))
    command = ["reproduce", f"blumenfeld2020/{id}", "--scale", "smoke", "--runs", "2", "--epochs", "1", "--json"]
    command += ["--data", name, "--data-dir", str(root), "--out", str(tmp_path / "o"), "--networks", networks]
    status = cli.run(command)
    captured = capsys.readouterr()
    assert status == 0, captured.err
    rows = json.loads(captured.out)
    assert {row["data"] for row in rows} == {name}
    assert len(rows) == len(experiment(f"blumenfeld2020/{id}").claims)
    assert list((tmp_path / "o" / "figures").glob("*.png"))


@pytest.mark.parametrize("item", ["signal", "ntk"])
@pytest.mark.parametrize("name", ["cifar100", "svhn"])
def test_untrained_items_take_them_too(tmp_path, small_files, item, name):  # noqa: F811
    found = experiment(f"blumenfeld2020/{item}")
    spec = found.spec("smoke", data=name)
    spec = dataclasses.replace(spec, data=dataclasses.replace(spec.data, size=8, train=5))
    small = {"signal": {"depth": 5, "widths": [6]}}.get(item, {})
    spec = dataclasses.replace(spec, runs=1, settings={**spec.settings, **small})
    assert found.run(spec, Workspace(tmp_path, data_dir=small_files(name))).attrs["data"] == name
