"""Operations that take parts of values."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcnn.zoo.graphs.tensorflow.context import Context
from jaxcnn.zoo.graphs.tensorflow.folding import numbers
from jaxcnn.zoo.graphs.tensorflow.shapes import drop_example_axes, insert_axis, require_constant
from jaxcnn.zoo.graphs.tensorflow.sizes import Dimension, SymbolicSize
from jaxcnn.zoo.graphs.tensorflow.slicing import read_strided_slice
from jaxcnn.zoo.graphs.tensorflow.table import SourceNode, handles
from jaxcnn.zoo.graphs.tensorflow.values import FoldedConstant, GraphValue, Result, UnsupportedNode

__all__: list[str] = []


@handles("Split", "SplitV", "Unpack")
def _split(ctx: Context, node: SourceNode, *inputs: Result) -> list[GraphValue]:
    if node.op == "Split":
        axis, x, count = inputs[0], inputs[1], node.integer("num_split", 1)
    elif node.op == "SplitV":
        x, axis, count = inputs[0], inputs[2], 0
    else:
        x, axis, count = inputs[0], FoldedConstant(np.asarray(node.integer("axis", 0))), node.integer("num", 0)
    x = ctx.value(x)
    at = numbers(require_constant(axis, "an axis"), "the axis")[0]
    if not -x.rank <= at < x.rank:
        raise ValueError(f"the axis {at} does not fit a value of {x.rank} axes.")
    at %= x.rank
    if node.op == "Unpack":
        return _unpack(ctx, node, x, at)
    size, held = x.dims[at], x.axis(at)
    if node.op == "SplitV":
        sizes = numbers(require_constant(inputs[1], "sizes"), "the sizes")
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


def _unpack(ctx: Context, node: SourceNode, x: GraphValue, at: int) -> list[GraphValue]:
    size = x.dims[at]
    if x.batch == "leading" and at == 0 and ctx.fixed_batch == 1:
        return [dataclasses.replace(ctx.to_source(x, node), batch="none", dims=x.dims[1:])]
    if not isinstance(size, int) or not 0 < size <= 1024:
        raise UnsupportedNode(f"taking apart {size} entries")
    x = ctx.to_source(x, node)
    dims = (*x.dims[:at], *x.dims[at + 1 :])
    return [
        ctx.emit("gather", node, [x], dims, options={"axis": x.axis(at), "indices": i}, suffix=f":{i}" if i else "")
        for i in range(size)
    ]


@handles("StridedSlice")
def _slice_strided(
    ctx: Context, node: SourceNode, x: GraphValue, begin: Result, end: Result, strides: Result
) -> GraphValue:
    parts = [require_constant(one, "a range") for one in (begin, end, strides)]
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
        raise UnsupportedNode("an operation along the batch")
    drops_batch = False
    if leading and not _is_whole(found.ranges[0], ctx.fixed_batch):
        drops_batch = 0 in found.dropped and ctx.fixed_batch in (None, 1) and found.ranges[0] == slice(0, 1, 1)
        if not drops_batch:
            raise UnsupportedNode("an operation along the batch")
    dropped = [axis for axis in found.dropped if not (leading and axis == 0)]
    steps = [dataclasses.replace(node, name=f"{node.name}/{kind}") for kind in ("slice", "squeeze")]
    steps += [dataclasses.replace(node, name=f"{node.name}/expand_{axis}") for axis in found.added]
    steps[len(steps) - 1 if found.added else bool(dropped)] = node  # the last one has the name of the source
    y = _apply_ranges(ctx, steps[0], x, found.ranges)
    if drops_batch:
        y = dataclasses.replace(y, batch="none", dims=y.dims[1:])
        dropped = [axis - 1 for axis in dropped]
    if dropped:
        y = drop_example_axes(ctx, steps[1], y, dropped)
    for step, axis in zip(steps[2:], found.added, strict=True):
        y = insert_axis(ctx, step, y, FoldedConstant(np.asarray(axis)))
    return y


def _is_masked(node: SourceNode, part: np.ndarray, key: str) -> bool:
    """Tests whether the sizes that are not known in a range are masked, so that they do not matter."""
    if part.dtype != object or key == "strides":
        return False
    mask = node.integer(f"{key}_mask", 0) | node.integer("ellipsis_mask", 0) | node.integer("new_axis_mask", 0)
    return all(isinstance(one, int) or mask >> at & 1 for at, one in enumerate(part.tolist()))


def _is_whole(one: slice, fixed: int | None) -> bool:
    return one.step in (None, 1) and one.start in (None, 0) and (one.stop is None or one.stop == fixed)


def _apply_ranges(ctx: Context, node: SourceNode, x: GraphValue, ranges: Sequence[slice]) -> GraphValue:
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


def _slice_unknown(size: SymbolicSize, one: slice) -> Dimension:
    """Computes how many entries of an axis of unknown size a slice takes."""
    start, stop, step = one.start or 0, one.stop, one.step or 1
    if step == -1 and one.start is None and stop is None:
        return size
    if step < 1 or (stop is not None and start >= 0 > 0):
        raise UnsupportedNode("a slice of an axis whose size is not known")
    if start < 0:
        if stop is None and step == 1:
            return -start
        raise UnsupportedNode("a slice of an axis whose size is not known")
    if stop is None:
        return -((-(size - start)) // step)
    if stop < 0:
        return -((-(size + stop - start)) // step)
    return -(-(stop - start) // step)


def _reaches(size: Dimension, end: int) -> bool:
    """Tests whether an axis has so many entries, as far as its size is known."""
    return not isinstance(size, int) or end <= size


@handles("Slice")
def _slice(ctx: Context, node: SourceNode, x: GraphValue, begin: Result, size: Result) -> GraphValue:
    starts, counts = require_constant(begin, "a range").tolist(), require_constant(size, "a range").tolist()
    if not len(starts) == len(counts) == x.rank or not all(isinstance(one, int) and one >= 0 for one in starts):
        raise ValueError(f"begin {starts} and size {counts} do not fit a value of {x.rank} axes.")
    ranges = []
    for at, (start, count) in enumerate(zip(starts, counts, strict=True)):
        whole = start == 0 and (count == x.dims[at] or (isinstance(count, int) and count == -1))
        whole = whole or (at == 0 and x.batch == "leading" and start == 0 and count == ctx.fixed_batch)
        if whole:
            ranges.append(slice(None))
        elif not isinstance(count, int):
            raise UnsupportedNode("a slice whose size is not known")
        else:
            if count != -1 and (count < 1 or not _reaches(x.dims[at], start + count)):
                raise ValueError(f"it slices {count} entries from {start} on of {x.dims[at]}.")
            ranges.append(slice(start, None if count == -1 else start + count, 1))
    if x.batch != "none" and ranges[0] != slice(None):
        raise UnsupportedNode("an operation along the batch")
    return _apply_ranges(ctx, node, x, ranges)


@handles("Gather", "GatherV2", "ResourceGather")
def _gather(ctx: Context, node: SourceNode, x: Result, indices: Result, *axis: Result) -> GraphValue:
    at = numbers(require_constant(axis[0], "an axis"), "the axis")[0] if axis else 0
    if node.integer("batch_dims", 0):
        raise UnsupportedNode("batch_dims")
    if isinstance(x, FoldedConstant):
        value = ctx.value(indices)
        if x.array.ndim != 2 or at != 0:
            raise UnsupportedNode("looking up in a table that is no matrix")
        paths = {"table": ctx.parameter(x, "embedding", node)}
        return ctx.emit("embed", node, [value], (*value.dims, x.array.shape[1]), parameters=paths, dtype="float32")
    array = require_constant(indices, "indices")
    x = ctx.to_source(ctx.value(x), node)
    if array.ndim > 1 or array.dtype.kind not in "iu" or array.size > 1 << 20:
        raise UnsupportedNode("indices of several axes")
    if not -x.rank <= at < x.rank:
        raise ValueError(f"the axis {at} does not fit a value of {x.rank} axes.")
    at %= x.rank
    found: Any = int(array) if array.ndim == 0 else [int(one) for one in array]
    dims = (*x.dims[:at], *array.shape, *x.dims[at + 1 :])
    return ctx.emit("gather", node, [x], dims, options={"axis": x.axis(at), "indices": found})
