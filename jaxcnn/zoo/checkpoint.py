"""What a reader of weight files gives, the error it raises, and the guard of memory that it asks first."""

import dataclasses
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["MAX_BYTES", "Budget", "Checkpoint", "Format", "FormatError"]

MAX_BYTES = 4 << 30
"""How many bytes of tensors a file may hold unless the caller says otherwise."""


class FormatError(ValueError):
    """A file that is truncated, corrupt, hostile, unsupported or of another format: ``path: reason``."""

    def __init__(self, path: str | os.PathLike[str], reason: str):
        """Joins path and reason."""
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.path = os.fspath(path)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the two arguments, where an exception would pickle its message."""
        return type(self), (self.path, self.reason)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The content of one weight file.

    Attributes:
        tensors: Name to array, in the order of the file. Names are the file's. Kernels of convolutions are
            (kh, kw, in, out), depthwise ones (kh, kw, c, m), kernels of dense layers (in, out).
        metadata: ``"format"`` and ``"framework"``; ``"layouts"``: name to the source's order of axes for each
            tensor whose axes were moved, such as ``"OIHW"``; ``"notes"``: what was left out or changed, in words;
            and what else the file says of itself.
        graph: The network as the file describes it, or None where it carries weights only.
    """

    tensors: Mapping[str, np.ndarray]
    metadata: Mapping[str, Any]
    graph: Any = None


Format = tuple[str, Callable[[Path, bytes], bool], Callable[..., Checkpoint]]
"""A format's name, whether a path whose file has these first bytes is of it, and its reader."""


class Budget:
    """Counts the bytes that a file makes its reader allocate, and refuses before they are allocated.

    Args:
        path: The file, for the message.
        max_bytes: What all tensors of the file together may take.
    """

    def __init__(self, path: str | os.PathLike[str], max_bytes: int):
        """Begins with all of ``max_bytes`` left."""
        self.path = path
        self.left = self.max_bytes = max_bytes

    def spend(self, count: int, what: str) -> None:
        """Takes ``count`` bytes from what is left, or raises ``FormatError``."""
        if count < 0 or count > self.left:
            raise FormatError(
                self.path, f"{what} needs {count} bytes, more than is left of max_bytes={self.max_bytes}."
            )
        self.left -= count

    def tensor(self, shape: Sequence[int], dtype: Any, what: str, *, stored: int | None = None) -> int:
        """Takes the bytes of one tensor from what is left.

        Args:
            shape: The shape that the file declares.
            dtype: Its NumPy dtype.
            what: The tensor's name, for the message.
            stored: The bytes that the file really holds for it, where they are stored as they are; must be equal.

        Returns:
            The tensor's size in bytes.

        Raises:
            FormatError: For negative sizes, more than 32 axes, a size beyond what is left, or other bytes than stored.
        """
        sizes = [int(size) for size in shape]
        if len(sizes) > 32 or any(size < 0 for size in sizes):
            raise FormatError(self.path, f"{what} declares the impossible shape {tuple(sizes[:33])}.")
        size = math.prod(sizes) * np.dtype(dtype).itemsize
        if stored is not None and size != stored:
            raise FormatError(
                self.path, f"{what} declares shape {tuple(sizes)}, {size} bytes, but holds {stored} bytes."
            )
        self.spend(size, what)
        return size
