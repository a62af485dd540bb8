"""Names of the spatial axes, and zero padding around them, for convolutions and pooling."""

from collections.abc import Sequence

from jaxcnn._check import check, repeat_per_axis

__all__ = ["AXES", "padding_pairs", "same_padding"]

AXES = {1: "w", 2: "h w", 3: "d h w"}
"""Number of spatial axes -> their names."""


def same_padding(size: Sequence[int], widths: Sequence[int], strides: Sequence[int]) -> list[tuple[int, int]]:
    """Computes the padding for ceil(size / stride) windows of these widths; the larger half goes behind."""
    totals = [max((-(-n // s) - 1) * s + w - n, 0) for n, w, s in zip(size, widths, strides, strict=True)]
    return [(t // 2, t - t // 2) for t in totals]


def padding_pairs(
    function: str,
    padding: int | Sequence[int | tuple[int, int]],
    rank: int,
    *,
    expected: str,
    below: Sequence[int] | None = None,
) -> list[tuple[int, int]]:
    """Expands an integer, or one integer or pair per axis, to one pair (before, after) per axis.

    Args:
        function: Public function that is named in the error message.
        padding: The padding, at least 0.
        rank: Number of spatial axes.
        expected: Description of all allowed values for the error message.
        below: Exclusive upper limit per axis.

    Returns:
        The pairs.

    Raises:
        ValueError: If ``padding`` is anything else.
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
