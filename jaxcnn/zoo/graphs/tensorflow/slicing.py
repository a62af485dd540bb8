"""The masks of StridedSlice."""

import dataclasses
from collections.abc import Sequence

from jaxcnn.zoo.graphs.tensorflow.table import SourceNode

__all__ = ["StridedSlice", "read_strided_slice"]


@dataclasses.dataclass(frozen=True)
class StridedSlice:
    """What a StridedSlice does to every axis.

    Attributes:
        index: NumPy's index: slices, numbers (the axis is dropped) and None (a new axis).
        ranges: The slice of every axis that the input has, in order.
        dropped: The input's axes that are dropped.
        added: The places of new axes in the result, in order.
    """

    index: tuple[slice | int | None, ...]
    ranges: tuple[slice, ...]
    dropped: tuple[int, ...]
    added: tuple[int, ...]


def read_strided_slice(
    node: SourceNode, rank: int, begin: Sequence[int], end: Sequence[int], strides: Sequence[int]
) -> StridedSlice:
    """Reads what a StridedSlice does.

    Args:
        node: The node, for its masks.
        rank: Number of axes of the input.
        begin: Where each axis begins.
        end: Where it ends.
        strides: Its steps.

    Returns:
        What happens to every axis.

    Raises:
        ValueError: If the numbers do not fit.
    """
    if not len(begin) == len(end) == len(strides) <= 32 or 0 in strides:
        raise ValueError(f"begin {begin}, end {end} and strides {strides} do not fit.")
    masks = {key: node.integer(f"{key}_mask", 0) for key in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    bits = {key: [bool(mask >> place & 1) for place in range(len(begin))] for key, mask in masks.items()}
    index: list[slice | int | None] = []
    used = sum(not bits["new_axis"][i] and not bits["ellipsis"][i] for i in range(len(begin)))
    if used > rank:
        raise ValueError(f"it slices {used} axes of a value of {rank}.")
    seen = False
    for place in range(len(begin)):
        if bits["ellipsis"][place] and not seen:
            index += [slice(None)] * (rank - used)
            seen = True
        elif bits["new_axis"][place]:
            index.append(None)
        elif bits["shrink_axis"][place]:
            index.append(begin[place])
        else:
            first = None if bits["begin"][place] else begin[place]
            last = None if bits["end"][place] else end[place]
            index.append(slice(first, last, strides[place]))
    index += [slice(None)] * (rank - sum(one is not None for one in index))
    ranges, dropped, added, out = [], [], [], 0
    for one in index:
        if one is None:
            added.append(out)
        elif isinstance(one, slice):
            ranges.append(one)
        else:
            dropped.append(len(ranges))
            ranges.append(slice(one, None if one == -1 else one + 1, 1))
            continue
        out += 1
    return StridedSlice(tuple(index), tuple(ranges), tuple(dropped), tuple(added))
