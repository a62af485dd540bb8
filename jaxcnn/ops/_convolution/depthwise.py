"""Depthwise convolution and its two adjoints as primitives."""

from typing import Any

from jaxcnn.ops._conv_shape import Geometry
from jaxcnn.ops._convolution import depthwise_dispatch as dispatch
from jaxcnn.ops._primitives import Kind, define

__all__ = ["forward", "to_input", "to_kernel"]


def _tail(function: str, a: Any, b: Any, geometry: Geometry, first: Any, second: Any) -> list[tuple[int, Any]]:
    """Gives the axes behind the leading ones; the channels are sharded as the operands' are."""
    channel = first[-1] if first[-1] is not None else second[-1 if function == "to_kernel" else -2]
    c, m = (a.shape[-1], b.shape[-1] // a.shape[-1]) if function == "to_kernel" else b.shape[-2:]
    if function == "forward":
        return [*((n, None) for n in geometry.outputs), (c * m, channel)]
    if function == "to_input":
        return [*((n, None) for n in geometry.size), (c, channel)]
    return [*((n, None) for n in geometry.kernel), (c, channel), (m, None)]


# Kernels are (*shared, *kernel, c, m), outputs (*shared, *batch, *outputs, c * m).
forward, to_input, to_kernel = define(Kind("depthwise_conv", _tail, dispatch.choose))
