"""The operations of graphs, by subject."""

import jaxcnn.graphs.operations.activations as activations
import jaxcnn.graphs.operations.arithmetic as arithmetic
import jaxcnn.graphs.operations.convolutions as convolutions
import jaxcnn.graphs.operations.detection as detection
import jaxcnn.graphs.operations.normalization as normalization
import jaxcnn.graphs.operations.pooling as pooling
import jaxcnn.graphs.operations.random as random
import jaxcnn.graphs.operations.resizing as resizing
import jaxcnn.graphs.operations.shapes as shapes

__all__ = [
    "activations",
    "arithmetic",
    "convolutions",
    "detection",
    "normalization",
    "pooling",
    "random",
    "resizing",
    "shapes",
]
