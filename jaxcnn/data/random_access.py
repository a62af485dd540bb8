"""What readers of examples, and of batches of them, have in common."""

from collections.abc import Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

from jaxcnn._typing import Batch

__all__ = ["BatchesByStep", "Epochs", "RandomAccess"]


@runtime_checkable
class RandomAccess(Protocol):
    """A source of examples by number, such as an image folder, a list, or a source of grain or TFDS."""

    def __len__(self) -> int:
        """Returns the number of examples."""
        ...

    def __getitem__(self, index: int, /) -> Mapping[str, Any]:
        """Reads example ``index``."""
        ...


@runtime_checkable
class BatchesByStep(Protocol):
    """Batches by number, such as a ``data.Loader`` or a list."""

    def __getitem__(self, step: int, /) -> Batch:
        """Returns the batch of a step."""
        ...


@runtime_checkable
class Epochs(Protocol):
    """Data that can be gone through once in order, such as a ``data.Loader``."""

    def epoch(self) -> Iterable[Batch]:
        """Returns the batches of one pass."""
        ...
