"""Caffe's layers in NumPy, written from Caffe's C++ and from that of its forks: slow, in Caffe's order of axes."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Array = np.ndarray
Params = Mapping[str, Any]
_TINY = 1.1754943508222875e-38


def _pair(params: Params, field: str, default: int, rank: int = 2) -> list[int]:
    short = "kernel" if field == "kernel_size" else field
    if f"{short}_h" in params:
        return [params[f"{short}_h"], params[f"{short}_w"]]
    found = params.get(field, default)
    found = list(found) if isinstance(found, list | tuple) else [found]
    return found * rank if len(found) == 1 else found


def convolve(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    rank = x.ndim - 2
    kernel, stride, pad, dilation = (
        _pair(params, field, default, rank)
        for field, default in (("kernel_size", 1), ("stride", 1), ("pad", 0), ("dilation", 1))
    )
    group = params.get("group", 1)
    weights = blobs[0]
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in pad)])
    sizes = [(n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)]
    filters, per = weights.shape[0], weights.shape[0] // group
    y = np.zeros((x.shape[0], filters, *sizes))
    for at in np.ndindex(*kernel):
        cut = [slice(a * d, a * d + (n - 1) * s + 1, s) for a, d, n, s in zip(at, dilation, sizes, stride, strict=True)]
        seen = x[(slice(None), slice(None), *cut)]
        for g in range(group):
            part = seen[:, g * weights.shape[1] : (g + 1) * weights.shape[1]]
            taps = weights[(slice(g * per, (g + 1) * per), slice(None), *at)]
            y[:, g * per : (g + 1) * per] += np.einsum("nc...,oc->no...", part, taps)
    return y if len(blobs) == 1 else y + blobs[1].reshape(-1, *[1] * rank)


def deconvolve(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    kernel, stride, pad, dilation = (
        _pair(params, field, default)
        for field, default in (("kernel_size", 1), ("stride", 1), ("pad", 0), ("dilation", 1))
    )
    group, weights = params.get("group", 1), blobs[0]  # (channels, filters per group, height, width)
    sizes = [s * (n - 1) + d * (k - 1) + 1 for n, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)]
    inner, per = x.shape[1] // group, weights.shape[1]
    y = np.zeros((x.shape[0], per * group, *sizes))
    for at in np.ndindex(*kernel):
        cut = [
            slice(a * d, a * d + (n - 1) * s + 1, s)
            for a, d, n, s in zip(at, dilation, x.shape[2:], stride, strict=True)
        ]
        for g in range(group):
            own = slice(g * inner, (g + 1) * inner)
            part, taps = x[:, own], weights[(own, slice(None), *at)]
            y[(slice(None), slice(g * per, (g + 1) * per), *cut)] += np.einsum("nchw,co->nohw", part, taps)
    y = y[:, :, pad[0] : sizes[0] - pad[0], pad[1] : sizes[1] - pad[1]]
    return y if len(blobs) == 1 else y + blobs[1].reshape(-1, 1, 1)


def multiply(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    axis = params.get("axis", 1) % x.ndim
    weights = blobs[0].T if not params.get("transpose") else blobs[0]
    y = x.reshape(*x.shape[:axis], -1) @ weights
    return y if len(blobs) == 1 else y + blobs[1]


def pool(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    n, c, height, width = x.shape
    if params.get("global_pooling"):
        kernel, stride, pad = [height, width], [1, 1], [0, 0]
    else:
        kernel, stride, pad = (_pair(params, f, d) for f, d in (("kernel_size", 1), ("stride", 1), ("pad", 0)))
    rounded = math.floor if params.get("round_mode") == "FLOOR" or params.get("ceil_mode") is False else math.ceil
    sizes = [
        int(rounded((m + 2 * p - k) / s)) + 1 for m, k, s, p in zip((height, width), kernel, stride, pad, strict=True)
    ]
    if any(pad):
        sizes = [
            m - ((m - 1) * s >= full + p) for m, s, full, p in zip(sizes, stride, (height, width), pad, strict=True)
        ]
    y = np.zeros((n, c, *sizes))
    method = params.get("pool", "MAX")
    for row, column in np.ndindex(*sizes):
        begin = [row * stride[0] - pad[0], column * stride[1] - pad[1]]
        end = [min(b + k, m + p) for b, k, m, p in zip(begin, kernel, (height, width), pad, strict=True)]
        area = (end[0] - begin[0]) * (end[1] - begin[1])
        cut = x[:, :, max(begin[0], 0) : min(end[0], height), max(begin[1], 0) : min(end[1], width)]
        if method == "MAX":
            y[:, :, row, column] = cut.max((2, 3))
        elif method == "AVE":
            y[:, :, row, column] = cut.sum((2, 3)) / area
        else:
            y[:, :, row, column] = (cut**2).sum((2, 3)) / (cut.sum((2, 3)) + _TINY)
    return y


def normalize_response(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    size, alpha, beta = params.get("local_size", 5), params.get("alpha", 1.0), params.get("beta", 0.75)
    if params.get("norm_region") == "WITHIN_CHANNEL":
        mean = pool(x**2, {"pool": "AVE", "kernel_size": size, "pad": (size - 1) // 2}, ())
        return x * (1 + alpha * mean) ** -beta
    half, y = (size - 1) // 2, np.zeros(x.shape)
    for channel in range(x.shape[1]):
        near = x[:, max(channel - half, 0) : channel + half + 1]
        y[:, channel] = x[:, channel] * (params.get("k", 1.0) + alpha / size * (near**2).sum(1)) ** -beta
    return y


def normalize_batch(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    mean, variance, factor = blobs[:3]
    scale = 0 if factor[0] == 0 else 1 / factor[0]
    tail = (-1, *[1] * (x.ndim - 2))
    y = (x - (mean * scale).reshape(tail)) / np.sqrt((variance * scale).reshape(tail) + params.get("eps", 1e-5))
    return y if len(blobs) == 3 else y * blobs[3].reshape(tail) + blobs[4].reshape(tail)


def normalize_batch_of_forks(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    scale, bias, *statistics = (blob.reshape(-1, 1, 1) for blob in blobs)
    if statistics:
        x = (x - statistics[0]) / np.sqrt(statistics[1] + params.get("eps", 1e-5))
    return x * scale + bias


def _spread(blob: Array, x: Array, axis: int) -> Array:
    return blob.reshape((1,) * axis + blob.shape + (1,) * (x.ndim - axis - blob.ndim))


def scale(x: Array, *others: Array, params: Params, blobs: Sequence[Array]) -> Array:
    axis = params.get("axis", 1) % x.ndim
    factor = others[0] if others else blobs[0]
    y = x * _spread(factor, x, axis if factor.ndim else 0)
    rest = blobs if others else blobs[1:]
    return y + _spread(rest[0], x, axis if rest[0].ndim else 0) if rest else y


def shift(x: Array, *others: Array, params: Params, blobs: Sequence[Array]) -> Array:
    return x + _spread(others[0] if others else blobs[0], x, params.get("axis", 1) % x.ndim)


def normalize_length(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    axes = (1, 2, 3) if params.get("across_spatial", True) else (1,)
    y = x / np.sqrt((x**2).sum(axes, keepdims=True) + params.get("eps", 1e-10))
    return y * (blobs[0].reshape(()) if params.get("channel_shared", True) else blobs[0].reshape(-1, 1, 1))


def normalize_mean_variance(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    axes = tuple(range(1 if params.get("across_channels") else 2, x.ndim))
    y = x - x.mean(axes, keepdims=True) if axes else x * 0
    if not params.get("normalize_variance", True):
        return y
    return y / (np.sqrt((y**2).mean(axes, keepdims=True)) + params.get("eps", 1e-9)) if axes else y


def prelu(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    slope = blobs[0].reshape(()) if params.get("channel_shared") else blobs[0].reshape(-1, *[1] * (x.ndim - 2))
    return np.maximum(x, 0) + slope * np.minimum(x, 0)


def exponentiate(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    base, y = params.get("base", -1), params.get("shift", 0) + params.get("scale", 1) * x
    return np.exp(y) if base == -1 else base**y


def take_logarithm(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    base, y = params.get("base", -1), np.log(params.get("shift", 0) + params.get("scale", 1) * x)
    return y if base == -1 else y / np.log(base)


def combine(*xs: Array, params: Params, blobs: Sequence[Array]) -> Array:
    operation = params.get("operation", "SUM")
    if operation == "SUM":
        return np.sum([c * x for c, x in zip(params.get("coeff", [1] * len(xs)), xs, strict=True)], 0)
    return np.prod(xs, 0) if operation == "PROD" else np.max(xs, 0)


def cut(x: Array, params: Params, blobs: Sequence[Array], tops: int) -> list[Array]:
    axis = params.get("slice_dim", params.get("axis", 1))
    return np.split(x, params.get("slice_point", tops), axis)


def crop(x: Array, like: Array, params: Params, blobs: Sequence[Array]) -> Array:
    axis = params.get("axis", 2) % x.ndim
    offsets = params.get("offset", [0])
    offsets = offsets * (x.ndim - axis) if len(offsets) == 1 else offsets
    ranges = [slice(o, o + n) for o, n in zip(offsets, like.shape[axis:], strict=True)]
    return x[(slice(None),) * axis + tuple(ranges)]


def reshape(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    begin = params.get("axis", 0)
    begin = begin if begin >= 0 else x.ndim + 1 + begin
    count = params.get("num_axes", -1)
    end = x.ndim if count == -1 else begin + count
    dims = [x.shape[begin + i] if d == 0 else d for i, d in enumerate(params["shape"]["dim"])]
    return x.reshape(*x.shape[:begin], *dims, *x.shape[end:])


def permute(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    order = list(params.get("order", []))
    return x.transpose(order + [axis for axis in range(x.ndim) if axis not in order])


def flatten(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    begin, end = params.get("axis", 1) % x.ndim, params.get("end_axis", -1) % x.ndim
    return x.reshape(*x.shape[:begin], -1, *x.shape[end + 1 :])


def tile(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    return np.concatenate([x] * params["tiles"], params.get("axis", 1))


def softmax(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    axis = params.get("axis", 1)
    y = np.exp(x - x.max(axis, keepdims=True))
    return y / y.sum(axis, keepdims=True)


def reduce(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    axis = params.get("axis", 0) % x.ndim
    y = x.reshape(*x.shape[:axis], -1)
    operation = params.get("operation", "SUM")
    found = {"SUM": y.sum(-1), "ASUM": abs(y).sum(-1), "SUMSQ": (y**2).sum(-1), "MEAN": y.mean(-1)}[operation]
    return found * params.get("coeff", 1.0)


def find_largest(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    count, values = params.get("top_k", 1), params.get("out_max_val", False)
    axis = params.get("axis")
    y = x.reshape(x.shape[0], -1) if axis is None else np.moveaxis(x, axis, -1)
    order = y.shape[-1] - 1 - np.argsort(-y[..., ::-1], -1, kind="stable")[..., :count]  # of equal ones the last
    best = np.take_along_axis(y, order, -1)
    if axis is not None:
        return np.moveaxis(best if values else order, -1, axis)
    tail = (1,) * max(x.ndim - 3, 0)
    parts = [order, best] if values else [order]
    return np.stack(parts, 1).reshape(x.shape[0], len(parts), count, *tail)


def interpolate(x: Array, *like: Array, params: Params, blobs: Sequence[Array]) -> Array:
    begin, end = -params.get("pad_beg", 0), params.get("pad_end", 0)
    x = x[:, :, begin : x.shape[2] + end, begin : x.shape[3] + end]
    sizes = list(x.shape[2:])
    if "shrink_factor" in params:
        sizes = [(n - 1) // params["shrink_factor"] + 1 for n in sizes]
    if "zoom_factor" in params:
        sizes = [n + (n - 1) * (params["zoom_factor"] - 1) for n in sizes]
    if "height" in params:
        sizes = [params["height"], params["width"]]
    sizes = list(like[0].shape[2:]) if like else sizes
    for axis, new in zip((2, 3), sizes, strict=True):
        at = np.arange(new) * ((x.shape[axis] - 1) / (new - 1) if new > 1 else 0)
        low = np.minimum(at.astype(int), x.shape[axis] - 1)
        high = np.minimum(low + 1, x.shape[axis] - 1)
        weight = (at - low).reshape([-1 if i == axis else 1 for i in range(4)])
        x = np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight
    return x


def shuffle(x: Array, params: Params, blobs: Sequence[Array]) -> Array:
    n, c, h, w = x.shape
    return x.reshape(n, params["group"], -1, h, w).swapaxes(1, 2).reshape(n, c, h, w)


def place_boxes(maps: Array, image: Array, params: Params, blobs: Sequence[Array]) -> Array:
    ratios = [1.0]
    for ratio in params.get("aspect_ratio", []):
        if not any(abs(ratio - one) < 1e-6 for one in ratios):
            ratios += [ratio, 1 / ratio] if params.get("flip", True) else [ratio]
    rows, columns = maps.shape[2:]
    height, width = image.shape[2:]
    height = params.get("img_h", params.get("img_size", height))
    width = params.get("img_w", params.get("img_size", width))
    step_y = params.get("step_h", params.get("step", height / rows))
    step_x = params.get("step_w", params.get("step", width / columns))
    result = []
    for row, column in np.ndindex(rows, columns):
        x, y = (column + params.get("offset", 0.5)) * step_x, (row + params.get("offset", 0.5)) * step_y
        for place, least in enumerate(params["min_size"]):
            shapes = [(least, least)]
            if params.get("max_size"):
                middle = math.sqrt(least * params["max_size"][place])
                shapes.append((middle, middle))
            shapes += [(least * math.sqrt(r), least / math.sqrt(r)) for r in ratios[1:]]
            for w, h in shapes:
                result += [(x - w / 2) / width, (y - h / 2) / height, (x + w / 2) / width, (y + h / 2) / height]
    boxes = np.clip(result, 0, 1) if params.get("clip") else np.array(result)
    variance = params.get("variance", [0.1])
    variances = np.tile(variance if len(variance) == 4 else variance * 4, len(boxes) // 4)
    return np.stack([boxes, variances])[None]


def axpy(factor: Array, x: Array, y: Array, params: Params, blobs: Sequence[Array]) -> Array:
    return factor.reshape(*factor.shape[:2], 1, 1) * x + y


RULES: Mapping[str, Callable[..., Any]] = {
    "Convolution": convolve,
    "ConvolutionDepthwise": lambda x, params, blobs: convolve(x, {**params, "group": x.shape[1]}, blobs),
    "Deconvolution": deconvolve,
    "InnerProduct": multiply,
    "Embed": lambda x, params, blobs: blobs[0][x.astype(int)] + (blobs[1] if len(blobs) > 1 else 0),
    "Pooling": pool,
    "LRN": normalize_response,
    "BatchNorm": normalize_batch,
    "BN": normalize_batch_of_forks,
    "Scale": scale,
    "Bias": shift,
    "Normalize": normalize_length,
    "MVN": normalize_mean_variance,
    "ReLU": lambda x, params, blobs: np.maximum(x, 0) + params.get("negative_slope", 0) * np.minimum(x, 0),
    "ReLU6": lambda x, params, blobs: np.clip(x, 0, 6),
    "PReLU": prelu,
    "ELU": lambda x, params, blobs: np.maximum(x, 0) + params.get("alpha", 1) * (np.exp(np.minimum(x, 0)) - 1),
    "Sigmoid": lambda x, params, blobs: 1 / (1 + np.exp(-x)),
    "TanH": lambda x, params, blobs: np.tanh(x),
    "AbsVal": lambda x, params, blobs: abs(x),
    "BNLL": lambda x, params, blobs: np.log(1 + np.exp(x)),
    "HardSwish": lambda x, params, blobs: x * np.clip(x + 3, 0, 6) / 6,
    "Mish": lambda x, params, blobs: x * np.tanh(np.log(1 + np.exp(x))),
    "Power": lambda x, params, blobs: (params.get("shift", 0) + params.get("scale", 1) * x) ** params.get("power", 1),
    "Exp": exponentiate,
    "Log": take_logarithm,
    "Threshold": lambda x, params, blobs: (x > params.get("threshold", 0)).astype(float),
    "Clip": lambda x, params, blobs: np.clip(x, params["min"], params["max"]),
    "Swish": lambda x, params, blobs: x / (1 + np.exp(-params.get("beta", 1) * x)),
    "Dropout": lambda x, params, blobs: x * (1 if params.get("scale_train", True) else 1 - params["dropout_ratio"]),
    "Eltwise": combine,
    "Axpy": axpy,
    "Concat": lambda *xs, params, blobs: np.concatenate(xs, params.get("concat_dim", params.get("axis", 1))),
    "Slice": cut,
    "Split": lambda x, params, blobs, tops: [x] * tops,
    "Crop": crop,
    "Reshape": reshape,
    "Permute": permute,
    "Flatten": flatten,
    "Tile": tile,
    "ShuffleChannel": shuffle,
    "Softmax": softmax,
    "Reduction": reduce,
    "ArgMax": find_largest,
    "Interp": interpolate,
    "Upsample": lambda x, params, blobs: x.repeat(params["scale"], 2).repeat(params["scale"], 3),
    "PriorBox": place_boxes,
    "DummyData": lambda params, blobs: np.full(params["shape"]["dim"], params["data_filler"][0].get("value", 0.0)),
}
"""Type to ``rule(*inputs, params=..., blobs=...)``; those of several tops take their number too."""

MESSAGES = {
    **{"ConvolutionDepthwise": "convolution", "Deconvolution": "convolution", "InnerProduct": "inner_product"},
    **{"BatchNorm": "batch_norm", "Normalize": "norm", "ShuffleChannel": "shuffle_channel", "PriorBox": "prior_box"},
    "DummyData": "dummy_data",
}
"""Types whose parameters have another name than they."""


def run_net(layers: Sequence[Mapping[str, Any]], inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Runs a network on inputs in float64; returns what every layer writes, by the layer's name and by the tops' names.

    A layer that writes in place is known by its own name.
    """
    blobs = {name: array.astype(np.float64) for name, array in inputs.items()}
    found: dict[str, Array] = {}
    for one in layers:
        if one["type"] == "Input":
            continue
        rule, kind = RULES[one["type"]], one["type"]
        params = one.get(f"{MESSAGES.get(kind, kind.lower())}_param", {})
        weights = [blob.astype(np.float64) for blob in one.get("blobs", [])]
        several = {"tops": len(one["top"])} if kind in ("Slice", "Split") else {}
        reads = [blobs[name] for name in one["bottom"]]
        if kind in ("Convolution", "Deconvolution") and len(reads) > 1:
            result = [rule(x, params=params, blobs=weights) for x in reads]
        else:
            result = rule(*reads, params=params, blobs=weights, **several)
        results = result if isinstance(result, list) else [result]
        blobs.update(zip(one["top"], results, strict=False))
        found.update({top: array for top, array in zip(one["top"], results, strict=False) if top not in one["bottom"]})
        found[one["name"]] = results[0]
    return found
