"""The nodes of a TensorFlow graph, or of one call of a function, while they are evaluated."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxcnn.zoo.graphs.tensorflow.values import Result

__all__ = ["Scope"]


@dataclasses.dataclass
class Scope:
    """The nodes of a graph or of one call of a function.

    Attributes:
        nodes: Name to node.
        positions: Name to place in the file.
        prefix: What is put before the names of nodes.
        function: Name of the function, empty for the graph.
        arguments: What the arguments of the function are.
        results: Name to what the node's outputs are.
        shapes: Shapes of its constants.
        readers: Name to the names of the nodes that read it.
    """

    nodes: dict[str, dict[str, Any]]
    positions: dict[str, int]
    prefix: str = ""
    function: str = ""
    arguments: Mapping[str, Result] = dataclasses.field(default_factory=dict)
    results: dict[str, list[Result]] = dataclasses.field(default_factory=dict)
    readers: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
