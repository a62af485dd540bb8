"""Safetensors files, with the metadata that this package writes into them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint, FormatError
from jaxcnn.zoo.containers.json_text import parse_json
from jaxcnn.zoo.containers.mapped_file import copy_in_pieces, map_file
from jaxcnn.zoo.containers.source_file import SourceFile

__all__ = ["DTYPES_BY_CODE", "METADATA_KEY", "hash_tensors", "is_safetensors", "read_safetensors"]

METADATA_KEY = "jaxcnn"
"""The key in the file's metadata under which this package keeps its own, as JSON."""

DTYPES_BY_CODE: dict[str, np.dtype[Any]] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F8_E4M3": np.dtype(ml_dtypes.float8_e4m3fn),
    "F8_E5M2": np.dtype(ml_dtypes.float8_e5m2),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
    "C64": np.dtype(np.complex64),
}
"""The dtypes by their codes in the format."""

_MAX_HEADER = 25_000_000


def is_safetensors(path: Path, head: bytes) -> bool:
    """Tests whether a file begins with the length of a JSON header."""
    length = int.from_bytes(head[:8], "little")
    return len(head) > 9 and 2 <= length <= _MAX_HEADER and head[8:].lstrip(b" ")[:1] == b"{"


def hash_tensors(tensors: Mapping[str, np.ndarray]) -> str:
    """Computes the SHA-256 of names, dtypes, shapes and bytes of tensors, independent of their order."""
    total = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        total.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def read_safetensors(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads a safetensors file; if ``save`` or ``convert`` wrote it, also their metadata, and verifies its checksum.

    Convention: Axes are as stored. Files written by this package keep ``"layouts"`` and ``"notes"`` of the file that
    they were converted from; others say nothing about axes. Arrays are writable.

    Args:
        path: The file.
        max_bytes: What the tensors may take.

    Returns:
        The tensors in the order of the header. ``metadata["provenance"]`` is what was passed to ``save``.

    Raises:
        FormatError: For a damaged file, and if the tensors are not those that were saved.
    """
    import safetensors

    source = SourceFile(path, max_bytes)
    header = _read_header(source)
    metadata = header.pop("__metadata__", {})
    for name, entry in header.items():
        source.spend_tensor(
            entry["shape"], DTYPES_BY_CODE[entry["dtype"]], f"tensor {name[:200]!r}", stored=_stored_bytes(entry)
        )
    try:
        with safetensors.safe_open(path, framework="np") as file:  # checks header and size once more, to the byte
            names = set(file.keys())
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise source.error(f"safetensors cannot read it ({error}).") from error
    if names != set(header):
        raise source.error("safetensors finds different names in its header.")
    data = map_file(path)
    begin = 8 + int.from_bytes(data[:8], "little")
    tensors = {name: _copy_tensor(entry, data[begin:]) for name, entry in header.items()}
    own = _parse_own_metadata(source, metadata)
    if own and own.get("sha256") != hash_tensors(tensors):
        raise source.error("the tensors are not those that were saved: their SHA-256 differs.")
    provenance = own.get("provenance") or {}
    others = {name: text for name, text in metadata.items() if name != METADATA_KEY}
    notes = provenance.get("notes") or ([] if own else ["Axes are as stored."])
    result = {"format": "safetensors", "framework": provenance.get("framework", "jaxcnn" if own else "safetensors")}
    result |= {"layouts": provenance.get("layouts") or {}, "notes": notes}
    result |= {"extra": others} if others else {}
    result |= {"provenance": provenance, "version": own.get("version")} if own else {}
    return Checkpoint(tensors, result)


def _read_header(source: SourceFile) -> dict[str, Any]:
    """Reads and checks the header before the package ``safetensors`` does."""
    with open(source.path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise source.error(f"a header of {length} bytes in a file of {size} bytes.")
        text = file.read(length)
    try:
        header = parse_json(source, text, unique=True)
        if not isinstance(header, dict):
            raise ValueError("it is not an object")
        for name, entry in header.items():
            if name == "__metadata__":
                good = isinstance(entry, dict) and all(isinstance(value, str) for value in entry.values())
            else:
                good = isinstance(entry, dict) and _is_entry(entry, size - 8 - length)
            if not good:
                raise ValueError(f"{name[:200]!r} is described by {str(entry)[:200]}")
    except FormatError:
        raise
    except (ValueError, RecursionError, MemoryError) as error:
        raise source.error(f"the header is not one of safetensors ({error}).") from error
    return header


def _is_entry(entry: dict[str, Any], room: int) -> bool:
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if (
        not isinstance(dtype, str)
        or dtype not in DTYPES_BY_CODE
        or not isinstance(shape, list)
        or not isinstance(offsets, list)
    ):
        return False
    good = all(type(number) is int and 0 <= number < 1 << 62 for number in (*shape, *offsets))
    return good and len(shape) <= 32 and len(offsets) == 2 and offsets[0] <= offsets[1] <= room


def _stored_bytes(entry: dict[str, Any]) -> int:
    return entry["data_offsets"][1] - entry["data_offsets"][0]


def _copy_tensor(entry: dict[str, Any], data: memoryview) -> np.ndarray:
    """Copies one tensor; the package ``safetensors`` does not support every dtype in NumPy."""
    dtype = DTYPES_BY_CODE[entry["dtype"]]
    view = data[slice(*entry["data_offsets"])]
    array = np.empty(entry["shape"], dtype)
    target = array.reshape(-1) if dtype.kind == "b" else array.reshape(-1).view(np.uint8)
    copy_in_pieces(np.frombuffer(view, np.uint8), target, view)
    return array


def _parse_own_metadata(source: SourceFile, metadata: dict[str, str]) -> dict[str, Any]:
    """Parses what this package wrote into the metadata; empty if it did not write the file."""
    if METADATA_KEY not in metadata:
        return {}
    try:
        own = parse_json(source, metadata[METADATA_KEY])
        if not isinstance(own, dict) or not isinstance(own.get("provenance") or {}, dict):
            raise ValueError("it is not an object")
    except FormatError:
        raise
    except (ValueError, RecursionError) as error:
        raise source.error(f"the metadata written by jaxcnn is damaged ({error}).") from error
    return own
