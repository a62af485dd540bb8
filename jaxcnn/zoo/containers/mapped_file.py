"""Files mapped into memory, read-only: a reader touches only the pages that it parses."""

import mmap
import os
from pathlib import Path

import numpy as np

from jaxcnn.zoo.checkpoint import FormatError

__all__ = ["copy_in_pieces", "map_file", "release_pages"]

_MIN_RELEASED = 1 << 16  # bytes
_MAX_PIECE = 1 << 24  # bytes


def map_file(path: str | os.PathLike[str]) -> memoryview:
    """Maps a file into memory, read-only, for as long as a view of it exists.

    Args:
        path: The file.

    Returns:
        Its bytes.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is a folder or a device, or if it is empty.

    Example:
        >>> from jaxcnn.zoo.containers.mapped_file import map_file
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "four"
        >>> _ = path.write_bytes(b"1234")
        >>> bytes(map_file(path)[1:3])
        b'23'
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"zoo: path must be an existing file, got {os.fspath(path)!r}.")
    if not Path(path).is_file():
        raise FormatError(path, "must be a file, not a folder or a device.")
    with open(path, "rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            raise FormatError(path, "is empty.")
        try:
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError as error:  # the file was truncated to nothing in the meantime
            raise FormatError(path, f"cannot be mapped: {error}") from error


def copy_in_pieces(source: np.ndarray, target: np.ndarray, mapped: memoryview | None) -> None:
    """Copies an array out of a mapped file and releases its pages on the way, so that they are not resident beside it.

    Args:
        source: A view of the file; of bytes, if ``target`` is of booleans.
        target: An array of its shape, whose axes may be in another order in memory.
        mapped: The bytes of the file that it views, if they are mapped.
    """
    step = max(1, _MAX_PIECE * max(len(source), 1) // max(source.nbytes, 1)) if source.ndim else 1
    if source.nbytes <= _MAX_PIECE or source.ndim == 0:
        target[...] = source != 0 if target.dtype.kind == "b" else source
    else:
        for begin in range(0, len(source), step):
            piece = source[begin : begin + step]
            target[begin : begin + step] = piece != 0 if target.dtype.kind == "b" else piece
            if mapped is not None:
                release_pages(mapped)
    if mapped is not None:
        release_pages(mapped)


def release_pages(view: memoryview) -> None:
    """Returns a mapped file's pages to the system after a large part of it was copied; views stay valid.

    Otherwise the pages of the file stay resident beside the arrays copied from it, which doubles the peak of memory.
    """
    if isinstance(view.obj, mmap.mmap) and view.nbytes >= _MIN_RELEASED and hasattr(mmap, "MADV_DONTNEED"):
        view.obj.madvise(mmap.MADV_DONTNEED)
