"""What the functions that import single operations share: they add nodes, constants and inputs to the network."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.zoo.graphs.builder import GraphBuilder
from jaxcnn.zoo.graphs.tensorflow.naming import PathRegister, name_parameter
from jaxcnn.zoo.graphs.tensorflow.sizes import Dimension, SymbolicSize
from jaxcnn.zoo.graphs.tensorflow.table import SourceNode
from jaxcnn.zoo.graphs.tensorflow.values import FoldedConstant, GraphValue, Noise, Result, UnsupportedNode, product
from jaxcnn.zoo.records.weight_records import Preprocessing

__all__ = ["Context"]

_TO_SOURCE = (2, 0, 1)


class Context:
    """Collects the network while the nodes of a TensorFlow graph are imported.

    Args:
        builder: Where nodes are added.
        constants: The names of all constants and variables.
    """

    def __init__(self, builder: GraphBuilder, constants: set[str]):
        self.builder = builder
        self.made_of: dict[str, tuple[str, tuple[Result, ...]]] = {}  # value to the operation and what it read
        self.absorbed: set[str] = set()  # values that another node computes anew; dropped if nothing reads them
        self.preprocessing: Preprocessing | None = None
        self.fixed_batch: int | None = None
        self.input_names: dict[str, str] = {}
        self.calls: tuple[str, ...] = ("PartitionedCall", "StatefulPartitionedCall")
        self.any_first = False  # whether a function has an operation on maps whose channels come first
        self.values: dict[str, GraphValue] = {}
        self._paths = PathRegister()
        self._parameters: dict[tuple[int, str, tuple[int, ...]], tuple[str, FoldedConstant]] = {}
        scopes = {name.rpartition("/")[0] for name in constants if name.rpartition("/")[2].startswith("pointwise_")}
        self._separable = scopes & {
            name.rpartition("/")[0] for name in constants if name.rpartition("/")[2].startswith("depthwise_")
        }

    def emit(
        self,
        op: str,
        node: SourceNode,
        inputs: Sequence[GraphValue],
        dims: Sequence[Dimension],
        *,
        like: GraphValue | None = None,
        options: Mapping[str, Any] | None = None,
        parameters: Mapping[str, str] | None = None,
        suffix: str = "",
        **changes: Any,
    ) -> GraphValue:
        """Adds a node with one output.

        Args:
            op: The operation of the graph that is built.
            node: The source's node.
            inputs: What it reads.
            dims: TensorFlow's shape of the result.
            like: The value whose batch, order and dtype the result has; by default the first input.
            options: Settings.
            parameters: Role to path.
            suffix: Added to the name, for nodes beside the one that the source names.
            **changes: Fields of the result that differ from ``like``.

        Returns:
            The result.
        """
        name = self.builder.add(
            op,
            node.name + suffix,
            [one.name for one in inputs],
            options=options,
            parameters=parameters,
            source=node.op,
        )
        base = like if like is not None else inputs[0]
        found = dataclasses.replace(base, name=name, dims=tuple(dims), **{"transposed": "", **changes})
        self.values[name] = found
        self.made_of[name] = (node.op, tuple(inputs))
        return found

    def add_input(self, name: str, value: GraphValue) -> GraphValue:
        """Adds an input of the network, as a value describes it."""
        shape = [size if isinstance(size, int) else None for size in value.held]
        found = dataclasses.replace(value, name=self.builder.add_input(name, shape))
        self.values[found.name] = found
        return found

    def parameter(
        self,
        constant: FoldedConstant,
        role: str,
        node: SourceNode,
        array: np.ndarray | None = None,
        *,
        collection: str = "params",
    ) -> str:
        """Adds an array that a node uses, named after the layer of the variable.

        Args:
            constant: The constant.
            role: Its role, such as ``"kernel"``.
            node: The node.
            array: Its values where they are not the constant's as they are.
            collection: Where it is kept.

        Returns:
            Its path.
        """
        array = as_floats(constant.array if array is None else array)
        root = constant.root()
        key = (id(constant), role, array.shape)
        if key not in self._parameters:
            separable = root.name.rpartition("/")[0] in self._separable
            computed = not root.name and root.op
            path = (
                f"{node.name}/{role}" if computed else name_parameter(root.name, node.name, role, separable=separable)
            )
            path = self._paths.take("/".join(part for part in path.split("/") if part))
            self.builder.add_parameter(path, np.ascontiguousarray(array), collection=collection)
            self._parameters[key] = (path, constant)  # the constant stays alive, so that its identity stays unique
        return self._parameters[key][0]

    def to_source(self, value: GraphValue, node: SourceNode) -> GraphValue:
        """Reorders a value that is held channels last to TensorFlow's order."""
        if not value.first:
            return value
        if len(value.example) != 3:
            raise UnsupportedNode("channels first without height and width")
        found = self.emit(
            "permute", node, [value], value.dims, options={"axes": _TO_SOURCE}, suffix="/channels_first", first=False
        )
        return found

    def as_image(self, value: Result, node: SourceNode, channels_first: bool, spatial: int = 2) -> GraphValue:
        """Returns a value held channels last whose order is what an operation on maps reads."""
        value = self.value(value)
        if value.rank != spatial + 2 or value.batch != "leading":
            if value.batch == "none" or value.rank != spatial + 2:
                raise ValueError(f"it reads a value of shape {print_dims(value.dims)}.")
            raise UnsupportedNode("maps whose batch is joined with another axis")
        if value.first == channels_first:
            return value
        if value.first:
            return self.to_source(value, node)
        axes = (*range(1, spatial + 1), 0)
        if spatial != 2:
            raise UnsupportedNode("channels first")
        return self.emit(
            "permute", node, [value], value.dims, options={"axes": axes}, suffix="/channels_last", first=True
        )

    def value(self, found: Result) -> GraphValue:
        """Returns a value of the network; constants become nodes."""
        if isinstance(found, GraphValue):
            return found
        if isinstance(found, Noise):
            raise UnsupportedNode("random numbers")
        raise UnsupportedNode("a constant where a value is expected")

    def finish_value(self, value: GraphValue) -> GraphValue:
        """Returns an output as it is returned: maps channels last, unless a network of such maps transposes them."""
        if value.blocks is not None:
            raise self.builder.error(f"has the output {value.name!r}, which is cut into blocks.")
        if not value.first or not value.transposed or any(self.values[one.name].first for one in self.builder.inputs):
            return value
        node = SourceNode(value.transposed, "Transpose", 0, {})
        return self.emit("permute", node, [value], value.dims, options={"axes": _TO_SOURCE}, first=False)

    def find_like(self, sizes: Sequence[Dimension]) -> GraphValue | None:
        """Finds a map of this height and width, of which one is not known."""
        if not any(isinstance(size, SymbolicSize) for size in sizes):
            return None
        for value in self.values.values():
            if value.rank == 4 and value.batch == "leading" and value.blocks is None and value.held[:2] == tuple(sizes):
                return value
        return None


def as_floats(array: np.ndarray) -> np.ndarray:
    """Converts floating numbers to float32, integers to int32."""
    if array.dtype.kind in "iub" and array.dtype != bool:
        return array.astype(np.int32)
    return array if array.dtype in (np.float32, bool) else array.astype(np.float32)


def print_dims(dims: Sequence[Dimension]) -> str:
    """Prints a shape."""
    return f"({', '.join(str(size) if isinstance(size, int) else 'any' for size in dims)})"


def count_values(dims: Sequence[Dimension]) -> Dimension:
    """Counts the values of a shape."""
    return product(tuple(dims))
