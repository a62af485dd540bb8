"""Cross-entropy: labels of both kinds, smoothing, limits, errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxcnn.losses import cross_entropy

LOGITS = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
LABELS = np.array([0, 3, 1, 1, 2, 0], np.int32)


def test_class_numbers():
    expected = optax.softmax_cross_entropy_with_integer_labels(jnp.asarray(LOGITS), jnp.asarray(LABELS))
    np.testing.assert_allclose(cross_entropy(LOGITS, LABELS), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.jit(cross_entropy)(LOGITS, LABELS), expected, rtol=1e-6)
    np.testing.assert_allclose(jax.vmap(cross_entropy)(LOGITS, LABELS), expected, rtol=1e-6)


def test_soft_labels_and_smoothing():
    soft = np.eye(4, dtype=np.float32)[LABELS]
    np.testing.assert_allclose(cross_entropy(LOGITS, soft), cross_entropy(LOGITS, LABELS), rtol=1e-6)
    smooth = 0.8 * soft + 0.05
    expected = -(smooth * np.asarray(jax.nn.log_softmax(LOGITS))).sum(-1)
    for labels in (soft, LABELS):
        np.testing.assert_allclose(cross_entropy(LOGITS, labels, label_smoothing=0.2), expected, rtol=1e-5)


def test_gradient_is_probability_minus_label():
    gradient = jax.grad(lambda z: jnp.sum(cross_entropy(z, LABELS)))(jnp.asarray(LOGITS))
    np.testing.assert_allclose(gradient, jax.nn.softmax(LOGITS) - np.eye(4)[LABELS], rtol=1e-5, atol=1e-6)
    soft = np.eye(4, dtype=np.float32)[LABELS]
    np.testing.assert_allclose(
        jax.grad(lambda t: jnp.sum(cross_entropy(LOGITS, t)))(soft), -jax.nn.log_softmax(LOGITS), rtol=1e-5
    )


def test_extreme_logits():
    logits = np.array([[1e4, 0.0], [0.0, -np.inf]], np.float32)
    value, gradient = jax.value_and_grad(lambda z: jnp.sum(cross_entropy(z, np.array([1, 0]))))(logits)
    np.testing.assert_allclose(value, 1e4)
    assert bool(jnp.isfinite(gradient).all())


def test_label_out_of_range_gives_nan():
    losses = cross_entropy(LOGITS[:3], np.array([-1, 4, 0]))
    np.testing.assert_array_equal(jnp.isnan(losses), [True, True, False])


def test_accumulates_in_float32():
    half = jnp.asarray(LOGITS, jnp.bfloat16)
    loss = cross_entropy(half, LABELS)
    assert loss.dtype == jnp.float32
    np.testing.assert_allclose(loss, cross_entropy(half.astype(jnp.float32), LABELS))
    with jax.enable_x64(True):
        assert cross_entropy(LOGITS.astype(np.float64), LABELS).dtype == jnp.float64


def test_leading_axes():
    assert cross_entropy(LOGITS[0], LABELS[:1].reshape(())).shape == ()
    nested = cross_entropy(LOGITS.reshape(2, 3, 4), LABELS.reshape(2, 3))
    np.testing.assert_allclose(nested.ravel(), cross_entropy(LOGITS, LABELS), rtol=1e-6)
    assert cross_entropy(LOGITS[:0], LABELS[:0]).shape == (0,)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=str)
def test_sharded_batch(kind):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])
    smooth = functools.partial(cross_entropy, label_smoothing=0.1)

    def both(z, labels):
        return smooth(z, labels), jax.grad(lambda z: jnp.sum(smooth(z, labels)))(z)

    expected = both(LOGITS, LABELS)
    with jax.set_mesh(mesh):
        placed = jax.device_put((LOGITS, LABELS), NamedSharding(mesh, PartitionSpec("data")))
        got = jax.jit(both)(*placed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, expected)


@pytest.mark.parametrize(
    ("logits", "labels", "options", "message"),
    [
        (LOGITS, LABELS[:5], {}, r"labels must be of shape \(6,\) .*float32\(6, 4\), got int32\(5,\)"),
        (LOGITS, LABELS[:, None], {}, "labels must be of shape"),
        (LOGITS, LABELS.astype(np.float32), {}, "labels must be of shape"),
        (LOGITS, LOGITS[:, :3], {}, "labels must be of shape"),
        (LOGITS, LABELS == 0, {}, "labels must be of shape"),
        (LOGITS.astype(np.int32), LABELS, {}, "logits must be of a floating dtype"),
        (LOGITS[:, :0], LABELS, {}, "logits must be of at least one class"),
        (LOGITS[0, 0], LABELS, {}, "logits must be of shape"),
        (None, LABELS, {}, "logits must be an array of numbers, got None"),
        (LOGITS, LABELS, {"label_smoothing": "a"}, "label_smoothing must be an array of numbers"),
        (LOGITS, LABELS, {"label_smoothing": 1.5}, r"label_smoothing must be in \[0, 1\], got 1.5"),
    ],
)
def test_errors(logits, labels, options, message):
    with pytest.raises(ValueError, match=f"^cross_entropy: {message}"):
        cross_entropy(logits, labels, **options)
