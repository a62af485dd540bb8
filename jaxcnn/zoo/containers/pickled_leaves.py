"""Nested dictionaries and lists made flat: what is a tensor gets a joined name, the rest becomes plain data."""

import reprlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import FormatError

__all__ = ["flatten", "plain"]

_MAX_NODES = 500_000
_MAX_DEPTH = 64


class _Count:
    """Ends walks over objects that contain themselves or each other too often."""

    def __init__(self, path: Path) -> None:
        self.path, self.nodes = path, 0

    def step(self, depth: int) -> None:
        self.nodes += 1
        if self.nodes > _MAX_NODES or depth > _MAX_DEPTH:
            raise FormatError(self.path, "objects nested too deeply, too many, or within themselves.")


def flatten(
    path: Path,
    tree: Any,
    *,
    is_leaf: Callable[[Any], bool],
    children: Callable[[Any], Any] = lambda node: node,
    separator: str,
) -> tuple[dict[str, Any], Any]:
    """Separates the leaves of a tree of dictionaries and lists from the rest.

    Args:
        path: The file, for messages.
        tree: The tree; it may share parts and even contain itself, which is refused.
        is_leaf: Says what a tensor is.
        children: Gives the dictionary or list of a node of another kind.
        separator: Between the keys in the names.

    Returns:
        Name to leaf in the order of the tree, and the tree of plain data without leaves and empty nodes, or None.

    Raises:
        FormatError: For two leaves of one name, cycles, and trees of more nodes or levels than files have.
    """
    leaves: dict[str, Any] = {}
    count = _Count(path)

    def walk(node: Any, trail: tuple[str, ...]) -> Any:
        count.step(len(trail))
        if is_leaf(node):
            name = separator.join(trail)
            if name in leaves:
                raise FormatError(path, f"two tensors are named {name[:200]!r}.")
            leaves[name] = node
            return None
        node = children(node)
        if isinstance(node, dict):
            rest = {_text(key): walk(value, (*trail, _text(key))) for key, value in node.items()}
            return {key: value for key, value in rest.items() if value is not None} or None
        if isinstance(node, list | tuple | set):
            before = len(leaves)
            found = [walk(value, (*trail, str(place))) for place, value in enumerate(node)]
            return found if found and len(leaves) == before else [item for item in found if item is not None] or None
        return plain(node)

    rest = walk(tree, ())
    return leaves, rest


def _text(key: Any) -> str:
    return key if isinstance(key, str) else key.decode("latin-1") if isinstance(key, bytes) else str(key)


def plain(value: Any) -> Any:
    """Gives a value as JSON can hold it: numbers, texts, booleans and None as they are, the rest as text."""
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()  # no lone surrogates
    if isinstance(value, bytes | memoryview):
        return bytes(value[:1024]).decode("latin-1")
    if isinstance(value, np.ndarray):
        return value.tolist() if value.size <= 100_000 else f"{value.dtype}{value.shape}"
    return reprlib.repr(value) if isinstance(value, complex) else str(value)[:1024]
