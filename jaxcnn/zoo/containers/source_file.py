"""The file being read: its path for error messages, and a budget of memory."""

import contextlib
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence

import numpy as np
from jax.typing import DTypeLike

from jaxcnn.zoo.checkpoint import MAX_BYTES, FormatError

__all__ = ["DEFLATE_RATIO", "PARSER_ERRORS", "SourceFile"]

DEFLATE_RATIO = 1032
"""Deflate expands one compressed byte to at most this many bytes (zlib's technical notes)."""

_MAX_RANK = 32
_MAX_TENSORS = 1 << 16
_OBJECT_RATIO = 32  # bytes of Python's objects for a byte of the file; descriptions of real networks take up to 20
_MIN_OBJECT_BYTES, _MAX_OBJECT_BYTES = 12 << 20, 32 << 20  # that they may take however small the file is

PARSER_ERRORS: tuple[type[Exception], ...] = (
    ArithmeticError,
    AttributeError,  # h5py returns identifiers of another kind than the file lets it expect
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SystemError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    zlib.error,
)
"""What parsers of Python, NumPy and h5py raise on damaged content."""


class SourceFile:
    """A file being read: its path for error messages, and the bytes that its tensors may still allocate.

    Every reader passes one of these down to the parsers below it. Bytes are spent before they are allocated.

    Args:
        path: The file as the caller knows it, for error messages.
        max_bytes: What everything read from the file may allocate together.
    """

    def __init__(self, path: str | os.PathLike[str], max_bytes: int = MAX_BYTES):
        self.path = path
        self.max_bytes = max_bytes
        self.bytes_left = max_bytes
        self._object_bytes_left: int | None = None
        self._tensors = 0

    def with_budget(self, max_bytes: int) -> "SourceFile":
        """Returns the same file with a budget of its own, for bytes that are counted apart from the tensors."""
        return SourceFile(self.path, max_bytes)

    def error(self, reason: str) -> FormatError:
        """Builds the error to raise for this file."""
        return FormatError(self.path, reason)

    def spend(self, count: int, what: str) -> None:
        """Takes ``count`` bytes from the budget.

        Raises:
            FormatError: If fewer are left.
        """
        if count < 0 or count > self.bytes_left:
            raise self.error(f"{what} needs {count} bytes, more than is left of max_bytes={self.max_bytes}.")
        self.bytes_left -= count

    def spend_objects(self, count: int) -> None:
        """Takes ``count`` bytes from what names, messages and other small objects may take.

        That is a multiple of the size of the file and a little more, so that a file of tiny or repeated parts cannot
        fill the memory.

        Raises:
            FormatError: If fewer are left.
        """
        if self._object_bytes_left is None:
            try:
                size = os.path.getsize(self.path)
            except OSError:
                size = 0
            least = min(max(self.max_bytes, _MIN_OBJECT_BYTES), _MAX_OBJECT_BYTES)
            self._object_bytes_left = least + _OBJECT_RATIO * size
        self._object_bytes_left -= count
        if self._object_bytes_left < 0:
            raise self.error("its names and small parts take more memory than those of any real file of its size.")

    def spend_tensor(self, shape: Sequence[int], dtype: DTypeLike, what: str, *, stored: int | None = None) -> int:
        """Takes the bytes of one tensor from the budget.

        Args:
            shape: The shape that the file declares.
            dtype: Its NumPy dtype.
            what: The tensor's name, for error messages.
            stored: How many bytes the file holds for it, if they are stored uncompressed; must equal the tensor's size.

        Returns:
            The tensor's size in bytes.

        Raises:
            FormatError: For negative sizes, more than 32 axes, a size beyond the budget, or one that differs from
                ``stored``.
        """
        self._tensors += 1
        if self._tensors > _MAX_TENSORS:
            raise self.error(f"declares more than {_MAX_TENSORS:,} tensors, which no network has.")
        sizes = [int(size) for size in shape]
        if len(sizes) > _MAX_RANK or any(size < 0 for size in sizes):
            raise self.error(f"{what} declares the impossible shape {tuple(sizes[: _MAX_RANK + 1])}.")
        size = math.prod(sizes) * np.dtype(dtype).itemsize
        if stored is not None and size != stored:
            raise self.error(f"{what} declares shape {tuple(sizes)}, {size} bytes, but holds {stored} bytes.")
        self.spend(size, what)
        return size

    @contextlib.contextmanager
    def translate_errors(self) -> Iterator[None]:
        """Converts the exceptions of parsers on damaged content to ``FormatError``."""
        try:
            yield
        except FormatError:
            raise
        except PARSER_ERRORS as error:
            text = str(error).strip("'\"") or "no details"
            raise self.error(f"The file is truncated or corrupt ({type(error).__name__}: {text[:200]}).") from error
