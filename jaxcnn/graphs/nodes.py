"""The parts of a graph: inputs, parameters, nodes."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

__all__ = ["COLLECTIONS", "GraphError", "Input", "Node", "Parameter", "describe_node", "is_plain"]

COLLECTIONS = ("params", "batch_stats", "constants")
"""Where a parameter's array is: trained, updated by training steps, or neither."""


class GraphError(ValueError):
    """An inconsistent graph: ``node 'name' (operation): reason``."""

    def __init__(self, reason: str, node: "Node | None" = None):
        """Joins the node, if one is to blame, and the reason."""
        self.node, self.reason = node, reason
        super().__init__(f"{describe_node(node)}: {reason}" if node is not None else reason)

    def __reduce__(self) -> tuple[type["GraphError"], tuple[str, "Node | None"]]:
        """Pickles both arguments; an exception would pickle only its message."""
        return type(self), (self.reason, self.node)


@dataclasses.dataclass(frozen=True)
class Input:
    """A value that the caller passes.

    Attributes:
        name: Its name.
        shape: The shape of one example, without the batch: (h, w, c) for an image. None where any size is accepted.
            A caller may also pass other heights and widths than stated, if the network allows it.
    """

    name: str
    shape: tuple[int | None, ...]


@dataclasses.dataclass(frozen=True)
class Parameter:
    """The specification of an array that nodes use; the array itself is in the variables.

    Attributes:
        path: Its keys in the collection, joined by ``/``: ``"conv1/kernel"``.
        shape: Its shape.
        collection: ``"params"``, ``"batch_stats"`` or ``"constants"``.
        dtype: Name of its dtype.
    """

    path: str
    shape: tuple[int, ...]
    collection: str = "params"
    dtype: str = "float32"


@dataclasses.dataclass(frozen=True)
class Node:
    """One operation.

    Attributes:
        name: Its name, unique in the graph; usually the source's name of the layer.
        op: Name of the operation, see ``jaxcnn.graphs.operations``.
        inputs: Names of the values that it reads.
        outputs: Names of the values that it writes; none is written by another node.
        options: Settings of the operation: numbers, texts, booleans, None and tuples of them.
        parameters: Role, such as ``"kernel"``, to the path of a parameter. Several nodes may share one.
        source: What the source calls the operation, for tables and messages.
    """

    name: str
    op: str
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)
    source: str = ""

    def __post_init__(self) -> None:
        """Freezes sequences and mappings, and names the only output like the node unless it has a name."""
        object.__setattr__(self, "inputs", tuple(self.inputs))
        object.__setattr__(self, "outputs", tuple(self.outputs) or (self.name,))
        object.__setattr__(self, "options", MappingProxyType({k: _freeze(v) for k, v in self.options.items()}))
        object.__setattr__(self, "parameters", MappingProxyType(dict(self.parameters)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles and copies the fields, as read-only mappings cannot be."""
        fields = (self.name, self.op, self.inputs, self.outputs)
        return type(self), (*fields, dict(self.options), dict(self.parameters), self.source)


def describe_node(node: Node) -> str:
    """Names a node and its operation, for messages."""
    kind = node.op if node.source in ("", node.op) else f"{node.op}, {node.source}"
    return f"node {node.name!r} ({kind})"


def is_plain(value: object) -> bool:
    """Returns whether a value may be an option: a number, a text, a boolean, None, or a tuple of such values."""
    if isinstance(value, tuple):
        return all(map(is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _freeze(value: Any) -> Any:
    """Converts lists to tuples, also inside, and numbers of NumPy to those of Python."""
    if isinstance(value, np.generic):
        return value.item()
    return tuple(map(_freeze, value)) if isinstance(value, list | tuple) else value
