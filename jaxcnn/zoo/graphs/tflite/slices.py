"""Operators of TensorFlow Lite that choose entries of values."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxcnn.zoo.graphs.tflite.operators import Handler, Operator
from jaxcnn.zoo.graphs.tflite.shapes import add_axis, drop_axes
from jaxcnn.zoo.graphs.tflite.values import Constant, Size, Value

__all__ = ["SLICES", "parse_ranges"]


def _slice(step: Operator) -> Value:
    x = step.x
    begin, size = step.integers(1), step.sizes(2)
    if not len(begin) == len(size) == x.rank:
        raise ValueError(f"begin and size must have {x.rank} numbers, got {len(begin)} and {len(size)}.")
    shape = x.source_shape(step.state.batch)
    ranges: list[tuple[int | None, int | None, int | None]] = []
    for first, one, total in zip(begin, size, shape, strict=True):
        length = total - first if int(one) == -1 else int(one)
        if not 0 <= first < total or not 0 < length <= total - first:
            raise ValueError(f"{length} entries from {first} on are not in the shape {shape}.")
        end = None if int(one) == -1 or (isinstance(one, Size) and first + length == total) else first + length
        ranges.append((first or None, end, None))
    return _slice_axes(step, x, ranges)


def _slice_axes(step: Operator, x: Value, ranges: Sequence[tuple[int | None, int | None, int | None]]) -> Value:
    """Slices all axes of the source's tensor; of the batch all must remain."""
    batch = step.state.batch
    for axis, (first, end, stride) in enumerate(ranges):
        if axis == x.batch and len(range(batch)[first:end:stride]) != batch:
            raise ValueError("it slices the batch.")
    inner = [one for axis, one in enumerate(ranges) if axis != x.batch]
    if all(one[2] in (None, 1) and not one[0] and one[1] in (None, n) for one, n in zip(inner, x.shape, strict=True)):
        return x
    begin, end, strides = zip(*inner, strict=True)
    options = {"begin": begin, "end": end}
    if any(stride not in (None, 1) for stride in strides):
        options["strides"] = strides
    return step.add("slice", [x], options=options, batch=x.batch)


def _slice_strided(step: Operator) -> Value:
    x = step.x
    begin, end, strides = step.integers(1), step.sizes(2), step.integers(3)
    masks = {
        name: int(step.option(f"{name}_mask", 0)) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    ranges, dropped, added = parse_ranges(x.source_shape(step.state.batch), begin, end, strides, masks)
    y = _slice_axes(step, x, ranges)
    y = drop_axes(step, y, dropped) if dropped else y
    for axis in added:
        y = add_axis(step, y, axis)
    return y


def parse_ranges(
    shape: Sequence[int],
    begin: Sequence[int],
    end: Sequence[int | Size],
    strides: Sequence[int],
    masks: Mapping[str, int],
) -> tuple[list[tuple[int | None, int | None, int | None]], list[int], list[int]]:
    """Reads the ranges of a strided slice.

    Args:
        shape: Shape of what is sliced.
        begin: First entries.
        end: Entries after the last.
        strides: Steps.
        masks: ``"begin"``, ``"end"``, ``"ellipsis"``, ``"new_axis"`` and ``"shrink_axis"`` to a bit per range.

    Returns:
        A range per axis, the axes to drop, and the new axes of the result.

    Raises:
        ValueError: If they do not fit.
    """
    if not len(begin) == len(end) == len(strides) <= 16 or 0 in strides:
        raise ValueError(f"begin, end and strides must be of one length, and no stride 0, got {strides}.")
    bits = {name: [bool(mask >> at & 1) for at in range(len(begin))] for name, mask in masks.items()}
    new = [not gap and one for gap, one in zip(bits["ellipsis"], bits["new_axis"], strict=True)]
    wide = len(shape) - sum(not one and not gap for one, gap in zip(new, bits["ellipsis"], strict=True))
    if wide < 0 or sum(bits["ellipsis"]) > 1:
        raise ValueError(f"it has {len(begin)} ranges for {len(shape)} axes.")
    ranges: list[tuple[int | None, int | None, int | None]] = []
    dropped: list[int] = []
    added: list[int] = []
    place = 0  # in the result
    for at in range(len(begin)):
        if bits["ellipsis"][at]:
            ranges += [(None, None, None)] * wide
            place += wide
        elif new[at]:
            added.append(place)
            place += 1
        else:
            size, stride = shape[len(ranges)], strides[at]
            if bits["shrink_axis"][at]:
                first = begin[at] + size if begin[at] < 0 else begin[at]
                if not 0 <= first < size:
                    raise ValueError(f"entry {begin[at]} is not among {size}.")
                dropped.append(len(ranges))
                ranges.append((first, first + 1, None))
                continue
            last = end[at]
            whole = stride > 0 and int(last) >= size
            ranges.append(
                (
                    None if bits["begin"][at] else begin[at],
                    None if bits["end"][at] or whole else int(last),
                    None if stride == 1 else stride,
                )
            )
            place += 1
    ranges += [(None, None, None)] * (len(shape) - len(ranges))
    return ranges, dropped, added


def _gather(step: Operator) -> Value:
    if step.option("batch_dims", 0):
        raise ValueError("batch_dims is not supported.")
    if isinstance(step.held(0), Constant):
        return _look_up(step)
    x, indices = step.x, step.constant(1)
    axis = x.place(int(step.option("axis", 0)))
    if axis == x.batch:
        if step.state.batch == 1 and indices.ndim == 0 and int(indices) == 0:
            return drop_axes(step, x, [axis])
        raise ValueError("it chooses examples of the batch.")
    chosen = indices.astype(np.int64).reshape(-1).tolist()
    batch = None if x.batch is None else x.batch + (axis < x.batch) * (indices.ndim - 1)
    inner = x.axis(axis)
    if indices.ndim == 0:
        return step.add("gather", [x], options={"axis": inner, "indices": chosen[0]}, batch=batch)
    y = step.add("gather", [x], options={"axis": inner, "indices": tuple(chosen)}, batch=x.batch)
    if indices.ndim == 1:
        return y
    shape = (*y.shape[:inner], *indices.shape, *y.shape[inner + 1 :])
    return step.add("reshape", [y], options={"shape": shape}, batch=batch)


def _look_up(step: Operator) -> Value:
    one, table, indices = step.stored(0), step.constant(0), step.value(1)
    if table.ndim != 2 or step.option("axis", 0) != 0:
        raise ValueError(f"the table must have 2 axes, of which the first is chosen, got the shape {table.shape}.")
    path = step.state.add_array((one.name, "table"), step.layer_of(one), "table", table, "params")
    return step.add("embed", [indices], parameters={"table": path}, batch=indices.batch)


SLICES: Mapping[str, Handler] = {
    "GATHER": _gather,
    "SLICE": _slice,
    "STRIDED_SLICE": _slice_strided,
}
"""Operator to the function that imports it."""
