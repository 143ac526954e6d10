"""What other programs read of a surface: the same numbers, in their layout."""

import numpy as np
import pytest
import torch
from models_landscape import SkipNet, image_pairs, pairs, relu_net
from torch.nn import functional as F

from nonsingular import landscape
from nonsingular.errors import InputError


def a_surface():
    model = relu_net()
    x, y = (landscape.gaussian(model, s) for s in (0, 1))
    spans = {"span": (-1, 1), "span_y": (-2, 1.5)}
    return model, (x, y), landscape.surface(
        model, F.cross_entropy, pairs(), x, y, **spans, grid=5, settings=landscape.EXACT
    )  # fmt: skip


def a_run():
    model = relu_net()
    states = [relu_net(seed=k).state_dict() for k in range(5)]
    found = landscape.trajectory(model, F.cross_entropy, pairs(), states, grid=5, settings=landscape.EXACT)
    return model, landscape.principal(states, model).directions, found


def read_vtk(path):
    """Points and scalars of a legacy file, word by word as VTK's reader takes it."""
    lines = path.read_text().splitlines()
    assert lines[0] == "# vtk DataFile Version 3.0"
    assert lines[2] == "ASCII"
    words = iter(" ".join(lines[3:]).split())
    found = {}
    for word in words:
        if word == "DATASET":
            found["kind"] = next(words)
        elif word == "DIMENSIONS":
            found["dimensions"] = [int(next(words)) for _ in range(3)]
        elif word == "POINTS":
            n = int(next(words))
            assert next(words) == "double"
            found["points"] = np.array([float(next(words)) for _ in range(3 * n)]).reshape(n, 3)
        elif word == "LINES":
            count, size = int(next(words)), int(next(words))
            found["lines"] = count, [int(next(words)) for _ in range(size)]
        elif word == "POINT_DATA":
            assert int(next(words)) == n
        elif word == "SCALARS":
            name = next(words)
            assert [next(words) for _ in range(4)] == ["double", "1", "LOOKUP_TABLE", "default"]
            found[name] = np.array([float(next(words)) for _ in range(n)])
    return found


def test_paraview_gets_every_point_and_its_values(tmp_path):
    _, _, surface = a_surface()
    surface["accuracy"], surface["accuracy_standard_error"] = 1 - surface.loss, 0 * surface.loss
    [file] = landscape.save_vtk(surface, tmp_path / "surface.vtk")
    found = read_vtk(file)
    assert (found["kind"], found["dimensions"]) == ("STRUCTURED_GRID", [5, 5, 1])
    points = found["points"].reshape(5, 5, 3)  # x runs fastest
    np.testing.assert_array_equal(points[2, 3], [surface.x[3], surface.y[2], np.log10(surface.loss[2, 3])])
    np.testing.assert_array_equal(found["loss"].reshape(5, 5), surface.loss)
    np.testing.assert_array_equal(found["accuracy"].reshape(5, 5), surface.accuracy)
    for height, expected in (("loss", surface.loss), ("flat", 0 * surface.loss)):
        landscape.save_vtk(surface, file, height=height)
        np.testing.assert_array_equal(read_vtk(file)["points"].reshape(5, 5, 3)[..., 2], expected)


def test_peaks_are_cut_where_they_are_drawn_only(tmp_path):
    _, _, surface = a_surface()
    most = float(np.median(surface.loss))
    [file] = landscape.save_vtk(surface, tmp_path / "surface.vtk", height="loss", most=most)
    found = read_vtk(file)
    np.testing.assert_array_equal(found["points"][:, 2], np.minimum(surface.loss.values.ravel(), most))
    np.testing.assert_array_equal(found["loss"], surface.loss.values.ravel())


def test_paraview_gets_numbers_where_the_loss_is_none(tmp_path):
    _, _, surface = a_surface()
    highest = surface.loss.max().item()
    surface.loss[0, 0], surface.loss[1, 2] = np.nan, np.inf
    surface.loss[3, 3] = -1.0
    [file] = landscape.save_vtk(surface, tmp_path / "surface.vtk")
    found = read_vtk(file)
    assert np.flatnonzero(found["finite"] == 0).tolist() == [0, 7]
    np.testing.assert_allclose(found["points"][[0, 7], 2], np.log10(highest), atol=0.2)
    assert np.isfinite(found["points"]).all()


def test_paraview_gets_lines_and_runs(tmp_path):
    model, (x, _), _ = a_surface()
    line = landscape.line(model, F.cross_entropy, pairs(), x, grid=7)
    found = read_vtk(landscape.save_vtk(line, tmp_path / "line.vtk")[0])
    assert found["dimensions"] == [7, 1, 1]
    np.testing.assert_array_equal(found["points"][:, 0], line.x)
    _, _, run = a_run()
    grid, path = landscape.save_vtk(run, tmp_path / "run.vtk")
    assert path.name == "run-path.vtk"
    found = read_vtk(path)
    assert found["lines"] == (1, [5, 0, 1, 2, 3, 4])
    np.testing.assert_array_equal(found["points"][:, 0], run.path_x)
    np.testing.assert_array_equal(found["distance"], run.distance)
    heights = read_vtk(grid)["points"][:, 2]
    assert heights.min() <= found["points"][:, 2].min() <= found["points"][:, 2].max() <= heights.max()


def test_the_scripts_of_the_loss_landscape_project_find_their_layout(tmp_path):
    h5py = pytest.importorskip("h5py")
    model, directions, surface = a_surface()
    surface["accuracy"], surface["accuracy_standard_error"] = 1 - surface.loss, 0 * surface.loss
    files = landscape.save_h5(surface, tmp_path / "surface.h5", directions, model)
    assert [f.name for f in files] == ["surface.h5", "surface-directions.h5"]
    with h5py.File(files[0]) as f:
        assert f["dir_file"][()].decode() == str(files[1])
        np.testing.assert_array_equal(f["xcoordinates"][:], surface.x)
        np.testing.assert_array_equal(f["ycoordinates"][:], surface.y)
        np.testing.assert_array_equal(f["train_loss"][:], surface.loss)  # contour(*meshgrid(x, y), train_loss)
        np.testing.assert_array_equal(f["train_acc"][:], 100 * surface.accuracy)
    with h5py.File(files[1]) as f:  # their set_weights: zip(net.parameters(), direction)
        for name, direction in zip(("xdirection", "ydirection"), directions, strict=True):
            for k, (n, p) in enumerate(model.named_parameters()):
                expected = direction[n] if n in direction else torch.zeros_like(p)
                np.testing.assert_array_equal(f[name][str(k)][:], expected.numpy())
            assert len(f[name]) == len(list(model.parameters()))


def test_runs_and_lines_between_networks_keep_projections_and_states(tmp_path):
    h5py = pytest.importorskip("h5py")
    model, directions, run = a_run()
    files = landscape.save_h5(run, tmp_path / "run.h5", directions, model, split="test")
    with h5py.File(files[0]) as f:
        np.testing.assert_array_equal(f["test_loss"][:], run.loss)
    with h5py.File(files[1]) as f:
        np.testing.assert_array_equal(f["explained_variance_ratio_"][:], run.explained)
    with h5py.File(files[2]) as f:
        np.testing.assert_array_equal(f["proj_xcoord"][:], run.path_x)
        np.testing.assert_array_equal(f["proj_ycoord"][:], run.path_y)
    a, b = SkipNet(seed=0), SkipNet(seed=1)
    direction = landscape.between(a, b)
    line = landscape.line(a, F.cross_entropy, image_pairs(), direction, grid=3)
    files = landscape.save_h5(line, tmp_path / "line.h5", [direction], a)
    with h5py.File(files[0]) as f:
        assert "ycoordinates" not in f
    with h5py.File(files[1]) as f:  # their states: running statistics move too
        for k, (n, t) in enumerate(a.state_dict().items()):
            np.testing.assert_allclose(f["xdirection"][str(k)][()], direction.get(n, torch.zeros_like(t)))


def test_maps_of_eigenvalues_have_the_names_of_the_project(tmp_path):
    h5py = pytest.importorskip("h5py")
    model, (x, y), _ = a_surface()
    found = landscape.convexity(model, F.cross_entropy, pairs(), x, y, grid=3, steps=5)
    [file] = landscape.save_h5(found, tmp_path / "map.h5")
    with h5py.File(file) as f:
        np.testing.assert_array_equal(f["min_eig"][:], found.smallest)
        np.testing.assert_array_equal(f["max_eig"][:], found.largest)
        np.testing.assert_array_equal(f["ycoordinates"][:], found.y)


def test_bad_input_says_what_would_be_right(tmp_path, monkeypatch):
    _, directions, surface = a_surface()
    with pytest.raises(InputError, match="there are log, loss, flat"):
        landscape.save_vtk(surface, tmp_path / "a.vtk", height="ln")
    with pytest.raises(InputError, match="one line or one surface"):
        landscape.save_vtk(surface.expand_dims("plane"), tmp_path / "a.vtk")
    with pytest.raises(InputError, match="give the model too"):
        landscape.save_h5(surface, tmp_path / "a.h5", directions)
    monkeypatch.setitem(__import__("sys").modules, "h5py", None)
    with pytest.raises(InputError, match="h5py"):
        landscape.save_h5(surface, tmp_path / "a.h5")
    assert not list(tmp_path.iterdir())
