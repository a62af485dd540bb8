"""The built-in digits."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from jaxcnn import data
from tests.support.untyped import untyped


def test_split_is_stratified_and_complete():
    train, train_labels = data.digits(size=8)
    test, test_labels = data.digits(size=8, split="test")
    assert train.shape == (1437, 8, 8, 1) and test.shape == (360, 8, 8, 1)
    assert train.dtype == np.float32 and train_labels.dtype == np.int32
    counts = np.bincount(untyped(load_digits())["target"])
    np.testing.assert_array_equal(np.bincount(train_labels) + np.bincount(test_labels), counts)
    assert np.abs(np.bincount(test_labels) - counts * 360 / 1797).max() < 1
    both = np.concatenate([train, test]).reshape(1797, 64)
    original = untyped(load_digits())["data"].astype(np.float32) / 16
    np.testing.assert_array_equal(np.unique(both, axis=0), np.unique(original, axis=0))


def test_images_keep_their_labels():
    images, labels = data.digits(size=8, split="test", seed=5)
    bunch = untyped(load_digits())
    lookup = {row.tobytes(): label for row, label in zip(bunch["data"], bunch["target"], strict=True)}
    np.testing.assert_array_equal([lookup[(16.0 * x.astype(np.float64)).tobytes()] for x in images], labels)


def test_seed_decides():
    first, again, other = data.digits(size=8), data.digits(size=8), data.digits(size=8, seed=1)
    np.testing.assert_array_equal(first[0], again[0])
    assert (first[1] != other[1]).any()


def test_order_is_shuffled():
    assert len(np.unique(data.digits(split="test")[1][:36])) > 5


@pytest.mark.parametrize("size", [20, 5])
def test_resize_is_bilinear_at_half_pixel_centres(size):
    small, _ = data.digits(size=8, split="test")
    resized, _ = data.digits(size=size, split="test")
    assert resized.min() >= 0 and resized.max() <= 1
    position = np.clip((np.arange(size) + 0.5) * 8 / size - 0.5, 0, 7)
    low = np.minimum(position.astype(int), 6)
    share = position - low
    rows = small[0, low, :, 0] * (1 - share)[:, None] + small[0, low + 1, :, 0] * share[:, None]
    expected = rows[:, low] * (1 - share) + rows[:, low + 1] * share
    np.testing.assert_allclose(resized[0, ..., 0], expected, atol=1e-6)


@pytest.mark.parametrize("options", [{"split": "valid"}, {"size": 0}, {"seed": -1}])
@pytest.mark.errors
def test_wrong_option(options):
    with pytest.raises(ValueError, match=f"digits: {next(iter(options))} must be"):
        data.digits(**options)
