"""Tables of a flatbuffer, every offset checked before it is followed."""

import struct
from typing import Any

import numpy as np

from jaxcnn.zoo.containers.source_file import SourceFile

__all__ = ["Flatbuffer", "FlatbufferTable"]

_MAX_TABLES = 1 << 21
_MAX_VALUES = 1 << 24
_TABLE_COST = 256  # bytes of Python's objects


class Flatbuffer:
    """One file.

    Args:
        source: The file, for error messages.
        data: Its bytes.
    """

    def __init__(self, source: SourceFile, data: memoryview):
        self.source, self.data = source, data
        self.tables_left, self.values_left = _MAX_TABLES, _MAX_VALUES

    def count(self, tables: int, values: int) -> None:
        """Counts tables and values that were read: parts may be shared, so a small file can seem to hold very much."""
        self.source.spend_objects(tables * _TABLE_COST)
        self.tables_left -= tables
        self.values_left -= values
        if self.tables_left < 0 or self.values_left < 0:
            raise self.source.error(f"holds more than {_MAX_TABLES} tables or {_MAX_VALUES} values in lists.")

    def unpack(self, code: str, position: int) -> Any:
        """Reads one number, little-endian, of a format code of ``struct``."""
        if position < 0 or position + struct.calcsize(code) > len(self.data):
            raise self.source.error(f"a value at byte {position} extends beyond its {len(self.data)} bytes.")
        return struct.unpack_from(code, self.data, position)[0]

    def root(self) -> "FlatbufferTable":
        """Returns the outermost table."""
        return FlatbufferTable(self, self.unpack("<I", 0))


class FlatbufferTable:
    """One table; fields that are absent have their defaults.

    Args:
        buffer: The file.
        position: Where the table begins.
    """

    def __init__(self, buffer: Flatbuffer, position: int):
        self.buffer, self.position = buffer, position
        buffer.count(1, 0)
        self.fields = position - buffer.unpack("<i", position)
        self.field_count = (buffer.unpack("<H", self.fields) - 4) // 2

    def find(self, field: int) -> int | None:
        """Returns the position of a field's value, or None if it is absent."""
        if field >= self.field_count:
            return None
        offset = self.buffer.unpack("<H", self.fields + 4 + 2 * field)
        return self.position + offset if offset else None

    def number(self, field: int, code: str, default: int | float = 0) -> Any:
        """Reads a number or, with the code ``<?``, a boolean."""
        position = self.find(field)
        return default if position is None else self.buffer.unpack(code, position)

    def table(self, field: int) -> "FlatbufferTable | None":
        """Returns the table in a field."""
        position = self.find(field)
        return None if position is None else FlatbufferTable(self.buffer, self._follow(position))

    def tables(self, field: int) -> list["FlatbufferTable"]:
        """Returns the tables of a vector."""
        begin, count = self._vector(field, 4)
        return [FlatbufferTable(self.buffer, self._follow(begin + 4 * index)) for index in range(count)]

    def numbers(self, field: int, dtype: str) -> np.ndarray:
        """Returns a vector of numbers, a view of the file."""
        begin, count = self._vector(field, np.dtype(dtype).itemsize)
        self.buffer.count(0, 0 if dtype == "<u1" else count)  # bytes are tensors, which have a budget of their own
        return np.frombuffer(self.buffer.data, dtype, count, begin) if count else np.zeros(0, dtype)

    def text(self, field: int) -> str:
        """Reads a text, empty if it is absent."""
        begin, count = self._vector(field, 1)
        self.buffer.count(0, count)
        try:
            return str(self.buffer.data[begin : begin + count], "utf-8")
        except UnicodeDecodeError as error:
            raise self.buffer.source.error(f"holds a text that is not UTF-8: {error}") from error

    def _follow(self, position: int) -> int:
        return position + self.buffer.unpack("<I", position)

    def _vector(self, field: int, size: int) -> tuple[int, int]:
        """Finds where a vector begins and how many elements it has, all of them within the file."""
        position = self.find(field)
        if position is None:
            return 0, 0
        position = self._follow(position)
        count = self.buffer.unpack("<I", position)
        if position + 4 + count * size > len(self.buffer.data):
            raise self.buffer.source.error(f"a list of {count} values at byte {position} extends beyond the end.")
        return position + 4, count
