"""Places boxes in layers, and lines between them that run around the boxes."""

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence

from jaxcnn._check import check

__all__ = ["Layout", "place_boxes"]

GAP, LAYER_GAP, LANE = 26.0, 36.0, 12.0
"""Pixels between the boxes of a layer, between layers, and of a line that passes a layer."""

MAX_ITEMS = 20_000
"""Boxes, and layers that lines pass, of one drawing."""

_SWEEPS = 12


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where boxes and lines are.

    Attributes:
        width: Width of all, in pixels.
        height: Height of all.
        boxes: Left and upper edge of each box.
        lines: Of each edge the points of vertical pieces in pairs, from the top down; between pairs it moves sideways.
    """

    width: float
    height: float
    boxes: list[tuple[float, float]]
    lines: list[list[tuple[float, float]]]


@dataclasses.dataclass
class _Item:
    """A box, or the lane of a line in a layer that it passes."""

    width: float
    height: float
    layer: int
    box: int | None
    above: list[int] = dataclasses.field(default_factory=list)
    below: list[int] = dataclasses.field(default_factory=list)
    x: float = 0.0  # of its center


def place_boxes(sizes: Sequence[tuple[float, float]], edges: Sequence[tuple[int, int]]) -> Layout:
    """Places boxes in layers from the top down, each below all that lead to it.

    Args:
        sizes: Width and height of each box; a box comes after those that lead to it.
        edges: From box, to box, by number; the second is larger.

    Returns:
        The layout.

    Raises:
        ValueError: If there are too many boxes or lines.

    Example:
        >>> from jaxcnn.report.graph_layout import place_boxes
        >>> layout = place_boxes([(100.0, 20.0)] * 3, [(0, 1), (1, 2), (0, 2)])
        >>> [y for _, y in layout.boxes], len(layout.lines[2])
        ([0.0, 56.0, 112.0], 6)
    """
    layers = _choose_layers(len(sizes), edges)
    passed = sum(layers[end] - layers[start] - 1 for start, end in edges)
    check(len(sizes) + passed <= MAX_ITEMS, "place_boxes", "graph", f"of at most {MAX_ITEMS:,} boxes", "more")
    items = [_Item(width, height, layers[i], i) for i, (width, height) in enumerate(sizes)]
    chains: list[list[int]] = []
    for start, end in edges:
        chain = [start]
        for layer in range(layers[start] + 1, layers[end]):
            items.append(_Item(LANE, 0.0, layer, None))
            chain.append(len(items) - 1)
        chain.append(end)
        chains.append(chain)
        for upper, lower in itertools.pairwise(chain):
            items[upper].below.append(lower)
            items[lower].above.append(upper)
    rows: list[list[int]] = [[] for _ in range(1 + max(layers, default=0))]
    for i, item in enumerate(items):
        rows[item.layer].append(i)
    _order(rows, items)
    _align(rows, items)
    left = min(item.x - item.width / 2 for item in items)
    for item in items:
        item.x -= left
    tops, heights = [], [max(items[i].height for i in row) for row in rows]
    y = 0.0
    for height in heights:
        tops.append(y)
        y += height + LAYER_GAP
    lines = [_trace(chain, items, tops, heights) for chain in chains]
    boxes = [(item.x - item.width / 2, tops[item.layer]) for item in items[: len(sizes)]]
    return Layout(max(item.x + item.width / 2 for item in items), y - LAYER_GAP, boxes, lines)


def _choose_layers(count: int, edges: Iterable[tuple[int, int]]) -> list[int]:
    """Places each box below all that lead to it, and what nothing leads to just above what reads it."""
    layers, above, below = [0] * count, [0] * count, [count] * count
    for start, end in sorted(edges, key=lambda edge: edge[1]):
        layers[end] = max(layers[end], layers[start] + 1)
        above[end] += 1
    for start, end in edges:
        below[start] = min(below[start], layers[end])
    return [max(below[i] - 1, 0) if not above[i] and below[i] < count else layer for i, layer in enumerate(layers)]


def _order(rows: list[list[int]], items: list[_Item]) -> None:
    """Sorts layers by the mean place of their neighbors, down and up in turns, to have few crossings."""
    place = {i: float(at) for row in rows for at, i in enumerate(row)}
    best, fewest = [list(row) for row in rows], _count_crossings(rows, items)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        for row in rows[1:] if down else rows[-2::-1]:
            keys = {}
            for i in row:
                near = items[i].above if down else items[i].below
                keys[i] = sum(place[j] for j in near) / len(near) if near else place[i]
            row.sort(key=lambda i: keys[i])
            place.update((i, float(at)) for at, i in enumerate(row))
        crossings = _count_crossings(rows, items)
        if crossings < fewest:
            best, fewest = [list(row) for row in rows], crossings
    rows[:] = best


def _count_crossings(rows: Sequence[Sequence[int]], items: Sequence[_Item]) -> int:
    total = 0
    for upper, lower in itertools.pairwise(rows):
        place = {i: at for at, i in enumerate(lower)}
        ends = [end for i in upper for end in sorted(place[j] for j in items[i].below)]
        if len(ends) > 400:  # too many to count in bounded time, and to be seen
            continue
        total += sum(a > b for at, a in enumerate(ends) for b in ends[at + 1 :])
    return total


def _align(rows: Sequence[Sequence[int]], items: Sequence[_Item]) -> None:
    """Moves items towards their neighbors, in their order and without overlap; lines that pass move least."""
    for row in rows:
        x = 0.0
        for i in row:
            x += items[i].width / 2
            items[i].x = x
            x += items[i].width / 2 + GAP
    for sweep in range(2 * _SWEEPS):
        down = sweep % 2 == 0
        for row in rows[1:] if down else rows[-2::-1]:
            wanted, weights = [], []
            for i in row:
                near = items[i].above if down else items[i].below
                wanted.append(sum(items[j].x for j in near) / len(near) if near else items[i].x)
                weights.append((8.0 if items[i].box is None else 1.0) * (1.0 if near else 0.05))
            for i, x in zip(row, _separate(wanted, weights, [items[i].width for i in row]), strict=True):
                items[i].x = x


def _separate(wanted: Sequence[float], weights: Sequence[float], widths: Sequence[float]) -> list[float]:
    """Finds the places nearest to the wanted ones, by least squares, that are in order and do not overlap."""
    offsets = [0.0]
    for left, right in itertools.pairwise(widths):
        offsets.append(offsets[-1] + (left + right) / 2 + GAP)
    blocks: list[tuple[float, float, int]] = []  # mean, weight, count
    for x, weight, offset in zip(wanted, weights, offsets, strict=True):
        mean, total, count = x - offset, weight, 1
        while blocks and blocks[-1][0] > mean:
            before, more, number = blocks.pop()
            mean = (before * more + mean * total) / (more + total)
            total, count = total + more, count + number
        blocks.append((mean, total, count))
    means = [mean for mean, _, count in blocks for _ in range(count)]
    return [mean + offset for mean, offset in zip(means, offsets, strict=True)]


def _trace(
    chain: Sequence[int], items: Sequence[_Item], tops: Sequence[float], heights: Sequence[float]
) -> list[tuple[float, float]]:
    """Lists the points of a line, from the lower edge of a box to the upper edge of another."""
    first, last = items[chain[0]], items[chain[-1]]
    start = first.x + _spread(first, chain[1], first.below, items)
    end = last.x + _spread(last, chain[-2], last.above, items)
    top = tops[first.layer]
    points = [(start, top + first.height), (start, top + heights[first.layer])]
    for i in chain[1:-1]:
        layer = items[i].layer
        points += [(items[i].x, tops[layer]), (items[i].x, tops[layer] + heights[layer])]
    return [*points, (end, tops[last.layer]), (end, tops[last.layer])]


def _spread(item: _Item, other: int, others: Sequence[int], items: Sequence[_Item]) -> float:
    """Returns how far from a box's center a line meets it, so that several meet it side by side."""
    order: Mapping[int, int] = {j: at for at, j in enumerate(sorted(set(others), key=lambda j: items[j].x))}
    step = min(14.0, 0.8 * item.width / max(len(order), 1))
    return (order[other] - (len(order) - 1) / 2) * step
