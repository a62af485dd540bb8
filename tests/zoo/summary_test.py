"""The summary of a checkpoint: sizes, notes, tensors, and the layers of every format's graph."""

import numpy as np
import pytest

from jaxcnn import zoo
from jaxcnn.zoo.summary import count_layers, summarize
from tests.support.paths import FIXTURES


def test_names_that_cannot_be_printed():
    tensors = {"a\x1b[31m\nb": np.zeros((), np.int8), "é/\ud800": np.zeros((2, 3))}
    lines = summarize(zoo.Checkpoint(tensors, {"format": "numpy", "framework": "numpy", "notes": ["left\rout"]}))
    assert lines[2:] == [
        "tensors    2, of 7 values in 49 bytes",
        "note       left?out",
        "a?[31m?b  ()      int8",
        "é/?       (2, 3)  float64",
    ]


@pytest.mark.parametrize(
    ("graph", "count"),
    [
        ([{"op": "Const"}, {"op": "Conv2D", "attributes": {"layers": 3}}], 2),
        ([{"operators": [{"op": "ADD"}] * 3}, {"operators": [{"op": "MUL"}]}], 4),
        ({"name": "caffe", "layers": [{"type": "ReLU"}]}, 1),
        ({"class_name": "Sequential", "config": [{"class_name": "Dense", "config": {"name": "d"}}]}, 1),
        ({"config": {"layers": [{"config": {}}, {"config": {"layers": [{"config": {}}] * 2}}]}}, 4),
        ("no graph that is known", 0),
    ],
)
def test_layers_are_counted(graph, count):
    assert count_layers(graph) == count


def test_a_stored_graph():
    lines = summarize(zoo.read(FIXTURES / "tensorflow" / "float.tflite"), tensors=2)
    assert lines[0] == "format     tflite" and lines[2].startswith("tensors    7, of ")
    assert (
        lines[3] == f"graph      {len(zoo.read(FIXTURES / 'tensorflow' / 'float.tflite').graph[0]['operators'])} layers"
    )
    assert lines[-1] == "and 5 more" and len(lines) == 7


@pytest.mark.errors
def test_error_for_a_negative_number():
    with pytest.raises(ValueError, match="summarize: tensors must be an integer of at least 0, got -1"):
        summarize(zoo.Checkpoint({}, {"format": "numpy", "framework": "numpy"}), tensors=-1)
