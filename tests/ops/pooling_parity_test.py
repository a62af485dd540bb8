"""Values and gradients of the pooling ops against PyTorch."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.ops import adaptive_avg_pool, pooling
from tests.support.selection import daily, daily_cases

torch = pytest.importorskip("torch")

# window, stride, padding: without and with overlap, gaps, more elements than are split into slices
WINDOWS = [(2, 2, 0), (3, 2, 1), (3, 1, 1), (2, 3, 1), (5, 5, 2), (6, 2, 3), (7, 1, 2), ((2, 5), (1, 5), (0, 2))]
DTYPES = {"float32": (torch.float32, 1e-6), "float64": (torch.float64, 1e-14)}


def images(dtype: str, values: int | None = None) -> np.ndarray:
    rng = np.random.default_rng(3)
    shape = (2, 9, 12, 2)
    return (rng.normal(size=shape) if values is None else rng.integers(0, values, shape)).astype(dtype)


def compare(ours, theirs, x: np.ndarray, dtype: str) -> None:
    tensor = torch.tensor(x).permute(0, 3, 1, 2).requires_grad_()
    expected = theirs(tensor).permute(0, 2, 3, 1)
    cotangent = np.random.default_rng(4).normal(size=tuple(expected.shape)).astype(dtype)
    expected.backward(torch.tensor(cotangent))
    with jax.enable_x64(dtype == "float64"):
        value, (gradient,) = jax.jit(lambda x, c: (ours(x), jax.vjp(ours, x)[1](c)))(x, cotangent)
    tolerance = DTYPES[dtype][1]
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    gradient_expected = tensor.grad.permute(0, 2, 3, 1).numpy()
    np.testing.assert_allclose(gradient, gradient_expected, rtol=4 * tolerance, atol=4 * tolerance)


@pytest.mark.parametrize(("dtype", "ceil_mode"), [("float32", True), ("float64", False)])
@pytest.mark.parametrize("window", WINDOWS, ids=str)
def test_max_pool(window, ceil_mode, dtype):
    size, stride, padding = window
    compare(
        lambda x: pooling.max_pool(x, size, strides=stride, padding=padding, ceil_mode=ceil_mode),
        lambda x: torch.nn.functional.max_pool2d(x, size, stride, padding, ceil_mode=ceil_mode),
        images(dtype),
        dtype,
    )


@pytest.mark.parametrize("window", daily(WINDOWS, WINDOWS[1::3]), ids=str)
def test_max_pool_ties(window):
    size, stride, padding = window
    compare(
        lambda x: pooling.max_pool(x, size, strides=stride, padding=padding, ceil_mode=True),
        lambda x: torch.nn.functional.max_pool2d(x, size, stride, padding, ceil_mode=True),
        images("float32", values=2),
        "float32",
    )


@pytest.mark.parametrize("window", daily(WINDOWS, WINDOWS[1::3]), ids=str)
def test_max_pool_nan(window):
    size, stride, padding = window
    x = images("float32")
    x[np.random.default_rng(5).random(x.shape) < 0.1] = np.nan
    x[:, 4:6, 4:7] = -np.inf
    compare(
        lambda x: pooling.max_pool(x, size, strides=stride, padding=padding),
        lambda x: torch.nn.functional.max_pool2d(x, size, stride, padding),
        x,
        "float32",
    )


EVERY = list(itertools.product(WINDOWS, itertools.product((False, True), (False, True)), DTYPES))


@pytest.mark.parametrize(("window", "options", "dtype"), daily_cases(EVERY, EVERY[::5]), ids=str)
def test_avg_pool(window, options, dtype):
    (size, stride, padding), (ceil_mode, include) = window, options
    compare(
        lambda x: pooling.avg_pool(
            x, size, strides=stride, padding=padding, ceil_mode=ceil_mode, count_include_pad=include
        ),
        lambda x: torch.nn.functional.avg_pool2d(x, size, stride, padding, ceil_mode, include),
        images(dtype),
        dtype,
    )


@pytest.mark.parametrize("size", daily(range(1, 12), (1, 4, 7)))
def test_sizes_in_ceil_mode(size):
    x = np.random.default_rng(6).normal(size=(1, size, size, 1)).astype(np.float32)
    tensor = torch.tensor(x).permute(0, 3, 1, 2)
    for window, stride, padding in itertools.product([2, 3, 4], [1, 2, 3, 5], [0, 1]):
        for ceil_mode in (False, True):
            try:
                expected = torch.nn.functional.max_pool2d(tensor, window, stride, padding, ceil_mode=ceil_mode)
            except RuntimeError as error:
                assert "too small" in str(error)
                with pytest.raises(ValueError, match="no larger than the padded x"):
                    pooling.max_pool(x, window, strides=stride, padding=padding, ceil_mode=ceil_mode)
                continue
            options = {"window": window, "strides": stride, "padding": padding, "ceil_mode": ceil_mode}
            got = jax.eval_shape(functools.partial(pooling.max_pool, **options), x)
            assert got.shape == tuple(expected.permute(0, 2, 3, 1).shape)


def test_one_and_three_axes():
    x = images("float32")
    line = torch.tensor(x[0]).permute(0, 2, 1)
    np.testing.assert_array_equal(
        pooling.max_pool(x[0], (3,), strides=2, padding=1),
        torch.nn.functional.max_pool1d(line, 3, 2, 1).permute(0, 2, 1).numpy(),
    )
    volume = torch.tensor(x).permute(3, 0, 1, 2)
    np.testing.assert_allclose(
        pooling.avg_pool(x, (2, 3, 3), strides=(1, 2, 2)),
        torch.nn.functional.avg_pool3d(volume, (2, 3, 3), (1, 2, 2)).permute(1, 2, 3, 0).numpy(),
        rtol=1e-6,
        atol=1e-6,
    )


def test_global_pools():
    def squeezed(pool):
        return lambda x: pool(x, 1)

    x = images("float32", values=3)
    compare(
        lambda x: pooling.global_max_pool(x)[:, None, None],
        squeezed(torch.nn.functional.adaptive_max_pool2d),
        x,
        "float32",
    )
    compare(
        lambda x: pooling.global_average_pool(x)[:, None, None],
        squeezed(torch.nn.functional.adaptive_avg_pool2d),
        x,
        "float32",
    )


def test_gem_pool():
    def theirs(x):
        return x.clamp(min=1e-6).pow(3.0).mean((-2, -1), keepdim=True).pow(1 / 3)

    compare(lambda x: pooling.gem_pool(x, p=3.0)[:, None, None], theirs, images("float64"), "float64")


def test_lse_pool():
    def theirs(x):
        return (torch.logsumexp(5.0 * x, (-2, -1), keepdim=True) - np.log(9 * 12)) / 5.0

    compare(lambda x: pooling.lse_pool(x, r=5.0)[:, None, None], theirs, images("float64"), "float64")


def test_weighted_average_pool():
    x, w = images("float64"), np.random.default_rng(7).uniform(size=(2, 9, 12, 1))
    a, b = torch.tensor(x).requires_grad_(), torch.tensor(w).requires_grad_()
    expected = (a * b).sum((1, 2)) / b.sum((1, 2))
    (expected**2).sum().backward()
    with jax.enable_x64(True):
        value = jax.jit(pooling.weighted_average_pool)(x, w)
        loss = lambda x, w: jnp.sum(pooling.weighted_average_pool(x, w) ** 2)
        gradients = jax.jit(jax.grad(loss, (0, 1)))(x, w)
    np.testing.assert_allclose(value, expected.detach().numpy(), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(gradients[0], a.grad.numpy(), rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(gradients[1], b.grad.numpy(), rtol=1e-11, atol=1e-14)


ADAPTIVE = [(7, 7), (1, 1), (3, 6), (9, 12), (4, 24), (20, 5)]  # smaller, equal, larger, divisors and others


@pytest.mark.parametrize("shape", daily(ADAPTIVE, ADAPTIVE[::2]), ids=str)
def test_adaptive_avg_pool(shape):
    compare(
        lambda x: adaptive_avg_pool(x, shape),
        lambda x: torch.nn.functional.adaptive_avg_pool2d(x, shape),
        images("float32"),
        "float32",
    )
