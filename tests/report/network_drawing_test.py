"""Drawings of networks: what is in them, and that boxes and lines keep clear of each other."""

import itertools
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from jaxcnn import report
from jaxcnn.graphs import Graph, Input, Node
from jaxcnn.report.graph_layout import place_boxes


def residual(blocks):
    """Builds a network of residual blocks with a branch that skips all of them."""
    nodes, value = [], "x"
    for i in range(blocks):
        nodes += [
            Node(f"pool{i}", "max_pool", (value,), options={"window": 1}, source="Pooling"),
            Node(f"relu{i}", "relu", (f"pool{i}",)),
            Node(f"mean{i}", "avg_pool", (f"relu{i}",), options={"window": 1}),
            Node(f"sum{i}", "add", (f"mean{i}", value)),
        ]
        value = f"sum{i}"
    nodes.append(Node("all <&>", "concat", (value, "x")))
    return Graph((Input("x", (6, 6, 2)),), tuple(nodes), ("all <&>",), name="residual")


def test_a_drawing_holds_every_operation():
    root = ElementTree.fromstring(report.network_svg(residual(3)))
    texts = [one.text for one in root.iter() if one.tag.endswith("}text")]
    for name in ("x", "pool0", "relu2", "mean1", "sum2", "all <&>", "6 x 6 x 4", "Pooling", "concat", "arithmetic"):
        assert name in texts, name
    boxes = [one for one in root.iter() if one.get("class") == "box"]
    assert len(boxes) == 1 + 3 * 3 + 1  # relu is in the box of the pooling
    width, height = (float(root.get(key, "nan")) for key in ("width", "height"))
    assert root.get("viewBox") == f"0 0 {width:.0f} {height:.0f}"


def test_open_sizes_are_drawn_without_shapes():
    graph = Graph((Input("x", (None, None, 3)),), (Node("relu", "relu", ("x",)),), ("relu",))
    assert " x 3<" not in report.network_svg(graph)
    assert "5 x 4 x 3" in report.network_svg(graph, inputs={"x": (5, 4, 3)})


def edges_at_random(seed, count=40):
    rng = np.random.default_rng(seed)
    edges = {(int(rng.integers(max(0, i - 6), i)), i) for i in range(1, count) for _ in range(rng.integers(1, 3))}
    return sorted(edges | {(0, count - 1), (1, count // 2)})


@pytest.mark.parametrize("seed", range(4))
def test_boxes_do_not_overlap_and_lines_run_around_them(seed):
    rng = np.random.default_rng(seed + 10)
    sizes = [(float(rng.integers(60, 250)), float(rng.integers(30, 90))) for _ in range(40)]
    edges = edges_at_random(seed)
    layout = place_boxes(sizes, edges)
    rectangles = [(x, y, x + w, y + h) for (x, y), (w, h) in zip(layout.boxes, sizes, strict=True)]
    for i, a in enumerate(rectangles):
        assert a[0] >= -1e-6 and a[2] <= layout.width + 1e-6 and a[3] <= layout.height + 1e-6
        for b in rectangles[:i]:
            assert a[0] >= b[2] or b[0] >= a[2] or a[1] >= b[3] or b[1] >= a[3]
    for (start, end), line in zip(edges, layout.lines, strict=True):
        assert rectangles[start][3] == line[0][1] and rectangles[end][1] == line[-1][1]
        for (x, y), (x_next, y_next) in itertools.pairwise(line):
            assert y_next >= y - 1e-6
            for left, top, right, bottom in rectangles:  # of the whole rectangle that a curve may touch
                inside = min(x, x_next) < right and max(x, x_next) > left and y < bottom - 1e-6 and y_next > top + 1e-6
                assert not inside


def test_a_chain_and_what_skips_it_are_straight():
    layout = place_boxes([(100.0, 20.0)] * 6, [(i, i + 1) for i in range(5)])
    assert len({round(x, 3) for x, _ in layout.boxes}) == 1


def test_errors_of_drawings():
    with pytest.raises(ValueError, match="graph must be of at most 20,000 boxes"):
        place_boxes([(1.0, 1.0)] * 20_001, [])
