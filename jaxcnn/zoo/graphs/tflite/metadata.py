"""What is packed with a model of TensorFlow Lite: the names of its classes."""

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["read_labels"]

_MAX_BYTES = 1 << 20


def read_labels(path: Path, shape: Sequence[int]) -> tuple[str, ...] | None:
    r"""Reads the names of the classes from the archive behind a model, if it has one.

    Args:
        path: The file.
        shape: Shape of the output; the list must have as many names as it has entries.

    Returns:
        The names; None where there is no list that fits.

    Example:
        >>> import pathlib, tempfile, zipfile
        >>> from jaxcnn.zoo.graphs.tflite.metadata import read_labels
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.tflite"
        >>> _ = path.write_bytes(b"the model")
        >>> with zipfile.ZipFile(path, "a") as archive:
        ...     archive.writestr("labels.txt", "cat\ndog\n")
        >>> read_labels(path, (2,))
        ('cat', 'dog')
    """
    try:
        if len(shape) != 1 or not zipfile.is_zipfile(path):
            return None
        with zipfile.ZipFile(path) as archive:
            entries = [one for one in archive.infolist() if one.filename.lower().endswith(".txt")]
            for entry in entries[:16]:
                if entry.file_size > _MAX_BYTES:
                    continue
                with archive.open(entry) as file:
                    text = io.TextIOWrapper(io.BytesIO(file.read(_MAX_BYTES)), "utf-8").read()
                names = tuple(line.strip() for line in text.splitlines())
                if len(names) == shape[0]:
                    return names
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError, EOFError):
        return None
    return None
