"""Copies PyTorch's tensors out of the bytes of their storages."""

import math
from collections.abc import Callable, Mapping

import numpy as np

from jaxcnn.zoo.containers.mapped_file import copy_in_pieces, release_pages
from jaxcnn.zoo.containers.source_file import DEFLATE_RATIO, SourceFile
from jaxcnn.zoo.formats.pytorch.layouts import TRANSPOSITIONS
from jaxcnn.zoo.formats.pytorch.sparse_tensors import SparseTensor, fill_dense
from jaxcnn.zoo.formats.pytorch.tensor_views import TensorView

__all__ = ["StorageReader", "copy_tensors"]

StorageReader = Callable[[str], memoryview]
"""Returns the bytes of a storage, given its key."""


def copy_tensors(
    source: SourceFile,
    tensors: Mapping[str, TensorView | SparseTensor],
    layouts: Mapping[str, str],
    channels: Mapping[str, int],
    storage: StorageReader,
    *,
    size: int,
    big_endian: bool = False,
) -> dict[str, np.ndarray]:
    """Copies tensors, storage by storage; each storage is read once.

    Args:
        source: The file; every tensor is taken from its budget before it is allocated.
        tensors: Name to view of a storage.
        layouts: Name to order of axes, for tensors whose axes move.
        channels: Name to number of channels, for tensors whose first axis is split into channels and multiplier.
        storage: Returns the bytes of a storage, given its key.
        size: The size of the file.
        big_endian: Whether elements are stored in big-endian order.

    Returns:
        Name to array, C-contiguous, writable, owning its memory, in the order of ``tensors``.

    Raises:
        FormatError: If a storage is shorter than the pickle says, or tensors are larger than such a file can hold.
    """
    total = 0
    for name, tensor in tensors.items():
        dtype = (tensor.values if isinstance(tensor, SparseTensor) else tensor).result_dtype
        total += source.spend_tensor(tensor.shape, dtype, f"tensor {name[:200]!r}")
    if total > DEFLATE_RATIO * size:
        raise source.error(f"tensors of {total} bytes, more than a file of {size} bytes can hold.")
    groups: dict[str, list[str]] = {}
    arrays: dict[str, np.ndarray] = {}
    dense = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, TensorView)}
    for name, tensor in dense.items():
        groups.setdefault(tensor.storage.key, []).append(name)
    for key, names in groups.items():
        content = storage(key)
        for name in names:
            tensor = dense[name]
            view = _view(source, tensor, content, big_endian)
            if tensor.quantization:
                view = _dequantize(source, tensor, view, storage, big_endian)
            arrays[name] = _arrange(view, layouts.get(name), channels.get(name), content)
        release_pages(content)
    for name, tensor in tensors.items():
        if isinstance(tensor, SparseTensor):
            parts = [_view(source, part, storage(part.storage.key), big_endian) for part in _parts(tensor)]
            arrays[name] = _arrange(fill_dense(source, tensor, parts, name), layouts.get(name), channels.get(name))
    return {name: arrays[name] for name in tensors}


def _parts(tensor: SparseTensor) -> tuple[TensorView, ...]:
    return (*tensor.indices, tensor.values)


def _arrange(
    view: np.ndarray, layout: str | None, channels: int | None, content: memoryview | None = None
) -> np.ndarray:
    """Copies a tensor with its axes in the order of this library."""
    if channels is not None:  # (c * m, 1, ...) to (c, m, ...)
        view = view.reshape(channels, -1, *view.shape[2:])
    axes = range(view.ndim) if layout is None else TRANSPOSITIONS[layout]
    result = np.empty([view.shape[axis] for axis in axes], view.dtype.newbyteorder("="))
    copy_in_pieces(view, result.transpose(np.argsort(axes)) if view.ndim else result, content)
    return result


def _view(source: SourceFile, tensor: TensorView, content: memoryview, big_endian: bool) -> np.ndarray:
    """Returns a tensor as a view of its storage's bytes where that is possible."""
    storage, dtype = tensor.storage, tensor.dtype
    begin = storage.offset * storage.dtype.itemsize
    end = begin + storage.count * storage.dtype.itemsize
    if end > len(content):
        text = f"storage {storage.key!r} has {len(content)} bytes, but {end} are needed."
        raise source.error(text)
    if math.prod(tensor.shape) == 0:
        return np.empty(tensor.shape, dtype)
    if storage.bits:
        content, begin, end = _unpack(content[begin:end], storage.bits), 0, storage.count * 8 // storage.bits
    content = content[begin + tensor.offset * dtype.itemsize : end]
    kind, buffer = np.dtype(np.uint8) if dtype.kind == "b" else dtype, content
    if big_endian and not dtype.names and dtype.isbuiltin != 1:  # dtypes of ml_dtypes have no other byte order
        whole = len(content) // dtype.itemsize * dtype.itemsize
        buffer = np.frombuffer(content[:whole], f"u{dtype.itemsize}").byteswap().data
    elif big_endian and dtype.names:
        buffer = np.frombuffer(content[: len(content) // 2 * 2], "u2").byteswap().data
    elif big_endian:
        kind = kind.newbyteorder(">")
    strides = [
        stride * dtype.itemsize if extent > 1 else 0
        for extent, stride in zip(tensor.shape, tensor.strides, strict=True)
    ]
    view = np.ndarray(tensor.shape, kind, buffer, strides=strides)
    view = _join_halves(view) if dtype.names else view
    view = view != 0 if dtype.kind == "b" else view  # arrays of booleans may hold no bytes but 0 and 1
    view = np.conj(view) if tensor.conjugated else view
    return np.asarray(np.negative(view) if tensor.negated else view)  # NumPy returns scalars for arrays of rank 0


def _unpack(content: memoryview, bits: int) -> memoryview:
    """Unpacks integers of a few bits, one into each byte."""
    places = np.arange(0, 8, bits, dtype=np.uint8)
    values = np.frombuffer(content, np.uint8)[:, None] >> places & np.uint8((1 << bits) - 1)
    return values.reshape(-1).data


def _join_halves(view: np.ndarray) -> np.ndarray:
    """Converts complex numbers of two half-precision parts, which NumPy does not have."""
    result = np.empty(view.shape, np.complex64)
    result.real, result.imag = view["real"], view["imag"]
    return result


def _dequantize(
    source: SourceFile, tensor: TensorView, view: np.ndarray, storage: StorageReader, big_endian: bool
) -> np.ndarray:
    """Computes ``(q - zero_point) * scale`` in float32, as PyTorch does."""

    def numbers(value: int | float | TensorView) -> np.ndarray | np.float32:
        if not isinstance(value, TensorView):
            return np.float32(value)
        if (
            tensor.quantization is None
            or value.quantization
            or value.shape != (tensor.shape[tensor.quantization.axis or 0],)
        ):
            raise source.error("a quantized tensor without a scale and zero point per channel.")
        found = _view(source, value, storage(value.storage.key), big_endian).astype(np.float32)
        return found.reshape([-1 if place == tensor.quantization.axis else 1 for place in range(view.ndim)])

    assert tensor.quantization is not None
    zero, scale = tensor.quantization.zero_point, tensor.quantization.scale
    if isinstance(zero, int) and not -(1 << 31) <= zero < 1 << 31:
        raise source.error("a quantized tensor with a zero point beyond 32 bits.")
    with np.errstate(over="ignore", invalid="ignore"):
        return (view.astype(np.float32) - numbers(zero)) * numbers(scale)
