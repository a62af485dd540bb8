"""PyTorch's tensors and storages as the pickle describes them, without data yet."""

import dataclasses
from typing import Any

import ml_dtypes
import numpy as np

from jaxcnn.zoo.containers.source_file import SourceFile

__all__ = [
    "DTYPE_NAMES",
    "STORAGES",
    "Quantization",
    "Storage",
    "TensorView",
    "TorchDtype",
    "check_view",
    "parse_sizes",
    "parse_storage",
    "to_numpy_dtype",
]

STORAGES: dict[str, np.dtype[Any]] = {
    "DoubleStorage": np.dtype("<f8"),
    "FloatStorage": np.dtype("<f4"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
    "ComplexFloatStorage": np.dtype("<c8"),
    "ComplexDoubleStorage": np.dtype("<c16"),
    "QInt8Storage": np.dtype("i1"),
    "QUInt8Storage": np.dtype("u1"),
    "QInt32Storage": np.dtype("<i4"),
    "QUInt4x2Storage": np.dtype("u1"),
    "QUInt2x4Storage": np.dtype("u1"),
    "UntypedStorage": np.dtype("u1"),
}
"""Names of storages and the dtypes of their elements, little-endian."""

_PACKED_BITS = {"QUInt4x2Storage": 4, "QUInt2x4Storage": 2}
_COMPLEX_HALF = np.dtype([("real", "<f2"), ("imag", "<f2")])
_DTYPES = {"uint16": "<u2", "uint32": "<u4", "uint64": "<u8", "bool": "?", "uint8": "u1", "int8": "i1"}
_DTYPES |= {"int16": "<i2", "int32": "<i4", "int64": "<i8", "float16": "<f2", "float32": "<f4", "float64": "<f8"}
_DTYPES |= {"complex64": "<c8", "complex128": "<c16"}
_DTYPES |= {"bits8": "u1", "bits16": "<u2", "bits1x8": "u1", "bits2x4": "u1", "bits4x2": "u1"}
_DTYPES |= {"float4_e2m1fn_x2": "u1"}  # two numbers in a byte
_NARROW = ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu")
_OTHERS = ("complex32", "qint8", "quint8", "qint32", "quint4x2", "quint2x4")
_OTHERS += tuple(f"{sign}int{bits}" for sign in ("", "u") for bits in range(1, 8))
DTYPE_NAMES = (*_DTYPES, *_NARROW, *_OTHERS)
"""PyTorch's names of dtypes; no tensor is described by one of integers of less than 8 bits."""


class TorchDtype:
    """A dtype such as ``torch.float32`` in a pickle."""

    def __init__(self, name: str) -> None:
        """Takes the name without ``torch``."""
        self.name = name

    def __str__(self) -> str:
        """Returns the name."""
        return self.name


def to_numpy_dtype(source: SourceFile, dtype: object) -> np.dtype[Any]:
    """Returns the dtype of the elements in the file; halves of a complex number are two fields."""
    if not isinstance(dtype, TorchDtype):
        raise source.error("a tensor without a dtype.")
    if dtype.name == "complex32":
        return _COMPLEX_HALF
    if dtype.name in _DTYPES:
        return np.dtype(_DTYPES[dtype.name])
    found = getattr(ml_dtypes, dtype.name, None) if dtype.name in _NARROW else None
    if found is None:
        raise source.error(f"a tensor of dtype torch.{dtype.name}, which is not read.")
    return np.dtype(found)


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
    """A run of elements in the file.

    Attributes:
        key: Its name in the file.
        dtype: Of its elements.
        count: How many elements the pickle declares.
        offset: How many elements of the storage of that key come before it, if it is only a part.
        bits: Of an element, if several are packed into each one of ``dtype``, the first one in the lowest bits.
    """

    key: str
    dtype: np.dtype[Any]
    count: int
    offset: int = 0
    bits: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Quantization:
    """How integers represent numbers: ``(q - zero_point) * scale``, both one number or tensors along ``axis``."""

    scale: "float | TensorView"
    zero_point: "float | TensorView"
    axis: int | None


@dataclasses.dataclass(frozen=True, eq=False)
class TensorView:
    """A tensor as the pickle declares it: a view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    quantization: Quantization | None = None
    conjugated: bool = False
    negated: bool = False

    @property
    def result_dtype(self) -> np.dtype[Any]:
        """The dtype of the array that it becomes."""
        if self.quantization:
            return np.dtype(np.float32)
        return np.dtype(np.complex64) if self.dtype == _COMPLEX_HALF else self.dtype


def check_view(
    source: SourceFile,
    storage: object,
    offset: object,
    shape: object,
    strides: object,
    *,
    dtype: np.dtype[Any] | None = None,
    flags: object = None,
    quantization: Quantization | None = None,
) -> TensorView:
    """Checks the arguments from which a pickle rebuilds a tensor.

    Raises:
        FormatError: If it is not a view within its storage.
    """
    sizes, steps, first = parse_sizes(shape), parse_sizes(strides), parse_sizes((offset,))
    if not isinstance(storage, Storage) or sizes is None or steps is None or first is None or len(sizes) != len(steps):
        raise source.error("a tensor without a storage, offset, shape or strides.")
    start = first[0]
    element: np.dtype[Any] = storage.dtype if dtype is None else dtype
    last = start + sum((size - 1) * stride for size, stride in zip(sizes, steps, strict=True)) + 1
    space = storage.count * storage.dtype.itemsize // element.itemsize
    if storage.bits:
        if quantization is None:
            raise source.error("a tensor of packed integers without a scale.")
        space = storage.count * 8 // storage.bits
    if 0 not in sizes and last > space:
        text = (
            f"a tensor of shape {sizes[:33]} reads element {last - 1} of storage {storage.key!r} of {space} elements."
        )
        raise source.error(text)
    marks = flags if isinstance(flags, dict) else {}
    return TensorView(
        storage, start, sizes, steps, element, quantization, marks.get("conj") is True, marks.get("neg") is True
    )


def parse_sizes(value: object) -> tuple[int, ...] | None:
    """Returns a tuple of integers from 0 on if the value is one, otherwise None."""
    if not isinstance(value, tuple) or not all(type(number) is int and 0 <= number < 1 << 62 for number in value):
        return None
    return value


def parse_storage(source: SourceFile, content: object, folder: str = "") -> Storage:
    """Parses the persistent id of a storage: ``("storage", type, key, device, count[, (view, offset, count)])``."""
    if isinstance(content, tuple) and content and content[0] == "module":
        raise source.error("holds a pickled module, not weights; save its state_dict instead.")
    if not isinstance(content, tuple) or len(content) not in (5, 6) or content[0] != "storage":
        raise source.error("a persistent id that is not a storage.")
    kind, key, count = content[1], content[2], content[4]
    dtype = STORAGES.get(kind) if isinstance(kind, str) else None
    if dtype is None or not isinstance(key, str) or type(count) is not int or not 0 <= count < 1 << 60:
        raise source.error("a storage without type, key or size.")
    key = folder + key
    view = content[5] if len(content) == 6 else None
    if view is None:
        return Storage(key, dtype, count, bits=_PACKED_BITS.get(str(kind), 0))
    numbers = view[1:] if isinstance(view, tuple) and len(view) == 3 else (-1,)
    if not all(type(number) is int and number >= 0 for number in numbers) or sum(numbers) > count:
        raise source.error(f"a part of storage {key!r} that is not within it.")
    return Storage(key, dtype, view[2], view[1], _PACKED_BITS.get(str(kind), 0))
