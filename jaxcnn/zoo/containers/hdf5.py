"""A cautious reader of HDF5 files: only plain links are followed, and sizes are checked before memory is taken."""

import contextlib
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.zoo.containers.hdf5_filters import Filter, check_chunks
from jaxcnn.zoo.containers.hdf5_string_heaps import StringHeaps
from jaxcnn.zoo.containers.source_file import DEFLATE_RATIO, SourceFile

if TYPE_CHECKING:
    import h5py

__all__ = ["MIN_TEXT_BYTES", "Hdf5File", "open_hdf5", "signature_offset"]

_SIGNATURE = b"\x89HDF\r\n\x1a\n"

MIN_TEXT_BYTES = 8 << 20
"""What texts and names may take however small ``max_bytes`` is."""

_MAX_CHUNK = 4 << 20  # bytes of a chunk that is larger than twice its dataset
_TENSOR_DTYPES = {"bool", "float16", "float32", "float64"}
_TENSOR_DTYPES |= {f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)}
_REFERENCE = 64  # bytes of a reference in Python


def signature_offset(path: Path, head: bytes) -> int | None:
    """Finds the signature of HDF5, at 0 or behind a user block of 512, 1024, ... bytes; None if there is none."""
    if head.startswith(_SIGNATURE):
        return 0
    if not path.is_file():
        return None
    offset = 512
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
        while offset + len(_SIGNATURE) <= size:
            file.seek(offset)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return offset
            offset *= 2
    return None


class Hdf5File:
    """An open HDF5 file.

    Only hard links are followed: no soft link, no other file. Datasets whose values are in other files, or that pass
    through filters other than the built-in ones, are refused.

    Args:
        source: The file. Tensors are taken from its budget; texts may take as much again.
        root: It, opened by h5py.
        size: Its length in bytes.
    """

    def __init__(self, source: SourceFile, root: "h5py.File", size: int):
        self.source, self.root, self.size = source, root, size
        self.texts = source.with_budget(max(source.max_bytes, MIN_TEXT_BYTES))
        self._seen: set[int] = set()
        self._stored = 0
        self._repeated = 0  # bytes of datasets that were read before, under another name
        self._heaps: StringHeaps | None = None

    def list_members(self, group: "h5py.Group") -> list[str]:
        """Lists the names in a group."""
        if len(group) > self.size:
            raise self.source.error(f"{group.name} declares {len(group)} members, more than the file has bytes.")
        return list(group)

    def find(self, group: "h5py.Group", path: str) -> "h5py.Group | h5py.Dataset | None":
        """Returns the group or dataset of a path below a group, or None if there is none.

        Raises:
            FormatError: For links that are not hard and for anything that is neither group nor dataset.
        """
        import h5py

        node: Any = group
        for part in path.split("/"):
            if not part:
                continue
            if part == "." or not isinstance(node, h5py.Group) or part.encode(errors="surrogateescape") not in node.id:
                return None
            if not isinstance(node.get(part, getlink=True), h5py.HardLink):
                raise self.source.error(f"{node.name}/{part} is a soft or external link, which is not followed.")
            node = node[part]
            if not isinstance(node, h5py.Group | h5py.Dataset):
                raise self.source.error(f"{path} is neither a group nor a dataset.")
        return node

    def find_group(self, group: "h5py.Group", path: str) -> "h5py.Group | None":
        """Returns the group of a path below a group, or None if there is none, or a dataset."""
        import h5py

        node = self.find(group, path)
        return node if isinstance(node, h5py.Group) else None

    def find_dataset(self, group: "h5py.Group", path: str) -> "h5py.Dataset | None":
        """Returns the dataset of a path below a group, or None if there is none, or a group."""
        import h5py

        node = self.find(group, path)
        return node if isinstance(node, h5py.Dataset) else None

    def address(self, node: "h5py.Group | h5py.Dataset") -> int:
        """Returns the address of an object in the file, which is the same under every name of the object."""
        import h5py

        return h5py.h5g.get_objinfo(node.id).objno[0]

    def attribute(self, node: "h5py.Group | h5py.Dataset", name: str) -> Any:
        """Reads an attribute as a number, a text or a list of them; None if there is none."""
        import h5py

        key = name.encode()
        if not h5py.h5a.exists(node.id, key):
            return None
        stored = h5py.h5a.open(node.id, key)
        kind = stored.get_type()
        count = math.prod(stored.shape)
        # HDF5 2.0 crashes on strings that are neither of fixed nor of variable length, as in a damaged file.
        if not isinstance(kind, h5py.h5t.TypeStringID | h5py.h5t.TypeIntegerID | h5py.h5t.TypeFloatID):
            raise self.source.error(f"The attribute {name} of {node.name} is neither text nor numbers.")
        size = count * kind.get_size()
        if size > self.size:
            raise self.source.error(f"The attribute {name} of {node.name} is larger than the file.")
        if isinstance(kind, h5py.h5t.TypeStringID) and kind.is_variable_str():
            if self._heaps is None:
                self._heaps = StringHeaps(self.source, self.root.filename, self.root.userblock_size)
            size = self._heaps.max_bytes(count)
        if size > self.texts.bytes_left:
            self.texts.spend(size, f"The attribute {name}")  # raises
        value = np.asarray(node.attrs[name]).tolist()
        found = [_decode(item) for item in value] if isinstance(value, list) else _decode(value)
        items = found if isinstance(found, list) else [found]
        self.texts.spend(
            sum(64 + (len(item) if isinstance(item, str) else 0) for item in items), f"The attribute {name}"
        )
        return found

    def attribute_texts(self, node: "h5py.Group | h5py.Dataset", name: str) -> list[str] | None:
        """Reads a list of texts that may be split over ``name0``, ``name1``, ...; None if there is none."""
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
            raise self.source.error(f"The attribute {name} of {node.name} must hold texts.")
        return texts

    def references(self, dataset: "h5py.Dataset", what: str) -> list[Any]:
        """Returns the objects that a dataset of references points to, in the order of the file.

        Raises:
            FormatError: For a reference to nothing.
        """
        import h5py

        if dataset.size is None or h5py.check_ref_dtype(dataset.dtype) is not h5py.Reference:
            raise self.source.error(f"{what} holds {dataset.dtype}, not references.")
        self._check_storage(dataset, 8, what)
        self.texts.spend(_REFERENCE * dataset.size, f"The references of {what}")
        found = []
        for reference in np.asarray(dataset[()]).ravel():
            if not reference:
                raise self.source.error(f"{what} holds a reference to nothing.")
            found.append(self.root[reference])
        return found

    def dtype(self, dataset: "h5py.Dataset") -> np.dtype:
        """Returns the dtype of a dataset of numbers in the byte order of this machine.

        Two opaque bytes are how h5py stores bfloat16.
        """
        declared = dataset.dtype
        if declared.kind == "V" and declared.itemsize == 2 and declared.names is None and declared.subdtype is None:
            import ml_dtypes

            return np.dtype(ml_dtypes.bfloat16)
        native = declared.newbyteorder("=")
        if native.name not in _TENSOR_DTYPES:
            raise self.source.error(f"{dataset.name} holds {declared}, which is not a dtype of tensors.")
        return native

    def check_total(self, datasets: Mapping[str, "h5py.Dataset"]) -> None:
        """Refuses tensors that together need more than the budget, before the first of them is read.

        Args:
            datasets: Name to dataset.
        """
        left = self.source.with_budget(self.source.max_bytes)
        for name, dataset in datasets.items():
            left.spend(math.prod(dataset.shape or ()) * dataset.id.get_type().get_size(), name)

    def tensor(self, dataset: object, what: str) -> np.ndarray:
        """Reads a whole dataset of numbers after checking its sizes.

        Returns:
            A writable array that owns its memory, in the byte order of this machine.
        """
        import h5py

        if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
            raise self.source.error(f"{what} is not a dataset.")
        dtype = self.dtype(dataset)
        self.source.spend_tensor(dataset.shape, dtype, what)
        self._check_storage(dataset, dataset.id.get_type().get_size(), what)
        opaque = dataset.dtype.kind == "V"
        array = np.empty(dataset.shape, dataset.dtype if opaque else dtype)
        if array.size:
            dataset.id.read(h5py.h5s.ALL, h5py.h5s.ALL, array)
        return array.view(dtype) if opaque else array

    def _check_storage(self, dataset: "h5py.Dataset", itemsize: int, what: str) -> None:
        """Refuses a dataset that would take more memory than the file can fill, or that is stored elsewhere."""
        import h5py

        plan = dataset.id.get_create_plist()
        layout = plan.get_layout()
        if layout == h5py.h5d.VIRTUAL or (layout == h5py.h5d.CONTIGUOUS and plan.get_external_count()):
            raise self.source.error(f"{what} keeps its values in another file, which is not opened.")
        filters = [plan.get_filter(place)[0] for place in range(plan.get_nfilters())]
        if len(set(filters)) < len(filters) or not set(filters) <= set(Filter):
            raise self.source.error(f"{what} is stored through the filters {filters[:8]}, not all of which are read.")
        stored, raw = dataset.id.get_storage_size(), (dataset.size or 0) * itemsize
        address = self.address(dataset)
        if address not in self._seen:
            self._seen.add(address)
            self._stored += stored
            if self._stored > self.size:
                raise self.source.error(f"{what} and those before it claim more bytes than the file has.")
        else:
            self._repeated += raw
            if self._repeated > self.size:
                raise self.source.error(
                    f"{what} is one of many names of the same data: a small file that fills memory."
                )
        if raw > stored * (DEFLATE_RATIO if Filter.DEFLATE in filters else 1):
            raise self.source.error(f"{what} needs {raw} bytes, but the file holds {stored} bytes for it.")
        if layout != h5py.h5d.CHUNKED:
            return
        chunk = plan.get_chunk()
        if math.prod(chunk) * itemsize > max(_MAX_CHUNK, 2 * raw):
            raise self.source.error(f"{what} declares chunks of {chunk}, far more than its values.")
        if math.prod(-(-length // step) for length, step in zip(dataset.shape, chunk, strict=True)) > max(stored, 1):
            raise self.source.error(f"{what} declares more chunks than it has bytes.")
        if filters:
            check_chunks(self.source, dataset, chunk, itemsize, filters, what)


def _decode(item: Any) -> Any:
    """Decodes bytes; texts and numbers stay as they are."""
    return item.decode() if isinstance(item, bytes) else item


@contextlib.contextmanager
def open_hdf5(source: SourceFile, *, copy: str | os.PathLike[str] | None = None) -> Iterator[Hdf5File]:
    """Opens an HDF5 file for reading; errors in its content become ``FormatError``.

    Args:
        source: The file.
        copy: The file with its content, if it was unpacked from ``source``.
    """
    import h5py

    path = source.path if copy is None else copy
    with open(path, "rb") as file:
        size = file.seek(0, os.SEEK_END)
    with source.translate_errors(), h5py.File(path, "r") as root:
        yield Hdf5File(source, root, size)
