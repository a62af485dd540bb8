"""PyTorch's tensors, storages and modules as the restricted unpickler makes them: descriptions, no data yet."""

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxcnn.zoo.checkpoint import Budget, FormatError
from jaxcnn.zoo.containers.pickle_program import Bag, Pickle
from jaxcnn.zoo.containers.pickled_arrays import array_names

__all__ = ["STORAGES", "Described", "Quantized", "Storage", "described", "torch_pickle"]

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


class _Dtype:
    """``torch.float32`` and its like in a pickle."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __str__(self) -> str:
        return self.name


@dataclasses.dataclass(frozen=True, eq=False)
class Storage:
    """A run of elements in the file: its key there, its dtype, and how many elements the pickle says it has.

    ``offset`` counts the elements before it where it is a part of the storage of that key.
    """

    key: str
    dtype: np.dtype[Any]
    count: int
    offset: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Quantized:
    """How integers stand for numbers: ``(q - zero_point) * scale``, both one number or tensors along ``axis``."""

    scale: Any
    zero_point: Any
    axis: int | None


@dataclasses.dataclass(frozen=True, eq=False)
class Described:
    """A tensor as the pickle describes it: a view of a storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: np.dtype[Any]
    quantized: Quantized | None = None
    conjugated: bool = False
    negated: bool = False


def described(
    path: Path,
    storage: Any,
    offset: Any,
    shape: Any,
    strides: Any,
    dtype: np.dtype[Any] | None = None,
    marks: Any = None,
    quantized: Quantized | None = None,
) -> Described:
    """Checks what a pickle says of a tensor.

    Raises:
        FormatError: If it is no view within its storage.
    """
    good = isinstance(storage, Storage) and isinstance(shape, tuple) and isinstance(strides, tuple)
    numbers = (offset, *shape, *strides) if good else (-1,)
    if not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers) or len(shape) != len(strides):
        raise FormatError(path, "a tensor without a storage, offset, shape or strides.")
    kind: np.dtype[Any] = storage.dtype if dtype is None else dtype
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + 1
    space = storage.count * storage.dtype.itemsize // kind.itemsize
    if 0 not in shape and last > space:
        text = (
            f"a tensor of shape {shape[:33]} reads element {last - 1} of storage {storage.key!r} of {space} elements."
        )
        raise FormatError(path, text)
    flags = marks if isinstance(marks, dict) else {}
    return Described(
        storage, offset, shape, strides, kind, quantized, flags.get("conj") is True, flags.get("neg") is True
    )


def _storage(path: Path, content: Any) -> Storage:
    """Reads the persistent id of a storage: ``("storage", type, key, device, count[, (view, offset, count)])``."""
    if isinstance(content, tuple) and content and content[0] == "module":
        raise FormatError(path, "holds a pickled module, not weights; save its state_dict instead.")
    if not isinstance(content, tuple) or len(content) not in (5, 6) or content[0] != "storage":
        raise FormatError(path, "a persistent id that is no storage.")
    kind, key, count = content[1], content[2], content[4]
    dtype = STORAGES.get(kind) if isinstance(kind, str) else None
    if dtype is None or not isinstance(key, str) or type(count) is not int or not 0 <= count < 1 << 60:
        raise FormatError(path, "a storage without type, key or size.")
    view = content[5] if len(content) == 6 else None
    if view is None:
        return Storage(key, dtype, count)
    numbers = view[1:] if isinstance(view, tuple) and len(view) == 3 else (-1,)
    if not all(type(number) is int and number >= 0 for number in numbers) or sum(numbers) > count:
        raise FormatError(path, f"a part of storage {key!r} that does not lie within it.")
    return Storage(key, dtype, view[2], view[1])


def _refusal(name: str) -> str:
    if "sparse" in name:
        return f"refuses {name}: a sparse tensor; save dense ones."
    if name.startswith("torch.nn.") or name.startswith("torchvision.") or name.startswith("__main__."):
        return f"refuses {name}: a pickled module, not weights; save its state_dict instead."
    return f"refuses {name}: a pickled object, not weights; save tensors, numbers and texts only, as a state_dict."


def torch_pickle(
    path: Path, data: memoryview, budget: Budget, *, script: bool = False, sizes: dict[str, int] | None = None
) -> Pickle:
    """Gives an unpickler that knows tensors.

    Args:
        path: The file, for messages.
        data: The bytes that the pickles lie in.
        budget: What arrays and long texts within the pickle may take.
        script: Whether to take the classes of TorchScript for bags of attributes.
        sizes: Is given the bytes of one element of every storage that is named.
    """

    def tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> Described:
        return described(path, storage, offset, shape, strides, None, rest[2] if len(rest) > 2 else None)

    def tensor_v3(
        storage: Any, offset: Any, shape: Any, strides: Any, _grad: Any, _hooks: Any, dtype: Any, marks: Any = None
    ) -> Described:
        if not isinstance(dtype, _Dtype):
            raise FormatError(path, "a tensor without a dtype.")
        return described(path, storage, offset, shape, strides, _dtype(path, dtype), marks)

    def quantized(storage: Any, offset: Any, shape: Any, strides: Any, scheme: Any, *_: Any) -> Described:
        kind, *numbers = scheme if isinstance(scheme, tuple) and scheme else (None,)
        if isinstance(kind, str) and kind.startswith("torch.per_tensor") and len(numbers) == 2:
            good = isinstance(numbers[0], float) and isinstance(numbers[1], int)
            axis = None
        else:
            good = len(numbers) == 3 and isinstance(kind, str) and kind.startswith("torch.per_channel")
            good = good and all(isinstance(part, Described) for part in numbers[:2]) and type(numbers[2]) is int
            axis = numbers[2] if good else -1
            good = good and isinstance(shape, tuple) and 0 <= axis < len(shape)
        if not good:
            raise FormatError(path, "a quantised tensor of an unknown scheme.")
        return described(path, storage, offset, shape, strides, None, None, Quantized(numbers[0], numbers[1], axis))

    def parameter(data: Any = None, *_: Any) -> Any:
        if not isinstance(data, Described):
            raise FormatError(path, "a parameter without a tensor.")
        return data

    def from_type(function: Any, _kind: Any, arguments: Any, _state: Any = None) -> Any:
        call = getattr(function, "call", None)
        if call is None or call not in (tensor, tensor_v3, quantized) or not isinstance(arguments, tuple):
            raise FormatError(path, "a tensor of an unknown class.")
        return call(*arguments)

    def size(items: Any = ()) -> tuple[Any, ...]:
        if not isinstance(items, list | tuple):
            raise FormatError(path, "a torch.Size of other than numbers.")
        return tuple(items)

    names: dict[str, Callable[..., Any] | Any] = array_names(path, budget)
    names |= {"torch._utils._rebuild_tensor": tensor, "torch._utils._rebuild_tensor_v2": tensor}
    names |= {"torch._utils._rebuild_tensor_v3": tensor_v3, "torch._utils._rebuild_qtensor": quantized}
    names |= {f"torch._utils._rebuild_parameter{kind}": parameter for kind in ("", "_with_state")}
    names |= {"torch.nn.parameter.Parameter": parameter, "torch.Tensor": "torch.Tensor"}
    names |= {"torch._tensor._rebuild_from_type_v2": from_type, "torch.Size": size}
    names |= {"torch.device": lambda *parts: ":".join(str(part)[:64] for part in parts if isinstance(part, str | int))}
    names |= {f"torch.{name}": name for name in STORAGES}
    names |= {f"torch.storage.{name}": "UntypedStorage" for name in ("UntypedStorage", "_UntypedStorage")}
    names |= {f"torch.{name}": _Dtype(name) for name in (*_DTYPES, *_NARROW)}
    names |= {f"torch.{name}": f"torch.{name}" for name in _SCHEMES}
    if script:
        names |= {
            f"torch.jit._pickle.{name}": lambda value, *_: value
            for name in ("build_intlist", "build_tensorlist", "build_doublelist", "build_boollist", "restore_type_tag")
        }

    def persistent(content: Any) -> Storage:
        storage = _storage(path, content)
        if sizes is not None and sizes.setdefault(storage.key, storage.dtype.itemsize) != storage.dtype.itemsize:
            raise FormatError(path, f"storage {storage.key!r} has elements of two sizes.")
        return storage

    def known(name: str) -> Any:
        if script and re.fullmatch(r"__torch__(\.\w+)+", name):
            return lambda *_: Bag(name)
        return names.get(name)

    return Pickle(path, data, known=known, refusal=_refusal, persistent=persistent, budget=budget)


def _dtype(path: Path, dtype: _Dtype) -> np.dtype[Any]:
    if dtype.name in _DTYPES:
        return np.dtype(_DTYPES[dtype.name])
    found = getattr(ml_dtypes, dtype.name, None)
    if found is None:
        raise FormatError(path, f"a tensor of dtype torch.{dtype.name}, which this ml_dtypes does not have.")
    return np.dtype(found)
