"""Keras 3's ``.keras`` archives: a configuration and weights in one zip file."""

import os
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.containers.hdf5 import open_hdf5
from jaxcnn.zoo.containers.json_text import parse_json
from jaxcnn.zoo.containers.source_file import DEFLATE_RATIO, SourceFile
from jaxcnn.zoo.formats.keras.hdf5_file import read_open_h5

__all__ = ["is_keras", "read_keras"]

_WEIGHTS = "model.weights.h5"
_PIECE = 1 << 20


def is_keras(path: Path, head: bytes) -> bool:
    """Tests whether a file is a zip archive with the entries that Keras 3 writes.

    Args:
        path: The file.
        head: Its first 4096 bytes.

    Returns:
        Whether ``read_keras`` should read it.
    """
    if not head.startswith(b"PK\x03\x04"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile, zipfile.LargeZipFile):
        return b"config.json" in head and b"metadata.json" in head  # damaged, but Keras's
    return "config.json" in names and any(name.startswith("model.weights.") for name in names)


def read_keras(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the weights and the configuration of an archive of Keras 3.

    Convention:
        A tensor is named as Keras names the variable, ``"block/conv1/kernel"``, as far as layers and their classes are
        known: layers have their own names, and the variables of the common layers (convolutions, dense, normalization,
        embedding, PReLU) theirs. Other variables have their number in the file as a name. Kernels of transposed
        convolutions become (kh, kw, in, out). The configuration is parsed as JSON and never executed. The weights, a
        file in the archive, are first copied to a temporary file.

    Args:
        path: The file.
        max_bytes: What its tensors may take together.

    Returns:
        Writable tensors; ``metadata`` also has ``"paths"``, name to path in the file, ``"layers"``, layer to names of
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
        Values of ``keras.saving.load_model(path).weights`` by ``variable.path``, except for transposed convolutions.
    """
    source = SourceFile(path, max_bytes)
    with open(path, "rb") as file, source.translate_errors(), zipfile.ZipFile(file) as archive:
        size = os.fstat(file.fileno()).st_size
        members = {info.filename: info for info in archive.infolist()}
        if len(members) < len(archive.infolist()):
            raise source.error("The archive has two members of the same name.")
        if _WEIGHTS not in members:
            sharded = ", but weights in several files, which are not read" if "model.weights.json" in members else ""
            raise source.error(f"The archive has no {_WEIGHTS}{sharded}.")
        texts = source.with_budget(max(max_bytes, _PIECE))
        json_names = ("config.json", "metadata.json")
        parsed = {name: _parse_json_member(texts, archive, members.get(name), size) for name in json_names}
        info = members[_WEIGHTS]
        _check_member(source, info, size)
        if info.file_size > size:  # beside the model it may hold the optimizer's state, two or three times as large
            source.with_budget(4 * max_bytes + _PIECE).spend(info.file_size, _WEIGHTS)
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "weights.h5"
            _unpack_member(source, archive, info, copy)
            with open_hdf5(source, copy=copy) as inner:
                content = read_open_h5(inner, file_name=_WEIGHTS, config=parsed["config.json"])
    metadata = {**content.metadata, "format": "keras"}
    if isinstance(parsed["metadata.json"], dict):
        metadata |= {key: parsed["metadata.json"].get(key) for key in ("keras_version", "date_saved")}
    return Checkpoint(content.tensors, metadata, content.graph)


def _check_member(source: SourceFile, info: zipfile.ZipInfo, size: int) -> None:
    """Refuses a member that is encrypted, compressed by a rare method, or claims more than its bytes can expand to."""
    if info.flag_bits & 1 or info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise source.error(f"{info.filename} is encrypted or compressed by a method that is not read.")
    ratio = DEFLATE_RATIO if info.compress_type == zipfile.ZIP_DEFLATED else 1
    if info.file_size > ratio * min(info.compress_size, size):
        raise source.error(f"{info.filename} declares {info.file_size} bytes, more than its content can expand to.")


def _parse_json_member(texts: SourceFile, archive: zipfile.ZipFile, info: zipfile.ZipInfo | None, size: int) -> Any:
    """Parses a member that holds JSON; returns None if there is none."""
    if info is None:
        return None
    _check_member(texts, info, size)
    texts.spend(info.file_size, info.filename)
    with archive.open(info) as member:
        return parse_json(texts, member.read(info.file_size + 1))


def _unpack_member(source: SourceFile, archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Decompresses a member piece by piece, and no more of it than it declares."""
    left = info.file_size
    with archive.open(info) as member, open(target, "wb") as file:
        while piece := member.read(_PIECE):
            left -= len(piece)
            if left < 0:
                raise source.error(f"{info.filename} is longer than it declares.")
            file.write(piece)
    if left:
        raise source.error(f"{info.filename} is shorter than it declares.")
