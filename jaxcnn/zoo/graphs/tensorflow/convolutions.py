"""Convolutions, transposed ones, products with matrices, and the blocks by which TensorFlow dilates."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcnn.zoo.graphs.tensorflow.context import Context
from jaxcnn.zoo.graphs.tensorflow.folding import numbers
from jaxcnn.zoo.graphs.tensorflow.sizes import Dimension, SymbolicSize, divide_exactly, round_up
from jaxcnn.zoo.graphs.tensorflow.table import SourceNode, handles
from jaxcnn.zoo.graphs.tensorflow.values import Blocks, FoldedConstant, GraphValue, Result, UnsupportedNode

__all__ = ["Window", "add_convolution", "multiply", "pool_dims", "read_window"]


@dataclasses.dataclass(frozen=True)
class Window:
    """How a window moves over maps.

    Attributes:
        first: Whether channels come first.
        strides: Per spatial axis.
        dilation: Per spatial axis.
        padding: ``"SAME"``, ``"VALID"``, or pairs.
    """

    first: bool
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: str | tuple[tuple[int, int], ...]


def read_window(node: SourceNode, spatial: int) -> Window:
    """Reads strides, dilation, padding and order of a convolution or pooling.

    Args:
        node: The node.
        spatial: Number of spatial axes.

    Returns:
        How the window moves.

    Raises:
        ValueError: If a setting is impossible.
        Unsupported: If it moves along channels or batch.
    """
    form = node.text("data_format", "NHWC")
    if form not in ("NHWC", "NCHW", "NDHWC", "NCDHW"):
        raise UnsupportedNode(f"the order {form}")
    first = form[1] == "C"
    axes = range(2, spatial + 2) if first else range(1, spatial + 1)
    found = {}
    for key in ("strides", "dilations"):
        values = node.integers(key, [1] * (spatial + 2))
        if len(values) != spatial + 2 or not all(0 < one < 1 << 16 for one in values):
            raise ValueError(f"{key} must be {spatial + 2} positive numbers, got {values}.")
        if any(values[axis] != 1 for axis in range(spatial + 2) if axis not in axes):
            raise UnsupportedNode("windows that move along channels or the batch")
        found[key] = tuple(values[axis] for axis in axes)
    padding: Any = node.text("padding", "VALID")
    if padding == "EXPLICIT":
        pairs = node.integers("explicit_paddings")
        if len(pairs) != 2 * (spatial + 2) or not all(0 <= one < 1 << 16 for one in pairs):
            raise ValueError(f"explicit_paddings must be {2 * (spatial + 2)} numbers, got {pairs}.")
        padding = tuple((pairs[2 * axis], pairs[2 * axis + 1]) for axis in axes)
    elif padding not in ("SAME", "VALID"):
        raise ValueError(f"padding must be SAME, VALID or EXPLICIT, got {padding!r}.")
    return Window(first, found["strides"], found["dilations"], padding)


def pool_dims(sizes: Sequence[Dimension], window: Sequence[int], how: Window, padding: Any = None) -> list[Dimension]:
    """Computes the spatial size of the result."""
    result: list[Dimension] = []
    padding = how.padding if padding is None else padding
    for axis, size in enumerate(sizes):
        stride, width = how.strides[axis], how.dilation[axis] * (window[axis] - 1) + 1
        if padding == "SAME":
            result.append(round_up(size, stride))
            continue
        low, high = (0, 0) if padding == "VALID" else padding[axis]
        found = (size + low + high - width) // stride + 1
        if isinstance(found, int) and found < 1:
            raise ValueError(f"a window of {width} pixels does not fit into {size}.")
        result.append(found)
    return result


def _order(value: GraphValue, sizes: Sequence[Dimension], channels: Dimension) -> tuple[Dimension, ...]:
    """Returns TensorFlow's shape of maps."""
    return (value.dims[0], channels, *sizes) if value.first else (value.dims[0], *sizes, channels)


def _kernel(kernel: Result, spatial: int) -> FoldedConstant:
    if not isinstance(kernel, FoldedConstant):
        raise UnsupportedNode("a kernel that is not constant")
    if kernel.array.ndim != spatial + 2 or kernel.array.dtype.kind not in "fV" or 0 in kernel.array.shape:
        raise ValueError(f"its kernel has the shape {kernel.array.shape} and the dtype {kernel.array.dtype}.")
    return kernel


@handles("Conv2D", "Conv3D", "DepthwiseConv2dNative")
def add_convolution(ctx: Context, node: SourceNode, x: Result, kernel: Result) -> GraphValue:
    """Adds a convolution, grouped where the kernel has fewer channels than the maps."""
    spatial = 3 if node.op == "Conv3D" else 2
    kernel, how = _kernel(kernel, spatial), read_window(node, spatial)
    x = ctx.as_image(x, node, how.first, spatial)
    array, channels = kernel.array, x.held[-1]
    options: dict[str, Any] = {"strides": how.strides, "padding": how.padding, "dilation": how.dilation}
    depthwise = node.op == "DepthwiseConv2dNative"
    if isinstance(channels, int):
        groups, rest = divmod(channels, array.shape[-2])
        if rest or (depthwise and groups != 1) or (groups and array.shape[-1] % groups):
            raise ValueError(f"a kernel of shape {array.shape} does not fit {channels} channels.")
        if not depthwise and groups > 1:
            if groups == channels:
                depthwise, array = True, array.reshape(*array.shape[:-2], channels, -1)
            else:
                options["groups"] = groups
    if x.blocks is not None:
        return _convolve_blocks(ctx, node, x, x.blocks, kernel, array, how, options, depthwise)
    sizes = x.dims[2:] if x.first else x.dims[1:-1]
    filters = array.shape[-1] * (array.shape[-2] if depthwise else 1)
    dims = _order(x, pool_dims(sizes, array.shape, how), filters)
    paths = {"kernel": ctx.parameter(kernel, "kernel", node, array)}
    op = "depthwise_conv" if depthwise else "conv"
    return ctx.emit(op, node, [x], dims, options=_plain(options), parameters=paths)


def _plain(options: dict[str, Any]) -> dict[str, Any]:
    """Leaves out what is the default."""
    return {key: value for key, value in options.items() if not (key == "dilation" and set(value) == {1})}


def _convolve_blocks(
    ctx: Context,
    node: SourceNode,
    x: GraphValue,
    blocks: Blocks,
    kernel: FoldedConstant,
    array: np.ndarray,
    how: Window,
    options: dict[str, Any],
    depthwise: bool,
) -> GraphValue:
    """Dilates instead of convolving each block."""
    if set(how.strides) != {1} or set(how.dilation) != {1} or x.first:
        raise UnsupportedNode("a strided convolution between SpaceToBatch and BatchToSpace")
    inner = [(0, 0)] * 2
    if how.padding == "SAME":
        inner = [((k - 1) // 2, k // 2) for k in array.shape[:2]]
    elif how.padding != "VALID":
        inner = [pair for pair in how.padding if not isinstance(pair, str)]
    dims = _order(x, pool_dims(x.dims[1:-1], array.shape, how), array.shape[-1] * (array.shape[-2] if depthwise else 1))
    pairs = [
        (low + b * first, high + b * last)
        for b, (low, high), (first, last) in zip(blocks.sizes, blocks.padding, inner, strict=True)
    ]
    options |= {"dilation": blocks.sizes}
    options["padding"] = tuple(pairs)
    rest = ((0, 0), (0, 0))
    if any(isinstance(size, SymbolicSize) for pair in pairs for size in pair):
        # The padding up to whole blocks depends on the size; what is cut off behind depends on it in the same way.
        options["padding"] = tuple((0, 0) for _ in pairs)
        rest = tuple(pairs)
    paths = {"kernel": ctx.parameter(kernel, "kernel", node, array)}
    pending = Blocks(blocks.sizes, rest)
    op = "depthwise_conv" if depthwise else "conv"
    if rest != ((0, 0), (0, 0)):
        raise UnsupportedNode("SpaceToBatch of maps whose size is not known")
    return ctx.emit(op, node, [x], dims, options=options, parameters=paths, blocks=pending)


@handles("SpaceToBatchND", "SpaceToBatch")
def _cut_into_blocks(ctx: Context, node: SourceNode, x: GraphValue, *constants: Result) -> GraphValue:
    sizes, pairs = _read_blocks(node, constants)
    x = ctx.as_image(x, node, False)
    dims: list[Dimension] = []
    for size, block, (low, high) in zip(x.dims[1:3], sizes, pairs, strict=True):
        found = divide_exactly(size + low + high, block)
        if found is None:
            raise ValueError(f"maps of {x.dims[1:3]} padded by {pairs} are no whole blocks of {sizes}.")
        dims.append(found)
    batch = x.dims[0] * sizes[0] * sizes[1]
    blocks = Blocks(tuple(sizes), tuple(pairs))
    return dataclasses.replace(x, dims=(batch, *dims, x.dims[3]), blocks=blocks)


@handles("BatchToSpaceND", "BatchToSpace")
def _join_blocks(ctx: Context, node: SourceNode, x: GraphValue, *constants: Result) -> GraphValue:
    sizes, pairs = _read_blocks(node, constants)
    if x.blocks is None or tuple(sizes) != x.blocks.sizes:
        raise UnsupportedNode("blocks that no SpaceToBatch has made")
    pads = [(low - first, high - last) for (low, high), (first, last) in zip(x.blocks.padding, pairs, strict=True)]
    if any(isinstance(size, SymbolicSize) for pair in pads for size in pair):
        raise UnsupportedNode("SpaceToBatch of maps whose size is not known")
    dims = [n * block - first - last for n, block, (first, last) in zip(x.dims[1:3], sizes, pairs, strict=True)]
    batch = divide_exactly(x.dims[0], sizes[0] * sizes[1])
    if batch is None or any(isinstance(size, int) and size < 1 for size in dims):
        raise ValueError(f"blocks of {sizes} cropped by {pairs} leave nothing.")
    whole = (batch, *dims, x.dims[3])
    if not any(size for pair in pads for size in pair):
        return dataclasses.replace(x, dims=whole, blocks=None)
    options = {"padding": (*pads, (0, 0))}
    return ctx.emit("pad", node, [x], whole, options=options, blocks=None)


def _read_blocks(node: SourceNode, constants: Sequence[Result]) -> tuple[list[int], list[tuple[Any, Any]]]:
    if not all(isinstance(one, FoldedConstant) for one in constants) or not constants:
        raise UnsupportedNode("blocks that are not constant")
    sizes = numbers(constants[0].array, "the block") if len(constants) > 1 else [node.integer("block_size", 2)] * 2
    pairs = constants[-1].array
    if len(sizes) == 1 or pairs.shape == (1, 2):
        raise UnsupportedNode("blocks of one axis")
    if len(sizes) != 2 or pairs.shape != (2, 2) or not all(0 < size < 1 << 12 for size in sizes):
        raise ValueError(f"its blocks are {sizes}, padded by {pairs.shape}.")
    return sizes, [(low, high) for low, high in pairs.tolist()]


@handles("Conv2DBackpropInput", "Conv2DBackpropInputV2", "Conv3DBackpropInputV2")
def _transposed(ctx: Context, node: SourceNode, shape: Result, kernel: Result, x: Result) -> GraphValue:
    spatial = 3 if "3D" in node.op else 2
    how, kernel = read_window(node, spatial), _kernel(kernel, spatial)
    x = ctx.as_image(x, node, how.first, spatial)
    if not isinstance(shape, FoldedConstant) or shape.array.shape not in ((spatial + 2,), (spatial,)):
        raise UnsupportedNode("an output shape that is not known")
    *widths, filters, channels = kernel.array.shape
    if isinstance(x.held[-1], int) and x.held[-1] != channels:
        raise ValueError(f"a kernel of shape {kernel.array.shape} does not fit {x.held[-1]} channels.")
    stated = shape.array.tolist()
    wanted = stated if len(stated) == spatial else stated[2:] if how.first else stated[1:-1]
    if any(isinstance(size, int) and not 0 < size < 1 << 16 for size in wanted):
        raise ValueError(f"its output would have the shape {stated}.")
    options: dict[str, Any] = {"strides": how.strides, "padding": how.padding}
    if set(how.dilation) != {1}:
        options["dilation"] = how.dilation
    extra = []
    for axis, (size, width, stride, dilation) in enumerate(
        zip(x.held[:-1], widths, how.strides, how.dilation, strict=True)
    ):
        low, high = (0, 0) if isinstance(how.padding, str) else how.padding[axis]
        full = (size - 1) * stride + dilation * (width - 1) + 1 - low - high
        extra.append(wanted[axis] - (size * stride if how.padding == "SAME" else full))
    if all(isinstance(one, int) and one >= 0 for one in extra) and (how.padding != "SAME" or not any(extra)):
        if any(extra):
            options["output_padding"] = tuple(extra)
    elif all(isinstance(size, int) for size in wanted):
        options["output_size"] = tuple(wanted)
    else:
        raise UnsupportedNode("an output shape that is not known")
    dims = _order(x, wanted, filters)
    moved = kernel.array.swapaxes(-2, -1)
    paths = {"kernel": ctx.parameter(kernel, "kernel", node, moved)}
    return ctx.emit("conv_transpose", node, [x], dims, options=options, parameters=paths)


@handles("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def multiply(ctx: Context, node: SourceNode, a: Result, b: Result) -> GraphValue:
    """Adds a dense layer, or a product of two values."""
    swap_a = node.flag("transpose_a", False) or node.flag("adj_x", False)
    swap_b = node.flag("transpose_b", False) or node.flag("adj_y", False)
    if isinstance(a, FoldedConstant):
        raise UnsupportedNode("a product of a constant and a value")
    a = ctx.to_source(a, node)
    if isinstance(b, FoldedConstant):
        matrix = b.array
        while matrix.ndim > 2 and matrix.shape[0] == 1:
            matrix = matrix[0]
        if matrix.ndim != 2 or swap_a:
            raise UnsupportedNode("a product of a value and a constant that is no matrix")
        matrix = matrix.T if swap_b else matrix
        if isinstance(a.dims[-1], int) and a.dims[-1] != matrix.shape[0]:
            raise ValueError(f"a matrix {matrix.shape} does not fit a value of {a.dims[-1]} entries.")
        if a.rank < 2:
            raise ValueError("it multiplies a value of one axis.")
        a.axis(-1)
        paths = {"kernel": ctx.parameter(b, "kernel", node, matrix)}
        return ctx.emit("dense", node, [a], (*a.dims[:-1], matrix.shape[1]), parameters=paths)
    b = ctx.to_source(b, node)
    if min(a.rank, b.rank) < 3 or a.rank != b.rank or a.batch != "leading" or b.batch != "leading":
        raise UnsupportedNode("a product of two values along the batch")
    rows = a.dims[-1] if swap_a else a.dims[-2]
    columns = b.dims[-2] if swap_b else b.dims[-1]
    options = {"transpose_a": swap_a, "transpose_b": swap_b}
    return ctx.emit("matmul", node, [a, b], (*a.dims[:-2], rows, columns), options=options)
