"""Caffe's pooling and its normalization by neighbors."""

from collections.abc import Mapping

from jaxcnn.zoo.graphs.caffe.kernels import per_axis
from jaxcnn.zoo.graphs.caffe.network import Blob, Layer, LayerRule, Unsupported

__all__ = ["POOLING_LAYERS"]

_SMALLEST = 1.1754943508222875e-38  # FLT_MIN


def _pool(layer: Layer) -> list[Blob]:
    layer.check_counts(1, (1, 2))
    options = layer.options("pooling")
    method = options.choice("pool", ("MAX", "AVE", "STOCHASTIC"), "MAX")
    if len(layer.wired.tops) == 2 and layer.wired.tops[1].readers:
        raise Unsupported("with the places of the maxima")
    blob = layer.image()
    if options.flag("global_pooling", False):
        if any(field in options for field in ("kernel_size", "kernel_h", "kernel_w")):
            raise layer.error("global_pooling and a kernel exclude each other.")
        op = "global_max_pool" if method == "MAX" else "global_avg_pool"
        settings: dict[str, object] = {"keepdims": True}
        shape = (blob.shape[0], 1, 1)
    else:
        kernel = per_axis(layer, options, "kernel_size", ("kernel_h", "kernel_w"), 2, default=0, least=1)
        if 0 in kernel:
            raise layer.error("its kernel_size is not stated.")
        stride = per_axis(layer, options, "stride", ("stride_h", "stride_w"), 2, default=1, least=1)
        pad = per_axis(layer, options, "pad", ("pad_h", "pad_w"), 2, default=0, least=0)
        if any(p >= k for p, k in zip(pad, kernel, strict=True)):
            raise layer.error(f"its pad {pad} must be smaller than its kernel {kernel}.")
        ceil = options.choice("round_mode", ("CEIL", "FLOOR"), "CEIL") == "CEIL" and options.flag("ceil_mode", True)
        padding = tuple((p, p) for p in pad)
        settings = {"window": kernel, "strides": stride, "padding": padding, "ceil_mode": ceil}
        settings |= {"count_include_pad": True} if method != "MAX" else {}
        op = "max_pool" if method == "MAX" else "avg_pool"
        sizes = [_pooled(n, k, s, p, ceil) for n, k, s, p in zip(blob.shape[1:], kernel, stride, pad, strict=True)]
        shape = (blob.shape[0], *sizes)
        for n, k, s, p in zip(blob.shape[1:], kernel, stride, pad, strict=True):
            layer.network.remainder += 0 if n is None else (n + 2 * p - k) % s
    if method == "STOCHASTIC":
        result = _pool_stochastic(layer, blob, op, shape, settings)
    else:
        result = layer.finish(op, [blob], shape, last=True, options=settings)
    return [result] * len(layer.wired.tops)


def _pooled(size: int | None, kernel: int, stride: int, pad: int, ceil: bool) -> int | None:
    """Computes the size after pooling; the last window must begin inside the map or the padding before it."""
    if size is None:
        return None
    rest = max(size + 2 * pad - kernel, 0)
    count = (-(-rest // stride) if ceil else rest // stride) + 1
    return count - ((count - 1) * stride >= size + pad)


def _pool_stochastic(
    layer: Layer, blob: Blob, op: str, shape: tuple[int | None, ...], settings: Mapping[str, object]
) -> Blob:
    """Computes what Caffe does when it tests: the mean of each window, weighted by the values themselves."""
    squares = layer.add("square", [blob], blob.shape, last=True)
    above, below = (layer.add(op, [one], shape, last=True, options=settings) for one in (squares, blob))
    safe = layer.add("add", [below], shape, last=True, options={"value": _SMALLEST})
    layer.note("stochastic pooling is done as in tests, by a weighted mean, in training too.")
    return layer.finish("divide", [above, safe], shape, last=True)


def _normalize_response(layer: Layer) -> Blob:
    layer.check_counts(1)
    options = layer.options("lrn")
    size = options.integer("local_size", 5, least=1, most=1 << 16)
    if size % 2 == 0:
        raise layer.error(f"its local_size must be odd, got {size}.")
    alpha, beta = options.number("alpha", 1.0), options.number("beta", 0.75)
    region = options.choice("norm_region", ("ACROSS_CHANNELS", "WITHIN_CHANNEL"), "ACROSS_CHANNELS")
    blob = layer.image()
    settings = {"size": size, "alpha": alpha, "beta": beta}
    if region == "WITHIN_CHANNEL":  # where Caffe ignores k
        return layer.finish("lrn_within_channel", [blob], blob.shape, last=True, options=settings)
    settings |= {"alpha": alpha / size, "bias": options.number("k", 1.0)}
    return layer.finish("lrn", [blob], blob.shape, last=True, options=settings)


POOLING_LAYERS: Mapping[str, LayerRule] = {"Pooling": _pool, "LRN": _normalize_response}
"""Type to how it is imported."""
