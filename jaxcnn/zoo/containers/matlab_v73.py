"""MATLAB's files of version 7.3: HDF5 in which cells are references and all axes are reversed."""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn.zoo.containers.hdf5 import Hdf5File, open_hdf5
from jaxcnn.zoo.containers.source_file import SourceFile

if TYPE_CHECKING:
    import h5py

__all__ = ["read_variables_v73"]

_MAX_DEPTH = 64


class _ObjectReader:
    """Converts datasets and groups to dictionaries, lists, texts and arrays; each object is read once."""

    def __init__(self, file: Hdf5File, ignored: Collection[str]):
        self.file, self.source, self.ignored = file, file.source, ignored
        self.done: dict[int, Any] = {}
        self.open: set[int] = set()

    def read(self, node: "h5py.Group | h5py.Dataset | None", what: str, depth: int) -> Any:
        """Reads one object, following the references in it."""
        if node is None:
            raise self.source.error(f"{what} is missing.")
        address = self.file.address(node)
        if address in self.done:
            found = self.done[address]
            if isinstance(found, dict | list) and found:
                raise self.source.error(f"{what} also occurs elsewhere in the file, which MATLAB never writes.")
            if isinstance(found, np.ndarray):
                self.source.spend(found.nbytes, what)
                return found.copy(order="K")
            return found
        if address in self.open or depth > _MAX_DEPTH:
            raise self.source.error(f"{what} holds itself, or is nested too deeply.")
        self.open.add(address)
        found = self._read_new(node, what, depth)
        self.open.discard(address)
        self.done[address] = found
        return found

    def _read_new(self, node: "h5py.Group | h5py.Dataset", what: str, depth: int) -> Any:
        import h5py

        return self._struct(node, what, depth) if isinstance(node, h5py.Group) else self._dataset(node, what, depth)

    def _struct(self, group: "h5py.Group", what: str, depth: int) -> Any:
        """Reads a struct as a dictionary, an array of structs as a list of dictionaries."""
        names = [name for name in self.file.list_members(group) if name not in self.ignored]
        kind = self.file.attribute(group, "MATLAB_class")
        if kind not in ("struct", None):
            return {"MATLAB_class": kind}
        parts = {name: self.file.find(group, name) for name in names}
        arrays = {name: array for name, part in parts.items() if (array := self._as_struct_array(part)) is not None}
        if not arrays:
            return {name: self.read(part, f"{what}.{name}", depth + 1) for name, part in parts.items()}
        counts = {part.size for part in arrays.values()}
        if len(arrays) < len(parts) or len(counts) > 1:
            raise self.source.error(f"{what} is an array of structs whose fields differ in length.")
        fields = {
            name: [
                self.read(target, f"{what}({place}).{name}", depth + 1)
                for place, target in enumerate(self.file.references(part, f"{what}.{name}"), 1)
            ]
            for name, part in arrays.items()
        }
        return [dict(zip(fields, record, strict=True)) for record in zip(*fields.values(), strict=True)]

    def _as_struct_array(self, part: "h5py.Group | h5py.Dataset | None") -> "h5py.Dataset | None":
        """Returns a member of a struct if it holds one reference for each struct of an array, otherwise None."""
        import h5py

        if not isinstance(part, h5py.Dataset) or part.dtype.kind != "O":
            return None
        return part if self.file.attribute(part, "MATLAB_class") is None else None

    def _dataset(self, dataset: "h5py.Dataset", what: str, depth: int) -> Any:
        """Reads numbers, texts and cells."""
        kind = self.file.attribute(dataset, "MATLAB_class")
        empty = self.file.attribute(dataset, "MATLAB_empty")
        if empty:  # the values are the sizes of an empty array
            return {"char": "", "cell": [], "struct": []}.get(str(kind), np.empty((0, 0)))
        if dataset.dtype.kind == "O":
            if kind != "cell":
                return {"MATLAB_class": kind or "opaque"}
            targets = self.file.references(dataset, what)
            return [self.read(target, f"{what}{{{place}}}", depth + 1) for place, target in enumerate(targets, 1)]
        if dataset.dtype.kind not in "fiu":
            raise self.source.error(f"{what} holds {dataset.dtype}, which tensors of a network never do.")
        array = self.file.tensor(dataset, what).T
        if kind == "char":
            return self._text(array, what)
        return array.astype(bool) if kind == "logical" else array

    def _text(self, array: np.ndarray, what: str) -> str | list[str]:
        """Decodes a text, or the rows of a matrix of characters."""
        if array.dtype.kind != "u" or array.ndim != 2:
            raise self.source.error(f"{what} is a text of {array.dtype}{array.shape}.")
        self.file.texts.spend(8 * array.size, what)
        rows = [row.astype("<u2").tobytes().decode("utf-16-le") for row in array]
        return rows[0] if len(rows) == 1 else [row.rstrip() for row in rows]


def read_variables_v73(
    source: SourceFile,
    *,
    choose: Callable[[list[str], str | None], Collection[str]],
    marker: str,
    ignored: Collection[str],
) -> tuple[dict[str, Any], list[str]]:
    """Reads some variables of a file of version 7.3.

    Convention:
        As in ``read_variables_v5``. Arrays are views with MATLAB's axes of data that the file holds in reverse order.

    Args:
        source: The file. All arrays together are taken from its budget; everything else may take as much again.
        choose: Returns the names of the wanted variables, given those of all, and of the first struct with ``marker``.
        marker: The name of a field.
        ignored: Fields of structs that are skipped.

    Returns:
        The variables, and the names of all variables of the file.

    Raises:
        FormatError: For a file that is truncated, corrupt or hostile.
    """
    with open_hdf5(source) as file:
        names = [name for name in file.list_members(file.root) if name not in ("#refs#", "#subsystem#")]
        nodes = {name: file.find(file.root, name) for name in names}
        structs = []
        for name in names:
            group = file.find_group(file.root, name)
            if group is not None and file.find(group, marker) is not None:
                structs.append(name)
        reader = _ObjectReader(file, ignored)
        chosen = choose(names, structs[0] if structs else None)
        return {name: reader.read(nodes[name], name, 0) for name in names if name in chosen}, names
