"""A network of MatConvNet while it is imported: its variables and its tensors."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.graphs.builder import GraphBuilder
from jaxcnn.zoo.graphs.matconvnet.layers import MatLayer
from jaxcnn.zoo.graphs.matconvnet.options import LayerFields

__all__ = ["MatNetwork", "Rule", "Variable"]


class Variable(NamedTuple):
    """A variable: the name of the value in the graph, and its number of channels where it is known."""

    value: str
    channels: int | None


class MatNetwork:
    """What rules of layers build the graph with.

    Args:
        builder: The parts of the graph.
        groups: Name of a kernel to the number of its groups, as far as the reader knows them.
    """

    def __init__(self, builder: GraphBuilder, groups: Mapping[str, int]):
        self.builder, self.groups = builder, groups
        self._parameters: dict[tuple[str, str], str] = {}

    def error(self, layer: MatLayer, reason: str) -> FormatError:
        """Builds an error that names the layer."""
        return self.builder.error(f"layer {layer.name!r:.80} ({layer.source}): {reason}")

    def fields(self, layer: MatLayer) -> LayerFields:
        """Returns the options of a layer."""
        return LayerFields(layer.fields, lambda reason: self.error(layer, reason))

    def tensor(self, layer: MatLayer, role: str) -> np.ndarray | None:
        """Returns a tensor of a layer as floating numbers, None where it has none.

        Raises:
            FormatError: If it is no array of numbers.
        """
        name = layer.tensors.get(role)
        array = self.builder.tensors.get(name) if name is not None else None
        if array is None or not array.size:
            return None
        if array.dtype.kind not in "fiub":
            raise self.error(layer, f"its {role} are no numbers.")
        return array if array.dtype.kind == "f" else array.astype(np.float32)

    def require(self, layer: MatLayer, role: str, rank: int) -> np.ndarray:
        """Returns a tensor of a layer that must be there.

        Raises:
            FormatError: If it is missing or of another rank.
        """
        array = self.tensor(layer, role)
        if array is None or array.ndim != rank:
            got = "none" if array is None else f"an array of shape {array.shape}"
            raise self.error(layer, f"its {role} must be an array of {rank} axes, got {got}.")
        return array

    def parameter(
        self, layer: MatLayer, tensor: str, role: str, array: np.ndarray, *, collection: str = "params"
    ) -> dict[str, str]:
        """Adds a parameter under the name of the layer; layers that share a tensor share the parameter.

        Args:
            layer: The layer.
            tensor: Which of its tensors.
            role: The role in the graph.
            array: The values.
            collection: Where it belongs.

        Returns:
            Role to path.
        """
        key = (layer.tensors[tensor], role)
        if key not in self._parameters:
            levels = [part for part in layer.name.split("/") if part] or ["unnamed"]
            path = "/".join([*levels, role])
            values = np.ascontiguousarray(array, np.float32)
            self._parameters[key] = self.builder.add_parameter(path, values, collection=collection)
        path = self._parameters[key]
        if self.builder.arrays[path].shape != array.shape:
            raise self.error(layer, f"it uses {path!r} of shape {self.builder.arrays[path].shape} as {array.shape}.")
        return {role: path}

    def add(
        self,
        op: str,
        layer: MatLayer,
        inputs: list[str],
        *,
        part: str = "",
        options: Mapping[str, Any] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> str:
        """Adds a node for a layer, or for a part of it."""
        name = f"{layer.name}/{part}" if part else layer.name
        return self.builder.add(op, name, inputs, options=options, parameters=parameters, source=layer.source)


Rule = Callable[[MatNetwork, MatLayer, list[Variable]], Variable]
"""Adds the nodes of one layer that reads variables, and returns what it writes."""
