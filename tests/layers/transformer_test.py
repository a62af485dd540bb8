"""The spatial transformer as a layer: identity start, families, what it sows, training on an input and in a network."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import layers, ops
from tests.support.selection import daily
from tests.support.untyped import untyped

FAMILIES = {"attention": 3, "translation": 2, "similarity": 4, "affine": 6, "projective": 8, "tps": 32}


class Localizer(nn.Module):
    width: int = 8

    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Dense(self.width, name="dense")(x.reshape(*x.shape[:-3], -1)))


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def warped(layer, x, bias):
    """Output and what is sown, with another bias of the regression: the transform itself, as its weights are zero."""

    @jax.jit
    def run(x):
        params = layer.init(jax.random.key(0), x)["params"]
        if bias is not None:
            params = {**params, "regression": {**params["regression"], "bias": jnp.asarray(bias, jnp.float32)}}
        return layer.apply({"params": params}, x, mutable="intermediates")

    return run(x)


@pytest.mark.parametrize("transform", daily(FAMILIES, ("affine", "projective", "tps")))
@pytest.mark.parametrize("leading", daily([(), (2,), (2, 3)], [(2, 3)]))
def test_starts_as_the_exact_identity(transform, leading):
    x = images(*leading, 6, 5, 2)
    layer = layers.SpatialTransformer(Localizer(), transform)
    y, sown = jax.jit(lambda x: layer.init_with_output(jax.random.key(1), x, mutable=True))(x)
    np.testing.assert_array_equal(y, x)
    sown = {name: value[0] for name, value in sown["intermediates"].items()}
    assert sown["theta"].shape == (*leading, FAMILIES[transform])
    np.testing.assert_allclose(
        sown["grid"], jnp.broadcast_to(ops.affine_grid(jnp.eye(2, 3), (6, 5)), sown["grid"].shape)
    )
    corners = [[-1, -1], [1, -1], [1, 1], [-1, 1]]
    np.testing.assert_allclose(sown["frame"], np.broadcast_to(corners, (*leading, 4, 2)), atol=1e-6)


@pytest.mark.parametrize(
    ("transform", "parameters", "matrix"),
    [
        pytest.param("attention", [0.5, 0.1, -0.2], [[0.5, 0, 0.1], [0, 0.5, -0.2]], marks=pytest.mark.nightly),
        pytest.param("translation", [0.1, -0.2], [[1, 0, 0.1], [0, 1, -0.2]], marks=pytest.mark.nightly),
        ("similarity", [0.8, 0.3, 0.1, -0.2], [[0.8, -0.3, 0.1], [0.3, 0.8, -0.2]]),
        ("affine", [0.8, 0.3, 0.1, -0.4, 0.9, -0.2], [[0.8, 0.3, 0.1], [-0.4, 0.9, -0.2]]),
    ],
)
def test_matrix_families(transform, parameters, matrix):
    x, theta = images(2, 7, 6, 1), jnp.array(matrix)
    layer = layers.SpatialTransformer(Localizer(), transform, output_shape=(4, 5), padding_mode="border")
    y, sown = warped(layer, x, parameters)
    warp = jax.jit(lambda x, theta: ops.warp_affine(x, theta, shape=(4, 5), padding_mode="border"))
    np.testing.assert_allclose(y, warp(x, theta), atol=1e-6)
    np.testing.assert_allclose(sown["intermediates"]["grid"][0][1], ops.affine_grid(theta, (4, 5)), atol=1e-6)
    np.testing.assert_allclose(sown["intermediates"]["frame"][0][0, 2], theta @ jnp.ones(3), atol=1e-6)


def test_projective_and_tps_parameters():
    x = images(2, 7, 6, 1)
    matrix = jnp.array([[0.9, 0.1, 0.05], [-0.1, 1.1, 0.0], [0.1, 0.2, 1.0]])
    layer = layers.SpatialTransformer(Localizer(), "projective")
    y, _ = warped(layer, x, matrix.ravel()[:8])
    np.testing.assert_allclose(y, jax.jit(ops.warp_perspective)(x, matrix), atol=1e-6)

    layer = layers.SpatialTransformer(Localizer(), "tps", control_points=(2, 3))
    start = np.array([[-1, -1], [0, -1], [1, -1], [-1, 1], [0, 1], [1, 1]], np.float32)
    _, sown = warped(layer, x, None)
    np.testing.assert_allclose(sown["intermediates"]["theta"][0][0], start.ravel(), atol=1e-6)
    points = start + np.random.default_rng(0).normal(scale=0.1, size=(6, 2)).astype(np.float32)
    y, sown = warped(layer, x, points.ravel())
    warp = jax.jit(lambda x, points: ops.warp_tps(x, points, control_points=start))
    np.testing.assert_allclose(y, warp(x, points), atol=1e-5)
    np.testing.assert_allclose(sown["intermediates"]["frame"][0][0], points[[0, 2, 5, 3]], atol=1e-5)


class Middle(nn.Module):
    """Convolution, transformer on its maps, convolution: the image gradient has to pass the sampler."""

    transform: str = "affine"

    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), name="conv1")(x))
        x = layers.SpatialTransformer(Localizer(), untyped(self.transform), name="transformer")(x)
        x = nn.relu(nn.Conv(4, (3, 3), name="conv2")(x))
        return nn.Dense(2, name="head")(x.reshape(*x.shape[:-3], -1))


class First(nn.Module):
    """A transformer on the input, then a dense layer."""

    @nn.compact
    def __call__(self, x):
        x = layers.SpatialTransformer(Localizer(16), "translation", name="transformer")(x)
        return nn.Dense(2, name="head")(x.reshape(*x.shape[:-3], -1))


def learn(model, steps, rate):
    """Two classes, a bar across or a bar down, at a random place; returns first and last loss and the parameters."""
    rng = np.random.default_rng(0)
    x, y = np.zeros((64, 10, 10, 1), np.float32), rng.integers(0, 2, 64)
    for image, label, (i, j) in zip(x, y, rng.integers(0, 6, (64, 2)), strict=True):
        image[i : i + (1 if label else 5), j : j + (5 if label else 1)] = 1
    x, y = jnp.asarray(x), jnp.asarray(y)
    start = params = jax.jit(model.init)(jax.random.key(0), x)["params"]
    tx = optax.adam(rate)

    def loss(params):
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(model.apply({"params": params}, x), y))

    @jax.jit
    def step(params, state):
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = tx.update(gradient, state, params)
        return optax.apply_updates(params, updates), state, value

    state, values = tx.init(params), []
    for _ in range(steps):
        params, state, value = step(params, state)
        values.append(float(value))
    return values, start, params


@pytest.mark.parametrize("model", daily([First(), Middle(), Middle("projective")], [Middle()]))
def test_trains_on_the_input_and_in_the_middle_of_a_network(model):
    values, start, params = learn(model, steps=60, rate=3e-3)
    assert values[-1] < 0.5 * values[0]
    moved = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max()), start, params)
    assert all(m > 0 for m in jax.tree.leaves(moved))  # the localizer and, in the middle, the layer before it, too


@pytest.mark.parametrize("transform", daily(FAMILIES, ("affine",)))
def test_nan_parameters_are_not_hidden(transform):
    layer = layers.SpatialTransformer(Localizer(), transform)
    y, sown = warped(layer, images(1, 4, 5, 1), np.full(FAMILIES[transform], np.nan))
    assert np.all(np.isnan(y)) and np.all(np.isnan(sown["intermediates"]["frame"][0]))


@pytest.mark.nightly
def test_gradient_of_the_image_passes_the_transformer():
    with jax.enable_x64(True):
        x, direction = (jnp.asarray(np.random.default_rng(seed).normal(size=(2, 6, 6, 1))) for seed in (0, 1))
        layer = layers.SpatialTransformer(Localizer(), "affine", param_dtype=jnp.float64)

        @jax.jit
        def slopes(x, direction):
            variables = layer.init(jax.random.key(0), x)
            params = jax.tree.map(
                lambda p: p + 0.05 * jax.random.normal(jax.random.key(1), p.shape), variables["params"]
            )
            f = lambda x: jnp.sum(untyped(layer.apply({"params": params}, x)) ** 2)
            numeric = (f(x + 1e-6 * direction) - f(x - 1e-6 * direction)) / 2e-6
            return jnp.vdot(jax.grad(f)(x), direction), numeric

        np.testing.assert_allclose(*slopes(x, direction), rtol=1e-5)


def test_half_precision_keeps_coordinates_wide():
    x = images(2, 6, 6, 1).astype(jnp.bfloat16)
    layer = layers.SpatialTransformer(Localizer(), "affine", dtype=jnp.bfloat16)
    y, sown = warped(layer, x, None)
    assert y.dtype == jnp.bfloat16
    assert {v[0].dtype for v in sown["intermediates"].values()} == {jnp.dtype("float32")}
    np.testing.assert_array_equal(y, x)


def test_localizer_is_called_with_train():
    class Dropping(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            return nn.Dropout(0.5, deterministic=not train)(x.reshape(*x.shape[:-3], -1))

    layer = layers.SpatialTransformer(Dropping())
    x = images(2, 4, 4, 1)
    variables = jax.eval_shape(layer.init, jax.random.key(0), x)
    jax.eval_shape(layer.apply, variables, x)  # needs no dropout key
    train = lambda variables, x, key: layer.apply(variables, x, train=True, rngs={"dropout": key})
    jax.eval_shape(train, variables, x, jax.random.key(1))


@pytest.mark.nightly
def test_usable_from_nnx():
    from flax import nnx

    x = images(2, 6, 5, 1)
    layer = nnx.bridge.ToNNX(layers.SpatialTransformer(Localizer(), "affine"), rngs=nnx.Rngs(0)).lazy_init(x)
    np.testing.assert_array_equal(nnx.jit(lambda m, x: m(x))(layer, x), x)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: layers.SpatialTransformer(Localizer(), untyped("rigid")),
            "SpatialTransformer: transform must be one of",
        ),
        (lambda: layers.SpatialTransformer(Localizer(), output_shape=(0, 4)), "output_shape must be"),
        (
            lambda: layers.SpatialTransformer(Localizer(), "tps", control_points=(1, 4)),
            "control_points must be at least",
        ),
        (lambda: layers.SpatialTransformer(Localizer(), mode=untyped("cubic")), "mode must be one of"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make().init(jax.random.key(0), jnp.ones((2, 4, 4, 1)))


def test_errors_of_the_input():
    layer = layers.SpatialTransformer(Localizer())
    with pytest.raises(
        ValueError, match=r"SpatialTransformer: x must be of shape \(..., h, w, c\), got float32\(4, 4\)"
    ):
        layer.init(jax.random.key(0), jnp.ones((4, 4)))
    with pytest.raises(ValueError, match="x must be of a floating dtype"):
        layer.init(jax.random.key(0), jnp.ones((4, 4, 1), jnp.uint8))
