"""Normalization of graphs: batch norm, local response, by length, by mean and variance."""

import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn.graphs.operations.registry import REQUIRED, Step, operation
from jaxcnn.ops._batching import working_dtype

__all__ = ["widen"]


def widen(x: jax.Array) -> jax.Array:
    """Converts to float32, or leaves what is wider."""
    return x.astype(working_dtype(x))


def _like_axis(step: Step, role: str, axis: int) -> jax.Array | None:
    """Returns a parameter with one value per entry of an axis, shaped so that it broadcasts; None if there is none."""
    value = step.parameters.get(role)
    if value is None:
        return None
    return step.spread(value.reshape(value.shape + (1,) * (-step.axis(axis) - 1)) if value.ndim == 1 else value)


@operation(
    "batch_norm",
    parameters=("mean", "var"),
    optional=("scale", "bias"),
    epsilon=1e-5,
    momentum=0.99,
    axis=-1,
    unbiased=False,
)
def _normalize_batch(step: Step) -> jax.Array:
    """Normalizes each channel, in training mode by the batch, else by the running statistics.

    ``momentum`` is the share of the old statistics. The variance that normalizes is the biased one; ``unbiased``:
    whether the running one is not.
    """
    x, axis = widen(step.x), step.axis(step["axis"])
    mean, variance = step.parameters["mean"], step.parameters["var"]
    if step.train:
        others = tuple(i for i in range(-x.ndim, 0) if i != axis)
        now = jnp.mean(x, others, keepdims=True)
        x = x - now  # before it is squared, as means may be far larger than deviations
        now, square = now.reshape(-1), jnp.mean(jnp.square(x), others)
        share = step["momentum"]
        step.new_statistics["mean"] = share * mean + (1 - share) * now
        count = x.size // x.shape[axis]
        kept = square * (count / max(count - 1, 1)) if step["unbiased"] else square
        step.new_statistics["var"] = share * variance + (1 - share) * kept
        mean, variance = jnp.zeros_like(now), square
    factor = jax.lax.rsqrt(widen(variance) + step["epsilon"])
    scale = step.parameters.get("scale")
    factor = factor if scale is None else factor * scale
    shift = -widen(mean) * factor
    bias = step.parameters.get("bias")
    shift = shift if bias is None else shift + bias
    tail = (1,) * (-axis - 1)
    factor, shift = (step.spread(value.reshape(-1, *tail)) for value in (factor, shift))
    return (x * factor + shift).astype(step.x.dtype)


@operation("scale", optional=("scale", "bias"), axis=-1)
def _scale_channels(step: Step) -> jax.Array:
    """Multiplies by one factor and adds one bias per entry of an axis; parameters of higher rank broadcast."""
    scale, bias = (_like_axis(step, role, step["axis"]) for role in ("scale", "bias"))
    y = step.x if scale is None else step.x * scale.astype(step.x.dtype)
    return y if bias is None else y + bias.astype(y.dtype)


@operation("lrn", size=REQUIRED, alpha=REQUIRED, beta=REQUIRED, bias=1.0)
def _normalize_response(step: Step) -> jax.Array:
    """Computes x / (bias + alpha * sum of squares over ``size`` channels around) ** beta.

    ``alpha`` multiplies the sum: frameworks that divide it by the size have divided it before.
    """
    x, size = widen(step.x), step["size"]
    low = (size - 1) // 2
    squares = jnp.square(x)
    total = jax.lax.reduce_window(
        squares,
        0.0,
        jax.lax.add,
        (1,) * (x.ndim - 1) + (size,),
        (1,) * x.ndim,
        [(0, 0)] * (x.ndim - 1) + [(low, size - 1 - low)],
    )
    return (x * (step["bias"] + step["alpha"] * total) ** -step["beta"]).astype(step.x.dtype)


@operation("lrn_within_channel", size=REQUIRED, alpha=REQUIRED, beta=REQUIRED, bias=1.0, count_include_pad=True)
def _normalize_response_within(step: Step) -> jax.Array:
    """Computes x / (bias + alpha * mean of squares in a window) ** beta.

    ``size``: one number, or height and width. ``count_include_pad``: whether the window's padding counts, as zeros.
    """
    x, size = widen(step.x), step["size"]
    window = (size, size) if isinstance(size, int) else size
    padding = [((n - 1) // 2, n // 2) for n in window]
    include = step["count_include_pad"]
    mean = ops.avg_pool(jnp.square(x), window, strides=1, padding=padding, count_include_pad=include)
    return (x * (step["bias"] + step["alpha"] * mean) ** -step["beta"]).astype(step.x.dtype)


@operation("l2_normalize", optional=("scale",), axes=(-1,), epsilon=1e-12, rule="maximum")
def _normalize_length(step: Step) -> jax.Array:
    """Divides by the length over some axes, then multiplies by a scale.

    ``rule``: ``"maximum"`` divides by sqrt(max(sum, epsilon)), ``"add"`` by sqrt(sum + epsilon), ``"outside"`` by
    sqrt(sum) + epsilon.
    """
    x = widen(step.x)
    total = jnp.sum(jnp.square(x), step.axes(step["axes"]), keepdims=True)
    rule = step.choose("rule", "maximum", "add", "outside")
    if rule == "maximum":
        y = x * jax.lax.rsqrt(jnp.maximum(total, step["epsilon"]))
    elif rule == "add":
        y = x * jax.lax.rsqrt(total + step["epsilon"])
    else:
        y = x / (jnp.sqrt(total) + step["epsilon"])
    scale = step.parameters.get("scale")
    return (y if scale is None else y * step.spread(scale)).astype(step.x.dtype)


@operation("mean_variance_norm", optional=("scale", "bias"), axes=(-1,), epsilon=1e-5, variance=True, rule="add")
def _normalize_mean_variance(step: Step) -> jax.Array:
    """Subtracts the mean over some axes of each example and divides by the standard deviation: layer and instance norm.

    ``variance``: whether to divide. ``rule``: ``"add"`` divides by sqrt(variance + epsilon), ``"outside"`` by
    sqrt(variance) + epsilon.
    """
    x, axes = widen(step.x), step.axes(step["axes"])
    y = x - jnp.mean(x, axes, keepdims=True)
    if step["variance"]:
        variance = jnp.mean(jnp.square(y), axes, keepdims=True)
        add = step.choose("rule", "add", "outside") == "add"
        y = y * jax.lax.rsqrt(variance + step["epsilon"]) if add else y / (jnp.sqrt(variance) + step["epsilon"])
    scale, bias = step.parameters.get("scale"), step.parameters.get("bias")
    y = y if scale is None else y * step.spread(scale)
    return (y if bias is None else y + step.spread(bias)).astype(step.x.dtype)


@operation("group_norm", optional=("scale", "bias"), groups=REQUIRED, epsilon=1e-5)
def _normalize_groups(step: Step) -> jax.Array:
    """Normalizes groups of channels, each over its channels and all pixels."""
    x, groups = widen(step.x), step["groups"]
    parts = x.reshape(*x.shape[:-1], groups, x.shape[-1] // groups)
    axes = (*range(-1 - (x.ndim - step.leading), -2), -1)
    mean = jnp.mean(parts, axes, keepdims=True)
    variance = jnp.mean(jnp.square(parts - mean), axes, keepdims=True)
    y = ((parts - mean) * jax.lax.rsqrt(variance + step["epsilon"])).reshape(x.shape)
    scale, bias = step.parameters.get("scale"), step.parameters.get("bias")
    y = y if scale is None else y * step.spread(scale)
    return (y if bias is None else y + step.spread(bias)).astype(step.x.dtype)
