"""What the variables of a TensorFlow checkpoint are called, and which of them belong to an optimizer."""

import dataclasses
from collections.abc import Hashable, Mapping
from typing import Any

from jaxcnn.zoo.containers.protobuf import Wire

__all__ = ["OBJECT_GRAPH", "ObjectNames", "is_slot", "object_names"]

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The key under which a checkpoint of objects describes them."""

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_SLOTS = ("Adadelta", "Adagrad", "Adam", "Ftrl", "Momentum", "RMSProp")
_POWERS = ("beta1_power", "beta2_power")
_OPTIMIZERS = ("optimizer", "_optimizer")
_PARTS = ({"_iterations", "_learning_rate"}, {"iter", "learning_rate"})  # what Keras's optimizers consist of
_LISTS = ("variables", "_variables", "_all_variables", "trainable_variables", "non_trainable_variables")
_CHILD = {1: ("node", "uint"), 2: ("name", "text")}
_NODE = {1: ("children", [_CHILD]), 2: ("attributes", [{2: ("full_name", "text"), 3: ("checkpoint_key", "text")}])}
_NODE |= {3: ("slots", [{3: ("node", "uint")}])}
_GRAPH = {1: ("nodes", [_NODE])}


@dataclasses.dataclass
class ObjectNames:
    """What the variables of a checkpoint of objects are called.

    Attributes:
        names: Key to name.
        slots: The keys that belong to optimizers.
        doubled: The keys of variables that are there under another key, too.
    """

    names: dict[str, str]
    slots: list[str]
    doubled: list[str]


def object_names(wire: Wire, graph: memoryview, contents: Mapping[str, Hashable]) -> ObjectNames:
    """Names the variables of a checkpoint of objects.

    Convention:
        A variable has its full name where the description of the objects gives one that no other variable has,
        otherwise the path of objects that leads to it. What only an optimizer leads to belongs to it, whatever its key:
        a key is the shortest path, so even a kernel may have one that goes through the optimizer's list of variables.

    Args:
        wire: The file's cursor.
        graph: The description of the objects.
        contents: The keys of the tensors, and what tells their contents apart: type, shape and checksum.

    Returns:
        The names, and what is left out.

    Raises:
        FormatError: If the description is damaged.
    """
    nodes = wire.message(graph, _GRAPH).get("nodes", [])
    full, described, reached = {}, set(), _reached(wire, nodes)
    for number, node in enumerate(nodes):
        for attribute in node.get("attributes", []):
            key = attribute.get("checkpoint_key", "")
            described.add(key)
            if number in reached:
                full[key] = attribute.get("full_name", "")
    kept = [key for key in contents if key in full or (key not in described and not _of_optimizer(key))]
    chosen = set(kept)
    slots = [key for key in contents if key not in chosen]
    groups: dict[str, list[str]] = {}
    for key in kept:
        groups.setdefault(full.get(key) or key.removesuffix(_VALUE), []).append(key)
    names, doubled = {}, []
    for name, keys in groups.items():
        if len(keys) > 1 and _in_different_lists(keys) and len({contents[key] for key in keys}) == 1:
            doubled += keys[1:]
            keys = keys[:1]
        names |= {key: name if len(keys) == 1 else key.removesuffix(_VALUE) for key in keys}
    if len(set(names.values())) != len(names):  # a full name may equal another variable's path
        names = {key: key for key in names}
    return ObjectNames({key: names[key] for key in kept if key in names}, slots, doubled)


def _reached(wire: Wire, nodes: list[dict[str, Any]]) -> set[int]:
    """Gives the objects to which a way leads that passes no optimizer."""
    reached, waiting = {0}, [0]
    while waiting:
        number = waiting.pop()
        children = nodes[number].get("children", []) if nodes else []
        parts = {child.get("name", "") for child in children}
        if number and (nodes[number].get("slots") or any(need <= parts for need in _PARTS)):
            reached.discard(number)
            continue
        for child in children:
            other = child.get("node", 0)
            if other >= len(nodes):
                raise wire.fail(f"an object has the part {other} of {len(nodes)}.")
            if other not in reached and child.get("name") not in _OPTIMIZERS:
                reached.add(other)
                waiting.append(other)
    return reached


def _in_different_lists(keys: list[str]) -> bool:
    """Says whether variables of one name stand in several of the lists in which an export repeats its variables."""
    lists = [key.removesuffix(_VALUE).split("/")[:-1] for key in keys]
    return len({tuple(parts) for parts in lists}) == len(keys) and all(parts and parts[-1] in _LISTS for parts in lists)


def is_slot(name: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Says whether a variable of a checkpoint by names is an optimizer's: a slot beside its variable, a power of Adam.

    Args:
        name: The variable.
        shapes: The shapes of all variables of the checkpoint.

    Returns:
        Whether it is.

    Example:
        >>> shapes = {"w": (3, 2), "w/Adam": (3, 2), "w/Adam_1": (3, 2), "Adam": (1,)}
        >>> [name for name in shapes if is_slot(name, shapes)]
        ['w/Adam', 'w/Adam_1']
    """
    owner, _, slot = name.rpartition("/")
    base = slot.removesuffix("_1").removesuffix("_2")
    if base in _POWERS:
        return shapes[name] == ()
    return base in _SLOTS and shapes.get(owner) == shapes[name]


def _of_optimizer(key: str) -> bool:
    parts = key.split("/")
    return ".OPTIMIZER_SLOT" in parts or any(name in parts[:-1] for name in _OPTIMIZERS)
