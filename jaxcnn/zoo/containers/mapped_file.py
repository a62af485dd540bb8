"""Files mapped into memory, read-only: a reader touches only the pages that it parses."""

import mmap
import os
from pathlib import Path

from jaxcnn.zoo.checkpoint import FormatError

__all__ = ["map_file", "release_pages"]

_MIN_RELEASED = 1 << 16  # bytes


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


def release_pages(view: memoryview) -> None:
    """Returns a mapped file's pages to the system after a large part of it was copied; views stay valid.

    Otherwise the pages of the file stay resident beside the arrays copied from it, which doubles the peak of memory.
    """
    if isinstance(view.obj, mmap.mmap) and view.nbytes >= _MIN_RELEASED and hasattr(mmap, "MADV_DONTNEED"):
        view.obj.madvise(mmap.MADV_DONTNEED)
