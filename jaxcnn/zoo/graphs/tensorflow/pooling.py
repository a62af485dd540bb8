"""Pooling, resizing, and moving pixels to channels and back."""

import dataclasses
from typing import Any

from jaxcnn.zoo.graphs.tensorflow.context import Context
from jaxcnn.zoo.graphs.tensorflow.convolutions import pool_dims, read_window
from jaxcnn.zoo.graphs.tensorflow.folding import numbers
from jaxcnn.zoo.graphs.tensorflow.sizes import SymbolicSize, divide_exactly
from jaxcnn.zoo.graphs.tensorflow.table import SourceNode, handles
from jaxcnn.zoo.graphs.tensorflow.values import FoldedConstant, GraphValue, Result, UnsupportedNode

__all__: list[str] = []

_METHODS = {"ResizeBilinear": "bilinear", "ResizeNearestNeighbor": "nearest", "ResizeBicubic": "cubic"}


@handles("MaxPool", "MaxPoolV2", "AvgPool", "MaxPool3D", "AvgPool3D")
def _pool(ctx: Context, node: SourceNode, x: GraphValue, *settings: Result) -> GraphValue:
    spatial = 3 if node.op.endswith("3D") else 2
    attributes = dict(node.attributes)
    for key, constant in zip(("ksize", "strides"), settings, strict=False):  # MaxPoolV2 reads them
        if not isinstance(constant, FoldedConstant):
            raise UnsupportedNode(f"a {key} that is not constant")
        attributes[key] = numbers(constant.array, key)
    node = dataclasses.replace(node, attributes=attributes)
    how = read_window(node, spatial)
    sizes = node.integers("ksize")
    axes = range(2, spatial + 2) if how.first else range(1, spatial + 1)
    if len(sizes) != spatial + 2 or not all(0 < size < 1 << 16 for size in sizes):
        raise ValueError(f"ksize must be {spatial + 2} positive numbers, got {sizes}.")
    if any(sizes[axis] != 1 for axis in range(spatial + 2) if axis not in axes):
        raise UnsupportedNode("pooling of channels")
    window = tuple(sizes[axis] for axis in axes)
    x = ctx.as_image(x, node, how.first, spatial)
    inner = x.dims[2:] if x.first else x.dims[1:-1]
    spread = pool_dims(inner, window, how)
    dims = (*x.dims[:2], *spread) if x.first else (x.dims[0], *spread, x.dims[-1])
    options = {"window": window, "strides": how.strides, "padding": how.padding}
    return ctx.emit("max_pool" if "Max" in node.op else "avg_pool", node, [x], dims, options=options)


@handles(*_METHODS)
def _resize(ctx: Context, node: SourceNode, x: Result, size: Result) -> GraphValue:
    x = ctx.value(x)
    if x.batch == "none" and x.rank == 4 and x.dims[0] == 1:
        raise UnsupportedNode("resizing of a value without a batch")
    x = ctx.as_image(x, node, False)
    if not isinstance(size, FoldedConstant) or size.array.shape != (2,):
        raise UnsupportedNode("a size that is not known")
    align, half = node.flag("align_corners", False), node.flag("half_pixel_centers", False)
    options: dict[str, Any] = {"method": _METHODS[node.op]}
    options["corners"] = "align" if align else "half_pixel" if half else "asymmetric"
    if options["method"] == "nearest" and align:
        options["rounding"] = "round"
    if options["method"] == "cubic":
        options["steps"] = 1024
        options |= {} if half else {"cubic": -0.75, "edges": "repeated"}
    wanted = size.array.tolist()
    inputs = [x]
    if all(isinstance(one, int) for one in wanted):
        options["size"] = tuple(wanted)
    else:
        scales = [divide_exactly(one, old) for one, old in zip(wanted, x.held[:2], strict=True)]
        like = ctx.find_like(wanted)
        if all(isinstance(one, int) and 0 < one < 1 << 12 for one in scales):
            options["scale"] = tuple(float(one) for one in scales if isinstance(one, int))
        elif like is not None:
            inputs.append(like)
        else:
            raise UnsupportedNode("a size that is not known")
    y = ctx.emit("resize", node, inputs, (x.dims[0], *wanted, x.dims[3]), options=options, like=x)
    return dataclasses.replace(y, dtype="float32") if options["method"] != "nearest" else y


@handles("DepthToSpace", "SpaceToDepth")
def _move_blocks(ctx: Context, node: SourceNode, x: Result) -> GraphValue:
    first = node.text("data_format", "NHWC") == "NCHW"
    x = ctx.as_image(x, node, first)
    block = node.integer("block_size", 0)
    if not 1 < block < 1 << 12:
        raise ValueError(f"block_size must be at least 2, got {block}.")
    h, w, c = x.held
    deep = node.op == "SpaceToDepth"
    sizes = (h // block, w // block, c * block * block) if deep else (h * block, w * block, c // (block * block))
    known = [size for size in (h, w) if not isinstance(size, SymbolicSize)] if deep else [c]
    by = block if deep else block * block
    if any(isinstance(size, int) and size % by for size in known):
        raise ValueError(f"maps of shape {x.held} are no whole blocks of {block}.")
    dims = (x.dims[0], sizes[2], *sizes[:2]) if x.first else (x.dims[0], *sizes)
    return ctx.emit("space_to_depth" if deep else "depth_to_space", node, [x], dims, options={"block": block})
