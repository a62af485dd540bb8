"""Caffe's layers that normalize, and those that scale and shift channels."""

from collections.abc import Callable, Mapping

import numpy as np

from jaxcnn.zoo.graphs.caffe.layer_options import LayerOptions
from jaxcnn.zoo.graphs.caffe.network import Blob, Layer, LayerRule, Unsupported

__all__ = ["NORMALIZING_LAYERS", "multiply_leading"]

_STORED_NOTE = (
    "Batch normalization uses the stored statistics at inference, also where the file states "
    "use_global_stats: false, as nets in training do."
)


def _normalize_batch(layer: Layer) -> Blob:
    layer.check_counts(1)
    options, blob = layer.options("batch_norm"), layer.bottom
    if blob.rank < 1:
        raise layer.error(f"it must read channels, got {layer.show(blob)}.")
    if not options.flag("use_global_stats", True):
        layer.network.builder.note(_STORED_NOTE)
    shape = blob.shape[:1]
    parameters = {
        "mean": layer.weight("mean", shape, "mean", collection="batch_stats"),
        "var": layer.weight("variance", shape, "var", collection="batch_stats"),
    }
    if layer.has("scale"):  # forks that keep scale and bias in the same layer
        parameters |= {"scale": layer.weight("scale", shape, "scale"), "bias": layer.weight("bias", shape, "bias")}
    return _finish_batch_norm(layer, blob, parameters, options, fraction=0.999, field="moving_average_fraction")


def _finish_batch_norm(
    layer: Layer, blob: Blob, parameters: Mapping[str, str], options: LayerOptions, *, fraction: float, field: str
) -> Blob:
    epsilon, momentum = options.number("eps", 1e-5), options.number(field, fraction)
    if epsilon < 0 or not 0 <= momentum <= 1:
        raise layer.error(f"eps {epsilon} must be at least 0 and {field} {momentum} in [0, 1].")
    settings = {"epsilon": epsilon, "momentum": momentum, "axis": blob.axis(0), "unbiased": True}
    return layer.finish("batch_norm", [blob], blob.shape, last=blob.last, options=settings, parameters=parameters)


def _normalize_batch_of_forks(layer: Layer) -> Blob:
    """Imports ``BN``: of PSPNet with statistics, of SegNet with scale and shift that contain them."""
    layer.check_counts(1)
    blob, options = layer.bottom, layer.options("bn")
    shape = blob.shape[:1]

    def flat(array: np.ndarray) -> np.ndarray:
        return array.reshape(-1)

    scale, bias = (layer.weight(f"blobs/{i}", shape, role, fits=flat) for i, role in enumerate(("scale", "bias")))
    parameters = {"scale": scale, "bias": bias}
    if not layer.has("blobs/2"):
        settings = {"axis": blob.axis(0)}
        return layer.finish("scale", [blob], blob.shape, last=blob.last, options=settings, parameters=parameters)
    for i, role in ((2, "mean"), (3, "var")):
        parameters[role] = layer.weight(f"blobs/{i}", shape, role, collection="batch_stats", fits=flat)
    return _finish_batch_norm(layer, blob, parameters, options, fraction=0.9, field="momentum")


def _axes(layer: Layer, options: LayerOptions, blob: Blob) -> range:
    """Reads the axes of an example that a scale or bias has."""
    begin = layer.axis(options.integer("axis", 1, least=-32, most=32), blob)
    count = options.integer("num_axes", 1, least=-1, most=32)
    if count == 0:
        return range(0, 0)
    if begin < 0:
        raise Unsupported("along the batch")
    end = blob.rank if count == -1 else begin + count
    if end > blob.rank:
        raise layer.error(f"its {count} axes from axis {begin + 1} on do not fit {layer.show(blob)}.")
    return range(begin, end)


def _broadcasting(axes: range, blob: Blob) -> Callable[[np.ndarray], np.ndarray]:
    """Returns what shapes an array along some axes of an example so that it broadcasts as the graph holds it."""
    expected = tuple(blob.shape[axis] for axis in axes)

    def fit(array: np.ndarray) -> np.ndarray:
        if len(axes) == 0:
            return array.reshape(()) if array.size == 1 else array
        if array.ndim != len(axes) or any(n not in (None, m) for n, m in zip(expected, array.shape, strict=True)):
            return array
        if len(axes) == 1:
            return array
        full = array.reshape((1,) * axes.start + array.shape + (1,) * (blob.rank - axes.stop))
        return np.ascontiguousarray(np.moveaxis(full, 0, -1)) if blob.last else full

    return fit


def _held_shape(axes: range, blob: Blob) -> tuple[int | None, ...]:
    """Computes the shape that ``_broadcasting`` gives an array."""
    if len(axes) < 2:
        return tuple(blob.shape[axis] for axis in axes)
    shape = tuple(size if axis in axes else 1 for axis, size in enumerate(blob.shape))
    return Blob("", shape, blob.last).held


def multiply_leading(layer: Layer, blob: Blob, other: Blob) -> tuple[Blob, Blob]:
    """Shapes a blob whose axes are the first of another's so that they broadcast, both held in one order.

    Args:
        layer: The layer.
        blob: The blob of higher rank.
        other: The other.

    Returns:
        Both.
    """
    equal = all(a in (None, b, 1) or b is None for a, b in zip(other.shape, blob.shape, strict=False))
    if other.rank > blob.rank or not equal:
        raise layer.error(f"the shape {layer.show(other)} does not fit the first axes of {layer.show(blob)}.")
    if other.rank < blob.rank:
        missing = blob.rank - other.rank
        shape = (*other.shape, *[1] * missing)
        settings = {"shape": (*[None] * other.rank, *[1] * missing)}
        other = layer.add("reshape", [layer.source(other)], shape, options=settings)
    first, second = layer.alike([blob, other])
    return first, second


def _scale(layer: Layer) -> Blob:
    layer.check_counts((1, 2))
    options, blob = layer.options("scale"), layer.bottom
    biased = options.flag("bias_term", False)
    if len(layer.bottoms) == 2:
        if layer.axis(options.integer("axis", 1, least=-32, most=32), blob) >= 0:
            raise Unsupported("by a blob that has no batch")
        if biased:
            raise Unsupported("with a bias for each example of a batch")
        first, second = multiply_leading(layer, blob, layer.bottoms[1])
        return layer.finish("multiply", [first, second], blob.shape, last=first.last)
    axes = _axes(layer, options, blob)
    fit, shape = _broadcasting(axes, blob), _held_shape(axes, blob)
    parameters = {"scale": layer.weight("scale", shape, "scale", fits=fit)}
    if biased:
        parameters["bias"] = layer.weight("bias", shape, "bias", fits=fit)
    settings = {"axis": blob.axis(axes.start)} if len(axes) == 1 else {}
    return layer.finish("scale", [blob], blob.shape, last=blob.last, options=settings, parameters=parameters)


def _shift(layer: Layer) -> Blob:
    layer.check_counts((1, 2))
    options, blob = layer.options("bias"), layer.bottom
    if len(layer.bottoms) == 2:
        if layer.axis(options.integer("axis", 1, least=-32, most=32), blob) >= 0:
            raise Unsupported("by a blob that has no batch")
        first, second = multiply_leading(layer, blob, layer.bottoms[1])
        return layer.finish("add", [first, second], blob.shape, last=first.last)
    axes = _axes(layer, options, blob)
    parameters = {"bias": layer.weight("bias", _held_shape(axes, blob), "bias", fits=_broadcasting(axes, blob))}
    settings = {"axis": blob.axis(axes.start)} if len(axes) == 1 else {}
    return layer.finish("scale", [blob], blob.shape, last=blob.last, options=settings, parameters=parameters)


def _normalize_length(layer: Layer) -> Blob:
    layer.check_counts(1)
    options, blob = layer.options("norm"), layer.image()
    across = options.flag("across_spatial", True)
    if options.flag("channel_shared", True):
        slope = layer.weight("scale", (), "scale", fits=lambda array: array.reshape(()) if array.size == 1 else array)
    else:
        slope = layer.weight("scale", blob.shape[:1], "scale", fits=lambda array: array.reshape(-1))
    settings = {"axes": (0, 1, 2) if across else (-1,), "epsilon": options.number("eps", 1e-10), "rule": "add"}
    return layer.finish("l2_normalize", [blob], blob.shape, last=True, options=settings, parameters={"scale": slope})


def _normalize_mean_variance(layer: Layer) -> Blob:
    layer.check_counts(1)
    options, blob = layer.options("mvn"), layer.bottom
    if blob.rank > 3 or blob.rank < 1:
        raise layer.error(f"it must read blobs of two to four axes, got {layer.show(blob)}.")
    first = 0 if options.flag("across_channels", False) else 1
    axes = tuple(blob.axis(axis) for axis in range(first, blob.rank))
    variance = options.flag("normalize_variance", True)
    if not axes:  # vectors are images of one pixel, each of which is its own mean
        return layer.finish("rescale", [blob], blob.shape, options={"scale": 0.0})
    settings = {"axes": axes, "epsilon": options.number("eps", 1e-9), "variance": variance, "rule": "outside"}
    return layer.finish("mean_variance_norm", [blob], blob.shape, last=blob.last, options=settings)


NORMALIZING_LAYERS: Mapping[str, LayerRule] = {
    "BatchNorm": _normalize_batch,
    "BN": _normalize_batch_of_forks,
    "Scale": _scale,
    "Bias": _shift,
    "Normalize": _normalize_length,
    "MVN": _normalize_mean_variance,
}
"""Type to how it is imported."""
