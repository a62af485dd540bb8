"""What importers build graphs with: unique names, arrays beside their specifications, errors that name the file."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.graphs.cost import find_shapes
from jaxcnn.graphs.graph import Graph
from jaxcnn.graphs.nodes import GraphError, Input, Node, Parameter
from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.records.weight_records import Preprocessing

__all__ = ["GraphBuilder", "ImportedNetwork", "translate_graph_errors"]

_SHOWN = 12  # unknown operations in one message


@dataclasses.dataclass(frozen=True)
class ImportedNetwork:
    """A network as an importer returns it.

    Attributes:
        graph: The network.
        arrays: Path of parameter to array.
        notes: What was left out or read in a certain way, in words.
        preprocessing: How an image becomes its input, where the file says so.
        mean_image: An image (h, w, c) that is subtracted from the input, where the file has one.
        labels: Names of the classes, where the file has them.
    """

    graph: Graph
    arrays: Mapping[str, np.ndarray]
    notes: tuple[str, ...] = ()
    preprocessing: Preprocessing | None = None
    mean_image: np.ndarray | None = None
    labels: tuple[str, ...] | None = None


@contextlib.contextmanager
def translate_graph_errors(path: str | os.PathLike[str]) -> Iterator[None]:
    """Converts errors of graphs to ``FormatError`` with the path of the file."""
    try:
        yield
    except GraphError as error:
        raise FormatError(path, f"has an inconsistent network: {error}") from error


class GraphBuilder:
    """Collects the parts of a network while an importer reads its description.

    Names of nodes and of the values that they write are the source's, with a number behind where one is taken.

    Args:
        path: The file, for error messages.
        tensors: The file's tensors.
        name: Name of the network.
    """

    def __init__(self, path: str | os.PathLike[str], tensors: Mapping[str, np.ndarray], *, name: str = ""):
        self.path, self.tensors, self.name = path, tensors, name
        self.inputs: list[Input] = []
        self.nodes: list[Node] = []
        self.parameters: dict[str, Parameter] = {}
        self.arrays: dict[str, np.ndarray] = {}
        self.taps: dict[str, str] = {}
        self.notes: list[str] = []
        self._unknown: list[str] = []
        self._taken: set[str] = set()
        self._numbers: dict[str, int] = {}

    def error(self, reason: str) -> FormatError:
        """Builds the error to raise for this file."""
        return FormatError(self.path, reason)

    def unique(self, name: str) -> str:
        """Returns a name that no node and no value has yet, and takes it."""
        name = name or "unnamed"
        found, number = name, self._numbers.get(name, 1)
        while found in self._taken:
            found, number = f"{name}_{number}", number + 1
        self._numbers[name] = number  # so that many equal names are counted once
        self._taken.add(found)
        return found

    def add_input(self, name: str, shape: Sequence[int | None]) -> str:
        """Adds an input of the network.

        Args:
            name: Its name.
            shape: Shape of one example, channels last; None where any size is accepted.

        Returns:
            The name of the value.
        """
        name = self.unique(name)
        self.inputs.append(Input(name, tuple(shape)))
        return name

    def add_parameter(self, path: str, array: np.ndarray, *, collection: str = "params") -> str:
        """Adds an array that nodes use; the same path with the same array again is shared.

        Args:
            path: Its keys in the collection, joined by ``/``.
            array: Its values.
            collection: ``"params"``, ``"batch_stats"`` or ``"constants"``.

        Returns:
            The path.

        Raises:
            FormatError: If another array has the path.
        """
        if path in self.arrays and self.arrays[path] is not array:
            raise self.error(f"has two parameters named {path!r}.")
        self.arrays[path] = array
        self.parameters[path] = Parameter(path, tuple(array.shape), collection, array.dtype.name)
        return path

    def add(
        self,
        op: str,
        name: str,
        inputs: Sequence[str],
        *,
        options: Mapping[str, Any] | None = None,
        parameters: Mapping[str, str] | None = None,
        source: str = "",
    ) -> str:
        """Adds a node with one output.

        Args:
            op: The operation.
            name: Its name; a number is added where it is taken.
            inputs: Values that it reads.
            options: Settings.
            parameters: Role to path.
            source: What the source calls the operation.

        Returns:
            The name of the value that it writes, which is the node's name.
        """
        name = self.unique(name)
        self.nodes.append(Node(name, op, tuple(inputs), (name,), options or {}, parameters or {}, source))
        return name

    def add_several(
        self, op: str, name: str, inputs: Sequence[str], count: int, *, options: Mapping[str, Any], source: str = ""
    ) -> list[str]:
        """Adds a node with several outputs, and returns their names, ``name:0`` and so on."""
        if not 0 < count <= 4096:
            raise self.error(f"node {name!r} ({op}) has {count} outputs.")
        name = self.unique(name)
        outputs = [self.unique(f"{name}:{i}") for i in range(count)]
        self.nodes.append(Node(name, op, tuple(inputs), tuple(outputs), options, {}, source))
        return outputs

    def tap(self, name: str, value: str) -> None:
        """Lets users find a value by the source's name of a layer or value."""
        if name != value:
            self.taps[name] = value

    def note(self, text: str) -> None:
        """Records what was left out or read in a certain way, once."""
        if text not in self.notes:
            self.notes.append(text)

    def add_unknown(self, operation: str, name: str, position: int) -> None:
        """Records an operation that the importer does not know; ``finish`` reports all of them."""
        self._unknown.append(f"{operation} (node {position}, {name!r})")

    def check_known(self) -> None:
        """Raises an error that lists the unknown operations, if there are any."""
        if not self._unknown:
            return
        shown = "; ".join(self._unknown[:_SHOWN])
        more = f"; and {len(self._unknown) - _SHOWN} more" if len(self._unknown) > _SHOWN else ""
        raise self.error(f"has operations that are not supported: {shown}{more}.")

    def finish(
        self,
        outputs: Sequence[str],
        *,
        preprocessing: Preprocessing | None = None,
        mean_image: np.ndarray | None = None,
        labels: tuple[str, ...] | None = None,
    ) -> ImportedNetwork:
        """Builds and checks the graph.

        Parameters that nothing uses are left out. Where the inputs state their shapes, so are checked those of all
        values.

        Args:
            outputs: Values that it returns.
            preprocessing: How an image becomes its input.
            mean_image: An image that is subtracted.
            labels: Names of the classes.

        Returns:
            The network.

        Raises:
            FormatError: If operations are unknown, or the network is inconsistent.
        """
        self.check_known()
        used = {path for node in self.nodes for path in node.parameters.values()}
        values = {name for node in self.nodes for name in node.outputs} | {one.name for one in self.inputs}
        with translate_graph_errors(self.path):
            graph = Graph(
                inputs=tuple(self.inputs),
                nodes=tuple(self.nodes),
                outputs=tuple(outputs),
                parameters=tuple(one for path, one in self.parameters.items() if path in used),
                taps={name: value for name, value in self.taps.items() if name not in values and value in values},
                name=self.name,
            )
            if all(size is not None for one in graph.inputs for size in one.shape):
                find_shapes(graph)
        arrays = {one.path: self.arrays[one.path] for one in graph.parameters}
        return ImportedNetwork(graph, arrays, tuple(self.notes), preprocessing, mean_image, labels)
