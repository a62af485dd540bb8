"""One process at a time writes to a folder."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from jaxcnn._check import check

__all__ = ["lock_folder"]

try:
    import fcntl
except ImportError:  # not on Windows, where folders are not locked
    fcntl = None


@contextlib.contextmanager
def lock_folder(function: str, folder: Path) -> Iterator[None]:
    """Holds the lock of an existing folder, the file ``lock`` in it; the system drops it when the process ends.

    A folder that cannot be written to is not locked.

    Raises:
        ValueError: If another process, or another thread, holds it.
    """
    file = _open_lock(folder)
    with file or contextlib.nullcontext():
        if file is not None:
            _take_lock(function, folder, file)
        yield


def _open_lock(folder: Path) -> TextIO | None:
    """Opens the file of the lock; None where folders cannot be locked."""
    if fcntl is None:
        return None
    try:
        return (folder / "lock").open("a+")
    except OSError:
        return None


def _take_lock(function: str, folder: Path, file: TextIO) -> None:
    """Locks the open file and writes into it which process did."""
    assert fcntl is not None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read(200).strip() or "another process"
        check(False, function, "run", "used by one process at a time", f"{folder}, which {holder} uses now")
    except OSError:  # a file system without locks
        return
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
