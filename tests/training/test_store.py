import numpy as np
import pytest
import torch

from nonsingular.errors import InputError
from nonsingular.training import Store
from nonsingular.training.store import load_checkpoint, save_checkpoint


@pytest.fixture
def store(tmp_path):
    coordinates = {"network": np.array(["a", "bb"]), "run": np.arange(3), "epoch": np.arange(40), "layer": np.arange(2)}
    variables = {"x": ("network", "run", "epoch"), "y": ("network", "run", "epoch", "layer")}
    return Store.create(tmp_path / "results.zarr", coordinates, variables, {"digest": "d"})


def test_starts_empty_with_its_labels(store):
    data = store.read()
    assert data.x.isnull().all()
    assert data.network.values.tolist() == ["a", "bb"]
    assert data.attrs["digest"] == "d"


def test_writes_land_in_their_region_and_nowhere_else(store):
    expected = np.full((2, 3, 40), np.nan)
    rng = np.random.default_rng(0)
    for network, epoch, runs in [(0, 0, slice(0, 3)), (1, 17, slice(1, 3)), (1, 18, slice(0, 1)), (0, 39, slice(2, 3))]:
        values = rng.normal(size=runs.stop - runs.start)
        store.write({"x": values}, {"network": network, "run": runs, "epoch": epoch, "layer": slice(0, 2)})
        expected[network, runs, epoch] = values
    np.testing.assert_array_equal(store.read().x, expected)


def test_layers_of_shallower_networks_stay_empty(store):
    store.write({"y": np.ones((3, 1))}, {"network": 0, "run": slice(0, 3), "epoch": 0, "layer": slice(0, 1)})
    y = store.read().y.sel(network="a", epoch=0)
    assert (y.isel(layer=0) == 1).all()
    assert y.isel(layer=1).isnull().all()


def test_missing_and_damaged_stores_are_named(tmp_path, store):
    with pytest.raises(InputError, match="no results at"):
        Store(tmp_path / "nothing.zarr").read()
    (store.path / "zarr.json").write_text("{")
    with pytest.raises(InputError, match="not a readable store"):
        store.read()


def test_checkpoints_round_trip_and_damage_is_named(tmp_path):
    path = tmp_path / "0.pt"
    assert load_checkpoint(path) is None
    save_checkpoint(path, {"epoch": 3, "w": torch.arange(4.0)})
    assert load_checkpoint(path)["epoch"] == 3
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="not a readable checkpoint"):
        load_checkpoint(path)


def test_a_checkpoint_is_never_half_written(tmp_path, monkeypatch):
    path = tmp_path / "0.pt"
    save_checkpoint(path, {"epoch": 1})

    def broken(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(path, {"epoch": 2})
    assert load_checkpoint(path) == {"epoch": 1}
