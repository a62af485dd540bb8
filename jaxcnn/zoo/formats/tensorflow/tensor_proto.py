"""Tensors as TensorFlow's protocol buffers hold them: dtypes, shapes, slices, values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import ml_dtypes
import numpy as np

from jaxcnn.zoo.checkpoint import Budget, FormatError
from jaxcnn.zoo.containers.protobuf import Wire

__all__ = [
    "DTYPES",
    "SHAPE",
    "SLICE",
    "TENSOR",
    "TYPE_NAMES",
    "Assembly",
    "decoded",
    "shape_of",
    "tensor_of",
    "values_of",
]

DTYPES: dict[int, np.dtype] = {
    1: np.dtype("float32"),
    2: np.dtype("float64"),
    3: np.dtype("int32"),
    4: np.dtype("uint8"),
    5: np.dtype("int16"),
    6: np.dtype("int8"),
    8: np.dtype("complex64"),
    9: np.dtype("int64"),
    10: np.dtype("bool"),
    11: np.dtype("int8"),  # the quantised types hold plain integers; their scales are elsewhere in the graph
    12: np.dtype("uint8"),
    13: np.dtype("int32"),
    14: np.dtype(ml_dtypes.bfloat16),
    15: np.dtype("int16"),
    16: np.dtype("uint16"),
    17: np.dtype("uint16"),
    18: np.dtype("complex128"),
    19: np.dtype("float16"),
    22: np.dtype("uint32"),
    23: np.dtype("uint64"),
}
"""TensorFlow's numbers of dtypes that an array can have."""

TYPE_NAMES = {number: dtype.name for number, dtype in DTYPES.items()} | {
    **{7: "string", 11: "qint8", 12: "quint8", 13: "qint32", 15: "qint16", 16: "quint16"},
    **{20: "resource", 21: "variant", 24: "float8_e5m2", 25: "float8_e4m3fn", 29: "int4", 30: "uint4"},
}
"""The names of all dtypes."""

SHAPE = {2: ("dim", [{1: ("size", "int")}]), 3: ("unknown_rank", "bool")}
SLICE = {1: ("extent", [{1: ("start", "int"), 2: ("length", "int")}])}
TENSOR = {
    1: ("dtype", "uint"),
    2: ("shape", SHAPE),
    4: ("content", "bytes"),
    5: ("float_val", "float*"),
    6: ("double_val", "double*"),
    7: ("int_val", "int*"),
    9: ("scomplex_val", "float*"),
    10: ("int64_val", "int*"),
    11: ("bool_val", "bool*"),
    12: ("dcomplex_val", "double*"),
    13: ("half_val", "int*"),
    16: ("uint32_val", "uint*"),
    17: ("uint64_val", "uint*"),
}

_FIELDS = {1: "float_val", 2: "double_val", 8: "scomplex_val", 9: "int64_val", 10: "bool_val", 14: "half_val"}
_FIELDS |= {18: "dcomplex_val", 19: "half_val", 22: "uint32_val", 23: "uint64_val"}


def decoded(content: memoryview, dtype: np.dtype, order: Literal["<", ">"] = "<") -> np.ndarray:
    """Gives the numbers that bytes hold, all in one row.

    Args:
        content: The bytes, a whole number of values.
        dtype: Their dtype.
        order: Their byte order.

    Returns:
        A read-only view where it is possible; booleans are made of bytes of any value.

    Example:
        >>> decoded(memoryview(bytes([0, 1, 2, 0])), np.dtype("int16"), ">").tolist()
        [1, 512]
    """
    if dtype.kind == "b":
        return np.frombuffer(content, np.uint8) != 0
    return np.frombuffer(content, dtype.newbyteorder(order))


def shape_of(wire: Wire, shape: Mapping[str, Any], what: str) -> tuple[int, ...]:
    """Gives the shape of a message of one, all of whose sizes must be known.

    Args:
        wire: The file's cursor, for the message of an error.
        shape: The message.
        what: The tensor's name, for the same.

    Returns:
        The sizes.

    Raises:
        FormatError: If the rank or a size is unknown or too large.
    """
    sizes = tuple(dim.get("size", 0) for dim in shape.get("dim", []))
    if shape.get("unknown_rank") or len(sizes) > 32 or any(not 0 <= size < 1 << 48 for size in sizes):
        raise wire.fail(f"{what} has the unknown or impossible shape {sizes[:33]}.")
    return sizes


def values_of(wire: Wire, tensor: Mapping[str, Any], dtype: int, what: str) -> np.ndarray:
    """Gives the values that a tensor's message lists, all in one row.

    Args:
        wire: The file's cursor, for the message of an error.
        tensor: The message.
        dtype: TensorFlow's number of its dtype.
        what: The tensor's name, for an error.

    Returns:
        The values; may be a read-only view of the file.

    Raises:
        FormatError: If a value does not fit into the dtype.
    """
    field = _FIELDS.get(dtype, "int_val")
    result = DTYPES[dtype]
    values = tensor.get(field, np.zeros(0, np.int64))
    if field in ("scomplex_val", "dcomplex_val"):
        if values.size % 2:
            raise wire.fail(f"{what} has {values.size} parts of complex numbers.")
        return values.view(result)
    if field == "half_val":
        if values.size and not 0 <= values.min() <= values.max() < 1 << 16:
            raise wire.fail(f"{what} holds a number of more than 16 bits.")
        return values.astype(np.uint16).view(result)
    if values.dtype.kind in "iu" and values.size and result.kind in "iu":
        low, high = np.iinfo(result).min, np.iinfo(result).max
        if not low <= int(values.min()) <= int(values.max()) <= high:
            raise wire.fail(f"{what} holds a number that does not fit into {result.name}.")
    return values.astype(result, copy=False)


def tensor_of(wire: Wire, budget: Budget, filled: Budget, tensor: Mapping[str, Any], what: str) -> np.ndarray:
    """Makes the array that a tensor's message holds.

    Convention:
        Where fewer values are listed than the shape has, the last one is repeated; where none is, all are 0.

    Args:
        wire: The file's cursor.
        budget: What all tensors together may take.
        filled: What all tensors together may take whose values are repeated: those have no bytes in the file.
        tensor: The message.
        what: The tensor's name, for the message of an error.

    Returns:
        The array; it owns its memory.

    Raises:
        FormatError: If the message is damaged, or too much memory would be needed.
    """
    number = tensor.get("dtype", 0)
    dtype = DTYPES[number]
    shape = shape_of(wire, tensor.get("shape", {}), what)
    content = tensor.get("content")
    if content is not None and len(content):
        budget.tensor(shape, dtype, what, stored=len(content))
        return decoded(content, dtype).reshape(shape).astype(dtype)
    values = values_of(wire, tensor, number, what)
    count = math.prod(shape)
    if values.size > count:
        raise wire.fail(f"{what} declares shape {shape}, but lists {values.size} values.")
    budget.tensor(shape, dtype, what)
    if values.size == count:
        return values.reshape(shape).astype(dtype)
    filled.spend((count - values.size) * dtype.itemsize, f"{what}, whose values are not in the file but repeated,")
    result = np.full(shape, values[-1] if values.size else 0, dtype)
    result.reshape(-1)[: values.size] = values
    return result


class Assembly:
    """A tensor that is put together from slices, which must cover it exactly.

    Args:
        path: The file, for the message of an error.
        name: The tensor's name.
        shape: Its whole shape.
        dtype: Its dtype.
        slices: The messages of all its slices.
        budget: What all tensors together may take; the tensor's bytes are taken from it.
        bound: The most bytes that the file can hold for it.

    Raises:
        FormatError: If the slices overlap, leave a gap or go beyond the shape, or if the tensor is too large.
    """

    def __init__(
        self,
        path: Any,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        slices: Sequence[Mapping[str, Any]],
        budget: Budget,
        bound: int,
    ):
        self.path, self.name, self.shape, self.dtype, self.budget = path, name, shape, dtype, budget
        self.boxes = [self.box(piece) for piece in slices]
        counts = [math.prod(stop - start for start, stop in box) for box in self.boxes]
        full = [box for box, count in zip(self.boxes, counts, strict=True) if count]
        if sum(counts) != math.prod(shape) or len(full) > 1000 or _any_overlap(full):
            raise FormatError(path, f"the {len(slices)} slices of {name} do not cover its shape {shape} exactly.")
        if math.prod(shape) * dtype.itemsize > bound:
            raise FormatError(path, f"{name} declares shape {shape}, more than the file can hold.")
        self.array: np.ndarray | None = None
        self.left = set(self.boxes)

    def box(self, piece: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
        """Gives begin and end of a slice along each axis."""
        extents = piece.get("extent", [])
        box = []
        for extent, size in zip(extents, self.shape, strict=False):
            start = extent.get("start", 0)
            length = extent.get("length", size)
            if start < 0 or length < 0 or start + length > size:
                raise FormatError(self.path, f"a slice of {self.name} goes beyond its shape {self.shape}.")
            box.append((start, start + length))
        if len(extents) != len(self.shape):
            raise FormatError(self.path, f"a slice of {self.name} has {len(extents)} axes, its shape is {self.shape}.")
        return tuple(box)

    def put(self, piece: Mapping[str, Any], values: np.ndarray) -> None:
        """Fills one slice; memory is taken when the first one comes."""
        box = self.box(piece)
        if box not in self.left:
            raise FormatError(self.path, f"a slice of {self.name} is there twice, or was not announced.")
        self.left.remove(box)
        sizes = tuple(stop - start for start, stop in box)
        if values.size != math.prod(sizes):
            raise FormatError(self.path, f"a slice of {self.name} has shape {sizes}, but {values.size} values.")
        if self.array is None:
            self.budget.tensor(self.shape, self.dtype, self.name)
            self.array = np.empty(self.shape, self.dtype)
        self.array[tuple(slice(start, stop) for start, stop in box)] = values.reshape(sizes)

    def whole(self) -> np.ndarray:
        """Gives the tensor; all slices must have come."""
        if self.left or self.array is None:
            raise FormatError(self.path, f"{len(self.left)} slices of {self.name} are missing.")
        return self.array


def _any_overlap(boxes: list[tuple[tuple[int, int], ...]]) -> bool:
    """Says whether two boxes have a point in common."""
    return any(
        all(a[0] < b[1] and b[0] < a[1] for a, b in zip(one, other, strict=True))
        for place, one in enumerate(boxes)
        for other in boxes[:place]
    )
