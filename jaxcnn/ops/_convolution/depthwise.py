"""Depthwise convolution and its two adjoints as primitives."""

from jax.core import ShapedArray

from jaxcnn.ops._convolution import depthwise_dispatch
from jaxcnn.ops._convolution.primitives import Axis, Direction, define_convolution, mesh_axes
from jaxcnn.ops._convolution.shape import ConvShape

__all__ = ["forward", "to_input", "to_kernel"]


def _trailing_axes(direction: Direction, a: ShapedArray, b: ShapedArray, conv: ConvShape) -> list[Axis]:
    """Returns the spatial axes and the channels of a result; the channels are sharded as the operands' are."""
    of_a, of_b = mesh_axes(a)[-1], mesh_axes(b)[-1 if direction == "to_kernel" else -2]
    sharded = of_a if of_a is not None else of_b
    if direction == "to_kernel":
        c, m = a.shape[-1], b.shape[-1] // a.shape[-1]
        return [*map(Axis, conv.kernel_size), Axis(c, sharded), Axis(m)]
    c, m = b.shape[-2:]
    if direction == "forward":
        return [*map(Axis, conv.output_size), Axis(c * m, sharded)]
    return [*map(Axis, conv.input_size), Axis(c, sharded)]


# Kernels are (*mapped, *kernel_size, c, m), outputs (*mapped, *batch, *output_size, c * m).
forward, to_input, to_kernel = define_convolution(
    "depthwise_conv", trailing_axes=_trailing_axes, choose=depthwise_dispatch.choose_depthwise
)
