"""The compiled CPU kernels of the optional package against XLA's grouped convolution."""

import functools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import DTypeLike

from jaxcnn import ops
from tests.support.selection import daily, daily_cases

pytest.importorskip("jaxcnn_native")

# spatial shape, kernel, channels, strides, dilation, padding: every block of outputs, every way to split a kernel,
# channels that fill the last vector and channels that do not
CASES = [
    ((13, 9), (3, 3), 32, 1, 1, "SAME"),
    ((13, 9), (3, 3), 19, 1, 1, "VALID"),
    ((13, 18), (3, 3), 17, 2, 1, "SAME"),
    ((13, 18), (3, 3), 24, 1, 2, "SAME"),
    ((6, 7), (5, 5), 16, 1, 1, "SAME"),
    ((12, 17), (5, 5), 8, 2, 1, [(1, 2), (0, 3)]),
    ((9, 10), (7, 7), 16, 1, 1, "SAME"),
    ((9, 10), (7, 7), 5, 1, 2, [(6, 6), (6, 6)]),
    ((9, 10), (2, 2), 16, 1, 1, "SAME"),
    ((9, 10), (4, 4), 16, 2, 1, "SAME"),
    ((9, 30), (9, 6), 16, 1, 1, "SAME"),
    ((9, 30), (1, 11), 16, 1, 1, "SAME"),
    ((9, 30), (3, 3), 16, 3, 1, "SAME"),
    ((9, 30), (3, 5), 16, (2, 1), (1, 3), "SAME"),
    ((5, 3), (3, 3), 16, 1, 1, "SAME"),
    ((5, 2), (3, 3), 16, 1, 1, "SAME"),
    ((1, 1), (3, 3), 16, 1, 1, "SAME"),
    ((8, 8), (1, 1), 16, 2, 1, "VALID"),
    ((6, 9), (3, 3), 16, 1, 1, [(5, 0), (0, 7)]),
    ((6, 9), (3, 3), 16, 2, 1, [(5, 6), (5, 7)]),
    ((30,), (5,), 16, 1, 1, "CAUSAL"),
    ((30,), (3,), 7, 2, 1, "SAME"),
    ((31,), (3,), 16, 1, 4, "REFLECT"),
    ((3,), (3,), 16, 1, 1, "CIRCULAR"),
]


def normal(*shape, seed=0, dtype: DTypeLike = np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@functools.partial(jax.jit, static_argnames=("strides", "dilation", "padding", "implementation"))
def with_gradients(x, kernel, **options):
    value, pull = jax.vjp(functools.partial(ops.depthwise_conv, **options), x, kernel)
    return value, *pull(jnp.cos(jnp.arange(value.size, dtype=value.dtype)).reshape(value.shape))


def to_options(case):
    strides, dilation, padding = case
    return {
        "strides": strides,
        "dilation": dilation,
        "padding": padding if isinstance(padding, str) else tuple(padding),
    }


def assert_close(found, expected, tolerance=2e-6):
    for got, wanted in zip(found, expected, strict=True):
        assert got.shape == wanted.shape and got.dtype == wanted.dtype
        np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance * (1 + np.abs(wanted).max()))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_equals_xla(case):
    size, taps, c, *rest = case
    x, kernel = normal(2, 3, *size, c), normal(*taps, c, 1, seed=1)
    found, expected = (with_gradients(x, kernel, implementation=i, **to_options(rest)) for i in ("native", "xla"))
    assert_close(found, expected)


@pytest.mark.parametrize(
    ("m", "c", "strides"),
    daily_cases(
        [(m, c, strides) for m in (2, 3) for c in (5, 16, 24) for strides in (1, 2, 3)],
        [(2, 5, 1), (3, 5, 2), (2, 16, 3), (3, 16, 1), (2, 24, 2), (3, 24, 3)],
    ),
)
def test_kernels_per_channel(m, c, strides):
    x, kernel = normal(2, 9, 12, c), normal(3, 5, c, m, seed=1)
    options = {"strides": strides, "dilation": 1, "padding": "SAME"}
    text = with_gradients.lower(x, kernel, implementation="native", **options).as_text()
    assert text.count("@jaxcnn_correlate(") == 2 and text.count("@jaxcnn_kernel_gradient(") == 1
    found, expected = (with_gradients(x, kernel, implementation=i, **options) for i in ("native", "xla"))
    assert_close(found, expected)


def test_large_results_that_bypass_the_cache():
    x, kernel = normal(1, 80, 100, 272), normal(3, 3, 272, 1, seed=1)
    options = {"strides": 1, "dilation": 1, "padding": "SAME"}
    assert x.nbytes > 8 * 2**20
    assert_close(
        with_gradients(x, kernel, implementation="native", **options),
        with_gradients(x, kernel, implementation="stencil", **options),
        1e-5,
    )


def test_the_program_calls_the_kernels():
    for gradients in (False, True):
        function = with_gradients if gradients else functools.partial(ops.depthwise_conv)
        program = jax.jit(functools.partial(function, strides=1, dilation=1, padding="SAME", implementation="native"))
        text = program.lower(normal(2, 8, 8, 16), normal(3, 3, 16, 1)).as_text()
        assert text.count("@jaxcnn_correlate(") == 1 + gradients
        assert text.count("@jaxcnn_kernel_gradient(") == gradients


@pytest.mark.parametrize(
    ("shape", "taps", "dtype"),
    [
        ((2, 8, 8, 4), (3, 3, 4, 1), jnp.bfloat16),
        ((2, 5, 4, 6, 3), (3, 2, 3, 3, 1), np.float32),
    ],
    ids=["bfloat16", "volume"],
)
def test_unsupported_operands_run_without_the_kernels(shape, taps, dtype):
    x, kernel = normal(*shape, dtype=dtype), normal(*taps, dtype=dtype, seed=1)
    options = {"strides": 1, "dilation": 1, "padding": "SAME"}
    assert "jaxcnn_" not in with_gradients.lower(x, kernel, implementation="native", **options).as_text()
    found, expected = (with_gradients(x, kernel, implementation=i, **options) for i in ("native", "stencil"))
    for got, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)


def test_float64_runs_without_the_kernels():
    with jax.enable_x64(True):
        x, kernel = normal(2, 8, 8, 4, dtype=np.float64), normal(3, 3, 4, 1, dtype=np.float64)
        found = ops.depthwise_conv(x, kernel, implementation="native")
        np.testing.assert_array_equal(found, ops.depthwise_conv(x, kernel, implementation="stencil"))


@pytest.mark.parametrize("axes", daily([(None, 0), (0, None), (0, 0)], [(0, 0)]), ids=str)
def test_vmap(axes):
    x = normal(*(3,) * (axes[0] is not None), 2, 8, 9, 16)
    kernel = normal(*(3,) * (axes[1] is not None), 3, 3, 16, 1, seed=1)
    options = {"strides": 1, "dilation": 1, "padding": "SAME"}
    found, expected = (
        jax.vmap(functools.partial(with_gradients, implementation=i, **options), axes)(x, kernel)
        for i in ("native", "stencil")
    )
    assert_close(found, expected)


def test_nested_vmap_where_only_one_axis_maps_the_images():
    x, kernel = normal(3, 2, 8, 9, 16), normal(2, 3, 3, 3, 16, 1, seed=1)
    options = {"strides": 1, "dilation": 1, "padding": "SAME"}
    found, expected = (
        jax.vmap(jax.vmap(functools.partial(with_gradients, implementation=i, **options)), (None, 0))(x, kernel)
        for i in ("native", "stencil")
    )
    assert_close(found, expected)


def test_derivatives_of_second_order():
    x, kernel = jnp.asarray(normal(1, 4, 5, 8)), jnp.asarray(normal(3, 3, 8, 1, seed=1))

    def product(implementation):
        def loss(x, kernel):
            return jnp.sum(ops.depthwise_conv(x, kernel, strides=2, implementation=implementation) ** 3)

        directions = (jnp.cos(x), jnp.cos(kernel))
        return jax.jit(lambda: jax.jvp(jax.grad(loss, (0, 1)), (x, kernel), directions)[1])()

    assert_close(product("native"), product("xla"), 1e-5)


def test_results_are_deterministic():
    x, kernel = normal(4, 30, 31, 24), normal(3, 3, 24, 1, seed=1)
    options = {"strides": 1, "dilation": 1, "padding": "SAME", "implementation": "native"}
    first = with_gradients(x, kernel, **options)
    for _ in range(20):
        for got, wanted in zip(with_gradients(x, kernel, **options), first, strict=True):
            np.testing.assert_array_equal(got, wanted)


def test_an_empty_batch():
    y, _, gradient = with_gradients(
        np.zeros((0, 8, 8, 16), np.float32),
        normal(3, 3, 16, 1),
        strides=1,
        dilation=1,
        padding="SAME",
        implementation="native",
    )
    assert y.shape == (0, 8, 8, 16)
    np.testing.assert_array_equal(gradient, 0)


def test_the_environment_variable_selects_it_for_auto(monkeypatch):
    x, kernel = normal(2, 8, 8, 16), normal(3, 3, 16, 1)
    for value, is_called in (("1", True), ("0", False), ("", False)):
        monkeypatch.setenv("JAXCNN_NATIVE", value)
        program = jax.jit(lambda x, kernel: ops.depthwise_conv(x, kernel)).lower(x, kernel)
        assert ("@jaxcnn_correlate(" in program.as_text()) == is_called


def test_exported_programs_call_it_only_by_name(monkeypatch):
    monkeypatch.setenv("JAXCNN_NATIVE", "1")
    x, kernel = normal(2, 8, 8, 16), normal(3, 3, 16, 1)
    program = jax.export.export(jax.jit(lambda x, kernel: ops.depthwise_conv(x, kernel)))(x, kernel)
    assert "jaxcnn_" not in program.mlir_module()


@pytest.mark.errors
def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxcnn_native", None)
    with pytest.raises(ValueError, match="need the package jaxcnn-native: pip install"):
        ops.depthwise_conv(normal(2, 8, 8, 16), normal(3, 3, 16, 1), implementation="native")
