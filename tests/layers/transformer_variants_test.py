"""Parallel, inverse-compositional and volume transformers, linearized gradients: what they compute, that they learn."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import layers, ops
from tests.support.selection import daily
from tests.support.untyped import untyped


class Localizer(nn.Module):
    """Features of the whole input, whatever its rank."""

    spatial: int = 3
    width: int = 32

    @nn.compact
    def __call__(self, x):
        flat = x.reshape(*x.shape[: x.ndim - self.spatial], np.prod(x.shape[x.ndim - self.spatial :]))
        return nn.relu(nn.Dense(self.width, name="dense")(flat))


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def blob(shape, centers, width=0.25):
    """Bright spots at points (n, d) of [-1, 1], (n, *shape, 1)."""
    axes = [(2 * np.arange(n) + 1) / n - 1 for n in shape]
    mesh = np.stack(np.meshgrid(*axes, indexing="ij")[::-1], -1)
    distance = ((mesh[None] - centers.reshape(len(centers), *(1,) * len(shape), -1)) ** 2).sum(-1)
    return jnp.asarray(np.exp(-distance / (2 * width**2))[..., None], jnp.float32)


def trained(layer, x, loss, steps=150, rate=3e-3):
    """Variables after training on one batch, and the losses before and after."""
    params = jax.jit(layer.init)(jax.random.key(0), x)["params"]
    optimizer = optax.adam(rate)

    @jax.jit
    def run(params, state):
        def step(carry, key):
            params, state = carry
            apply = lambda p: loss(layer.apply({"params": p}, x, train=True, rngs={"dropout": key}))
            value, gradient = jax.value_and_grad(apply)(params)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(params, updates), state), value

        (params, _), values = jax.lax.scan(step, (params, state), jax.random.split(jax.random.key(1), steps))
        return params, values

    params, values = run(params, optimizer.init(params))
    final = loss(jax.jit(layer.apply)({"params": params}, x))
    return params, float(values[0]), float(final)


def sown(layer, params, x):
    _, found = jax.jit(lambda p, x: layer.apply({"params": p}, x, mutable="intermediates"))(params, x)
    return {name: value[0] for name, value in found["intermediates"].items()}


def test_parallel_transforms_equal_single_transformers():
    x = images(2, 3, 7, 6, 2)
    starts = np.random.default_rng(0).uniform(-0.3, 0.3, (3, 6)) + np.eye(2, 3).ravel()
    layer = layers.ParallelTransformer(Localizer(), 3, transform="affine", starts=starts.tolist(), output_shape=(4, 5))
    y, variables = jax.jit(lambda x: layer.init_with_output(jax.random.key(0), x, mutable=True))(x)
    assert y.shape == (2, 3, 3, 4, 5, 2)
    found = {name: value[0] for name, value in variables["intermediates"].items()}
    assert found["theta"].shape == (2, 3, 3, 6)
    assert found["grid"].shape == (2, 3, 3, 4, 5, 2)
    assert found["frame"].shape == (2, 3, 3, 4, 2)
    for i, start in enumerate(starts):
        single = ops.warp_affine(x, jnp.asarray(start.reshape(2, 3), jnp.float32), shape=(4, 5))
        np.testing.assert_allclose(y[:, :, i], single, atol=1e-6)


@pytest.mark.parametrize("transform", daily(["affine", "projective", "tps"], ["affine"]))
def test_parallel_transforms_start_as_the_exact_identity(transform):
    x = images(2, 6, 5, 2)
    y, _ = jax.jit(
        lambda x: layers.ParallelTransformer(Localizer(), 2, transform=transform).init_with_output(jax.random.key(0), x)
    )(x)
    np.testing.assert_array_equal(y, jnp.stack([x, x], 1))


@pytest.mark.nightly
def test_each_parallel_transform_learns_an_object_of_its_own():
    centers = np.random.default_rng(0).uniform(-0.5, 0.5, (16, 2))
    narrow, wide = blob((24, 24), centers, 0.12), blob((24, 24), -centers, 0.3)
    x = jnp.concatenate([narrow, wide], -1)
    target = blob((24, 24), np.zeros((1, 2)), 0.12), blob((24, 24), np.zeros((1, 2)), 0.3)
    loss = lambda y: jnp.mean((y[:, 0, ..., :1] - target[0]) ** 2) + jnp.mean((y[:, 1, ..., 1:] - target[1]) ** 2)
    layer = layers.ParallelTransformer(Localizer(), 2, transform="translation")
    params, before, after = trained(layer, x, loss)
    assert after < 0.1 * before
    theta = sown(layer, params, x)["theta"]
    np.testing.assert_allclose(theta[:, 0], centers, atol=0.1)
    np.testing.assert_allclose(theta[:, 1], -centers, atol=0.15)


@pytest.mark.parametrize(
    "transform",
    daily(["attention", "translation", "similarity", "affine", "projective"], ["projective"]),
)
def test_inverse_compositional_starts_as_the_exact_identity(transform):
    x = images(2, 3, 6, 5, 2)
    layer = layers.InverseCompositionalTransformer(Localizer(), transform, steps=3)
    y, variables = jax.jit(lambda x: layer.init_with_output(jax.random.key(0), x, mutable=True))(x)
    np.testing.assert_array_equal(y, x)
    rows = 3 if transform == "projective" else 2
    assert variables["intermediates"]["theta"][0].shape == (2, 3, 3, rows, 3)


def test_inverse_compositional_composes_its_increments_and_reads_the_original():
    x = images(2, 9, 8, 1)
    layer = layers.InverseCompositionalTransformer(Localizer(), "affine", steps=3)
    params = jax.jit(layer.init)(jax.random.key(0), x)["params"]
    increment = jnp.array([0.9, 0.1, 0.05, -0.1, 0.95, 0.1])
    params = {**params, "regression": {**params["regression"], "bias": increment}}
    y, found = jax.jit(lambda v, x: layer.apply(v, x, mutable="intermediates"))({"params": params}, x)
    once = np.concatenate([np.asarray(increment).reshape(2, 3), np.array([[0.0, 0, 1]], np.float32)])
    matrices = [once, once @ once, once @ once @ once]
    for i, matrix in enumerate(matrices):
        np.testing.assert_allclose(untyped(found)["intermediates"]["theta"][0][0, i], matrix[:2], atol=1e-6)
    np.testing.assert_allclose(y, jax.jit(ops.warp_affine)(x, matrices[2][:2]), atol=1e-5)
    np.testing.assert_allclose(
        untyped(found)["intermediates"]["grid"][0][0], ops.affine_grid(matrices[2][:2], (9, 8)), atol=1e-5
    )


@pytest.mark.nightly
def test_inverse_compositional_learns_and_every_step_gets_closer():
    rng = np.random.default_rng(1)
    centers = rng.uniform(-0.5, 0.5, (16, 2))
    x, target = blob((24, 24), centers, 0.2), blob((24, 24), np.zeros((1, 2)), 0.2)
    layer = layers.InverseCompositionalTransformer(Localizer(width=8), "translation", steps=3)
    params, before, after = trained(layer, x, lambda y: jnp.mean((y - target) ** 2), steps=300)
    assert after < 0.1 * before
    moved = sown(layer, params, x)["theta"][..., 2]  # (16, steps, 2)
    miss = np.linalg.norm(np.asarray(moved) - centers[:, None], axis=-1).mean(0)
    assert miss[-1] < 0.1
    assert miss[-1] < miss[0]


def test_volumes_start_as_the_exact_identity():
    x = images(2, 3, 4, 5, 6, 2)
    layer = layers.VolumeTransformer(Localizer(4))
    y, variables = jax.jit(lambda x: layer.init_with_output(jax.random.key(0), x, mutable=True))(x)
    np.testing.assert_array_equal(y, x)
    found = {name: value[0] for name, value in variables["intermediates"].items()}
    assert (found["theta"].shape, found["grid"].shape) == ((2, 3, 12), (2, 3, 4, 5, 6, 3))
    np.testing.assert_allclose(
        found["frame"][0, 0, [0, 1, 2, 4]], [[-1, -1, -1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    )


@pytest.mark.nightly
def test_a_volume_transformer_learns_to_center_an_object():
    centers = np.random.default_rng(0).uniform(-0.4, 0.4, (12, 3))
    x, target = blob((10, 11, 12), centers), blob((10, 11, 12), np.zeros((1, 3)))
    layer = layers.VolumeTransformer(Localizer(4))
    params, before, after = trained(layer, x, lambda y: jnp.mean((y - target) ** 2))
    assert after < 0.1 * before
    matrix = sown(layer, params, x)["theta"].reshape(12, 3, 4)
    np.testing.assert_allclose(ops.apply_matrix(matrix, jnp.zeros((1, 3)))[:, 0], centers, atol=0.1)


@pytest.mark.nightly
def test_a_transformer_with_a_linearized_gradient_learns_where_a_bilinear_one_does_not():
    # Small spots on a dark image, read at few points: most of these see nothing, and neither does their gradient.
    centers = np.random.default_rng(0).uniform(-0.6, 0.6, (16, 2))
    x, target = blob((64, 64), centers, 0.1), blob((8, 8), np.zeros((1, 2)), 0.1)
    misses = []
    for samples in (0, 8):
        layer = layers.SpatialTransformer(
            Localizer(), "translation", output_shape=(8, 8), auxiliary_samples=samples, auxiliary_reach=0.3
        )
        params, _, _ = trained(layer, x, lambda y: jnp.mean((y - target) ** 2), steps=800, rate=1e-3)
        theta = sown(layer, params, x)["theta"]
        misses.append(float(jnp.linalg.norm(theta - centers, axis=-1).mean()))
    assert misses[1] < 0.5 * misses[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: layers.ParallelTransformer(Localizer(), 0), "count must be a positive integer, got 0"),
        (
            lambda: layers.ParallelTransformer(Localizer(), 2, starts=[[1.0] * 6]),
            r"starts must be 2 times 6 parameters, got \[6\] of them",
        ),
        (
            lambda: layers.SpatialTransformer(Localizer(), auxiliary_samples=1),
            "auxiliary_samples must be 0, or an integer",
        ),
        (
            lambda: layers.SpatialTransformer(Localizer(), auxiliary_samples=4, antialias=True),
            "without antialias, got mode",
        ),
        (lambda: layers.ParallelTransformer(Localizer(), 2, transform=untyped("shear")), "transform must be one of"),
        (lambda: layers.InverseCompositionalTransformer(Localizer(), untyped("tps")), "transform must be one of"),
        (lambda: layers.InverseCompositionalTransformer(Localizer(), steps=0), "steps must be a positive integer"),
        (lambda: layers.VolumeTransformer(Localizer(4)), r"VolumeTransformer: x must be of shape \(..., d, h, w, c\)"),
        (lambda: layers.VolumeTransformer(Localizer(4), output_shape=untyped((2, 2))), "x must be of shape"),
    ],
)
@pytest.mark.errors
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make().init(jax.random.key(0), jnp.ones((4, 4, 1)))
