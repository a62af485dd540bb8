"""Activations of graphs, and other functions of one value."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn.graphs.operations.registry import REQUIRED, Step, operation

__all__ = ["UNARY"]


@operation("relu", negative_slope=0.0, max_value=None, threshold=0.0)
def _rectify(step: Step) -> jax.Array:
    """Rectifies: x from the threshold on, at most ``max_value``, below it ``negative_slope * (x - threshold)``."""
    x, slope, threshold = step.x, step["negative_slope"], step["threshold"]
    if threshold == 0:
        y = jax.nn.relu(x) if slope == 0 else jnp.where(x > 0, x, x * slope)
    else:
        y = jnp.where(x >= threshold, x, slope * (x - threshold))
    return y if step["max_value"] is None else jnp.minimum(y, step["max_value"])


@operation("prelu", parameters=("slope",))
def _rectify_by_parameter(step: Step) -> jax.Array:
    """Rectifies; below zero by a slope per channel, per value or for all."""
    return jnp.where(step.x > 0, step.x, step.x * step.spread(step.parameters["slope"].astype(step.x.dtype)))


@operation("elu", alpha=1.0)
def _elu(step: Step) -> jax.Array:
    """Computes x above zero, ``alpha * (exp(x) - 1)`` below."""
    x = step.x
    return jnp.where(x > 0, x, step["alpha"] * jnp.expm1(jnp.where(x > 0, 0, x)))


@operation("hard_sigmoid", slope=0.2, offset=0.5)
def _hard_sigmoid(step: Step) -> jax.Array:
    """Clips ``slope * x + offset`` to [0, 1]."""
    return jnp.clip(step["slope"] * step.x + step["offset"], 0, 1)


@operation("hard_swish")
def _hard_swish(step: Step) -> jax.Array:
    """Computes x * relu6(x + 3) / 6."""
    return step.x * (jnp.clip(step.x + 3, 0, 6) / 6)


@operation("gelu", approximate=False)
def _gelu(step: Step) -> jax.Array:
    """Computes x times the normal distribution function, or its approximation by tanh."""
    return jax.nn.gelu(step.x, approximate=step["approximate"])


@operation("softmax", axis=-1)
def _softmax(step: Step) -> jax.Array:
    """Computes probabilities along an axis."""
    return jax.nn.softmax(step.x, axis=step.axis(step["axis"]))


@operation("log_softmax", axis=-1)
def _log_softmax(step: Step) -> jax.Array:
    """Computes logarithms of probabilities along an axis."""
    return jax.nn.log_softmax(step.x, axis=step.axis(step["axis"]))


@operation("clip", minimum=None, maximum=None)
def _clip(step: Step) -> jax.Array:
    """Clips to an interval."""
    return jnp.clip(step.x, step["minimum"], step["maximum"])


@operation("power", power=1.0, scale=1.0, shift=0.0)
def _power(step: Step) -> jax.Array:
    """Computes ``(shift + scale * x) ** power``."""
    y = step["shift"] + step["scale"] * step.x
    exponent = step["power"]
    if exponent == int(exponent) and abs(exponent) < 8:
        return y if exponent == 1 else y ** int(exponent)
    return y**exponent


@operation("exp_base", base=None, scale=1.0, shift=0.0)
def _exponentiate(step: Step) -> jax.Array:
    """Computes ``base ** (shift + scale * x)``; base None is e."""
    y = step["shift"] + step["scale"] * step.x
    return jnp.exp(y) if step["base"] is None else jnp.exp(y * jnp.log(step["base"]))


@operation("log_base", base=None, scale=1.0, shift=0.0)
def _take_logarithm(step: Step) -> jax.Array:
    """Computes the logarithm of ``shift + scale * x``; base None is e."""
    y = jnp.log(step["shift"] + step["scale"] * step.x)
    return y if step["base"] is None else y / jnp.log(step["base"])


@operation("threshold", threshold=0.0)
def _exceed(step: Step) -> jax.Array:
    """Returns 1 where x is above the threshold, else 0."""
    return (step.x > step["threshold"]).astype(step.x.dtype)


@operation("rescale", scale=1.0, offset=0.0)
def _rescale(step: Step) -> jax.Array:
    """Computes ``scale * x + offset``; tuples have one number per channel."""
    scale, offset = (step.spread(jnp.asarray(step[key], step.x.dtype)) for key in ("scale", "offset"))
    return step.x * scale + offset


@operation("quantize", minimum=REQUIRED, maximum=REQUIRED, levels=256)
def _quantize(step: Step) -> jax.Array:
    """Rounds to ``levels`` equal steps between two numbers, or two per channel; the gradient is that of clip."""
    low, high = (step.spread(jnp.asarray(step[key], step.x.dtype)) for key in ("minimum", "maximum"))
    width = (high - low) / (step["levels"] - 1)
    clipped = jnp.clip(step.x, low, high)
    return clipped + jax.lax.stop_gradient(jnp.round((clipped - low) / width) * width + low - clipped)


def _mish(x: jax.Array) -> jax.Array:
    return x * jnp.tanh(jax.nn.softplus(x))


def _reciprocal(x: jax.Array) -> jax.Array:
    return 1 / x


UNARY: dict[str, Callable[[jax.Array], Any]] = {
    "abs": jnp.abs,
    "ceil": jnp.ceil,
    "celu": jax.nn.celu,
    "cos": jnp.cos,
    "erf": jax.lax.erf,
    "erfc": jax.lax.erfc,
    "exp": jnp.exp,
    "floor": jnp.floor,
    "identity": lambda x: x,
    "log": jnp.log,
    "log_sigmoid": jax.nn.log_sigmoid,
    "mish": _mish,
    "negative": jnp.negative,
    "reciprocal": _reciprocal,
    "round": jnp.round,
    "rsqrt": jax.lax.rsqrt,
    "selu": jax.nn.selu,
    "sigmoid": jax.nn.sigmoid,
    "sign": jnp.sign,
    "sin": jnp.sin,
    "softplus": jax.nn.softplus,
    "softsign": jax.nn.soft_sign,
    "sqrt": jnp.sqrt,
    "square": jnp.square,
    "swish": jax.nn.swish,
    "tanh": jnp.tanh,
}
"""Functions of one value without options."""


def _register(name: str, function: Callable[[jax.Array], Any]) -> None:
    operation(name)(lambda step: function(step.x))


for _name, _function in UNARY.items():
    _register(_name, _function)
