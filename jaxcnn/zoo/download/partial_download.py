"""Partially downloaded files, kept beside their targets, each held by one process or thread."""

import contextlib
import json
import os
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["PartialFile", "hold", "origin_url"]

_FLAGS = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)


class PartialFile:
    """The beginning of a file, in ``<name>.part``, with its origin in ``<name>.part.json``.

    Args:
        path: The partial file.
        target: Where the complete file will be.
        file: The partial file, open for reading and writing.
        locked: Whether other processes are kept from writing to it.
    """

    def __init__(self, path: Path, target: Path, file: BinaryIO, *, locked: bool):
        self.path, self.target = path, target
        self._file, self._locked = file, locked
        self._note = path.with_name(f"{path.name}.json")
        self._size = file.seek(0, os.SEEK_END)
        self._released = False

    @property
    def size(self) -> int:
        """How many bytes have been written."""
        return self._size

    def validator(self, url: str) -> str | None:
        """Returns what identifies the version of the file at ``url`` that this is the beginning of; None if unknown."""
        note = _read_note(self._note)
        validator = note.get("validator")
        good = isinstance(validator, str) and validator.isascii() and validator.isprintable() and validator != ""
        return validator if self._size and good and note.get("url") == url else None

    def restart(self, url: str, validator: str | None) -> None:
        """Empties the file, and records the origin of what follows."""
        self._size = 0
        self._file.seek(0)
        self._file.truncate()
        self._note.write_text(json.dumps({"url": url, "validator": validator}))

    def append(self, data: bytes) -> None:
        """Appends bytes."""
        try:
            self._file.write(data)
        except OSError as error:  # it does not contain the file's name
            raise OSError(error.errno, error.strerror, str(self.path)) from error
        self._size += len(data)

    def flush(self) -> None:
        """Writes everything to the disk."""
        self._file.flush()
        os.fsync(self._file.fileno())

    def discard(self) -> None:
        """Removes the file."""
        self._release()
        for path in (self._note, self.path):
            path.unlink(missing_ok=True)

    def finish(self, url: str) -> None:
        """Moves the complete file to its target, and records its origin."""
        self.flush()
        self._release()
        origin = _origin_path(self.target)
        for path in (origin, self._note):
            path.unlink(missing_ok=True)
        os.replace(self.path, self.target)
        origin.write_text(json.dumps({"url": url}))

    def leave(self) -> None:
        """Removes the file if it cannot be resumed."""
        if not self._released and not (self._locked and self._size):
            self.discard()

    def _release(self) -> None:
        """Marks the file as released: afterwards its name belongs to another process."""
        self._released = True
        if not self._locked:
            self._file.close()  # some systems cannot rename or remove open files


@contextlib.contextmanager
def hold(target: Path) -> Iterator[PartialFile]:
    """Opens the partial file of a target, once no other process or thread holds it.

    Where files cannot be locked, it gets a name of its own and is removed if it is not finished.
    """
    path = target.with_name(f"{target.name}.part")
    descriptor = _open_locked(path)
    locked = descriptor is not None
    if descriptor is None:
        path = target.with_name(f"{target.name}.{os.getpid()}-{secrets.token_hex(4)}.part")
        descriptor = os.open(path, _FLAGS | os.O_EXCL, 0o666)
    with open(descriptor, "r+b") as file:
        part = PartialFile(path, target, file, locked=locked)
        try:
            yield part
        finally:
            part.leave()


def origin_url(target: Path) -> str | None:
    """Returns the URL from which a finished file was downloaded, or None if it was not downloaded."""
    url = _read_note(_origin_path(target)).get("url")
    return url if isinstance(url, str) else None


def _origin_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.origin")


def _read_note(path: Path) -> dict[str, Any]:
    try:
        note = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return {}
    return note if isinstance(note, dict) else {}


def _open_locked(path: Path) -> int | None:
    """Opens and locks a file; returns None if that is not possible."""
    if sys.platform == "win32":
        return None
    import fcntl

    while True:
        descriptor = os.open(path, _FLAGS, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if _is_same_file(descriptor, path):  # otherwise the previous holder has finished or removed it
                return descriptor
        except OSError:
            os.close(descriptor)
            return None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
