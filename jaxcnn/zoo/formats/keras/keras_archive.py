"""Reads the archives ``.keras`` of Keras 3: a configuration and weights in one zip file."""

import json
import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from jaxcnn.zoo.checkpoint import Budget, Checkpoint, FormatError
from jaxcnn.zoo.containers.hdf5 import DEFLATE, open_hdf5, refusing
from jaxcnn.zoo.formats.keras.hdf5_file import read_open_h5

__all__ = ["is_keras", "read_keras"]

WEIGHTS = "model.weights.h5"
PIECE = 1 << 20


def is_keras(path: Path, head: bytes) -> bool:
    """Says whether a file is a zip archive with what Keras 3 puts into one.

    Args:
        path: The file.
        head: Its first 4096 bytes.

    Returns:
        Whether ``read_keras`` is the reader to ask.
    """
    if not head.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile, zipfile.LargeZipFile):
        return b"config.json" in head and b"metadata.json" in head  # broken, but Keras's
    return "config.json" in names and any(name.startswith("model.weights.") for name in names)


def read_keras(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the weights and the configuration of an archive of Keras 3.

    Convention:
        A tensor is named as Keras names the variable, ``"block/conv1/kernel"``, as far as layers and their classes are
        known: layers have their own names, and the variables of the common layers (convolutions, dense, normalization,
        embedding, PReLU) theirs. A number stands in place of the name of another variable, as in the file. Kernels of
        transposed convolutions become (kh, kw, in, out). The configuration is parsed as JSON and never executed. The
        weights, a file in the archive, are first copied to a temporary file.

    Args:
        path: The file.
        max_bytes: What its tensors may take together.

    Returns:
        Writable tensors; ``metadata`` also has ``"paths"``, name to place in the file, ``"layers"``, layer to names of
        tensors, ``"keras_version"`` and ``"date_saved"``; ``graph`` is the model's configuration.

    Raises:
        FormatError: For a file that is truncated, corrupt, hostile or holds no model of Keras.
        FileNotFoundError: If there is no such file.

    Example:
        >>> import pathlib, tempfile, zipfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = pathlib.Path(folder.name) / "empty.keras"
        >>> with zipfile.ZipFile(path, "w") as archive:
        ...     archive.writestr("config.json", "{}")
        >>> from jaxcnn.zoo.formats.keras.keras_archive import read_keras
        >>> read_keras(path, max_bytes=1 << 20)
        Traceback (most recent call last):
        jaxcnn.zoo.checkpoint.FormatError: ...empty.keras: The archive has no model.weights.h5.
        >>> folder.cleanup()

    Parity:
        Values of ``keras.saving.load_model(path).weights`` by ``variable.path``, but for transposed convolutions.
    """
    with open(path, "rb") as file, refusing(path), zipfile.ZipFile(file) as archive:
        size = os.fstat(file.fileno()).st_size
        members = {info.filename: info for info in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise FormatError(path, "The archive has two members of one name.")
        if WEIGHTS not in members:
            sharded = ", but weights in several files, which are not read" if "model.weights.json" in members else ""
            raise FormatError(path, f"The archive has no {WEIGHTS}{sharded}.")
        texts = Budget(path, max(max_bytes, PIECE))
        json_names = ("config.json", "metadata.json")
        described = {name: _json_member(path, archive, members.get(name), size, texts) for name in json_names}
        info = members[WEIGHTS]
        _check_member(path, info, size)
        if info.file_size > size:  # beside the model it may hold the optimizer, of two or three times its size
            Budget(path, 4 * max_bytes + PIECE).spend(info.file_size, WEIGHTS)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "weights.h5"
            _copy(path, archive, info, copy)
            with open_hdf5(copy, max_bytes=max_bytes, shown=path) as inner:
                content = read_open_h5(inner, file_name=WEIGHTS, config=described["config.json"])
    metadata = {**content.metadata, "format": "keras"}
    if isinstance(described["metadata.json"], dict):
        metadata |= {key: described["metadata.json"].get(key) for key in ("keras_version", "date_saved")}
    return Checkpoint(content.tensors, metadata, content.graph)


def _check_member(path: Path, info: zipfile.ZipInfo, size: int) -> None:
    """Refuses a member that is encrypted, packed in a rare way, or would grow beyond what its bytes can give."""
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise FormatError(path, f"{info.filename} is encrypted or packed by a method that is not read.")
    ratio = DEFLATE if info.compress_type == zipfile.ZIP_DEFLATED else 1
    if info.file_size > ratio * min(info.compress_size, size):
        raise FormatError(path, f"{info.filename} declares {info.file_size} bytes, more than its content can give.")


def _json_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo | None, size: int, texts: Budget) -> Any:
    """Parses a member that holds JSON, or gives None where there is none."""
    if info is None:
        return None
    _check_member(path, info, size)
    texts.spend(info.file_size, info.filename)
    with archive.open(info) as member:
        return json.loads(member.read(info.file_size + 1))


def _copy(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Unpacks a member piece by piece, and no more of it than it declares."""
    left = info.file_size
    with archive.open(info) as member, open(target, "wb") as file:
        while piece := member.read(PIECE):
            left -= len(piece)
            if left < 0:
                raise FormatError(path, f"{info.filename} is longer than it declares.")
            file.write(piece)
    if left:
        raise FormatError(path, f"{info.filename} is shorter than it declares.")
