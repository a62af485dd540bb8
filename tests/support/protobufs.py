"""Writes the wire format of protocol buffers, for tests of its readers."""

import struct
from collections.abc import Iterable

import numpy as np


def varint(value: int) -> bytes:
    """Encodes an integer, negative ones in ten bytes."""
    value &= (1 << 64) - 1
    result = bytearray()
    while value > 127:
        result.append(value & 127 | 128)
        value >>= 7
    return bytes(result) + bytes([value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def single(field: int, value: float) -> bytes:
    return varint(field << 3 | 5) + struct.pack("<f", value)


def double(field: int, value: float) -> bytes:
    return varint(field << 3 | 1) + struct.pack("<d", value)


def block(field: int, *content: bytes | str) -> bytes:
    """Encodes a text, bytes, or a message of the parts given."""
    joined = b"".join(part.encode() if isinstance(part, str) else part for part in content)
    return varint(field << 3 | 2) + varint(len(joined)) + joined


def packed(field: int, values: Iterable[int]) -> bytes:
    return block(field, *(varint(value) for value in values))


def array(field: int, values: np.ndarray) -> bytes:
    return block(field, values.tobytes())
