"""Convolutions and dense layers of graphs."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import repeat_per_axis
from jaxcnn.graphs.operations.arithmetic import align
from jaxcnn.graphs.operations.registry import Step, operation
from jaxcnn.graphs.operations.spatial import pad_spatial
from jaxcnn.ops._padding import same_padding

__all__ = ["crop_of_transposed"]

Pairs = Sequence[tuple[int, int]]


def _add_bias(y: jax.Array, step: Step) -> jax.Array:
    bias = step.parameters.get("bias")
    return y if bias is None else y + step.spread(bias.astype(y.dtype), y)


@operation(
    "conv", parameters=("kernel",), optional=("bias",), strides=1, padding="VALID", dilation=1, groups=1
)  # kernel (kh, kw, c // groups, f)
def _convolve_step(step: Step) -> jax.Array:
    """Convolves; kernels of rank 3 and 5 have one and three spatial axes."""
    options = {key: step[key] for key in ("strides", "padding", "dilation", "groups")}
    return _add_bias(ops.conv(step.x, step.parameters["kernel"], **options), step)


@operation(
    "depthwise_conv", parameters=("kernel",), optional=("bias",), strides=1, padding="VALID", dilation=1
)  # kernel (kh, kw, c, m)
def _convolve_depthwise_step(step: Step) -> jax.Array:
    """Convolves each channel with its own kernels."""
    options = {key: step[key] for key in ("strides", "padding", "dilation")}
    return _add_bias(ops.depthwise_conv(step.x, step.parameters["kernel"], **options), step)


@operation(
    "separable_conv",
    parameters=("depthwise_kernel", "pointwise_kernel"),
    optional=("bias",),
    strides=1,
    padding="VALID",
    dilation=1,
)
def _convolve_separable_step(step: Step) -> jax.Array:
    """Convolves each channel with its own kernels, then mixes the channels."""
    options = {key: step[key] for key in ("strides", "padding", "dilation")}
    kernels = step.parameters["depthwise_kernel"], step.parameters["pointwise_kernel"]
    return _add_bias(ops.separable_conv(step.x, *kernels, **options), step)


@operation(
    "conv_transpose",
    parameters=("kernel",),
    optional=("bias",),
    strides=1,
    padding="VALID",
    dilation=1,
    groups=1,
    output_padding=0,
    output_size=None,
)  # kernel (kh, kw, c, f // groups), as it is laid onto the output; padding is cut off there
def _convolve_transposed_step(step: Step) -> jax.Array:
    """Lays the kernel, times each input, onto the output at multiples of the stride: the adjoint of a convolution."""
    kernel, groups = step.parameters["kernel"], step["groups"]
    rank = kernel.ndim - 2
    strides, dilation, extra = (repeat_per_axis(step[key], rank) for key in ("strides", "dilation", "output_padding"))
    size = step.x.shape[-1 - rank : -1]
    widths = [d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape, strict=False)]
    crop = crop_of_transposed(size, widths, strides, step["padding"], extra, step["output_size"])
    cut = [(w - 1 - low, w - 1 - high) for w, (low, high) in zip(widths, crop, strict=True)]
    flipped = jnp.flip(kernel, tuple(range(rank)))
    channels = step.x.shape[-1]
    if groups > 1 and groups == channels:
        # Every channel is a group: (kh, kw, c, f // groups) is a depthwise kernel.
        x = pad_spatial(step.x, cut, strides=strides)
        return _add_bias(ops.depthwise_conv(x, flipped, padding="VALID", dilation=dilation), step)
    if groups > 1:  # (kh, kw, groups * c, f) -> (kh, kw, c, groups * f)
        parts = flipped.reshape(*flipped.shape[:rank], groups, -1, flipped.shape[-1])
        flipped = jnp.moveaxis(parts, rank, -2).reshape(*flipped.shape[:rank], parts.shape[rank + 1], -1)
    inside = [(max(low, 0), max(high, 0)) for low, high in cut]
    y = ops.conv(step.x, flipped, padding=inside, dilation=dilation, input_dilation=strides, groups=groups)
    outside = [(min(low, 0), min(high, 0)) for low, high in cut]
    return _add_bias(pad_spatial(y, outside) if any(map(any, outside)) else y, step)


def crop_of_transposed(
    size: Sequence[int],
    widths: Sequence[int],
    strides: Sequence[int],
    padding: str | int | Pairs,
    output_padding: Sequence[int],
    output_size: Sequence[int] | None,
) -> list[tuple[int, int]]:
    """Computes what is cut off the full output of a transposed convolution; negative where zeros are added.

    The full output has (n - 1) * stride + width pixels along an axis.

    Args:
        size: Spatial size of the input.
        widths: Extent of the dilated kernel.
        strides: Strides.
        padding: ``"VALID"``, ``"SAME"`` (n * stride outputs), or pairs.
        output_padding: Pixels added at the end.
        output_size: Spatial size of the output; decides it where one input size has several.

    Returns:
        One pair per axis.
    """
    full = [(n - 1) * s + w for n, s, w in zip(size, strides, widths, strict=True)]
    if isinstance(padding, str):
        if padding == "SAME":
            wanted = [n * s for n, s in zip(size, strides, strict=True)] if output_size is None else list(output_size)
            lows = [low for low, _ in same_padding(wanted, widths, strides)]
        else:
            lows = [0] * len(full)
            wanted = full if output_size is None else list(output_size)
        wanted = [n + extra for n, extra in zip(wanted, output_padding, strict=True)]
        return [(low, f - low - n) for f, low, n in zip(full, lows, wanted, strict=True)]
    pairs = [(padding, padding)] * len(full) if isinstance(padding, int) else list(padding)
    if output_size is not None:
        return [(low, f - low - n) for f, (low, _), n in zip(full, pairs, output_size, strict=True)]
    return [(low, high - extra) for (low, high), extra in zip(pairs, output_padding, strict=True)]


@operation("dense", parameters=("kernel",), optional=("bias",))  # kernel (in, out)
def _multiply_by_kernel(step: Step) -> jax.Array:
    """Multiplies the last axis by a matrix."""
    return _add_bias(step.x @ step.parameters["kernel"].astype(step.x.dtype), step)


@operation("matmul", inputs=2, transpose_a=False, transpose_b=False)
def _multiply_matrices(step: Step) -> jax.Array:
    """Multiplies the last two axes of two values."""
    a, b = align(step.inputs, step.leading)
    a = jnp.swapaxes(a, -1, -2) if step["transpose_a"] else a
    b = jnp.swapaxes(b, -1, -2) if step["transpose_b"] else b
    return a @ b


@operation("embed", parameters=("table",), optional=("bias",))
def _look_up(step: Step) -> jax.Array:
    """Looks up rows of a table by number."""
    return _add_bias(jnp.take(step.parameters["table"], step.x.astype(jnp.int32), axis=0), step)
