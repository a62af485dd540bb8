"""NumPy's ``.npy`` and ``.npz`` files, also those that hold a pickled dictionary of arrays."""

import re
import struct
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import Budget, Checkpoint, FormatError
from jaxcnn.zoo.containers.mapped_file import mapped
from jaxcnn.zoo.containers.pickle_program import Pickle
from jaxcnn.zoo.containers.pickled_arrays import PickledArray, array_names, array_of, dtype_of
from jaxcnn.zoo.containers.pickled_leaves import flatten
from jaxcnn.zoo.containers.zip_archive import Archive, archive_names

__all__ = ["is_numpy", "read_numpy"]

_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 1 << 16
_UNNAMED = "arr_0"  # what ``numpy.savez`` calls an array without a name
_DESCR = re.compile(r"""['"]descr['"]\s*:\s*['"]([^'"]{1,20})['"]""")
_ORDER = re.compile(r"""['"]fortran_order['"]\s*:\s*(True|False)""")
_SHAPE = re.compile(r"""['"]shape['"]\s*:\s*\(([0-9L,\s]{0,1000})\)""")
_STORED = "Axes are as the file has them: it does not say which arrays are kernels."


def is_numpy(path: Path, head: bytes) -> bool:
    """Says whether a file is an ``.npy`` or a zip archive of such."""
    names = archive_names(path, head)
    return head.startswith(_MAGIC) or (any(name.endswith(".npy") for name in names) and "data.pkl" not in names)


def read_numpy(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the arrays of an ``.npy`` or ``.npz`` file, also of pickled dictionaries of arrays, and runs nothing.

    Convention: Axes stay as stored. An array of an ``.npy`` is named ``arr_0``; those of a pickled dictionary have
    the keys joined by ``/``, after the name of the entry in an ``.npz``. Arrays of texts, and what is no array, are
    in ``metadata["extra"]``. Arrays are C-contiguous, of native order of bytes, writable, and own their memory.

    Args:
        path: The file.
        max_bytes: What the arrays may take.

    Returns:
        The arrays in the order of the file.

    Raises:
        FormatError: For a damaged file, for arrays of records, and for objects other than arrays, numbers and texts.
    """
    data = mapped(path)
    budget = Budget(path, max_bytes)
    notes = [_STORED]
    tree: dict[str, Any] = {}
    if bytes(data[: len(_MAGIC)]) == _MAGIC:
        content = _content(path, data, budget, "the array")
        tree = content if isinstance(content, dict) else {_UNNAMED: content}
    else:
        archive = Archive(path, max_bytes)
        for name in archive.entries:
            if name.endswith(".npy"):
                tree[name.removesuffix(".npy")] = _content(path, archive.read(name), budget, f"entry {name[:200]!r}")
            else:
                notes.append(f"Entry {name!r} is no array and was left out.")
    tensors, extra = flatten(path, tree, is_leaf=_is_tensor, children=_inner, separator="/")
    arrays: dict[str, Any] = {
        name: leaf.array if isinstance(leaf, PickledArray) else leaf for name, leaf in tensors.items()
    }
    metadata = {"format": "numpy", "framework": "numpy", "layouts": {}, "notes": notes, "extra": extra or {}}
    return Checkpoint(arrays, metadata)


def _is_tensor(node: Any) -> bool:
    array = node.array if isinstance(node, PickledArray) else node
    return isinstance(array, np.ndarray) and array.dtype.kind not in "SU"


def _inner(node: Any) -> Any:
    if isinstance(node, PickledArray):
        return node.array if node.array is not None else node.items
    return node


def _content(path: Path, data: memoryview, budget: Budget, what: str) -> Any:
    """Gives the array of one ``.npy``, or the object or list of objects that it holds pickled."""
    if len(data) < 12 or bytes(data[:6]) != _MAGIC or data[6] not in (1, 2, 3):
        raise FormatError(path, f"{what} does not begin as an .npy of version 1 to 3.")
    form = "<H" if data[6] == 1 else "<I"
    begin = 8 + struct.calcsize(form)
    (length,) = struct.unpack(form, data[8:begin])
    if length > min(_MAX_HEADER, len(data) - begin):
        raise FormatError(path, f"{what} has a header of {length} bytes, more than the file or any array has.")
    header = bytes(data[begin : begin + length]).decode("latin-1")
    descr, order, shape = _DESCR.search(header), _ORDER.search(header), _SHAPE.search(header)
    if descr is None or order is None or shape is None:
        raise FormatError(path, f"{what} has the header {header[:100]!r}, not that of an array of numbers.")
    sizes = [text.strip().removesuffix("L") for text in shape[1].split(",")]
    if sizes[-1] == "":
        sizes.pop()
    if not all(text.isdecimal() and len(text) < 19 for text in sizes):
        raise FormatError(path, f"{what} has the shape {shape[0][:100]!r}.")
    raw = data[begin + length :]
    if descr[1] in ("|O", "O", "O8", "O4"):
        names = array_names(path, budget)
        pickle = Pickle(path, raw, known=names.get, refusal=_refusal, budget=budget)
        tree = pickle.load()
        items = tree.items if isinstance(tree, PickledArray) else tree
        return items[0] if isinstance(items, list) and len(items) == 1 and not sizes else tree
    dtype = dtype_of(path, descr[1], what)
    return array_of(path, raw, tuple(int(text) for text in sizes), dtype, order[1] == "True", budget)


def _refusal(name: str) -> str:
    return f"refuses {name}: a pickled object; arrays, numbers, texts, dictionaries and lists are read."
