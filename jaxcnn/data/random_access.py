"""What the readers of whole examples have in common."""

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

__all__ = ["RandomAccess"]


@runtime_checkable
class RandomAccess(Protocol):
    """A source of examples by number, such as an image folder, a list, or a source of grain or TFDS."""

    def __len__(self) -> int:
        """Returns the number of examples."""
        ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]:
        """Reads example ``index``, such as ``{"image": ..., "label": ...}``."""
        ...
