"""Layers with kernels, pooling and normalization of TensorFlow Lite."""

from collections.abc import Mapping

import numpy as np

from jaxcnn.zoo.graphs.tflite.operators import Handler, Operator
from jaxcnn.zoo.graphs.tflite.values import Constant, Size, Value

__all__ = ["LAYERS"]


def _kernel(step: Operator, at: int, role: str = "kernel", *, channels: int = 0) -> str:
    """Adds the kernel of a layer, in the order of axes of this library, and returns its path."""
    one, array = step.stored(at), step.constant(at)
    if not np.issubdtype(array.dtype, np.floating):
        raise ValueError(f"its kernel is of dtype {array.dtype} without a scale.")
    rank = 2 if step.op == "FULLY_CONNECTED" else 4
    if array.ndim != rank:
        raise ValueError(f"its kernel must have {rank} axes, got the shape {array.shape}.")
    if step.op == "DEPTHWISE_CONV_2D":
        if array.size % (array.shape[-1] or 1) or array.size == 0:
            raise ValueError(f"its kernel has the shape {array.shape}.")
        if one.layout is None:
            first, height, width, outputs = array.shape
            if first != 1 or channels < 1 or outputs % channels:
                raise ValueError(f"its kernel of shape {array.shape} does not fit {channels} channels.")
            array = array.reshape(height, width, channels, outputs // channels)
    elif one.layout is None:
        array = array.transpose((1, 0) if rank == 2 else (1, 2, 3, 0))
    key = (one.name, f"{step.op}:{channels}")
    return step.state.add_array(key, step.layer, role, array, "params")


def _parameters(step: Operator, kernel: str, bias: int) -> dict[str, str]:
    """Returns the paths of kernel and bias."""
    parameters = {"kernel": kernel}
    if step.has(bias):
        one, array = step.stored(bias), step.constant(bias)
        if array.ndim != 1 or not np.issubdtype(array.dtype, np.floating):
            raise ValueError(f"its bias has the shape {array.shape} and the dtype {array.dtype}.")
        parameters["bias"] = step.state.add_array((one.name, f"bias:{kernel}"), step.layer, "bias", array, "params")
    return parameters


def _window_options(step: Operator, x: Value) -> dict[str, object]:
    """Returns strides, padding and dilation; in blocks of pixels a convolution is a dilated one."""
    strides, dilation = step.stride("stride"), step.stride("dilation")
    if x.block is not None:
        if strides != (1, 1):
            raise ValueError("between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND its strides must be 1.")
        dilation = (dilation[0] * x.block[0], dilation[1] * x.block[1])
    options: dict[str, object] = {"padding": step.padding()}
    options |= {"strides": strides} if strides != (1, 1) else {}
    return options | ({"dilation": dilation} if dilation != (1, 1) else {})


def _convolve(step: Operator) -> Value:
    x = step.spatial()
    options = _window_options(step, x)
    parameters = _parameters(step, _kernel(step, 1), 2)
    inputs = step.state.builder.parameters[parameters["kernel"]].shape[2]
    if inputs < 1 or x.shape[-1] % inputs:
        raise ValueError(f"its kernel reads {inputs} channels of {x.shape[-1]}.")
    if inputs != x.shape[-1]:
        options["groups"] = x.shape[-1] // inputs
    y = step.add("conv", [x], options=options, parameters=parameters, batch=x.batch, block=x.block)
    return step.activate(y)


def _convolve_depthwise(step: Operator) -> Value:
    x = step.spatial()
    options = _window_options(step, x)
    parameters = _parameters(step, _kernel(step, 1, channels=x.shape[-1]), 2)
    y = step.add("depthwise_conv", [x], options=options, parameters=parameters, batch=x.batch, block=x.block)
    return step.activate(y)


def _convolve_transposed(step: Operator) -> Value:
    x = step.value(2)
    if x.rank != 4 or x.batch not in (0, None):
        raise ValueError(f"its input must be maps (batch, height, width, channels), got the shape {x.shape}.")
    shape = step.sizes(0)
    if len(shape) != 4:
        raise ValueError(f"the shape of its output must have 4 numbers, got {len(shape)}.")
    parameters = _parameters(step, _kernel(step, 1), 3)
    padding, strides = step.padding(), step.stride("stride")
    options = {"strides": strides, "padding": padding}
    kernel = step.state.builder.parameters[parameters["kernel"]].shape
    usual = tuple(
        n * s if padding == "SAME" else (n - 1) * s + k
        for n, s, k in zip(x.shape[-3:-1], strides, kernel[:2], strict=True)
    )
    wanted = tuple(int(one) for one in shape[1:3])
    if wanted != usual:
        if not all(0 < n <= u + s for n, u, s in zip(wanted, usual, strides, strict=True)):
            raise ValueError(f"its output of {wanted} pixels does not fit its input, which gives {usual}.")
        options["output_size"] = wanted
    y = step.add("conv_transpose", [x], options=options, parameters=parameters, batch=x.batch)
    return step.activate(y)


def _multiply_by_kernel(step: Operator) -> Value:
    if step.option("weights_format", "DEFAULT") != "DEFAULT":
        raise ValueError("shuffled weights are not supported.")
    x = step.x
    if isinstance(step.held(1), Value):
        other = step.value(1)
        if x.shape[-1] != other.shape[-1]:
            raise ValueError(f"it cannot multiply the shapes {x.shape} and {other.shape}.")
        y = step.add("matmul", [x, other], options={"transpose_b": True}, batch=x.batch)
        return step.activate(y)
    parameters = _parameters(step, _kernel(step, 1), 2)
    size = step.state.builder.parameters[parameters["kernel"]].shape[0]
    batch = x.batch
    if not step.option("keep_num_dims", False):
        total = int(np.prod(x.shape))
        if total == size:
            if len(x.shape) != 1:
                x = step.add("flatten", [x], batch=0, name=f"{step.name}/flatten")
            batch = 0
        elif x.shape[-1] == size:
            # Leading axes are one axis of rows, in which the batch is merged.
            if len(x.shape) != 2:
                x = step.add("reshape", [x], options={"shape": (-1, size)}, name=f"{step.name}/reshape")
            batch = None
        else:
            raise ValueError(f"its kernel reads {size} numbers, and its input has the shape {x.shape}.")
    y = step.add("dense", [x], parameters=parameters, batch=batch)
    return step.activate(y)


def _multiply_matrices(step: Operator) -> Value:
    options = {"transpose_a": bool(step.option("adj_x")), "transpose_b": bool(step.option("adj_y"))}
    a, b = step.held(0), step.held(1)
    if isinstance(b, Constant) and b.array.ndim == 2 and isinstance(a, Value) and not options["transpose_a"]:
        array = step.constant(1)
        array = array.T if options["transpose_b"] else array
        kernel = step.state.add_array(
            (b.name, f"matmul:{options['transpose_b']}"), step.layer, "kernel", array, "params"
        )
        return step.add("dense", [a], parameters={"kernel": kernel}, batch=a.batch)
    a, b = step.value(0), step.value(1)
    places = [one.batch - one.rank for one in (a, b) if one.batch is not None]
    if len(set(places)) > 1 or any(place >= -2 for place in places):
        raise ValueError("it multiplies along the batch.")
    rank = max(a.rank, b.rank)
    return step.add("matmul", [a, b], options=options, batch=places[0] + rank if places else None)


def _pool(step: Operator) -> Value:
    x = step.spatial()
    options = {"window": step.stride("filter"), "strides": step.stride("stride"), "padding": step.padding()}
    if step.op == "MAX_POOL_2D":
        return step.activate(step.add("max_pool", [x], options=options, batch=x.batch))
    if step.op == "AVERAGE_POOL_2D":
        return step.activate(step.add("avg_pool", [x], options=options, batch=x.batch))
    square = step.add("square", [x], batch=x.batch, name=f"{step.name}/square")
    mean = step.add("avg_pool", [square], options=options, batch=x.batch, name=f"{step.name}/mean")
    return step.activate(step.add("sqrt", [mean], batch=x.batch))


def _normalize_length(step: Operator) -> Value:
    # The length is at least 1e-6.
    x = step.x
    if x.batch == x.rank - 1:
        raise ValueError("it normalizes along the batch.")
    return step.activate(step.follow("l2_normalize", x, epsilon=1e-12))


def _normalize_response(step: Operator) -> Value:
    radius = step.option("radius", 5)
    x = step.spatial()
    if not 0 <= radius < 2**16:
        raise ValueError(f"the radius must be at least 0, got {radius}.")
    options = {name: float(step.option(name, 0.0)) for name in ("alpha", "beta", "bias")}
    return step.follow("lrn", x, size=2 * radius + 1, **options)


def _softmax(step: Operator) -> Value:
    x = step.x
    if x.batch == x.rank - 1:
        raise ValueError("it is along the batch.")
    beta = step.option("beta", 1.0) if step.op == "SOFTMAX" else 1.0
    if beta != 1:
        x = step.add(
            "rescale", [x], options={"scale": float(beta)}, batch=x.batch, block=x.block, name=f"{step.name}/beta"
        )
    return step.follow("softmax" if step.op == "SOFTMAX" else "log_softmax", x)


def _resize(step: Operator) -> Value:
    x = step.spatial()
    sizes = step.sizes(1)
    if len(sizes) != 2:
        raise ValueError(f"the new size must have 2 numbers, got {len(sizes)}.")
    align, half = step.option("align_corners"), step.option("half_pixel_centers")
    nearest = step.op == "RESIZE_NEAREST_NEIGHBOR"
    options = {
        "corners": "align" if align else "half_pixel" if half else "asymmetric",
        "method": "nearest" if nearest else "bilinear",
    }
    if nearest:
        options["rounding"] = "round" if align else "floor"
    first, second = sizes
    if isinstance(first, Size) and isinstance(second, Size) and first.value == second.value is not None:
        like = step.state.values[str(first.value)]
        if (first.axis, second.axis, first.factor, second.factor) == (0, 1, 1, 1) and like.rank == 4:
            return step.add("resize", [x, like], options=options, batch=x.batch)
        if like.shape[:2] == x.shape[:2] and (first.axis, second.axis) == (0, 1):
            scale = (float(first.factor), float(second.factor))
            return step.add("resize", [x], options=options | {"scale": scale}, batch=x.batch)
    return step.add("resize", [x], options=options | {"size": (int(first), int(second))}, batch=x.batch)


LAYERS: Mapping[str, Handler] = {
    "AVERAGE_POOL_2D": _pool,
    "BATCH_MATMUL": _multiply_matrices,
    "CONV_2D": _convolve,
    "DEPTHWISE_CONV_2D": _convolve_depthwise,
    "FULLY_CONNECTED": _multiply_by_kernel,
    "L2_NORMALIZATION": _normalize_length,
    "L2_POOL_2D": _pool,
    "LOCAL_RESPONSE_NORMALIZATION": _normalize_response,
    "LOG_SOFTMAX": _softmax,
    "MAX_POOL_2D": _pool,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _resize,
    "SOFTMAX": _softmax,
    "TRANSPOSE_CONV": _convolve_transposed,
}
"""Operator to the function that imports it."""
