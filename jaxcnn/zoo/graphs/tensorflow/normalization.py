"""Batch normalization, fused, global, or spelled out as arithmetic; local response normalization."""

import dataclasses
from typing import Any

from jaxcnn.zoo.graphs.tensorflow.context import Context
from jaxcnn.zoo.graphs.tensorflow.quantization import read_ranges
from jaxcnn.zoo.graphs.tensorflow.table import SourceNode, handles
from jaxcnn.zoo.graphs.tensorflow.values import FoldedConstant, GraphValue, Result, UnsupportedNode

__all__ = ["match_batch_norm", "normalize"]

_ADDING = ("Add", "AddV2")
_MULTIPLYING = ("Mul",)


@dataclasses.dataclass
class _Moments:
    """The parts of a normalization as they are found."""

    mean: FoldedConstant | None = None
    var: FoldedConstant | None = None
    scale: FoldedConstant | None = None
    bias: FoldedConstant | None = None
    epsilon: float = 0.0


@handles("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
def normalize(
    ctx: Context, node: SourceNode, x: GraphValue, scale: Result, bias: Result, mean: Result, var: Result
) -> list[Any]:
    """Adds a batch normalization; its other outputs are the statistics."""
    first = node.text("data_format", "NHWC") in ("NCHW", "NCDHW")
    x = ctx.as_image(x, node, first, spatial=x.rank - 2)
    epsilon = node.number("epsilon", 1e-4)
    if not all(isinstance(one, FoldedConstant) for one in (scale, bias, mean, var)):
        raise UnsupportedNode("parameters that are not constant")
    if node.flag("is_training", True):
        ctx.builder.note(
            f"{node.name} normalizes by the batch also in inference; each example is normalized by itself, as in a "
            "batch of one."
        )
        paths = {"scale": ctx.parameter(scale, "scale", node), "bias": ctx.parameter(bias, "bias", node)}
        axes = tuple(range(x.rank - 2))
        options = {"axes": axes, "epsilon": epsilon}
        y = ctx.emit("mean_variance_norm", node, [x], x.dims, options=options, parameters=paths)
        return [y, mean, var, mean, var, mean]
    parts = _Moments(mean, var, scale, bias, epsilon)
    return [_add_batch_norm(ctx, node, x, parts), mean, var, mean, var, mean]


@handles("BatchNormWithGlobalNormalization")
def _global(
    ctx: Context, node: SourceNode, x: GraphValue, mean: Result, var: Result, beta: Result, gamma: Result
) -> GraphValue:
    x = ctx.as_image(x, node, False)
    if not all(isinstance(one, FoldedConstant) for one in (mean, var, beta, gamma)):
        raise UnsupportedNode("parameters that are not constant")
    scaled = node.flag("scale_after_normalization", False)
    epsilon = node.number("variance_epsilon", 0.0)
    return _add_batch_norm(ctx, node, x, _Moments(mean, var, gamma if scaled else None, beta, epsilon))


def _add_batch_norm(ctx: Context, node: SourceNode, x: GraphValue, parts: _Moments) -> GraphValue:
    """Adds the node, with parameters named after the variables."""
    channels = x.held[-1]
    paths = {}
    for role in ("mean", "var", "scale", "bias"):
        constant = getattr(parts, role)
        if constant is None:
            continue
        array = constant.array.reshape(-1)
        if isinstance(channels, int) and array.size != channels:
            raise ValueError(f"the {role} has {array.size} numbers for {channels} channels.")
        collection = "batch_stats" if role in ("mean", "var") else "params"
        paths[role] = ctx.parameter(constant, role, node, array, collection=collection)
    return ctx.emit("batch_norm", node, [x], x.dims, options={"epsilon": parts.epsilon}, parameters=paths)


def match_batch_norm(ctx: Context, node: SourceNode, a: Result, b: Result) -> GraphValue | None:
    """Recognizes the last operation of a batch normalization that is spelled out as arithmetic.

    ``x * m + (beta - mean * m)`` with ``m = gamma / sqrt(var + epsilon)``, as ``tf.nn.batch_normalization`` writes it,
    and ``(x - mean) * m + beta``, with or without gamma and beta.

    Args:
        ctx: The context.
        node: The addition or subtraction.
        a: Its first input.
        b: Its second input.

    Returns:
        The normalized value, or None if it is something else. What it consists of is absorbed.
    """
    if node.op not in (*_ADDING, "Sub"):
        return None
    if isinstance(a, FoldedConstant) and node.op in _ADDING:
        a, b = b, a
    if not isinstance(a, GraphValue) or not isinstance(b, FoldedConstant) or a.name not in ctx.made_of:
        return None
    op, made = ctx.made_of[a.name]
    if op not in _MULTIPLYING or len(made) != 2:
        return None
    first, second = made
    value, factor = (second, first) if isinstance(first, FoldedConstant) else (first, second)
    if not isinstance(value, GraphValue) or not isinstance(factor, FoldedConstant):
        return None
    parts = _read_factor(factor)
    if parts is None or parts.var is None or not _is_per_channel(value, parts.var):
        return None
    shift = b
    if node.op == "Sub":  # x * m - mean * m
        parts.mean = _read_product(shift, factor)
    elif shift.op == "Sub":
        parts.bias, parts.mean = shift.inputs[0], _read_product(shift.inputs[1], factor)
    elif shift.op == "Mul":
        parts.mean = _read_product(shift, factor, negative=True)
    inner = ctx.made_of.get(value.name)
    absorbed = [a.name]
    if parts.mean is None and node.op in _ADDING and inner is not None and inner[0] == "Sub":
        mean = inner[1][1]
        if (
            isinstance(inner[1][0], GraphValue)
            and isinstance(mean, FoldedConstant)
            and mean.array.size == parts.var.array.size
        ):
            absorbed.append(value.name)
            value, parts.mean, parts.bias = inner[1][0], mean, b
    found = (parts.mean, parts.scale, parts.bias)
    if parts.mean is None or not all(one is None or _is_like(one, parts.var) for one in found):
        return None
    ctx.absorbed.update(absorbed)
    return _add_batch_norm(ctx, node, value, parts)


def _read_factor(factor: FoldedConstant) -> _Moments | None:
    """Reads ``gamma / sqrt(var + epsilon)``; without gamma also ``1 / sqrt(var + epsilon)``."""
    inverse, gamma = factor, None
    if factor.op == "Mul":
        for place in (0, 1):
            if factor.inputs[place].op == "Rsqrt":
                inverse, gamma = factor.inputs[place], factor.inputs[1 - place]
                break
    elif factor.op in ("RealDiv", "Div") and factor.inputs[1].op == "Sqrt":
        inverse, gamma = factor.inputs[1], factor.inputs[0]
    if inverse.op not in ("Rsqrt", "Sqrt") or (inverse.op == "Sqrt" and gamma is None):
        return None
    total = inverse.inputs[0]
    if total.op not in _ADDING:
        return None
    for place in (0, 1):
        epsilon, var = total.inputs[place], total.inputs[1 - place]
        if epsilon.array.size == 1 and var.array.size >= 1 and not epsilon.trained and (var.array.size > 1 or var.name):
            return _Moments(var=var, scale=gamma, epsilon=float(epsilon.array.reshape(-1)[0]))
    return None


def _read_product(found: FoldedConstant, factor: FoldedConstant, *, negative: bool = False) -> FoldedConstant | None:
    """Reads the mean of ``mean * m``, or of ``-mean * m``."""
    if found.op != "Mul":
        return None
    for place in (0, 1):
        if found.inputs[place] is factor:
            other = found.inputs[1 - place]
            if not negative:
                return other
            return other.inputs[0] if other.op == "Neg" else None
    return None


def _is_per_channel(value: GraphValue, var: FoldedConstant) -> bool:
    """Tests whether the variance has a number per channel, where TensorFlow's order puts them."""
    shape, channels = var.array.shape, value.held[-1]
    if var.array.size != channels or value.rank < 2:
        return False
    axis = -(value.rank - 1) if value.first else -1
    padded = (1,) * (value.rank - len(shape)) + shape
    return len(shape) <= value.rank and padded[axis] == channels


def _is_like(one: FoldedConstant, var: FoldedConstant) -> bool:
    """Tests whether a parameter has as many numbers as the variance."""
    return one.array.dtype != object and one.array.size == var.array.size


@handles("LRN")
def _lrn(ctx: Context, node: SourceNode, x: GraphValue) -> GraphValue:
    x = ctx.as_image(x, node, False)
    radius = node.integer("depth_radius", 5)
    if not 0 <= radius < 1 << 16:
        raise ValueError(f"depth_radius must be in [0, 65536), got {radius}.")
    options = {
        "size": 2 * radius + 1,
        "alpha": node.number("alpha", 1.0),
        "beta": node.number("beta", 0.5),
        "bias": node.number("bias", 1.0),
    }
    return ctx.emit("lrn", node, [x], x.dims, options=options)


@handles("L2Loss")
def _refuse(ctx: Context, node: SourceNode, *inputs: Result) -> GraphValue:
    raise UnsupportedNode("a loss")


@handles("FakeQuantWithMinMaxArgs", "FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel")
def _quantize(ctx: Context, node: SourceNode, x: GraphValue, *ends: Result) -> GraphValue:
    if not all(isinstance(one, FoldedConstant) for one in ends):
        raise UnsupportedNode("a range that is not constant")
    lows, highs, levels = read_ranges(node, *(one.array for one in ends))
    if lows.size > 1:
        x = ctx.to_source(x, node)
    if lows.size not in (1, x.dims[-1]):
        raise ValueError(f"it has {lows.size} ranges for {x.dims[-1]} channels.")
    minimum, maximum = (one.tolist() if one.size > 1 else one.item() for one in (lows, highs))
    options = {"minimum": minimum, "maximum": maximum, "levels": levels}
    return ctx.emit("quantize", node, [x], x.dims, options=options)
