"""Files as memory: mapped read-only, so that a reader touches only the pages it parses."""

import mmap
import os
from pathlib import Path

from jaxcnn.zoo.checkpoint import FormatError

__all__ = ["let_go", "mapped"]

_WORTH = 1 << 16  # bytes


def mapped(path: str | os.PathLike[str]) -> memoryview:
    """Maps a file into memory, read-only; it is let go with the last view of it.

    Args:
        path: The file.

    Returns:
        Its bytes.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is a folder or something else that is no file, or if it is empty.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "four"
        >>> _ = path.write_bytes(b"1234")
        >>> bytes(mapped(path)[1:3])
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
        except ValueError as error:  # the file has been cut to nothing meanwhile
            raise FormatError(path, f"cannot be mapped: {error}") from error


def let_go(view: memoryview) -> None:
    """Gives the memory of a mapped file's pages back, where a large part of it was copied; views stay as they are.

    Without it, reading a file by and by takes as much memory again as what is made of it.
    """
    if isinstance(view.obj, mmap.mmap) and view.nbytes >= _WORTH and hasattr(mmap, "MADV_DONTNEED"):
        view.obj.madvise(mmap.MADV_DONTNEED)
