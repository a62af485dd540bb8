"""Tensors in TensorFlow's protocol buffers: dtypes, shapes, slices, values."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import ml_dtypes
import numpy as np

from jaxcnn.zoo.containers.protobuf import ProtobufReader
from jaxcnn.zoo.containers.protobuf_schema import BOOL, BYTES, DOUBLE, FLOAT, INT, UINT, Kind, Message, Repeated
from jaxcnn.zoo.containers.source_file import SourceFile

__all__ = [
    "DTYPES",
    "SHAPE",
    "SLICE",
    "TENSOR",
    "TYPE_NAMES",
    "SliceAssembly",
    "decode",
    "read_shape",
    "read_tensor",
    "read_values",
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
    11: np.dtype("int8"),  # the quantized types hold plain integers; their scales are elsewhere in the graph
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
"""The dtypes of arrays by TensorFlow's numbers."""

TYPE_NAMES = {number: dtype.name for number, dtype in DTYPES.items()} | {
    **{7: "string", 11: "qint8", 12: "quint8", 13: "qint32", 15: "qint16", 16: "quint16"},
    **{20: "resource", 21: "variant", 24: "float8_e5m2", 25: "float8_e4m3fn", 29: "int4", 30: "uint4"},
}
"""The names of all dtypes."""

SHAPE = Message({2: ("dim", Repeated(Message({1: ("size", INT)}))), 3: ("unknown_rank", BOOL)})
SLICE = Message({1: ("extent", Repeated(Message({1: ("start", INT), 2: ("length", INT)})))})
_TENSOR_FIELDS: dict[int, tuple[str, Kind]] = {
    1: ("dtype", UINT),
    2: ("shape", SHAPE),
    4: ("content", BYTES),
    5: ("float_val", Repeated(FLOAT)),
    6: ("double_val", Repeated(DOUBLE)),
    7: ("int_val", Repeated(INT)),
    9: ("scomplex_val", Repeated(FLOAT)),
    10: ("int64_val", Repeated(INT)),
    11: ("bool_val", Repeated(BOOL)),
    12: ("dcomplex_val", Repeated(DOUBLE)),
    13: ("half_val", Repeated(INT)),
    16: ("uint32_val", Repeated(UINT)),
    17: ("uint64_val", Repeated(UINT)),
}
TENSOR = Message(_TENSOR_FIELDS)

_VALUE_FIELDS = {1: "float_val", 2: "double_val", 8: "scomplex_val", 9: "int64_val", 10: "bool_val", 14: "half_val"}
_VALUE_FIELDS |= {18: "dcomplex_val", 19: "half_val", 22: "uint32_val", 23: "uint64_val"}


def decode(content: memoryview, dtype: np.dtype, order: Literal["<", ">"] = "<") -> np.ndarray:
    """Decodes bytes to a vector of numbers.

    Args:
        content: The bytes, a whole number of values.
        dtype: Their dtype.
        order: Their byte order.

    Returns:
        A read-only view where possible; bytes of any value become booleans.

    Example:
        >>> import numpy as np
        >>> from jaxcnn.zoo.formats.tensorflow.tensor_proto import decode
        >>> decode(memoryview(bytes([0, 1, 2, 0])), np.dtype("int16"), ">").tolist()
        [1, 512]
    """
    if dtype.kind == "b":
        return np.frombuffer(content, np.uint8) != 0
    return np.frombuffer(content, dtype.newbyteorder(order))


def read_shape(reader: ProtobufReader, shape: Mapping[str, Any], what: str) -> tuple[int, ...]:
    """Reads a shape, all of whose sizes must be known.

    Args:
        reader: The file's reader, for error messages.
        shape: The message.
        what: The tensor's name, for error messages.

    Returns:
        The sizes.

    Raises:
        FormatError: If the rank or a size is unknown or too large.
    """
    sizes = tuple(dim.get("size", 0) for dim in shape.get("dim", []))
    if shape.get("unknown_rank") or len(sizes) > 32 or any(not 0 <= size < 1 << 48 for size in sizes):
        raise reader.error(f"{what} has the unknown or impossible shape {sizes[:33]}.")
    return sizes


def read_values(reader: ProtobufReader, tensor: Mapping[str, Any], dtype: int, what: str) -> np.ndarray:
    """Reads the values that a tensor's message lists, as a vector.

    Args:
        reader: The file's reader, for error messages.
        tensor: The message.
        dtype: TensorFlow's number of its dtype.
        what: The tensor's name, for error messages.

    Returns:
        The values; may be a read-only view of the file.

    Raises:
        FormatError: If a value does not fit into the dtype.
    """
    field = _VALUE_FIELDS.get(dtype, "int_val")
    result = DTYPES[dtype]
    values = tensor.get(field, np.zeros(0, np.int64))
    if field in ("scomplex_val", "dcomplex_val"):
        if values.size % 2:
            raise reader.error(f"{what} has {values.size} parts of complex numbers.")
        return values.view(result)
    if field == "half_val":
        if values.size and not 0 <= values.min() <= values.max() < 1 << 16:
            raise reader.error(f"{what} holds a number of more than 16 bits.")
        return values.astype(np.uint16).view(result)
    if values.dtype.kind in "iu" and values.size and result.kind in "iu":
        low, high = np.iinfo(result).min, np.iinfo(result).max
        if not low <= int(values.min()) <= int(values.max()) <= high:
            raise reader.error(f"{what} holds a number that does not fit into {result.name}.")
    return values.astype(result, copy=False)


def read_tensor(reader: ProtobufReader, filled: SourceFile, tensor: Mapping[str, Any], what: str) -> np.ndarray:
    """Builds the array of a tensor's message.

    Convention:
        If fewer values are listed than the shape has, the last one is repeated; if there is none, all are 0.

    Args:
        reader: The file's reader; the tensor is taken from the file's budget.
        filled: A budget for all values that are repeated: they have no bytes in the file.
        tensor: The message.
        what: The tensor's name, for error messages.

    Returns:
        The array; it owns its memory.

    Raises:
        FormatError: If the message is damaged, or too much memory would be needed.
    """
    number = tensor.get("dtype", 0)
    dtype = DTYPES[number]
    shape = read_shape(reader, tensor.get("shape", {}), what)
    content = tensor.get("content")
    if content is not None and len(content):
        reader.source.spend_tensor(shape, dtype, what, stored=len(content))
        return decode(content, dtype).reshape(shape).astype(dtype)
    values = read_values(reader, tensor, number, what)
    count = math.prod(shape)
    if values.size > count:
        raise reader.error(f"{what} declares shape {shape}, but lists {values.size} values.")
    reader.source.spend_tensor(shape, dtype, what)
    if values.size == count:
        return values.reshape(shape).astype(dtype)
    filled.spend((count - values.size) * dtype.itemsize, f"{what}, whose values are not in the file but repeated,")
    result = np.full(shape, values[-1] if values.size else 0, dtype)
    result.reshape(-1)[: values.size] = values
    return result


class SliceAssembly:
    """A tensor that is assembled from slices, which must cover it exactly.

    Args:
        source: The file; the tensor is taken from its budget.
        name: The tensor's name.
        shape: Its whole shape.
        dtype: Its dtype.
        slices: The messages of all its slices.
        max_bytes: How many bytes the file can hold for it at most.

    Raises:
        FormatError: If the slices overlap, leave a gap or extend beyond the shape, or if the tensor is too large.
    """

    def __init__(
        self,
        source: SourceFile,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        slices: Sequence[Mapping[str, Any]],
        max_bytes: int,
    ):
        self.source, self.name, self.shape, self.dtype = source, name, shape, dtype
        self.boxes = [self.box(piece) for piece in slices]
        counts = [math.prod(stop - start for start, stop in box) for box in self.boxes]
        full = [box for box, count in zip(self.boxes, counts, strict=True) if count]
        if sum(counts) != math.prod(shape) or len(full) > 1000 or _any_overlap(full):
            raise source.error(f"the {len(slices)} slices of {name} do not cover its shape {shape} exactly.")
        if math.prod(shape) * dtype.itemsize > max_bytes:
            raise source.error(f"{name} declares shape {shape}, more than the file can hold.")
        self.array: np.ndarray | None = None
        self.left = set(self.boxes)

    def box(self, piece: Mapping[str, Any]) -> tuple[tuple[int, int], ...]:
        """Returns begin and end of a slice along each axis."""
        extents = piece.get("extent", [])
        box = []
        for extent, size in zip(extents, self.shape, strict=False):
            start = extent.get("start", 0)
            length = extent.get("length", size)
            if start < 0 or length < 0 or start + length > size:
                raise self.source.error(f"a slice of {self.name} extends beyond its shape {self.shape}.")
            box.append((start, start + length))
        if len(extents) != len(self.shape):
            raise self.source.error(f"a slice of {self.name} has {len(extents)} axes, its shape is {self.shape}.")
        return tuple(box)

    def put(self, piece: Mapping[str, Any], values: np.ndarray) -> None:
        """Fills one slice; memory is allocated for the first one."""
        box = self.box(piece)
        if box not in self.left:
            raise self.source.error(f"a slice of {self.name} occurs twice, or was not declared.")
        self.left.remove(box)
        sizes = tuple(stop - start for start, stop in box)
        if values.size != math.prod(sizes):
            raise self.source.error(f"a slice of {self.name} has shape {sizes}, but {values.size} values.")
        if self.array is None:
            self.source.spend_tensor(self.shape, self.dtype, self.name)
            self.array = np.empty(self.shape, self.dtype)
        self.array[tuple(slice(start, stop) for start, stop in box)] = values.reshape(sizes)

    def finish(self) -> np.ndarray:
        """Returns the tensor; all slices must have been filled."""
        if self.left or self.array is None:
            raise self.source.error(f"{len(self.left)} slices of {self.name} are missing.")
        return self.array


def _any_overlap(boxes: list[tuple[tuple[int, int], ...]]) -> bool:
    """Tests whether two boxes overlap."""
    return any(
        all(a[0] < b[1] and b[0] < a[1] for a, b in zip(one, other, strict=True))
        for place, one in enumerate(boxes)
        for other in boxes[:place]
    )
