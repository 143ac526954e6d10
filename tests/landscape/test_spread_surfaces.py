"""Surfaces over data that two processes share, against one process with all of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
import torch.nn.functional as F
import xarray as xr
from torch import nn

from nonsingular import landscape
from nonsingular.errors import InputError
from nonsingular.landscape import losses
from processes import server

WORLD = 2
SPREAD = {"mean": F.cross_entropy, "sum": lambda o, t: F.cross_entropy(o, t, reduction="sum")}


def model():
    torch.manual_seed(0)
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)
    return nn.Sequential(*layers).double()


def batches():
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(n, 1, 4, 4, generator=generator).double(), torch.arange(n) % 3) for n in (20, 12, 30)]


def ignored(batches):
    return [(x, torch.where(torch.arange(len(t)) < 3, -100, t)) for x, t in batches]


def plane(data, reduction="mean", weights=None, **settings):
    x, y = (landscape.gaussian(model(), seed) for seed in (0, 1))
    keep = settings.pop("keep", None)
    settings = landscape.Settings(reduction=reduction, **settings)
    return landscape.surface(
        model(), SPREAD[reduction], data, x, y, grid=17, settings=settings, keep=keep, weights=weights
    )


def _process(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    mine = batches()[rank::WORLD]
    for reduction in SPREAD:
        plane(mine, reduction, tolerance=0.0, distributed=True).to_netcdf(f"{folder}/{reduction}-{rank}.nc")
    plane(mine, tolerance=0.01, distributed=True).to_netcdf(f"{folder}/refined-{rank}.nc")
    plane(mine, samples=8, tolerance=0.0, distributed=True).to_netcdf(f"{folder}/subset-{rank}.nc")
    taken = {"tolerance": 0.0, "distributed": True, "statistics": "recomputed"}
    plane(mine, **taken).to_netcdf(f"{folder}/recomputed-{rank}.nc")
    kept = losses.recomputed
    losses.recomputed = _broken if rank else kept
    try:
        plane(mine, **taken)
    except InputError as error:
        (Path(folder) / f"broken-{rank}.txt").write_text(str(error))
    losses.recomputed = kept
    _stopped(mine, Path(folder) / f"kept-{rank}.npz", first=20 + 30 * rank)
    found = plane(mine, tolerance=0.0, distributed=True, keep=Path(folder) / f"kept-{rank}.npz")
    found.to_netcdf(f"{folder}/resumed-{rank}.nc")
    mine = ignored(mine) if rank else mine  # one part of the data is enough to make it another mean
    try:
        plane(mine, distributed=True)
    except InputError as error:
        (Path(folder) / f"ignored-{rank}.txt").write_text(str(error))
    plane(mine, tolerance=0.0, distributed=True, weights="tokens").to_netcdf(f"{folder}/tokens-{rank}.nc")
    dist.destroy_process_group()


def _broken(*given):
    raise RuntimeError("a layer of this process failed")


def _stopped(mine, path, first):
    """A file of a run that was killed, in which this process has written more points than the other."""
    whole = plane(mine, tolerance=0.0, distributed=True, keep=path)
    with np.load(path) as kept:
        content = dict(kept)
    content["done"].flat[first:] = False
    content["values"].reshape(-1)[first:] = np.nan
    np.savez(path, **content)
    assert whole.evaluated.all()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gloo")
    server()  # whose processes have loaded the libraries
    mp.start_processes(_process, (str(folder),), WORLD, start_method="forkserver")
    return folder


def read(folder, name, rank=0):
    return xr.load_dataset(folder / f"{name}-{rank}.nc")


def test_means_over_what_is_not_ignored_are_weighed_as_the_user_says_or_refused_in_every_process(folder):
    for rank in range(WORLD):
        assert "weights='samples', 'tokens'" in (folder / f"ignored-{rank}.txt").read_text()
    whole = batches()
    whole = [*whole[::WORLD], *ignored(whole[1::WORLD])]
    np.testing.assert_allclose(read(folder, "tokens").loss, plane(whole, tolerance=0.0).loss, rtol=1e-9)


@pytest.mark.parametrize("reduction", SPREAD)
def test_losses_are_those_of_one_process(folder, reduction):
    found, expected = read(folder, reduction), plane(batches(), reduction, tolerance=0.0)
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-12)
    assert found.attrs["samples"] == found.attrs["total_samples"] == 62


def test_statistics_are_recomputed_from_all_processes_batches(folder):
    expected = plane(batches(), tolerance=0.0, statistics="recomputed")
    np.testing.assert_allclose(read(folder, "recomputed").loss, expected.loss, rtol=1e-9)
    own = plane(batches()[::WORLD], tolerance=0.0, statistics="recomputed")
    assert not np.allclose(own.loss, expected.loss, rtol=1e-3)


def test_a_process_that_cannot_recompute_them_stops_all(folder):
    said = [(folder / f"broken-{rank}.txt").read_text() for rank in range(WORLD)]
    assert said[0].endswith("another process cannot")
    assert said[1].endswith("a layer of this process failed")


@pytest.mark.parametrize("name", ["mean", "refined", "subset", "resumed", "recomputed"])
def test_all_processes_return_the_same_bits(folder, name):
    first, second = read(folder, name, 0), read(folder, name, 1)
    for variable in ("loss", "standard_error", "evaluated"):
        np.testing.assert_array_equal(first[variable], second[variable])


def test_refinement_evaluates_the_points_of_one_process(folder):
    found, expected = read(folder, "refined"), plane(batches(), tolerance=0.01)
    assert found.attrs["evaluated"] == expected.attrs["evaluated"] < found.attrs["points"]
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-9)


def test_standard_errors_of_independent_subsets_add_up(folder):
    parts = [plane(batches()[rank::WORLD], samples=8, tolerance=0.0) for rank in range(WORLD)]
    shares = [50 / 62, 12 / 62]
    expected = np.sqrt(sum((s * p.standard_error) ** 2 for s, p in zip(shares, parts, strict=True)))
    np.testing.assert_allclose(read(folder, "subset").standard_error, expected, rtol=1e-9)
    assert read(folder, "subset").attrs["samples"] == 16


def test_a_stopped_surface_goes_on_from_what_all_have(folder):
    np.testing.assert_array_equal(read(folder, "resumed").loss, read(folder, "mean").loss)


def test_what_is_missing_is_said():
    with pytest.raises(InputError, match="init_process_group"):
        plane(batches(), distributed=True)
    with pytest.raises(InputError, match="name float32 or bfloat16"):
        replace(landscape.DEFAULT, precision="auto", distributed=True)
