"""Operations that move values without changing them."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcnn.zoo.graphs.tensorflow.context import Context
from jaxcnn.zoo.graphs.tensorflow.folding import numbers
from jaxcnn.zoo.graphs.tensorflow.reshaping import reshape, resolve_shape
from jaxcnn.zoo.graphs.tensorflow.sizes import BATCH, Dimension, Size
from jaxcnn.zoo.graphs.tensorflow.slicing import read_strided_slice
from jaxcnn.zoo.graphs.tensorflow.table import SourceNode, handles
from jaxcnn.zoo.graphs.tensorflow.values import Constant, Result, Unsupported, Value

__all__: list[str] = []


def _constant(found: Result, what: str) -> np.ndarray:
    if not isinstance(found, Constant):
        raise Unsupported(f"{what} that is not constant")
    return found.array


@handles("Reshape")
def _reshape(ctx: Context, node: SourceNode, x: Value, shape: Result) -> Value:
    array = _constant(shape, "a shape")
    if array.ndim != 1 or array.size > 16:
        raise ValueError(f"its shape has the shape {array.shape}.")
    return reshape(ctx, node, x, resolve_shape(x, array.tolist(), ctx.fixed_batch))


@handles("Squeeze")
def _squeeze(ctx: Context, node: SourceNode, x: Value) -> Value:
    axes = node.integers("squeeze_dims", node.integers("axis"))
    if not axes:
        axes = [at for at, size in enumerate(x.dims) if isinstance(size, int) and size == 1]
    chosen = {axis % x.rank for axis in axes if -x.rank <= axis < x.rank}
    if len(chosen) != len(axes):
        raise ValueError(f"the axes {axes} do not fit a value of {x.rank} axes.")
    if x.batch == "leading" and 0 in chosen:
        if ctx.fixed_batch not in (None, 1) or x.rank == 1:
            raise Unsupported("an operation along the batch")
        x = dataclasses.replace(ctx.to_source(x, node), batch="none", dims=(1, *x.dims[1:]))
        found = dataclasses.replace(x, dims=x.dims[1:])
        rest = sorted(axis - 1 for axis in chosen if axis)
        return _drop(ctx, node, found, rest) if rest else found
    return _drop(ctx, node, x, sorted(chosen))


def _drop(ctx: Context, node: SourceNode, x: Value, axes: list[int]) -> Value:
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
def _expand(ctx: Context, node: SourceNode, x: Value, axis: Result) -> Value:
    at = numbers(_constant(axis, "an axis"), "the axis")[0]
    if not -x.rank - 1 <= at <= x.rank:
        raise ValueError(f"the axis {at} does not fit a value of {x.rank} axes.")
    at %= x.rank + 1
    x = ctx.to_source(x, node)
    if at == 0:
        if x.batch == "none":
            ctx.fixed_batch = 1
            return dataclasses.replace(x, batch="leading", dims=(BATCH, *x.dims))
        raise Unsupported("an axis before the batch")
    dims = (*x.dims[:at], 1, *x.dims[at:])
    held = at - (x.batch == "leading")
    return ctx.emit("expand_dims", node, [x], dims, options={"axis": held})


@handles("Transpose")
def _transpose(ctx: Context, node: SourceNode, x: Value, axes: Result) -> Value:
    order = numbers(_constant(axes, "an order of axes"), "the order")
    order = [axis % x.rank for axis in order]
    if sorted(order) != list(range(x.rank)):
        raise ValueError(f"the order {order} does not fit a value of {x.rank} axes.")
    dims = [x.dims[axis] for axis in order]
    if order == list(range(x.rank)):
        return x
    if x.batch == "leading" and x.rank == 4 and x.blocks is None:  # images are held channels last anyway
        if order == [0, 3, 1, 2] and not x.first:
            return dataclasses.replace(x, dims=tuple(dims), first=True)
        if order == [0, 2, 3, 1] and x.first:
            return dataclasses.replace(x, dims=tuple(dims), first=False)
    x = ctx.to_source(x, node)
    if x.batch != "none" and order[0] != 0:
        raise Unsupported("moving the batch to another axis")
    shift = x.batch == "leading"
    options = {"axes": [axis - shift for axis in order if not (shift and axis == 0)]}
    return ctx.emit("permute", node, [x], dims, options=options)


@handles("Concat", "ConcatV2")
def _concat(ctx: Context, node: SourceNode, *inputs: Result) -> Value:
    axis, parts = (inputs[0], inputs[1:]) if node.op == "Concat" else (inputs[-1], inputs[:-1])
    at = numbers(_constant(axis, "an axis"), "the axis")[0]
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
def _pack(ctx: Context, node: SourceNode, *inputs: Result) -> Value:
    values = [ctx.to_source(value, node) for value in _align(ctx, node, inputs)]
    first, axis = values[0], node.integer("axis", 0)
    if not -first.rank - 1 <= axis <= first.rank:
        raise ValueError(f"the axis {axis} does not fit a value of {first.rank} axes.")
    axis %= first.rank + 1
    if first.batch != "none" and axis == 0:
        raise Unsupported("stacking along the batch")
    if first.batch == "none" and axis == 0 and len(values) == 1:
        ctx.fixed_batch = 1
        return dataclasses.replace(first, batch="leading", dims=(BATCH, *first.dims))
    dims = [*first.dims[:axis], len(values), *first.dims[axis:]]
    return ctx.emit("stack", node, values, dims, options={"axis": axis - (first.batch == "leading")})


def _align(ctx: Context, node: SourceNode, parts: Sequence[Result]) -> list[Value]:
    """Brings values that are joined to one order; constants among them become nodes."""
    values = [part for part in parts if isinstance(part, Value)]
    if not values:
        raise Unsupported("no value")
    if len({value.first for value in values}) > 1 or any(isinstance(part, Constant) for part in parts):
        parts = [ctx.to_source(part, node) if isinstance(part, Value) else part for part in parts]
        values = [part for part in parts if isinstance(part, Value)]
    like = values[0]
    result = [_hold(ctx, node, part, like, at) if isinstance(part, Constant) else part for at, part in enumerate(parts)]
    if any((one.rank, one.batch, one.blocks) != (like.rank, like.batch, like.blocks) for one in result):
        raise Unsupported("values of different ranks or batches")
    return result


def _hold(ctx: Context, node: SourceNode, constant: Constant, like: Value, place: int) -> Value:
    """Adds a node for a constant that is joined with values."""
    array = constant.array
    if array.dtype == object:
        raise Unsupported("a size that is not known")
    if like.batch == "merged" or array.ndim != like.rank or (like.batch == "leading" and array.shape[0] != 1):
        raise Unsupported("a constant joined with values along the batch")
    held = array[0] if like.batch == "leading" else array
    path = ctx.parameter(constant, "value", node, held, collection="constants")
    dims = (like.dims[0], *held.shape) if like.batch == "leading" else held.shape
    return ctx.emit("constant", node, [], dims, like=like, parameters={"constant": path}, suffix=f"/input_{place}")


@handles("Split", "SplitV", "Unpack")
def _split(ctx: Context, node: SourceNode, *inputs: Result) -> list[Value]:
    if node.op == "Split":
        axis, x, count = inputs[0], inputs[1], node.integer("num_split", 1)
    elif node.op == "SplitV":
        x, axis, count = inputs[0], inputs[2], 0
    else:
        x, axis, count = inputs[0], Constant(np.asarray(node.integer("axis", 0))), node.integer("num", 0)
    x = ctx.value(x)
    at = numbers(_constant(axis, "an axis"), "the axis")[0]
    if not -x.rank <= at < x.rank:
        raise ValueError(f"the axis {at} does not fit a value of {x.rank} axes.")
    at %= x.rank
    if node.op == "Unpack":
        return _unpack(ctx, node, x, at)
    size, held = x.dims[at], x.axis(at)
    if node.op == "SplitV":
        sizes = numbers(_constant(inputs[1], "sizes"), "the sizes")
        if -1 in sizes and isinstance(size, int):
            sizes[sizes.index(-1)] = size - sum(sizes) - 1
    else:
        if not isinstance(size, int) or not 0 < count <= size or size % count:
            raise ValueError(f"it splits {size} entries into {count} parts.")
        sizes = [size // count] * count
    if not sizes or min(sizes) < 1 or (isinstance(size, int) and sum(sizes) != size):
        raise ValueError(f"the parts {sizes} do not add up to {size}.")
    if len(sizes) == 1:
        return [x]
    options = {"axis": held, "sizes": sizes}
    names = ctx.builder.add_several("split", node.name, [x.name], len(sizes), options=options, source=node.op)
    return [
        dataclasses.replace(x, name=name, dims=(*x.dims[:at], part, *x.dims[at + 1 :]))
        for name, part in zip(names, sizes, strict=True)
    ]


def _unpack(ctx: Context, node: SourceNode, x: Value, at: int) -> list[Value]:
    size = x.dims[at]
    if x.batch == "leading" and at == 0 and ctx.fixed_batch == 1:
        return [dataclasses.replace(ctx.to_source(x, node), batch="none", dims=x.dims[1:])]
    if not isinstance(size, int) or not 0 < size <= 1024:
        raise Unsupported(f"taking apart {size} entries")
    x = ctx.to_source(x, node)
    dims = (*x.dims[:at], *x.dims[at + 1 :])
    return [
        ctx.emit("gather", node, [x], dims, options={"axis": x.axis(at), "indices": i}, suffix=f":{i}" if i else "")
        for i in range(size)
    ]


@handles("StridedSlice")
def _slice_strided(ctx: Context, node: SourceNode, x: Value, begin: Result, end: Result, strides: Result) -> Value:
    parts = [_constant(one, "a range") for one in (begin, end, strides)]
    parts = [
        np.asarray([one if isinstance(one, int) else 0 for one in part.tolist()])
        if _is_masked(node, part, key)
        else part
        for part, key in zip(parts, ("begin", "end", "strides"), strict=True)
    ]
    found = read_strided_slice(node, x.rank, *(numbers(part, "a range") for part in parts))
    if found.added or found.dropped:
        x = ctx.to_source(x, node)
    leading = x.batch == "leading"
    if x.batch == "merged" and found.ranges[0] != slice(None, None, 1) and found.ranges[0] != slice(None):
        raise Unsupported("an operation along the batch")
    drops_batch = False
    if leading and not _is_whole(found.ranges[0], ctx.fixed_batch):
        drops_batch = 0 in found.dropped and ctx.fixed_batch in (None, 1) and found.ranges[0] == slice(0, 1, 1)
        if not drops_batch:
            raise Unsupported("an operation along the batch")
    dropped = [axis for axis in found.dropped if not (leading and axis == 0)]
    steps = [dataclasses.replace(node, name=f"{node.name}/{kind}") for kind in ("slice", "squeeze")]
    steps += [dataclasses.replace(node, name=f"{node.name}/expand_{axis}") for axis in found.added]
    steps[len(steps) - 1 if found.added else bool(dropped)] = node  # the last one has the name of the source
    y = _apply_ranges(ctx, steps[0], x, found.ranges)
    if drops_batch:
        y = dataclasses.replace(y, batch="none", dims=y.dims[1:])
        dropped = [axis - 1 for axis in dropped]
    if dropped:
        y = _drop(ctx, steps[1], y, dropped)
    for step, axis in zip(steps[2:], found.added, strict=True):
        y = _expand(ctx, step, y, Constant(np.asarray(axis)))
    return y


def _is_masked(node: SourceNode, part: np.ndarray, key: str) -> bool:
    """Tests whether the sizes that are not known in a range are masked, so that they do not matter."""
    if part.dtype != object or key == "strides":
        return False
    mask = node.integer(f"{key}_mask", 0) | node.integer("ellipsis_mask", 0) | node.integer("new_axis_mask", 0)
    return all(isinstance(one, int) or mask >> at & 1 for at, one in enumerate(part.tolist()))


def _is_whole(one: slice, fixed: int | None) -> bool:
    return one.step in (None, 1) and one.start in (None, 0) and (one.stop is None or one.stop == fixed)


def _apply_ranges(ctx: Context, node: SourceNode, x: Value, ranges: Sequence[slice]) -> Value:
    """Slices the axes of each example."""
    dims = list(x.dims)
    held: list[slice] = [slice(None)] * len(x.held)
    for axis, one in enumerate(ranges):
        if (axis == 0 and x.batch != "none") or one in (slice(None), slice(None, None, 1)):
            continue
        size = dims[axis]
        if isinstance(size, int):
            count = len(range(*one.indices(size)))
            if count < 1:
                raise ValueError(f"it slices nothing of {size} entries: {one}.")
            dims[axis] = count
        else:
            dims[axis] = _slice_unknown(size, one)
        held[x.axis(axis)] = one
    if all(one == slice(None) for one in held):
        return x
    options: dict[str, Any] = {"begin": [one.start for one in held], "end": [one.stop for one in held]}
    if any(one.step not in (None, 1) for one in held):
        options["strides"] = [one.step for one in held]
    return ctx.emit("slice", node, [x], dims, options=options)


def _slice_unknown(size: Size, one: slice) -> Dimension:
    """Computes how many entries of an axis of unknown size a slice takes."""
    start, stop, step = one.start or 0, one.stop, one.step or 1
    if step == -1 and one.start is None and stop is None:
        return size
    if step < 1 or (stop is not None and start >= 0 > 0):
        raise Unsupported("a slice of an axis whose size is not known")
    if start < 0:
        if stop is None and step == 1:
            return -start
        raise Unsupported("a slice of an axis whose size is not known")
    if stop is None:
        return -((-(size - start)) // step)
    if stop < 0:
        return -((-(size + stop - start)) // step)
    return -(-(stop - start) // step)


def _reaches(size: Dimension, end: int) -> bool:
    """Tests whether an axis has so many entries, as far as its size is known."""
    return not isinstance(size, int) or end <= size


@handles("Slice")
def _slice(ctx: Context, node: SourceNode, x: Value, begin: Result, size: Result) -> Value:
    starts, counts = _constant(begin, "a range").tolist(), _constant(size, "a range").tolist()
    if not len(starts) == len(counts) == x.rank or not all(isinstance(one, int) and one >= 0 for one in starts):
        raise ValueError(f"begin {starts} and size {counts} do not fit a value of {x.rank} axes.")
    ranges = []
    for at, (start, count) in enumerate(zip(starts, counts, strict=True)):
        whole = start == 0 and (count == x.dims[at] or (isinstance(count, int) and count == -1))
        whole = whole or (at == 0 and x.batch == "leading" and start == 0 and count == ctx.fixed_batch)
        if whole:
            ranges.append(slice(None))
        elif not isinstance(count, int):
            raise Unsupported("a slice whose size is not known")
        else:
            if count != -1 and (count < 1 or not _reaches(x.dims[at], start + count)):
                raise ValueError(f"it slices {count} entries from {start} on of {x.dims[at]}.")
            ranges.append(slice(start, None if count == -1 else start + count, 1))
    if x.batch != "none" and ranges[0] != slice(None):
        raise Unsupported("an operation along the batch")
    return _apply_ranges(ctx, node, x, ranges)


@handles("Pad", "PadV2", "MirrorPad")
def _pad(ctx: Context, node: SourceNode, x: Value, padding: Result, *value: Result) -> Value:
    array = _constant(padding, "a padding")
    if array.shape != (x.rank, 2) or array.dtype == object:
        raise ValueError(f"its padding has the shape {array.shape} for a value of {x.rank} axes.")
    pairs = [(int(low), int(high)) for low, high in array.tolist()]
    if any(not 0 <= size < 1 << 20 for pair in pairs for size in pair):
        raise ValueError(f"it pads by {pairs}.")
    if x.batch != "none" and pairs[0] != (0, 0):
        raise Unsupported("an operation along the batch")
    held = [(0, 0)] * len(x.held)
    for axis in range(x.batch != "none", x.rank):
        held[x.axis(axis)] = pairs[axis]
    options: dict[str, Any] = {"padding": held}
    if node.op == "MirrorPad":
        options["mode"] = "reflect" if node.text("mode", "REFLECT") == "REFLECT" else "symmetric"
    elif value:
        options["value"] = float(_constant(value[0], "a value").reshape(-1)[0])
    dims = [size + low + high for size, (low, high) in zip(x.dims, pairs, strict=True)]
    return ctx.emit("pad", node, [x], dims, options=options)


@handles("Tile")
def _tile(ctx: Context, node: SourceNode, x: Value, repeats: Result) -> Value:
    counts = numbers(_constant(repeats, "a number of repeats"), "the repeats")
    if len(counts) != x.rank or min(counts, default=1) < 1:
        raise ValueError(f"the repeats {counts} do not fit a value of {x.rank} axes.")
    if x.batch != "none" and counts[0] != 1:
        raise Unsupported("repeating the batch")
    held = [1] * len(x.held)
    for axis in range(x.batch != "none", x.rank):
        held[x.axis(axis)] = counts[axis]
    dims = [size * count for size, count in zip(x.dims, counts, strict=True)]
    return ctx.emit("tile", node, [x], dims, options={"repeats": held})


@handles("Gather", "GatherV2", "ResourceGather")
def _gather(ctx: Context, node: SourceNode, x: Result, indices: Result, *axis: Result) -> Value:
    at = numbers(_constant(axis[0], "an axis"), "the axis")[0] if axis else 0
    if node.integer("batch_dims", 0):
        raise Unsupported("batch_dims")
    if isinstance(x, Constant):
        value = ctx.value(indices)
        if x.array.ndim != 2 or at != 0:
            raise Unsupported("looking up in a table that is no matrix")
        paths = {"table": ctx.parameter(x, "embedding", node)}
        return ctx.emit("embed", node, [value], (*value.dims, x.array.shape[1]), parameters=paths, dtype="float32")
    array = _constant(indices, "indices")
    x = ctx.to_source(ctx.value(x), node)
    if array.ndim > 1 or array.dtype.kind not in "iu" or array.size > 1 << 20:
        raise Unsupported("indices of several axes")
    if not -x.rank <= at < x.rank:
        raise ValueError(f"the axis {at} does not fit a value of {x.rank} axes.")
    at %= x.rank
    found: Any = int(array) if array.ndim == 0 else [int(one) for one in array]
    dims = (*x.dims[:at], *array.shape, *x.dims[at + 1 :])
    return ctx.emit("gather", node, [x], dims, options={"axis": x.axis(at), "indices": found})


@handles("ReverseV2")
def _reverse(ctx: Context, node: SourceNode, x: Value, axes: Result) -> Value:
    held = [x.axis(axis) for axis in numbers(_constant(axes, "axes"), "the axes")]
    return ctx.emit("reverse", node, [x], x.dims, options={"axes": held})


@handles("BroadcastTo")
def _broadcast(ctx: Context, node: SourceNode, x: Value, shape: Result) -> Value:
    wanted = _constant(shape, "a shape").tolist()
    if tuple(wanted) == x.dims:
        return x
    if len(wanted) != x.rank or wanted[0] != x.dims[0]:
        raise Unsupported("broadcasting along the batch")
    repeats = [1 if new == old else new for new, old in zip(wanted, x.dims, strict=True)]
    if not all(isinstance(one, int) for one in repeats):
        raise Unsupported("a shape that is not known")
    return _tile(ctx, node, x, Constant(np.asarray(repeats)))


@handles("ZerosLike", "OnesLike")
def _fill_like(ctx: Context, node: SourceNode, x: Value) -> Value:
    zero = ctx.emit("multiply", node, [x], x.dims, options={"value": 0.0}, suffix="/zero")
    return zero if node.op == "ZerosLike" else ctx.emit("add", node, [zero], x.dims, options={"value": 1.0})
