"""Normalization layers of Keras."""

from collections.abc import Sequence

import numpy as np

from jaxcnn.zoo.graphs.keras.layer_call import Handler, LayerCall, LayerValue, UnknownLayer
from jaxcnn.zoo.graphs.keras.options import find_constant

__all__ = ["LAYERS"]


def _normalize_batch(call: LayerCall) -> LayerValue:
    """Adds batch norm; modes 1 and 2 of Keras 1 are unknown, as they normalize by the batch also in inference."""
    x = call.input()
    options = call.options
    if options.get("mode", 0) != 0:
        raise UnknownLayer(f"BatchNormalization of mode {str(options.get('mode'))[:20]}")
    if options.get("renorm", False):
        call.parts.builder.note("Batch renormalization: training uses ordinary batch statistics.")
    axes = call.axes(x, options.get("axis", -1))
    if len(axes) > 1:
        raise UnknownLayer("BatchNormalization over several axes")
    parameters = call.parameters(gamma=(None,), beta=(None,), moving_mean=(None,), moving_variance=(None,))
    momentum = _momentum(call)
    return call.add(
        "batch_norm", x, parameters=parameters, axis=min(axes), epsilon=_epsilon(call, 1e-3), momentum=momentum
    )


def _momentum(call: LayerCall) -> float:
    momentum = call.options.number("momentum", 0.99)
    if not 0 <= momentum <= 1:
        raise call.options.wrong("momentum", "a number in [0, 1]")
    return momentum


def _epsilon(call: LayerCall, default: float) -> float:
    epsilon = call.options.number("epsilon", default)
    if epsilon < 0:
        raise call.options.wrong("epsilon", "a number of at least 0")
    return epsilon


def _spread(array: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Puts the axes of a weight, in the order of ``axes``, where they are in the held value."""
    order = np.argsort(axes)
    array = array.transpose(order)
    shape = [1] * -min(axes)
    for size, axis in zip(array.shape, np.sort(axes), strict=True):
        shape[axis] = size
    return array.reshape(shape)


def _scale_and_shift(call: LayerCall, axes: Sequence[int]) -> dict[str, str]:
    """Adds gamma and beta, so that they broadcast over the other axes."""
    found = {}
    for role, name in (("gamma", "scale"), ("beta", "bias")):
        if role in call.parts.list_roles(call.layer):
            array = call.weight(role, (None,) * len(axes))
            found[name] = call.parameter(role, None if array is None else _spread(array, axes))
    return found


def _normalize_layer(call: LayerCall) -> LayerValue:
    x = call.input()
    axes = call.axes(x, call.options.get("axis", -1))
    parameters = _scale_and_shift(call, axes)
    if call.options.flag("rms_scaling", False):
        raise UnknownLayer("LayerNormalization with rms_scaling")
    return call.add("mean_variance_norm", x, parameters=parameters, axes=axes, epsilon=_epsilon(call, 1e-3))


def _normalize_groups(call: LayerCall) -> LayerValue:
    """Adds group norm; one channel per group is instance norm."""
    x = call.input()
    axis = call.axis(x, call.options.get("axis", -1))
    groups = call.options.integer("groups", 32, low=-1) if call.layer.kind == "GroupNormalization" else -1
    epsilon = _epsilon(call, 1e-3)
    if groups in (-1, 0):
        others = tuple(one for one in range(-x.rank, 0) if one != axis)
        parameters = _scale_and_shift(call, (axis,))
        return call.add("mean_variance_norm", x, parameters=parameters, axes=others, epsilon=epsilon)
    if x.lead:
        raise UnknownLayer("GroupNormalization in a wrapper")
    order = None
    if axis != -1:  # the operation normalizes groups of the last axis
        order = [one for one in range(x.rank) if one != axis + x.rank] + [axis + x.rank]
        x = call.permute(x, order, moved=x.moved)
    y = call.add(
        "group_norm", x, parameters=call.parameters(gamma=(None,), beta=(None,)), groups=groups, epsilon=epsilon
    )
    return y if order is None else call.permute(y, [order.index(one) for one in range(x.rank)], moved=y.moved)


def _normalize_unit(call: LayerCall) -> LayerValue:
    x = call.input()
    return call.add("l2_normalize", x, axes=call.axes(x, call.options.get("axis", -1)), epsilon=1e-12)


def _standardize(call: LayerCall) -> LayerValue:
    """Adds the pre-processing layer: a fixed mean and variance, from the weights or the configuration."""
    x = call.source(call.input())
    stated = call.layer.config.get("axis", -1)
    axis = () if stated is None or stated == [] else tuple(sorted(call.axes(x, stated)))
    if call.options.get("mean") is None:
        mean, variance = (call.weight(role, (None,) * len(axis)) for role in ("mean", "variance"))
    else:
        mean, variance = (find_constant(call.options.get(role)) for role in ("mean", "variance"))
        if mean is None or variance is None:
            raise call.options.wrong("mean", "numbers, as must be variance")
    if mean is None or variance is None:
        return x
    mean, variance = (_place(call, one.astype(np.float32), axis) for one in (mean, variance))
    deviation = np.maximum(np.sqrt(variance), np.float32(1e-7))
    mean_path, deviation_path = call.constant("mean", mean), call.constant("deviation", deviation)
    if call.options.flag("invert", False):
        y = call.add("multiply", x, parameters={"constant": deviation_path})
        return call.add("add", y, parameters={"constant": mean_path})
    y = call.add("subtract", x, parameters={"constant": mean_path})
    return call.add("divide", y, parameters={"constant": deviation_path})


def _place(call: LayerCall, array: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """Shapes means so that they broadcast."""
    array = np.squeeze(array) if array.ndim != len(axes) else array
    if array.ndim == 0 or (array.size == 1 and not axes):
        return array.reshape(())
    if array.ndim != len(axes):
        raise call.options.wrong("mean", f"an array of {len(axes)} axes")
    return _spread(array, axes)


LAYERS: dict[str, Handler] = {
    "BatchNormalization": _normalize_batch,
    "LayerNormalization": _normalize_layer,
    "GroupNormalization": _normalize_groups,
    "InstanceNormalization": _normalize_groups,
    "UnitNormalization": _normalize_unit,
    "Normalization": _standardize,
}
"""Layers that normalize."""
