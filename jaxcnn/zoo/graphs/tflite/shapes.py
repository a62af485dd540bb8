"""Operators of TensorFlow Lite that move values without changing them."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from jaxcnn.zoo.graphs.tflite.operators import Handler, Operator
from jaxcnn.zoo.graphs.tflite.values import Constant, Size, Value, describe_sizes

__all__ = ["SHAPES", "add_axis", "drop_axes", "reshape_to"]


def _reshape(step: Operator) -> Value:
    target = step.sizes(1) if step.has(1) else [int(one) for one in step.option("new_shape", ())]
    if len(target) > 8:
        raise ValueError(f"its new shape has {len(target)} axes.")
    return reshape_to(step, step.x, target)


def reshape_to(step: Operator, x: Value, target: Sequence[int | Size]) -> Value:
    """Reshapes a value as the source does; its batch stays where the new shape has a place for it.

    Args:
        step: The operator.
        x: The value.
        target: The source's new shape; at most one size is -1.

    Returns:
        The new value.
    """
    batch, total = step.state.batch, math.prod(x.shape)
    sizes = [int(one) for one in target]
    if sizes.count(-1) > 1 or min(sizes, default=1) < -1:
        raise ValueError(f"the new shape must have positive sizes and at most one -1, got {sizes}.")
    if -1 in sizes:
        full = total * (batch if x.batch is not None else 1)
        known = math.prod(one for one in sizes if one != -1)
        if known < 1 or full % known:
            raise ValueError(f"the shape {x.source_shape(batch)} cannot become {sizes}.")
        resolved = [full // known if one == -1 else one for one in sizes]
    else:
        resolved = sizes
    place = _find_batch(step, x, target, resolved)
    rest = [one for at, one in enumerate(resolved) if at != place]
    if place is None and batch > 1 and x.batch is not None and rest:
        # The batch is merged with the first axis, of which each example has its share.
        if rest[0] % batch:
            raise ValueError(f"the shape {x.source_shape(batch)} cannot become {sizes} without mixing examples.")
        rest[0] //= batch
    if math.prod(rest) != total:
        raise ValueError(f"the shape {x.source_shape(batch)} cannot become {sizes}.")
    wildcards = [at for at, one in enumerate(target) if at != place]
    free = [at for at, source in enumerate(wildcards) if isinstance(target[source], int) and sizes[source] == -1]
    shape: list[int | None] = list(rest)
    for at, source in enumerate(wildcards):
        one = target[source]
        if isinstance(one, Size) and (one.value, one.axis, one.factor) == (x.name, at, 1):
            shape[at] = None
    if free:
        shape[free[0]] = -1
    elif len(rest) == 1:
        shape[0] = -1
    if tuple(rest) == x.shape:
        return _rename(step, x, place)
    return step.add("reshape", [x], options={"shape": tuple(shape)}, batch=place)


def _find_batch(step: Operator, x: Value, target: Sequence[int | Size], resolved: Sequence[int]) -> int | None:
    """Finds the place of the batch in a new shape; None where it has none."""
    batch = step.state.batch
    for at, one in enumerate(target):
        if isinstance(one, Size) and one.value is None:
            return at
    total = math.prod(x.shape)
    fits = [at for at, one in enumerate(resolved) if one == batch and math.prod(resolved) == total * batch]
    if not fits or (batch == 1 and x.batch is None and resolved[0] != 1):
        return None
    if x.batch is not None and x.batch in fits and math.prod(resolved[: x.batch]) == math.prod(x.shape[: x.batch]):
        return x.batch
    return fits[0] if fits[0] == 0 and len(resolved) > 1 else None


def _rename(step: Operator, x: Value, batch: int | None) -> Value:
    """Returns the same value with the batch elsewhere in the source's shape; no node is needed."""
    return Value(x.name, x.shape, x.dtype, batch, x.block, x.weighted)


def _squeeze(step: Operator) -> Value:
    x = step.x
    shape = x.source_shape(step.state.batch)
    axes = [x.place(int(axis)) for axis in step.option("squeeze_dims", ())]
    axes = axes or [axis for axis, size in enumerate(shape) if size == 1]
    return drop_axes(step, x, axes)


def drop_axes(step: Operator, x: Value, axes: Sequence[int]) -> Value:
    """Removes axes of size 1 of the source's tensor.

    Args:
        step: The operator.
        x: The value.
        axes: Axes of the source's tensor.

    Returns:
        The new value.
    """
    shape = x.source_shape(step.state.batch)
    if any(shape[axis] != 1 for axis in axes):
        raise ValueError(f"axes {list(axes)} of the shape {shape} do not all have the size 1.")
    inner = tuple(x.axis(axis) for axis in axes if axis != x.batch)
    batch = None if x.batch in axes or x.batch is None else x.batch - sum(axis < x.batch for axis in axes)
    return step.add("squeeze", [x], options={"axes": inner}, batch=batch) if inner else _rename(step, x, batch)


def add_axis(step: Operator, x: Value, axis: int) -> Value:
    """Adds an axis of size 1 to the source's tensor.

    Args:
        step: The operator.
        x: The value.
        axis: Its place in the source's result.

    Returns:
        The new value.
    """
    if not 0 <= axis <= x.rank:
        raise ValueError(f"the new axis must be in [0, {x.rank}], got {axis}.")
    if x.batch is None and axis == 0 and step.state.batch == 1:
        return _rename(step, x, 0)  # the batch comes back
    batch = None if x.batch is None else x.batch + (axis <= x.batch)
    inner = axis - (x.batch is not None and axis > x.batch)
    return step.add("expand_dims", [x], options={"axis": inner}, batch=batch)


def _expand_dims(step: Operator) -> Value:
    axis = step.integer(1)
    return add_axis(step, step.x, axis + step.x.rank + 1 if axis < 0 else axis)


def _transpose(step: Operator) -> Value:
    x, order = step.x, step.integers(1)
    if sorted(order) != list(range(x.rank)):
        raise ValueError(f"its order must be one of {x.rank} axes, got {order}.")
    batch = None if x.batch is None else order.index(x.batch)
    axes = tuple(x.axis(axis) for axis in order if axis != x.batch)
    if axes == tuple(range(len(axes))):
        return _rename(step, x, batch)
    return step.add("permute", [x], options={"axes": axes}, batch=batch)


def _common_batch(values: Sequence[Value]) -> int | None:
    """Returns where several values of one rank have the batch."""
    places = {one.batch for one in values if one.batch is not None}
    if len(places) > 1:
        raise ValueError(f"its inputs have the batch on different axes: {sorted(places)}.")
    return next(iter(places), None)


def _match_constants(step: Operator, batch: int | None, rank: int) -> list[Value]:
    """Returns all inputs as values without the batch; constants may have an axis of size 1 in its place."""
    result = []
    for at, one in enumerate(step.inputs):
        value = step.value(at)
        if isinstance(one, Constant) and batch is not None and len(value.shape) == rank:
            value = step.add("squeeze", [value], options={"axes": (batch,)}, name=f"{step.name}/constant")
        result.append(value)
    return result


def _concatenate(step: Operator) -> Value:
    given = [one for one in step.inputs if isinstance(one, Value)]
    batch, rank = _common_batch(given), given[0].rank
    axis = given[0].place(int(step.option("axis", 0)))
    values = _match_constants(step, batch, rank)
    if len(values) == 1:
        return step.activate(_rename(step, values[0], batch))
    if axis == batch:
        raise ValueError("it joins examples along the batch.")
    inner = axis - (batch is not None and axis > batch)
    return step.activate(step.add("concat", values, options={"axis": inner}, batch=batch))


def _stack(step: Operator) -> Value:
    given = [one for one in step.inputs if isinstance(one, Value)]
    batch, rank = _common_batch(given), given[0].rank
    axis = int(step.option("axis", 0))
    axis = axis + rank + 1 if axis < 0 else axis
    values = _match_constants(step, batch, rank)
    if len(values) == 1:
        return add_axis(step, values[0], axis)
    inner = axis - (batch is not None and axis > batch)
    return step.add("stack", values, options={"axis": inner}, batch=None if batch is None else batch + (axis <= batch))


def _unstack(step: Operator) -> list[Value]:
    x = step.x
    axis = x.place(int(step.option("axis", 0)))
    if axis == x.batch:
        return [drop_axes(step, x, [axis])]
    inner = x.axis(axis)
    if len(step.outputs) != x.shape[inner]:
        raise ValueError(f"it has {len(step.outputs)} outputs for the {x.shape[inner]} entries of axis {axis}.")
    batch = None if x.batch is None else x.batch - (axis < x.batch)
    return [
        step.add("gather", [x], options={"axis": inner, "indices": at}, batch=batch) for at in range(len(step.outputs))
    ]


def _split(step: Operator) -> list[Value]:
    variable = step.op == "SPLIT_V"
    x = step.value(0 if variable else 1)
    axis = x.place(step.integer(2 if variable else 0))
    count = len(step.outputs)
    if axis == x.batch:
        if count != 1:
            raise ValueError("it splits the batch.")
        return [x]
    inner = x.axis(axis)
    if variable:
        sizes = tuple(step.integers(1))
    else:
        if not count or x.shape[inner] % count:
            raise ValueError(f"{x.shape[inner]} entries cannot be {count} equal parts.")
        sizes = (x.shape[inner] // count,) * count
    if len(sizes) != count:
        raise ValueError(f"it has {len(sizes)} sizes for {count} outputs.")
    if count == 1:
        return [x]
    return step.add("split", [x], options={"axis": inner, "sizes": sizes}, batch=x.batch, count=count)


def _pad(step: Operator) -> Value:
    x = step.x
    pairs = step.constant(1)
    if pairs.shape != (x.rank, 2) or pairs.dtype.kind not in "iu":
        raise ValueError(f"the padding must have a pair per axis, {x.rank}, got the shape {pairs.shape}.")
    rows = [(int(low), int(high)) for low, high in pairs]
    if min(min(row) for row in rows) < 0 or (x.batch is not None and any(rows[x.batch])):
        raise ValueError(f"the padding must be positive and 0 along the batch, got {rows}.")
    inner = tuple(row for axis, row in enumerate(rows) if axis != x.batch)
    options: dict[str, object] = {"padding": inner}
    if step.op == "MIRROR_PAD":
        options["mode"] = {"REFLECT": "reflect", "SYMMETRIC": "symmetric"}[step.option("mode", "REFLECT")]
    elif step.op == "PADV2":
        (value,) = step.constant(2).reshape(-1)
        options["value"] = float(value)
    return step.add("pad", [x], options=options, batch=x.batch)


def _tile(step: Operator) -> Value:
    x, repeats = step.x, step.integers(1)
    if len(repeats) != x.rank or min(repeats, default=1) < 1:
        raise ValueError(f"its repeats must be {x.rank} positive numbers, got {repeats}.")
    if x.batch is not None and repeats.pop(x.batch) != 1:
        raise ValueError("it repeats the batch.")
    return step.add("tile", [x], options={"repeats": tuple(repeats)}, batch=x.batch)


def _move_blocks(step: Operator) -> Value:
    x = step.spatial()
    block = int(step.option("block_size", 0))
    if not 0 < block < 2**15:
        raise ValueError(f"the block must be a positive number, got {block}.")
    op = "depth_to_space" if step.op == "DEPTH_TO_SPACE" else "space_to_depth"
    return step.add(op, [x], options={"block": block}, batch=x.batch)


def _to_blocks(step: Operator) -> Value:
    x = step.spatial()
    block, pairs = step.integers(1), step.constant(2).reshape(-1, 2).astype(np.int64).tolist()
    if (
        x.batch != 0
        or x.block is not None
        or len(block) != 2
        or len(pairs) != 2
        or min(*block, *pairs[0], *pairs[1]) < 0
    ):
        raise ValueError(f"it must be of maps with a batch and have two blocks and paddings, got {block} and {pairs}.")
    options = {"padding": (*map(tuple, pairs), (0, 0))}
    y = step.add("pad", [x], options=options) if any(map(any, pairs)) else x
    if 0 in block or any(size % one for size, one in zip(y.shape, block, strict=False)):
        raise ValueError(f"{y.shape[0]} x {y.shape[1]} pixels cannot be blocks of {block}.")
    return Value(y.name, y.shape, y.dtype, 0, (block[0], block[1]), y.weighted)


def _from_blocks(step: Operator) -> Value:
    x = step.spatial()
    block, crops = tuple(step.integers(1)), step.constant(2).reshape(-1, 2).astype(np.int64).tolist()
    if x.block != block or len(crops) != 2 or min(*crops[0], *crops[1]) < 0:
        raise ValueError(f"it has blocks of {block}, and its input comes from blocks of {x.block}.")
    y = Value(x.name, x.shape, x.dtype, 0, None, x.weighted)
    if not any(map(any, crops)):
        return y
    begin, end = zip(*[(low or None, -high or None) for low, high in crops], strict=True)
    return step.add("slice", [y], options={"begin": (*begin, None), "end": (*end, None)})


def _reverse(step: Operator) -> Value:
    x = step.x
    axes = tuple(x.axis(axis) for axis in step.integers(1))
    return step.add("reverse", [x], options={"axes": axes}, batch=x.batch)


def _find_shape(step: Operator) -> Constant:
    return Constant(describe_sizes(step.x, step.state.batch), step.outputs[0])


def _find_rank(step: Operator) -> Constant:
    return Constant(np.array(step.x.rank, np.int32), step.outputs[0])


SHAPES: Mapping[str, Handler] = {
    "BATCH_TO_SPACE_ND": _from_blocks,
    "CONCATENATION": _concatenate,
    "DEPTH_TO_SPACE": _move_blocks,
    "EXPAND_DIMS": _expand_dims,
    "MIRROR_PAD": _pad,
    "PACK": _stack,
    "PAD": _pad,
    "PADV2": _pad,
    "RANK": _find_rank,
    "RESHAPE": _reshape,
    "REVERSE_V2": _reverse,
    "SHAPE": _find_shape,
    "SPACE_TO_BATCH_ND": _to_blocks,
    "SPACE_TO_DEPTH": _move_blocks,
    "SPLIT": _split,
    "SPLIT_V": _split,
    "SQUEEZE": _squeeze,
    "TILE": _tile,
    "TRANSPOSE": _transpose,
    "UNPACK": _unstack,
}
"""Operator to the function that imports it."""
