"""Surfaces, lines and trajectories: what they hold, and that a stopped one goes on."""

import numpy as np
import pytest
import torch
from models_landscape import SkipNet, image_pairs, pairs, relu_net
from torch.nn import functional as F

from nonsingular import landscape
from nonsingular.errors import InputError
from nonsingular.landscape.axes import ENDS, axis
from nonsingular.objective import Objective


def directions(model):
    return [landscape.gaussian(model, seed) for seed in (0, 1)]


def test_a_surface_is_the_losses_at_its_coordinates():
    model, batches = SkipNet(), image_pairs()
    x, y = directions(model)
    found = landscape.surface(
        model, F.cross_entropy, batches, x, y, span=(-1, 0.5), span_y=(0, 1), grid=4, settings=landscape.EXACT
    )
    assert found.loss.dims == ("y", "x")
    at = [[found.x[3], found.y[1]], [found.x[0], found.y[3]]]
    expected = landscape.Losses(model, F.cross_entropy, batches, [x, y])(np.array(at, float))[0]
    np.testing.assert_allclose([found.loss[1, 3], found.loss[3, 0]], expected, rtol=1e-5)
    assert found.evaluated.all()
    assert found.attrs["cosine"] == pytest.approx(landscape.cosine(x, y))


def test_refined_surfaces_agree_with_exact_ones():
    model, batches = relu_net((6, 30, 30, 3)), pairs(samples=100)
    d = directions(model)
    fast, exact = (
        landscape.surface(model, F.cross_entropy, batches, *d, settings=s)
        for s in (landscape.Settings(), landscape.EXACT)
    )
    error = np.sqrt(float(((np.log(fast.loss) - np.log(exact.loss)) ** 2).mean()))
    assert error < 0.01 * fast.attrs["range"]
    assert fast.attrs["evaluated"] < 0.3 * exact.attrs["evaluated"]
    assert fast.attrs["interpolation_checked"] > 0
    assert fast.standard_error.isnull().equals(~fast.evaluated)


@pytest.mark.parametrize("grid", [2, 4, 9, 50, 51])
@pytest.mark.parametrize("span", [(-1, 1), (-0.5, 1.5), (-0.3, 7.1), (0, 1), (0.2, 0.7)])
def test_solutions_are_among_the_points_which_are_as_even_as_they_can_be(span, grid):
    inside = [mark for mark in ENDS if span[0] <= mark <= span[1]]
    points = axis(span, grid, ENDS)
    assert (points[0], points[-1]) == span
    assert set(inside) <= set(points)
    assert len(points) == max(grid, len({*span, *inside}))
    steps = np.diff(points)
    assert (steps > 0).all()
    stretches = np.diff(sorted({*span, *inside}))
    shorter = (1 - 1e-6) * steps.max()  # no step may be longer than this: that takes more points
    assert np.ceil(stretches / shorter).sum() > len(points) - 1
    if grid >= 50:
        assert steps.max() <= 1.35 * steps.min()


@pytest.mark.parametrize("settings", [landscape.EXACT, landscape.Settings(tolerance=0.2)])
def test_solutions_are_evaluated_whatever_is_interpolated(settings):
    a, between_them, b = (relu_net() for _ in range(3))
    for number, model in enumerate((between_them, b), 1):
        for p in model.parameters():
            p.data += 0.3 * number * torch.randn_like(p)
    batches = pairs()
    losses = [float(Objective(m, F.cross_entropy, batches).value()) for m in (a, b)]
    way = landscape.between(a, b)
    line = landscape.line(a, F.cross_entropy, batches, way, span=(-0.5, 1.5), grid=51, settings=settings)
    plane = landscape.surface(a, F.cross_entropy, batches, *directions(a), grid=20, settings=settings)
    path = landscape.trajectory(a, F.cross_entropy, batches, [a, between_them, b], grid=14, settings=settings)
    found = line.sel(x=[0.0, 1.0]), plane.sel(x=0.0, y=0.0), path.sel(x=0.0, y=0.0)
    assert all(bool(f.evaluated.all()) for f in found)
    np.testing.assert_allclose(found[0].loss, losses, rtol=1e-5)
    np.testing.assert_allclose([found[1].loss, found[2].loss], losses, rtol=1e-5)


def test_losses_below_zero_are_interpolated_as_they_are():
    model = relu_net()
    found = landscape.surface(model, lambda o, t: o.mean(), pairs(), *directions(model), grid=17)
    assert found.attrs["scale"] == "linear"
    assert (found.loss < 0).any()


class Stopped(BaseException):
    """An interrupt."""


@pytest.mark.parametrize("settings", [landscape.EXACT, landscape.Settings(samples=30)])
@pytest.mark.parametrize("convolutional", [True, False])
def test_a_stopped_surface_goes_on_where_it_ended(tmp_path, settings, convolutional):
    model, batches = (SkipNet(), image_pairs(40)) if convolutional else (relu_net(), pairs(samples=40))
    before = {n: t.clone() for n, t in model.state_dict().items()}
    d = directions(model)
    keep = tmp_path / "points.npz"
    whole = landscape.surface(model, F.cross_entropy, batches, *d, grid=9, settings=settings)
    done = 0

    def stop(count):
        nonlocal done
        done += count
        if done == 30:
            raise KeyboardInterrupt

    options = {"grid": 9, "settings": settings, "keep": keep}
    with pytest.raises(KeyboardInterrupt):
        landscape.surface(model, F.cross_entropy, batches, *d, **options, on_points=stop)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    counts = []
    again = landscape.surface(model, F.cross_entropy, batches, *d, **options, on_points=counts.append)
    assert counts[0] == 30  # taken over
    assert again.identical(whole)
    assert sum(counts) == whole.attrs["evaluated"]


def test_kept_points_of_another_surface_are_refused(tmp_path):
    model, batches = relu_net(), pairs()
    d = directions(model)
    options = {"grid": 5, "keep": tmp_path / "points.npz"}
    landscape.surface(model, F.cross_entropy, batches, *d, **options)
    others = {
        "weights": (relu_net(seed=1), batches, d),
        "data": (model, pairs(seed=2), d),
        "directions": (model, batches, d[::-1]),
    }
    for other, data, along in others.values():
        with pytest.raises(InputError, match="another surface"):
            landscape.surface(other, F.cross_entropy, data, *along, **options)
    with pytest.raises(InputError, match="another surface"):
        landscape.surface(model, F.cross_entropy, batches, *d, keep=options["keep"], grid=6)
    options["keep"].write_bytes(b"PK not a file of arrays")
    with pytest.raises(InputError, match="not a readable file"):
        landscape.surface(model, F.cross_entropy, batches, *d, **options)


def trained(steps=12):
    model, [(x, t)] = relu_net(), pairs()
    optimiser = torch.optim.SGD(model.parameters(), 0.5)
    states = []
    for _ in range(steps):
        states.append({n: p.detach().clone() for n, p in model.state_dict().items()})
        optimiser.zero_grad()
        F.cross_entropy(model(x), t).backward()
        optimiser.step()
    return model, [(x, t)], states


def test_a_trajectory_lies_in_its_plane_with_the_end_at_the_origin():
    model, batches, states = trained()
    found = landscape.trajectory(model, F.cross_entropy, batches, states, grid=9)
    assert float(found.explained.sum()) > 0.9
    assert float(found.path_x[-1]) == pytest.approx(0, abs=1e-6)
    for name in ("x", "y"):
        path, axis = found[f"path_{name}"], found[name]
        assert float(axis[0]) < float(path.min()) < float(path.max()) < float(axis[-1])
    final = relu_net()
    final.load_state_dict(states[-1])
    exact = landscape.trajectory(model, F.cross_entropy, batches, states, grid=9, settings=landscape.EXACT)
    here = float(exact.loss.interp(x=0, y=0, method="linear"))
    assert here == pytest.approx(F.cross_entropy(final(batches[0][0]), batches[0][1]).item(), rel=0.1)
    with pytest.raises(InputError, match="do not fit the model"):
        landscape.trajectory(relu_net((6, 5, 3)), F.cross_entropy, batches, states)


def test_the_convexity_map_has_the_dense_hessians_extremes():
    from nonsingular.curvature import Hessian

    model, batches = relu_net((6, 4, 3)), pairs()
    x, y = directions(model)
    before = {n: t.clone() for n, t in model.state_dict().items()}
    found = landscape.convexity(model, F.cross_entropy, batches, x, y, grid=3, steps=60)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    moved = relu_net((6, 4, 3))
    with torch.no_grad():
        for n, p in moved.named_parameters():
            p += (x[n] - y[n]) if n in x else 0
    values = torch.linalg.eigvalsh(Hessian(moved, F.cross_entropy, batches).dense())
    corner = found.sel(x=1, y=-1)
    assert float(corner.smallest) == pytest.approx(values[0].item(), abs=1e-3)
    assert float(corner.largest) == pytest.approx(values[-1].item(), rel=1e-3)
    assert float(corner.ratio) == pytest.approx(abs(values[0] / values[-1]).item(), abs=1e-2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"grid": 1}, "grid must be at least 2"),
        ({"span": (1, -1)}, "the smaller first, got 1 and -1"),
        ({"span": (0, float("inf"))}, "two finite numbers"),
    ],
)
def test_bad_input_says_what_would_be_right(options, message):
    model = relu_net()
    with pytest.raises(InputError, match=message):
        landscape.surface(model, F.cross_entropy, pairs(), *directions(model), **options)
    with pytest.raises(InputError, match="tolerance must be at least 0 and below 1, got -1"):
        landscape.Settings(tolerance=-1)


def test_points_without_a_loss_are_counted_whatever_has_none_there():
    net = torch.nn.Linear(1, 1, bias=False)
    net.weight.data.fill_(1)
    one, logarithm = torch.ones(1, 1), lambda output, target: output.mean().log()
    found = landscape.line(net, logarithm, (one, one), {"weight": one}, grid=3)
    assert found.attrs["notes"] == "at 1 point the model or the loss gives inf or NaN"
