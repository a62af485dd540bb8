"""One compilation cache for all test processes, none of which ever sees a half-written entry.

JAX writes the entries of its persistent cache in place, so two processes must not share a folder. Each test process
has a folder of its own. Complete entries are exchanged with the shared folder as hard links, which appear at once.
"""

import contextlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import jax

PROGRAMS = 500
"""Compiled programs after which a process exchanges them and frees their memory, about a megabyte each."""


DAY = 24 * 60 * 60


class CompilationCache:
    """The folder of one process, which starts with the shared entries.

    Args:
        folder: Where the shared entries and the folders of all processes lie.
    """

    def __init__(self, folder: Path) -> None:
        self.shared = folder / "entries"
        self.shared.mkdir(parents=True, exist_ok=True)
        for left in folder.glob("process-*"):  # by processes that were killed
            if time.time() - left.stat().st_mtime > DAY:
                shutil.rmtree(left, ignore_errors=True)
        self.own = Path(tempfile.mkdtemp(prefix="process-", dir=folder))
        self.programs = 0
        self.exchange()
        jax.config.update("jax_compilation_cache_dir", str(self.own))
        # Reading even a single operation takes half as long as compiling it, and writing it next to nothing.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.monitoring.register_event_duration_secs_listener(self._count)

    def _count(self, event: str, duration_secs: float, **_: str | int) -> None:
        self.programs += event == "/jax/core/compile/backend_compile_duration"

    def exchange(self) -> None:
        """Adds this process's entries to the shared ones, and the shared ones to its own."""
        mine, every = set(os.listdir(self.own)), set(os.listdir(self.shared))
        for name in mine ^ every:
            source, target = (self.own, self.shared) if name in mine else (self.shared, self.own)
            with contextlib.suppress(OSError):  # another process was first, or the file system has no hard links
                os.link(source / name, target / name)

    def relieve(self) -> None:
        """Exchanges entries and frees the memory of compiled programs, if there are many."""
        if self.programs >= PROGRAMS:
            self.programs = 0
            self.exchange()
            jax.clear_caches()

    def close(self) -> None:
        """Exchanges entries and removes the folder."""
        self.exchange()
        shutil.rmtree(self.own, ignore_errors=True)
