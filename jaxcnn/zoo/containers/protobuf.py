"""A strict cursor over the wire format of protocol buffers, and messages read by small schemas.

A schema is ``{field number: (name, kind)}``. A kind is one of the words below, followed by ``*`` where the field is
repeated; another schema for a single message inside; or a list with one schema for repeated messages. Fields without
an entry are checked and skipped.

====================  ======================================================
word                  value
====================  ======================================================
``uint``              varint, as it is
``int``               varint, two's complement of 64 bits
``bool``              varint, not 0
``float`` ``double``  4 and 8 bytes
``fixed32``           4 bytes, an unsigned integer
``text``              UTF-8
``bytes``             a view of the bytes, not copied; also for messages that are read later
``enum:A,B``          varint, as the name at that place, or the number where there is none
====================  ======================================================

Repeated numbers, packed or not, become a NumPy array (a view where they came packed in one piece), other repeated
values lists.
"""

import os
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import FormatError

__all__ = ["Wire"]

_MOST_VALUES = 1 << 23
_MOST_DEPTH = 64
_PIECE = 1 << 20  # bytes of packed varints that are read at a time
_FIXED = {"float": "<f", "double": "<d", "fixed32": "<I"}
_REPEATED = {"float": "<f4", "double": "<f8", "fixed32": "<u4", "uint": "<u8", "int": "<i8", "bool": "?"}


class Wire:
    """Reads messages of one file, and counts what it keeps: a file of small fields makes many Python objects.

    Args:
        path: The file, for the message of an error.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = path
        self.left = _MOST_VALUES

    def fail(self, reason: str) -> FormatError:
        """Makes the error, to be raised."""
        return FormatError(self.path, reason)

    def varint(self, data: memoryview, begin: int) -> tuple[int, int]:
        """Reads an integer of at most ten bytes.

        Args:
            data: The enclosing message.
            begin: Where the integer begins.

        Returns:
            The integer, unsigned, and the place behind it.

        Raises:
            FormatError: If the message ends within it, or if it is longer than 64 bits.
        """
        value = shift = 0
        for place in range(begin, min(begin + 10, len(data))):
            byte = data[place]
            value |= (byte & 127) << shift
            if byte < 128:
                if value >> 64:
                    break
                return value, place + 1
            shift += 7
        raise self.fail(f"a number at byte {begin} of a message has no end, or more than 64 bits.")

    def fields(self, data: memoryview) -> Iterator[tuple[int, int, Any]]:
        """Walks over the fields of a message, of any number.

        Args:
            data: The message.

        Yields:
            Number, wire type, and an integer (type 0) or a view of the bytes (types 1, 2 and 5).

        Raises:
            FormatError: If a field goes beyond the message, is a group, or has the number 0.
        """
        place, end = 0, len(data)
        while place < end:
            key, place = self.varint(data, place)
            number, wire = key >> 3, key & 7
            if not 0 < number < 1 << 29:
                raise self.fail(f"a message holds field number {number}.")
            if wire == 0:
                value, place = self.varint(data, place)
                yield number, wire, value
                continue
            if wire == 2:
                size, place = self.varint(data, place)
            elif wire in (1, 5):
                size = 8 if wire == 1 else 4
            else:
                raise self.fail(f"field {number} of a message has wire type {wire}, which is not read.")
            if size > end - place:
                raise self.fail(f"field {number} has {size} bytes, but its message ends after {end - place}.")
            yield number, wire, data[place : place + size]
            place += size

    def message(self, data: memoryview, schema: Mapping[int, Any], depth: int = 0) -> dict[str, Any]:
        """Reads a message.

        Args:
            data: The message.
            schema: Its fields, see above.
            depth: How many messages this one is in.

        Returns:
            Name to value, of the fields that are there.

        Raises:
            FormatError: If it is damaged, too deep, or holds more values than a real file does.
        """
        if depth > _MOST_DEPTH:
            raise self.fail(f"messages lie in each other more than {_MOST_DEPTH} deep.")
        result: dict[str, Any] = {}
        for number, wire, value in self.fields(data):
            if number not in schema:
                continue
            self.left -= 1
            if self.left < 0:
                raise self.fail(f"it holds more than {_MOST_VALUES} values.")
            name, kind = schema[number]
            if isinstance(kind, dict | list):
                self._expect(wire == 2, name, wire)
                inner = self.message(value, kind[0] if isinstance(kind, list) else kind, depth + 1)
                if isinstance(kind, list):
                    result.setdefault(name, []).append(inner)
                elif name in result:
                    raise self.fail(f"the single field {name} is there twice.")
                else:
                    result[name] = inner
            elif kind[-1] == "*" and kind[:-1] in _REPEATED:
                result.setdefault(name, _Numbers(self, name, kind[:-1])).add(wire, value)
            elif kind[-1] == "*":
                result.setdefault(name, []).append(self._single(name, kind[:-1], wire, value))
            else:
                result[name] = self._single(name, kind, wire, value)
        return {name: value.array() if isinstance(value, _Numbers) else value for name, value in result.items()}

    def _expect(self, condition: bool, name: str, wire: int) -> None:
        if not condition:
            raise self.fail(f"field {name} of a message has wire type {wire}, another than its kind.")

    def _single(self, name: str, kind: str, wire: int, value: Any) -> Any:
        """Makes one value of what the wire holds."""
        if kind in ("text", "bytes"):
            self._expect(wire == 2, name, wire)
            if kind == "bytes":
                return value
            try:
                return str(value, "utf-8")
            except UnicodeDecodeError as error:
                raise self.fail(f"field {name} of a message is not UTF-8: {error}") from error
        if kind in _FIXED:
            self._expect(wire == (1 if kind == "double" else 5), name, wire)
            return struct.unpack(_FIXED[kind], value)[0]
        self._expect(wire == 0, name, wire)
        if kind == "int":
            return value - (1 << 64) if value >> 63 else value
        if kind == "bool":
            return value != 0
        if kind.startswith("enum:"):
            names = kind[5:].split(",")
            return names[value] if value < len(names) else value
        return value


class _Numbers:
    """Repeated numbers of one field, gathered as bytes."""

    def __init__(self, wire: Wire, name: str, kind: str):
        self.wire, self.name, self.kind = wire, name, kind
        self.size = {"float": 4, "fixed32": 4, "double": 8}.get(kind, 0)  # 0: varints
        self.first: memoryview | None = None
        self.more = bytearray()

    def add(self, wire: int, value: Any) -> None:
        if self.size:
            self.wire._expect(wire in (2, 1 if self.size == 8 else 5), self.name, wire)
            if len(value) % self.size:
                raise self.wire.fail(f"field {self.name} has {len(value)} bytes, no whole number of {self.kind}s.")
        else:
            self.wire._expect(wire in (0, 2), self.name, wire)
            value = memoryview(_varint_bytes(value)) if wire == 0 else value
        if self.first is None:
            self.first = value
        else:
            self.more += value

    def array(self) -> np.ndarray:
        data: Any = self.first
        if self.more:
            data = bytearray(data) + self.more
        if self.size:
            return np.frombuffer(data, _REPEATED[self.kind])
        values = _varints(self.wire, self.name, np.frombuffer(data, np.uint8))
        return values != 0 if self.kind == "bool" else values.view(_REPEATED[self.kind])


def _varint_bytes(value: int) -> bytes:
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    return bytes(result)


def _varints(wire: Wire, name: str, data: np.ndarray) -> np.ndarray:
    """Reads packed varints, a piece at a time."""
    pieces, begin = [], 0
    while begin < data.size:
        piece = data[begin : begin + _PIECE]
        ends = np.flatnonzero(piece < 128)
        if not ends.size:
            raise wire.fail(f"a number of field {name} has no end, or more than ten bytes.")
        pieces.append(_piece_of_varints(wire, name, piece, ends))
        begin += int(ends[-1]) + 1
    return np.concatenate(pieces) if pieces else np.zeros(0, np.uint64)


def _piece_of_varints(wire: Wire, name: str, data: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Reads varints all at once, given where their last bytes are."""
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > 10:
        raise wire.fail(f"a number of field {name} has more than ten bytes.")
    result = np.zeros(ends.size, np.uint64)
    for place in range(int(lengths.max())):
        there = lengths > place
        part = data[ends[there] - lengths[there] + 1 + place].astype(np.uint64) & np.uint64(127)
        if place == 9 and (part > 1).any():
            raise wire.fail(f"a number of field {name} has more than 64 bits.")
        result[there] |= part << np.uint64(7 * place)
    return result
