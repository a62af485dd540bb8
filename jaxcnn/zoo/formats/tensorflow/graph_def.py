"""Frozen graphs of TensorFlow, and the graphs of its SavedModels."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import Budget, Checkpoint, FormatError
from jaxcnn.zoo.containers.mapped_file import mapped
from jaxcnn.zoo.containers.protobuf import Wire
from jaxcnn.zoo.formats.tensorflow.tensor_proto import DTYPES, SHAPE, TENSOR, TYPE_NAMES, tensor_of

__all__ = ["constants", "is_tensorflow_graph", "plain_nodes", "read_tensorflow_graph", "saved_model", "serialized"]

_MOST_FILLED = 1 << 28
"""What values may take that a graph does not list but repeats."""

_LIST = {2: ("s", "bytes*"), 3: ("i", "int*"), 4: ("f", "float*"), 5: ("b", "bool*"), 6: ("type", "uint*")}
_LIST |= {7: ("shape", [SHAPE]), 8: ("tensor", "bytes*"), 9: ("func", [{1: ("name", "text")}])}
_VALUE = {1: ("list", _LIST), 2: ("s", "bytes"), 3: ("i", "int"), 4: ("f", "float"), 5: ("b", "bool")}
_VALUE |= {6: ("type", "uint"), 7: ("shape", SHAPE), 8: ("tensor", "bytes"), 9: ("placeholder", "text")}
_VALUE |= {10: ("func", {1: ("name", "text")})}
_NODE = {1: ("name", "text"), 2: ("op", "text"), 3: ("inputs", "text*"), 4: ("device", "text")}
_NODE |= {5: ("attributes", [{1: ("key", "text"), 2: ("value", _VALUE)}])}
_FUNCTION = {1: ("signature", {1: ("name", "text")}), 3: ("nodes", [_NODE])}
_GRAPH = {1: ("nodes", [_NODE]), 2: ("library", {1: ("functions", [_FUNCTION])})}
_GRAPH |= {4: ("versions", {1: ("producer", "int")})}
_META = {1: ("info", {4: ("tags", "text*"), 5: ("version", "text")}), 2: ("graph", _GRAPH)}
_SAVED_MODEL = {1: ("schema", "int"), 2: ("graphs", [_META])}


def is_tensorflow_graph(path: Path, head: bytes) -> bool:
    """Says whether a file is a frozen graph: it begins with a node that has a name and an operation.

    Args:
        path: The file.
        head: Its first bytes.

    Returns:
        Whether it is.
    """
    if head[:1] != b"\x0a":
        return False
    try:
        for number, kind, value in Wire(path).fields(mapped(path)):
            node = Wire(path).message(value, _NODE) if number == 1 and kind == 2 else {}
            return "name" in node and bool(re.fullmatch(r"[\w>.-]+", node.get("op", "")))
    except (FormatError, OSError):
        return False
    return False


def read_tensorflow_graph(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the constants and the nodes of a frozen graph.

    Convention:
        A constant has its node's name, within a function ``function/node``. Kernels are stored as they come out;
        the matrix of a product that transposes it is turned to (in, out).

    Args:
        path: The file, a serialized ``GraphDef``.
        max_bytes: What all tensors may take.

    Returns:
        Tensors of every ``Const`` node, writable; the graph is the list of nodes, dictionaries with ``"op"``,
        ``"name"``, ``"inputs"`` and ``"attributes"``. The nodes of functions are in ``metadata["functions"]``.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is truncated, damaged, or holds more than ``max_bytes``.

    Example:
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
    wire = Wire(path)
    graph = wire.message(mapped(path), _GRAPH)
    if not graph.get("nodes"):
        raise FormatError(path, "holds no node of a graph.")
    tensors, layouts, notes = constants(wire, graph, Budget(path, max_bytes))
    metadata = {"format": "tensorflow-graph", "framework": "tensorflow", "layouts": layouts, "notes": notes}
    nodes, metadata["functions"] = plain_nodes(graph)
    metadata["producer"] = graph.get("versions", {}).get("producer", 0)
    return Checkpoint(tensors, metadata, nodes)


def saved_model(wire: Wire, data: memoryview) -> dict[str, Any]:
    """Parses ``saved_model.pb``: the first of its graphs, the one for serving where several are tagged.

    Args:
        wire: The file's cursor.
        data: The file.

    Returns:
        ``"graph"``, and what is said of it in ``"info"``.

    Raises:
        FormatError: If it is damaged or holds no graph.
    """
    graphs = wire.message(data, _SAVED_MODEL).get("graphs", [])
    serving = [graph for graph in graphs if "serve" in graph.get("info", {}).get("tags", [])]
    if not graphs:
        raise wire.fail("is a SavedModel without a graph.")
    return (serving or graphs)[0]


def serialized(path: Path, head: bytes) -> bool:
    """Says whether a file is ``saved_model.pb``: a version of 1, then only graphs.

    Args:
        path: The file.
        head: Its first bytes.

    Returns:
        Whether it is.
    """
    if head[:3] != b"\x08\x01\x12":
        return False
    try:
        wire = Wire(path)
        for number, _, value in wire.fields(mapped(path)):
            if number == 2:  # a graph holds only messages, of these numbers
                return all(inner in range(1, 9) and kind == 2 for inner, kind, _ in wire.fields(value))
    except (FormatError, OSError):
        return False
    return False


def plain_nodes(graph: dict[str, Any]) -> tuple[list[dict[str, Any]], dict[str, list[dict[str, Any]]]]:
    """Gives the nodes of a graph, and those of its functions by name, without what only a tensor's bytes hold.

    Args:
        graph: The message.

    Returns:
        Nodes, and name of function to nodes.
    """
    library = graph.get("library", {}).get("functions", [])
    functions = {_name(function): [_plain(node) for node in function.get("nodes", [])] for function in library}
    return [_plain(node) for node in graph.get("nodes", [])], functions


def constants(
    wire: Wire, graph: dict[str, Any], budget: Budget
) -> tuple[dict[str, np.ndarray], dict[str, str], list[str]]:
    """Reads the constants of a graph and of its functions.

    Args:
        wire: The file's cursor.
        graph: The message.
        budget: What all tensors may take.

    Returns:
        Tensors, layouts and notes.

    Raises:
        FormatError: If a constant is damaged or there twice.
    """
    tensors: dict[str, np.ndarray] = {}
    layouts: dict[str, str] = {}
    left_out = 0
    filled = Budget(wire.path, _MOST_FILLED)
    scopes = [("", graph.get("nodes", []))]
    scopes += [
        (f"{_name(function)}/", function.get("nodes", [])) for function in graph.get("library", {}).get("functions", [])
    ]
    for prefix, nodes in scopes:
        turned = _turned(nodes)
        for node in nodes:
            if node.get("op") != "Const":
                continue
            name = prefix + node.get("name", "")
            data = _attributes(node).get("value", {}).get("tensor")
            if data is None or name in tensors:
                raise wire.fail(f"the constant {name!r} has no value or is there twice.")
            message = wire.message(data, TENSOR)
            if message.get("dtype") not in DTYPES:
                left_out += 1
                continue
            array = tensor_of(wire, budget, filled, message, name)
            if node.get("name") in turned and array.ndim == 2:
                array, layouts[name] = np.ascontiguousarray(array.T), "OI"
            tensors[name] = array
    notes = [f"{left_out} constants of text or of other types that are no numbers are left out."] if left_out else []
    if layouts:
        notes.append("Matrices that the graph transposes in products are turned to (in, out); see the layouts.")
    return tensors, layouts, notes


def _turned(nodes: list[dict[str, Any]]) -> set[str]:
    """Names the constants that are used by nothing but products that transpose them."""
    passing = [node for node in nodes if node.get("op") == "Identity" and node.get("inputs")]
    origin = {node.get("name"): node["inputs"][0] for node in passing}
    turned: set[str] = set()
    other: set[str] = set()
    for node in nodes:
        if node.get("op") == "Identity":
            continue
        transposed = node.get("op") == "MatMul" and _attributes(node).get("transpose_b", {}).get("b", False)
        for place, source in enumerate(node.get("inputs", [])):
            name = _bare(source)
            for _ in range(32):  # few nodes lie between in real graphs, and a circle ends, too
                if name not in origin:
                    break
                name = _bare(origin[name])
            (turned if transposed and place == 1 else other).add(name)
    return turned - other


def _bare(source: str) -> str:
    """Gives the node's name of an input: ``^node`` and ``node:0`` name ``node``."""
    return source.removeprefix("^").partition(":")[0]


def _name(function: dict[str, Any]) -> str:
    return function.get("signature", {}).get("name", "")


def _attributes(node: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry.get("key", ""): entry.get("value", {}) for entry in node.get("attributes", [])}


def _plain(node: dict[str, Any]) -> dict[str, Any]:
    values = {}
    for key, value in _attributes(node).items():
        inner = value.get("list")
        if inner is not None:
            names = ("s", "i", "f", "b", "type", "shape", "func")
            values[key] = [_word(name, item) for name in names for item in inner.get(name, [])]
        else:
            for name, item in value.items():
                if name != "tensor":
                    values[key] = _word(name, item)
    return {
        "op": node.get("op", ""),
        "name": node.get("name", ""),
        "inputs": list(node.get("inputs", [])),
        "attributes": values,
    }


def _word(name: str, value: Any) -> Any:
    """Gives an attribute's value as plain Python."""
    if name == "s":
        return bytes(value).decode("utf-8", "backslashreplace")
    if name == "type":
        return TYPE_NAMES.get(int(value), int(value))
    if name == "shape":
        return None if value.get("unknown_rank") else tuple(dim.get("size", 0) for dim in value.get("dim", []))
    if name == "func":
        return value.get("name", "")
    return value.item() if isinstance(value, np.generic) else value
