"""NumPy's ``.npy`` and ``.npz`` files, including those that hold a pickled dictionary of arrays."""

import math
import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.containers.mapped_file import map_file
from jaxcnn.zoo.containers.pickled_arrays import OBJECT_CODES, PickledArray, array_constructors, copy_array, parse_dtype
from jaxcnn.zoo.containers.pickled_trees import flatten_tree
from jaxcnn.zoo.containers.restricted_unpickler import RestrictedUnpickler
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.containers.zip_archive import ZipArchive, list_entries

__all__ = ["is_numpy", "read_numpy"]

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1 << 16
_UNNAMED = "arr_0"  # as ``numpy.savez`` calls an array without a name
_DESCR = re.compile(r"""['"]descr['"]\s*:\s*['"]([^'"]{1,20})['"]""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([0-9L,\s]{0,1000})\)""")
_AXES_NOTE = "Axes are as stored: the file does not say which arrays are kernels."


def is_numpy(path: Path, head: bytes) -> bool:
    """Tests whether a file is an ``.npy`` or a zip archive of ``.npy`` files."""
    names = list_entries(path, head)
    return head.startswith(_MAGIC) or (any(name.endswith(".npy") for name in names) and "data.pkl" not in names)


def read_numpy(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the arrays of an ``.npy`` or ``.npz`` file, also of pickled dictionaries, without executing anything.

    Convention: Axes stay as stored. An array of an ``.npy`` is named ``arr_0``; those of a pickled dictionary are
    named by its keys joined by ``/``, in an ``.npz`` after the name of the entry. Arrays of texts, and everything that
    is not an array, are in ``metadata["extra"]``. Arrays are C-contiguous, in native byte order, writable, and own
    their memory.

    Args:
        path: The file.
        max_bytes: What the arrays may take.

    Returns:
        The arrays in the order of the file.

    Raises:
        FormatError: For a damaged file, for arrays of records, and for objects other than arrays, numbers and texts.
    """
    data = map_file(path)
    source = SourceFile(path, max_bytes)
    notes = [_AXES_NOTE]
    tree: dict[str, Any] = {}
    if bytes(data[: len(_MAGIC)]) == _MAGIC:
        content = _read_npy(source, data, "the array", notes)
        tree = content if isinstance(content, dict) else {_UNNAMED: content}
    else:
        archive = ZipArchive(source)
        for name in archive.entries:
            if name.endswith(".npy"):
                tree[name.removesuffix(".npy")] = _read_npy(source, archive.read(name), f"entry {name[:200]!r}", notes)
            else:
                notes.append(f"Entry {name!r} is not an array and was left out.")
    tensors, extra = flatten_tree(source, tree, is_leaf=_is_tensor, children=_unwrap, separator="/")
    arrays: dict[str, Any] = {
        name: leaf.array if isinstance(leaf, PickledArray) else leaf for name, leaf in tensors.items()
    }
    metadata = {"format": "numpy", "framework": "numpy", "layouts": {}, "notes": notes, "extra": extra or {}}
    return Checkpoint(arrays, metadata)


def _is_tensor(node: object) -> bool:
    array = node.array if isinstance(node, PickledArray) else node
    return isinstance(array, np.ndarray) and array.dtype.kind not in "SU"


def _unwrap(node: object) -> object:
    return node.content if isinstance(node, PickledArray) else node


def _read_npy(source: SourceFile, data: memoryview, what: str, notes: list[str]) -> Any:
    """Reads the array of one ``.npy``, or the object or list of objects that it holds pickled."""
    if len(data) < 12 or bytes(data[:6]) != _MAGIC or data[6] not in (1, 2, 3):
        raise source.error(f"{what} does not begin like an .npy of version 1 to 3.")
    code = "<H" if data[6] == 1 else "<I"
    begin = 8 + struct.calcsize(code)
    (length,) = struct.unpack(code, data[8:begin])
    if length > min(_MAX_HEADER, len(data) - begin):
        raise source.error(f"{what} has a header of {length} bytes, more than the file or any array has.")
    header = bytes(data[begin : begin + length]).decode("latin-1")
    descr, order, shape = _DESCR.search(header), _ORDER.search(header), _SHAPE.search(header)
    if descr is None or order is None or shape is None:
        raise source.error(f"{what} has the header {header[:100]!r}, not that of an array of numbers.")
    sizes = [text.strip().removesuffix("L") for text in shape[1].split(",")]
    if sizes[-1] == "":
        sizes.pop()
    if not all(text.isdecimal() and len(text) < 19 for text in sizes):
        raise source.error(f"{what} has the shape {shape[0][:100]!r}.")
    raw = data[begin + length :]
    if descr[1] in OBJECT_CODES:
        tree = RestrictedUnpickler(source, raw, known=array_constructors(source).get, refusal=_write_refusal).load()
        items = tree.items if isinstance(tree, PickledArray) else tree
        return items[0] if isinstance(items, list) and len(items) == 1 and not sizes else tree
    dtype = parse_dtype(source, descr[1], what)
    extents = tuple(int(text) for text in sizes)
    needed = math.prod(extents) * dtype.itemsize
    if len(raw) > needed:  # NumPy does not read them either
        notes.append(f"{len(raw) - needed} bytes behind {what} were ignored.")
    return copy_array(source, raw[:needed], extents, dtype, fortran=order[1] == "True")


def _write_refusal(name: str) -> str:
    return f"refuses {name}: a pickled object; arrays, numbers, texts, dictionaries and lists are read."
