"""What the variables of a TensorFlow checkpoint are called, and which of them belong to an optimizer."""

from collections.abc import Mapping
from typing import Any

from jaxcnn.zoo._protobuf import Wire

__all__ = ["OBJECT_GRAPH", "is_slot", "object_names"]

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The key under which a checkpoint of objects describes them."""

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_SLOTS = ("Adadelta", "Adagrad", "Adam", "Ftrl", "Momentum", "RMSProp")
_POWERS = ("beta1_power", "beta2_power")
_GRAPH = {
    1: (
        "nodes",
        [
            {
                2: ("attributes", [{2: ("full_name", "text"), 3: ("checkpoint_key", "text")}]),
                3: ("slots", [{3: ("node", "uint")}]),
            }
        ],
    )
}


def object_names(wire: Wire, graph: memoryview, keys: list[str]) -> tuple[dict[str, str], list[str]]:
    """Names the variables of a checkpoint of objects.

    Convention:
        A variable has its full name where the description of the objects gives one that no other variable has,
        otherwise the path of objects that leads to it.

    Args:
        wire: The file's cursor.
        graph: The description of the objects.
        keys: The keys of the tensors.

    Returns:
        Key to name of the variables, and the keys that belong to optimizers.

    Raises:
        FormatError: If the description is damaged.
    """
    nodes = wire.message(graph, _GRAPH).get("nodes", [])
    full: dict[str, str] = {}
    slots = set()
    for node in nodes:
        for attribute in node.get("attributes", []):
            full[attribute.get("checkpoint_key", "")] = attribute.get("full_name", "")
        for slot in node.get("slots", []):
            if slot.get("node", 0) >= len(nodes):
                raise wire.fail(f"an optimizer's slot is object {slot['node']} of {len(nodes)}.")
            attributes = nodes[slot.get("node", 0)].get("attributes", [])
            slots |= {attribute.get("checkpoint_key", "") for attribute in attributes}
    left_out = [key for key in keys if key in slots or _of_optimizer(key)]
    kept = [key for key in keys if key not in set(left_out)]
    names = [full.get(key) or key.removesuffix(_VALUE) for key in kept]
    twice = {name for name, count in _counts(names).items() if count > 1}
    result = {key: key.removesuffix(_VALUE) if name in twice else name for key, name in zip(kept, names, strict=True)}
    if len(set(result.values())) != len(result):  # a full name may equal another variable's path
        result = {key: key for key in kept}
    return result, left_out


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
    parts: list[Any] = key.split("/")
    return ".OPTIMIZER_SLOT" in parts or "optimizer" in parts[:-1] or "_optimizer" in parts[:-1]


def _counts(names: list[str]) -> dict[str, int]:
    result: dict[str, int] = {}
    for name in names:
        result[name] = result.get(name, 0) + 1
    return result
