"""The elements of PyTorch's tensors, copied out of the bytes of their storages."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import Budget, FormatError
from jaxcnn.zoo.containers.mapped_file import let_go
from jaxcnn.zoo.containers.zip_archive import DEFLATE_RATIO
from jaxcnn.zoo.formats.pytorch.layouts import moved_axes
from jaxcnn.zoo.formats.pytorch.pickled_tensors import Described

__all__ = ["read_tensors"]


def read_tensors(
    path: Path,
    tensors: Mapping[str, Described],
    layouts: Mapping[str, str],
    storage: Callable[[str], memoryview],
    *,
    budget: Budget,
    size: int,
    big_endian: bool = False,
) -> dict[str, np.ndarray]:
    """Copies tensors, storage by storage, each storage read once.

    Args:
        path: The file, for messages.
        tensors: Name to description.
        layouts: Name to order of axes of those whose axes move.
        storage: Gives the bytes of a storage by its key.
        budget: Asked for every tensor before it is made.
        size: The size of the file.
        big_endian: Whether elements begin with their highest byte.

    Returns:
        Name to array, C-contiguous, writable, with memory of its own, in the order of ``tensors``.

    Raises:
        FormatError: If a storage is shorter than the pickle says, or tensors are larger than such a file can hold.
    """
    total = 0
    for name, tensor in tensors.items():
        dtype = np.dtype(np.float32) if tensor.quantized else tensor.dtype
        total += budget.tensor(tensor.shape, dtype, f"tensor {name[:200]!r}")
    if total > DEFLATE_RATIO * size:
        raise FormatError(path, f"tensors of {total} bytes, more than a file of {size} bytes can hold.")
    groups: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        groups.setdefault(tensor.storage.key, []).append(name)
    arrays: dict[str, np.ndarray] = {}
    for key, names in groups.items():
        content = storage(key)
        for name in names:
            tensor = tensors[name]
            view = _view(path, tensor, content, big_endian)
            if tensor.quantized:
                view = _dequantized(path, tensor, view, storage, big_endian)
            if name in layouts:
                view = view.transpose(moved_axes(layouts[name]))
            arrays[name] = np.array(view, view.dtype.newbyteorder("="), order="C")
        let_go(content)
    return {name: arrays[name] for name in tensors}


def _view(path: Path, tensor: Described, content: memoryview, big_endian: bool) -> np.ndarray:
    """Gives a tensor as a view of its storage's bytes where that is possible."""
    storage, dtype = tensor.storage, tensor.dtype
    begin = storage.offset * storage.dtype.itemsize
    end = begin + storage.count * storage.dtype.itemsize
    if end > len(content):
        text = f"storage {storage.key!r} has {len(content)} bytes, {end} are wanted."
        raise FormatError(path, text)
    if math.prod(tensor.shape) == 0:
        return np.empty(tensor.shape, dtype)
    content = content[begin + tensor.offset * dtype.itemsize : end]
    kind, buffer = np.dtype(np.uint8) if dtype.kind == "b" else dtype, content
    if big_endian and dtype.isbuiltin != 1:  # those of ml_dtypes know no other order of bytes
        whole = len(content) // dtype.itemsize * dtype.itemsize
        buffer = np.frombuffer(content[:whole], f"u{dtype.itemsize}").byteswap().data
    elif big_endian:
        kind = kind.newbyteorder(">")
    strides = [
        stride * dtype.itemsize if extent > 1 else 0
        for extent, stride in zip(tensor.shape, tensor.strides, strict=True)
    ]
    view = np.ndarray(tensor.shape, kind, buffer, strides=strides)
    view = view != 0 if dtype.kind == "b" else view  # no byte but 0 and 1 may lie in an array of booleans
    view = np.conj(view) if tensor.conjugated else view
    return np.negative(view) if tensor.negated else view


def _dequantized(
    path: Path, tensor: Described, view: np.ndarray, storage: Callable[[str], memoryview], big_endian: bool
) -> np.ndarray:
    """Gives ``(q - zero_point) * scale`` in float32, as PyTorch does."""

    def numbers(value: Any) -> Any:
        if not isinstance(value, Described):
            return np.float32(value)
        if tensor.quantized is None or value.quantized or value.shape != (tensor.shape[tensor.quantized.axis or 0],):
            raise FormatError(path, "a quantised tensor without a scale and zero point per channel.")
        found = _view(path, value, storage(value.storage.key), big_endian).astype(np.float32)
        return found.reshape([-1 if place == tensor.quantized.axis else 1 for place in range(view.ndim)])

    assert tensor.quantized is not None
    zero, scale = tensor.quantized.zero_point, tensor.quantized.scale
    if not isinstance(zero, Described) and not -(1 << 31) <= zero < 1 << 31:
        raise FormatError(path, "a quantised tensor with a zero point beyond 32 bits.")
    with np.errstate(over="ignore", invalid="ignore"):
        return (view.astype(np.float32) - numbers(zero)) * numbers(scale)
