"""Evaluates operations on constants, also on vectors of sizes that are not all known."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import ml_dtypes
import numpy as np

from jaxcnn.zoo.graphs.tensorflow.quantization import dequantize, quantize_fake
from jaxcnn.zoo.graphs.tensorflow.sizes import SymbolicSize, simplify
from jaxcnn.zoo.graphs.tensorflow.slicing import read_strided_slice
from jaxcnn.zoo.graphs.tensorflow.table import SourceNode

__all__ = ["FOLDS", "LARGEST_CONSTANT", "check_size", "numbers", "tidy"]

LARGEST_CONSTANT = 1 << 26
"""Numbers that a constant may have that is computed of others."""

Fold = Callable[..., Any]


def tidy(array: Any) -> np.ndarray:
    """Converts a vector of sizes that are all known to integers, and others to arrays of Python's objects."""
    array = np.asarray(array)
    if array.dtype != object:
        return array
    items = [simplify(item) if isinstance(item, SymbolicSize) else item for item in array.reshape(-1).tolist()]
    if any(isinstance(item, SymbolicSize) for item in items):
        result = np.empty(len(items), object)
        result[:] = items
        return result.reshape(array.shape)
    kind = np.float32 if any(isinstance(item, float) for item in items) else np.int64
    return np.asarray(items, kind).reshape(array.shape)


def check_size(shape: Sequence[int]) -> None:
    """Checks that a constant is of a size that real ones have."""
    if any(size < 0 for size in shape) or len(shape) > 16 or math.prod(shape) > LARGEST_CONSTANT:
        raise ValueError(f"a constant would have the shape {tuple(shape)}.")


def numbers(array: np.ndarray, what: str = "an input") -> list[int]:
    """Returns the whole numbers of a constant as a list."""
    if array.dtype == object or array.dtype.kind not in "iu" or array.ndim > 1 or array.size > 64:
        raise ValueError(f"{what} must be a few whole numbers, got {array.dtype} {array.shape}.")
    return [int(one) for one in array.reshape(-1)]


def _mixed(function: Callable[..., Any]) -> Fold:
    """Makes a function of several arrays that also takes sizes that are not known."""

    def fold(node: SourceNode, *arrays: np.ndarray) -> np.ndarray:
        check_size(np.broadcast_shapes(*(array.shape for array in arrays)))
        if any(array.dtype == object for array in arrays):
            return np.asarray(function(*(array.astype(object) for array in arrays)))
        with np.errstate(all="ignore"):
            result = np.asarray(function(*arrays))
        floating = arrays[0].dtype.kind == "f" or arrays[0].dtype == ml_dtypes.bfloat16
        return result.astype(arrays[0].dtype) if floating and result.dtype.kind == "f" else result

    return fold


def _divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a // b if a.dtype.kind in "iuO" else a / b


def _maximum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.maximum(a, b)


def _cast(node: SourceNode, x: np.ndarray) -> np.ndarray:
    if x.dtype == object:
        return x
    name = node.text("DstT", "float32")
    return x.astype(ml_dtypes.bfloat16 if name == "bfloat16" else np.dtype(name.removeprefix("q")))


def _reduce(function: Callable[..., Any]) -> Fold:
    def fold(node: SourceNode, x: np.ndarray, axes: np.ndarray) -> np.ndarray:
        keep = node.flag("keep_dims", False)
        return np.asarray(function(x, axis=tuple(numbers(axes)), keepdims=keep))

    return fold


def _concat(node: SourceNode, *arrays: np.ndarray) -> np.ndarray:
    *parts, axis = (*arrays[1:], arrays[0]) if node.op == "Concat" else arrays
    kept = [part for part in parts if part.shape != (0,) or len(parts) == 1] or parts[:1]
    if any(part.dtype == object for part in kept):
        kept = [part.astype(object) for part in kept]
    check_size((sum(part.size for part in kept),))
    return np.concatenate(kept, numbers(axis)[0])


def _pack(node: SourceNode, *arrays: np.ndarray) -> np.ndarray:
    if any(array.dtype == object for array in arrays):
        arrays = tuple(array.astype(object) for array in arrays)
    return np.stack(arrays, node.integer("axis", 0))


def _fill(node: SourceNode, dims: np.ndarray, value: np.ndarray) -> np.ndarray:
    shape = numbers(dims, "dims")
    check_size(shape)
    return np.full(shape, value[()])


def _range(node: SourceNode, start: np.ndarray, limit: np.ndarray, delta: np.ndarray) -> np.ndarray:
    first, last, step = (one.item() for one in (start, limit, delta))
    check_size((max(0, math.ceil((last - first) / step)),))
    return np.arange(first, last, step).astype(start.dtype)


def _reshape(node: SourceNode, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    return x.reshape(numbers(shape, "the shape"))


def _expand(node: SourceNode, x: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return np.expand_dims(x, numbers(axis)[0])


def _squeeze(node: SourceNode, x: np.ndarray) -> np.ndarray:
    axes = node.integers("squeeze_dims", node.integers("axis"))
    return np.squeeze(x, tuple(axes) if axes else None)


def _strided_slice(node: SourceNode, x: np.ndarray, *parts: np.ndarray) -> np.ndarray:
    return np.asarray(x[read_strided_slice(node, x.ndim, *(numbers(part) for part in parts)).index])


def _slice(node: SourceNode, x: np.ndarray, begin: np.ndarray, size: np.ndarray) -> np.ndarray:
    pairs = zip(numbers(begin), numbers(size), strict=True)
    return x[tuple(slice(at, None if count == -1 else at + count) for at, count in pairs)]


def _gather(node: SourceNode, x: np.ndarray, indices: np.ndarray, *axis: np.ndarray) -> np.ndarray:
    return np.asarray(np.take(x, indices, numbers(axis[0])[0] if axis else 0))


def _transpose(node: SourceNode, x: np.ndarray, axes: np.ndarray) -> np.ndarray:
    return x.transpose(numbers(axes))


def _tile(node: SourceNode, x: np.ndarray, repeats: np.ndarray) -> np.ndarray:
    check_size([n * count for n, count in zip(x.shape, numbers(repeats), strict=True)])
    return np.tile(x, numbers(repeats))


def _pad(node: SourceNode, x: np.ndarray, padding: np.ndarray, *value: np.ndarray) -> np.ndarray:
    check_size([n + int(low) + int(high) for n, (low, high) in zip(x.shape, padding.tolist(), strict=True)])
    return np.pad(x, padding.tolist(), constant_values=value[0].item() if value else 0)


def _broadcast(node: SourceNode, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
    check_size(numbers(shape))
    return np.broadcast_to(x, numbers(shape))


def _matmul(node: SourceNode, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a = a.T if node.flag("transpose_a", False) else a
    return a @ (b.T if node.flag("transpose_b", False) else b)


def _select(node: SourceNode, condition: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    check_size(np.broadcast_shapes(condition.shape, a.shape, b.shape))
    if condition.ndim == 0:
        return a if condition else b
    return np.where(condition, a, b)


def _split(node: SourceNode, axis: np.ndarray, x: np.ndarray) -> list[np.ndarray]:
    return np.split(x, node.integer("num_split", 1), numbers(axis)[0])


def _split_sizes(node: SourceNode, x: np.ndarray, sizes: np.ndarray, axis: np.ndarray) -> list[np.ndarray]:
    counts = numbers(sizes)
    if -1 in counts:
        at = counts.index(-1)
        counts[at] = x.shape[numbers(axis)[0]] - sum(counts) - 1
    return np.split(x, np.cumsum(counts)[:-1].tolist(), numbers(axis)[0])


def _unpack(node: SourceNode, x: np.ndarray) -> list[np.ndarray]:
    axis = node.integer("axis", 0)
    check_size((x.shape[axis],))
    return [np.asarray(np.take(x, at, axis)) for at in range(min(x.shape[axis], 4096))]


def _mod(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a % b


FOLDS: dict[str, Fold] = {
    "Add": _mixed(lambda a, b: a + b),
    "AddV2": _mixed(lambda a, b: a + b),
    "AddN": _mixed(lambda *arrays: sum(arrays[1:], arrays[0])),
    "Sub": _mixed(lambda a, b: a - b),
    "Mul": _mixed(lambda a, b: a * b),
    "RealDiv": _mixed(_divide),
    "Div": _mixed(_divide),
    "FloorDiv": _mixed(lambda a, b: a // b),
    "TruncateDiv": _mixed(lambda a, b: a // b),
    "FloorMod": _mixed(_mod),
    "Mod": _mixed(_mod),
    "Maximum": _mixed(_maximum),
    "Minimum": _mixed(lambda a, b: np.minimum(a, b)),
    "Pow": _mixed(np.power),
    "SquaredDifference": _mixed(lambda a, b: (a - b) ** 2),
    "Neg": _mixed(lambda a: -a),
    "Abs": _mixed(np.abs),
    "Exp": _mixed(np.exp),
    "Log": _mixed(np.log),
    "Sqrt": _mixed(np.sqrt),
    "Rsqrt": _mixed(lambda a: 1 / np.sqrt(a)),
    "Square": _mixed(np.square),
    "Reciprocal": _mixed(lambda a: 1 / a),
    "Inv": _mixed(lambda a: 1 / a),
    "Floor": _mixed(np.floor),
    "Ceil": _mixed(np.ceil),
    "Round": _mixed(np.round),
    "Sign": _mixed(np.sign),
    "Tanh": _mixed(np.tanh),
    "Sigmoid": _mixed(lambda a: 1 / (1 + np.exp(-a))),
    "Relu": _mixed(lambda a: np.maximum(a, 0)),
    "Softplus": _mixed(lambda a: np.logaddexp(a, 0)),
    "Equal": _mixed(lambda a, b: a == b),
    "NotEqual": _mixed(lambda a, b: a != b),
    "Greater": _mixed(lambda a, b: a > b),
    "GreaterEqual": _mixed(lambda a, b: a >= b),
    "Less": _mixed(lambda a, b: a < b),
    "LessEqual": _mixed(lambda a, b: a <= b),
    "LogicalAnd": _mixed(np.logical_and),
    "LogicalOr": _mixed(np.logical_or),
    "LogicalNot": _mixed(np.logical_not),
    "Cast": _cast,
    "Sum": _reduce(np.sum),
    "Prod": _reduce(np.prod),
    "Mean": _reduce(np.mean),
    "Max": _reduce(np.max),
    "Min": _reduce(np.min),
    "All": _reduce(np.all),
    "Any": _reduce(np.any),
    "Concat": _concat,
    "ConcatV2": _concat,
    "Pack": _pack,
    "Fill": _fill,
    "Range": _range,
    "Reshape": _reshape,
    "ExpandDims": _expand,
    "Squeeze": _squeeze,
    "StridedSlice": _strided_slice,
    "Slice": _slice,
    "Gather": _gather,
    "GatherV2": _gather,
    "Transpose": _transpose,
    "Tile": _tile,
    "Pad": _pad,
    "PadV2": _pad,
    "BroadcastTo": _broadcast,
    "MatMul": _matmul,
    "Select": _select,
    "SelectV2": _select,
    "Split": _split,
    "SplitV": _split_sizes,
    "Unpack": _unpack,
    "Shape": lambda node, x: np.asarray(x.shape, np.int64),
    "Rank": lambda node, x: np.asarray(x.ndim, np.int64),
    "Size": lambda node, x: np.asarray(x.size, np.int64),
    "ZerosLike": lambda node, x: np.zeros_like(x),
    "OnesLike": lambda node, x: np.ones_like(x),
    "ReverseV2": lambda node, x, axes: np.flip(x, tuple(numbers(axes))),
    "ClipByValue": _mixed(lambda x, low, high: np.clip(x, low, high)),
    "Dequantize": dequantize,
    "FakeQuantWithMinMaxVars": quantize_fake,
    "FakeQuantWithMinMaxVarsPerChannel": quantize_fake,
    "FakeQuantWithMinMaxArgs": quantize_fake,
}
"""Operation to the function that evaluates it: it takes the node and arrays."""
