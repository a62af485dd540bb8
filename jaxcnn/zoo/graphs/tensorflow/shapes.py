"""Operations that move values without changing them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcnn.zoo.graphs.tensorflow.context import Context
from jaxcnn.zoo.graphs.tensorflow.folding import numbers
from jaxcnn.zoo.graphs.tensorflow.reshaping import reshape, resolve_shape
from jaxcnn.zoo.graphs.tensorflow.sizes import BATCH, Dimension
from jaxcnn.zoo.graphs.tensorflow.table import SourceNode, handles
from jaxcnn.zoo.graphs.tensorflow.values import FoldedConstant, GraphValue, Result, UnsupportedNode

__all__ = ["insert_axis", "drop_example_axes", "require_constant"]


def require_constant(found: Result, what: str) -> np.ndarray:
    """Returns the array of a constant; of anything else it says that ``what`` is not known."""
    if not isinstance(found, FoldedConstant):
        raise UnsupportedNode(f"{what} that is not constant")
    return found.array


@handles("Reshape")
def _reshape(ctx: Context, node: SourceNode, x: GraphValue, shape: Result) -> GraphValue:
    array = require_constant(shape, "a shape")
    if array.ndim != 1 or array.size > 16:
        raise ValueError(f"its shape has the shape {array.shape}.")
    return reshape(ctx, node, x, resolve_shape(x, array.tolist(), ctx.fixed_batch))


@handles("Squeeze")
def _squeeze(ctx: Context, node: SourceNode, x: GraphValue) -> GraphValue:
    axes = node.integers("squeeze_dims", node.integers("axis"))
    if not axes:
        axes = [at for at, size in enumerate(x.dims) if isinstance(size, int) and size == 1]
    chosen = {axis % x.rank for axis in axes if -x.rank <= axis < x.rank}
    if len(chosen) != len(axes):
        raise ValueError(f"the axes {axes} do not fit a value of {x.rank} axes.")
    if x.batch == "leading" and 0 in chosen:
        if ctx.fixed_batch not in (None, 1) or x.rank == 1:
            raise UnsupportedNode("an operation along the batch")
        x = dataclasses.replace(ctx.to_source(x, node), batch="none", dims=(1, *x.dims[1:]))
        found = dataclasses.replace(x, dims=x.dims[1:])
        rest = sorted(axis - 1 for axis in chosen if axis)
        return drop_example_axes(ctx, node, found, rest) if rest else found
    return drop_example_axes(ctx, node, x, sorted(chosen))


def drop_example_axes(ctx: Context, node: SourceNode, x: GraphValue, axes: list[int]) -> GraphValue:
    """Drops axes of size 1."""
    if any(isinstance(x.dims[axis], int) and x.dims[axis] != 1 for axis in axes):
        raise ValueError(f"it drops the axes {axes} of the shape {x.dims}.")
    if not axes:
        return x
    kept = [size for at, size in enumerate(x.dims) if at not in axes]
    if x.first and axes != [2, 3]:
        x = ctx.to_source(x, node)
    options = {"axes": sorted(x.axis(axis) for axis in axes)}
    return ctx.emit("squeeze", node, [x], kept, options=options, first=False)


@handles("ExpandDims")
def insert_axis(ctx: Context, node: SourceNode, x: GraphValue, axis: Result) -> GraphValue:
    """Adds a node for an axis of size 1, or makes a single example a batch."""
    at = numbers(require_constant(axis, "an axis"), "the axis")[0]
    if not -x.rank - 1 <= at <= x.rank:
        raise ValueError(f"the axis {at} does not fit a value of {x.rank} axes.")
    at %= x.rank + 1
    x = ctx.to_source(x, node)
    if at == 0:
        if x.batch == "none":
            ctx.fixed_batch = 1
            return dataclasses.replace(x, batch="leading", dims=(BATCH, *x.dims))
        raise UnsupportedNode("an axis before the batch")
    dims = (*x.dims[:at], 1, *x.dims[at:])
    held = at - (x.batch == "leading")
    return ctx.emit("expand_dims", node, [x], dims, options={"axis": held})


@handles("Transpose")
def _transpose(ctx: Context, node: SourceNode, x: GraphValue, axes: Result) -> GraphValue:
    order = numbers(require_constant(axes, "an order of axes"), "the order")
    order = [axis % x.rank for axis in order]
    if sorted(order) != list(range(x.rank)):
        raise ValueError(f"the order {order} does not fit a value of {x.rank} axes.")
    dims = [x.dims[axis] for axis in order]
    if order == list(range(x.rank)):
        return x
    if x.batch == "leading" and x.rank == 4 and x.blocks is None:  # images are held channels last anyway
        if order == [0, 3, 1, 2] and not x.first:
            return dataclasses.replace(x, dims=tuple(dims), first=True, transposed=node.name)
        if order == [0, 2, 3, 1] and x.first:
            return dataclasses.replace(x, dims=tuple(dims), first=False, transposed="")
    x = ctx.to_source(x, node)
    if x.batch != "none" and order[0] != 0:
        raise UnsupportedNode("moving the batch to another axis")
    shift = x.batch == "leading"
    options = {"axes": [axis - shift for axis in order if not (shift and axis == 0)]}
    return ctx.emit("permute", node, [x], dims, options=options)


@handles("Concat", "ConcatV2")
def _concat(ctx: Context, node: SourceNode, *inputs: Result) -> GraphValue:
    axis, parts = (inputs[0], inputs[1:]) if node.op == "Concat" else (inputs[-1], inputs[:-1])
    at = numbers(require_constant(axis, "an axis"), "the axis")[0]
    values = _align(ctx, node, parts)
    first = values[0]
    held = first.axis(at)
    at %= first.rank
    if len(values) == 1:
        return first
    total: Dimension = 0
    for value in values:
        total = total + value.dims[at]
    dims = [*first.dims[:at], total, *first.dims[at + 1 :]]
    return ctx.emit("concat", node, values, dims, options={"axis": held})


@handles("Pack")
def _pack(ctx: Context, node: SourceNode, *inputs: Result) -> GraphValue:
    values = [ctx.to_source(value, node) for value in _align(ctx, node, inputs)]
    first, axis = values[0], node.integer("axis", 0)
    if not -first.rank - 1 <= axis <= first.rank:
        raise ValueError(f"the axis {axis} does not fit a value of {first.rank} axes.")
    axis %= first.rank + 1
    if first.batch != "none" and axis == 0:
        raise UnsupportedNode("stacking along the batch")
    if first.batch == "none" and axis == 0 and len(values) == 1:
        ctx.fixed_batch = 1
        return dataclasses.replace(first, batch="leading", dims=(BATCH, *first.dims))
    dims = [*first.dims[:axis], len(values), *first.dims[axis:]]
    return ctx.emit("stack", node, values, dims, options={"axis": axis - (first.batch == "leading")})


def _align(ctx: Context, node: SourceNode, parts: Sequence[Result]) -> list[GraphValue]:
    """Brings values that are joined to one order; constants among them become nodes."""
    values = [part for part in parts if isinstance(part, GraphValue)]
    if not values:
        raise UnsupportedNode("no value")
    if len({value.first for value in values}) > 1 or any(isinstance(part, FoldedConstant) for part in parts):
        parts = [ctx.to_source(part, node) if isinstance(part, GraphValue) else part for part in parts]
        values = [part for part in parts if isinstance(part, GraphValue)]
    like = values[0]
    result = [
        _hold(ctx, node, part, like, at) if isinstance(part, FoldedConstant) else part for at, part in enumerate(parts)
    ]
    if any((one.rank, one.batch, one.blocks) != (like.rank, like.batch, like.blocks) for one in result):
        raise UnsupportedNode("values of different ranks or batches")
    return result


def _hold(ctx: Context, node: SourceNode, constant: FoldedConstant, like: GraphValue, place: int) -> GraphValue:
    """Adds a node for a constant that is joined with values."""
    array = constant.array
    if array.dtype == object:
        raise UnsupportedNode("a size that is not known")
    if like.batch == "merged" or array.ndim != like.rank or (like.batch == "leading" and array.shape[0] != 1):
        raise UnsupportedNode("a constant joined with values along the batch")
    held = array[0] if like.batch == "leading" else array
    path = ctx.parameter(constant, "value", node, held, collection="constants")
    dims = (like.dims[0], *held.shape) if like.batch == "leading" else held.shape
    return ctx.emit("constant", node, [], dims, like=like, parameters={"constant": path}, suffix=f"/input_{place}")


@handles("Pad", "PadV2", "MirrorPad")
def _pad(ctx: Context, node: SourceNode, x: GraphValue, padding: Result, *value: Result) -> GraphValue:
    array = require_constant(padding, "a padding")
    if array.shape != (x.rank, 2) or array.dtype == object:
        raise ValueError(f"its padding has the shape {array.shape} for a value of {x.rank} axes.")
    pairs = [(int(low), int(high)) for low, high in array.tolist()]
    if any(not 0 <= size < 1 << 20 for pair in pairs for size in pair):
        raise ValueError(f"it pads by {pairs}.")
    if x.batch != "none" and pairs[0] != (0, 0):
        raise UnsupportedNode("an operation along the batch")
    held = [(0, 0)] * len(x.held)
    for axis in range(x.batch != "none", x.rank):
        held[x.axis(axis)] = pairs[axis]
    options: dict[str, Any] = {"padding": held}
    if node.op == "MirrorPad":
        options["mode"] = "reflect" if node.text("mode", "REFLECT") == "REFLECT" else "symmetric"
    elif value:
        options["value"] = float(require_constant(value[0], "a value").reshape(-1)[0])
    dims = [size + low + high for size, (low, high) in zip(x.dims, pairs, strict=True)]
    return ctx.emit("pad", node, [x], dims, options=options)


@handles("Tile")
def _tile(ctx: Context, node: SourceNode, x: GraphValue, repeats: Result) -> GraphValue:
    counts = numbers(require_constant(repeats, "a number of repeats"), "the repeats")
    if len(counts) != x.rank or min(counts, default=1) < 1:
        raise ValueError(f"the repeats {counts} do not fit a value of {x.rank} axes.")
    if x.batch != "none" and counts[0] != 1:
        raise UnsupportedNode("repeating the batch")
    held = [1] * len(x.held)
    for axis in range(x.batch != "none", x.rank):
        held[x.axis(axis)] = counts[axis]
    dims = [size * count for size, count in zip(x.dims, counts, strict=True)]
    return ctx.emit("tile", node, [x], dims, options={"repeats": held})


@handles("ReverseV2")
def _reverse(ctx: Context, node: SourceNode, x: GraphValue, axes: Result) -> GraphValue:
    held = [x.axis(axis) for axis in numbers(require_constant(axes, "axes"), "the axes")]
    return ctx.emit("reverse", node, [x], x.dims, options={"axes": held})


@handles("BroadcastTo")
def _broadcast(ctx: Context, node: SourceNode, x: GraphValue, shape: Result) -> GraphValue:
    wanted = require_constant(shape, "a shape").tolist()
    if tuple(wanted) == x.dims:
        return x
    if len(wanted) != x.rank or wanted[0] != x.dims[0]:
        raise UnsupportedNode("broadcasting along the batch")
    repeats = [1 if new == old else new for new, old in zip(wanted, x.dims, strict=True)]
    if not all(isinstance(one, int) for one in repeats):
        raise UnsupportedNode("a shape that is not known")
    return _tile(ctx, node, x, FoldedConstant(np.asarray(repeats)))


@handles("ZerosLike", "OnesLike")
def _fill_like(ctx: Context, node: SourceNode, x: GraphValue) -> GraphValue:
    zero = ctx.emit("multiply", node, [x], x.dims, options={"value": 0.0}, suffix="/zero")
    return zero if node.op == "ZerosLike" else ctx.emit("add", node, [zero], x.dims, options={"value": 1.0})
