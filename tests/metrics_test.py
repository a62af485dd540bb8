"""Metrics per example, and sums that add over batches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxcnn import metrics
from tests.support.untyped import untyped

LOGITS = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32)
LABELS = np.random.default_rng(1).integers(0, 5, 40).astype(np.int32)
CONFUSION = functools.partial(metrics.confusion_matrix, num_classes=5)


def test_accuracy():
    value = metrics.accuracy(LOGITS, LABELS)
    assert value.dtype == jnp.float32
    np.testing.assert_array_equal(value, LOGITS.argmax(-1) == LABELS)
    np.testing.assert_array_equal(metrics.accuracy(LOGITS, np.eye(5, dtype=np.float32)[LABELS]), value)
    np.testing.assert_array_equal(jax.jit(metrics.accuracy)(jnp.asarray(LOGITS, jnp.bfloat16), LABELS).shape, (40,))


def test_ties_and_nan():
    logits = np.array([[1.0, 1.0], [1.0, 1.0], [np.nan, 1.0], [np.nan, np.nan]], np.float32)
    labels = np.array([0, 1, 0, 0])
    np.testing.assert_array_equal(metrics.accuracy(logits, labels), [1, 0, 0, 0])
    np.testing.assert_array_equal(metrics.accuracy(logits, np.full(4, -1)), 0)
    np.testing.assert_array_equal(metrics.top_k_accuracy(logits, labels, k=1), [1, 0, 0, 0])
    np.testing.assert_array_equal(metrics.top_k_accuracy(logits, labels, k=2), [1, 1, 0, 0])
    assert metrics.confusion_matrix(logits, labels, num_classes=2).tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize("k", range(1, 6))
def test_top_k_accuracy(k):
    expected = [label in np.argsort(-z)[:k] for z, label in zip(LOGITS, LABELS, strict=True)]
    np.testing.assert_array_equal(metrics.top_k_accuracy(LOGITS, LABELS, k=k), expected)
    assert not metrics.top_k_accuracy(LOGITS, np.full(40, 5), k=k).any()


def test_confusion_matrix():
    expected = np.zeros((5, 5), int)
    np.add.at(expected, (LABELS, LOGITS.argmax(-1)), 1)
    matrix = jax.jit(CONFUSION)(LOGITS, LABELS)
    assert matrix.dtype == jnp.int32
    np.testing.assert_array_equal(matrix, expected)
    np.testing.assert_array_equal(CONFUSION(LOGITS[:15], LABELS[:15]) + CONFUSION(LOGITS[15:], LABELS[15:]), expected)
    assert CONFUSION(LOGITS, np.full(40, 7)).sum() == 0


def test_mean():
    sums = {"count": np.float32(4), "loss": jnp.float32(6), "per_class": jnp.array([4.0, 8.0])}
    means = metrics.mean(sums)
    assert set(means) == {"loss", "per_class"} and type(means["loss"]) is float
    assert means["loss"] == 1.5
    np.testing.assert_array_equal(means["per_class"], [1.0, 2.0])


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
@pytest.mark.parametrize(
    "metric", [metrics.accuracy, functools.partial(metrics.top_k_accuracy, k=2), CONFUSION], ids=["1", "2", "confusion"]
)
def test_sharded_batch(metric, kind):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])
    with jax.set_mesh(mesh):
        placed = jax.device_put((LOGITS, LABELS), NamedSharding(mesh, PartitionSpec("data")))
        got = jax.jit(metric)(*placed)
    np.testing.assert_array_equal(got, metric(LOGITS, LABELS))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.accuracy(LOGITS, LABELS[:3]), r"accuracy: labels must be of shape \(40,\)"),
        (lambda: metrics.accuracy(LOGITS, LABELS > 1), "accuracy: labels must be of shape"),
        (lambda: metrics.accuracy(LOGITS.astype(int), LABELS), "accuracy: logits must be of a floating dtype"),
        (lambda: metrics.accuracy(LOGITS[:, :0], LABELS), "accuracy: logits must be of at least one class"),
        (lambda: metrics.top_k_accuracy(LOGITS, LABELS, k=6), "top_k_accuracy: k must be an integer from 1 to 5"),
        (lambda: metrics.top_k_accuracy(LOGITS, LABELS, k=0), "top_k_accuracy: k must be an integer from 1 to 5"),
        (lambda: metrics.top_k_accuracy(LOGITS, LABELS, k=True), "top_k_accuracy: k must be an integer from 1 to 5"),
        (lambda: metrics.accuracy(LOGITS, untyped(None)), "accuracy: labels must be an array of numbers, got None"),
        (lambda: metrics.confusion_matrix(LOGITS, LABELS, num_classes=4), "num_classes must be the number of classes"),
        (lambda: metrics.mean({"loss": 1.0}), 'mean: sums must be with an entry "count"'),
        (lambda: metrics.mean({"loss": 1.0, "count": 0}), 'mean: sums must be with one "count" above 0'),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
