"""Caffe's layers that compute a function of each value, or of the values of several blobs at one place."""

from collections.abc import Callable, Mapping
from typing import Any

from jaxcnn.zoo.graphs.caffe.layer_options import LayerOptions
from jaxcnn.zoo.graphs.caffe.network import Blob, Layer, LayerRule
from jaxcnn.zoo.graphs.caffe.normalizers import multiply_leading

__all__ = ["FUNCTION_LAYERS"]


def _apply(layer: Layer, op: str, options: Mapping[str, Any] | None = None) -> Blob:
    layer.check_counts(1)
    blob = layer.bottom
    return layer.finish(op, [blob], blob.shape, last=blob.last, options=options)


def _simple(op: str) -> LayerRule:
    return lambda layer: _apply(layer, op)


def _with(op: str, message: str, read: Callable[[LayerOptions], Mapping[str, Any]]) -> LayerRule:
    """Returns the rule of a layer whose parameters are options of the operation."""
    return lambda layer: _apply(layer, op, read(layer.options(message)))


def _rectify_by_parameter(layer: Layer) -> Blob:
    layer.check_counts(1)
    options, blob = layer.options("prelu"), layer.bottom
    if options.flag("channel_shared", False):
        slope = layer.weight("slope", (), "slope", fits=lambda array: array.reshape(()) if array.size == 1 else array)
    elif blob.last or blob.rank == 1:
        slope = layer.weight("slope", blob.shape[:1], "slope", fits=lambda array: array.reshape(-1))
    else:
        tail = (1,) * (blob.rank - 1)
        shape = (*blob.shape[:1], *tail)
        slope = layer.weight("slope", shape, "slope", fits=lambda array: array.reshape(-1, *tail))
    return layer.finish("prelu", [blob], blob.shape, last=blob.last, parameters={"slope": slope})


def _base(options: LayerOptions) -> Mapping[str, Any]:
    base = options.number("base", -1.0)
    if base != -1 and base <= 0:
        raise options.fault("base", "positive, or -1 for e", base)
    numbers = {"scale": options.number("scale", 1.0), "shift": options.number("shift", 0.0)}
    return {"base": None if base == -1 else base, **numbers}


def _power(options: LayerOptions) -> Mapping[str, Any]:
    return {key: options.number(key, default) for key, default in (("power", 1.0), ("scale", 1.0), ("shift", 0.0))}


def _limits(options: LayerOptions) -> Mapping[str, Any]:
    for field in ("min", "max"):
        if field not in options:
            raise options.fault(field, "a number", None)
    return {"minimum": options.number("min", 0.0), "maximum": options.number("max", 0.0)}


def _swish(layer: Layer) -> Blob:
    layer.check_counts(1)
    beta, blob = layer.options("swish").number("beta", 1.0), layer.bottom
    if beta == 1:
        return _apply(layer, "swish")
    scaled = layer.add("rescale", [blob], blob.shape, last=blob.last, options={"scale": beta})
    gate = layer.add("sigmoid", [scaled], blob.shape, last=blob.last)
    return layer.finish("multiply", [blob, gate], blob.shape, last=blob.last)


def _drop(layer: Layer) -> Blob:
    options = layer.options("dropout")
    rate = options.number("dropout_ratio", 0.5)
    if not 0 <= rate < 1:
        raise options.fault("dropout_ratio", "in [0, 1)", rate)
    if options.flag("scale_train", True):
        return _apply(layer, "dropout", {"rate": rate})
    layer.check_counts(1)
    blob = layer.bottom  # a fork: what is kept is scaled when testing, not when training
    dropped = layer.add("dropout", [blob], blob.shape, last=blob.last, options={"rate": rate})
    return layer.finish("rescale", [dropped], blob.shape, last=blob.last, options={"scale": 1 - rate})


def _combine(layer: Layer) -> Blob:
    layer.check_counts((2, None))
    options = layer.options("eltwise")
    operation = options.choice("operation", ("PROD", "SUM", "MAX"), "SUM")
    factors = options.numbers("coeff")
    if factors and (operation != "SUM" or len(factors) != len(layer.bottoms)):
        raise layer.error(f"its {len(factors)} coefficients are for sums, one for each of {len(layer.bottoms)} blobs.")
    blobs = layer.alike(layer.bottoms)
    first = blobs[0]
    for blob in blobs:
        fits = blob.rank == first.rank and all(
            n is None or m is None or n == m for n, m in zip(blob.shape, first.shape, strict=True)
        )
        if not fits:
            raise layer.error(f"its blobs must have one shape, got {layer.show(first)} and {layer.show(blob)}.")
    columns = zip(*(blob.shape for blob in blobs), strict=True)
    shape = tuple(next((n for n in sizes if n is not None), None) for sizes in columns)
    if any(factor != 1 for factor in factors):
        return layer.finish("weighted_sum", blobs, shape, last=first.last, options={"coefficients": factors})
    op = {"PROD": "multiply", "SUM": "add", "MAX": "maximum"}[operation]
    return layer.finish(op, blobs, shape, last=first.last)


def _add_scaled(layer: Layer) -> Blob:
    """Imports ``Axpy``: factors of channels times a blob, plus another."""
    layer.check_counts(3)
    factor, x, y = layer.bottoms
    x, factor = multiply_leading(layer, x, factor)
    product = layer.add("multiply", [x, factor], x.shape, last=x.last)
    product, y = layer.alike([product, y])
    if y.rank != product.rank:
        raise layer.error(f"it cannot add {layer.show(y)} to {layer.show(product)}.")
    return layer.finish("add", [product, y], x.shape, last=product.last)


FUNCTION_LAYERS: Mapping[str, LayerRule] = {
    "ReLU": _with("relu", "relu", lambda options: {"negative_slope": options.number("negative_slope", 0.0)}),
    "ReLU6": lambda layer: _apply(layer, "clip", {"minimum": 0.0, "maximum": 6.0}),
    "PReLU": _rectify_by_parameter,
    "ELU": _with("elu", "elu", lambda options: {"alpha": options.number("alpha", 1.0)}),
    "Sigmoid": _simple("sigmoid"),
    "TanH": _simple("tanh"),
    "AbsVal": _simple("abs"),
    "BNLL": _simple("softplus"),
    "HardSwish": _simple("hard_swish"),
    "HSwish": _simple("hard_swish"),
    "Mish": _simple("mish"),
    "Power": _with("power", "power", _power),
    "Exp": _with("exp_base", "exp", _base),
    "Log": _with("log_base", "log", _base),
    "Threshold": _with("threshold", "threshold", lambda options: {"threshold": options.number("threshold", 0.0)}),
    "Clip": _with("clip", "clip", _limits),
    "Swish": _swish,
    "Dropout": _drop,
    "Eltwise": _combine,
    "Axpy": _add_scaled,
}
"""Type to how it is imported."""
