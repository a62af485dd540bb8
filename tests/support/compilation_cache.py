"""One compilation cache for several processes, none of which ever sees a half-written entry.

JAX writes the entries of its persistent cache in place, so two processes must not share a folder. Each test process
has a folder of its own. Complete entries are exchanged with the shared folder as hard links, which appear at once.
"""

import contextlib
import os
import shutil
import tempfile
from pathlib import Path


def own_folder(shared: Path) -> Path:
    """Makes a folder for this process that starts with the shared entries."""
    entries = shared / "entries"
    entries.mkdir(parents=True, exist_ok=True)
    own = Path(tempfile.mkdtemp(prefix="process-", dir=shared))
    exchange(own)
    return own


def exchange(own: Path) -> None:
    """Adds this process's entries to the shared ones, and the shared ones to its own. Not to be called mid-write."""
    shared = own.parent / "entries"
    mine, every = set(os.listdir(own)), set(os.listdir(shared))
    for name in mine ^ every:
        source, target = (own, shared) if name in mine else (shared, own)
        with contextlib.suppress(OSError):  # another process was first, or the file system has no hard links
            os.link(source / name, target / name)


def remove(own: Path) -> None:
    """Removes a process's folder; what it exchanged stays."""
    shutil.rmtree(own, ignore_errors=True)
