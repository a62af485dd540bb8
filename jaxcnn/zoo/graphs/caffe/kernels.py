"""Caffe's layers with kernels and matrices: convolutions, deconvolutions, inner products, embeddings."""

from collections.abc import Callable, Mapping

import numpy as np

from jaxcnn.zoo.graphs.caffe.layer_options import LayerOptions
from jaxcnn.zoo.graphs.caffe.network import Blob, Layer, LayerRule, Unsupported

__all__ = ["KERNEL_LAYERS", "per_axis"]

_PADDING_LIMIT = 1 << 16


def per_axis(
    layer: Layer, options: LayerOptions, field: str, pair: tuple[str, str], rank: int, *, default: int, least: int
) -> tuple[int, ...]:
    """Reads one number per spatial axis: of one field, repeated or for all, or of two for height and width.

    Args:
        layer: The layer.
        options: Its parameters.
        field: The field, such as ``"stride"``.
        pair: The fields for height and width.
        rank: Number of spatial axes.
        default: What holds where nothing is stated.
        least: The smallest number.

    Returns:
        The numbers.
    """
    if pair[0] in options or pair[1] in options:
        if rank != 2 or options.integers(field):
            raise layer.error(f"{pair[0]} and {pair[1]} are for images, and instead of {field}.")
        return tuple(options.integer(one, default, least=least, most=_PADDING_LIMIT) for one in pair)
    found = options.integers(field, least=least, most=_PADDING_LIMIT)
    if len(found) not in (0, 1, rank):
        raise layer.error(f"{field} must be one number or {rank}, got {len(found)}.")
    return (found * rank if len(found) == 1 else found) or (default,) * rank


def _geometry(layer: Layer, options: LayerOptions, blob: Blob) -> tuple[tuple[int, ...], ...]:
    """Reads kernel, stride, padding and dilation."""
    rank = blob.rank - 1
    if rank < 1:
        raise layer.error(f"it must read maps, got {layer.show(blob)}.")
    if layer.axis(options.integer("axis", 1, least=-9, most=9), blob) != 0:
        raise Unsupported("along another axis than the channels'")
    kernel = per_axis(layer, options, "kernel_size", ("kernel_h", "kernel_w"), rank, default=0, least=1)
    if 0 in kernel:
        raise layer.error("its kernel_size is not stated.")
    stride = per_axis(layer, options, "stride", ("stride_h", "stride_w"), rank, default=1, least=1)
    pad = per_axis(layer, options, "pad", ("pad_h", "pad_w"), rank, default=0, least=0)
    dilation = per_axis(layer, options, "dilation", ("dilation_h", "dilation_w"), rank, default=1, least=1)
    return kernel, stride, pad, dilation


def _groups(layer: Layer, options: LayerOptions, channels: int, filters: int) -> int:
    """Reads the number of groups; some forks' depthwise layers do not state it."""
    group = options.integer("group", channels if layer.kind == "ConvolutionDepthwise" else 1, least=1)
    if channels % group or filters % group:
        raise layer.error(f"{channels} channels and {filters} filters cannot be {group} groups.")
    return group


def _as_depthwise(shape: tuple[int, ...]) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what reshapes a grouped kernel of one channel per group, which has the same order of values."""

    def fit(array: np.ndarray) -> np.ndarray:
        return array.reshape(shape) if array.size == np.prod(shape) and array.shape[:-2] == shape[:-2] else array

    return fit


def _channels(layer: Layer, blob: Blob, group: Callable[[np.ndarray], int]) -> int:
    """Returns the number of channels of a blob, from the kernel where the file does not state it."""
    if blob.shape[0] is not None:
        return blob.shape[0]
    kernel = layer.tensor("weights")
    if kernel is None:
        raise layer.error("it lacks weights, and the number of its channels is not stated.")
    return group(kernel)


def _convolve(layer: Layer) -> list[Blob]:
    count = len(layer.bottoms)
    layer.check_counts((1, None), count)
    options = layer.options("convolution")
    kernel, stride, pad, dilation = _geometry(layer, options, layer.bottom)
    filters = options.integer("num_output", 0, least=1)
    stated = options.integer("group", 1, least=1)
    channels = _channels(layer, layer.bottom, lambda array: array.shape[-2] * (stated if array.shape[-2] == 1 else 1))
    group = _groups(layer, options, channels, filters)
    depthwise = group == channels and group > 1
    shape = (*kernel, group, filters // group) if depthwise else (*kernel, channels // group, filters)
    fit = _as_depthwise(shape) if channels == group else None
    parameters = {"kernel": layer.weight("weights", shape, "kernel", fits=fit)}
    if options.flag("bias_term", True):
        parameters["bias"] = layer.weight("biases", (filters,), "bias")
    settings: dict[str, object] = {"strides": stride, "padding": tuple((p, p) for p in pad), "dilation": dilation}
    settings |= {} if depthwise else {"groups": group}
    results = []
    for top, blob in enumerate(layer.bottoms):
        if blob.rank != layer.bottom.rank or blob.shape[0] not in (None, channels):
            raise layer.error(f"it has kernels for {channels} channels and reads {layer.show(blob)}.")
        sizes = [
            None if n is None else (n + 2 * p - d * (k - 1) - 1) // s + 1
            for n, k, s, p, d in zip(blob.shape[1:], kernel, stride, pad, dilation, strict=True)
        ]
        op = "depthwise_conv" if depthwise else "conv"
        for n, k, s, p, d in zip(blob.shape[1:], kernel, stride, pad, dilation, strict=True):
            layer.network.remainder += 0 if n is None else (n + 2 * p - d * (k - 1) - 1) % s
        blob = layer.last(blob)
        results.append(
            layer.finish(op, [blob], (filters, *sizes), last=True, options=settings, parameters=parameters, top=top)
        )
    return results


def _deconvolve(layer: Layer) -> list[Blob]:
    count = len(layer.bottoms)
    layer.check_counts((1, None), count)
    options = layer.options("convolution")
    kernel, stride, pad, dilation = _geometry(layer, options, layer.bottom)
    filters = options.integer("num_output", 0, least=1)
    channels = _channels(layer, layer.bottom, lambda array: array.shape[-2])
    group = _groups(layer, options, channels, filters)
    parameters = {"kernel": layer.weight("weights", (*kernel, channels, filters // group), "kernel")}
    if options.flag("bias_term", True):
        parameters["bias"] = layer.weight("biases", (filters,), "bias")
    padding = tuple((p, p) for p in pad)
    settings = {"strides": stride, "padding": padding, "dilation": dilation, "groups": group}
    results = []
    for top, blob in enumerate(layer.bottoms):
        if blob.rank != layer.bottom.rank or blob.shape[0] not in (None, channels):
            raise layer.error(f"it has kernels for {channels} channels and reads {layer.show(blob)}.")
        sizes = [
            None if n is None else s * (n - 1) + d * (k - 1) + 1 - 2 * p
            for n, k, s, p, d in zip(blob.shape[1:], kernel, stride, pad, dilation, strict=True)
        ]
        blob, shape = layer.last(blob), (filters, *sizes)
        results.append(
            layer.finish("conv_transpose", [blob], shape, last=True, options=settings, parameters=parameters, top=top)
        )
    return results


def _multiply(layer: Layer) -> Blob:
    layer.check_counts(1)
    options, blob = layer.options("inner_product"), layer.bottom
    axis = layer.axis(options.integer("axis", 1, least=-32, most=32), blob)
    if axis < 0:
        raise Unsupported("along the batch")
    total: int | None = 1
    for size in blob.shape[axis:]:
        total = None if total is None or size is None else total * size
    filters = options.integer("num_output", 0, least=1)
    if (stored := layer.tensor("weights")) is not None:
        layer.network.fan_ins.append((total, stored.shape[0]))
    parameters = {"kernel": layer.weight("weights", (total, filters), "kernel")}
    if options.flag("bias_term", True):
        parameters["bias"] = layer.weight("biases", (filters,), "bias")
    flat = layer.source(blob)
    if flat.rank - axis > 1:
        flat = layer.add("flatten", [flat], (*blob.shape[:axis], total), options={"begin": axis, "end": -1})
    elif flat.rank == axis:
        flat = layer.add("expand_dims", [flat], (*blob.shape, 1), options={"axis": axis})
    return layer.finish("dense", [flat], (*blob.shape[:axis], filters), parameters=parameters)


def _embed(layer: Layer) -> Blob:
    layer.check_counts(1)
    options = layer.options("embed")
    shape = options.integer("input_dim", 0, least=1), options.integer("num_output", 0, least=1)
    parameters = {"table": layer.weight("weights", shape, "table")}
    if options.flag("bias_term", True):
        parameters["bias"] = layer.weight("biases", (shape[1],), "bias")
    blob = layer.source(layer.bottom)
    return layer.finish("embed", [blob], (*blob.shape, shape[1]), parameters=parameters)


KERNEL_LAYERS: Mapping[str, LayerRule] = {
    "Convolution": _convolve,
    "ConvolutionDepthwise": _convolve,
    "DepthwiseConvolution": _convolve,
    "DepthwiseConv": _convolve,
    "Deconvolution": _deconvolve,
    "InnerProduct": _multiply,
    "Embed": _embed,
}
"""Type to how it is imported."""
