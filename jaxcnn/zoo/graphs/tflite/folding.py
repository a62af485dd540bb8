"""Computes operators of TensorFlow Lite whose inputs are all constants, sizes of values among them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn.graphs.execution import run_node
from jaxcnn.graphs.nodes import GraphError
from jaxcnn.zoo.graphs.builder import GraphBuilder
from jaxcnn.zoo.graphs.tflite.operators import Handler, NetworkState, Operator
from jaxcnn.zoo.graphs.tflite.slices import parse_ranges
from jaxcnn.zoo.graphs.tflite.values import Constant, Size, Value, concrete

__all__ = ["fold"]

MAX_SIZE = 1 << 24
"""Numbers of one constant that is computed."""

Inputs = Sequence[np.ndarray]
Fold = Callable[[Operator, Inputs], np.ndarray | Sequence[np.ndarray]]


def fold(step: Operator, handler: Handler | None) -> list[Constant] | None:
    """Computes an operator whose inputs are all constants.

    Args:
        step: The operator.
        handler: What imports it where its inputs are values; it is used where no rule for constants is known.

    Returns:
        Its outputs; None if it cannot be computed.

    Raises:
        ValueError: If its inputs do not fit, or the result is absurdly large.
    """
    constants = [one for one in step.inputs if isinstance(one, Constant)]
    arrays = [one.array for one in constants]
    if step.op in ("DEQUANTIZE", "QUANTIZE"):
        array = arrays[0].astype(np.float32) if arrays[0].dtype == np.float16 else arrays[0]
        return [Constant(array, constants[0].name, constants[0].layout)]
    if any(one.layout is not None for one in constants):
        raise ValueError("it changes a kernel, which is not supported.")
    plain = step.option("activation", "NONE") == "NONE"
    if step.op in _FOLDS and plain:
        found = _FOLDS[step.op](step, arrays)
    elif handler is not None:
        found = _run(step, handler, constants)
    else:
        return None
    results = [_as_array(one) for one in ([found] if not isinstance(found, list) else found)]
    if len(results) != len(step.outputs):
        raise ValueError(f"it computes {len(results)} values for {len(step.outputs)} outputs.")
    if sum(one.size for one in results) > MAX_SIZE:
        raise ValueError(f"its constant result is larger than {MAX_SIZE:,} numbers.")
    return [Constant(array, name) for array, name in zip(results, step.outputs, strict=True)]


def _as_array(found: Any) -> np.ndarray:
    """Wraps a single number that an array of objects gives."""
    if isinstance(found, np.ndarray):
        return found
    result = np.empty((), object if isinstance(found, Size) else None)
    result[()] = found
    return result


def _run(step: Operator, handler: Handler, constants: Sequence[Constant]) -> list[np.ndarray]:
    """Imports the operator into a network of its own, and runs that."""
    builder = GraphBuilder(step.state.builder.path, {})
    state = NetworkState(builder, 1)
    inputs, arrays = [], {}
    for at, one in enumerate(step.inputs):
        if not isinstance(one, Constant) or at > 0:
            inputs.append(one)
            continue
        array = concrete(one.array)
        if array.dtype.kind not in "fiub":
            raise ValueError(f"a constant of dtype {array.dtype} is not supported.")
        array = array.astype(np.float32 if array.dtype.kind == "f" else np.int32)
        name = builder.add_input("x", array.shape)
        arrays[name] = jnp.asarray(array)
        inputs.append(Value(name, array.shape, array.dtype.name, None))
    result = handler(Operator(state, step.op, step.options, inputs, step.outputs, step.dtypes, step.input_names))
    outputs = [result] if isinstance(result, Value | Constant) else list(result)
    for node in builder.nodes:
        parameters = {role: jnp.asarray(builder.arrays[path]) for role, path in node.parameters.items()}
        read = [arrays[name] for name in node.inputs]
        try:
            written, _ = run_node(node, read, parameters, ())
        except GraphError as error:
            raise ValueError(error.reason) from error
        arrays.update(zip(node.outputs, written, strict=True))
    return [one.array if isinstance(one, Constant) else np.asarray(arrays[one.name]) for one in outputs]


def _as_numbers(array: np.ndarray) -> list[int]:
    return [int(one) for one in concrete(array).reshape(-1)]


def _elementwise(function: Callable[[Any, Any], Any]) -> Fold:
    def apply(step: Operator, inputs: Inputs) -> np.ndarray:
        a, b = inputs
        if math.prod(np.broadcast_shapes(a.shape, b.shape)) > MAX_SIZE:
            raise ValueError("its constant result is too large.")
        if object not in (a.dtype, b.dtype):
            return np.asarray(function(a, b)).astype(np.result_type(a, b))
        wide = [np.broadcast_to(one, np.broadcast_shapes(a.shape, b.shape)) for one in (a, b)]
        numbers = [[one if array.dtype == object else one.item() for one in array.reshape(-1)] for array in wide]
        result = np.empty(wide[0].size, object)
        result[:] = [function(x, y) for x, y in zip(*numbers, strict=True)]
        return result.reshape(wide[0].shape)

    return apply


def _divide(a: Any, b: Any) -> Any:
    if isinstance(a, np.ndarray) and np.issubdtype(np.result_type(a, b), np.floating):
        return a / b
    return a // b


def _slice_strided(step: Operator, inputs: Inputs) -> np.ndarray:
    x, begin, end, strides = inputs
    masks = {
        name: int(step.option(f"{name}_mask", 0)) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")
    }
    numbers = [_as_numbers(one) for one in (begin, end, strides)]
    ranges, dropped, added = parse_ranges(x.shape, numbers[0], numbers[1], numbers[2], masks)
    result = x[tuple(slice(*one) for one in ranges)]
    result = result.reshape([size for axis, size in enumerate(result.shape) if axis not in dropped])
    for axis in added:
        result = np.expand_dims(result, axis)
    return result


def _slice(step: Operator, inputs: Inputs) -> np.ndarray:
    x, begin, size = inputs
    ranges = zip(_as_numbers(begin), _as_numbers(size), x.shape, strict=True)
    return x[tuple(slice(first, total if count == -1 else first + count) for first, count, total in ranges)]


def _reshape(step: Operator, inputs: Inputs) -> np.ndarray:
    shape = _as_numbers(inputs[1]) if len(inputs) > 1 else [int(one) for one in step.option("new_shape", ())]
    return inputs[0].reshape(shape)


def _squeeze(step: Operator, inputs: Inputs) -> np.ndarray:
    axes = tuple(int(axis) for axis in step.option("squeeze_dims", ()))
    return np.squeeze(inputs[0], axes or None)


def _gather(step: Operator, inputs: Inputs) -> np.ndarray:
    if step.option("batch_dims", 0):
        raise ValueError("batch_dims is not supported.")
    return np.take(inputs[0], concrete(inputs[1]).astype(np.int64), int(step.option("axis", 0)))


def _split(step: Operator, inputs: Inputs) -> list[np.ndarray]:
    (axis,), x = _as_numbers(inputs[0]), inputs[1]
    return list(np.split(x, len(step.outputs), axis))


def _range(step: Operator, inputs: Inputs) -> np.ndarray:
    first, end, stride = (concrete(one).item() for one in inputs)
    if not stride or not math.isfinite((end - first) / stride) or (end - first) / stride > MAX_SIZE:
        raise ValueError(f"the range from {first} to {end} by {stride} is too long.")
    return np.arange(first, end, stride).astype(step.dtypes[0])


def _fill(step: Operator, inputs: Inputs) -> np.ndarray:
    shape = _as_numbers(inputs[0])
    if not 0 <= math.prod(shape) <= MAX_SIZE or min(shape, default=0) < 0:
        raise ValueError(f"an array of shape {shape} is too large.")
    return np.full(shape, concrete(inputs[1]))


def _tile(step: Operator, inputs: Inputs) -> np.ndarray:
    repeats = _as_numbers(inputs[1])
    if len(repeats) != inputs[0].ndim or min(repeats, default=1) < 1 or math.prod(repeats) > MAX_SIZE:
        raise ValueError(f"the repeats {repeats} do not fit.")
    if math.prod(repeats) * inputs[0].size > MAX_SIZE:
        raise ValueError("its constant result is too large.")
    return np.tile(inputs[0], repeats)


def _cast(step: Operator, inputs: Inputs) -> np.ndarray:
    return inputs[0] if inputs[0].dtype == object else inputs[0].astype(step.dtypes[0])


def _broadcast(step: Operator, inputs: Inputs) -> np.ndarray:
    shape = _as_numbers(inputs[1])
    if not 0 <= math.prod(shape) <= MAX_SIZE:
        raise ValueError(f"an array of shape {shape} is too large.")
    return np.broadcast_to(inputs[0], shape)


def _reduce(function: Callable[..., Any]) -> Fold:
    def apply(step: Operator, inputs: Inputs) -> np.ndarray:
        axes = tuple(_as_numbers(inputs[1]))
        found = function(inputs[0], axis=axes, keepdims=bool(step.option("keep_dims", False)))
        if isinstance(found, np.ndarray):
            return found.astype(inputs[0].dtype)
        return _as_array(found)

    return apply


def _concatenate(step: Operator, inputs: Inputs) -> np.ndarray:
    return np.concatenate(inputs, int(step.option("axis", 0)))


_FOLDS: Mapping[str, Fold] = {
    "ADD": _elementwise(lambda a, b: a + b),
    "BROADCAST_TO": _broadcast,
    "CAST": _cast,
    "CONCATENATION": _concatenate,
    "DIV": _elementwise(_divide),
    "EXPAND_DIMS": lambda step, inputs: np.expand_dims(inputs[0], _as_numbers(inputs[1])[0]),
    "FILL": _fill,
    "FLOOR_DIV": _elementwise(lambda a, b: a // b),
    "GATHER": _gather,
    "MAXIMUM": _elementwise(lambda a, b: np.maximum(a, b) if isinstance(a, np.ndarray) else a if a > b else b),
    "MINIMUM": _elementwise(lambda a, b: np.minimum(a, b) if isinstance(a, np.ndarray) else a if a < b else b),
    "MUL": _elementwise(lambda a, b: a * b),
    "PACK": lambda step, inputs: np.stack(inputs, int(step.option("axis", 0))),
    "RANGE": _range,
    "RANK": lambda step, inputs: np.array(inputs[0].ndim, np.int32),
    "REDUCE_PROD": _reduce(np.prod),
    "RESHAPE": _reshape,
    "SHAPE": lambda step, inputs: np.array(inputs[0].shape, np.int32),
    "SLICE": _slice,
    "SPLIT": _split,
    "SQUEEZE": _squeeze,
    "STRIDED_SLICE": _slice_strided,
    "SUB": _elementwise(lambda a, b: a - b),
    "SUM": _reduce(np.sum),
    "TILE": _tile,
    "TRANSPOSE": lambda step, inputs: inputs[0].transpose(_as_numbers(inputs[1])),
    "UNPACK": lambda step, inputs: list(np.moveaxis(inputs[0], int(step.option("axis", 0)), 0)),
}
"""Operators of sizes and other constants, to how they are computed."""
