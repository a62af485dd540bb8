"""What Keras computes differently by version and backend."""

import numpy as np
import pytest

from jaxcnn import zoo
from tests.support.untyped import untyped
from tests.zoo.graphs.keras_test import write
from tests.zoo.graphs.tensorflow_test import reference


@pytest.mark.parametrize(
    ("version", "backend", "rounded"),
    [("2.15.0", "tensorflow", True), ("3.5.0", "tensorflow", True), ("3.5.0", "jax", False)],
)
def test_cubic_interpolation_rounds_positions_as_tensorflow_does(tmp_path, version, backend, rounded):
    inputs, outputs = reference("rare")
    x, expected = inputs["image"], outputs["ResizeBicubic_3"]
    height, width = expected.shape[1:3]
    settings = {"height": height, "width": width, "interpolation": "bicubic", "name": "resizing", "trainable": True}
    layers = [
        {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, *x.shape[1:]]}},
        {"class_name": "Resizing", "config": settings},
    ]
    config = {"class_name": "Sequential", "config": {"name": "net", "layers": layers}}
    network = zoo.load(write(tmp_path / "a.h5", config, {"resizing": {}}, version, backend))
    found = untyped(network.model.apply(network.variables, x))
    assert np.allclose(found, expected, atol=1e-5) == rounded
    np.testing.assert_allclose(found, expected, atol=2e-3)
