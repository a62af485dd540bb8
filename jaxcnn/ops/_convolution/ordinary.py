"""Ordinary convolution and its two adjoints as primitives; a pointwise convolution is a matrix product."""

from collections.abc import Sequence
from typing import Any

import jax
from jax import lax

from jaxcnn._check import check, shape_text
from jaxcnn.ops._conv_shape import Geometry
from jaxcnn.ops._convolution import ordinary_xla as forms
from jaxcnn.ops._convolution.ordinary_xla import Convolution
from jaxcnn.ops._padding import same_padding
from jaxcnn.ops._primitives import Kind, define

__all__ = ["conv_general_dilated", "convolve"]

# Kernels are (*shared, *kernel, c // groups, f), outputs (*shared, *batch, *outputs, f).
_forward, _, _ = define(Kind("conv", forms.tail, forms.choose))


def convolve(x: jax.Array, kernel: jax.Array, geometry: Geometry, groups: int, precision: Any) -> jax.Array:
    """Convolves x (*b, *size, c) by a kernel (*kernel, c // groups, f) of the same dtype.

    Raises:
        ValueError: If the channels do not agree.
    """
    c, f = x.shape[-1], kernel.shape[-1]
    both = f"x {shape_text(x)}, kernel {shape_text(kernel)} and {groups} groups"
    check(c % groups == 0 and f % groups == 0, "conv", "groups", "a divisor of the channels of x and kernel", both)
    expected = "of c // groups channels (second last axis), as x has c"
    check(kernel.shape[-2] == c // groups, "conv", "kernel", expected, both)
    if _is_pointwise(geometry, groups):
        # The gradient of a 1x1 convolution takes XLA several times as long as the product that it is, on CPU.
        lead = x.ndim - 1 - geometry.rank
        if any(s != 1 for s in geometry.strides):
            x = lax.slice(x, (0,) * x.ndim, x.shape, (*(1,) * lead, *geometry.strides, 1))
        dimensions: Any = (((x.ndim - 1,), (0,)), ((), ()))
        return lax.dot_general(x, lax.squeeze(kernel, range(geometry.rank)), dimensions, precision=precision)
    precision = tuple(precision) if isinstance(precision, list) else precision  # hashable
    geometry = Convolution(**vars(geometry), groups=groups, precision=precision)
    return _forward(x, kernel, geometry=geometry, implementation="auto")


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: Any = None,
    feature_group_count: int = 1,
    precision: Any = None,
) -> jax.Array:
    """Does what ``lax.conv_general_dilated`` does, in the axes that Flax gives it: NHWC, HWIO, NHWC.

    Raises:
        ValueError: If the kernel does not fit into the padded input, or the channels do not agree.
    """
    del dimension_numbers
    size, kernel = lhs.shape[1:-1], rhs.shape[:-2]
    once = (1,) * len(size)
    strides, dilation = tuple(window_strides), tuple(rhs_dilation or once)
    gaps = tuple(lhs_dilation or once)
    if isinstance(padding, str):
        clear = padding == "VALID" or gaps == once
        check(clear, "conv", "padding", "given in numbers if input_dilation is not 1", repr(padding))
        widths = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        padding = same_padding(size, widths, strides) if padding == "SAME" else [(0, 0)] * len(size)
    pairs = tuple((low, high) for low, high in padding)
    geometry = Geometry(size, kernel, strides, dilation, pairs, gaps)
    both = f"{shape_text(rhs)} on {shape_text(lhs)}, with dilation {dilation} and padding {pairs}"
    check(all(n > 0 for n in geometry.outputs), "conv", "kernel", "no larger than the padded x", both)
    return convolve(lhs, rhs, geometry, feature_group_count, precision)


def _is_pointwise(geometry: Geometry, groups: int) -> bool:
    once = (1,) * geometry.rank
    padded = any(p != 0 for pair in geometry.padding for p in pair)
    return geometry.kernel == once and geometry.input_dilation == once and groups == 1 and not padded
