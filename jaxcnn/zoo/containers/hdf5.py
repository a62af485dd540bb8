"""A cautious reader of HDF5 files: only what is plain is followed, and sizes are checked before memory is taken."""

import contextlib
import math
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import Budget, FormatError
from jaxcnn.zoo.containers.hdf5_chunks import check_chunks
from jaxcnn.zoo.containers.hdf5_strings import Texts

__all__ = ["DEFLATE", "SIGNATURE", "TEXT", "Hdf5", "open_hdf5", "refusing", "signature_offset"]

SIGNATURE = b"\x89HDF\r\n\x1a\n"

DEFLATE = 1032
"""The largest honest ratio of deflate: bytes that one stored byte may become."""

FILTERS = {1: "deflate", 2: "shuffle", 3: "checksum"}
"""The filters that are read, by their number in HDF5. What others make of hostile settings is not known."""

TEXT = 8 << 20
"""What texts and names may take however small ``max_bytes`` is."""

CHUNK = 4 << 20
"""The largest chunk that a dataset of less than its half may declare."""

NUMBERS = {"bool", "float16", "float32", "float64"} | {f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)}


@contextlib.contextmanager
def refusing(path: str | os.PathLike[str]) -> Iterator[None]:
    """Turns what parsers raise about broken content into ``FormatError``."""
    broken = (ArithmeticError, EOFError, LookupError, MemoryError, OSError, RuntimeError, TypeError, ValueError)
    broken += (AttributeError,)  # h5py hands out identifiers of another kind than the file lets it expect
    broken += (struct.error, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, SystemError)
    try:
        yield
    except FormatError:
        raise
    except broken as error:
        text = str(error).strip("'\"") or "no further word"
        raise FormatError(path, f"The file is truncated or corrupt ({type(error).__name__}: {text[:200]}).") from error


def signature_offset(path: Path, head: bytes) -> int | None:
    """Says where the signature of HDF5 stands, at 0 or behind a user block of 512, 1024, ... bytes, or None."""
    if head.startswith(SIGNATURE):
        return 0
    if not path.is_file():
        return None
    offset = 512
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        while offset + len(SIGNATURE) <= size:
            file.seek(offset)
            if file.read(len(SIGNATURE)) == SIGNATURE:
                return offset
            offset *= 2
    return None


class Hdf5:
    """An open HDF5 file.

    Links are followed only where they are hard ones: no soft link, no other file. Datasets whose values lie in other
    files, or come out of filters that are not built in, are refused.

    Args:
        path: The file, for messages.
        file: It, opened by h5py.
        size: Its length in bytes.
        max_bytes: What all tensors together may take; the texts may take as much again.
    """

    def __init__(self, path: str | os.PathLike[str], file: Any, size: int, max_bytes: int):
        self.path, self.root, self.size = path, file, size
        self.tensors = Budget(path, max_bytes)
        self.texts = Budget(path, max(max_bytes, TEXT))
        self._seen: set[int] = set()
        self._stored = 0
        self._texts: Texts | None = None

    def members(self, group: Any) -> list[str]:
        """Gives the names in a group."""
        if len(group) > self.size:
            raise FormatError(self.path, f"{group.name} declares {len(group)} members, more than the file has bytes.")
        return list(group)

    def member(self, group: Any, path: str) -> Any:
        """Gives a group or dataset below a group, or None where there is none of that name.

        Raises:
            FormatError: For links that are not hard and for what is neither group nor dataset.
        """
        import h5py

        node = group
        for part in path.split("/"):
            if not part:
                continue
            if part == "." or not isinstance(node, h5py.Group) or part.encode(errors="surrogateescape") not in node.id:
                return None
            if not isinstance(node.get(part, getlink=True), h5py.HardLink):
                raise FormatError(self.path, f"{node.name}/{part} is a link to elsewhere, which is not followed.")
            node = node[part]
            if not isinstance(node, h5py.Group | h5py.Dataset):
                raise FormatError(self.path, f"{path} is neither a group nor a dataset.")
        return node

    def is_group(self, node: Any) -> bool:
        """Says whether something is a group rather than a dataset."""
        import h5py

        return isinstance(node, h5py.Group)

    def address(self, node: Any) -> int:
        """Gives the place of an object in the file, which tells the same object under two names."""
        import h5py

        return h5py.h5g.get_objinfo(node.id).objno[0]

    def attribute(self, node: Any, name: str) -> Any:
        """Gives an attribute as a number, a text or a list of them, or None where there is none."""
        import h5py

        key = name.encode()
        if not h5py.h5a.exists(node.id, key):
            return None
        stored = h5py.h5a.open(node.id, key)
        kind = stored.get_type()
        count = math.prod(stored.shape)
        # Of texts that are neither of fixed nor of variable length, as in a damaged file, HDF5 2.0 crashes.
        plain = isinstance(kind, h5py.h5t.TypeStringID | h5py.h5t.TypeIntegerID | h5py.h5t.TypeFloatID)
        if not plain:
            raise FormatError(self.path, f"The attribute {name} of {node.name} is neither text nor numbers.")
        size = count * kind.get_size()
        if size > self.size:
            raise FormatError(self.path, f"The attribute {name} of {node.name} is larger than the file.")
        if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str():
            self._texts = self._texts or Texts(self.root.filename, self.root.userblock_size, self.path)
            size = self._texts.worst(count)
        if size > self.texts.left:
            self.texts.spend(size, f"The attribute {name}")  # which refuses it
        value = np.asarray(node.attrs[name]).tolist()
        found = [_text(item) for item in value] if isinstance(value, list) else _text(value)
        items = found if isinstance(found, list) else [found]
        self.texts.spend(
            sum(64 + (len(item) if isinstance(item, str) else 0) for item in items), f"The attribute {name}"
        )
        return found

    def attribute_texts(self, node: Any, name: str) -> list[str] | None:
        """Gives a list of texts that may be spread over ``name``, or ``name0``, ``name1``, ...; None without any."""
        whole = self.attribute(node, name)
        parts = [whole]
        if whole is None:
            parts = []
            while (part := self.attribute(node, f"{name}{len(parts)}")) is not None:
                parts.append(part)
            if not parts:
                return None
        texts = [text for part in parts for text in (part if isinstance(part, list) else [part])]
        if not all(isinstance(text, str) for text in texts):
            raise FormatError(self.path, f"The attribute {name} of {node.name} must hold texts.")
        return texts

    def references(self, dataset: Any, what: str) -> list[Any]:
        """Gives the objects that a dataset of references points to, in the order of the file.

        Raises:
            FormatError: For a reference to nothing.
        """
        import h5py

        if h5py.check_ref_dtype(dataset.dtype) is not h5py.Reference:
            raise FormatError(self.path, f"{what} holds {dataset.dtype}, no references.")
        self._check_storage(dataset, 8, what)
        self.texts.spend(64 * dataset.size, f"The references of {what}")
        found = []
        for reference in np.asarray(dataset[()]).ravel():
            if not reference:
                raise FormatError(self.path, f"{what} holds a reference to nothing.")
            found.append(self.root[reference])
        return found

    def dtype(self, dataset: Any) -> np.dtype:
        """Gives the dtype of a dataset of numbers in the byte order of this machine.

        Two opaque bytes are how h5py stores bfloat16.
        """
        declared = dataset.dtype
        if declared.kind == "V" and declared.itemsize == 2 and declared.names is None and declared.subdtype is None:
            import ml_dtypes

            return np.dtype(ml_dtypes.bfloat16)
        native = declared.newbyteorder("=")
        if native.name not in NUMBERS:
            raise FormatError(self.path, f"{dataset.name} holds {declared}, which is no dtype of tensors.")
        return native

    def tensor(self, dataset: Any, what: str) -> np.ndarray:
        """Reads a dataset of numbers whole, after its sizes were checked.

        Returns:
            A writable array that owns its memory, in the byte order of this machine.
        """
        import h5py

        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
            raise FormatError(self.path, f"{what} is no dataset.")
        dtype = self.dtype(dataset)
        self.tensors.tensor(dataset.shape, dtype, what)
        self._check_storage(dataset, dataset.id.get_type().get_size(), what)
        opaque = dataset.dtype.kind == "V"
        array = np.empty(dataset.shape, dataset.dtype if opaque else dtype)
        if array.size:
            dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
        return array.view(dtype) if opaque else array

    def _check_storage(self, dataset: Any, itemsize: int, what: str) -> None:
        """Refuses a dataset that would take more memory than the file can honestly fill, or that lies elsewhere."""
        import h5py

        plan = dataset.id.get_create_plist()
        layout = plan.get_layout()
        if layout == h5py.h5d.VIRTUAL or (layout == h5py.h5d.CONTIGUOUS and plan.get_external_count()):
            raise FormatError(self.path, f"{what} keeps its values in another file, which is not opened.")
        filters = [plan.get_filter(place)[0] for place in range(plan.get_nfilters())]
        if len(set(filters)) < len(filters) or not set(filters) <= set(FILTERS):
            raise FormatError(self.path, f"{what} is stored through the filters {filters[:8]}, which are not all read.")
        stored, raw = dataset.id.get_storage_size(), dataset.size * itemsize
        address = self.address(dataset)
        if address not in self._seen:
            self._seen.add(address)
            self._stored += stored
            if self._stored > self.size:
                raise FormatError(self.path, f"{what} and those before it claim more bytes than the file has.")
        if raw > stored * (DEFLATE if 1 in filters else 1):
            raise FormatError(self.path, f"{what} needs {raw} bytes, but the file holds {stored} bytes for it.")
        if layout != h5py.h5d.CHUNKED:
            return
        chunk = plan.get_chunk()
        if math.prod(chunk) * itemsize > max(CHUNK, 2 * raw):
            raise FormatError(self.path, f"{what} declares chunks of {chunk}, far more than its values.")
        if math.prod(-(-length // step) for length, step in zip(dataset.shape, chunk, strict=True)) > max(stored, 1):
            raise FormatError(self.path, f"{what} declares more chunks than it has bytes.")
        if filters:
            check_chunks(dataset, chunk, itemsize, filters, path=self.path, what=what)


def _text(item: Any) -> Any:
    """Decodes bytes; texts and numbers stay as they are."""
    return item.decode() if isinstance(item, bytes) else item


@contextlib.contextmanager
def open_hdf5(
    path: str | os.PathLike[str], *, max_bytes: int, shown: str | os.PathLike[str] | None = None
) -> Iterator[Hdf5]:
    """Opens an HDF5 file for reading; what goes wrong with its content inside is a ``FormatError``.

    Args:
        path: The file.
        max_bytes: What its tensors may take together.
        shown: The name for messages, where ``path`` is a copy.
    """
    import h5py

    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
    with refusing(shown or path), h5py.File(path, "r") as root:
        yield Hdf5(shown or path, root, size, max_bytes)
