"""Convolutions and dense layers of Keras."""

import functools
from collections.abc import Sequence

from jaxcnn.zoo.graphs.keras.activations import activate
from jaxcnn.zoo.graphs.keras.layer_call import Handler, LayerCall, LayerValue, UnknownLayer

__all__ = ["LAYERS"]

Padding = str | tuple[tuple[int, int], ...]


def _geometry(call: LayerCall, rank: int) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
    """Reads the sizes of the kernel, strides and dilation."""
    options = call.options
    return (
        options.integers("kernel_size", rank),
        options.integers("strides", rank, 1),
        options.integers("dilation_rate", rank, 1),
    )


def _padding(call: LayerCall, widths: Sequence[int]) -> Padding:
    """Reads the padding for kernels of these widths, dilation included."""
    padding = call.options.choice("padding", ("valid", "same", "causal", "full"), "valid")
    if padding == "causal" and len(widths) == 1:
        return ((widths[0] - 1, 0),)
    if padding == "full":
        return tuple((width - 1, width - 1) for width in widths)
    if padding == "causal":
        raise call.options.wrong("padding", "'valid' or 'same'")
    return padding.upper()


def _widths(sizes: Sequence[int], dilation: Sequence[int]) -> list[int]:
    return [d * (k - 1) + 1 for k, d in zip(sizes, dilation, strict=True)]


def _convolve(call: LayerCall, *, rank: int) -> LayerValue:
    """Adds a convolution; one whose groups are single channels becomes a depthwise one."""
    x = call.images(call.input(), rank)
    sizes, strides, dilation = _geometry(call, rank)
    filters, groups = call.options.integer("filters"), call.options.integer("groups", 1)
    if filters % groups:
        raise call.options.wrong("groups", f"a divisor of the {filters} filters")
    padding = _padding(call, _widths(sizes, dilation))
    kernel = call.weight("kernel", (*sizes, None, filters))
    parameters = call.parameters(bias=(filters,))
    settings = {"strides": strides, "padding": padding, "dilation": dilation}
    if groups > 1 and kernel is not None and kernel.shape[-2] == 1:
        kernel = kernel.reshape(*sizes, groups, filters // groups)
        parameters = {"kernel": call.parameter("kernel", kernel), **parameters}
        y = call.add("depthwise_conv", x, parameters=parameters, **settings)
    else:
        parameters = {"kernel": call.parameter("kernel", kernel), **parameters}
        y = call.add("conv", x, parameters=parameters, groups=groups, **settings)
    return activate(call, y)


def _convolve_depthwise(call: LayerCall, *, rank: int) -> LayerValue:
    x = call.images(call.input(), rank)
    sizes, strides, dilation = _geometry(call, rank)
    multiple = call.options.integer("depth_multiplier", 1)
    padding = _padding(call, _widths(sizes, dilation))
    parameters = call.parameters(kernel=(*sizes, None, multiple), bias=(None,))
    return activate(
        call,
        call.add("depthwise_conv", x, parameters=parameters, strides=strides, padding=padding, dilation=dilation),
    )


def _convolve_separable(call: LayerCall, *, rank: int) -> LayerValue:
    x = call.images(call.input(), rank)
    sizes, strides, dilation = _geometry(call, rank)
    multiple, filters = call.options.integer("depth_multiplier", 1), call.options.integer("filters")
    padding = _padding(call, _widths(sizes, dilation))
    parameters = call.parameters(
        depthwise_kernel=(*sizes, None, multiple), pointwise_kernel=(*(1,) * rank, None, filters), bias=(filters,)
    )
    return activate(
        call,
        call.add("separable_conv", x, parameters=parameters, strides=strides, padding=padding, dilation=dilation),
    )


def _convolve_transposed(call: LayerCall, *, rank: int) -> LayerValue:
    """Adds a transposed convolution with Keras's sizes of the output."""
    x = call.images(call.input(), rank)
    sizes, strides, dilation = _geometry(call, rank)
    filters = call.options.integer("filters")
    if call.options.integer("groups", 1) > 1:
        raise UnknownLayer(f"{call.layer.kind} with groups")
    kind = call.options.choice("padding", ("valid", "same"), "valid")
    widths = _widths(sizes, dilation)
    extra = None if call.options.get("output_padding") is None else call.options.integers("output_padding", rank, low=0)
    if extra is not None and any(e >= s for e, s in zip(extra, strides, strict=True)):
        raise call.options.wrong("output_padding", f"less than the strides {strides}")
    padding: Padding = "SAME"
    if kind == "valid":
        rest = [max(s - w, 0) for w, s in zip(widths, strides, strict=True)] if extra is None else extra
        padding = tuple((0, -one) for one in rest)
    elif extra is not None:  # (n - 1) * stride + width - 2 * (width // 2) + extra pixels
        cut = [2 * (w // 2) - e for w, e in zip(widths, extra, strict=True)]
        padding = tuple((max(one, 0) // 2, one - max(one, 0) // 2) for one in cut)
    parameters = call.parameters(kernel=(*sizes, None, filters), bias=(filters,))
    return activate(
        call, call.add("conv_transpose", x, parameters=parameters, strides=strides, padding=padding, dilation=dilation)
    )


def _dense(call: LayerCall) -> LayerValue:
    """Adds a dense layer on the last axis of the source."""
    x = call.source(call.input())
    units = call.options.integer("units")
    y = call.add("dense", x, parameters=call.parameters(kernel=(None, units), bias=(units,)))
    return activate(call, y)


def _scale_layer(call: LayerCall) -> LayerValue:
    """Adds ConvNeXt's factor per channel."""
    x = call.source(call.input())
    gamma = call.weight("gamma", (None,))
    return call.add("scale", x, parameters={"scale": call.parameter("gamma", gamma)})


LAYERS: dict[str, Handler] = {
    **{f"Conv{rank}D": functools.partial(_convolve, rank=rank) for rank in (1, 2, 3)},
    **{f"DepthwiseConv{rank}D": functools.partial(_convolve_depthwise, rank=rank) for rank in (1, 2, 3)},
    **{f"SeparableConv{rank}D": functools.partial(_convolve_separable, rank=rank) for rank in (1, 2)},
    **{f"Conv{rank}DTranspose": functools.partial(_convolve_transposed, rank=rank) for rank in (1, 2, 3)},
    "Dense": _dense,
    "LayerScale": _scale_layer,
}
"""Layers that multiply by kernels."""
