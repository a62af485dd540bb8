"""Frozen graphs of TensorFlow, and the graphs of its SavedModels."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint, FormatError
from jaxcnn.zoo.containers.mapped_file import map_file
from jaxcnn.zoo.containers.protobuf import ProtobufReader
from jaxcnn.zoo.containers.protobuf_schema import BOOL, BYTES, FLOAT, INT, TEXT, UINT, Message, Repeated, WireType
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.formats.tensorflow.kernel_uses import (
    GraphUses,
    move_transposed,
    read_attributes,
    read_function_name,
)
from jaxcnn.zoo.formats.tensorflow.program_parts import describe_functions
from jaxcnn.zoo.formats.tensorflow.tensor_proto import DTYPES, SHAPE, TENSOR, TYPE_NAMES, read_tensor

__all__ = [
    "find_transposed_variables",
    "is_saved_model",
    "is_tensorflow_graph",
    "list_nodes",
    "parse_saved_model",
    "read_constants",
    "read_tensorflow_graph",
]

_MAX_FILLED = 1 << 28  # bytes of values that a graph does not list but repeats

_NAME = Message({1: ("name", TEXT)})
_LIST = Message(
    {
        2: ("s", Repeated(BYTES)),
        3: ("i", Repeated(INT)),
        4: ("f", Repeated(FLOAT)),
        5: ("b", Repeated(BOOL)),
        6: ("type", Repeated(UINT)),
        7: ("shape", Repeated(SHAPE)),
        8: ("tensor", Repeated(BYTES)),
        9: ("func", Repeated(_NAME)),
    }
)
_VALUE = Message(
    {
        1: ("list", _LIST),
        2: ("s", BYTES),
        3: ("i", INT),
        4: ("f", FLOAT),
        5: ("b", BOOL),
        6: ("type", UINT),
        7: ("shape", SHAPE),
        8: ("tensor", BYTES),
        9: ("placeholder", TEXT),
        10: ("func", _NAME),
    }
)
_ATTRIBUTE = Message({1: ("key", TEXT), 2: ("value", _VALUE)})
_NODE = Message(
    {
        1: ("name", TEXT),
        2: ("op", TEXT),
        3: ("inputs", Repeated(TEXT)),
        4: ("device", TEXT),
        5: ("attributes", Repeated(_ATTRIBUTE)),
    }
)
_SIGNATURE = Message({1: ("name", TEXT), 2: ("arguments", Repeated(_NAME)), 3: ("results", Repeated(_NAME))})
_RESULT = Message({1: ("name", TEXT), 2: ("value", TEXT)})
_FUNCTION = Message({1: ("signature", _SIGNATURE), 3: ("nodes", Repeated(_NODE)), 4: ("values", Repeated(_RESULT))})
_LIBRARY = Message({1: ("functions", Repeated(_FUNCTION))})
_VERSIONS = Message({1: ("producer", INT)})
_GRAPH = Message({1: ("nodes", Repeated(_NODE)), 2: ("library", _LIBRARY), 4: ("versions", _VERSIONS)})
_INFO = Message({4: ("tags", Repeated(TEXT)), 5: ("version", TEXT)})
_TENSOR_INFO = Message({1: ("key", TEXT), 2: ("value", Message({1: ("name", TEXT)}))})
_CALL = Message({1: ("inputs", Repeated(_TENSOR_INFO)), 2: ("outputs", Repeated(_TENSOR_INFO))})
_NAMED_CALL = Message({1: ("key", TEXT), 2: ("value", _CALL)})
_META_GRAPH = Message({1: ("info", _INFO), 2: ("graph", _GRAPH), 5: ("signatures", Repeated(_NAMED_CALL))})
_SAVED_MODEL = Message({1: ("schema", INT), 2: ("graphs", Repeated(_META_GRAPH))})


def is_tensorflow_graph(path: Path, head: bytes) -> bool:
    """Tests whether a file is a frozen graph: it begins with a node that has a name and an operation.

    Args:
        path: The file.
        head: Its first bytes.

    Returns:
        Whether it is.
    """
    if head[:1] != b"\x0a":
        return False
    try:
        return _begins_with_node(ProtobufReader(SourceFile(path)), map_file(path))
    except (FormatError, OSError):
        return False


def read_tensorflow_graph(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the constants and the nodes of a frozen graph.

    Convention:
        A constant has its node's name, within a function ``function/node``. Kernels are not moved, but the
        matrix of a product that transposes it becomes (in, out), and a kernel that only transposed convolutions use
        (kh, kw, in, out).

    Args:
        path: The file, a serialized ``GraphDef``.
        max_bytes: What all tensors may take.

    Returns:
        Tensors of every ``Const`` node, writable; the graph is the list of nodes, dictionaries with ``"op"``,
        ``"name"``, ``"inputs"`` and ``"attributes"``. The nodes of functions are in ``metadata["functions"]``, their
        arguments and results in ``metadata["arguments"]`` and ``metadata["results"]``.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is truncated, damaged, or holds more than ``max_bytes``.

    Example:
        >>> from jaxcnn.zoo.formats.tensorflow.graph_def import read_tensorflow_graph
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "graph.pb"
        >>> _ = path.write_bytes(bytes.fromhex("0a09 0a0178 12044e6f4f70"))
        >>> read_tensorflow_graph(path, max_bytes=1 << 20).graph
        [{'op': 'NoOp', 'name': 'x', 'inputs': [], 'attributes': {}}]

    Parity:
        Values equal those of ``tf.make_ndarray``.

    References:
        ``graph.proto`` and ``tensor.proto`` of TensorFlow.
    """
    reader = ProtobufReader(SourceFile(path, max_bytes))
    graph = reader.message(map_file(path), _GRAPH)
    if not graph.get("nodes"):
        raise reader.error("holds no node of a graph.")
    tensors, layouts, notes = read_constants(reader, graph)
    metadata = {"format": "tensorflow-graph", "framework": "tensorflow", "layouts": layouts, "notes": notes}
    nodes, metadata["functions"] = list_nodes(graph)
    metadata |= describe_functions(graph)
    metadata["producer"] = graph.get("versions", {}).get("producer", 0)
    return Checkpoint(tensors, metadata, nodes)


def find_transposed_variables(reader: ProtobufReader, meta: memoryview) -> dict[str, bool]:
    """Finds how the graph in a meta graph, such as a checkpoint's ``.meta``, uses the variables that are kernels.

    Args:
        reader: The file's reader.
        meta: The meta graph.

    Returns:
        Name of variable to whether only transposed convolutions use it.

    Raises:
        FormatError: If it is damaged.
    """
    return GraphUses(reader.message(meta, _META_GRAPH).get("graph", {})).transposed_variables()


def parse_saved_model(reader: ProtobufReader, data: memoryview) -> dict[str, Any]:
    """Parses ``saved_model.pb``: the first of its graphs, the one for serving where several are tagged.

    Args:
        reader: The file's reader.
        data: The file.

    Returns:
        ``"graph"``, and its description in ``"info"``.

    Raises:
        FormatError: If it is damaged or holds no graph.
    """
    graphs = reader.message(data, _SAVED_MODEL).get("graphs", [])
    serving = [graph for graph in graphs if "serve" in graph.get("info", {}).get("tags", [])]
    if not graphs:
        raise reader.error("is a SavedModel without a graph.")
    return (serving or graphs)[0]


def is_saved_model(path: Path, head: bytes) -> bool:
    """Tests whether a file is ``saved_model.pb``: version 1, which modules of TensorFlow Hub omit, then only graphs.

    Args:
        path: The file.
        head: Its first bytes.

    Returns:
        Whether it is.
    """
    versioned = head[:2] == b"\x08\x01"
    if head[2 * versioned : 2 * versioned + 1] != b"\x12":
        return False
    try:
        reader = ProtobufReader(SourceFile(path))
        for number, _, value in reader.fields(map_file(path)):
            if number == 2:  # a graph holds only messages, of these numbers
                parts = [(field, kind, inner) for field, kind, inner in reader.fields(value)]
                good = all(field in range(1, 9) and kind == WireType.LENGTH_DELIMITED for field, kind, _ in parts)
                return good and (
                    versioned or any(field == 2 and _begins_with_node(reader, it) for field, _, it in parts)
                )
    except (FormatError, OSError):
        return False
    return False


def _begins_with_node(reader: ProtobufReader, graph: memoryview) -> bool:
    """Tests whether the first field of a graph is a node that has a name and an operation."""
    for number, kind, value in reader.fields(graph):
        node = reader.message(value, _NODE) if number == 1 and kind == WireType.LENGTH_DELIMITED else {}
        return "name" in node and bool(re.fullmatch(r"[\w>.-]+", node.get("op", "")))
    return False


def list_nodes(graph: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Lists the nodes of a graph, and those of its functions by name, without the tensors in them.

    Args:
        graph: The message.

    Returns:
        Nodes, and name of function to nodes.
    """
    library = graph.get("library", {}).get("functions", [])
    functions = {
        read_function_name(function): [_to_plain(node) for node in function.get("nodes", [])] for function in library
    }
    return [_to_plain(node) for node in graph.get("nodes", [])], functions


def read_constants(
    reader: ProtobufReader, graph: dict[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, str], list[str]]:
    """Reads the constants of a graph and of its functions.

    Args:
        reader: The file's reader; all tensors are taken from the file's budget.
        graph: The message.

    Returns:
        Tensors, layouts and notes.

    Raises:
        FormatError: If a constant is damaged or occurs twice.
    """
    tensors: dict[str, np.ndarray] = {}
    layouts: dict[str, str] = {}
    left_out = 0
    filled = reader.source.with_budget(_MAX_FILLED)
    scopes = [("", graph.get("nodes", []))]
    scopes += [
        (f"{read_function_name(function)}/", function.get("nodes", []))
        for function in graph.get("library", {}).get("functions", [])
    ]
    uses = GraphUses(graph)
    kernels: dict[str, bool] = {}
    for prefix, nodes in scopes:
        transposed = uses.transposed_matrices(prefix.removesuffix("/"))
        kernels |= {prefix + name: kind for name, kind in uses.transposed_kernels(prefix.removesuffix("/")).items()}
        for node in nodes:
            if node.get("op") != "Const":
                continue
            name = prefix + node.get("name", "")
            reader.source.spend_objects(len(name))
            data = read_attributes(node).get("value", {}).get("tensor")
            if data is None or name in tensors:
                raise reader.error(f"the constant {name!r} has no value or occurs twice.")
            message = reader.message(data, TENSOR)
            if message.get("dtype") not in DTYPES:
                left_out += 1
                continue
            array = read_tensor(reader, filled, message, name)
            if node.get("name") in transposed and array.ndim == 2:
                array, layouts[name] = np.ascontiguousarray(array.T), "OI"
            tensors[name] = array
    notes = [f"{left_out} constants of text or other types without numbers are left out."] if left_out else []
    if layouts:
        notes.append("Matrices that the graph transposes in products became (in, out); see the layouts.")
    notes += move_transposed(tensors, layouts, kernels, guess=False)
    return tensors, layouts, notes


def _to_plain(node: dict[str, Any]) -> dict[str, Any]:
    values = {}
    for key, value in read_attributes(node).items():
        inner = value.get("list")
        if inner is not None:
            names = ("s", "i", "f", "b", "type", "shape", "func")
            values[key] = [_to_value(name, item) for name in names for item in inner.get(name, [])]
        else:
            for name, item in value.items():
                if name != "tensor":
                    values[key] = _to_value(name, item)
    return {
        "op": node.get("op", ""),
        "name": node.get("name", ""),
        "inputs": list(node.get("inputs", [])),
        "attributes": values,
    }


def _to_value(name: str, value: Any) -> Any:
    """Converts an attribute's value to plain Python."""
    if name == "s":
        return bytes(value).decode("utf-8", "backslashreplace")
    if name == "type":
        return TYPE_NAMES.get(int(value), int(value))
    if name == "shape":
        return None if value.get("unknown_rank") else tuple(dim.get("size", 0) for dim in value.get("dim", []))
    if name == "func":
        return value.get("name", "")
    return value.item() if isinstance(value, np.generic) else value
