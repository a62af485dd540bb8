"""PyTorch's sparse tensors: described by dense parts in the file, filled into dense arrays."""

import dataclasses

import numpy as np

from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.formats.pytorch.tensor_views import TensorView, parse_sizes

__all__ = ["SparseTensor", "describe_sparse", "fill_dense"]

_COMPRESSED = ("sparse_csr", "sparse_csc", "sparse_bsr", "sparse_bsc")


@dataclasses.dataclass(frozen=True, eq=False)
class SparseTensor:
    """A tensor of which the file holds some values and their places.

    Attributes:
        layout: PyTorch's name: ``"sparse_coo"``, or a compressed one such as ``"sparse_csr"``.
        indices: Of ``"sparse_coo"`` (axes, values); of the others where rows or columns begin, and the places in them.
        values: One value, or one block, per place.
        shape: Of the dense tensor.
    """

    layout: str
    indices: tuple[TensorView, ...]
    values: TensorView
    shape: tuple[int, ...]


def describe_sparse(source: SourceFile, layout: object, data: object) -> SparseTensor:
    """Checks the arguments from which a pickle rebuilds a sparse tensor.

    Raises:
        FormatError: For an unknown layout, or parts that are not tensors.
    """
    name = layout.removeprefix("torch.") if isinstance(layout, str) else ""
    count = 1 if name == "sparse_coo" else 2 if name in _COMPRESSED else 0
    if not count or not isinstance(data, tuple) or not count + 2 <= len(data) <= count + 3:
        raise source.error(f"a sparse tensor of layout {layout!r:.40}; dense, COO and compressed ones are read.")
    parts, shape = data[: count + 1], parse_sizes(data[count + 1])
    if shape is None or not all(isinstance(part, TensorView) and not part.quantization for part in parts):
        raise source.error("a sparse tensor without indices, values or a shape.")
    return SparseTensor(name, parts[:-1], parts[-1], shape)


def fill_dense(source: SourceFile, tensor: SparseTensor, parts: list[np.ndarray], name: str) -> np.ndarray:
    """Fills the values of a sparse tensor into an array of zeros; values for one place are added.

    Args:
        source: The file, for error messages; the array was taken from its budget.
        tensor: The description.
        parts: Its indices and values.
        name: The tensor's name, for error messages.

    Returns:
        The array, C-contiguous.

    Raises:
        FormatError: For indices beyond the shape, and parts that do not fit each other.
    """
    *indices, values = parts
    if any(part.dtype.kind not in "iu" for part in indices):
        raise source.error(f"sparse tensor {name[:200]!r} has indices that are not integers.")
    if tensor.layout == "sparse_coo":
        places = indices[0]
        axes = places.shape[0] if places.ndim == 2 else -1
        fits = 0 <= axes <= len(tensor.shape) and values.shape == (*places.shape[1:], *tensor.shape[axes:])
        extents = tensor.shape[:axes]
    else:
        places, extents, fits = _expand(tensor, indices[0], indices[1], values.shape)
    if not fits or not all(
        row.size == 0 or 0 <= row.min() <= row.max() < extent for row, extent in zip(places, extents, strict=True)
    ):
        raise source.error(f"sparse tensor {name[:200]!r} has indices or values that do not fit {tensor.shape}.")
    dense = np.zeros(tensor.shape, values.dtype)
    if not dense.size or not values.size:
        return dense
    target = dense
    if tensor.layout in ("sparse_bsr", "sparse_bsc"):
        high, wide = values.shape[1:]
        target = dense.reshape(tensor.shape[0] // high, high, tensor.shape[1] // wide, wide).swapaxes(1, 2)
    flat = np.ravel_multi_index(tuple(places), extents) if len(places) else np.zeros(len(values), np.int64)
    if np.unique(flat).size == flat.size:
        target[tuple(places)] = values if len(places) else values[0]
    else:
        np.add.at(target, tuple(places), values)
    return dense


def _expand(
    tensor: SparseTensor, begins: np.ndarray, others: np.ndarray, sizes: tuple[int, ...]
) -> tuple[np.ndarray, tuple[int, ...], bool]:
    """Returns row and column of every value, or block, of a compressed layout, and whether the parts fit."""
    by_rows = tensor.layout in ("sparse_csr", "sparse_bsr")
    block = sizes[1:] if tensor.layout in ("sparse_bsr", "sparse_bsc") else (1, 1)
    nothing = np.zeros((2, 0), np.int64)
    if len(tensor.shape) != 2 or len(block) != 2 or 0 in block or begins.ndim != 1 or others.ndim != 1:
        return nothing, (0, 0), False
    extents = (tensor.shape[0] // block[0], tensor.shape[1] // block[1])
    whole = (extents[0] * block[0], extents[1] * block[1]) == tensor.shape
    counts = np.diff(begins.astype(np.int64))
    good = whole and begins.size and len(counts) == extents[0 if by_rows else 1] and (counts >= 0).all()
    if not good or begins[0] != 0 or begins[-1] != others.size or sizes[:1] != others.shape:
        return nothing, (0, 0), False
    majors = np.repeat(np.arange(len(counts)), counts)
    minors = others.astype(np.int64)
    return np.stack([majors, minors] if by_rows else [minors, majors]), extents, True
