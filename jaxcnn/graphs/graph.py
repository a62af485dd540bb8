"""A network as plain data: nodes that read and write named values, and the parameters they use."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from jaxcnn._check import check
from jaxcnn._suggest import suggest
from jaxcnn.graphs.nodes import COLLECTIONS, GraphError, Input, Node, Parameter, is_plain
from jaxcnn.graphs.operations.registry import find_operation

__all__ = ["Graph"]

MAX_NODES = 100_000
"""Nodes of a graph; the deepest published networks have a few thousand."""

MAX_LEVELS = 64
"""Levels of the tree of parameters."""

_FORMAT = "jaxcnn-graph-1"


@dataclasses.dataclass(frozen=True, eq=False)
class Graph:
    """A network as data.

    Values are arrays with any number of leading batch axes; the shapes and axes of options and inputs are those of one
    example, without the batch. Nodes are sorted so that each comes after those whose values it reads.

    Two graphs of equal content are equal and have the same hash, so that a module that holds one is compiled once.

    Attributes:
        inputs: What the caller passes.
        nodes: The operations, in any order when it is created.
        outputs: Names of the values that are returned.
        parameters: The arrays that the nodes use.
        taps: The source's names of layers and values, where they differ from the names of values, to the names of
            values; ``select`` accepts both.
        name: Name of the network, for tables.

    Raises:
        GraphError: If two values, nodes or parameters share a name, a name is undefined, nodes form a cycle, or an
            operation or its options are unknown.

    Example:
        >>> from jaxcnn.graphs import Graph, Input, Node, Parameter
        >>> graph = Graph(
        ...     inputs=(Input("image", (8, 8, 3)),),
        ...     nodes=(
        ...         Node("conv1", "conv", ("image",), options={"strides": 2}, parameters={"kernel": "conv1/kernel"}),
        ...         Node("relu1", "relu", ("conv1",)),
        ...     ),
        ...     outputs=("relu1",),
        ...     parameters=(Parameter("conv1/kernel", (3, 3, 3, 4)),),
        ... )
        >>> print(graph)
        image = input (8, 8, 3)
        conv1 = conv(image, kernel=conv1/kernel (3, 3, 3, 4), strides=2)
        relu1 = relu(conv1)
        return relu1
        >>> Graph.from_json(graph.to_json()) == graph
        True
    """

    inputs: tuple[Input, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    parameters: tuple[Parameter, ...] = ()
    taps: Mapping[str, str] = dataclasses.field(default_factory=dict)
    name: str = ""

    def __post_init__(self) -> None:
        """Checks the graph, and sorts its nodes."""
        for field in ("inputs", "outputs", "parameters"):
            object.__setattr__(self, field, tuple(getattr(self, field)))
        object.__setattr__(self, "taps", MappingProxyType(dict(self.taps)))
        nodes = tuple(self.nodes)
        if len(nodes) > MAX_NODES:
            raise GraphError(f"a graph may have {MAX_NODES:,} nodes, got {len(nodes):,}.")
        check_nodes(nodes, {one.path for one in self.parameters})
        written = _collect_values(self.inputs, nodes)
        object.__setattr__(self, "nodes", sort_nodes(nodes, written))
        _check_unique("parameter", [one.path for one in self.parameters])
        check_parameters(self.parameters)
        if not self.outputs:
            raise GraphError("a graph must have an output.")
        for name in (*self.outputs, *self.taps.values()):
            if name not in written:
                raise GraphError(f"the output {name!r} is no value of the graph{suggest(name, written)}.")

    def __eq__(self, other: object) -> bool:
        """Compares the content."""
        return isinstance(other, Graph) and (self is other or self._digest == other._digest)

    def __hash__(self) -> int:
        """Hashes the content."""
        return hash(self._digest)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles and copies the fields, as read-only mappings cannot be."""
        fields = (self.inputs, self.nodes, self.outputs, self.parameters)
        return type(self), (*fields, dict(self.taps), self.name)

    def __str__(self) -> str:
        """Prints a line per input and node, as a program."""
        shapes = {one.path: one.shape for one in self.parameters}
        lines = [f"{one.name} = input {_shape_text(one.shape)}" for one in self.inputs]
        lines += [_print_node(node, shapes) for node in self.nodes]
        return "\n".join([*lines, f"return {', '.join(self.outputs)}"])

    def __repr__(self) -> str:
        """Describes it in one line."""
        name = f"{self.name!r}, " if self.name else ""
        counts = f"{len(self.nodes):,} nodes, {len(self.parameters):,} parameters"
        return f"Graph({name}{counts}, inputs={[one.name for one in self.inputs]}, outputs={list(self.outputs)})"

    @functools.cached_property
    def _digest(self) -> str:
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @functools.cached_property
    def _selections(self) -> "dict[tuple[str, ...], Graph]":
        """Keeps what ``select`` returned: a module selects at every call."""
        return {}

    @functools.cached_property
    def values(self) -> tuple[str, ...]:
        """The names of all values: inputs first, then those that nodes write."""
        return tuple(_collect_values(self.inputs, self.nodes))

    @functools.cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self.values)

    def find_value(self, name: str) -> str:
        """Finds a value by its name, or by the source's name of a layer or value.

        Args:
            name: The name.

        Returns:
            The name of the value.

        Raises:
            ValueError: If there is none; the message suggests similar names.

        Example:
            >>> from jaxcnn.graphs import Graph, Input, Node
            >>> graph = Graph((Input("x", (2,)),), (Node("relu", "relu", ("x",)),), ("relu",), taps={"ip1": "relu"})
            >>> graph.find_value("ip1")
            'relu'
        """
        if name in self.taps:
            return self.taps[name]
        if name not in self._names:
            hint = suggest(name, (*self.values, *self.taps))
            check(False, "select", "outputs", f"names of layers or values{hint}", repr(name))
        return name

    def select(self, outputs: Iterable[str]) -> "Graph":
        """Returns the part of the graph that computes some of its values.

        Args:
            outputs: Names of values, or the source's names of layers.

        Returns:
            A graph that returns these values. Nodes and parameters that they do not need are left out; the inputs stay.

        Raises:
            ValueError: If there is no such value, or none is asked for.

        Example:
            >>> from jaxcnn.graphs import Graph, Input, Node
            >>> nodes = (Node("relu", "relu", ("x",)), Node("prob", "softmax", ("relu",)))
            >>> graph = Graph((Input("x", (2,)),), nodes, ("prob",))
            >>> [node.name for node in graph.select(["relu"]).nodes]
            ['relu']
        """
        outputs = tuple(outputs)
        check(len(outputs) > 0, "select", "outputs", "at least one name", outputs)
        if outputs not in self._selections:
            self._selections[outputs] = self.prune(tuple(self.find_value(name) for name in outputs))
        return self._selections[outputs]

    def prune(self, outputs: tuple[str, ...]) -> "Graph":
        """Returns the part of the graph that computes these values, by the graph's own names."""
        needed, kept = set(outputs), []
        for node in reversed(self.nodes):
            if needed.intersection(node.outputs):
                needed.update(node.inputs)
                kept.append(node)
        used = {path for node in kept for path in node.parameters.values()}
        available = {one.name for one in self.inputs} | {name for node in kept for name in node.outputs}
        return dataclasses.replace(
            self,
            nodes=tuple(reversed(kept)),
            outputs=outputs,
            parameters=tuple(one for one in self.parameters if one.path in used),
            taps={name: value for name, value in self.taps.items() if value in available},
        )

    def to_json(self) -> str:
        """Writes the graph as JSON, the same text for equal graphs."""
        fields = {
            "format": _FORMAT,
            "name": self.name,
            "inputs": [[one.name, one.shape] for one in self.inputs],
            "nodes": [
                [node.name, node.op, node.inputs, node.outputs, dict(node.options), dict(node.parameters), node.source]
                for node in self.nodes
            ],
            "outputs": self.outputs,
            "parameters": [[one.path, one.shape, one.collection, one.dtype] for one in self.parameters],
            "taps": dict(self.taps),
        }
        return json.dumps(fields, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Graph":
        """Reads what ``to_json`` wrote.

        Args:
            text: The JSON.

        Returns:
            The graph.

        Raises:
            ValueError: If it is not the text of a graph.
            GraphError: If the graph is inconsistent.
        """
        try:
            fields = json.loads(text)
            known = isinstance(fields, dict) and fields.get("format") == _FORMAT
            check(known, "from_json", "text", f"a graph in the format {_FORMAT!r}", f"{text[:60]!r}")
            return cls(
                inputs=tuple(Input(name, tuple(shape)) for name, shape in fields["inputs"]),
                nodes=tuple(
                    Node(name, op, tuple(inputs), tuple(outputs), *rest)
                    for name, op, inputs, outputs, *rest in fields["nodes"]
                ),
                outputs=tuple(fields["outputs"]),
                parameters=tuple(Parameter(path, tuple(shape), *rest) for path, shape, *rest in fields["parameters"]),
                taps=fields["taps"],
                name=fields["name"],
            )
        except (KeyError, TypeError, AttributeError, RecursionError, json.JSONDecodeError) as error:
            raise ValueError(f"from_json: text must be a graph in the format {_FORMAT!r}, got {error!r}.") from error


def check_parameters(parameters: Iterable[Parameter]) -> None:
    """Checks collections and paths: the paths must form a tree."""
    levels: dict[str, str] = {}
    for one in parameters:
        if one.collection not in COLLECTIONS:
            raise GraphError(f"parameter {one.path!r}: collection must be one of {COLLECTIONS}.")
        keys = one.path.split("/")
        if not 2 <= len(keys) <= MAX_LEVELS or not all(keys):
            raise GraphError(f"parameter {one.path!r}: its path must be 'layer/role'.")
        for depth in range(1, len(keys)):
            levels["/".join(keys[:depth])] = one.path
    for one in parameters:
        if one.path in levels:
            raise GraphError(f"parameter {one.path!r} is also a level of the path {levels[one.path]!r}.")


def check_nodes(nodes: Iterable[Node], paths: set[str]) -> None:
    """Checks that operations, options and parameters are known, and that names of nodes are unique."""
    taken: set[str] = set()
    for node in nodes:
        if node.name in taken:
            raise GraphError("another node has the same name.", node)
        taken.add(node.name)
        operation = find_operation(node.op)
        if operation is None:
            raise GraphError("the operation is unknown.", node)
        if fault := operation.find_fault(len(node.inputs), len(node.outputs), node.options, node.parameters):
            raise GraphError(fault, node)
        for key, value in node.options.items():
            if not is_plain(value):
                kind = type(value).__name__
                raise GraphError(f"the option {key} must be a number, a text or a tuple of them, got {kind}.", node)
        for role, path in node.parameters.items():
            if path not in paths:
                raise GraphError(f"the {role} {path!r} is no parameter of the graph.", node)


def sort_nodes(nodes: tuple[Node, ...], written: Mapping[str, Node | None]) -> tuple[Node, ...]:
    """Sorts nodes so that each comes after those whose values it reads; otherwise the order stays.

    Args:
        nodes: The nodes.
        written: Name of each value to the node that writes it, None for an input of the graph.

    Returns:
        The sorted nodes.

    Raises:
        GraphError: If a value is undefined, or nodes form a cycle.
    """
    done: set[str] = {name for name, node in written.items() if node is None}
    result: list[Node] = []
    open_nodes: set[str] = set()
    for first in nodes:
        stack = [first]
        while stack:
            node = stack[-1]
            if node.outputs[0] in done:
                stack.pop()
                continue
            missing: list[Node] = []
            for name in node.inputs:
                if name not in written:
                    raise GraphError(f"the input {name!r} is no value of the graph{suggest(name, written)}.", node)
                writer = written[name]
                if writer is not None and writer.outputs[0] not in done:
                    missing.append(writer)
            if not missing:
                done.update(node.outputs)
                result.append(node)
                stack.pop()
                continue
            if node.name in open_nodes:
                raise GraphError(
                    f"it reads {missing[0].outputs[0]!r}, which depends on it: the nodes form a cycle.", node
                )
            open_nodes.add(node.name)
            stack.extend(reversed(missing))
    return tuple(result)


def _collect_values(inputs: Iterable[Input], nodes: Iterable[Node]) -> dict[str, Node | None]:
    """Maps each value to the node that writes it, None for an input."""
    written: dict[str, Node | None] = {}
    for one in inputs:
        if one.name in written:
            raise GraphError(f"two inputs are named {one.name!r}.")
        written[one.name] = None
    for node in nodes:
        for name in node.outputs:
            if name in written:
                raise GraphError(f"the value {name!r} is written twice.", node)
            written[name] = node
    return written


def _check_unique(kind: str, names: list[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise GraphError(f"two {kind}s are named {name!r}.")
        seen.add(name)


def _print_node(node: Node, shapes: Mapping[str, tuple[int, ...]]) -> str:
    parts = [*node.inputs]
    parts += [f"{role}={path} {_shape_text(shapes[path])}" for role, path in node.parameters.items()]
    parts += [f"{key}={value}" for key, value in node.options.items()]
    return f"{', '.join(node.outputs)} = {node.op}({', '.join(parts)})"


def _shape_text(shape: tuple[int | None, ...]) -> str:
    return f"({', '.join('any' if size is None else str(size) for size in shape)}{',' * (len(shape) == 1)})"
