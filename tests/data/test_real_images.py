"""The real CIFAR-10 and MNIST, where they are at hand."""

import numpy as np
import pytest

from nonsingular.data import load

EXPECTED = {
    "cifar10": ((50_000, 3, 32, 32), (10_000, 3, 32, 32), 5000, 1000),
    "mnist": ((60_000, 1, 28, 28), (10_000, 1, 28, 28), None, None),
}


@pytest.fixture(scope="module", params=EXPECTED)
def real(request, data_dir):
    if not (data_dir / request.param).is_dir():
        pytest.skip(f"no {request.param} in {data_dir}")
    return request.param, load(request.param, data_dir)


def test_counts_and_shapes(real):
    name, images = real
    train, test, per_class, per_class_test = EXPECTED[name]
    assert images.train.shape == train
    assert images.test.shape == test
    assert images.train_labels.shape == train[:1]
    assert images.test_labels.shape == test[:1]
    for labels, count in ((images.train_labels, per_class), (images.test_labels, per_class_test)):
        counts = np.bincount(labels, minlength=10)
        assert len(counts) == images.classes == 10
        if count:
            assert (counts == count).all()
        else:
            assert counts.min() > 0.08 * len(labels)


def test_grey_levels_are_those_of_the_real_images(real):
    name, images = real
    # Published means of the training pixels: 0.1307 for MNIST, 0.4914, 0.4822, 0.4465 for CIFAR-10. A tenth of a grey
    # level is allowed for copies that hold the images as JPEG.
    mean = images.train.mean(axis=(0, 2, 3)) / 255
    expected = {"mnist": [0.1307], "cifar10": [0.4914, 0.4822, 0.4465]}[name]
    np.testing.assert_allclose(mean, expected, atol=0.1 / 255)
    assert isinstance(images.train, np.memmap)
