"""Draws a network as SVG: what it computes, from the top down."""

import dataclasses
import html
from collections.abc import Mapping, Sequence

from jaxcnn.graphs import Graph, Node, find_shapes
from jaxcnn.graphs.operations.registry import find_subject
from jaxcnn.report.graph_layout import Layout, place_boxes

__all__ = ["network_svg"]

WIDTH, HEAD, ROW, MARGIN, LEGEND = 250.0, 38.0, 18.0, 14.0, 20.0
"""Pixels: width of a box, height of its first operation and of each further one, edge, height of the legend's lines."""

LEAST = 0.55
"""Smallest scale: on narrower screens a drawing is scrolled."""

SUBJECTS = {
    "input": ("input", "#20262d"),
    "convolutions": ("convolution, dense", "#d9622b"),
    "pooling": ("pooling", "#2a7f8e"),
    "normalization": ("normalization", "#8a4f9e"),
    "activations": ("activation", "#b59a2b"),
    "arithmetic": ("arithmetic", "#3f8f4f"),
    "shapes": ("shape", "#5b6b7b"),
    "resizing": ("resizing", "#3a6fc4"),
    "detection": ("detection", "#c23b5a"),
    "random": ("random", "#9aa5b1"),
}
"""File of the operations -> its name in the legend, and its color."""

STYLE = """
text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; fill: #20262d; }
.box { fill: #fff; stroke: #9aa5b1; } .name { font-weight: 600; } .op { font-size: 11px; }
.shape, .further { font-size: 11px; fill: #55606b; } .end { text-anchor: end; }
.line { fill: none; stroke: #7c8894; stroke-width: 1.4; } .head { fill: #7c8894; } .legend { fill: #7c8894; }
.outer { font-weight: 600; }
@media (prefers-color-scheme: dark) {
  text { fill: #e3e8ed; } .box { fill: #1e242a; stroke: #5b6b7b; } .shape, .further { fill: #a7b2bd; }
  .legend { fill: #a7b2bd; } }
"""

_JOINED = ("activations", "normalization", "random")
"""Operations that are drawn in the box of what they read, if nothing else reads it."""


@dataclasses.dataclass
class _Box:
    """An operation, and those behind it that are drawn with it; of an input no nodes."""

    name: str
    nodes: list[Node]

    @property
    def size(self) -> tuple[float, float]:
        return WIDTH, HEAD + ROW * max(len(self.nodes) - 1, 0)


def network_svg(graph: Graph, *, inputs: Mapping[str, tuple[int, ...]] | None = None) -> str:
    """Draws a network as SVG, with operations in boxes from the top down.

    Activations, normalizations and dropout are in the box of the operation that they follow. Colors tell subjects of
    operations apart. The background is transparent; where a browser is set to dark colors, so is the drawing.

    Args:
        graph: The network.
        inputs: Name of input to the shape of an example, where inputs leave sizes open; without them no shapes are
            drawn.

    Returns:
        The text of an SVG file.

    Raises:
        ValueError: If the network is too large for a drawing, or an input's shape does not fit.

    Example:
        >>> from jaxcnn import report
        >>> from jaxcnn.graphs import Graph, Input, Node
        >>> nodes = (Node("pool1", "max_pool", ("x",), options={"window": 2}), Node("relu1", "relu", ("pool1",)))
        >>> svg = report.network_svg(Graph((Input("x", (8, 8, 3)),), nodes, ("relu1",)))
        >>> svg.count('class="box"'), "4 x 4 x 3" in svg
        (2, True)
    """
    shapes = _find_known_shapes(graph, inputs)
    boxes, edges = _collect_boxes(graph)
    layout = place_boxes([box.size for box in boxes], edges)
    used = [subject for subject in SUBJECTS if any(subject in _subjects(box) for box in boxes)]
    columns = max(1, int((max(layout.width, WIDTH)) // 150))
    top = MARGIN + LEGEND * -(-len(used) // columns) + 12
    width, height = max(layout.width, WIDTH) + 2 * MARGIN, layout.height + top + MARGIN
    left = MARGIN + (width - 2 * MARGIN - layout.width) / 2
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" style="max-width:100%;min-width:{LEAST * width:.0f}px;height:auto" role="img">',
        f"<title>{_escape(graph.name or 'network')}</title><style>{STYLE}</style>",
        *_draw_legend(used, columns),
        f'<g transform="translate({left:.1f} {top:.1f})">',
        *(_draw_line(points) for points in layout.lines),
        *_draw_boxes(boxes, layout, shapes, set(graph.outputs)),
        "</g></svg>\n",
    ]
    return "\n".join(parts)


def _find_known_shapes(graph: Graph, inputs: Mapping[str, tuple[int, ...]] | None) -> dict[str, tuple[int, ...]]:
    open_sizes = any(None in one.shape for one in graph.inputs)
    return {} if open_sizes and inputs is None else find_shapes(graph, inputs=inputs)


def _collect_boxes(graph: Graph) -> tuple[list[_Box], list[tuple[int, int]]]:
    """Joins nodes to boxes, and lists which boxes read which."""
    readers: dict[str, int] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers[name] = readers.get(name, 0) + 1
    boxes = [_Box(one.name, []) for one in graph.inputs]
    place = {one.name: i for i, one in enumerate(graph.inputs)}
    edges: dict[tuple[int, int], None] = {}
    for node in graph.nodes:
        at = place[node.inputs[0]] if node.inputs else None
        alone = len(node.inputs) == 1 and readers[node.inputs[0]] == 1 and node.inputs[0] not in graph.outputs
        if alone and at is not None and boxes[at].nodes and find_subject(node.op) in _JOINED:
            boxes[at].nodes.append(node)
        else:
            at = len(boxes)
            boxes.append(_Box(node.name, [node]))
            edges.update(((place[name], at), None) for name in node.inputs)
        place.update((name, at) for name in node.outputs)
    return boxes, list(edges)


def _subjects(box: _Box) -> list[str]:
    return [find_subject(node.op) for node in box.nodes] or ["input"]


def _draw_legend(used: Sequence[str], columns: int) -> list[str]:
    parts = []
    for i, subject in enumerate(used):
        x, y = MARGIN + 150 * (i % columns), MARGIN + LEGEND * (i // columns)
        name, color = SUBJECTS[subject]
        parts.append(f'<rect x="{x}" y="{y}" width="10" height="10" rx="2" fill="{color}" stroke="#9aa5b1"/>')
        parts.append(f'<text class="legend" x="{x + 16}" y="{y + 9.5}">{name}</text>')
    return parts


def _draw_line(points: Sequence[tuple[float, float]]) -> str:
    """Draws vertical pieces, joined by curves that stay between the layers, and the tip of an arrow."""
    (x, y), end = points[0], points[-1]
    path = [f"M{x:.1f} {y:.1f}"]
    for at in range(1, len(points) - 1, 2):
        (x, y), (x_next, y_next) = points[at], points[at + 1]
        middle = (y + y_next) / 2
        path.append(f"L{x:.1f} {y:.1f}C{x:.1f} {middle:.1f} {x_next:.1f} {middle:.1f} {x_next:.1f} {y_next:.1f}")
    x, y = end
    tip = f'<path class="head" d="M{x:.1f} {y:.1f}l-3.5 -7h7z"/>'
    return f'<path class="line" d="{"".join(path)}"/>{tip}'


def _draw_boxes(
    boxes: Sequence[_Box], layout: Layout, shapes: Mapping[str, tuple[int, ...]], outputs: set[str]
) -> list[str]:
    parts = []
    for box, (x, y) in zip(boxes, layout.boxes, strict=True):
        width, height = box.size
        values = [name for node in box.nodes for name in node.outputs] or [box.name]
        result = box.nodes[-1].outputs[0] if box.nodes else box.name
        shape = " x ".join(map(str, shapes[result])) if result in shapes else ""
        op = _name_operation(box.nodes[0]) if box.nodes else "input"
        returned = outputs.intersection(values)
        parts.append(f'<g transform="translate({x:.1f} {y:.1f})"><title>{_escape(_describe(box, shapes))}</title>')
        stroke = ' style="stroke-width:2.5"' if returned else ""
        parts.append(f'<rect class="box" width="{width}" height="{height}" rx="6"{stroke}/>')
        parts += _draw_strips(box, height)
        parts.append(f'<text class="name" x="14" y="16">{_escape(_shorten(box.name, 28))}</text>')
        parts.append(f'<text class="op" x="14" y="31">{_escape(_shorten(op, 19))}</text>')
        parts.append(f'<text class="shape end" x="{width - 8}" y="31">{shape}</text>')
        for i, node in enumerate(box.nodes[1:]):
            at, kind = HEAD + ROW * i + 12, _shorten(_name_operation(node), 19)
            name = _shorten(node.name, 33 - len(kind))
            parts.append(f'<text class="op" x="14" y="{at}">{_escape(kind)}</text>')
            parts.append(f'<text class="further end" x="{width - 8}" y="{at}">{_escape(name)}</text>')
        parts.append("</g>")
    return parts


def _name_operation(node: Node) -> str:
    """Returns the source's name of an operation; importers add operations on shapes that the source does not have."""
    return node.op if find_subject(node.op) == "shapes" else node.source or node.op


def _draw_strips(box: _Box, height: float) -> list[str]:
    """Draws the colors of a box's operations at its left edge."""
    subjects, parts, y = _subjects(box), [], 5.0
    for i, subject in enumerate(subjects):
        end = height - 5 if i == len(subjects) - 1 else HEAD + ROW * i - 2
        color = SUBJECTS.get(subject, SUBJECTS["shapes"])[1]
        parts.append(f'<rect x="4" y="{y}" width="4" height="{end - y}" rx="2" fill="{color}"/>')
        y = end + 2
    return parts


def _describe(box: _Box, shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Lists the operations of a box with their options, for the text below a mouse pointer."""
    if not box.nodes:
        return f"{box.name}: input {shapes.get(box.name, '')}"
    lines = []
    for node in box.nodes:
        options = ", ".join(f"{key}={value}" for key, value in node.options.items())
        known = [f"{name} {shapes[name]}" for name in node.outputs if name in shapes]
        lines.append(f"{node.name}: {node.op}({options}) → {', '.join(known or node.outputs)}")
    return "\n".join(lines)[:2000]


def _escape(text: str) -> str:
    return html.escape("".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in text))


def _shorten(text: str, most: int) -> str:
    """Shortens at the beginning, where names of scopes are alike, and names without scopes in the middle."""
    if len(text) <= most:
        return text
    return f"…{text[1 - most :]}" if "/" in text else f"{text[: most // 2 - 1]}…{text[-(most - most // 2) :]}"
