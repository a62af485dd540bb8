"""Tables of a flatbuffer, every offset checked before it is followed."""

import os
import struct
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import FormatError

__all__ = ["Flatbuffer", "Table"]

_MOST_TABLES = 1 << 21
_MOST_VALUES = 1 << 24


class Flatbuffer:
    """One file.

    Args:
        path: The file, for the message of an error.
        data: Its bytes.
    """

    def __init__(self, path: str | os.PathLike[str], data: memoryview):
        self.path, self.data = path, data
        self.tables_left, self.values_left = _MOST_TABLES, _MOST_VALUES

    def spend(self, tables: int, values: int) -> None:
        """Counts what is read: parts may be shared, so a small file can seem to hold very much."""
        self.tables_left -= tables
        self.values_left -= values
        if self.tables_left < 0 or self.values_left < 0:
            raise FormatError(self.path, f"holds more than {_MOST_TABLES} tables or {_MOST_VALUES} values in lists.")

    def unpack(self, form: str, place: int) -> Any:
        """Reads one number, little-endian."""
        if place < 0 or place + struct.calcsize(form) > len(self.data):
            raise FormatError(self.path, f"a value at byte {place} goes beyond its {len(self.data)} bytes.")
        return struct.unpack_from(form, self.data, place)[0]

    def root(self) -> "Table":
        """Gives the outermost table."""
        return Table(self, self.unpack("<I", 0))


class Table:
    """One table; fields that are absent have their defaults.

    Args:
        buffer: The file.
        place: Where the table begins.
    """

    def __init__(self, buffer: Flatbuffer, place: int):
        self.buffer, self.place = buffer, place
        buffer.spend(1, 0)
        self.fields = place - buffer.unpack("<i", place)
        self.count = (buffer.unpack("<H", self.fields) - 4) // 2

    def at(self, field: int) -> int | None:
        """Gives the place of a field's value, or None where it is absent."""
        if field >= self.count:
            return None
        offset = self.buffer.unpack("<H", self.fields + 4 + 2 * field)
        return self.place + offset if offset else None

    def number(self, field: int, form: str, default: Any = 0) -> Any:
        """Gives a number or, of the form ``<?``, a boolean."""
        place = self.at(field)
        return default if place is None else self.buffer.unpack(form, place)

    def table(self, field: int) -> "Table | None":
        """Gives the table of a field."""
        place = self.at(field)
        return None if place is None else Table(self.buffer, self._follow(place))

    def tables(self, field: int) -> list["Table"]:
        """Gives the tables of a vector."""
        begin, count = self._vector(field, 4)
        return [Table(self.buffer, self._follow(begin + 4 * index)) for index in range(count)]

    def numbers(self, field: int, dtype: str) -> np.ndarray:
        """Gives a vector of numbers, a view."""
        begin, count = self._vector(field, np.dtype(dtype).itemsize)
        self.buffer.spend(0, 0 if dtype == "<u1" else count)  # bytes are tensors, which the reader counts
        return np.frombuffer(self.buffer.data, dtype, count, begin) if count else np.zeros(0, dtype)

    def text(self, field: int) -> str:
        """Gives a text, empty where it is absent."""
        begin, count = self._vector(field, 1)
        self.buffer.spend(0, count)
        try:
            return str(self.buffer.data[begin : begin + count], "utf-8")
        except UnicodeDecodeError as error:
            raise FormatError(self.buffer.path, f"holds a text that is not UTF-8: {error}") from error

    def _follow(self, place: int) -> int:
        return place + self.buffer.unpack("<I", place)

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Gives begin and length of a vector, which lies within the file."""
        place = self.at(field)
        if place is None:
            return 0, 0
        place = self._follow(place)
        count = self.buffer.unpack("<I", place)
        if place + 4 + count * size > len(self.buffer.data):
            raise FormatError(self.buffer.path, f"a list of {count} values at byte {place} goes beyond the end.")
        return place + 4, count
