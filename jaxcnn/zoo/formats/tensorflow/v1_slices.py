"""Slices of TensorFlow's variables: the keys they are stored under, and the checkpoints of version 1 made of them."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxcnn.zoo.containers.protobuf import ProtobufReader
from jaxcnn.zoo.containers.protobuf_schema import TEXT, UINT, Message, Repeated
from jaxcnn.zoo.formats.tensorflow.tensor_proto import (
    DTYPES,
    SHAPE,
    SLICE,
    TENSOR,
    SliceAssembly,
    decode,
    read_shape,
    read_values,
)

__all__ = ["read_v1_tensors", "slice_key"]

_DESCRIPTION = Message({1: ("name", TEXT), 2: ("shape", SHAPE), 3: ("dtype", UINT), 4: ("slices", Repeated(SLICE))})
_META = Message({1: ("tensors", Repeated(_DESCRIPTION))})
_DATA = Message({1: ("name", TEXT), 2: ("slice", SLICE), 3: ("values", TENSOR)})
_SAVED = Message({1: ("meta", _META), 2: ("data", _DATA)})


def slice_key(name: str, piece: Mapping[str, Any]) -> bytes:
    """Encodes the key of a slice: name and extents, such that the bytes sort like the values.

    Args:
        name: The variable.
        piece: The message of the slice.

    Returns:
        The key.

    Example:
        >>> from jaxcnn.zoo.formats.tensorflow.v1_slices import slice_key
        >>> slice_key("w", {"extent": [{"length": 2}, {}]}).hex(" ")
        '00 77 00 01 01 02 80 82 80 7f'
    """
    extents = piece.get("extent", [])
    text = name.encode("utf-8").replace(b"\xff", b"\xff\x00").replace(b"\x00", b"\x00\xff") if name else b""
    numbers = [number for extent in extents for number in (extent.get("start", 0), extent.get("length", -1))]
    return (
        b"\x00"
        + text
        + b"\x00\x01"
        + _encode_unsigned(len(extents))
        + b"".join(_encode_signed(number) for number in numbers)
    )


def read_v1_tensors(
    reader: ProtobufReader, items: Iterable[tuple[bytes, memoryview]], max_bytes: int
) -> tuple[dict[str, np.ndarray], list[str]]:
    """Reads a checkpoint of the first version, a table whose values are slices.

    Args:
        reader: The file's reader; all tensors are taken from the file's budget.
        items: The entries of the table, first the one that describes all tensors.
        max_bytes: How many bytes the file can hold for one tensor at most.

    Returns:
        Tensors in the order of the description, and the names of those that are left out because they hold no numbers.

    Raises:
        FormatError: If it is damaged.
    """
    assemblies: dict[str, SliceAssembly] = {}
    types: dict[str, int] = {}
    left_out: list[str] = []
    for key, value in items:
        saved = reader.message(value, _SAVED)
        for entry in saved.get("meta", {}).get("tensors", []):
            name, dtype = entry.get("name", ""), entry.get("dtype", 0)
            if key or name in types:
                raise reader.error(f"the tensor {name!r} is described twice or in the wrong place.")
            types[name] = dtype
            if dtype not in DTYPES:
                left_out.append(name)
                continue
            shape = read_shape(reader, entry.get("shape", {}), name)
            slices = entry.get("slices", [])
            assemblies[name] = SliceAssembly(reader.source, name, shape, DTYPES[dtype], slices, max_bytes)
        data = saved.get("data")
        if data is None or data.get("name") in left_out:
            continue
        name = data.get("name", "")
        if name not in assemblies:
            raise reader.error(f"a slice belongs to the tensor {name!r}, which is not described.")
        values = data.get("values", {})
        numbers = read_values(reader, values, types[name], name)
        content = values.get("content")
        if content is not None and len(content):
            if len(content) % DTYPES[types[name]].itemsize:
                raise reader.error(f"a slice of {name} has {len(content)} bytes.")
            numbers = decode(content, DTYPES[types[name]])
        assemblies[name].put(data.get("slice", {}), numbers)
    return {name: assembly.finish() for name, assembly in assemblies.items()}, left_out


def _encode_unsigned(value: int) -> bytes:
    content = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(content)]) + content


def _encode_signed(value: int) -> bytes:
    """Encodes n bytes as n ones, sign and 7 n - 1 bits; all bits are inverted if the number is negative."""
    bits = (~value if value < 0 else value).bit_length()
    count = bits // 7 + 1
    content = bytearray((value & ((1 << 8 * count) - 1)).to_bytes(count, "big"))
    header = (((1 << count) - 1) << (16 - count)).to_bytes(2, "big")
    content[0] ^= header[0]
    if count > 1:
        content[1] ^= header[1]
    return bytes(content)
