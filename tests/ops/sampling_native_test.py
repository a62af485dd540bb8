"""The compiled CPU kernels of the optional package against the same sums in XLA."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
from tests.support.selection import daily, daily_cases

pytest.importorskip("jaxcnn_native")


def both(monkeypatch, function, *arrays):
    """Results with and without native kernels; each is traced anew, as the variable is read then."""
    results = []
    for value in ("0", "1"):
        monkeypatch.setenv("JAXCNN_NATIVE", value)
        compiled = jax.jit(lambda *a: function(*a)).lower(*arrays).compile()
        assert ("jaxcnn_taps" in str(compiled.as_text())) == (value == "1")
        results.append(compiled(*arrays))
    return results


def with_gradients(**options):
    def run(image, grid):
        value, pullback = jax.vjp(lambda i, g: ops.grid_sample(i, g, **options), image, grid)
        return (value, *pullback(jnp.cos(jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape)))

    return run


def arrays(*size, c, n=(2,)):
    rng = np.random.default_rng(c)
    d = len(size)
    image = jnp.asarray(rng.normal(size=(*n, *size, c)), jnp.float32)
    return image, jnp.asarray(rng.uniform(-1.3, 1.3, (*n, *(5, 6, 3)[:d], d)), jnp.float32)


CHANNELS = {"bilinear": (1, 2, 3, 4, 5, 8, 19, 40), "nearest": (3, 19), "bicubic": (1, 3, 19)}


@pytest.mark.parametrize(
    ("mode", "c"),
    daily_cases(
        [(mode, c) for mode, channels in CHANNELS.items() for c in channels],
        [("bilinear", 1), ("bilinear", 3), ("bilinear", 19), ("nearest", 3), ("bicubic", 3)],
    ),
)
def test_images(monkeypatch, mode, c):
    for a, b in zip(*both(monkeypatch, with_gradients(mode=mode), *arrays(9, 7, c=c)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("options", daily([{}, {"mode": "bicubic", "padding_mode": "border"}], [{}]), ids=str)
def test_volumes(monkeypatch, options):
    for a, b in zip(*both(monkeypatch, with_gradients(**options), *arrays(4, 5, 6, c=3)), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.nightly
def test_antialiasing(monkeypatch):
    image, grid = arrays(32, 30, c=3)
    for a, b in zip(*both(monkeypatch, with_gradients(antialias=True), image, grid), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize(
    "shape",
    daily(
        [((2, 3), (2, 3)), ((2, 1), (1, 3)), ((), (2, 3)), ((2, 3), ()), ((3,), (2, 1))],
        [((2, 1), (1, 3)), ((2, 3), ())],
    ),
    ids=str,
)
def test_images_shared_by_grids_and_grids_by_images(monkeypatch, shape):
    image, grid = arrays(9, 7, c=3, n=shape[0])[0], arrays(9, 7, c=3, n=shape[1])[1]
    for a, b in zip(*both(monkeypatch, with_gradients(), image, grid), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_many_points_and_one_image_of_many_channels(monkeypatch):
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(33, 31, 70)), jnp.float32)
    grid = jnp.asarray(rng.uniform(-1.1, 1.1, (60, 50, 2)), jnp.float32)
    # Slopes to the grid, up to 600, are sums over channels, from positions that the two programs round differently.
    for a, b, atol in zip(*both(monkeypatch, with_gradients(), image, grid), (2e-5, 2e-4, 1e-3), strict=True):
        np.testing.assert_allclose(a, b, atol=atol)


def test_pixels_that_are_not_finite_do_not_spread_to_gradients_of_others(monkeypatch):
    grid = jnp.array([[[3.0, 0.0], [-5.0, 0.0], [0.0, 0.0]]])
    cotangent = jnp.array([[[jnp.inf], [jnp.nan], [2.0]]])

    def gradient(image):
        return jax.vjp(lambda i: ops.grid_sample(i, grid), image)[1](cotangent)

    for (result,) in both(monkeypatch, gradient, jnp.ones((1, 3, 1))):
        np.testing.assert_array_equal(result[0, :, 0], [0, 2, 0])


def test_values_and_slopes_of_one_channel_are_left_to_xla(monkeypatch):
    monkeypatch.setenv("JAXCNN_NATIVE", "1")
    image, grid = arrays(9, 7, c=1)
    sampled = jax.jit(lambda g: jax.vjp(lambda g: ops.grid_sample(image, g), g)[1](jnp.ones((2, 5, 6, 1))))
    assert "jaxcnn_taps" not in sampled.lower(grid).as_text()


def test_other_dtypes_and_exported_programs_run_without(monkeypatch):
    monkeypatch.setenv("JAXCNN_NATIVE", "1")
    image, grid = arrays(5, 4, c=2)
    with jax.enable_x64(True):
        wide = jax.jit(ops.grid_sample).lower(image.astype(jnp.float64), grid)
    assert "jaxcnn_taps" not in wide.as_text()
    exported = jax.export.export(jax.jit(lambda i, g: ops.grid_sample(i, g)), platforms=["cpu"])(image, grid)
    assert "jaxcnn_taps" not in exported.mlir_module()
