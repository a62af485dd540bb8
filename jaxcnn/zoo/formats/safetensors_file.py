"""Files of safetensors, with the metadata that this package writes into them."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxcnn.zoo.checkpoint import Budget, Checkpoint, FormatError
from jaxcnn.zoo.containers.mapped_file import let_go, mapped

__all__ = ["CODES", "KEY", "digest", "is_safetensors", "read_safetensors"]

KEY = "jaxcnn"
"""Under which name of the file's metadata this package keeps its own, as JSON."""

CODES: dict[str, np.dtype[Any]] = {
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
"""The format's names of dtypes."""

_MAX_HEADER = 25_000_000


def is_safetensors(path: Path, head: bytes) -> bool:
    """Says whether a file begins with the length of a header of JSON."""
    length = int.from_bytes(head[:8], "little")
    return len(head) > 9 and 2 <= length <= _MAX_HEADER and head[8:].lstrip(b" ")[:1] == b"{"


def digest(tensors: Mapping[str, np.ndarray]) -> str:
    """Gives the SHA-256 of names, dtypes, shapes and bytes of tensors, whatever their order."""
    total = hashlib.sha256()
    for name, array in sorted(tensors.items()):
        total.update(json.dumps([name, array.dtype.name, array.shape]).encode())
        total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def read_safetensors(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads a file of safetensors; of one that ``save`` or ``convert`` wrote also what they noted, and checks its sum.

    Convention: Axes are as stored. Files that this package wrote keep ``"layouts"`` and ``"notes"`` of the file that
    they were converted from; others say nothing of axes. Arrays are writable.

    Args:
        path: The file.
        max_bytes: What the tensors may take.

    Returns:
        The tensors in the order of the header. ``metadata["provenance"]`` is what ``save`` was given.

    Raises:
        FormatError: For a damaged file, and for tensors other than those that were saved.
    """
    import safetensors

    header = _header(path)
    budget = Budget(path, max_bytes)
    metadata = header.pop("__metadata__", {})
    for name, entry in header.items():
        budget.tensor(entry["shape"], CODES[entry["dtype"]], f"tensor {name[:200]!r}", stored=_stored(entry))
    try:
        with safetensors.safe_open(path, framework="np") as file:  # compares header and size once more, to the byte
            names = set(file.keys())
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, OverflowError, MemoryError) as error:
        raise FormatError(path, f"safetensors cannot read it ({error}).") from error
    if names != set(header):
        raise FormatError(path, "safetensors finds other names in its header.")
    data = mapped(path)
    begin = 8 + int.from_bytes(data[:8], "little")
    tensors = {name: _array(entry, data[begin:]) for name, entry in header.items()}
    own = _own(path, metadata)
    if own and own.get("sha256") != digest(tensors):
        raise FormatError(path, "the tensors are not those that were saved: their SHA-256 is another.")
    provenance = own.get("provenance") or {}
    others = {name: text for name, text in metadata.items() if name != KEY}
    notes = provenance.get("notes") or ([] if own else ["Axes are as the file has them."])
    result = {"format": "safetensors", "framework": provenance.get("framework", "jaxcnn" if own else "safetensors")}
    result |= {"layouts": provenance.get("layouts") or {}, "notes": notes}
    result |= {"extra": others} if others else {}
    result |= {"provenance": provenance, "version": own.get("version")} if own else {}
    return Checkpoint(tensors, result)


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)


def _header(path: Path) -> dict[str, Any]:
    """Reads and checks the header before the package does."""
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if size < 10 or not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise FormatError(path, f"a header of {length} bytes in a file of {size} bytes.")
        text = file.read(length)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_pairs)
        if not isinstance(header, dict):
            raise ValueError("no object")
        for name, entry in header.items():
            if name == "__metadata__":
                good = isinstance(entry, dict) and all(isinstance(value, str) for value in entry.values())
            else:
                good = isinstance(entry, dict) and _is_entry(entry, size - 8 - length)
            if not good:
                raise ValueError(f"{name[:200]!r} is described by {str(entry)[:200]}")
    except (ValueError, RecursionError, MemoryError) as error:
        raise FormatError(path, f"the header is none of safetensors ({error}).") from error
    return header


def _is_entry(entry: dict[str, Any], room: int) -> bool:
    dtype, shape, offsets = entry.get("dtype"), entry.get("shape"), entry.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in CODES or not isinstance(shape, list) or not isinstance(offsets, list):
        return False
    good = all(type(number) is int and 0 <= number < 1 << 62 for number in (*shape, *offsets))
    return good and len(shape) <= 32 and len(offsets) == 2 and offsets[0] <= offsets[1] <= room


def _stored(entry: dict[str, Any]) -> int:
    return entry["data_offsets"][1] - entry["data_offsets"][0]


def _array(entry: dict[str, Any], data: memoryview) -> np.ndarray:
    """Copies one tensor; the package's own way knows not every dtype in NumPy."""
    dtype = CODES[entry["dtype"]]
    view = data[slice(*entry["data_offsets"])]
    content = np.frombuffer(view, np.uint8)
    content = content != 0 if dtype.kind == "b" else content
    array = np.empty(entry["shape"], dtype)
    array.reshape(-1).view(np.uint8)[:] = content
    let_go(view)
    return array


def _own(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """Gives what this package wrote into the metadata."""
    if KEY not in metadata:
        return {}
    try:
        own = json.loads(metadata[KEY])
        if not isinstance(own, dict) or not isinstance(own.get("provenance") or {}, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as error:
        raise FormatError(path, f"the metadata that jaxcnn writes are damaged ({error}).") from error
    return own
