"""The names of the variables of a TensorFlow checkpoint, and which of them belong to an optimizer."""

import dataclasses
import re
from collections.abc import Hashable, Mapping
from typing import Any

from jaxcnn.zoo.containers.protobuf import ProtobufReader
from jaxcnn.zoo.containers.protobuf_schema import TEXT, UINT, Message, Repeated

__all__ = ["OBJECT_GRAPH", "ObjectNames", "is_metric", "is_slot", "name_objects"]

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""The key under which a checkpoint of objects describes them."""

_VALUE_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_SLOTS = ("Adadelta", "Adagrad", "Adam", "Ftrl", "Momentum", "RMSProp")
_POWERS = ("beta1_power", "beta2_power")
_OPTIMIZERS = ("optimizer", "_optimizer")
_OPTIMIZER_PARTS = ({"_iterations", "_learning_rate"}, {"iter", "learning_rate"})  # of Keras's optimizers
_OPTIMIZER_CLASSES = "Adadelta|Adafactor|Adagrad|Adam|Adamax|AdamW|Ftrl|Lamb|Lion|Nadam|RMSprop|SGD"
_OPTIMIZER_SCOPE = re.compile(rf"(?:training(?:_\d+)?/)?(?:{_OPTIMIZER_CLASSES})(?:_\d+)?/")
_METRIC_SCOPE = re.compile(r"metrics(?:_\d+)?/")
_METRIC_PATH = re.compile(
    r"(?:.*/)?(?:keras_api/metrics|compiled_metrics|compiled_loss|_compile_metrics|_compile_loss|_loss_tracker)/"
)
_LISTS = ("variables", "_variables", "_all_variables", "trainable_variables", "non_trainable_variables")
_CHILD = Message({1: ("node", UINT), 2: ("name", TEXT)})
_OBJECT_ATTRIBUTE = Message({2: ("full_name", TEXT), 3: ("checkpoint_key", TEXT)})
_SLOT = Message({3: ("node", UINT)})
_OBJECT = Message(
    {1: ("children", Repeated(_CHILD)), 2: ("attributes", Repeated(_OBJECT_ATTRIBUTE)), 3: ("slots", Repeated(_SLOT))}
)
_OBJECT_GRAPH = Message({1: ("nodes", Repeated(_OBJECT))})


@dataclasses.dataclass
class ObjectNames:
    """The names of the variables of a checkpoint of objects.

    Attributes:
        names: Key to name.
        slots: The keys that belong to optimizers.
        duplicates: The keys of variables that also occur under another key, to that key.
    """

    names: dict[str, str]
    slots: list[str]
    duplicates: dict[str, str]


def name_objects(reader: ProtobufReader, graph: memoryview, contents: Mapping[str, Hashable]) -> ObjectNames:
    """Names the variables of a checkpoint of objects.

    Convention:
        A variable has its full name if the description of the objects states one that no other variable has,
        otherwise the path of objects that leads to it. Variables that are reached only through an optimizer belong to
        it, whatever their key: a key is the shortest path, which may lead through the optimizer's list of variables
        even for a kernel.

    Args:
        reader: The file's reader.
        graph: The description of the objects.
        contents: The keys of the tensors, and what distinguishes their contents: type, shape and checksum.

    Returns:
        The names, and the keys that are left out.

    Raises:
        FormatError: If the description is damaged.
    """
    nodes = reader.message(graph, _OBJECT_GRAPH).get("nodes", [])
    full, described, reached = {}, set(), _find_reachable(reader, nodes)
    for number, node in enumerate(nodes):
        for attribute in node.get("attributes", []):
            key = attribute.get("checkpoint_key", "")
            described.add(key)
            if number in reached:
                full[key] = attribute.get("full_name", "")
    kept = [key for key in contents if key in full or (key not in described and not _is_of_optimizer(key))]
    chosen = set(kept)
    slots = [key for key in contents if key not in chosen]
    groups: dict[str, list[str]] = {}
    for key in kept:
        groups.setdefault(full.get(key) or key.removesuffix(_VALUE_SUFFIX), []).append(key)
    names, duplicates = {}, {}
    for name, keys in groups.items():
        if len(keys) > 1 and _are_in_different_lists(keys) and len({contents[key] for key in keys}) == 1:
            duplicates |= dict.fromkeys(keys[1:], keys[0])
            keys = keys[:1]
        names |= {key: name if len(keys) == 1 else key.removesuffix(_VALUE_SUFFIX) for key in keys}
    if len(set(names.values())) != len(names):  # a full name may equal another variable's path
        names = {key: key for key in names}
    return ObjectNames({key: names[key] for key in kept if key in names}, slots, duplicates)


def _find_reachable(reader: ProtobufReader, nodes: list[dict[str, Any]]) -> set[int]:
    """Finds the objects that can be reached without passing an optimizer."""
    reached, waiting = {0}, [0]
    while waiting:
        number = waiting.pop()
        children = nodes[number].get("children", []) if nodes else []
        parts = {child.get("name", "") for child in children}
        if number and (nodes[number].get("slots") or any(need <= parts for need in _OPTIMIZER_PARTS)):
            reached.discard(number)
            continue
        for child in children:
            other = child.get("node", 0)
            if other >= len(nodes):
                raise reader.error(f"an object has the part {other} of {len(nodes)}.")
            if other not in reached and child.get("name") not in _OPTIMIZERS:
                reached.add(other)
                waiting.append(other)
    return reached


def _are_in_different_lists(keys: list[str]) -> bool:
    """Tests whether variables of one name are in several of the lists in which an export repeats its variables."""
    lists = [key.removesuffix(_VALUE_SUFFIX).split("/")[:-1] for key in keys]
    return len({tuple(parts) for parts in lists}) == len(keys) and all(parts and parts[-1] in _LISTS for parts in lists)


def is_slot(name: str, shapes: Mapping[str, tuple[int, ...]]) -> bool:
    """Tests whether a variable of a checkpoint by names is an optimizer's.

    It is a slot beside its variable, a power of Adam, or within the scope of one of Keras's optimizers.

    Args:
        name: The variable.
        shapes: The shapes of all variables of the checkpoint.

    Returns:
        Whether it is.

    Example:
        >>> from jaxcnn.zoo.formats.tensorflow.object_graph import is_slot
        >>> shapes = {"w": (3, 2), "w/Adam": (3, 2), "w/Adam_1": (3, 2), "Adam": (1,), "training/Adam/w/m": (3, 2)}
        >>> [name for name in shapes if is_slot(name, shapes)]
        ['w/Adam', 'w/Adam_1', 'training/Adam/w/m']
    """
    if _OPTIMIZER_SCOPE.match(name):
        return True
    owner, _, slot = name.rpartition("/")
    base = slot.removesuffix("_1").removesuffix("_2")
    if base in _POWERS:
        return shapes[name] == ()
    return base in _SLOTS and shapes.get(owner) == shapes[name]


def is_metric(name: str, key: str = "") -> bool:
    """Tests whether a variable is one in which Keras counts for a metric.

    Args:
        name: The variable.
        key: Its path of objects, if the checkpoint has one.

    Returns:
        Whether it is.

    Example:
        >>> from jaxcnn.zoo.formats.tensorflow.object_graph import is_metric
        >>> is_metric("metrics/accuracy/total"), is_metric("total", "model/keras_api/metrics/0/total")
        (True, True)
    """
    return _METRIC_SCOPE.match(name) is not None or _METRIC_PATH.match(key) is not None


def _is_of_optimizer(key: str) -> bool:
    parts = key.split("/")
    return ".OPTIMIZER_SLOT" in parts or any(name in parts[:-1] for name in _OPTIMIZERS)
