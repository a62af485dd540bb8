"""MATLAB's files of version 7.3: HDF5 in which cells are references and all axes are reversed."""

import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.containers.hdf5 import Hdf5, open_hdf5

__all__ = ["read_variables_hdf5"]

DEPTH = 64


class _Reader:
    """Turns datasets and groups into dictionaries, lists, texts and arrays; each object is read once."""

    def __init__(self, file: Hdf5, ignored: Collection[str]):
        self.file, self.ignored = file, ignored
        self.path: str | os.PathLike[str] = file.path
        self.known: dict[int, Any] = {}
        self.open: set[int] = set()

    def value(self, node: Any, what: str, depth: int) -> Any:
        """Reads one object, following the references in it."""
        if node is None:
            raise FormatError(self.path, f"{what} is not there.")
        address = self.file.address(node)
        if address in self.known:
            found = self.known[address]
            if isinstance(found, dict | list) and found:
                raise FormatError(self.path, f"{what} also stands elsewhere in the file, which MATLAB never writes.")
            if isinstance(found, np.ndarray):
                self.file.tensors.spend(found.nbytes, what)
                return found.copy(order="K")
            return found
        if address in self.open or depth > DEPTH:
            raise FormatError(self.path, f"{what} holds itself, or is nested too deeply.")
        self.open.add(address)
        found = self.struct(node, what, depth) if self.file.is_group(node) else self._dataset(node, what, depth)
        self.open.discard(address)
        self.known[address] = found
        return found

    def struct(self, group: Any, what: str, depth: int) -> Any:
        """Reads a struct as a dictionary, an array of them as a list of dictionaries."""
        names = [name for name in self.file.members(group) if name not in self.ignored]
        kind = self.file.attribute(group, "MATLAB_class")
        if kind not in ("struct", None):
            return {"MATLAB_class": kind}
        parts = {name: self.file.member(group, name) for name in names}
        arrays = {name: part for name, part in parts.items() if self._is_array(part)}
        if not arrays:
            return {name: self.value(part, f"{what}.{name}", depth + 1) for name, part in parts.items()}
        counts = {part.size for part in arrays.values()}
        if len(arrays) < len(parts) or len(counts) > 1:
            raise FormatError(self.path, f"{what} is an array of structs whose fields are not of one length.")
        fields = {
            name: [
                self.value(target, f"{what}({place}).{name}", depth + 1)
                for place, target in enumerate(self.file.references(part, f"{what}.{name}"), 1)
            ]
            for name, part in arrays.items()
        }
        return [dict(zip(fields, record, strict=True)) for record in zip(*fields.values(), strict=True)]

    def _is_array(self, part: Any) -> bool:
        """Says whether a member of a struct holds one reference for each struct of an array."""
        return (
            part is not None
            and not self.file.is_group(part)
            and part.dtype.kind == "O"
            and self.file.attribute(part, "MATLAB_class") is None
        )

    def _dataset(self, dataset: Any, what: str, depth: int) -> Any:
        """Reads what is no group: numbers, texts and cells."""
        kind = self.file.attribute(dataset, "MATLAB_class")
        empty = self.file.attribute(dataset, "MATLAB_empty")
        if empty:  # the values are the sizes of what is empty
            return {"char": "", "cell": [], "struct": []}.get(str(kind), np.empty((0, 0)))
        if dataset.dtype.kind == "O":
            if kind != "cell":
                return {"MATLAB_class": kind or "opaque"}
            targets = self.file.references(dataset, what)
            return [self.value(target, f"{what}{{{place}}}", depth + 1) for place, target in enumerate(targets, 1)]
        if dataset.dtype.kind not in "fiu":
            raise FormatError(self.path, f"{what} holds {dataset.dtype}, which no tensor of a network is.")
        array = self.file.tensor(dataset, what).T
        if kind == "char":
            return self._text(array, what)
        return array.astype(bool) if kind == "logical" else array

    def _text(self, array: np.ndarray, what: str) -> Any:
        """Makes a text, or the rows of a matrix of characters."""
        if array.dtype.kind != "u" or array.ndim != 2:
            raise FormatError(self.path, f"{what} is a text of {array.dtype}{array.shape}.")
        self.file.texts.spend(8 * array.size, what)
        rows = [row.astype("<u2").tobytes().decode("utf-16-le") for row in array]
        return rows[0] if len(rows) == 1 else [row.rstrip() for row in rows]


def read_variables_hdf5(
    path: Path, *, max_bytes: int, choose: Callable[[list[str], str | None], Collection[str]], ignored: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """Reads some variables of a file of version 7.3.

    Convention:
        As ``read_variables_v5``. Arrays are views with MATLAB's axes of what the file holds in the reverse order.

    Args:
        path: The file.
        max_bytes: What all arrays may take together; all else may take as much again.
        choose: Gives the names of the wanted variables of those of all, and of the first struct with ``layers``.
        ignored: Fields of structs that are passed over.

    Returns:
        The variables, and the names of all variables of the file.

    Raises:
        FormatError: For a file that is truncated, corrupt or hostile.
    """
    with open_hdf5(path, max_bytes=max_bytes) as file:
        names = [name for name in file.members(file.root) if name not in ("#refs#", "#subsystem#")]
        nodes = {name: file.member(file.root, name) for name in names}
        structs = [
            name for name, node in nodes.items() if file.is_group(node) and file.member(node, "layers") is not None
        ]
        reader = _Reader(file, ignored)
        chosen = choose(names, structs[0] if structs else None)
        return {name: reader.value(nodes[name], name, 0) for name in names if name in chosen}, names
