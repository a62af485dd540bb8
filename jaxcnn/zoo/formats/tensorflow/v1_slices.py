"""Slices of TensorFlow's variables: the keys they are stored under, and the older checkpoints made of them."""

from collections.abc import Iterator, Mapping
from typing import Any

from jaxcnn.zoo.checkpoint import Budget
from jaxcnn.zoo.containers.protobuf import Wire
from jaxcnn.zoo.formats.tensorflow.tensor_proto import (
    DTYPES,
    SHAPE,
    SLICE,
    TENSOR,
    Assembly,
    decoded,
    shape_of,
    values_of,
)

__all__ = ["old_tensors", "slice_key"]

_META = {1: ("tensors", [{1: ("name", "text"), 2: ("shape", SHAPE), 3: ("dtype", "uint"), 4: ("slices", [SLICE])}])}
_SAVED = {1: ("meta", _META), 2: ("data", {1: ("name", "text"), 2: ("slice", SLICE), 3: ("values", TENSOR)})}


def slice_key(name: str, piece: Mapping[str, Any]) -> bytes:
    """Gives the key of a slice: name and extents in a code whose bytes sort as the values do.

    Args:
        name: The variable.
        piece: The message of the slice.

    Returns:
        The key.

    Example:
        >>> slice_key("w", {"extent": [{"length": 2}, {}]}).hex(" ")
        '00 77 00 01 01 02 80 82 80 7f'
    """
    extents = piece.get("extent", [])
    text = name.encode("utf-8").replace(b"\xff", b"\xff\x00").replace(b"\x00", b"\x00\xff") if name else b""
    numbers = [number for extent in extents for number in (extent.get("start", 0), extent.get("length", -1))]
    return b"\x00" + text + b"\x00\x01" + _unsigned(len(extents)) + b"".join(_signed(number) for number in numbers)


def old_tensors(
    wire: Wire, items: Iterator[tuple[bytes, memoryview]], budget: Budget, bound: int
) -> tuple[dict[str, Any], list[str]]:
    """Reads a checkpoint of the first version, a table whose values are slices.

    Args:
        wire: The file's cursor.
        items: The entries of the table, first the one that describes all tensors.
        budget: What all tensors may take.
        bound: The most bytes that the file can hold for one.

    Returns:
        Tensors in the order of the description, and the names of those that are left out since they hold no numbers.

    Raises:
        FormatError: If it is damaged.
    """
    assemblies: dict[str, Assembly] = {}
    types: dict[str, int] = {}
    left_out: list[str] = []
    for key, value in items:
        saved = wire.message(value, _SAVED)
        for entry in saved.get("meta", {}).get("tensors", []):
            name, dtype = entry.get("name", ""), entry.get("dtype", 0)
            if key or name in types:
                raise wire.fail(f"the tensor {name!r} is described twice or in a wrong place.")
            types[name] = dtype
            if dtype not in DTYPES:
                left_out.append(name)
                continue
            shape = shape_of(wire, entry.get("shape", {}), name)
            slices = entry.get("slices", [])
            assemblies[name] = Assembly(wire.path, name, shape, DTYPES[dtype], slices, budget, bound)
        data = saved.get("data")
        if data is None or data.get("name") in left_out:
            continue
        name = data.get("name", "")
        if name not in assemblies:
            raise wire.fail(f"a slice belongs to the tensor {name!r}, which is not described.")
        values = data.get("values", {})
        numbers = values_of(wire, values, types[name], name)
        content = values.get("content")
        if content is not None and len(content):
            if len(content) % DTYPES[types[name]].itemsize:
                raise wire.fail(f"a slice of {name} has {len(content)} bytes.")
            numbers = decoded(content, DTYPES[types[name]])
        assemblies[name].put(data.get("slice", {}), numbers)
    return {name: assembly.whole() for name, assembly in assemblies.items()}, left_out


def _unsigned(value: int) -> bytes:
    content = value.to_bytes((value.bit_length() + 7) // 8, "big")
    return bytes([len(content)]) + content


def _signed(value: int) -> bytes:
    """Encodes n bytes as n ones, sign and 7 n - 1 bits, all turned about for what is negative."""
    bits = (~value if value < 0 else value).bit_length()
    count = bits // 7 + 1
    content = bytearray((value & ((1 << 8 * count) - 1)).to_bytes(count, "big"))
    header = (((1 << count) - 1) << (16 - count)).to_bytes(2, "big")
    content[0] ^= header[0]
    if count > 1:
        content[1] ^= header[1]
    return bytes(content)
