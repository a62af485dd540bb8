"""What a SavedModel states beside its nodes: signatures, arguments and results of functions, where variables are."""

from collections.abc import Container, Iterator, Mapping
from typing import Any

from jaxcnn.zoo.containers.protobuf import ProtobufReader
from jaxcnn.zoo.containers.protobuf_schema import BYTES, Message, Repeated
from jaxcnn.zoo.formats.tensorflow.kernel_uses import read_attributes, read_function_name

__all__ = ["describe_functions", "describe_signatures", "find_handles"]

_TEXTS = Message({8: ("texts", Repeated(BYTES))})
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_HANDLES = ("VarHandleOp", "VariableV2", "Variable")
_MAX_PASSED = 32  # nodes between what is restored and the variable


def describe_functions(graph: Mapping[str, Any]) -> dict[str, Any]:
    """Lists arguments and results of the functions of a graph.

    Args:
        graph: The message.

    Returns:
        ``"arguments"``: name of function to names; ``"results"``: name of function to pairs of a name and the value
        that is returned.
    """
    arguments, results = {}, {}
    for function in graph.get("library", {}).get("functions", []):
        name, signature = read_function_name(function), function.get("signature", {})
        values = {entry.get("name", ""): entry.get("value", "") for entry in function.get("values", [])}
        arguments[name] = [one.get("name", "") for one in signature.get("arguments", [])]
        results[name] = [(key, values.get(key, key)) for key in (one.get("name", "") for one in _results(signature))]
    return {"arguments": arguments, "results": results}


def _results(signature: Mapping[str, Any]) -> list[dict[str, Any]]:
    return signature.get("results", [])


def describe_signatures(meta: Mapping[str, Any]) -> dict[str, dict[str, dict[str, str]]]:
    """Lists the signatures of a meta graph.

    Args:
        meta: The message.

    Returns:
        Name of signature to ``"inputs"`` and ``"outputs"``, each name to the value in the graph.
    """
    return {
        entry.get("key", ""): {
            kind: {
                one.get("key", ""): one.get("value", {}).get("name", "") for one in entry.get("value", {}).get(kind, [])
            }
            for kind in ("inputs", "outputs")
        }
        for entry in meta.get("signatures", [])
    }


def find_handles(
    reader: ProtobufReader, graph: Mapping[str, Any], metadata: Mapping[str, Any], tensors: Container[str]
) -> dict[str, str]:
    """Finds which tensor each variable of a SavedModel holds.

    The function that restores variables lists the keys of the checkpoint and assigns their tensors to its arguments.
    Where there is none, as in files of TensorFlow 1, a variable has its own name or its shared one.

    Args:
        reader: The file's reader.
        graph: The message.
        metadata: Its ``"keys"``, name of tensor to key of the checkpoint, where they differ; its ``"duplicates"``, key
            to name, of what the checkpoint holds again.
        tensors: The names of the tensors.

    Returns:
        Name of the node of a variable to name of the tensor; variables without one are left out.

    Raises:
        FormatError: If a list of keys is damaged.
    """
    found: dict[str, str] = {}
    names = {key: name for name, key in metadata.get("keys", {}).items()} | metadata.get("duplicates", {})
    for node in graph.get("nodes", []):
        if node.get("op") in _HANDLES:
            shared = bytes(read_attributes(node).get("shared_name", {}).get("s", b"")).decode("utf-8", "replace")
            own = next((name for name in (shared, node.get("name", "")) if name in tensors), None)
            if own is not None:
                found[node.get("name", "")] = own
    functions = {read_function_name(one): one for one in graph.get("library", {}).get("functions", [])}
    for node in graph.get("nodes", []):
        inside = read_attributes(node).get("f", {}).get("func", {}).get("name", "")
        if node.get("op") in _CALLS and inside in functions:
            function = functions[inside]
            places = {one.get("name"): at for at, one in enumerate(function["signature"].get("arguments", []))}
            for argument, key in _list_restored(reader, function.get("nodes", [])):
                place, name = places.get(argument, len(places)), names.get(key, key)
                if place < len(node.get("inputs", [])) and name in tensors:
                    found[node["inputs"][place].partition(":")[0]] = name
    return found


def _list_restored(reader: ProtobufReader, nodes: list[dict[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yields the argument that each restored variable is, and the key of its tensor."""
    by_name = {node.get("name"): node for node in nodes}
    keys: dict[str, list[str]] = {}
    for node in nodes:
        if node.get("op") == "RestoreV2" and len(node.get("inputs", [])) > 1:
            names = by_name.get(node["inputs"][1].partition(":")[0], {})
            content = read_attributes(names).get("value", {}).get("tensor")
            texts = reader.message(content, _TEXTS).get("texts", []) if content is not None else []
            keys[node.get("name", "")] = [bytes(text).decode("utf-8", "replace") for text in texts]
    for node in nodes:
        if not keys or node.get("op") != "AssignVariableOp" or len(node.get("inputs", [])) < 2:
            continue
        argument, source = node["inputs"][0].partition(":")[0], node["inputs"][1]
        for _ in range(_MAX_PASSED):
            place = source.partition(":")[0]
            if place in keys or by_name.get(place, {}).get("op") != "Identity" or not by_name[place].get("inputs"):
                break
            source = by_name[place]["inputs"][0]
        at = source.rpartition(":")[2]
        if source.partition(":")[0] in keys and at.isdecimal() and int(at) < len(keys[source.partition(":")[0]]):
            yield argument, keys[source.partition(":")[0]][int(at)]
