"""Where a network begins: placeholders, and the values behind decoders of images."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcnn.zoo.graphs.tensorflow.context import Context
from jaxcnn.zoo.graphs.tensorflow.references import parse_reference
from jaxcnn.zoo.graphs.tensorflow.scopes import Scope
from jaxcnn.zoo.graphs.tensorflow.sizes import BATCH, Dimension, SymbolicSize
from jaxcnn.zoo.graphs.tensorflow.table import SourceNode
from jaxcnn.zoo.graphs.tensorflow.values import FoldedConstant, GraphValue, Result, UnsupportedNode
from jaxcnn.zoo.records.weight_records import Preprocessing

__all__ = ["STARTING", "start"]

_DECODERS = ("DecodeJpeg", "DecodePng", "DecodeImage", "DecodeBmp", "DecodeGif", "DecodeAndCropJpeg")
STARTING = ("Placeholder", "PlaceholderV2", *_DECODERS)
"""Operations whose inputs are not evaluated."""

_KEEPING = re.compile(r"keep", re.IGNORECASE)
_DROPPING = re.compile(r"drop", re.IGNORECASE)
_MAPS = ("Conv2D", "DepthwiseConv2dNative", "MaxPool", "AvgPool", "FusedBatchNorm", "FusedBatchNormV3", "BiasAdd")
_THROUGH = ("Identity", "Cast", "Sub", "Mul", "Add", "AddV2", "RealDiv", "Div", "Pad", "StopGradient", "Relu", "Split")
_THROUGH += (
    "Concat",
    "ConcatV2",
    "MaxPool",
    "AvgPool",
    "LRN",
    "PlaceholderWithDefault",
    "ExpandDims",
    "ResizeBilinear",
)
_MAX_SEARCHED = 2000
_IMAGE_CHANNELS = (1, 3, 4)


def start(ctx: Context, scope: Scope, node: SourceNode, raw: dict[str, Any]) -> Result:
    """Adds an input of the network, or decides a switch of training.

    Args:
        ctx: The context.
        scope: The nodes around.
        node: The node.
        raw: The node as the file has it.

    Returns:
        The input, or a constant.
    """
    if node.op in _DECODERS:
        return _start_decoded(ctx, scope, node, raw)
    dtype = raw["attributes"].get("dtype", "float32")
    shape = raw["attributes"].get("shape")
    if dtype in ("string", "resource", "variant"):
        raise UnsupportedNode(f"an input of the dtype {dtype}")
    if dtype == "bool":
        ctx.builder.note(f"The placeholder {node.name!r} is false, as in inference.")
        return FoldedConstant(np.asarray(False), op=node.op)
    last = node.name.rpartition("/")[2]
    if not shape and dtype.startswith("float") and (_KEEPING.search(last) or _DROPPING.search(last)):
        number = 1.0 if _KEEPING.search(last) else 0.0
        ctx.builder.note(f"The placeholder {node.name!r} is {number:g}, as in inference.")
        return FoldedConstant(np.asarray(number, np.float32), op=node.op)
    name = ctx.input_names.get(raw["name"], node.name)
    sizes = shape if shape else _guess_shape(scope, raw["name"])
    if sizes is None and shape is None:
        raise UnsupportedNode("an unknown shape")
    sizes = tuple(sizes or ())
    return _add(ctx, name, sizes, dtype, len(sizes) == 4 and _is_channels_first(ctx, scope, raw["name"], sizes))


def _add(ctx: Context, name: str, shape: Sequence[int], dtype: str, first: bool) -> GraphValue:
    """Adds an input of TensorFlow's shape, of which sizes below 0 are unknown."""
    if any(size == 0 or size > 1 << 24 for size in shape) or len(shape) > 8:
        raise ValueError(f"it has the shape {shape}.")
    single = not shape or (len(shape) == 1 and shape[0] > 1) or (len(shape) == 3 and _is_single_image(shape))
    dims: list[Dimension] = [
        size if size > 0 else SymbolicSize.symbol(f"{name}.{axis}") for axis, size in enumerate(shape)
    ]
    if single:
        return ctx.add_input(name, GraphValue(name, tuple(dims), "none", dtype=dtype))
    if shape[0] > 0:
        ctx.fixed_batch = shape[0]
    dims[0] = BATCH
    return ctx.add_input(name, GraphValue(name, tuple(dims), "leading", first, dtype))


def _is_channels_first(ctx: Context, scope: Scope, name: str, shape: tuple[int, ...]) -> bool:
    """Decides the order of an image by the first operation that has one; in a SavedModel by all and the shape."""
    waiting, seen = [name], {name}
    while waiting and len(seen) < _MAX_SEARCHED:
        current = waiting.pop(0)
        for reader in scope.readers.get(current, ()):
            node = scope.nodes[reader]
            form = node["attributes"].get("data_format")
            if isinstance(form, str):
                return form.startswith("NC")
            if node["op"] == "Transpose" and len(set(scope.readers[current])) == 1:
                return shape[1] in _IMAGE_CHANNELS and shape[3] not in _IMAGE_CHANNELS
            if node["op"] in ctx.calls:
                return ctx.any_first and shape[1] in _IMAGE_CHANNELS and shape[3] not in _IMAGE_CHANNELS
            if node["op"] in _THROUGH and reader not in seen:
                seen.add(reader)
                waiting.append(reader)
    return False


def _is_single_image(shape: Sequence[int]) -> bool:
    """Tests whether a shape of three axes is (h, w, c), not (batch, n, c)."""
    return shape[2] in _IMAGE_CHANNELS and shape[0] != 1 and (shape[0] > 0 or shape[1] < 0)


def _start_decoded(ctx: Context, scope: Scope, node: SourceNode, raw: dict[str, Any]) -> GraphValue:
    """Adds the decoded image as the input."""
    channels = node.integer("channels", 0) or 3
    if channels not in _IMAGE_CHANNELS:
        raise ValueError(f"it decodes {channels} channels.")
    readers = [scope.nodes[name] for name in scope.readers.get(raw["name"], ())]
    casts = [one["name"] for one in readers if one["op"] == "Cast"]
    name = scope.prefix + casts[0] if len(casts) == 1 else node.name
    ctx.builder.note(f"The network begins behind {node.name!r}: its input is the decoded image, RGB from 0 to 255.")
    ctx.preprocessing = Preprocessing(color_order="RGB", value_range=(0, 255), mean=(0.0,), std=(1.0,))
    dims = (SymbolicSize.symbol(f"{name}.0"), SymbolicSize.symbol(f"{name}.1"), channels)
    return ctx.add_input(name, GraphValue(name, dims, "none"))


def _guess_shape(scope: Scope, name: str) -> tuple[int, ...] | None:
    """Guesses the shape of a placeholder without one from the first operations that read it."""
    waiting, seen, maps = [name], {name}, False
    while waiting and len(seen) < _MAX_SEARCHED:
        current = waiting.pop(0)
        for reader in scope.readers.get(current, ()):
            node = scope.nodes[reader]
            maps = maps or node["op"] in _MAPS
            if node["op"] in ("Conv2D", "DepthwiseConv2dNative", "MatMul") and len(node["inputs"]) > 1:
                shape = _constant_shape(scope, node["inputs"][1])
                if node["op"] == "MatMul" and shape is not None and len(shape) == 2:
                    turned = node["attributes"].get("transpose_b") is True
                    return (-1, shape[1 if turned else 0])
                if shape is not None and len(shape) == 4:
                    first = node["attributes"].get("data_format") == "NCHW"
                    return (-1, shape[2], -1, -1) if first else (-1, -1, -1, shape[2])
            if node["op"] in _THROUGH and reader not in seen:
                seen.add(reader)
                waiting.append(reader)
    return None


def _constant_shape(scope: Scope, source: str) -> tuple[int, ...] | None:
    """Returns the shape of a constant behind operations that pass it on."""
    name = parse_reference(source).node
    for _ in range(16):
        node = scope.nodes.get(name)
        if node is None:
            return None
        if node["op"] == "Const":
            return scope.shapes.get(name)
        if node["op"] not in ("Identity", "Dequantize", "Cast", "ReadVariableOp") or not node["inputs"]:
            shape = node["attributes"].get("shape")
            return shape if node["op"] in ("VarHandleOp", "VariableV2", "Variable") else None
        name = parse_reference(node["inputs"][0]).node
    return None
