"""PyTorch's tensors and storages as the restricted unpickler builds them: descriptions, without data yet."""

import dataclasses
import re
from typing import Any

import ml_dtypes
import numpy as np

from jaxcnn.zoo.containers.pickled_arrays import array_constructors
from jaxcnn.zoo.containers.restricted_unpickler import Constructor, OpaqueObject, RestrictedUnpickler
from jaxcnn.zoo.containers.source_file import SourceFile

__all__ = ["STORAGES", "TensorView", "Quantization", "Storage", "check_view", "torch_unpickler"]

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
    "UntypedStorage": np.dtype("u1"),
}
"""Names of storages and the dtypes of their elements, little-endian."""

_DTYPES = {"uint16": "<u2", "uint32": "<u4", "uint64": "<u8", "bool": "?", "uint8": "u1", "int8": "i1"}
_DTYPES |= {"int16": "<i2", "int32": "<i4", "int64": "<i8", "float16": "<f2", "float32": "<f4", "float64": "<f8"}
_DTYPES |= {"complex64": "<c8", "complex128": "<c16"}
_NARROW = ("bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu")
_SCHEMES = ("per_tensor_affine", "per_channel_affine", "per_tensor_symmetric", "per_channel_symmetric")


class _TorchDtype:
    """A dtype such as ``torch.float32`` in a pickle."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
    """A run of elements in the file.

    Attributes:
        key: Its name in the file.
        dtype: Of its elements.
        count: How many elements the pickle declares.
        offset: How many elements of the storage of that key come before it, if it is only a part.
    """

    key: str
    dtype: np.dtype[Any]
    count: int
    offset: int = 0


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
    sizes, steps, first = _as_integers(shape), _as_integers(strides), _as_integers((offset,))
    if not isinstance(storage, Storage) or sizes is None or steps is None or first is None or len(sizes) != len(steps):
        raise source.error("a tensor without a storage, offset, shape or strides.")
    start = first[0]
    element: np.dtype[Any] = storage.dtype if dtype is None else dtype
    last = start + sum((size - 1) * stride for size, stride in zip(sizes, steps, strict=True)) + 1
    space = storage.count * storage.dtype.itemsize // element.itemsize
    if 0 not in sizes and last > space:
        text = (
            f"a tensor of shape {sizes[:33]} reads element {last - 1} of storage {storage.key!r} of {space} elements."
        )
        raise source.error(text)
    marks = flags if isinstance(flags, dict) else {}
    return TensorView(
        storage, start, sizes, steps, element, quantization, marks.get("conj") is True, marks.get("neg") is True
    )


def _as_integers(value: object) -> tuple[int, ...] | None:
    """Returns a tuple of integers from 0 on if the value is one, otherwise None."""
    if not isinstance(value, tuple) or not all(type(number) is int and 0 <= number < 1 << 62 for number in value):
        return None
    return value


def _parse_storage(source: SourceFile, content: object) -> Storage:
    """Parses the persistent id of a storage: ``("storage", type, key, device, count[, (view, offset, count)])``."""
    if isinstance(content, tuple) and content and content[0] == "module":
        raise source.error("holds a pickled module, not weights; save its state_dict instead.")
    if not isinstance(content, tuple) or len(content) not in (5, 6) or content[0] != "storage":
        raise source.error("a persistent id that is not a storage.")
    kind, key, count = content[1], content[2], content[4]
    dtype = STORAGES.get(kind) if isinstance(kind, str) else None
    if dtype is None or not isinstance(key, str) or type(count) is not int or not 0 <= count < 1 << 60:
        raise source.error("a storage without type, key or size.")
    view = content[5] if len(content) == 6 else None
    if view is None:
        return Storage(key, dtype, count)
    numbers = view[1:] if isinstance(view, tuple) and len(view) == 3 else (-1,)
    if not all(type(number) is int and number >= 0 for number in numbers) or sum(numbers) > count:
        raise source.error(f"a part of storage {key!r} that is not within it.")
    return Storage(key, dtype, view[2], view[1])


def _write_refusal(name: str) -> str:
    if "sparse" in name:
        return f"refuses {name}: a sparse tensor; save dense ones."
    if name.startswith("torch.nn.") or name.startswith("torchvision.") or name.startswith("__main__."):
        return f"refuses {name}: a pickled module, not weights; save its state_dict instead."
    return f"refuses {name}: a pickled object, not weights; save tensors, numbers and texts only, as a state_dict."


def torch_unpickler(
    source: SourceFile, data: memoryview, *, script: bool = False, element_sizes: dict[str, int] | None = None
) -> RestrictedUnpickler:
    """Builds an unpickler that knows tensors.

    Args:
        source: The file; arrays and long texts within the pickle are taken from its budget.
        data: The bytes that hold the pickles.
        script: Whether instances of TorchScript's classes become opaque objects; otherwise they are refused.
        element_sizes: Receives the bytes of one element of every storage that is named.
    """

    def tensor(storage: object, offset: object, shape: object, strides: object, *rest: object) -> TensorView:
        return check_view(source, storage, offset, shape, strides, flags=rest[2] if len(rest) > 2 else None)

    def tensor_v3(
        storage: object,
        offset: object,
        shape: object,
        strides: object,
        _grad: object,
        _hooks: object,
        dtype: object,
        flags: object = None,
    ) -> TensorView:
        if not isinstance(dtype, _TorchDtype):
            raise source.error("a tensor without a dtype.")
        return check_view(source, storage, offset, shape, strides, dtype=_to_numpy(source, dtype), flags=flags)

    def quantized(
        storage: object, offset: object, shape: object, strides: object, scheme: object, *_: object
    ) -> TensorView:
        kind, *numbers = scheme if isinstance(scheme, tuple) and scheme else (None,)
        if isinstance(kind, str) and kind.startswith("torch.per_tensor") and len(numbers) == 2:
            good = isinstance(numbers[0], float) and isinstance(numbers[1], int)
            axis = None
        else:
            good = len(numbers) == 3 and isinstance(kind, str) and kind.startswith("torch.per_channel")
            good = good and all(isinstance(part, TensorView) for part in numbers[:2]) and type(numbers[2]) is int
            axis = numbers[2] if good else -1
            good = good and isinstance(shape, tuple) and 0 <= axis < len(shape)
        if not good:
            raise source.error("a quantized tensor of an unknown scheme.")
        quantization = Quantization(numbers[0], numbers[1], axis)
        return check_view(source, storage, offset, shape, strides, quantization=quantization)

    def parameter(data: object = None, *_: object) -> TensorView:
        if not isinstance(data, TensorView):
            raise source.error("a parameter without a tensor.")
        return data

    def from_type(function: object, _kind: object, arguments: object, _state: object = None) -> object:
        rebuilding = (tensor, tensor_v3, quantized)
        if not isinstance(function, Constructor) or function.call not in rebuilding or not isinstance(arguments, tuple):
            raise source.error("a tensor of an unknown class.")
        return function.call(*arguments)

    def size(items: object = ()) -> tuple[object, ...]:
        if not isinstance(items, list | tuple):
            raise source.error("a torch.Size of something other than numbers.")
        return tuple(items)

    names = array_constructors(source)
    names |= {"torch._utils._rebuild_tensor": tensor, "torch._utils._rebuild_tensor_v2": tensor}
    names |= {"torch._utils._rebuild_tensor_v3": tensor_v3, "torch._utils._rebuild_qtensor": quantized}
    names |= {f"torch._utils._rebuild_parameter{kind}": parameter for kind in ("", "_with_state")}
    names |= {"torch.nn.parameter.Parameter": parameter, "torch.Tensor": "torch.Tensor"}
    names |= {"torch._tensor._rebuild_from_type_v2": from_type, "torch.Size": size}
    names |= {"torch.device": lambda *parts: ":".join(str(part)[:64] for part in parts if isinstance(part, str | int))}
    names |= {f"torch.{name}": name for name in STORAGES}
    names |= {f"torch.storage.{name}": "UntypedStorage" for name in ("UntypedStorage", "_UntypedStorage")}
    names |= {f"torch.{name}": _TorchDtype(name) for name in (*_DTYPES, *_NARROW)}
    names |= {f"torch.{name}": f"torch.{name}" for name in _SCHEMES}
    if script:
        names |= {
            f"torch.jit._pickle.{name}": lambda value, *_: value
            for name in ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag")
        }

    def persistent(content: object) -> Storage:
        storage = _parse_storage(source, content)
        itemsize = storage.dtype.itemsize
        if element_sizes is not None and element_sizes.setdefault(storage.key, itemsize) != itemsize:
            raise source.error(f"storage {storage.key!r} has elements of two sizes.")
        return storage

    def find(name: str) -> object:
        if script and re.fullmatch(r"__torch__(\.\w+)+", name):
            return lambda *_: OpaqueObject(name)
        return names.get(name)

    return RestrictedUnpickler(source, data, known=find, refusal=_write_refusal, persistent=persistent)


def _to_numpy(source: SourceFile, dtype: _TorchDtype) -> np.dtype[Any]:
    if dtype.name in _DTYPES:
        return np.dtype(_DTYPES[dtype.name])
    found = getattr(ml_dtypes, dtype.name, None)
    if found is None:
        raise source.error(f"a tensor of dtype torch.{dtype.name}, which this ml_dtypes does not have.")
    return np.dtype(found)
