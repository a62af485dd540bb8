"""What everything that slides over spatial axes shares: their names, and zeros around them."""

from collections.abc import Sequence
from typing import Any

from jaxcnn._check import check, repeat_per_axis

__all__ = ["AXES", "padding_pairs", "same_padding"]

AXES = {1: "w", 2: "h w", 3: "d h w"}
"""Names of the spatial axes, by their number."""


def same_padding(size: Sequence[int], widths: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Gives the padding with which windows of these widths have ceil(size / stride) places; odd zeros go behind."""
    totals = [max((-(-n // s) - 1) * s + w - n, 0) for n, w, s in zip(size, widths, strides, strict=True)]
    return [(t // 2, t - t // 2) for t in totals]


def padding_pairs(
    function: str, padding: Any, rank: int, *, expected: str, below: Sequence[int] | None = None
) -> list[tuple[int, int]]:
    """Gives (before, after) per axis of an integer, or of one integer or pair per axis; refuses all else.

    ``below`` holds a limit per axis, ``expected`` what the message says of all padding that is allowed.
    """
    try:
        given = [repeat_per_axis(pair, 2) for pair in repeat_per_axis(padding, rank)]
        pairs = [(int(low), int(high)) for low, high in given]
        valid = len(pairs) == rank and all(tuple(a) == b for a, b in zip(given, pairs, strict=True))
        valid = valid and all(p >= 0 for pair in pairs for p in pair)
        valid = valid and (below is None or all(max(pair) < n for pair, n in zip(pairs, below, strict=True)))
    except (TypeError, ValueError):
        pairs, valid = [], False
    check(valid, function, "padding", expected, repr(padding))
    return pairs
