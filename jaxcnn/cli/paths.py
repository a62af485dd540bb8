"""Checks of paths before the work whose results go there, or whose input comes from there."""

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["check_output", "check_output_folder", "check_pictures"]


def check_pictures(command: str, paths: Sequence[str]) -> None:
    """Refuses paths that are not files."""
    for path in paths:
        if os.path.isdir(path):
            raise ValueError(f"{command}: IMAGE must be a picture, got {path!r}, a folder; {path}/* names its files.")
        if not os.path.exists(path):
            raise ValueError(f"{command}: IMAGE must be an existing file, got {path!r}, which does not exist.")


def check_output(command: str, argument: str, path: str | os.PathLike[str]) -> None:
    """Refuses a file that cannot be written; leaves what is there as it is."""
    place = Path(path)
    if place.is_dir():
        raise ValueError(f"{command}: {argument} must be a file, got {str(path)!r}, a folder.")
    if not place.parent.is_dir():
        raise ValueError(f"{command}: {argument} must be a file in a folder that exists, got {str(path)!r}.")
    try:
        if place.exists():
            with open(place, "ab"):
                pass
        else:
            _probe(place.parent)
    except OSError as error:
        raise ValueError(f"{command}: {argument} must be writable, got {str(path)!r} ({error.strerror}).") from None


def check_output_folder(command: str, argument: str, path: str | os.PathLike[str]) -> None:
    """Refuses a folder that cannot be made, or in which nothing can be written; leaves no trace."""
    place = Path(path)
    existing = next(folder for folder in (place, *place.parents) if folder.exists() or folder == folder.parent)
    if not existing.is_dir():
        raise ValueError(f"{command}: {argument} must be a folder, got {str(path)!r}, and {existing} is a file.")
    try:
        _probe(existing)
    except OSError as error:
        raise ValueError(f"{command}: {argument} must be writable, got {str(path)!r} ({error.strerror}).") from None


def _probe(folder: Path) -> None:
    with tempfile.TemporaryFile(dir=folder):
        pass
