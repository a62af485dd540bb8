"""Arithmetic: of two values, of a value and a constant, of one value, and along axes."""

import dataclasses
from typing import Any

import numpy as np

from jaxcnn.zoo.graphs.tensorflow.context import Context
from jaxcnn.zoo.graphs.tensorflow.control import is_true
from jaxcnn.zoo.graphs.tensorflow.folding import numbers
from jaxcnn.zoo.graphs.tensorflow.normalization import match_batch_norm
from jaxcnn.zoo.graphs.tensorflow.table import SourceNode, handles
from jaxcnn.zoo.graphs.tensorflow.values import (
    FoldedConstant,
    GraphValue,
    Noise,
    Result,
    UnsupportedNode,
    broadcast_dims,
)

__all__ = ["UNARY", "combine"]

_BINARY = {
    **{"Add": "add", "AddV2": "add", "BiasAdd": "add", "BiasAddV1": "add", "Sub": "subtract", "Mul": "multiply"},
    **{"RealDiv": "divide", "Div": "divide", "DivNoNan": "divide", "Maximum": "maximum", "Minimum": "minimum"},
    **{"Pow": "pow", "FloorDiv": "floor_divide", "FloorMod": "floor_mod", "SquaredDifference": "squared_difference"},
}

UNARY = {
    **{"Neg": "negative", "Exp": "exp", "Log": "log", "Sqrt": "sqrt", "Rsqrt": "rsqrt", "Square": "square"},
    **{"Abs": "abs", "Round": "round", "Rint": "round", "Floor": "floor", "Ceil": "ceil", "Sign": "sign"},
    **{"Erf": "erf", "Erfc": "erfc", "Reciprocal": "reciprocal", "Inv": "reciprocal", "Sin": "sin", "Cos": "cos"},
    **{"Relu": "relu", "Elu": "elu", "Selu": "selu", "Softplus": "softplus", "Softsign": "softsign"},
    **{"Sigmoid": "sigmoid", "Tanh": "tanh", "Silu": "swish"},
}
_REDUCTIONS = {"Mean": "mean", "Sum": "sum", "Max": "max", "Min": "min", "Prod": "prod"}
_COMPARISONS = {"Greater": "greater", "GreaterEqual": "greater_equal", "Less": "less", "LessEqual": "less_equal"}
_NEUTRAL = {"add": 0, "subtract": 0, "multiply": 1, "divide": 1}


@handles(*UNARY)
def _apply(ctx: Context, node: SourceNode, x: Result) -> Result:
    if isinstance(x, Noise):
        if node.op == "Floor" and x.keep is None:
            return Noise(keep=min(max(x.low, 0.0), 1.0)) if x.low < 1 else FoldedConstant(np.asarray(1, np.float32))
        raise UnsupportedNode("random numbers")
    return ctx.emit(UNARY[node.op], node, [x], x.dims)


@handles("Relu6")
def _relu6(ctx: Context, node: SourceNode, x: GraphValue) -> GraphValue:
    return ctx.emit("relu", node, [x], x.dims, options={"max_value": 6.0})


@handles("LeakyRelu")
def _leaky_relu(ctx: Context, node: SourceNode, x: GraphValue) -> GraphValue:
    return ctx.emit("relu", node, [x], x.dims, options={"negative_slope": node.number("alpha", 0.2)})


@handles("Softmax", "LogSoftmax")
def _softmax(ctx: Context, node: SourceNode, x: GraphValue) -> GraphValue:
    x = ctx.to_source(x, node) if x.first else x
    x.axis(-1)
    return ctx.emit("softmax" if node.op == "Softmax" else "log_softmax", node, [x], x.dims)


@handles("Cast")
def _cast(ctx: Context, node: SourceNode, x: Result) -> Result:
    dtype = node.text("DstT", "float32")
    if isinstance(x, Noise):
        return x
    floating = dtype.startswith(("float", "bfloat"))
    if floating and x.dtype.startswith(("float", "bfloat")):
        return dataclasses.replace(x, dtype=dtype)
    if floating:
        return ctx.emit("cast", node, [x], x.dims, options={"dtype": "float32"}, dtype=dtype)
    if dtype not in ("int32", "int64", "uint8", "int8", "int16", "uint16", "bool"):
        raise UnsupportedNode(f"the dtype {dtype}")
    narrow = "int32" if dtype == "int64" else dtype
    return ctx.emit("cast", node, [x], x.dims, options={"dtype": narrow}, dtype=dtype)


@handles("ClipByValue")
def _clip(ctx: Context, node: SourceNode, x: GraphValue, low: Result, high: Result) -> GraphValue:
    ends = {"minimum": scalar(low), "maximum": scalar(high)}
    return ctx.emit("clip", node, [x], x.dims, options=ends)


def scalar(found: Result) -> float:
    """Returns a constant that is one number.

    Raises:
        Unsupported: If it is none.
    """
    if isinstance(found, FoldedConstant) and found.array.dtype != object and found.array.size == 1:
        return float(found.array.reshape(-1)[0])
    raise UnsupportedNode("a number that is not constant")


@handles("AddN", "AccumulateNV2")
def _add_all(ctx: Context, node: SourceNode, *inputs: Result) -> Result:
    total, *others = sorted(inputs, key=lambda one: isinstance(one, FoldedConstant))
    for number, other in enumerate(others):
        step = node if number == len(others) - 1 else dataclasses.replace(node, name=f"{node.name}/sum_{number}")
        total = combine(ctx, step, "add", total, other)
    return total


@handles(*_BINARY)
def _combine(ctx: Context, node: SourceNode, a: Result, b: Result) -> Result:
    if isinstance(a, Noise) or isinstance(b, Noise):
        return _combine_noise(ctx, node, a, b)
    if node.op == "BiasAdd":
        channels_first = node.text("data_format", "NHWC") in ("NCHW", "NCDHW")
        if isinstance(b, FoldedConstant) and channels_first and b.array.ndim == 1:
            shaped = b.array.reshape(-1, *(1,) * (a.rank - 2))
            b = FoldedConstant(shaped, op=node.op, inputs=(b,), trained=True)
    found = match_batch_norm(ctx, node, a, b)
    if found is None:
        found = _match_prelu(ctx, node, a, b) or _match_prelu(ctx, node, b, a)
    return found if found is not None else combine(ctx, node, _BINARY[node.op], a, b)


def _match_prelu(ctx: Context, node: SourceNode, above: Result, below: Result) -> GraphValue | None:
    """Recognizes ``relu(x) + -slope * relu(-x)``, as Keras writes a rectifier with a trained slope."""
    if node.op not in ("Add", "AddV2") or not isinstance(above, GraphValue) or not isinstance(below, GraphValue):
        return None
    op, inputs = ctx.made_of.get(above.name, ("", ()))
    second, factors = ctx.made_of.get(below.name, ("", ()))
    if op != "Relu" or second != "Mul" or len(factors) != 2:
        return None
    factor, rectified = factors if isinstance(factors[0], FoldedConstant) else factors[::-1]
    if not isinstance(factor, FoldedConstant) or factor.op != "Neg" or not isinstance(rectified, GraphValue):
        return None
    third, negated = ctx.made_of.get(rectified.name, ("", ()))
    inner = ctx.made_of.get(negated[0].name) if third == "Relu" else None
    if inner is None or inner[0] != "Neg":
        return None
    x, slope = inputs[0], factor.inputs[0].array
    while slope.ndim > 1 and slope.shape[0] == 1:
        slope = slope[0]
    if inner[1][0].name != x.name or x.first or slope.ndim > len(x.held):
        return None
    ctx.absorbed.update((above.name, below.name, rectified.name, negated[0].name))
    paths = {"slope": ctx.parameter(factor.inputs[0], "slope", node, slope)}
    return ctx.emit("prelu", node, [x], x.dims, parameters=paths)


def combine(ctx: Context, node: SourceNode, op: str, a: Result, b: Result) -> GraphValue:
    """Adds a node for the arithmetic of two values, or of a value and a constant."""
    if isinstance(a, FoldedConstant):
        result = _combine_constant(ctx, node, op, ctx.value(b), a, constant_first=True)
    elif isinstance(b, FoldedConstant):
        result = _combine_constant(ctx, node, op, ctx.value(a), b, constant_first=False)
    else:
        result = _combine_values(ctx, node, op, a, b)
    ctx.made_of[result.name] = (node.op, (a, b))
    return result


def _combine_values(ctx: Context, node: SourceNode, op: str, a: GraphValue, b: GraphValue) -> GraphValue:
    if a.first != b.first:
        small, large = (a, b) if a.rank < b.rank else (b, a)
        if small.rank == large.rank or small.rank > 0:
            a, b = ctx.to_source(a, node), ctx.to_source(b, node)
    if a.blocks != b.blocks:
        raise UnsupportedNode("maps that are cut into different blocks")
    if a.batch != b.batch and "none" not in (a.batch, b.batch):
        raise UnsupportedNode("values of different batches")
    if a.rank != b.rank and a.batch == b.batch != "none":
        raise UnsupportedNode("values of different ranks")
    if a.rank != b.rank and a.first:
        a, b = ctx.to_source(a, node), ctx.to_source(b, node)
    like = a if a.batch != "none" else b
    first = a.first if a.rank >= b.rank else b.first
    return ctx.emit(op, node, [a, b], broadcast_dims(a.dims, b.dims), like=like, first=first)


def _combine_constant(
    ctx: Context, node: SourceNode, op: str, value: GraphValue, constant: FoldedConstant, *, constant_first: bool
) -> GraphValue:
    array = constant.array
    if array.dtype == object:
        raise UnsupportedNode("arithmetic with a size that is not known")
    if array.ndim > value.rank and not (array.ndim == 1 and array.size == 1):
        raise UnsupportedNode("a constant of more axes than the value")
    options: dict[str, Any] = {"constant_first": True} if constant_first else {}
    if array.size == 1 and not constant.trained:
        number = array.reshape(-1)[0]
        if number == _NEUTRAL.get(op) and not (constant_first and op in ("subtract", "divide")):
            return value
        options["value"] = float(number) if array.dtype.kind not in "iub" else int(number)
        return ctx.emit(op, node, [value], value.dims, options=options)
    dims = broadcast_dims(value.dims, array.shape)
    if value.blocks is not None and array.ndim > 1 and any(size != 1 for size in array.shape[:-1]):
        raise UnsupportedNode("arithmetic of pixels between SpaceToBatch and BatchToSpace")
    if array.ndim == value.rank and value.batch == "leading":
        if array.shape[0] != 1:
            raise UnsupportedNode("a constant with a value per example")
        array = array[0]
    if value.first:
        array = array.reshape((1,) * (len(value.example) - array.ndim) + array.shape)
        array = np.moveaxis(array, 0, -1)
    while array.ndim > 1 and array.shape[0] == 1 and array.ndim > 0:
        array = array[0]
    role = "scale" if op in ("multiply", "divide") else "bias"
    collection = "params" if constant.trained or node.op.startswith("BiasAdd") else "constants"
    path = ctx.parameter(constant, role, node, array, collection=collection)
    return ctx.emit(op, node, [value], dims, options=options, parameters={"constant": path})


def _combine_noise(ctx: Context, node: SourceNode, a: Result, b: Result) -> Result:
    """Follows the arithmetic of dropout: floor(keep + noise), or noise >= rate, times the value."""
    noise, other = (a, b) if isinstance(a, Noise) else (b, a)
    if noise.keep is None and isinstance(other, FoldedConstant):
        number = scalar(other)
        if node.op in ("Add", "AddV2", "Sub"):
            return Noise(noise.low + (number if node.op != "Sub" else -number))
        if node.op == "Mul" and number == 1:
            return noise
        raise UnsupportedNode("random numbers")
    if noise.keep is not None and isinstance(other, GraphValue) and node.op == "Mul":
        if noise.keep <= 0:
            raise UnsupportedNode("dropout that keeps nothing")
        dropped = ctx.emit("dropout", node, [other], other.dims, options={"rate": 1 - noise.keep}, suffix="/dropout")
        return ctx.emit("multiply", node, [dropped], other.dims, options={"value": noise.keep})
    raise UnsupportedNode("random numbers")


@handles(*_COMPARISONS)
def _compare(ctx: Context, node: SourceNode, a: Result, b: Result) -> Result:
    if isinstance(a, Noise) and node.op.startswith("Greater"):
        rate = scalar(b) - a.low
        return Noise(keep=1 - min(max(rate, 0.0), 1.0)) if rate > 0 else FoldedConstant(np.asarray(True))
    if isinstance(a, Noise) or isinstance(b, Noise):
        raise UnsupportedNode("random numbers")
    return dataclasses.replace(combine(ctx, node, _COMPARISONS[node.op], a, b), dtype="bool")


@handles("Select", "SelectV2")
def _select(ctx: Context, node: SourceNode, condition: Result, a: Result, b: Result) -> Result:
    if isinstance(condition, FoldedConstant) and condition.array.ndim == 0:
        return a if is_true(condition) else b
    if not isinstance(condition, GraphValue):
        raise UnsupportedNode("a condition that is not known")
    numbers = [scalar(one) if isinstance(one, FoldedConstant) else None for one in (a, b)]
    values = [condition, *(one for one in (a, b) if isinstance(one, GraphValue))]
    if len(values) + sum(one is not None for one in numbers) != 3:
        raise UnsupportedNode("random numbers")
    if any((one.first, one.batch, one.blocks) != (condition.first, condition.batch, None) for one in values):
        raise UnsupportedNode("values of different orders")
    dims = broadcast_dims(*(one.dims for one in values))
    return ctx.emit("select", node, values, dims, like=values[-1], options={"numbers": numbers})


@handles(*_REDUCTIONS)
def _reduce(ctx: Context, node: SourceNode, x: GraphValue, axes: Result) -> GraphValue:
    if not isinstance(axes, FoldedConstant):
        raise UnsupportedNode("axes that are not constant")
    keep = node.flag("keep_dims", node.flag("keepdims", False))
    chosen = sorted({axis % x.rank for axis in numbers(axes.array, "the axes") if -x.rank <= axis < x.rank})
    if not chosen:
        return x
    if x.first and not keep and len(chosen) < 3 and chosen != [2, 3]:
        x = ctx.to_source(x, node)
    held = sorted(x.axis(axis) for axis in chosen)
    dims = [1 if at in chosen else size for at, size in enumerate(x.dims) if keep or at not in chosen]
    first = x.first and keep
    if node.op == "Mean" and x.rank == 4 and held == [0, 1]:
        return ctx.emit("global_avg_pool", node, [x], dims, options={"keepdims": keep}, first=first)
    options = {"axes": held, "keepdims": keep}
    return ctx.emit(f"reduce_{_REDUCTIONS[node.op]}", node, [x], dims, options=options, first=first)


@handles("ArgMax")
def _argmax(ctx: Context, node: SourceNode, x: GraphValue, axis: Result) -> GraphValue:
    if not isinstance(axis, FoldedConstant):
        raise UnsupportedNode("an axis that is not constant")
    x = ctx.to_source(x, node)
    at = numbers(axis.array, "the axis")[0]
    dims = [size for place, size in enumerate(x.dims) if place != at % x.rank]
    return ctx.emit("argmax", node, [x], dims, options={"axis": x.axis(at)}, dtype="int64")
