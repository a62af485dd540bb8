"""Pooling, resizing, padding and cropping layers of Keras."""

import functools
from typing import Any

from jaxcnn.zoo.graphs.keras.layer_call import Handler, LayerCall, LayerValue, UnknownLayer

__all__ = ["LAYERS"]


def _pool(call: LayerCall, *, op: str, rank: int) -> LayerValue:
    """Adds pooling; the padding of ``"same"`` is no part of a mean."""
    x = call.images(call.input(), rank)
    window = call.options.integers("pool_size", rank, 2)
    strides = call.options.integers("strides", rank, window)
    padding = call.options.choice("padding", ("valid", "same"), "valid")
    return call.add(op, x, window=window, strides=strides, padding=padding.upper())


def _pool_globally(call: LayerCall, *, op: str, rank: int) -> LayerValue:
    x = call.images(call.input(), rank)
    keepdims = call.options.flag("keepdims", False)
    new = x.rank if keepdims else 1
    if x.lead:
        reduce = {"global_avg_pool": "reduce_mean", "global_max_pool": "reduce_max"}[op]
        return call.add(reduce, x, rank=new, axes=tuple(range(-rank - 1, -1)), keepdims=keepdims)
    return call.add(op, x, rank=new, keepdims=keepdims)


def _enlarge(call: LayerCall, *, rank: int) -> LayerValue:
    """Adds up-sampling by integer factors."""
    x = call.images(call.input(), rank)
    size = call.options.integers("size", rank, 2)
    method = call.options.get("interpolation", "nearest") if rank == 2 else "nearest"
    if method == "nearest":
        for axis, factor in zip(range(-rank - 1, -1), size, strict=True):
            x = call.add("repeat", x, axis=axis, count=factor) if factor > 1 else x
        return x
    methods = {"bilinear": "bilinear", "bicubic": "cubic"}
    if method not in methods:
        raise UnknownLayer(f"UpSampling2D with the interpolation {str(method)[:20]!r}")
    corners = "half_pixel"
    if call.parts.version.startswith("2.2.") and not call.parts.version.endswith("-tf"):
        corners = "asymmetric"  # TensorFlow's old rule, which Keras 2.2 of its own used
    rounded: dict[str, Any] = {"steps": call.parts.cubic_steps} if method == "bicubic" else {}
    return call.add("resize", x, scale=tuple(map(float, size)), method=methods[method], corners=corners, **rounded)


def _pad(call: LayerCall, *, rank: int) -> LayerValue:
    x = call.images(call.input(), rank)
    padding = call.options.get("padding")
    if isinstance(padding, dict):  # Keras 1
        names = (("top_pad", "bottom_pad"), ("left_pad", "right_pad")) if rank == 2 else (("left_pad", "right_pad"),)
        values = [[padding.get(key, 0) for key in pair] for pair in names]
        call.options.config = {**call.options.config, "padding": values}
    return call.pad(x, call.options.pairs("padding", rank, 1))


def _crop(call: LayerCall, *, rank: int) -> LayerValue:
    x = call.images(call.input(), rank)
    cropping = call.options.pairs("cropping", rank, 1 if rank < 2 else 0)
    return call.pad(x, [(-low, -high) for low, high in cropping])


LAYERS: dict[str, Handler] = {
    **{f"MaxPooling{rank}D": functools.partial(_pool, op="max_pool", rank=rank) for rank in (1, 2, 3)},
    **{f"AveragePooling{rank}D": functools.partial(_pool, op="avg_pool", rank=rank) for rank in (1, 2, 3)},
    **{
        f"Global{name}Pooling{rank}D": functools.partial(_pool_globally, op=op, rank=rank)
        for name, op in (("Average", "global_avg_pool"), ("Max", "global_max_pool"))
        for rank in (1, 2, 3)
    },
    **{f"UpSampling{rank}D": functools.partial(_enlarge, rank=rank) for rank in (1, 2, 3)},
    **{f"ZeroPadding{rank}D": functools.partial(_pad, rank=rank) for rank in (1, 2, 3)},
    **{f"Cropping{rank}D": functools.partial(_crop, rank=rank) for rank in (1, 2, 3)},
}
"""Layers that pool, repeat, pad or crop pixels."""
