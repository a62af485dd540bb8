"""Trees of dictionaries and lists, flattened: tensors get joined names, the rest becomes plain data."""

import reprlib
from collections.abc import Callable
from typing import Any

import numpy as np

from jaxcnn.zoo.containers.source_file import SourceFile

__all__ = ["flatten_tree", "to_plain"]

_MAX_NODES = 500_000
_MAX_DEPTH = 64


class _NodeCounter:
    """Stops walks over objects that contain themselves or each other too often."""

    def __init__(self, source: SourceFile):
        self.source, self.nodes = source, 0

    def count(self, depth: int) -> None:
        """Counts one node."""
        self.nodes += 1
        if self.nodes > _MAX_NODES or depth > _MAX_DEPTH:
            raise self.source.error("objects nested too deeply, too many, or within themselves.")


def flatten_tree(
    source: SourceFile,
    tree: object,
    *,
    is_leaf: Callable[[object], bool],
    children: Callable[[object], object] = lambda node: node,
    separator: str,
) -> tuple[dict[str, Any], Any]:
    """Separates the leaves of a tree of dictionaries and lists from the rest.

    Args:
        source: The file, for error messages.
        tree: The tree; it may share parts and even contain itself, which is refused.
        is_leaf: Tests whether a node is a tensor.
        children: Converts a node of another kind to a dictionary or list.
        separator: Between the keys in the names.

    Returns:
        Name to leaf in the order of the tree, and the tree of plain data without leaves and empty nodes, or None.

    Raises:
        FormatError: For two leaves of one name, cycles, and trees of more nodes or levels than real files have.
    """
    leaves: dict[str, object] = {}
    counter = _NodeCounter(source)

    def walk(node: object, trail: tuple[str, ...]) -> Any:
        counter.count(len(trail))
        if is_leaf(node):
            source.spend_objects(sum(map(len, trail)))
            name = separator.join(trail)
            if name in leaves:
                raise source.error(f"two tensors are named {name[:200]!r}.")
            leaves[name] = node
            return None
        node = children(node)
        if isinstance(node, dict):
            rest = {_key_text(key): walk(value, (*trail, _key_text(key))) for key, value in node.items()}
            return {key: value for key, value in rest.items() if value is not None} or None
        if isinstance(node, list | tuple | set):
            before = len(leaves)
            found = [walk(value, (*trail, str(place))) for place, value in enumerate(node)]
            return found if found and len(leaves) == before else [item for item in found if item is not None] or None
        return to_plain(node)

    rest = walk(tree, ())
    return leaves, rest


def _key_text(key: object) -> str:
    return key if isinstance(key, str) else key.decode("latin-1") if isinstance(key, bytes) else str(key)


def to_plain(value: object) -> object:
    """Converts a value to what JSON can hold: numbers, texts, booleans and None stay, the rest becomes text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # no lone surrogates
    if isinstance(value, bytes | memoryview):
        return bytes(value[:1024]).decode("latin-1")
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= 100_000 else f"{value.dtype}{value.shape}"
    return reprlib.repr(value) if isinstance(value, complex) else str(value)[:1024]
