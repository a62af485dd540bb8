"""Layers of MatConvNet that have parameters."""

from collections.abc import Mapping

import numpy as np

from jaxcnn.zoo.graphs.matconvnet.layers import MatLayer
from jaxcnn.zoo.graphs.matconvnet.network import MatNetwork, Rule, Variable

__all__ = ["KERNEL_RULES", "count_inputs"]

_EPSILON = 1e-4  # of vl_nnbnorm, where a layer states none
_MOMENTUM = 0.9  # the share of the old moments, where a layer states no rate


def count_inputs(net: MatNetwork, layer: MatLayer) -> int | None:
    """Returns the number of channels that a convolution reads as far as its kernel says it, or None."""
    kernel = net.tensor(layer, "filters")
    if layer.kind not in ("conv", "convt") or kernel is None or kernel.ndim != 4:
        return None
    groups = net.groups.get(layer.tensors["filters"], 1)
    is_depthwise = groups > 1 and _is_depthwise(net, layer, kernel, groups, None)
    return kernel.shape[2] * (1 if is_depthwise else groups)


def _is_depthwise(net: MatNetwork, layer: MatLayer, kernel: np.ndarray, groups: int, channels: int | None) -> bool:
    """Returns whether a kernel is depthwise, (kh, kw, c, m), which it is with as many groups as channels."""
    if channels is not None:
        return kernel.shape[2] == groups == channels
    bias = net.tensor(layer, "biases")
    return kernel.shape[2] == groups and (bias is None or bias.size == groups * kernel.shape[3])


def _bias(net: MatNetwork, layer: MatLayer, outputs: int) -> dict[str, str]:
    bias = net.tensor(layer, "biases") if net.fields(layer).flag("hasBias", True) else None
    if bias is None:
        return {}
    if bias.size != outputs:
        raise net.error(layer, f"its biases must be {outputs}, one per output, got {bias.size}.")
    return net.parameter(layer, "biases", "bias", bias.reshape(-1))


def _convolve(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    fields, kernel = net.fields(layer), net.require(layer, "filters", 4)
    options = {
        "strides": fields.pair("stride", 1, least=1),
        "padding": fields.sides("pad"),
        "dilation": fields.pair("dilate", 1, least=1),
    }
    channels = inputs[0].channels
    groups = net.groups.get(layer.tensors["filters"], 1)
    if channels is not None and groups == 1:
        groups = channels // kernel.shape[2]
        if groups * kernel.shape[2] != channels or kernel.shape[3] % groups:
            raise net.error(layer, f"it reads {channels} channels with a kernel of shape {kernel.shape}.")
        if groups > 1 and kernel.shape[2] == 1:
            kernel = kernel.reshape(*kernel.shape[:2], groups, -1)
    depthwise = groups > 1 and _is_depthwise(net, layer, kernel, groups, channels)
    if groups > 1 and not depthwise:
        if channels not in (None, groups * kernel.shape[2]) or kernel.shape[3] % groups:
            raise net.error(layer, f"it reads {channels} channels in {groups} groups of kernels {kernel.shape}.")
        options["groups"] = groups
    outputs = kernel.shape[3] * (groups if depthwise else 1)
    parameters = net.parameter(layer, "filters", "kernel", kernel) | _bias(net, layer, outputs)
    op = "depthwise_conv" if depthwise else "conv"
    return Variable(net.add(op, layer, [inputs[0].value], options=options, parameters=parameters), outputs)


def _convolve_transposed(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    fields, kernel = net.fields(layer), net.require(layer, "filters", 4)
    groups = fields.integers("numGroups", 1, least=1, counts=(1,))[0]
    if kernel.shape[2] % groups or inputs[0].channels not in (None, kernel.shape[2]):
        reads = f"it reads {inputs[0].channels} channels in {groups} groups"
        raise net.error(layer, f"{reads} with a kernel of shape {kernel.shape} (rows, columns, inputs, outputs).")
    outputs = kernel.shape[3] * groups
    options = {
        "strides": fields.pair("upsample", 1, least=1),
        "padding": fields.sides("crop"),
        "groups": groups,
    }
    parameters = net.parameter(layer, "filters", "kernel", kernel) | _bias(net, layer, outputs)
    value = net.add("conv_transpose", layer, [inputs[0].value], options=options, parameters=parameters)
    return Variable(value, outputs)


def _normalize_batch(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    """Converts moments, mean and sqrt(variance + epsilon), to mean and variance with the same quotients."""
    fields = net.fields(layer)
    scale, bias = net.require(layer, "multipliers", 1), net.require(layer, "biases", 1)
    channels, moments = scale.size, net.tensor(layer, "moments")
    epsilon = fields.number("epsilon", _EPSILON)
    parameters = net.parameter(layer, "multipliers", "scale", scale)
    if bias.size != channels or inputs[0].channels not in (None, channels):
        raise net.error(layer, f"it has {channels} multipliers, {bias.size} biases, and reads {inputs[0].channels}.")
    parameters |= net.parameter(layer, "biases", "bias", bias)
    if moments is None:
        net.builder.note(f"Layer {layer.name!r} ({layer.source}) has no moments: mean 0 and variance 1 were assumed.")
        sigma = np.full(channels, np.sqrt(1 + epsilon))
        mean, name = np.zeros(channels), "multipliers"
    else:
        if moments.size != 2 * channels or moments.shape not in ((channels, 2), (2,)):
            raise net.error(layer, f"its moments must be of shape {(channels, 2)}, got {moments.shape}.")
        mean, sigma = moments.astype(np.float64).reshape(channels, 2).T
        name = "moments"
    least = float(np.square(sigma).min())
    if epsilon < 0 or not np.isfinite(sigma).all() or (sigma < 0).any():
        raise net.error(layer, "its moments and epsilon must not be negative.")
    epsilon = min(epsilon, least)  # a variance is not negative
    parameters |= net.parameter(layer, name, "mean", mean, collection="batch_stats")
    parameters |= net.parameter(layer, name, "var", np.square(sigma) - epsilon, collection="batch_stats")
    rate = layer.learning_rates.get("moments")
    momentum = _MOMENTUM
    if isinstance(rate, int | float) and 0 < rate < 1:  # 1 is what a DagNN has where nothing was stated
        momentum = 1 - float(rate)
    options = {"epsilon": epsilon, "momentum": momentum}
    return Variable(net.add("batch_norm", layer, [inputs[0].value], options=options, parameters=parameters), channels)


def _scale(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    """Multiplies by a second input or a tensor, and adds a third input or a tensor."""
    has_bias = net.fields(layer).flag("hasBias", True)
    tensors = list(layer.tensors)  # in order: those that are no inputs
    if len(inputs) + len(tensors) < 2 + has_bias:
        raise net.error(layer, f"it has {len(inputs)} inputs and {len(tensors)} parameters, which are too few.")
    first, *others = inputs
    parameters: dict[str, str] = {}
    for role in ("scale", "bias") if has_bias else ("scale",):
        if others:
            other = others.pop(0)
            if role == "bias" and parameters:
                raise net.error(layer, "its multipliers must be an input, as its biases are.")
            op, part = ("multiply", "scale" if has_bias else "") if role == "scale" else ("add", "")
            value = net.add(op, layer, [first.value, other.value], part=part)
            first = Variable(value, first.channels)
            continue
        tensor = tensors.pop(0)
        array = net.tensor(layer, tensor)
        if array is None or array.ndim > 3:
            raise net.error(layer, f"its {tensor} must be an array of at most 3 axes.")
        if array.ndim == 2:  # rows and columns
            array = array[..., None]
        parameters |= net.parameter(layer, tensor, role, array)
    if parameters:
        return Variable(net.add("scale", layer, [first.value], parameters=parameters), first.channels)
    return first


KERNEL_RULES: Mapping[str, tuple[int, int | None, Rule]] = {
    "bnorm": (1, 1, _normalize_batch),
    "conv": (1, 1, _convolve),
    "convt": (1, 1, _convolve_transposed),
    "scale": (1, 3, _scale),
}
"""Kind of layer to the fewest and the most inputs, and its rule."""
