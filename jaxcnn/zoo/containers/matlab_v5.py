"""A strict reader of MATLAB's files of level 5, "v6" and "v7": a stream of tagged elements, maybe deflated.

``scipy.io.loadmat`` is not asked: it takes the memory that a file declares before it looks for the bytes, and crashes
the process on a deeply nested cell.
"""

import contextlib
import math
import os
import struct
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np

from jaxcnn.zoo.checkpoint import Budget, FormatError
from jaxcnn.zoo.containers.hdf5 import DEFLATE, TEXT, refusing

__all__ = ["read_variables_v5"]

HEADER = 128
PIECE = 1 << 16
DEPTH = 64
NODE = 256
"""What one value takes in Python however small it is."""

TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
TEXTS = {1: "latin-1", 2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16", 18: "utf-32"}
MATRIX, DEFLATED = 14, 15
CLASSES = {6: "f8", 7: "f4", 8: "i1", 9: "u1", 10: "i2", 11: "u2", 12: "i4", 13: "u4", 14: "i8", 15: "u8"}
CELL, STRUCT, OBJECT, CHAR, SPARSE, HANDLE, OPAQUE = 1, 2, 3, 4, 5, 16, 17
NAMES = {OBJECT: "object", SPARSE: "sparse", HANDLE: "function_handle", OPAQUE: "opaque"}


class _Stream:
    """Bytes of a file or of one deflated element of it, one after the other."""

    def __init__(self, path: Path, file: IO[bytes], length: int, passed: Budget, *, deflated: bool):
        self.path, self.file, self.stored, self.passed = path, file, length, passed
        self.inflater = zlib.decompressobj() if deflated else None
        self.waiting = b""
        self.left = length * DEFLATE if deflated else length

    def read(self, count: int) -> bytearray:
        """Gives exactly so many bytes; whoever calls it has checked that their number is sensible."""
        if count < 0 or count > self.left:
            raise FormatError(self.path, f"An element of {count} bytes ends beyond what holds it.")
        self.left -= count
        if self.inflater is None:
            found = bytearray(self.file.read(count))
        else:
            found = bytearray()
            while len(found) < count:
                found += self._inflate(min(PIECE, count - len(found)))
        if len(found) < count:
            raise FormatError(self.path, "The file ends within an element.")
        return found

    def _inflate(self, limit: int) -> bytes:
        """Gives some bytes of a deflated element, at most ``limit``."""
        assert self.inflater is not None
        while True:
            if not self.waiting and self.stored:
                self.waiting = self.file.read(min(PIECE, self.stored))
                self.stored -= len(self.waiting)
                if not self.waiting:
                    raise FormatError(self.path, "The file ends within a deflated element.")
            ended = not self.waiting
            found = self.inflater.decompress(self.waiting, limit)
            self.waiting = self.inflater.unconsumed_tail
            if found:
                return found
            if self.inflater.eof or ended:
                raise FormatError(self.path, "A deflated element ends before its content does.")

    def skip(self, count: int) -> None:
        """Passes over so many bytes."""
        self.passed.spend(count, "What is passed over")  # it takes time, if no memory
        while count:
            piece = min(PIECE, count)
            self.read(piece)
            count -= piece


class _Element:
    """What is left of one element; an inner one ends where the outer one does or before."""

    def __init__(self, stream: _Stream, left: int, order: Literal["<", ">"]):
        self.stream, self.left = stream, left
        self.order: Literal["<", ">"] = order

    def read(self, count: int) -> bytearray:
        """Gives exactly so many bytes."""
        if count > self.left:
            raise FormatError(self.stream.path, f"An element of {count} bytes ends beyond the {self.left} around it.")
        self.left -= count
        return self.stream.read(count)

    def tag(self) -> tuple[int, int, bytearray | None]:
        """Gives type and length of the next element, and its bytes where they stand in the tag."""
        first, second = struct.unpack(self.order + "II", head := self.read(8))
        if first >> 16:
            if first >> 16 > 4:
                raise FormatError(self.stream.path, f"A small element declares {first >> 16} bytes.")
            return first & 0xFFFF, first >> 16, head[4 : 4 + (first >> 16)]
        return first, second, None

    def data(self, kinds: Collection[int], limit: int) -> tuple[int, bytearray]:
        """Gives type and bytes of the next element, which is of one of some types and at most so long."""
        kind, length, small = self.tag()
        if kind not in kinds or length > limit:
            raise FormatError(self.stream.path, f"An element of type {kind} with {length} bytes stands where none can.")
        if small is not None:
            return kind, small
        found = self.read(length)
        self.read(min(-length % 8, self.left))
        return kind, found

    def finish(self) -> None:
        """Passes over what is left."""
        self.stream.skip(self.left)
        self.left = 0


class _Reader:
    """Turns elements into dictionaries, lists, texts and arrays."""

    def __init__(self, path: Path, tensors: Budget, texts: Budget, ignored: Collection[str]):
        self.path, self.tensors, self.texts, self.ignored = path, tensors, texts, ignored

    def head(self, element: _Element) -> tuple[int, int, tuple[int, ...], str]:
        """Reads class, flags, shape and name of a matrix."""
        if element.left == 0:
            return 0, 0, (0, 0), ""
        _, flags = element.data([6], 8)
        if len(flags) != 8:
            raise FormatError(self.path, "The flags of an array are not 8 bytes.")
        word = struct.unpack_from(element.order + "I", flags)[0]
        kind = word & 0xFF
        shape: tuple[int, ...] = ()
        if kind != OPAQUE:
            _, sizes = element.data([5], 4 * 32)
            shape = struct.unpack(f"{element.order}{len(sizes) // 4}i", sizes)
            if len(shape) < 2 or any(size < 0 for size in shape):
                raise FormatError(self.path, f"An array declares the impossible shape {shape}.")
        _, name = element.data([1, 16], 4096)
        return kind, word >> 8 & 0xFF, shape, name.decode("latin-1")

    def value(self, element: _Element, head: tuple[int, int, tuple[int, ...], str], depth: int, what: str) -> Any:
        """Reads what follows the head of a matrix."""
        kind, flags, shape, _ = head
        self.texts.spend(NODE, what)
        if depth > DEPTH:
            raise FormatError(self.path, f"{what} is nested too deeply.")
        if kind == 0 and element.left == 0:
            return np.empty((0, 0))
        if kind in NAMES:
            element.finish()
            return {"MATLAB_class": NAMES[kind]}
        count = math.prod(shape)
        if kind == CELL:
            return [
                self._matrix(element, depth, f"{what}{{{place + 1}}}") for place in range(self._many(element, count))
            ]
        if kind == STRUCT:
            return self._struct(element, shape, depth, what)
        if kind == CHAR:
            return self._char(element, shape, what)
        if kind not in CLASSES:
            raise FormatError(self.path, f"{what} is of the unknown class {kind}.")
        return self._numbers(element, np.dtype(CLASSES[kind]), flags, shape, what)

    def _many(self, element: _Element, count: int) -> int:
        """Checks a number of elements against the eight bytes that each one takes at least."""
        if 8 * count > element.left:
            raise FormatError(self.path, f"{count} elements are declared in {element.left} bytes.")
        self.texts.spend(NODE * count, "The elements of a cell or struct")
        return count

    def _matrix(self, element: _Element, depth: int, what: str, *, skipped: bool = False) -> Any:
        """Reads one array within another one."""
        kind, length, small = element.tag()
        if kind != MATRIX or small is not None or length > element.left:
            raise FormatError(
                self.path, f"{what} is an element of type {kind} with {length} bytes, no array within its own."
            )
        inner = _Element(element.stream, length, element.order)
        element.left -= length
        if skipped:
            inner.finish()
            return None
        found = self.value(inner, self.head(inner), depth + 1, what)
        inner.finish()
        return found

    def fields(self, element: _Element) -> list[str]:
        """Reads the names of a struct's fields."""
        _, width = element.data([5], 4)
        size = struct.unpack(element.order + "i", width)[0] if len(width) == 4 else 0
        _, names = element.data([1, 2], min(element.left, 1 << 20))
        if not 0 < size <= 4096 or len(names) % size:
            raise FormatError(self.path, f"A struct's names of fields are {len(names)} bytes of {size} each.")
        self.texts.spend(NODE * (len(names) // size), "The fields of a struct")
        parts = [bytes(names[place : place + size]) for place in range(0, len(names), size)]
        return [part.split(b"\0")[0].decode("latin-1") for part in parts]

    def _struct(self, element: _Element, shape: tuple[int, ...], depth: int, what: str) -> Any:
        """Reads a struct as a dictionary, an array of them as a list of dictionaries."""
        names, count = self.fields(element), math.prod(shape)
        self._many(element, count * max(1, len(names)) if names else 0)
        if not names:
            return {} if count == 1 else []
        found = []
        for place in range(count):
            record = {}
            for name in names:
                at = f"{what}({place + 1}).{name}" if count > 1 else f"{what}.{name}"
                part = self._matrix(element, depth, at, skipped=name in self.ignored)
                if name not in self.ignored:
                    record[name] = part
            found.append(record)
        return found[0] if count == 1 else found

    def _char(self, element: _Element, shape: tuple[int, ...], what: str) -> Any:
        """Reads a text, or the rows of a matrix of characters."""
        count = math.prod(shape)
        if count > element.left:
            raise FormatError(self.path, f"{what} declares {count} characters in {element.left} bytes.")
        self.texts.spend(8 * count, what)
        kind, found = element.data(list(TEXTS), 4 * count + 8)
        code = TEXTS[kind] + (
            ("-le" if element.order == "<" else "-be") if "16" in TEXTS[kind] or "32" in TEXTS[kind] else ""
        )
        text = bytes(found).decode(code)
        if len(shape) == 2 and shape[0] <= 1:
            return text
        self.texts.spend(NODE * shape[0], what)  # rows of no characters stand in no bytes
        return ["".join(text[row :: shape[0]]).rstrip() for row in range(shape[0])]

    def _numbers(self, element: _Element, dtype: np.dtype, flags: int, shape: tuple[int, ...], what: str) -> np.ndarray:
        """Reads an array of numbers, which may be stored in a smaller type than its own."""
        if flags & 0x08:
            raise FormatError(self.path, f"{what} is complex, which no tensor of a network is.")
        if flags & 0x02:
            dtype = np.dtype(bool)
        count = math.prod(shape)
        kind, length, small = element.tag()
        if kind not in TYPES or length != count * (width := np.dtype(TYPES[kind]).itemsize):
            raise FormatError(self.path, f"{what} declares the shape {shape}, but holds {length} bytes of type {kind}.")
        if length > element.left and small is None:
            raise FormatError(self.path, f"{what} ends beyond the file.")
        self.tensors.tensor(shape, dtype, what)
        array = np.empty(count, dtype)
        stored = np.dtype(TYPES[kind]).newbyteorder(element.order)
        rows = max(1, PIECE // width)
        for begin in range(0, count, rows):
            end = min(count, begin + rows)
            piece = small if small is not None else element.read((end - begin) * width)
            array[begin:end] = np.frombuffer(piece, stored, end - begin)
        if small is None:
            element.read(min(-length % 8, element.left))
        return array.reshape(shape, order="F")


@contextlib.contextmanager
def _elements(path: Path, passed: Budget) -> Iterator[Iterator[_Element]]:
    """Opens a file and gives the variables in it, each at its begin."""
    with open(path, "rb") as file, refusing(path):
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        header = file.read(HEADER)
        if len(header) < HEADER or header[126:128] not in (b"IM", b"MI"):
            raise FormatError(path, "It has no header of MATLAB.")
        order: Literal["<", ">"] = "<" if header[126:128] == b"IM" else ">"

        def walk() -> Iterator[_Element]:
            """Goes from one variable to the next."""
            place = HEADER
            while place < size:
                file.seek(place)
                head = file.read(8)
                if len(head) < 8:
                    raise FormatError(path, "The file ends within a tag.")
                kind, length = struct.unpack(order + "II", head)
                if kind not in (MATRIX, DEFLATED) or length > size - place - 8:
                    raise FormatError(path, f"At byte {place} stands an element of type {kind} with {length} bytes.")
                stream = _Stream(path, file, length, passed, deflated=kind == DEFLATED)
                if kind == DEFLATED:
                    inner, length_inside = struct.unpack(order + "II", stream.read(8))
                    if inner != MATRIX or length_inside > stream.left:
                        raise FormatError(path, f"A deflated element holds one of type {inner}, {length_inside} bytes.")
                    yield _Element(stream, length_inside, order)
                else:
                    yield _Element(stream, length, order)
                place += 8 + length

        yield walk()


def read_variables_v5(
    path: Path, *, max_bytes: int, choose: Callable[[list[str], str | None], Collection[str]], ignored: Collection[str]
) -> tuple[dict[str, Any], list[str]]:
    """Reads some variables of a file of level 5.

    Convention:
        Numbers are arrays with MATLAB's axes, texts are str, cells are lists, structs are dictionaries and arrays of
        structs lists of them; what is a function, an object or sparse is a dictionary with its ``"MATLAB_class"``.

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
    texts = Budget(path, max(max_bytes, TEXT))
    passed = Budget(path, 4 * max_bytes + TEXT)
    reader = _Reader(path, Budget(path, max_bytes), texts, ignored)
    names: list[str] = []
    other: str | None = None
    with _elements(path, passed) as elements:
        for element in elements:
            kind, _, _, name = reader.head(element)
            texts.spend(NODE, "The names of its variables")
            names.append(name)
            if other is None and kind == STRUCT and "layers" in reader.fields(element):
                other = name
    chosen = choose(names, other)
    found: dict[str, Any] = {}
    with _elements(path, passed) as elements:
        for element in elements:
            head = reader.head(element)
            if head[3] in chosen:
                found[head[3]] = reader.value(element, head, 0, head[3])
    return found, names
