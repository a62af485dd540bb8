"""Operators of TensorFlow Lite that compute each number on its own, arithmetic, and reductions."""

from collections.abc import Mapping

import numpy as np

from jaxcnn.zoo.graphs.tflite.operators import FUSED, Handler, Held, Operator
from jaxcnn.zoo.graphs.tflite.values import Constant, Value

__all__ = ["NUMBERS"]

_UNARY: dict[str, str] = {
    "ABS": "abs",
    "CEIL": "ceil",
    "COS": "cos",
    "ELU": "elu",
    "EXP": "exp",
    "FLOOR": "floor",
    "HARD_SWISH": "hard_swish",
    "LOG": "log",
    "LOGISTIC": "sigmoid",
    "NEG": "negative",
    "ROUND": "round",
    "RSQRT": "rsqrt",
    "SIGN": "sign",
    "SIN": "sin",
    "SQRT": "sqrt",
    "SQUARE": "square",
}
_BINARY: dict[str, str] = {
    "ADD": "add",
    "ADD_N": "add",
    "DIV": "divide",
    "FLOOR_DIV": "floor_divide",
    "FLOOR_MOD": "floor_mod",
    "GREATER": "greater",
    "GREATER_EQUAL": "greater_equal",
    "LESS": "less",
    "LESS_EQUAL": "less_equal",
    "MAXIMUM": "maximum",
    "MINIMUM": "minimum",
    "MUL": "multiply",
    "POW": "pow",
    "SQUARED_DIFFERENCE": "squared_difference",
    "SUB": "subtract",
}
_REDUCTIONS: dict[str, str] = {
    "MEAN": "reduce_mean",
    "REDUCE_MAX": "reduce_max",
    "REDUCE_MIN": "reduce_min",
    "REDUCE_PROD": "reduce_prod",
    "SUM": "reduce_sum",
}


def _map(step: Operator) -> Value:
    return step.follow(_UNARY[step.op], step.x)


def _rectify(step: Operator) -> Value:
    op, options = FUSED[step.op]
    return step.follow(op, step.x, **options)


def _rectify_leaky(step: Operator) -> Value:
    return step.follow("relu", step.x, negative_slope=float(step.option("alpha", 0.0)))


def _gelu(step: Operator) -> Value:
    return step.follow("gelu", step.x, approximate=bool(step.option("approximate", False)))


def _rectify_by_parameter(step: Operator) -> Value:
    x, slope, one = step.x, step.constant(1), step.stored(1)
    slope = _drop_batch(slope, x)
    slope = slope.reshape(-1) if slope.size in (1, slope.shape[-1] if slope.ndim else 1) else slope
    path = step.state.add_array((one.name, "slope"), step.layer_of(one), "slope", slope, "params")
    return step.add("prelu", [x], parameters={"slope": path}, batch=x.batch, block=x.block)


def _drop_batch(array: np.ndarray, x: Value) -> np.ndarray:
    """Removes the axis of a constant that lies on the batch of a value, with which it is broadcast."""
    if x.batch is None:
        return array
    axis = x.batch - x.rank + array.ndim
    if axis < 0:
        return array
    if array.shape[axis] != 1:
        raise ValueError(f"its constant of shape {array.shape} has a number per example of the batch.")
    return array.reshape(array.shape[:axis] + array.shape[axis + 1 :])


def _compute(step: Operator) -> Value:
    op = _BINARY[step.op]
    values = [one for one in step.inputs if isinstance(one, Value)]
    rank = max(
        len(one.array.shape) if isinstance(one, Constant) else one.rank for one in step.inputs if one is not None
    )
    places = {one.batch - one.rank for one in values if one.batch is not None}
    if len(places) > 1:
        raise ValueError("its inputs have the batch on different axes.")
    batch = rank + places.pop() if places else None
    block = {one.block for one in values}
    if len(block) > 1:
        raise ValueError("between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND it is not supported.")
    options = {"batch": batch, "block": block.pop()}
    constants = [at for at, one in enumerate(step.inputs) if isinstance(one, Constant)]
    if not constants or len(step.inputs) > 2:
        inputs = [step.value(at) for at in range(len(step.inputs))]
        return step.activate(step.add(op, inputs, **options))
    x, one, array = values[0], step.stored(constants[0]), step.constant(constants[0])
    array = _drop_batch(array, x)
    settings: dict[str, object] = {"constant_first": True} if constants[0] == 0 else {}
    if array.size == 1 and array.ndim <= len(x.shape):
        number = array.reshape(-1)[0].item()
        return step.activate(step.add(op, [x], options=settings | {"value": number}, **options))
    if options["block"] is not None and any(size != 1 for size in array.shape[:-1]):
        raise ValueError("between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND its constant must be one per channel.")
    vector = array.size == array.shape[-1] and np.issubdtype(array.dtype, np.floating)
    if vector and array.ndim <= len(x.shape):
        array = array.reshape(-1)
    # Behind a layer one number per channel is a bias or a scale, which can be trained.
    trained = vector and x.weighted and step.op in ("ADD", "MUL", "SUB", "DIV")
    key, layer = (one.name, f"constant:{array.shape}"), step.layer_of(one)
    path = step.state.add_array(key, layer, "constant", array, "params" if trained else "constants")
    return step.activate(step.add(op, [x], options=settings, parameters={"constant": path}, **options))


def _reduce(step: Operator) -> Value:
    x, keep = step.x, bool(step.option("keep_dims", False))
    axes = sorted({x.place(axis) for axis in step.integers(1)})
    if x.batch in axes and step.state.batch != 1:
        raise ValueError("it reduces the batch.")
    inner = tuple(x.axis(axis) for axis in axes if axis != x.batch)
    batch = x.batch
    if batch is not None and not keep:
        batch = None if batch in axes else batch - sum(axis < batch for axis in axes)
    if not inner:
        return Value(x.name, x.shape, x.dtype, batch, x.block, x.weighted)
    if inner == (0, 1) and x.rank == 4 and x.batch == 0 and step.op in ("MEAN", "REDUCE_MAX"):
        op = "global_avg_pool" if step.op == "MEAN" else "global_max_pool"
        return step.add(op, [x], options={"keepdims": keep}, batch=batch)
    return step.add(_REDUCTIONS[step.op], [x], options={"axes": inner, "keepdims": keep}, batch=batch)


def _find_largest(step: Operator) -> Value:
    x = step.x
    axis = x.place(step.integer(1))
    batch = None if x.batch is None else x.batch - (axis < x.batch)
    smallest = step.op == "ARG_MIN"
    y = step.add("negative", [x], batch=x.batch, name=f"{step.name}/negative") if smallest else x
    return step.add("argmax", [y], options={"axis": x.axis(axis)}, batch=batch)


def _cast(step: Operator) -> Value:
    x, dtype = step.x, step.dtypes[0]
    small = {"int64": "int32", "uint64": "uint32", "float64": "float32"}.get(dtype, dtype)
    kinds = ("float16", "float32", "int32", "uint32", "int8", "uint8", "int16", "uint16", "bool")
    if small not in kinds:
        raise ValueError(f"the dtype {dtype} is not supported.")
    floating = small.startswith("float")
    if small == x.dtype or (floating and x.dtype.startswith("float")):
        return x
    return step.follow("cast", x, dtype="float32" if floating else small)


def _pass(step: Operator) -> Held:
    return step.held(0)


def _quantize_like_training(step: Operator) -> Value:
    """Rounds as ``tf.quantization.fake_quant_with_min_max_args`` does, which moves the range so that it holds 0."""
    low, high = float(step.option("min", 0.0)), float(step.option("max", 0.0))
    bits = int(step.option("num_bits", 8))
    if not (2 <= bits <= 16 and low < high and low <= 0 <= high):
        raise ValueError(f"its range must hold 0 and have 2 to 16 bits, got [{low}, {high}] and {bits}.")
    first, last = (1 if step.option("narrow_range") else 0), 2**bits - 1
    scale = (high - low) / (last - first)
    zero = min(max(round(first - low / scale), first), last)
    options = {"minimum": (first - zero) * scale, "maximum": (last - zero) * scale, "levels": last - first + 1}
    return step.follow("quantize", step.x, **options)


NUMBERS: Mapping[str, Handler] = {
    **dict.fromkeys(_UNARY, _map),
    **dict.fromkeys(_BINARY, _compute),
    **dict.fromkeys(_REDUCTIONS, _reduce),
    **dict.fromkeys(FUSED, _rectify),
    "ARG_MAX": _find_largest,
    "ARG_MIN": _find_largest,
    "CAST": _cast,
    "DEQUANTIZE": _pass,
    "FAKE_QUANT": _quantize_like_training,
    "GELU": _gelu,
    "LEAKY_RELU": _rectify_leaky,
    "PRELU": _rectify_by_parameter,
    "QUANTIZE": _pass,
}
"""Operator to the function that imports it."""
