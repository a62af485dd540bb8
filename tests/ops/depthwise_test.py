"""Depthwise and separable convolutions: values, derivatives, transforms, dtypes, programs and errors."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import DTypeLike

from jaxcnn import ops
from tests.support.selection import daily, daily_cases, times
from tests.support.untyped import untyped

# XLA's own convolution needs no test of what JAX does with it, but before a release.
MOSTLY_STENCIL = pytest.mark.parametrize("implementation", daily(["stencil", "xla"], ["stencil"]))


def normal(*shape, seed=0, dtype: DTypeLike = np.float32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def each(value, rank):
    return (value,) * rank if isinstance(value, int) else tuple(value)


def pad(x, taps, strides, padding, dilation):
    """Pads the spatial axes of x (*b, *spatial, c) with NumPy alone."""
    rank = len(taps)
    widths = [(k - 1) * d + 1 for k, d in zip(taps, dilation, strict=True)]
    size = x.shape[-1 - rank : -1]
    mode = {}
    if padding == "VALID":
        pads = [(0, 0)] * rank
    elif padding == "SAME":
        totals = [max((-(-n // s) - 1) * s + w - n, 0) for n, s, w in zip(size, strides, widths, strict=True)]
        pads = [(total // 2, -(-total // 2)) for total in totals]
    elif padding == "CAUSAL":
        pads = [(widths[0] - 1, 0)]
    elif padding in ("REFLECT", "CIRCULAR"):
        pads = [((w - 1) // 2, w // 2) for w in widths]
        mode = {"mode": {"REFLECT": "reflect", "CIRCULAR": "wrap"}[padding]}
    else:
        pads = [each(pair, 2) for pair in each(padding, rank)]
    return np.pad(x, [(0, 0)] * (x.ndim - rank - 1) + pads + [(0, 0)], **untyped(mode))


def reference(x, kernel, strides=1, padding="SAME", dilation=1):
    """Convolves output by output and tap by tap, in float64."""
    *taps, c, m = kernel.shape
    rank = len(taps)
    strides, dilation = each(strides, rank), each(dilation, rank)
    x = pad(np.asarray(x, np.float64), taps, strides, padding, dilation)
    lead = x.shape[: -1 - rank]
    size = x.shape[-1 - rank : -1]
    outputs = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(size, taps, strides, dilation, strict=True)]
    y = np.zeros((*lead, *outputs, c, m))
    for position in itertools.product(*map(range, outputs)):
        for tap in itertools.product(*map(range, taps)):
            at = tuple(o * s + t * d for o, s, t, d in zip(position, strides, tap, dilation, strict=True))
            y[(..., *position, slice(None), slice(None))] += x[(..., *at, slice(None), None)] * kernel[tap]
    return y.reshape(*lead, *outputs, c * m)


# shape of x, shape of the kernel, options
CASES = {
    "3x3": ((2, 6, 5, 3), (3, 3, 3, 1), {}),
    "even": ((2, 6, 5, 3), (2, 4, 3, 1), {}),
    "valid": ((2, 6, 5, 2), (3, 2, 2, 1), {"padding": "VALID"}),
    "multiplier": ((2, 6, 5, 3), (3, 3, 3, 2), {}),
    "one channel": ((2, 6, 5, 1), (3, 3, 1, 4), {"strides": 2}),
    "strides": ((2, 7, 6, 2), (3, 3, 2, 1), {"strides": (2, 3)}),
    "strides leave pixels over": ((2, 8, 9, 2), (2, 3, 2, 2), {"strides": 3, "padding": "VALID"}),
    "strides above the kernel": ((1, 11, 9, 2), (2, 1, 2, 1), {"strides": (5, 4), "padding": "VALID"}),
    "strides above the kernel, same": ((1, 11, 9, 2), (3, 2, 2, 1), {"strides": (5, 7)}),
    "dilation": ((2, 8, 7, 2), (3, 3, 2, 1), {"dilation": (1, 2)}),
    "strides and dilation": ((2, 9, 8, 2), (3, 2, 2, 2), {"strides": (2, 3), "dilation": (2, 3)}),
    "strides and dilation, valid": ((2, 9, 8, 2), (3, 2, 2, 1), {"strides": 2, "dilation": 3, "padding": "VALID"}),
    "pairs": ((1, 5, 6, 2), (3, 3, 2, 1), {"padding": ((2, 0), (0, 3)), "strides": 2}),
    "one number": ((1, 5, 6, 2), (3, 3, 2, 1), {"padding": 1}),
    "number and pair": ((1, 5, 6, 2), (3, 3, 2, 1), {"padding": (1, (0, 2)), "dilation": 2}),
    "padding beyond the kernel": ((1, 3, 4, 2), (2, 1, 2, 1), {"padding": ((4, 3), (2, 5)), "strides": (3, 2)}),
    "reflect": ((2, 5, 6, 2), (3, 4, 2, 1), {"padding": "REFLECT"}),
    "reflect, strides and dilation": ((1, 7, 6, 2), (3, 3, 2, 2), {"padding": "REFLECT", "strides": 2, "dilation": 2}),
    "circular": ((2, 5, 6, 2), (3, 2, 2, 1), {"padding": "CIRCULAR"}),
    "circular, all the way round": ((1, 4, 3, 2), (5, 3, 2, 1), {"padding": "CIRCULAR", "dilation": 2}),
    "1x1": ((2, 4, 3, 2), (1, 1, 2, 2), {"strides": 2}),
    "one pixel": ((2, 1, 1, 3), (3, 3, 3, 1), {}),
    "kernel as large as x": ((2, 4, 3, 2), (4, 3, 2, 1), {"padding": "VALID"}),
    "1-D": ((2, 9, 2), (3, 2, 2), {"strides": 2, "dilation": 2}),
    "1-D causal": ((2, 9, 2), (3, 2, 1), {"padding": "CAUSAL", "dilation": 3}),
    "1-D causal, strides": ((2, 9, 2), (4, 2, 1), {"padding": "CAUSAL", "strides": 3}),
    "1-D, even, reflect": ((1, 9, 2), (4, 2, 1), {"padding": "REFLECT"}),
    "3-D": ((2, 4, 5, 3, 2), (2, 3, 2, 2, 1), {}),
    "3-D, all options": ((1, 5, 4, 6, 1), (2, 1, 3, 1, 2), {"strides": (1, 3, 2), "dilation": (3, 1, 2), "padding": 2}),
    "9x9": ((1, 11, 10, 2), (9, 9, 2, 1), {"strides": (2, 1)}),
    "31x3": ((1, 33, 4, 2), (31, 3, 2, 1), {"dilation": (1, 2)}),
    "31x3, multiplier": ((1, 17, 4, 1), (31, 3, 1, 2), {"strides": 2}),
    "1x65": ((1, 2, 30, 2), (1, 65, 2, 1), {}),
    "1-D, 70": ((2, 40, 2), (70, 2, 1), {}),
    "3-D, 5x4x4": ((1, 5, 4, 4, 1), (5, 4, 4, 1, 1), {}),
    "no leading axis": ((6, 5, 3), (3, 3, 3, 1), {}),
    "three leading axes": ((2, 1, 3, 4, 5, 2), (3, 3, 2, 2), {"strides": 2}),
}
PARTS_OF_OTHERS = ("even", "valid", "strides", "dilation", "one number", "pairs", "strides above the kernel", "reflect")
PARTS_OF_OTHERS += ("1-D", "1-D causal", "3-D", "31x3", "three leading axes", "kernel as large as x")
"""Cases whose options others have along with more."""
EACH = pytest.mark.parametrize(
    "case", daily(CASES.values(), [case for name, case in CASES.items() if name not in PARTS_OF_OTHERS]), ids=CASES
)


@MOSTLY_STENCIL
@EACH
def test_values(case, implementation):
    shape, taps, options = case
    x, kernel = normal(*shape), normal(*taps, seed=1)
    y = ops.depthwise_conv(x, kernel, implementation=implementation, **options)
    expected = reference(x, kernel, **options)
    assert y.shape == expected.shape and y.dtype == jnp.float32
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("case", [CASES[name] for name in ("strides and dilation", "1-D causal", "3-D, all options")])
def test_auto_is_the_stencil_on_cpu(case):
    shape, taps, options = case
    x, kernel = normal(*shape), normal(*taps, seed=1)
    y = ops.depthwise_conv(x, kernel, **options)
    np.testing.assert_allclose(y, ops.depthwise_conv(x, kernel, implementation="stencil", **options), rtol=1e-6)


def lax_depthwise_conv(x, kernel, strides, padding, dilation):
    """Convolves x (b, *spatial, c) by JAX itself, which also derives the gradients."""
    *taps, c, m = kernel.shape
    rank = len(taps)
    space = {1: "W", 2: "HW", 3: "DHW"}[rank]
    pads = padding if isinstance(padding, str) else [each(pair, 2) for pair in each(padding, rank)]
    if padding == "CAUSAL":
        pads = [((taps[0] - 1) * each(dilation, 1)[0], 0)]
    return jax.lax.conv_general_dilated(
        x,
        kernel.reshape(*taps, 1, c * m),
        each(strides, rank),
        untyped(pads),
        rhs_dilation=each(dilation, rank),
        dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
        feature_group_count=c,
    )


def float64(case):
    shape, taps, options = case
    x, kernel = normal(*shape, dtype=np.float64), normal(*taps, seed=1, dtype=np.float64)
    return jnp.asarray(x), jnp.asarray(kernel), {"strides": 1, "padding": "SAME", "dilation": 1, **options}


def gradients(function, x, kernel):
    value, pull = jax.vjp(function, x, kernel)
    return value, *pull(jnp.asarray(normal(*value.shape, seed=2, dtype=x.dtype)))


SOME = ["multiplier", "strides leave pixels over", "strides and dilation", "padding beyond the kernel", "circular"]
SOME += ["1-D causal", "3-D, all options", "1-D, 70", "9x9"]
MORE = [*SOME[2:], "number and pair", "reflect, strides and dilation"]


@pytest.mark.parametrize(
    ("case", "implementation"),
    [
        pytest.param(
            case, implementation, id=f"{name}-{implementation}", marks=[] if name in few else [pytest.mark.nightly]
        )
        for implementation, few in (("stencil", MORE), ("xla", ["strides and dilation", "1-D causal", "circular"]))
        for name, case in CASES.items()
    ],
)
def test_gradients_equal_those_lax_depthwise_conv(case, implementation):
    with jax.enable_x64(True):
        x, kernel, options = float64(case)
        convolve = functools.partial(ops.depthwise_conv, implementation=implementation, **options)
        own = jax.jit(functools.partial(gradients, convolve))(x, kernel)
        other = {"REFLECT", "CIRCULAR"} & {options["padding"]}
        if other:  # which lax does not have
            pad_x = functools.partial(jnp.pad, mode={"REFLECT": "reflect", "CIRCULAR": "wrap"}[other.pop()])
            taps, gaps = kernel.shape[:-2], each(options["dilation"], kernel.ndim - 2)
            reach = [(k - 1) * d for k, d in zip(taps, gaps, strict=True)]
            widths = [(0, 0), *((r // 2, -(-r // 2)) for r in reach), (0, 0)]
            lax = lambda x, kernel: lax_depthwise_conv(pad_x(x, widths), kernel, **{**options, "padding": "VALID"})
        else:
            lead = x.shape[: x.ndim - kernel.ndim + 1]

            def lax(x, kernel):
                y = lax_depthwise_conv(x.reshape(-1, *x.shape[len(lead) :]), kernel, **options)
                return y.reshape(*lead, *y.shape[1:])

        expected = jax.jit(functools.partial(gradients, lax))(x, kernel)
        for got, wanted in zip(own, expected, strict=True):
            assert got.dtype == jnp.float64
            np.testing.assert_allclose(got, wanted, rtol=1e-11, atol=1e-12)


@MOSTLY_STENCIL
@pytest.mark.parametrize(
    "name", daily(SOME, ["strides and dilation", "padding beyond the kernel", "circular", "1-D, 70"])
)
def test_slope_and_gradient_are_adjoint_and_agree_with_differences(name, implementation):
    with jax.enable_x64(True):
        x, kernel, options = float64(CASES[name])
        function = functools.partial(ops.depthwise_conv, implementation=implementation, **options)
        dx, dk = (
            jnp.asarray(normal(*x.shape, seed=3, dtype=np.float64)),
            jnp.asarray(normal(*kernel.shape, seed=4, dtype=np.float64)),
        )
        value, slope = jax.jit(lambda *point: jax.jvp(function, point, (dx, dk)))(x, kernel)
        function = jax.jit(function)
        # Bilinear: central differences have no error but rounding.
        difference = (function(x + dx, kernel + dk) - function(x - dx, kernel - dk)) / 2
        np.testing.assert_allclose(slope, difference, rtol=1e-10, atol=1e-11)
        cotangent = jnp.asarray(normal(*value.shape, seed=5, dtype=np.float64))
        to_x, to_kernel = jax.jit(lambda c, *point: jax.vjp(function, *point)[1](c))(cotangent, x, kernel)
        adjoint = np.vdot(to_x, dx) + np.vdot(to_kernel, dk)
        np.testing.assert_allclose(adjoint, np.vdot(cotangent, slope), rtol=1e-10)


@MOSTLY_STENCIL
@pytest.mark.parametrize("options", [{}, {"strides": 2, "dilation": (1, 2), "padding": 1}], ids=["same", "strides"])
@pytest.mark.nightly
def test_hessian(options, implementation):
    with jax.enable_x64(True):
        arguments = {"strides": 1, "padding": "SAME", "dilation": 1, **options}
        x = jnp.asarray(normal(1, 3, 3, 2, dtype=np.float64))
        kernel = jnp.asarray(normal(2, 2, 2, 1, seed=1, dtype=np.float64))
        own = functools.partial(ops.depthwise_conv, implementation=implementation, **arguments)
        energy = lambda convolve: lambda x, kernel: jnp.sum(jnp.sin(convolve(x, kernel)))
        lax = functools.partial(lax_depthwise_conv, **arguments)
        expected = jax.jit(jax.hessian(energy(lax), (0, 1)))(x, kernel)
        for hessian in (jax.hessian, lambda f, n: jax.jacrev(jax.jacrev(f, n), n)):
            found = jax.jit(hessian(energy(own), (0, 1)))(x, kernel)
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-11), found, expected)


def looped(function, axes, *arrays):
    """Maps a function like ``vmap``, by a loop of calls."""
    n = next(array.shape[axis] for array, axis in zip(arrays, axes, strict=True) if axis is not None)
    take = lambda array, axis, i: array if axis is None else jnp.take(array, i, axis)
    results = [function(*(take(a, axis, i) for a, axis in zip(arrays, axes, strict=True))) for i in range(n)]
    return jax.tree.map(lambda *values: jnp.stack(values), *results)


@MOSTLY_STENCIL
@pytest.mark.parametrize(
    "axes", daily([(0, None), (2, None), (None, 0), (None, 4), (0, 0), (3, 1)], [(2, None), (None, 4), (3, 1)]), ids=str
)
def test_vmap(axes, implementation):
    own = functools.partial(ops.depthwise_conv, strides=2, dilation=(1, 2), implementation=implementation)
    with_gradients = functools.partial(gradients, own)
    x, kernel = normal(2, 5, 6, 2), normal(3, 2, 2, 2, seed=1)
    if axes[0] is not None:
        x = normal(*np.insert(x.shape, axes[0], 3))
    if axes[1] is not None:
        kernel = normal(*np.insert(kernel.shape, axes[1], 3), seed=1)
    got = jax.jit(jax.vmap(with_gradients, axes))(x, kernel)
    for value, expected in zip(got, looped(jax.jit(with_gradients), axes, x, kernel), strict=True):
        assert value.dtype == jnp.float32
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=2e-5)


NESTED = [
    ((None, 0), (None, 0)), ((0, None), (None, 0)), ((None, 0), (0, None)), ((0, 0), (None, 0)), ((None, 0), (0, 0)),
    ((0, 0), (0, 0)), ((0, 0), (0, None)), ((0, None), (0, 0)),
]  # fmt: skip


@MOSTLY_STENCIL
@pytest.mark.parametrize(("outer", "inner"), daily_cases(NESTED, NESTED[2:6:3]), ids=str)
def test_nested_vmap(outer, inner, implementation):
    own = functools.partial(ops.depthwise_conv, strides=(1, 2), implementation=implementation)
    with_gradients = functools.partial(gradients, own)
    (i, j), (k, n) = outer, inner
    x = normal(*([2] if i == 0 else []), *([3] if k == 0 else []), 1, 4, 5, 2)
    kernel = normal(*([2] if j == 0 else []), *([3] if n == 0 else []), 2, 3, 2, 1, seed=1)
    got = jax.jit(jax.vmap(jax.vmap(with_gradients, inner), outer))(x, kernel)
    expected = looped(functools.partial(looped, jax.jit(with_gradients), inner), outer, x, kernel)
    for value, wanted in zip(got, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=2e-5)


def test_gradient_of_an_ensemble_sums_over_its_members():
    """The gradient to an image sums over the 20 kernels that share it, more than are unrolled."""
    x, kernels = normal(1, 5, 4, 2), normal(20, 3, 3, 2, 1, seed=1)
    every = lambda x: jax.vmap(ops.depthwise_conv, (None, 0))(x, kernels)
    _, pull = jax.vjp(every, x)
    (got,) = pull(jnp.ones((20, 1, 5, 4, 2)))
    (expected,) = jax.vjp(lambda x: ops.depthwise_conv(x, kernels.sum(0)), x)[1](jnp.ones((1, 5, 4, 2)))
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


@MOSTLY_STENCIL
@pytest.mark.parametrize("lead", daily([(0,), (2, 0), (0, 3)], [(2, 0)]), ids=str)
def test_empty_batch(lead, implementation):
    own = functools.partial(ops.depthwise_conv, strides=2, implementation=implementation)
    value, to_x, to_kernel = gradients(own, jnp.zeros((*lead, 5, 4, 2)), jnp.ones((3, 3, 2, 2)))
    assert value.shape == (*lead, 3, 2, 4) and to_x.shape == (*lead, 5, 4, 2)
    np.testing.assert_array_equal(to_kernel, np.zeros((3, 3, 2, 2)))


@pytest.mark.parametrize(
    ("case", "dtype", "implementation"),
    daily_cases(
        list(itertools.product(["strides and dilation", "1-D, 70"], ["bfloat16", "float16"], ["stencil", "xla"])),
        [("strides and dilation", "float16", "xla"), ("1-D, 70", "bfloat16", "stencil")],
    ),
)
def test_narrow_types_accumulate_in_float32(case, dtype, implementation):
    """Each result is the float32 result of the same (rounded) inputs, rounded once."""
    shape, taps, options = CASES[case]
    own = functools.partial(ops.depthwise_conv, implementation=implementation, **options)
    x, kernel = jnp.asarray(normal(*shape), dtype), jnp.asarray(normal(*taps, seed=1), dtype)
    value, pull = jax.vjp(own, x, kernel)
    cotangent = jnp.asarray(normal(*value.shape, seed=2), dtype)
    with jax.enable_x64(True):
        exact, pull64 = jax.vjp(own, x.astype(jnp.float64), kernel.astype(jnp.float64))
        true = [exact, *pull64(cotangent.astype(jnp.float64))]
    for got, wanted in zip([value, *pull(cotangent)], true, strict=True):
        assert got.dtype == dtype
        half = float(jnp.finfo(dtype).eps) / 2
        np.testing.assert_allclose(np.asarray(got, np.float64), wanted, rtol=half * 1.01, atol=2e-5)


@MOSTLY_STENCIL
def test_a_long_bfloat16_sum_does_not_saturate(implementation):
    own = functools.partial(ops.depthwise_conv, padding="VALID", implementation=implementation)
    x, kernel = jnp.ones((2, 40, 40, 1), jnp.bfloat16), jnp.ones((33, 33, 1, 1), jnp.bfloat16)
    value, pull = jax.vjp(own, x, kernel)
    assert value[0, 0, 0, 0] == jnp.bfloat16(33 * 33)  # a bfloat16 sum of ones saturates at 256
    small = jnp.ones((3, 3, 1, 1), jnp.bfloat16)
    value, pull = jax.vjp(own, x, small)
    assert pull(jnp.ones_like(value))[1][0, 0, 0, 0] == jnp.bfloat16(2 * 38 * 38)


def test_dtypes_promote_to_the_wider():
    x, kernel = jnp.ones((1, 4, 4, 2), jnp.bfloat16), jnp.full((3, 3, 2, 1), 1 / 3, jnp.float32)
    y = ops.depthwise_conv(x, kernel)
    assert y.dtype == jnp.float32
    np.testing.assert_allclose(y[0, 1, 1], 3.0, rtol=1e-6)
    to_x, to_kernel = jax.grad(lambda x, k: jnp.sum(ops.depthwise_conv(x, k)), (0, 1))(x, kernel)
    assert to_x.dtype == jnp.bfloat16 and to_kernel.dtype == jnp.float32
    pointwise = jnp.ones((1, 1, 2, 3), jnp.bfloat16)
    assert ops.separable_conv(x, kernel, pointwise).dtype == jnp.float32
    assert ops.separable_conv(x, kernel.astype(jnp.bfloat16), pointwise).dtype == jnp.bfloat16


def test_shared_is_depthwise_with_equal_kernels():
    x, kernel = normal(2, 6, 5, 3), normal(3, 2, 1, 4, seed=1)
    options = {"strides": 2, "dilation": (1, 2), "padding": "CIRCULAR"}
    same = np.broadcast_to(kernel, (3, 2, 3, 4))
    y, to_x, to_kernel = gradients(functools.partial(ops.shared_depthwise_conv, **options), x, kernel)
    wanted, to_x_wanted, to_same = gradients(functools.partial(ops.depthwise_conv, **options), x, same)
    np.testing.assert_allclose(y, reference(x, same, **options), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(y, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(to_x, to_x_wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(to_kernel, to_same.sum(-2, keepdims=True), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("shape,taps", [((2, 7, 3), (3,)), ((2, 6, 5, 3), (3, 2)), ((1, 4, 5, 3, 3), (2, 1, 3))])
@pytest.mark.parametrize("shared", [False, True])
def test_separable_is_a_full_convolution_of_low_rank(shape, taps, shared):
    x, rank = normal(*shape), len(taps)
    depthwise = normal(*taps, 1 if shared else 3, 2, seed=1)
    pointwise = normal(*(1,) * rank, 6, 4, seed=2)
    y = ops.separable_conv(x, depthwise, pointwise, strides=2, dilation=1)
    every = np.broadcast_to(depthwise, (*taps, 3, 2))
    full = np.einsum("...im,imf->...if", every, pointwise.reshape(3, 2, 4))
    space = {1: "W", 2: "HW", 3: "DHW"}[rank]
    numbers = (f"N{space}C", f"{space}IO", f"N{space}C")
    expected = jax.lax.conv_general_dilated(untyped(x), full, (2,) * rank, "SAME", dimension_numbers=numbers)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def with_gradients(x, kernel):
    return gradients(ops.depthwise_conv, x, kernel)


def program(function, *arrays):
    return jax.jit(function).lower(*arrays).compile().as_text()


@pytest.mark.parametrize("members", [None, 3])
@pytest.mark.parametrize("m", [1, 2])
def test_no_grouped_convolution_on_cpu(m, members):
    x, kernel = normal(2, 8, 8, 4), normal(3, 3, 4, m, seed=1)
    function = with_gradients
    if members:
        kernel = np.stack([kernel] * members)
        function = jax.vmap(function, (None, 0))
    text = str(program(function, x, kernel))
    assert "convolution(" not in text and "group_count" not in text


def test_the_search_for_grouped_convolutions_finds_them():
    convolve = functools.partial(ops.depthwise_conv, implementation="xla")
    text = str(program(functools.partial(gradients, convolve), normal(2, 8, 8, 4), normal(3, 3, 4, 1, seed=1)))
    assert "convolution(" in text and "group_count" in text


def test_no_grouped_convolution_in_second_derivatives():
    x, kernel = normal(1, 6, 6, 2), normal(3, 3, 2, 1, seed=1)
    energy = lambda x, kernel: jnp.sum(ops.depthwise_conv(x, kernel) ** 2)
    slope = lambda x, kernel: jax.jvp(jax.grad(energy, (0, 1)), (x, kernel), (x, kernel))
    assert "convolution(" not in str(program(slope, x, kernel))


def test_export_contains_one_implementation_per_platform():
    x, kernel = normal(2, 6, 5, 2), normal(3, 3, 2, 2, seed=1)
    platforms = ("cpu", "cuda", "tpu")
    exported = jax.export.export(jax.jit(with_gradients), platforms=platforms)(x, kernel)
    assert exported.platforms == platforms
    text = exported.mlir_module()
    assert "stablehlo.convolution" in text and "case" in text  # that of CUDA and TPU beside the stencil
    for got, expected in zip(exported.call(x, kernel), with_gradients(x, kernel), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    alone = jax.export.export(jax.jit(with_gradients), platforms=("cpu",))(x, kernel)
    assert "stablehlo.convolution" not in alone.mlir_module()


AXIS = st.tuples(
    st.integers(1, 7), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(0, 3)
)


@settings(max_examples=times(8))
@given(axes=st.lists(AXIS, min_size=1, max_size=2), c=st.integers(1, 3), m=st.integers(1, 3), lead=st.integers(0, 2))
def test_stencil_equals_xla(axes, c, m, lead):
    size, taps, strides, dilation, low, high = zip(*axes, strict=True)
    assume(all(n + a + b > (k - 1) * d for n, k, _, d, a, b in axes))
    x, kernel = normal(*range(1, lead + 1), *size, c), normal(*taps, c, m, seed=1)
    options = {"strides": strides, "dilation": dilation, "padding": tuple(zip(low, high, strict=True))}
    both = []
    for implementation in ("stencil", "xla"):
        function = functools.partial(ops.depthwise_conv, implementation=implementation, **options)
        both.append(jax.jit(functools.partial(gradients, function))(x, kernel))
    np.testing.assert_allclose(both[0][0], reference(x, kernel, **options), rtol=1e-4, atol=2e-5)
    for got, expected in zip(*both, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=5e-5)


@settings(max_examples=times(5))
@given(
    axes=st.lists(st.tuples(st.integers(2, 6), st.integers(1, 3), st.integers(1, 3)), min_size=1, max_size=2),
    padding=st.sampled_from(["SAME", "VALID", "REFLECT", "CIRCULAR"]),
    m=st.integers(1, 2),
)
def test_named_paddings_equal_the_reference(axes, padding, m):
    size, taps, strides = zip(*axes, strict=True)
    assume(all(n >= k for n, k, _ in axes))
    x, kernel = normal(2, *size, 2), normal(*taps, 2, m, seed=1)
    y = ops.depthwise_conv(x, kernel, strides=strides, padding=padding)
    np.testing.assert_allclose(y, reference(x, kernel, untyped(strides), padding), rtol=1e-4, atol=2e-5)


X, K = np.zeros((2, 4, 5, 3), np.float32), np.zeros((3, 3, 3, 1), np.float32)
IMAGE = r"x float32\(2, 4, 5, 3\)"
BOTH = rf"{IMAGE} and kernel float32"
ERRORS = [
    ((X, K[0, 0]), {}, r"kernel must be of shape \(\*spatial, c, m\) with 1 to 3 spatial axes, got float32\(3, 1\), w"),
    ((X, K[None, None]), {}, r"kernel must be .*got float32\(1, 1, 3, 3, 3, 1\), with x float32\(2, 4, 5, 3\)"),
    ((X[0, 0], K), {}, r"x must be of shape \(\.\.\., h, w, c\), got float32\(5, 3\)"),
    ((X[0, 0, 0], K[0]), {}, r"x must be of shape \(\.\.\., w, c\), got float32\(3,\)"),
    ((X, K[..., :2, :]), {}, rf"kernel must be of as many channels .*{BOTH}\(3, 3, 2, 1\)"),
    ((X, K[..., :1, :]), {}, rf"kernel must be of as many channels .*{BOTH}\(3, 3, 1, 1\)"),
    ((X.astype(np.int32), K), {}, r"x must be of a floating dtype, got int32\(2, 4, 5, 3\)"),
    ((X, K.astype(np.int8)), {}, r"kernel must be of a floating dtype, got int8\(3, 3, 3, 1\)"),
    ((X.astype(np.complex64), K), {}, "x must be of a floating dtype"),
    ((X[..., :0], K[..., :0, :]), {}, "x must be of at least one channel"),
    ((X[:, :0], K), {}, r"x must be at least one pixel.*got x float32\(2, 0, 5, 3\) and kernel float32"),
    ((X, K[:0]), {}, rf"kernel must be at least one weight.*{BOTH}\(0, 3, 3, 1\)"),
    ((X, K[..., :0]), {}, rf"kernel must be at least one weight.*{BOTH}\(3, 3, 3, 0\)"),
    ((X, K), {"dilation": 0}, r"dilation must be \(h, w\) of positive integers, got \(0, 0\)"),
    ((X, K), {"dilation": (1, -1)}, "dilation must be"),
    ((X, K), {"dilation": (1, 1, 1)}, "dilation must be"),
    ((X, K), {"dilation": 1.5}, "dilation must be"),
    ((X, K), {"strides": 0}, "strides must be"),
    ((X, K), {"strides": (2,)}, "strides must be"),
    ((X, K), {"strides": (1.5, 1)}, "strides must be"),
    ((X, K), {"padding": "same"}, "padding must be .*'same'"),
    ((X, K), {"padding": "CAUSAL"}, "padding must be .*'CAUSAL'"),
    ((X, K), {"padding": -1}, "padding must be"),
    ((X, K), {"padding": 0.5}, "padding must be"),
    ((X, K), {"padding": None}, "padding must be"),
    ((X, K), {"padding": ((1, 1),)}, "padding must be"),
    ((X, K), {"padding": ((1, 1), (1, 1, 1))}, "padding must be"),
    ((X, K), {"padding": "VALID", "dilation": 2}, rf"kernel must be no larger than the padded x.*{BOTH}\(3, 3, 3, 1\)"),
    ((X, K), {"padding": "REFLECT", "dilation": 4}, rf"padding must be smaller than x .*{BOTH}\(3, 3, 3, 1\) and dila"),
    ((X, K), {"padding": "CIRCULAR", "dilation": 5}, rf"padding must be no larger than x .*{BOTH}\(3, 3, 3, 1\) and d"),
    ((X, K), {"implementation": "pallas"}, r"implementation must be one of \('auto', .*'native'\), got 'pallas'"),
]


@pytest.mark.errors
@pytest.mark.parametrize("case", ERRORS, ids=lambda case: case[2][:40])
def test_errors(case):
    arguments, options, message = case
    with pytest.raises(ValueError, match=f"^depthwise_conv: {message}"):
        ops.depthwise_conv(*arguments, **options)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("kernel", "options", "message"),
    [
        (K, {}, rf"kernel must be of shape \(\.\.\., 1, m\), got {BOTH}\(3, 3, 3, 1\)"),
        (K[0, 0], {}, "kernel must be of shape"),
        (K[..., :1, :], {"dilation": 0}, "dilation must be"),
        (K[..., :1, :], {"padding": "REFLECT", "dilation": 4}, "padding must be smaller than x"),
        (K[..., :1, :], {"implementation": "pallas"}, "implementation must be one of"),
        (K[..., :1, :].astype(int), {}, "kernel must be of a floating dtype"),
    ],
)
def test_shared_errors(kernel, options, message):
    with pytest.raises(ValueError, match=f"^shared_depthwise_conv: {message}"):
        ops.shared_depthwise_conv(X, kernel, **options)


P = np.zeros((1, 1, 3, 4), np.float32)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("kernels", "options", "message"),
    [
        ((K, P[:, :, :2]), {}, r"pointwise_kernel must be of shape \(1, 1, 3, 'f'\), as x is float32\(2, 4, 5, 3\)"),
        ((K, P[:, :, :2]), {}, r".*depthwise_kernel float32\(3, 3, 3, 1\), got float32\(1, 1, 2, 4"),
        ((K, P[0, 0]), {}, r"pointwise_kernel must be of shape \(1, 1, 3, 'f'\)"),
        ((K, P[..., :0]), {}, "pointwise_kernel must be of shape"),
        ((K, P.astype(np.int32)), {}, "pointwise_kernel must be of a floating dtype"),
        ((K[0, 0], P), {}, r"depthwise_kernel must be of shape \(\*spatial, c, m\)"),
        ((K.astype(np.int32), P), {}, "depthwise_kernel must be of a floating dtype"),
        ((K[..., :2, :], P), {}, rf"depthwise_kernel must be of as many channels .*{IMAGE} and depthwise_kernel"),
        ((K, P), {"padding": "VALID", "dilation": 2}, "depthwise_kernel must be no larger than the padded x"),
        ((K, P), {"padding": "REFLECT", "dilation": 4}, "padding must be smaller than x .* and depthwise_kernel float"),
        ((K[..., :1, :], P), {"dilation": 0}, "dilation must be"),
    ],
)
def test_separable_errors(kernels, options, message):
    with pytest.raises(ValueError, match=f"^separable_conv: {message}"):
        ops.separable_conv(X, *kernels, **options)


def test_kernel_gradient_of_a_large_convolution_keeps_its_partial_sums_small():
    x, g = (jnp.asarray(normal(4, 32, 32, 64, seed=seed)) for seed in (0, 1))
    kernel = jnp.asarray(normal(5, 5, 64, 1))

    def gradient(implementation):
        convolve = functools.partial(ops.depthwise_conv, x, implementation=implementation)
        return jax.jit(lambda g: jax.vjp(convolve, kernel)[1](g)[0]).lower(g).compile()

    stencil, grouped = gradient("stencil"), gradient("xla")
    np.testing.assert_allclose(stencil(g), grouped(g), rtol=0, atol=1e-5 * np.abs(grouped(g)).max())
    padded_x = 4 * 4 * 36 * 36 * 64
    assert untyped(stencil.memory_analysis()).temp_size_in_bytes < padded_x + 2**20 + 2**17
