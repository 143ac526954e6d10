"""Results are data: judged again, added to and put together from what a finished experiment keeps."""

import json
import shutil
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
import xarray as xr

from nonsingular import cli
from nonsingular.data import DataSpec
from nonsingular.errors import InputError
from nonsingular.experiments.claims import Claim
from nonsingular.experiments.experiment import Experiment
from nonsingular.experiments.report import merging
from nonsingular.experiments.report.judging import judge_again
from nonsingular.experiments.report.merging import merge
from nonsingular.experiments.reproducing import reproduce
from nonsingular.experiments.run import archive
from nonsingular.experiments.run.study import run_study
from nonsingular.experiments.run.workspace import Workspace
from nonsingular.experiments.spec import Spec
from nonsingular.experiments.verbs import faster
from nonsingular.files import held
from nonsingular.networks import NetworkSpec
from nonsingular.plots.curves import Panel, over_epochs
from nonsingular.training import Member, Trainer, TrainingSpec


def spec(runs=4, seed=0, **changes):
    options = {
        "data": DataSpec("digits", train=200, test=50),
        "networks": (Member("plain", NetworkSpec(3, 8)), Member("skip", NetworkSpec(3, 8, skip="identity"))),
        "training": TrainingSpec(epochs=2, batch=50, learning_rate=1e-2),
        "instruments": {"train_accuracy": None, "weight_norm": None, "condition_number": (0, 2)},
    }
    return Spec("test/kept", "smoke", runs=runs, seed=seed, **(options | changes))


KEPT = Experiment(
    "test/kept",
    "Kept",
    lambda scale, data=None: spec(),
    run_study,
    lambda results: {
        "accuracy": over_epochs(results, [Panel("train_accuracy", "training accuracy (%)", True)], "Kept")
    },
    (Claim("test/kept/faster", "here", "Skips are faster.", faster("skip", "plain").judged, unit="points"),),
)
ONE_BY_ONE = {"runs_at_once": 1}  # how runs are cut does not decide their rounding


def made(folder, asked, resume=False):
    return reproduce(KEPT, asked, Workspace(folder, **ONE_BY_ONE), resume)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Four runs computed at once."""
    folder = tmp_path_factory.mktemp("kept") / "whole"
    made(folder, spec())
    return folder


def rows(folder):
    return json.loads((folder / "claims.json").read_text())


def assert_same(folder, whole):
    xr.testing.assert_identical(archive.read(folder), archive.read(whole))
    if (folder / "results.zarr").exists():  # what is kept with the repository does without
        stores = [xr.open_zarr(f / "results.zarr").load() for f in (folder, whole)]
        xr.testing.assert_identical(*stores)
    assert rows(folder) == rows(whole)
    assert (folder / "spec.json").read_text() == (whole / "spec.json").read_text()
    assert {p.name for p in (folder / "figures").iterdir()} == {p.name for p in (whole / "figures").iterdir()}


def test_results_are_judged_again_from_what_is_kept(whole, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("claims.json", "spec.json", archive.FILE):
        shutil.copy(whole / name, copy)
    claims = rows(copy)
    claims[0]["verdict"] = "an older judge's"
    (copy / "claims.json").write_text(json.dumps(claims))
    monkeypatch.setattr(Trainer, "_step", lambda *_: pytest.fail("trained"))
    judge_again(KEPT, copy)
    assert_same(copy, whole)


def test_an_older_store_is_kept_when_it_is_judged_again(whole, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(whole, copy)
    (copy / archive.FILE).unlink()
    judge_again(KEPT, copy)
    assert_same(copy, whole)


def test_what_kept_no_data_says_so(whole, tmp_path):
    for name in ("claims.json", "spec.json"):
        shutil.copy(whole / name, tmp_path)
    with pytest.raises(InputError, match=r"holds no measured data \(measured.nc.gz\)"):
        judge_again(KEPT, tmp_path)
    assert rows(tmp_path) == rows(whole)


def test_runs_are_added_to_a_finished_result(whole, tmp_path, monkeypatch):
    folder = tmp_path / "grown"
    made(folder, spec(runs=1))
    made(folder, spec(runs=3), resume=True)
    made(folder, spec(), resume=True)
    assert_same(folder, whole)
    monkeypatch.setattr(Trainer, "_step", lambda *_: pytest.fail("trained again"))
    made(folder, spec(), resume=True)
    with pytest.raises(InputError, match="holds the results of 4 runs; ask for as many or more"):
        made(folder, spec(runs=2), resume=True)
    assert_same(folder, whole)


class Killed(Exception):
    pass


@pytest.mark.parametrize("killed_after", [3, 9, 20, 30])
def test_adding_runs_goes_on_after_a_stop(whole, tmp_path, monkeypatch, killed_after):
    folder = tmp_path / "grown"
    step, steps = Trainer._step, iter(range(killed_after))

    def mortal(self, *arguments):
        if next(steps, None) is None:
            raise Killed
        step(self, *arguments)

    made(folder, spec(runs=2))
    monkeypatch.setattr(Trainer, "_step", mortal)
    with pytest.raises(Killed):
        made(folder, spec(), resume=True)
    assert archive.read(folder).sizes["run"] == len(rows(folder)) * 2  # what was finished stands
    monkeypatch.setattr(Trainer, "_step", step)
    made(folder, spec(), resume=True)
    assert_same(folder, whole)


def test_parts_merge_to_the_whole(whole, tmp_path):
    for name, part in (("a", spec(2, 0)), ("b", spec(1, 2)), ("c", spec(2, 2))):
        made(tmp_path / name, part)
    merge([tmp_path / "c", tmp_path / "a", tmp_path / "b"], tmp_path / "all", lambda _: KEPT)  # b's run is c's too
    assert_same(tmp_path / "all", whole)


def test_what_another_put_there_before_the_folder_was_held_is_kept(whole, tmp_path, monkeypatch):
    made(tmp_path / "part", spec(1, 5))
    out = tmp_path / "all"

    @contextmanager
    def late(folder):
        folder.mkdir()
        (folder / "theirs.json").write_text("{}")
        with held(folder):
            yield

    monkeypatch.setattr(merging, "held", late)
    with pytest.raises(InputError, match="is not empty"):
        merge([whole, tmp_path / "part"], out, lambda _: KEPT)
    assert (out / "theirs.json").exists()


def test_parts_that_contradict_each_other_are_refused(whole, tmp_path):
    twin = tmp_path / "twin"
    shutil.copytree(whole, twin)
    data = archive.read(twin)
    data.train_accuracy[{"run": 1}] += 0.01
    archive.write(twin, data)
    with pytest.raises(InputError, match="both hold the run with seed 1, with different numbers"):
        merge([whole, twin], tmp_path / "all", lambda _: KEPT)
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training": TrainingSpec(epochs=1, batch=50, learning_rate=1e-2)}, "epochs: 2, not 1"),
        ({"data": DataSpec("digits", train=150, test=50)}, "training images, before mirroring: 200, not 150"),
        ({"networks": (Member("plain", NetworkSpec(3, 8)),)}, "networks: plain, skip, not plain"),
    ],
)
def test_different_studies_are_refused(whole, tmp_path, changes, said):
    made(tmp_path / "other", spec(2, 4, **changes))
    with pytest.raises(InputError, match=f"are different studies: .*{said}") as refused:
        merge([whole, tmp_path / "other"], tmp_path / "all", lambda _: KEPT)
    assert "\n" not in str(refused.value)


def test_one_result_is_nothing_to_merge(whole, tmp_path):
    with pytest.raises(InputError, match="at least two"):
        merge([whole, whole / "."], tmp_path / "all", lambda _: KEPT)


def test_seeds_may_lie_apart(whole, tmp_path):
    made(tmp_path / "far", spec(2, 50))
    merge([whole, tmp_path / "far"], tmp_path / "all", lambda _: KEPT)
    assert archive.read(tmp_path / "all").run.values.tolist() == [0, 1, 2, 3, 50, 51]
    with pytest.raises(InputError, match="another spec"):
        made(tmp_path / "all", spec(8), resume=True)


# --- the file -----------------------------------------------------------------------------------------------


def test_xarray_opens_both_forms_without_a_word(whole):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for found in (
            xr.open_dataset(whole / archive.FILE), xr.open_zarr(whole / "results.zarr"),
            xr.open_dataset(whole / "results.zarr"),
        ):  # fmt: skip
            assert found.train_accuracy.attrs == {"long_name": "training accuracy", "units": "1"}
            assert found.train_loss.attrs["units"] == "nats"
            assert found.condition_number.attrs == {"long_name": "condition number", "units": "1"}
            assert all({"long_name", "units"} <= set(v.attrs) for v in found.variables.values())
            assert found.attrs["version"].startswith("nonsingular ")
            found.load().close()


def test_every_number_survives(tmp_path):
    values = np.array([1 / 3, np.inf, -np.inf, np.nan, 1e300, 5e-324, 0.5, -0.0])
    data = archive.described(
        xr.Dataset(
            {
                "wide": ("run", values), "narrow": ("run", np.float32(np.arange(8) / 3).astype(float)),
                "large": ("run", np.arange(8) + 2**40), "flag": ("run", values > 0), "small": ("run", np.arange(8)),
            },
            {"run": np.arange(8), "network": ["ä", "b"]},
            {"said": None, "list": [1, 2], "yes": True},
        ),
        {"wide": "how wide (nats)"},
    )  # fmt: skip
    archive.write(tmp_path, data)
    found = archive.read(tmp_path)
    for name in data.variables:
        np.testing.assert_array_equal(found[name].values, data[name].values)
    assert np.signbit(found.wide.values[-1])
    assert found.wide.attrs == {"long_name": "how wide", "units": "nats"}
    first = (tmp_path / archive.FILE).read_bytes()
    archive.write(tmp_path, data)
    assert (tmp_path / archive.FILE).read_bytes() == first


@pytest.mark.parametrize("damage", [lambda b: b[:100], lambda b: b"", lambda b: b[:-300] + b"\x00" * 300])
def test_damaged_data_are_named(whole, tmp_path, damage):
    (tmp_path / archive.FILE).write_bytes(damage((whole / archive.FILE).read_bytes()))
    with pytest.raises(InputError, match=r"measured.nc.gz is not readable as measured data"):
        archive.read(tmp_path)


# --- the commands -------------------------------------------------------------------------------------------

ID = "blumenfeld2020/perturbation"  # trains nothing: a tenth of a second


@pytest.fixture(scope="module")
def halves(tmp_path_factory):
    folder = tmp_path_factory.mktemp("halves")
    for name, runs, seed in (("a", 2, 0), ("b", 2, 2), ("both", 4, 0)):
        options = ["--scale", "smoke", "--runs", str(runs), "--seed", str(seed), "--out", str(folder / name)]
        assert cli.run(["reproduce", ID, *options]) == 0
    return folder


def test_merge_on_the_command_line(halves, capsys, tmp_path):
    assert cli.run(["merge", str(halves / "a"), str(halves / "b"), "--out", str(tmp_path / "m"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == rows(halves / "both")
    assert (tmp_path / "m" / archive.FILE).read_bytes() == (halves / "both" / archive.FILE).read_bytes()
    assert cli.run(["merge", str(halves / "a"), str(halves / "b"), "--out", str(tmp_path / "m")]) == 2
    assert capsys.readouterr().err == f"nonsingular: {tmp_path / 'm'} is not empty; name another --out\n"


def test_judge_on_the_command_line(halves, capsys, tmp_path):
    shutil.copytree(halves / "both", tmp_path / "new", ignore=shutil.ignore_patterns("results.zarr"))
    shutil.copytree(halves / "a", tmp_path / "old", ignore=shutil.ignore_patterns("results.zarr", archive.FILE))
    claims = rows(tmp_path / "new")
    verdict, claims[0]["verdict"] = claims[0]["verdict"], "of an older judge"
    (tmp_path / "new" / "claims.json").write_text(json.dumps(claims))
    assert cli.run(["judge", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert f"{claims[0]['id']}: of an older judge -> {verdict}" in said.out
    assert "only a new run would keep them" in said.err
    assert rows(tmp_path / "new") == rows(halves / "both")
    assert rows(tmp_path / "old") == rows(halves / "a")
    assert not (tmp_path / "new" / "results.zarr").exists()
    assert cli.run(["judge", str(tmp_path / "old")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
