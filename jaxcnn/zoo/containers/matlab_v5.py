"""A strict reader of MATLAB's files of level 5, "v6" and "v7": a stream of tagged elements, possibly deflated.

``scipy.io.loadmat`` is not used: it allocates what a file declares before it looks for the bytes, and crashes the
process on a deeply nested cell.
"""

import contextlib
import math
import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from typing import IO, Any, Literal, NamedTuple

import numpy as np

from jaxcnn.zoo.containers.hdf5 import MIN_TEXT_BYTES
from jaxcnn.zoo.containers.source_file import DEFLATE_RATIO, SourceFile

__all__ = ["read_variables_v5"]

_HEADER_BYTES = 128
_PIECE = 1 << 16
_MAX_DEPTH = 64
_NODE_BYTES = 256  # bytes of one value in Python, however small it is

_BYTE_ORDERS: dict[bytes, Literal["<", ">"]] = {b"IM": "<", b"MI": ">"}
_STORAGE_DTYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_TEXT_CODECS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
_INT8, _UINT8, _INT32, _UINT32, _MATRIX, _DEFLATED, _UTF8 = 1, 2, 5, 6, 14, 15, 16  # types of elements
_CLASS_DTYPES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
_CELL, _STRUCT, _OBJECT, _CHAR, _SPARSE, _FUNCTION, _OPAQUE = 1, 2, 3, 4, 5, 16, 17  # classes of arrays
_OTHER_CLASSES = {_OBJECT: "object", _SPARSE: "sparse", _FUNCTION: "function_handle", _OPAQUE: "opaque"}
_LOGICAL, _COMPLEX = 0x02, 0x08  # flags of arrays


class _Stream:
    """The bytes of a file or of one deflated element of it, in sequence."""

    def __init__(self, skipped: SourceFile, file: IO[bytes], length: int, *, deflated: bool):
        self.source, self.file, self.stored = skipped, file, length
        self.inflater = zlib.decompressobj() if deflated else None
        self.waiting = b""
        self.left = length * DEFLATE_RATIO if deflated else length

    def read(self, count: int) -> bytearray:
        """Reads exactly so many bytes; the caller has checked that their number is sensible."""
        if count < 0 or count > self.left:
            raise self.source.error(f"An element of {count} bytes ends beyond the element around it.")
        self.left -= count
        if self.inflater is None:
            found = bytearray(self.file.read(count))
        else:
            found = bytearray()
            while len(found) < count:
                found += self._inflate(min(_PIECE, count - len(found)))
        if len(found) < count:
            raise self.source.error("The file ends within an element.")
        return found

    def _inflate(self, limit: int) -> bytes:
        """Returns some bytes of a deflated element, at most ``limit``."""
        assert self.inflater is not None
        while True:
            if not self.waiting and self.stored:
                self.waiting = self.file.read(min(_PIECE, self.stored))
                self.stored -= len(self.waiting)
                if not self.waiting:
                    raise self.source.error("The file ends within a deflated element.")
            ended = not self.waiting
            found = self.inflater.decompress(self.waiting, limit)
            self.waiting = self.inflater.unconsumed_tail
            if found:
                return found
            if self.inflater.eof or ended:
                raise self.source.error("A deflated element ends before its content does.")

    def skip(self, count: int) -> None:
        """Skips so many bytes."""
        self.source.spend(count, "What is skipped")  # it takes time, though no memory
        while count:
            piece = min(_PIECE, count)
            self.read(piece)
            count -= piece


class _Element:
    """The rest of one element; an inner one ends within its outer one."""

    def __init__(self, stream: _Stream, left: int, order: Literal["<", ">"]):
        self.stream, self.source, self.left = stream, stream.source, left
        self.order: Literal["<", ">"] = order

    def read(self, count: int) -> bytearray:
        """Reads exactly so many bytes."""
        if count > self.left:
            raise self.source.error(f"An element of {count} bytes ends beyond the {self.left} around it.")
        self.left -= count
        return self.stream.read(count)

    def tag(self) -> tuple[int, int, bytearray | None]:
        """Reads type and length of the next element, and its bytes if the tag contains them."""
        first, second = struct.unpack(self.order + "II", head := self.read(8))
        if first >> 16:
            if first >> 16 > 4:
                raise self.source.error(f"A small element declares {first >> 16} bytes.")
            return first & 0xFFFF, first >> 16, head[4 : 4 + (first >> 16)]
        return first, second, None

    def data(self, kinds: Collection[int], limit: int) -> tuple[int, bytearray]:
        """Reads type and bytes of the next element, which must be of one of some types and at most ``limit`` long."""
        kind, length, small = self.tag()
        if kind not in kinds or length > limit:
            raise self.source.error(f"An element of type {kind} with {length} bytes is out of place.")
        if small is not None:
            return kind, small
        found = self.read(length)
        self.read(min(-length % 8, self.left))
        return kind, found

    def finish(self) -> None:
        """Skips the rest."""
        self.stream.skip(self.left)
        self.left = 0


class _ArrayHeader(NamedTuple):
    """Class, flags, shape and name of an array."""

    kind: int
    flags: int
    shape: tuple[int, ...]
    name: str


class _ArrayReader:
    """Converts elements to dictionaries, lists, texts and arrays."""

    def __init__(self, source: SourceFile, texts: SourceFile, ignored: Collection[str]):
        self.source, self.texts, self.ignored = source, texts, ignored

    def header(self, element: _Element) -> _ArrayHeader:
        """Reads the beginning of an array."""
        if element.left == 0:
            return _ArrayHeader(0, 0, (0, 0), "")
        _, flags = element.data([_UINT32], 8)
        if len(flags) != 8:
            raise self.source.error("The flags of an array are not 8 bytes.")
        word = struct.unpack_from(element.order + "I", flags)[0]
        kind = word & 0xFF
        shape: tuple[int, ...] = ()
        if kind != _OPAQUE:
            _, sizes = element.data([_INT32], 4 * 32)
            shape = struct.unpack(f"{element.order}{len(sizes) // 4}i", sizes)
            if len(shape) < 2 or any(size < 0 for size in shape):
                raise self.source.error(f"An array declares the impossible shape {shape}.")
        _, name = element.data([_INT8, _UTF8], 4096)
        return _ArrayHeader(kind, word >> 8 & 0xFF, shape, name.decode("latin-1"))

    def value(self, element: _Element, header: _ArrayHeader, depth: int, what: str) -> Any:
        """Reads the content of an array."""
        kind, flags, shape, _ = header
        self.texts.spend(_NODE_BYTES, what)
        if depth > _MAX_DEPTH:
            raise self.source.error(f"{what} is nested too deeply.")
        if kind == 0 and element.left == 0:
            return np.empty((0, 0))
        if kind in _OTHER_CLASSES:
            element.finish()
            return {"MATLAB_class": _OTHER_CLASSES[kind]}
        count = math.prod(shape)
        if kind == _CELL:
            return [
                self._inner(element, depth, f"{what}{{{place + 1}}}")
                for place in range(self._check_count(element, count))
            ]
        if kind == _STRUCT:
            return self._struct(element, shape, depth, what)
        if kind == _CHAR:
            return self._char(element, shape, what)
        if kind not in _CLASS_DTYPES:
            raise self.source.error(f"{what} is of the unknown class {kind}.")
        return self._numbers(element, np.dtype(_CLASS_DTYPES[kind]), flags, shape, what)

    def _check_count(self, element: _Element, count: int) -> int:
        """Checks a number of elements against the eight bytes that each of them takes at least."""
        if 8 * count > element.left:
            raise self.source.error(f"{count} elements are declared in {element.left} bytes.")
        self.texts.spend(_NODE_BYTES * count, "The elements of a cell or struct")
        return count

    def _inner(self, element: _Element, depth: int, what: str, *, skipped: bool = False) -> Any:
        """Reads one array within another one."""
        kind, length, small = element.tag()
        if kind != _MATRIX or small is not None or length > element.left:
            raise self.source.error(
                f"{what} is an element of type {kind} with {length} bytes, not an array within its bounds."
            )
        inner = _Element(element.stream, length, element.order)
        element.left -= length
        if skipped:
            inner.finish()
            return None
        found = self.value(inner, self.header(inner), depth + 1, what)
        inner.finish()
        return found

    def fields(self, element: _Element) -> list[str]:
        """Reads the field names of a struct."""
        _, width = element.data([_INT32], 4)
        size = struct.unpack(element.order + "i", width)[0] if len(width) == 4 else 0
        _, names = element.data([_INT8, _UINT8], min(element.left, 1 << 20))
        if not 0 < size <= 4096 or len(names) % size:
            raise self.source.error(f"The field names of a struct are {len(names)} bytes of {size} each.")
        self.texts.spend(_NODE_BYTES * (len(names) // size), "The fields of a struct")
        parts = [bytes(names[place : place + size]) for place in range(0, len(names), size)]
        return [part.split(b"\0")[0].decode("latin-1") for part in parts]

    def _struct(self, element: _Element, shape: tuple[int, ...], depth: int, what: str) -> Any:
        """Reads a struct as a dictionary, an array of structs as a list of dictionaries."""
        names, count = self.fields(element), math.prod(shape)
        self._check_count(element, count * max(1, len(names)) if names else 0)
        if not names:
            return {} if count == 1 else []
        found = []
        for place in range(count):
            record = {}
            for name in names:
                at = f"{what}({place + 1}).{name}" if count > 1 else f"{what}.{name}"
                part = self._inner(element, depth, at, skipped=name in self.ignored)
                if name not in self.ignored:
                    record[name] = part
            found.append(record)
        return found[0] if count == 1 else found

    def _char(self, element: _Element, shape: tuple[int, ...], what: str) -> Any:
        """Decodes a text, or the rows of a matrix of characters."""
        count = math.prod(shape)
        if count > element.left:
            raise self.source.error(f"{what} declares {count} characters in {element.left} bytes.")
        self.texts.spend(8 * count, what)
        kind, found = element.data(list(_TEXT_CODECS), 4 * count + 8)
        codec = _TEXT_CODECS[kind]
        if codec.endswith(("16", "32")):
            codec += "-le" if element.order == "<" else "-be"
        text = bytes(found).decode(codec)
        if len(shape) == 2 and shape[0] <= 1:
            return text
        self.texts.spend(_NODE_BYTES * shape[0], what)  # rows without characters take no bytes in the file
        return ["".join(text[row :: shape[0]]).rstrip() for row in range(shape[0])]

    def _numbers(self, element: _Element, dtype: np.dtype, flags: int, shape: tuple[int, ...], what: str) -> np.ndarray:
        """Reads an array of numbers, which may be stored in a smaller type."""
        if flags & _COMPLEX:
            raise self.source.error(f"{what} is complex, which tensors of a network never are.")
        if flags & _LOGICAL:
            dtype = np.dtype(bool)
        count = math.prod(shape)
        kind, length, small = element.tag()
        if kind not in _STORAGE_DTYPES or length != count * (width := np.dtype(_STORAGE_DTYPES[kind]).itemsize):
            raise self.source.error(f"{what} declares the shape {shape}, but holds {length} bytes of type {kind}.")
        if length > element.left and small is None:
            raise self.source.error(f"{what} ends beyond the file.")
        self.source.spend_tensor(shape, dtype, what)
        array = np.empty(count, dtype)
        stored = np.dtype(_STORAGE_DTYPES[kind]).newbyteorder(element.order)
        rows = max(1, _PIECE // width)
        for begin in range(0, count, rows):
            end = min(count, begin + rows)
            piece = small if small is not None else element.read((end - begin) * width)
            array[begin:end] = np.frombuffer(piece, stored, end - begin)
        if small is None:
            element.read(min(-length % 8, element.left))
        return array.reshape(shape, order="F")


@contextlib.contextmanager
def _elements(skipped: SourceFile) -> Iterator[Iterator[_Element]]:
    """Opens a file and iterates over the variables in it, each at its beginning."""
    with open(skipped.path, "rb") as file, skipped.translate_errors():
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        order = _BYTE_ORDERS.get(file.read(_HEADER_BYTES)[126:])
        if order is None:
            raise skipped.error("It has no header of MATLAB.")

        def walk() -> Iterator[_Element]:
            position = _HEADER_BYTES
            while position < size:
                file.seek(position)
                head = file.read(8)
                if len(head) < 8:
                    raise skipped.error("The file ends within a tag.")
                kind, length = struct.unpack(order + "II", head)
                if kind not in (_MATRIX, _DEFLATED) or length > size - position - 8:
                    raise skipped.error(
                        f"At byte {position} is an element of type {kind} with {length} bytes, which is not a variable."
                    )
                stream = _Stream(skipped, file, length, deflated=kind == _DEFLATED)
                if kind == _DEFLATED:
                    inner, length_inside = struct.unpack(order + "II", stream.read(8))
                    if inner != _MATRIX or length_inside > stream.left:
                        raise skipped.error(f"A deflated element holds one of type {inner}, {length_inside} bytes.")
                    yield _Element(stream, length_inside, order)
                else:
                    yield _Element(stream, length, order)
                position += 8 + length

        yield walk()


def read_variables_v5(
    source: SourceFile,
    *,
    choose: Callable[[list[str], str | None], Collection[str]],
    marker: str,
    ignored: Collection[str],
) -> tuple[dict[str, Any], list[str]]:
    """Reads some variables of a file of level 5.

    Convention:
        Numbers are arrays with MATLAB's axes, texts are str, cells are lists, structs are dictionaries and arrays of
        structs lists of them; functions, objects and sparse arrays are dictionaries with their ``"MATLAB_class"``.

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
    texts = source.with_budget(max(source.max_bytes, MIN_TEXT_BYTES))
    skipped = source.with_budget(4 * source.max_bytes + MIN_TEXT_BYTES)
    reader = _ArrayReader(source, texts, ignored)
    names: list[str] = []
    struct_name: str | None = None
    with _elements(skipped) as elements:
        for element in elements:
            kind, _, _, name = reader.header(element)
            texts.spend(_NODE_BYTES, "The names of its variables")
            names.append(name)
            if struct_name is None and kind == _STRUCT and marker in reader.fields(element):
                struct_name = name
    chosen = choose(names, struct_name)
    found: dict[str, Any] = {}
    with _elements(skipped) as elements:
        for element in elements:
            header = reader.header(element)
            if header.name in chosen:
                found[header.name] = reader.value(element, header, 0, header.name)
    return found, names
