"""Functions that Keras models call: operations of Keras 3, and TensorFlow's in layers of Keras 2."""

import functools
import json
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from jaxcnn.zoo.graphs.keras.activations import apply_function, is_function
from jaxcnn.zoo.graphs.keras.images import resize
from jaxcnn.zoo.graphs.keras.layer_call import LayerCall, LayerValue, UnknownLayer
from jaxcnn.zoo.graphs.keras.merging import arrange, concatenate
from jaxcnn.zoo.graphs.keras.options import LARGEST, find_constant, is_integer
from jaxcnn.zoo.graphs.keras.slicing import take_items

__all__ = ["call_function", "call_node", "call_operation"]

_MISSING = object()


def call_operation(call: LayerCall) -> LayerValue:
    """Adds an operation of Keras 3, whose class is its name: ``"TrueDivide"``."""
    return _call(call, re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", call.layer.kind).lower(), call.layer.kind)


def call_function(call: LayerCall) -> LayerValue:
    """Adds a function of TensorFlow in a layer of Keras 2: ``"math.multiply"``."""
    name = call.options.get("function")
    if not isinstance(name, str):
        raise call.options.wrong("function", "the name of a function")
    return _call(call, name.split(".")[-1].lower(), f"{call.layer.kind} {name[:60]}")


def call_node(call: LayerCall) -> LayerValue:
    """Adds a node of TensorFlow in a layer of the first Keras of TensorFlow 2."""
    node = call.options.get("node_def")
    try:
        node = json.loads(node) if isinstance(node, str) else node
    except (ValueError, RecursionError):
        node = None
    constants = call.options.get("constants", {})
    if not isinstance(node, Mapping) or not isinstance(node.get("op"), str) or not isinstance(constants, Mapping):
        raise call.options.wrong("node_def", "a node of TensorFlow")
    fixed = {int(key): value for key, value in constants.items() if str(key).isdecimal() and len(str(key)) < 4}
    values = iter(call.inputs)
    call.args = [fixed[i] if i in fixed else next(values, None) for i in range(len(fixed) + len(call.inputs))]
    name = _NODES.get(node["op"])
    if name is None:
        raise UnknownLayer(f"TensorFlowOpLayer {node['op'][:40]}")
    attributes = node.get("attr")
    keep = attributes.get("keep_dims", {}) if isinstance(attributes, Mapping) else {}
    call.kwargs = {"keepdims": bool(keep.get("b", False)) if isinstance(keep, Mapping) else False}
    return _call(call, name, f"TensorFlowOpLayer {node['op']}")


_NODES = {
    **{name: name.lower() for name in ("Relu", "Relu6", "Sigmoid", "Tanh", "Softmax", "Elu", "Selu", "Softplus")},
    **{name: name.lower() for name in ("Maximum", "Minimum", "Sub", "Mul", "Mean", "Max", "Min", "Sum", "Reshape")},
    **{name: name.lower() for name in ("Identity", "Square", "Sqrt", "Rsqrt", "Exp", "Log", "Neg", "Abs", "Transpose")},
    **{"AddV2": "add", "Add": "add", "BiasAdd": "add", "RealDiv": "truediv", "Pow": "pow", "Cast": "cast"},
}


def _argument(call: LayerCall, place: int, *names: str, default: Any = _MISSING) -> Any:
    """Returns an argument by its place, or by the names that frameworks and versions give it."""
    if place < len(call.args):
        return call.args[place]
    for holder in (call.kwargs, call.layer.config):
        for name in names:
            if name in holder:
                return holder[name]
    if default is _MISSING:
        raise call.error(f"{names[0]} is missing.")
    return default


_IMAGES = ("x", "inputs", "input", "input_tensor", "images", "image", "features", "tensor", "a", "logits", "value")


def _image(call: LayerCall, place: int = 0) -> LayerValue:
    value = _argument(
        call, place, "x", "inputs", "input", "input_tensor", "images", "features", "tensor", "a", "logits"
    )
    if not isinstance(value, LayerValue):
        raise UnknownLayer(f"{call.layer.kind} of constants")
    return value


def _combine(call: LayerCall, *, op: str, swap: bool = False) -> LayerValue:
    """Adds arithmetic of two values, or of a value and a constant."""
    operands = [_argument(call, 0, "x", "x1", "a", "value"), _argument(call, 1, "y", "x2", "b", "bias")]
    operands = operands[::-1] if swap else operands
    values = [one for one in operands if isinstance(one, LayerValue)]
    if len(values) == 2:
        if len({one.rank for one in values}) > 1:
            raise UnknownLayer(f"{call.layer.kind} of tensors of different ranks")
        return call.add(op, *arrange(call, values))
    if not values:
        raise UnknownLayer(f"{call.layer.kind} of constants")
    (x,) = values
    constant = find_constant(operands[0] if operands[1] is x else operands[1])
    if constant is None or not 0 < constant.size <= LARGEST:
        raise call.error("an operand must be numbers.")
    first = operands[1] is x
    if constant.size == 1 and constant.ndim <= x.rank + 1:
        return call.add(op, x, value=float(constant.reshape(())), constant_first=first)
    x = call.source(x)
    if constant.ndim == x.rank + 1 and constant.shape[0] == 1:
        constant = constant[0]
    if constant.ndim > x.rank:
        raise UnknownLayer(f"{call.layer.kind} of a constant that has a batch")
    path = call.constant("constant", constant.astype(np.float32))
    return call.add(op, x, parameters={"constant": path}, constant_first=first)


def _apply(call: LayerCall, *, op: str) -> LayerValue:
    return call.add(op, _image(call))


def _activate(call: LayerCall, *, name: str) -> LayerValue:
    return apply_function(call, _image(call), name)


def _soften(call: LayerCall, *, op: str) -> LayerValue:
    x = _image(call)
    axis = _argument(call, 1, "axis", default=-1)
    return call.add(op, x, axis=call.axis(x, -1 if axis is None else axis))


def _leak(call: LayerCall) -> LayerValue:
    slope = find_constant(_argument(call, 1, "alpha", "negative_slope", default=0.2))
    if slope is None or slope.size != 1:
        raise call.error("the slope must be a number.")
    return call.add("relu", _image(call), negative_slope=float(slope.reshape(())))


def _gelu(call: LayerCall) -> LayerValue:
    return call.add("gelu", _image(call), approximate=bool(_argument(call, 1, "approximate", default=False)))


def _reduce(call: LayerCall, *, op: str) -> LayerValue:
    """Adds a reduction over axes other than the batch."""
    x = _image(call)
    axes = _argument(call, 1, "axis", default=None)
    if axes is None:
        raise UnknownLayer(f"{call.layer.kind} over the batch")
    found = call.axes(x, axes)
    keepdims = bool(_argument(call, 2, "keepdims", "keep_dims", default=False))
    if keepdims:
        return call.add(op, x, axes=found, keepdims=True)
    return call.add(op, x, rank=x.rank - len(found), moved=x.moved and -1 not in found, axes=found)


def _integers(call: LayerCall, value: Any, what: str, low: int = -(1 << 30)) -> list[int]:
    array = find_constant(value)
    listed = array.tolist() if array is not None and array.ndim == 1 else None
    if listed is None or not all(is_integer(one) and low <= one <= LARGEST for one in listed):
        raise UnknownLayer(f"{call.layer.kind} whose {what} is not a list of integers")
    return listed


def _reshape(call: LayerCall) -> LayerValue:
    x = call.source(_image(call))
    shape = _argument(call, 1, "newshape", "shape")
    shape = [-1 if one is None else one for one in shape] if isinstance(shape, list | tuple) else shape
    _, *rest = _integers(call, shape, "shape", -1) or [0]
    if len(rest) == 0 or rest.count(-1) > 1 or shape[0] != -1:
        raise UnknownLayer(f"{call.layer.kind} that changes the batch")
    return call.reshape(x, tuple(rest))


def _transpose(call: LayerCall) -> LayerValue:
    x = call.source(_image(call))
    axes = _integers(call, _argument(call, 1, "axes", "perm", default=None), "order")
    if sorted(axes) != list(range(x.rank + 1)) or axes[0] != 0:
        raise UnknownLayer(f"{call.layer.kind} that moves the batch")
    return call.permute(x, [axis - 1 for axis in axes[1:]])


def _concatenate(call: LayerCall) -> LayerValue:
    values = _argument(call, 0, "xs", "values", "arrays", "x")
    if not isinstance(values, list) or not values or not all(isinstance(one, LayerValue) for one in values):
        raise UnknownLayer(f"{call.layer.kind} of constants")
    axis = _argument(call, 1, "axis", default=-1)
    return concatenate(call, values, axis)


def _expand(call: LayerCall) -> LayerValue:
    x = call.source(_image(call))
    axis = _argument(call, 1, "axis")
    if not is_integer(axis) or not -x.rank - 1 <= axis <= x.rank + 1 or axis == 0:
        raise call.error(f"axis must be that of a new axis behind the batch, got {axis!r}.")
    return call.add("expand_dims", x, rank=x.rank + 1, axis=axis if axis < 0 else axis - x.rank - 2)


def _squeeze(call: LayerCall) -> LayerValue:
    x = call.source(_image(call))
    axes = _argument(call, 1, "axis", default=None)
    if axes in (None, []):
        raise UnknownLayer(f"{call.layer.kind} without an axis")
    found = call.axes(x, axes)
    return call.add("squeeze", x, rank=x.rank - len(found), axes=found)


def _clip(call: LayerCall) -> LayerValue:
    bounds = [
        find_constant(_argument(call, place, *names))
        for place, names in (
            (1, ("x_min", "clip_value_min", "min_value")),
            (2, ("x_max", "clip_value_max", "max_value")),
        )
    ]
    low, high = (None if one is None or one.size != 1 else float(one.reshape(())) for one in bounds)
    if low is None or high is None:
        raise call.error("the bounds must be numbers.")
    return call.add("clip", _image(call), minimum=low, maximum=high)


def _normalize(call: LayerCall) -> LayerValue:
    x = _image(call)
    return call.add("l2_normalize", x, axes=call.axes(x, _argument(call, 1, "axis", default=-1)), epsilon=1e-12)


def _move_blocks(call: LayerCall, *, op: str) -> LayerValue:
    x = call.images(_image(call), 2, "channels_last")
    block = _argument(call, 1, "block_size")
    if not is_integer(block) or not 1 < block <= 1024 or _argument(call, 3, "data_format", default="NHWC") != "NHWC":
        raise UnknownLayer(f"{call.layer.kind} with these options")
    return call.add(op, x, block=block)


def _resize(call: LayerCall) -> LayerValue:
    data_format = _argument(call, 5, "data_format", default=None)
    x = call.images(_image(call), 2, data_format if isinstance(data_format, str) else "channels_last")
    size = _integers(call, _argument(call, 1, "size"), "size", 1)
    special = ("antialias", "preserve_aspect_ratio", "crop_to_aspect_ratio", "pad_to_aspect_ratio")
    if len(size) != 2 or any(_argument(call, 9, name, default=False) for name in special):
        raise UnknownLayer(f"{call.layer.kind} with these options")
    return resize(call, x, tuple(size), _argument(call, 2, "interpolation", "method", default="bilinear"))


def _pad(call: LayerCall) -> LayerValue:
    x = call.source(_image(call))
    pairs = find_constant(_argument(call, 1, "pad_width", "paddings"))
    mode = str(_argument(call, 2, "mode", default="constant")).lower()
    value = find_constant(_argument(call, 3, "constant_values", default=0) or 0)
    if (
        pairs is None
        or pairs.shape != (x.rank + 1, 2)
        or pairs.dtype.kind not in "iu"
        or value is None
        or value.size > 1
    ):
        raise UnknownLayer(f"{call.layer.kind} with these options")
    listed = [(int(low), int(high)) for low, high in pairs]
    if listed[0] != (0, 0) or not all(0 <= n <= LARGEST for pair in listed for n in pair):
        raise UnknownLayer(f"{call.layer.kind} with these options")
    if mode not in ("constant", "reflect", "symmetric"):
        raise UnknownLayer(f"{call.layer.kind} of the mode {mode[:20]!r}")
    padding = (*((0, 0),) * x.lead, *listed[1:])
    return call.add("pad", x, padding=padding, mode=mode, value=float(value.reshape(())))


def _take(call: LayerCall) -> LayerValue:
    return take_items(call, _image(call), _argument(call, 1, "key", "slice_spec"))


Function = Callable[[LayerCall], LayerValue]

_BINARY = {
    "add": ("add", "radd", "bias_add", "iadd", "addv2"),
    "subtract": ("subtract", "sub"),
    "multiply": ("multiply", "mul", "rmul", "imul"),
    "divide": ("divide", "truediv", "true_divide", "div", "realdiv", "divide_no_nan"),
    "maximum": ("maximum",),
    "minimum": ("minimum",),
    "pow": ("pow", "power"),
    "floor_divide": ("floordiv", "floor_divide"),
    "squared_difference": ("squared_difference",),
}
_REVERSED = {"subtract": "rsub", "divide": "rtruediv", "pow": "rpow"}
_UNARY = {
    **{name: name for name in ("abs", "ceil", "cos", "exp", "floor", "identity", "log", "negative", "reciprocal")},
    **{name: name for name in ("round", "rsqrt", "sign", "sin", "sqrt", "square")},
    **{"neg": "negative", "absolute": "abs", "cast": "identity", "convert_to_tensor": "identity"},
    **{"stop_gradient": "identity", "copy": "identity"},
}
_REDUCED = {"mean": "mean", "sum": "sum", "max": "max", "amax": "max", "min": "min", "amin": "min", "prod": "prod"}
_REDUCED |= {"var": "variance", "reduce_variance": "variance"}

FUNCTIONS: dict[str, Function] = {
    **{name: functools.partial(_combine, op=op) for op, names in _BINARY.items() for name in names},
    **{name: functools.partial(_combine, op=op, swap=True) for op, name in _REVERSED.items()},
    **{name: functools.partial(_apply, op=op) for name, op in _UNARY.items()},
    **{name: functools.partial(_reduce, op=f"reduce_{op}") for name, op in _REDUCED.items()},
    **{f"reduce_{op}": functools.partial(_reduce, op=f"reduce_{op}") for op in ("mean", "sum", "max", "min", "prod")},
    "softmax": functools.partial(_soften, op="softmax"),
    "log_softmax": functools.partial(_soften, op="log_softmax"),
    "leaky_relu": _leak,
    "gelu": _gelu,
    "reshape": _reshape,
    "transpose": _transpose,
    "concat": _concatenate,
    "concatenate": _concatenate,
    "expand_dims": _expand,
    "squeeze": _squeeze,
    "clip": _clip,
    "clip_by_value": _clip,
    "normalize": _normalize,
    "l2_normalize": _normalize,
    "depth_to_space": functools.partial(_move_blocks, op="depth_to_space"),
    "space_to_depth": functools.partial(_move_blocks, op="space_to_depth"),
    "resize": _resize,
    "resize_images_v2": _resize,
    "pad": _pad,
    "get_item": _take,
    "getitem": _take,
}


def _call(call: LayerCall, name: str, what: str) -> LayerValue:
    function = FUNCTIONS.get(name)
    if function is not None:
        return function(call)
    if is_function(name):
        return _activate(call, name=name)
    raise UnknownLayer(what)
