"""Activations of Keras: functions by name, and layers."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxcnn.zoo.graphs.keras.layer_call import Handler, LayerCall, LayerValue, UnknownLayer
from jaxcnn.zoo.graphs.keras.options import Options

__all__ = ["LAYERS", "activate", "apply_function", "is_function"]

Function = Callable[[LayerCall, LayerValue], LayerValue]


def _plain(op: str, **options: Any) -> Function:
    return lambda call, x: call.add(op, x, **options)


def _along(op: str) -> Function:
    """Makes a function along the last axis of the source."""
    return lambda call, x: call.add(op, x, axis=call.axis(x, -1))


def _hard_sigmoid(call: LayerCall, x: LayerValue) -> LayerValue:
    """Adds relu6(x + 3) / 6 of Keras 3, or 0.2 * x + 0.5, clipped, of Keras 1 and 2."""
    slope = 1 / 6 if call.parts.is_keras_3 else 0.2
    return call.add("hard_sigmoid", x, slope=slope, offset=0.5)


def _tanh_shrink(call: LayerCall, x: LayerValue) -> LayerValue:
    return call.add("subtract", x, call.add("tanh", x))


def _gate(call: LayerCall, x: LayerValue) -> LayerValue:
    raise UnknownLayer(f"{call.layer.kind} with the activation 'glu'")


_FUNCTIONS: dict[str, Function] = {
    "linear": lambda call, x: x,
    "relu": _plain("relu"),
    "relu6": _plain("relu", max_value=6.0),
    "leaky_relu": _plain("relu", negative_slope=0.2),
    "elu": _plain("elu"),
    "selu": _plain("selu"),
    "celu": _plain("celu"),
    "gelu": _plain("gelu"),
    "sigmoid": _plain("sigmoid"),
    "log_sigmoid": _plain("log_sigmoid"),
    "hard_sigmoid": _hard_sigmoid,
    "swish": _plain("swish"),
    "silu": _plain("swish"),
    "hard_swish": _plain("hard_swish"),
    "hard_silu": _plain("hard_swish"),
    "mish": _plain("mish"),
    "tanh": _plain("tanh"),
    "tanh_shrink": _tanh_shrink,
    "hard_tanh": _plain("clip", minimum=-1.0, maximum=1.0),
    "softplus": _plain("softplus"),
    "softsign": _plain("softsign"),
    "exponential": _plain("exp"),
    "exp": _plain("exp"),
    "softmax": _along("softmax"),
    "log_softmax": _along("log_softmax"),
}


def is_function(name: str) -> bool:
    """Tests whether an activation function has a name."""
    return name in _FUNCTIONS


def apply_function(call: LayerCall, x: LayerValue, name: str) -> LayerValue:
    """Adds an activation function by its name."""
    function = _FUNCTIONS.get(name.split(">")[-1].split(".")[-1])
    if function is None:
        raise UnknownLayer(f"{call.layer.kind} with the activation {name!r}")
    return function(call, x)


def activate(call: LayerCall, x: LayerValue, activation: object = None) -> LayerValue:
    """Adds the activation of a layer.

    Args:
        call: The call of the layer.
        x: What it computed.
        activation: A name, a function or layer as Keras serializes it; by default the layer's option.

    Returns:
        The result.
    """
    activation = call.options.get("activation") if activation is None else activation
    if activation is None:
        return x
    if isinstance(activation, str):
        return apply_function(call, x, activation)
    if not isinstance(activation, Mapping):
        raise call.options.wrong("activation", "the name of a function or a layer")
    kind, config = activation.get("class_name"), activation.get("config")
    if kind == "function" and isinstance(config, str):
        return apply_function(call, x, config)
    if isinstance(kind, str) and kind in _FUNCTIONS and not isinstance(config, Mapping):
        return apply_function(call, x, kind)
    kind = kind.split(">")[-1] if isinstance(kind, str) else kind
    handler = LAYERS.get(kind) if isinstance(kind, str) and kind not in ("PReLU", "Activation") else None
    if handler is None or not isinstance(config, Mapping):
        name = activation.get("registered_name") or config if kind == "function" else kind
        raise UnknownLayer(f"{call.layer.kind} with the activation {str(name)[:40]!r}")
    inner = _Inner(call, x, config)
    return handler(inner)


class _Inner(LayerCall):
    """A layer that is the activation of another one: its nodes are that one's."""

    def __init__(self, outer: LayerCall, x: LayerValue, config: Mapping[str, Any]):
        super().__init__(outer.parts, dataclasses.replace(outer.layer, config=config), outer.path, [x], {})
        self._pending = outer._pending
        self.options = Options(config, outer.error)


def _activation(call: LayerCall) -> LayerValue:
    return activate(call, call.input())


def _relu(call: LayerCall) -> LayerValue:
    """Adds ReLU with its three options."""
    options = call.options
    highest = None if options.get("max_value") is None else options.number("max_value")
    slope, threshold = options.number("negative_slope", 0.0), options.number("threshold", 0.0)
    return call.add("relu", call.input(), max_value=highest, negative_slope=slope, threshold=threshold)


def _leaky_relu(call: LayerCall) -> LayerValue:
    key = "negative_slope" if call.options.get("negative_slope") is not None else "alpha"
    return call.add("relu", call.input(), negative_slope=call.options.number(key, 0.3))


def _elu(call: LayerCall) -> LayerValue:
    return call.add("elu", call.input(), alpha=call.options.number("alpha", 1.0))


def _thresholded_relu(call: LayerCall) -> LayerValue:
    """Adds x where it is above theta, else 0."""
    x = call.input()
    return call.add("multiply", x, call.add("threshold", x, threshold=call.options.number("theta", 1.0)))


def _softmax(call: LayerCall) -> LayerValue:
    x = call.inputs[0]
    if len(call.inputs) != 1:
        raise UnknownLayer("Softmax with a mask")
    axes = call.axes(x, call.options.get("axis", -1))
    if len(axes) > 1:
        raise UnknownLayer("Softmax over several axes")
    return call.add("softmax", x, axis=min(axes))


def _prelu(call: LayerCall) -> LayerValue:
    """Adds ReLU with a slope per value, shared along some axes."""
    x = call.input()
    slope = call.weight("alpha", [None] * x.rank)
    if slope is None:
        return x
    if x.moved:
        slope = np.ascontiguousarray(np.moveaxis(slope, 0, -1))
    return call.add("prelu", x, parameters={"slope": call.parameter("alpha", slope)})


LAYERS: dict[str, Handler] = {
    "Activation": _activation,
    "ReLU": _relu,
    "LeakyReLU": _leaky_relu,
    "ELU": _elu,
    "ThresholdedReLU": _thresholded_relu,
    "Softmax": _softmax,
    "PReLU": _prelu,
}
"""Layers that are activations."""
