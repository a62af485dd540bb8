"""Files that are not all there yet, beside the place where they will be, each held by one process or thread."""

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["Part", "hold", "source"]

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class Part:
    """The beginning of a file, in ``<name>.part``, with a note in ``<name>.part.json`` of where it comes from.

    Args:
        path: The part.
        target: Where the whole file will be.
        file: The part, open for reading and writing.
        locked: Whether no other process can write to it.
    """

    def __init__(self, path: Path, target: Path, file: BinaryIO, *, locked: bool):
        self.path, self.target = path, target
        self._file, self._locked = file, locked
        self._note = path.with_name(f"{path.name}.json")
        self._size = file.seek(0, os.SEEK_END)
        self._gone = False

    @property
    def size(self) -> int:
        """How many bytes are there."""
        return self._size

    def validator(self, url: str) -> str | None:
        """Gives what tells the version of the file at ``url`` that this is the beginning of, or None for no such."""
        note = _noted(self._note)
        validator = note.get("validator")
        good = isinstance(validator, str) and validator.isascii() and validator.isprintable() and validator != ""
        return validator if self._size and good and note.get("url") == url else None

    def restart(self, url: str, validator: str | None) -> None:
        """Empties the part, and notes where what follows comes from."""
        self._size = 0
        self._file.seek(0)
        self._file.truncate()
        self._note.write_text(json.dumps({"url": url, "validator": validator}))

    def append(self, data: bytes) -> None:
        """Writes what follows."""
        try:
            self._file.write(data)
        except OSError as error:  # which does not know the name of the file
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._size += len(data)

    def flush(self) -> None:
        """Brings what was written to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def discard(self) -> None:
        """Removes the part."""
        self._let_go()
        for path in (self._note, self.path):
            path.unlink(missing_ok=True)

    def finish(self, url: str) -> None:
        """Puts the part, which is whole, in its place, and notes where it came from."""
        self.flush()
        self._let_go()
        origin = _origin(self.target)
        for path in (origin, self._note):
            path.unlink(missing_ok=True)
        os.replace(self.path, self.target)
        origin.write_text(json.dumps({"url": url}))

    def leave(self) -> None:
        """Removes the part if it cannot be gone on with."""
        if not self._gone and not (self._locked and self._size):
            self.discard()

    def _let_go(self) -> None:
        """Marks the part as gone: what has its name afterwards belongs to another process."""
        self._gone = True
        if not self._locked:
            self._file.close()  # some systems rename and remove no open file


@contextlib.contextmanager
def hold(target: Path) -> Iterator[Part]:
    """Opens the part of a file, once no other process or thread holds it.

    Where files cannot be locked the part has a name of its own, and is removed if it does not get finished.
    """
    path = target.with_name(f"{target.name}.part")
    descriptor = _locked(path)
    locked = descriptor is not None
    if descriptor is None:
        path = target.with_name(f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        descriptor = os.open(path, _FLAGS | os.O_EXCL, 0o666)
    with open(descriptor, "r+b") as file:
        part = Part(path, target, file, locked=locked)
        try:
            yield part
        finally:
            part.leave()


def source(target: Path) -> str | None:
    """Gives the URL that a finished file was downloaded from, or None if it did not come so."""
    url = _noted(_origin(target)).get("url")
    return url if isinstance(url, str) else None


def _origin(target: Path) -> Path:
    return target.with_name(f".{target.name}.origin")


def _noted(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def _locked(path: Path) -> int | None:
    """Opens and locks a file; None where that cannot be."""
    if sys.platform == "win32":
        return None
    import fcntl

    while True:
        descriptor = os.open(path, _FLAGS, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _same(descriptor, path):  # or the one before has finished it, or removed it
                return descriptor
        except OSError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
