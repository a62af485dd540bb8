"""A strict reader of the wire format of protocol buffers, and of messages described by small schemas."""

import struct
from collections.abc import Iterator, Set
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.containers.protobuf_schema import (
    BOOL,
    BYTES,
    DOUBLE,
    FIXED32,
    FLOAT,
    INT,
    TEXT,
    UINT,
    Enumeration,
    Message,
    Repeated,
    Scalar,
    WireType,
    wire_types,
)
from jaxcnn.zoo.containers.source_file import SourceFile

__all__ = ["ProtobufReader"]

_MAX_VALUES = 1 << 23
_MAX_DEPTH = 64
_PIECE = 1 << 20  # bytes of packed varints that are decoded at a time
_MESSAGE_COST, _VIEW_COST, _VALUE_COST = 256, 64, 32  # bytes of Python's objects
_FIXED_SIZES = {FLOAT: 4, FIXED32: 4, DOUBLE: 8}
_STRUCT_CODES = {FLOAT: "<f", DOUBLE: "<d", FIXED32: "<I"}
_ARRAY_DTYPES = {FLOAT: "<f4", DOUBLE: "<f8", FIXED32: "<u4", UINT: "<u8", INT: "<i8", BOOL: "?"}


class ProtobufReader:
    """Reads messages of one file, and limits how many values it keeps: small fields become large Python objects.

    Args:
        source: The file, for error messages.
    """

    def __init__(self, source: SourceFile):
        self.source = source
        self.values_left = _MAX_VALUES
        self.left_out: dict[str, int] = {}  # optional messages of another kind: name and how many

    def error(self, reason: str) -> FormatError:
        """Builds the error to raise for this file."""
        return self.source.error(reason)

    def varint(self, data: memoryview, begin: int) -> tuple[int, int]:
        """Reads an integer of at most ten bytes.

        Args:
            data: The enclosing message.
            begin: Where the integer begins.

        Returns:
            The integer, unsigned, and the position after it.

        Raises:
            FormatError: If the message ends within it, or if it is longer than 64 bits.
        """
        value = shift = 0
        for position in range(begin, min(begin + 10, len(data))):
            byte = data[position]
            value |= (byte & 127) << shift
            if byte < 128:
                if value >> 64:
                    break
                return value, position + 1
            shift += 7
        raise self.error(f"a number at byte {begin} of a message has no end, or more than 64 bits.")

    def fields(self, data: memoryview) -> Iterator[tuple[int, int, Any]]:
        """Iterates over the fields of a message, whatever their numbers.

        Args:
            data: The message.

        Yields:
            Number, wire type, and an integer (for varints) or a view of the bytes (for all others).

        Raises:
            FormatError: If a field extends beyond the message, is a group, or has the number 0.
        """
        position, end = 0, len(data)
        while position < end:
            key, position = self.varint(data, position)
            number, wire = key >> 3, key & 7
            if not 0 < number < 1 << 29:
                raise self.error(f"a message holds field number {number}.")
            if wire == WireType.VARINT:
                value, position = self.varint(data, position)
                yield number, wire, value
                continue
            if wire == WireType.LENGTH_DELIMITED:
                size, position = self.varint(data, position)
            elif wire in (WireType.FIXED64, WireType.FIXED32):
                size = 8 if wire == WireType.FIXED64 else 4
            else:
                raise self.error(f"field {number} of a message has wire type {wire}, which is not read.")
            if size > end - position:
                raise self.error(f"field {number} has {size} bytes, but its message ends after {end - position}.")
            yield number, wire, data[position : position + size]
            position += size

    def message(self, data: memoryview, schema: Message, depth: int = 0) -> dict[str, Any]:
        """Reads a message.

        Args:
            data: The message.
            schema: Its fields.
            depth: How many messages enclose it.

        Returns:
            Name to value, of the fields that are present.

        Raises:
            FormatError: If it is damaged, too deep, or holds more values than real files do.
        """
        if depth > _MAX_DEPTH:
            raise self.error(f"messages are nested more than {_MAX_DEPTH} deep.")
        result: dict[str, Any] = {}
        cost = _MESSAGE_COST
        for number, wire, value in self.fields(data):
            if number not in schema.fields:
                continue
            self.values_left -= 1
            if self.values_left < 0:
                raise self.error(f"it holds more than {_MAX_VALUES} values.")
            name, kind = schema.fields[number]
            cost += _VIEW_COST if wire == WireType.LENGTH_DELIMITED else _VALUE_COST
            if cost > _PIECE:
                self.source.spend_objects(cost)
                cost = 0
            if isinstance(kind, Repeated):
                if isinstance(kind.kind, Scalar) and kind.kind in _ARRAY_DTYPES:
                    result.setdefault(name, _NumberArray(self, name, kind.kind)).add(wire, value)
                else:
                    result.setdefault(name, []).append(self._single(name, kind.kind, wire, value, depth))
            elif isinstance(kind, Message) and name in result:
                raise self.error(f"the single field {name} occurs twice.")
            elif isinstance(kind, Message) and kind.optional:
                try:
                    result[name] = self._single(name, kind, wire, value, depth)
                except FormatError:
                    self.left_out[name] = self.left_out.get(name, 0) + 1
            else:
                result[name] = self._single(name, kind, wire, value, depth)
        self.source.spend_objects(cost)
        return {name: value.array() if isinstance(value, _NumberArray) else value for name, value in result.items()}

    def check_wire_type(self, allowed: Set[WireType], name: str, wire: int) -> None:
        """Refuses a field whose wire type does not fit its kind."""
        if wire not in allowed:
            raise self.error(f"field {name} of a message has wire type {wire}, which does not fit its kind.")

    def _single(self, name: str, kind: Scalar | Enumeration | Message, wire: int, value: Any, depth: int) -> Any:
        """Converts one field to the value of its kind."""
        self.check_wire_type(wire_types(kind), name, wire)
        if isinstance(kind, Message):
            return self.message(value, kind, depth + 1)
        if kind in (TEXT, BYTES):
            if kind == BYTES:
                return value
            try:
                return str(value, "utf-8")
            except UnicodeDecodeError as error:
                raise self.error(f"field {name} of a message is not UTF-8: {error}") from error
        if isinstance(kind, Scalar) and kind in _STRUCT_CODES:
            return struct.unpack(_STRUCT_CODES[kind], value)[0]
        if isinstance(kind, Enumeration):
            return kind.name(value)
        if kind == INT:
            return value - (1 << 64) if value >> 63 else value
        return value != 0 if kind == BOOL else value


class _NumberArray:
    """The repeated numbers of one field, collected as bytes."""

    def __init__(self, reader: ProtobufReader, name: str, kind: Scalar):
        self.reader, self.name, self.kind = reader, name, kind
        self.allowed = wire_types(Repeated(kind))
        self.size = _FIXED_SIZES.get(kind, 0)  # 0: varints
        self.first: memoryview | None = None
        self.more = bytearray()

    def add(self, wire: int, value: int | memoryview) -> None:
        """Appends one number, or many packed ones."""
        self.reader.check_wire_type(self.allowed, self.name, wire)
        view = memoryview(_encode_varint(value)) if isinstance(value, int) else value
        if self.size and len(view) % self.size:
            text = f"field {self.name} has {len(view)} bytes, which is not a whole number of {self.kind.name.lower()}s."
            raise self.reader.error(text)
        if self.first is None:
            self.first = view
        else:
            self.more += view

    def array(self) -> np.ndarray:
        """Builds the array."""
        data: memoryview | bytearray = memoryview(b"") if self.first is None else self.first
        if self.more:
            data = bytearray(data) + self.more
        if self.size:
            return np.frombuffer(data, _ARRAY_DTYPES[self.kind])
        values = _decode_varints(self.reader, self.name, np.frombuffer(data, np.uint8))
        return values != 0 if self.kind == BOOL else values.view(_ARRAY_DTYPES[self.kind])


def _encode_varint(value: int) -> bytes:
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    result.append(value)
    return bytes(result)


def _decode_varints(reader: ProtobufReader, name: str, data: np.ndarray) -> np.ndarray:
    """Decodes packed varints, a piece at a time."""
    pieces, begin = [], 0
    while begin < data.size:
        piece = data[begin : begin + _PIECE]
        ends = np.flatnonzero(piece < 128)
        if not ends.size:
            raise reader.error(f"a number of field {name} has no end, or more than ten bytes.")
        pieces.append(_decode_piece(reader, name, piece, ends))
        begin += int(ends[-1]) + 1
    return np.concatenate(pieces) if pieces else np.zeros(0, np.uint64)


def _decode_piece(reader: ProtobufReader, name: str, data: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Decodes varints all at once, whose last bytes are at ``ends``."""
    lengths = np.diff(ends, prepend=-1)
    if lengths.max() > 10:
        raise reader.error(f"a number of field {name} has more than ten bytes.")
    result = np.zeros(ends.size, np.uint64)
    for place in range(int(lengths.max())):
        present = lengths > place
        part = data[ends[present] - lengths[present] + 1 + place].astype(np.uint64) & np.uint64(127)
        if place == 9 and (part > 1).any():
            raise reader.error(f"a number of field {name} has more than 64 bits.")
        result[present] |= part << np.uint64(7 * place)
    return result
