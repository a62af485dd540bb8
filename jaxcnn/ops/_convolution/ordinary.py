"""Ordinary convolution and its two adjoints as primitives; a pointwise convolution is a matrix product."""

from collections.abc import Sequence

import jax
from jax import lax
from jax.core import ShapedArray

from jaxcnn._check import check, shape_text
from jaxcnn._typing import Precision
from jaxcnn.ops._convolution import depthwise
from jaxcnn.ops._convolution.ordinary_dispatch import choose_ordinary
from jaxcnn.ops._convolution.ordinary_xla import GroupedConvShape
from jaxcnn.ops._convolution.primitives import Axis, Direction, define_convolution, mesh_axes
from jaxcnn.ops._convolution.shape import ConvShape
from jaxcnn.ops._padding import same_padding

__all__ = ["conv_general_dilated", "convolve"]


def _trailing_axes(direction: Direction, a: ShapedArray, b: ShapedArray, conv: GroupedConvShape) -> list[Axis]:
    """Returns the spatial axes and the channels of a result, which may not be sharded in any operand."""
    for array, channel_axes in ((a, 1), (b, 1 if direction == "to_kernel" else 2)):
        axes = mesh_axes(array)
        if any(axis is not None for axis in axes[-channel_axes - conv.rank :]):
            raise ValueError(f"conv: only leading axes may be sharded, got {axes} for {array.shape}.")
    if direction == "forward":
        return [*map(Axis, conv.output_size), Axis(b.shape[-1])]
    if direction == "to_input":
        return [*map(Axis, conv.input_size), Axis(b.shape[-2] * conv.groups)]
    return [*map(Axis, conv.kernel_size), Axis(a.shape[-1] // conv.groups), Axis(b.shape[-1])]


# Kernels are (*mapped, *kernel_size, c // groups, f), outputs (*mapped, *batch, *output_size, f).
_forward, _, _ = define_convolution("conv", trailing_axes=_trailing_axes, choose=choose_ordinary)


def convolve(x: jax.Array, kernel: jax.Array, conv: ConvShape, groups: int, precision: Precision) -> jax.Array:
    """Convolves x (*b, *input_size, c) by a kernel (*kernel_size, c // groups, f) of the same dtype.

    Raises:
        ValueError: If the channels do not agree.
    """
    c, f = x.shape[-1], kernel.shape[-1]
    precision = _as_hashable(precision)
    both = f"x {shape_text(x)}, kernel {shape_text(kernel)} and {groups} groups"
    check(c % groups == 0 and f % groups == 0, "conv", "groups", "a divisor of the channels of x and kernel", both)
    expected = "of c // groups channels (second last axis), as x has c"
    check(kernel.shape[-2] == c // groups, "conv", "kernel", expected, both)
    if _is_pointwise(conv, groups):
        # On CPU XLA takes several times as long for the gradient of a 1x1 convolution as for the equivalent product.
        lead = x.ndim - 1 - conv.rank
        if any(s != 1 for s in conv.strides):
            x = lax.slice(x, (0,) * x.ndim, x.shape, (*(1,) * lead, *conv.strides, 1))
        dimensions = (([x.ndim - 1], [0]), ([], []))
        return lax.dot_general(x, lax.squeeze(kernel, range(conv.rank)), dimensions, precision=precision)
    if groups == c > 1 and precision is None and all(d == 1 for d in conv.input_dilation):
        depthwise_kernel = kernel.reshape(*conv.kernel_size, c, f // c)
        return depthwise.forward(x, depthwise_kernel, conv=conv, implementation="auto")
    grouped = GroupedConvShape(**vars(conv), groups=groups, precision=precision)
    return _forward(x, kernel, conv=grouped, implementation="auto")


def conv_general_dilated(
    lhs: jax.Array,
    rhs: jax.Array,
    window_strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    lhs_dilation: Sequence[int] | None = None,
    rhs_dilation: Sequence[int] | None = None,
    dimension_numbers: object = None,
    feature_group_count: int = 1,
    precision: Precision = None,
) -> jax.Array:
    """Replaces ``lax.conv_general_dilated`` for the layouts that Flax passes: NHWC, HWIO, NHWC.

    Raises:
        ValueError: If the kernel does not fit into the padded input, or the channels do not agree.
    """
    del dimension_numbers
    input_size, kernel_size = lhs.shape[1:-1], rhs.shape[:-2]
    ones = (1,) * len(input_size)
    strides, dilation = tuple(window_strides), tuple(rhs_dilation or ones)
    input_dilation = tuple(lhs_dilation or ones)
    if isinstance(padding, str):
        clear = padding == "VALID" or input_dilation == ones
        check(clear, "conv", "padding", "given in numbers if input_dilation is not 1", repr(padding))
        widths = [(k - 1) * d + 1 for k, d in zip(kernel_size, dilation, strict=True)]
        padding = same_padding(input_size, widths, strides) if padding == "SAME" else [(0, 0)] * len(input_size)
    pairs = tuple((low, high) for low, high in padding)
    conv = ConvShape(input_size, kernel_size, strides, dilation, pairs, input_dilation)
    both = f"{shape_text(rhs)} on {shape_text(lhs)}, with dilation {dilation} and padding {pairs}"
    check(all(n > 0 for n in conv.output_size), "conv", "kernel", "no larger than the padded x", both)
    return convolve(lhs, rhs, conv, feature_group_count, precision)


def _as_hashable(precision: Precision) -> lax.PrecisionLike:
    """Converts a list of two precisions, which JAX accepts, to a tuple, which can be a static parameter."""
    if not isinstance(precision, list):
        return precision
    of_x, of_kernel = map(lax.Precision, precision)
    return of_x, of_kernel


def _is_pointwise(conv: ConvShape, groups: int) -> bool:
    ones = (1,) * conv.rank
    is_padded = any(p != 0 for pair in conv.padding for p in pair)
    return conv.kernel_size == ones and conv.input_dilation == ones and groups == 1 and not is_padded
