import importlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nonsingular.data import DataSpec, Images, Task, load, prepare
from nonsingular.data.prepare import SCALINGS, parse_scaling
from nonsingular.errors import InputError

FULL = load("digits")
MODULE = importlib.import_module("nonsingular.data.prepare")  # the package's name is the function


def flat(images):
    return images.reshape(len(images), -1).astype(np.float64) / 255


@pytest.fixture
def colour(monkeypatch):
    """A made-up colour data set whose every pixel varies, with test images of another distribution."""
    rng = np.random.default_rng(0)
    train = (rng.random((60, 3, 4, 5)) * rng.uniform(40, 250, (3, 4, 5))).astype(np.uint8)
    test = rng.integers(100, 256, (20, 3, 4, 5), dtype=np.uint8)
    images = Images(train, rng.integers(0, 4, 60), test, rng.integers(0, 4, 20), classes=4)
    monkeypatch.setattr(MODULE, "load", lambda *_: images)
    return images


def test_raw_is_grey_levels_between_0_and_1():
    task = prepare(DataSpec("digits", scaling="raw"))
    assert task.train_inputs.dtype == torch.float32
    assert task.train_inputs.min() == 0
    assert task.train_inputs.max() == 1
    np.testing.assert_allclose(task.test_inputs, flat(FULL.test), rtol=1e-6)
    assert torch.equal(task.train_labels, torch.from_numpy(FULL.train_labels))
    assert (task.inputs, task.classes) == (64, 10)


@pytest.mark.parametrize("mirror", [False, True])
def test_scalings_against_the_definition(colour, mirror):
    train, test = flat(colour.train), flat(colour.test)
    if mirror:
        train = np.concatenate([train, flat(colour.train[..., ::-1])])
    centred = train - train.mean(0)
    spread = train.std(0)
    norm = np.sqrt((((centred / spread) ** 2).sum(1)).mean())
    channels = train.reshape(-1, 3, 20)
    mean, deviation = (np.repeat(f(channels, axis=(0, 2)), 20) for f in (np.mean, np.std))
    expected = {
        "raw": (train, test),
        "centred": (centred, test - train.mean(0)),
        "channels": ((train - mean) / deviation, (test - mean) / deviation),
        "standardised": (centred / spread, (test - train.mean(0)) / spread),
        "unit": (centred / spread / norm, (test - train.mean(0)) / spread / norm),
    }
    assert set(expected) == set(SCALINGS)
    for scaling, (a, b) in expected.items():
        task = prepare(DataSpec("digits", scaling=scaling, mirror=mirror))
        np.testing.assert_allclose(task.train_inputs, a, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(task.test_inputs, b, rtol=1e-4, atol=1e-6)


def test_properties_of_the_scaled_training_images(colour):
    def inputs(scaling):
        return prepare(DataSpec("digits", scaling=scaling)).train_inputs.double()

    assert inputs("centred").mean(0).abs().max() < 1e-6
    assert inputs("standardised").mean(0).abs().max() < 1e-6
    assert (inputs("standardised").std(0, correction=0) - 1).abs().max() < 1e-5
    assert abs(inputs("unit").square().sum(1).mean() - 1) < 1e-5
    torch.testing.assert_close(inputs("standardised*0.01"), inputs("standardised") * 0.01, rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(inputs("raw*3"), inputs("raw") * 3, rtol=1e-5, atol=0)
    # The convention behind "x 0.01": 60 standardised pixels have norm sqrt(60).
    assert abs(inputs("standardised*0.01").square().sum(1).mean() - 60e-4) < 1e-6


@pytest.mark.parametrize("scaling", SCALINGS)
def test_image_layout_holds_the_same_numbers(colour, scaling):
    flat_task, task = (prepare(DataSpec("digits", scaling=scaling, layout=layout)) for layout in ("flat", "image"))
    assert (flat_task.shape, task.shape, task.inputs) == ((60,), (3, 4, 5), 60)
    assert torch.equal(task.train_inputs.flatten(1), flat_task.train_inputs)
    assert torch.equal(task.test_inputs.flatten(1), flat_task.test_inputs)


def test_reduced_images_are_means_over_areas():
    task = prepare(DataSpec("digits", scaling="raw", layout="image", size=4))
    areas = (FULL.train.astype(np.float64) / 255).reshape(-1, 1, 4, 2, 4, 2).mean((3, 5))
    np.testing.assert_allclose(task.train_inputs, areas, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: DataSpec(layout="cube"), "unknown layout 'cube'; there are flat, image"),
        (lambda: DataSpec(layout="image", pca=3), "principal components are no images"),
        (lambda: prepare(DataSpec("digits", size=9)), "8 x 8 pixels cannot be reduced to 9"),
        (lambda: DataSpec(size=0), "size must be at least 1"),
    ],
)
def test_wrong_layouts_and_sizes_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        wrong()


@pytest.mark.parametrize("scaling", SCALINGS)
@pytest.mark.parametrize("pca", [None, 5])
def test_test_images_have_no_say_in_the_scaling(colour, monkeypatch, scaling, pca):
    spec = DataSpec("digits", scaling=scaling, pca=pca)
    before = prepare(spec)
    other = Images(colour.train, colour.train_labels, colour.test[:7] // 2, colour.test_labels[:7], 4)
    monkeypatch.setattr(MODULE, "load", lambda *_: other)
    assert torch.equal(prepare(spec).train_inputs, before.train_inputs)


def test_constant_pixels_are_not_blown_up():
    # Digits have pixels that are 0 in all training images, and hardly ever more in the test images.
    train = flat(FULL.train)
    dead = train.std(0) == 0
    assert dead.any()
    task = prepare(DataSpec("digits", scaling="standardised"))
    assert (task.train_inputs[:, dead] == 0).all()
    assert task.test_inputs.abs().max() < 255


def test_mirror_doubles_and_mirrors(colour):
    plain, mirrored = (prepare(DataSpec("digits", scaling="raw", mirror=m)) for m in (False, True))
    assert len(mirrored.train_inputs) == 2 * len(plain.train_inputs)
    images = mirrored.train_inputs.reshape(2, 60, 3, 4, 5)
    assert torch.equal(images[0], plain.train_inputs.reshape(60, 3, 4, 5))
    assert torch.equal(images[1], images[0].flip(-1))  # left and right, not up and down
    assert torch.equal(mirrored.train_labels, plain.train_labels.repeat(2))
    assert torch.equal(mirrored.test_inputs, plain.test_inputs)


@settings(deadline=None, max_examples=15)
@given(train=st.integers(1, 1500), test=st.integers(1, 297))
def test_subsets_are_the_same_rows_for_every_call(train, test):
    spec = DataSpec("digits", train=train, test=test, scaling="raw")
    a, b = prepare(spec), prepare(spec)
    assert torch.equal(a.train_inputs, b.train_inputs)
    assert torch.equal(a.test_labels, b.test_labels)
    assert (len(a.train_inputs), len(a.test_inputs)) == (train, test)
    # No image twice, images with their own labels.
    rows = {
        (*image.tolist(), label) for image, label in zip(FULL.train.reshape(-1, 64), FULL.train_labels, strict=True)
    }
    found = [
        (*image.tolist(), label.item())
        for image, label in zip((a.train_inputs * 255).round().int(), a.train_labels, strict=True)
    ]
    assert rows.issuperset(found)
    assert len(set(found)) == train


def test_a_smaller_subset_lies_in_a_larger_one():
    small, large = (prepare(DataSpec("digits", train=n, scaling="raw")).train_inputs.tolist() for n in (100, 400))
    assert {tuple(i) for i in small} <= {tuple(i) for i in large}


def test_subset_has_a_bit_of_every_class():
    assert len(prepare(DataSpec("digits", train=100)).train_labels.unique()) == 10


def test_pca_keeps_the_leading_variance(colour):
    train = flat(colour.train)
    covariance = np.cov(train.T, bias=True)
    values, vectors = np.linalg.eigh(covariance)
    values, vectors = values[::-1], vectors[:, ::-1]
    task = prepare(DataSpec("digits", scaling="centred", pca=6))
    found = task.train_inputs.double().numpy()
    assert found.shape == (60, 6)
    np.testing.assert_allclose(np.cov(found.T, bias=True), np.diag(values[:6]), atol=1e-6)
    # Test images on the axes of the training set; the sign of an axis is free.
    expected = (flat(colour.test) - train.mean(0)) @ vectors[:, :6]
    np.testing.assert_allclose(task.test_inputs.abs().numpy(), np.abs(expected), atol=1e-4)


def test_many_pixels_are_projected_without_their_covariance(monkeypatch):
    """The way that large images take, on images small enough for both ways; the sign of an axis is free."""
    spec = DataSpec("digits", scaling="centred", pca=5)
    exact = prepare(spec)
    monkeypatch.setattr(MODULE, "LARGEST_COVARIANCE", 10)
    found, again = prepare(spec), prepare(spec)
    assert torch.equal(found.train_inputs, again.train_inputs)
    for split in ("train_inputs", "test_inputs"):
        torch.testing.assert_close(getattr(found, split).abs(), getattr(exact, split).abs(), rtol=0, atol=2e-3)


def test_all_components_are_a_rotation(colour):
    whole, rotated = (prepare(DataSpec("digits", scaling="standardised", pca=p)) for p in (None, 60))
    a, b = whole.train_inputs.double(), rotated.train_inputs.double()
    assert a.shape == b.shape
    torch.testing.assert_close(a @ a.T, b @ b.T, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(a, b, atol=0.1)


def test_unit_means_unit_after_projection_too(colour):
    task = prepare(DataSpec("digits", scaling="unit", pca=4))
    assert abs(task.train_inputs.double().square().sum(1).mean() - 1) < 1e-5


@given(name=st.sampled_from(SCALINGS), factor=st.floats(1e-6, 1e6))
def test_scalings_are_read_as_written(name, factor):
    assert parse_scaling(name) == (name, 1.0)
    assert parse_scaling(f"{name}*{factor!r}") == (name, factor)


@pytest.mark.parametrize(
    "scaling", ["", "whitened", "unit*", "unit*x", "unit*0", "unit*-1", "unit*nan", "raw*inf", "2"]
)
def test_unknown_scalings_are_refused(scaling):
    with pytest.raises(InputError, match=r"raw, centred, standardised, channels, unit.*standardised\*0\.01"):
        DataSpec(scaling=scaling)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "cifar"}, "unknown data set 'cifar'; there are digits, mnist, cifar10"),
        ({"train": 0}, "train must be at least 1, got 0"),
        ({"test": -3}, "test must be at least 1, got -3"),
        ({"pca": 0}, "pca must be at least 1, got 0"),
    ],
)
def test_specs_out_of_range_are_refused(fields, message):
    with pytest.raises(InputError, match=message):
        DataSpec(**fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"train": 1501}, "digits has 1,500 training images, 1,501 were asked for"),
        ({"test": 298}, "digits has 297 test images, 298 were asked for"),
        ({"pca": 65}, "at most 64 components here, 65 were asked for"),
        ({"train": 20, "pca": 21}, "at most 20 components here, 21 were asked for"),
    ],
)
def test_more_than_there_is_is_refused(fields, message):
    with pytest.raises(InputError, match=message):
        prepare(DataSpec("digits", **fields))


def test_preparing_leaves_the_images_as_they_were(colour):
    before = colour.train.copy()
    prepare(DataSpec("digits", scaling="unit", mirror=True, pca=3))
    np.testing.assert_array_equal(colour.train, before)


def test_a_task_moves_to_a_device():
    task = prepare(DataSpec("digits", train=5, test=5)).to(torch.device("meta"))
    assert isinstance(task, Task)
    assert {t.device.type for t in (task.train_inputs, task.train_labels, task.test_inputs, task.test_labels)} == {
        "meta"
    }
