"""Layers of Keras that merge values."""

import functools
from collections.abc import Sequence

from jaxcnn.zoo.graphs.keras.layer_call import Handler, LayerCall, LayerValue, UnknownLayer

__all__ = ["LAYERS", "arrange", "concatenate"]


def arrange(call: LayerCall, values: Sequence[LayerValue]) -> list[LayerValue]:
    """Brings values to one order of axes: as they are held if all are held alike, else the source's."""
    if len({value.lead for value in values}) > 1:
        raise call.error("the inputs are inside and outside of a wrapper.")
    if len({(value.rank, value.moved) for value in values}) == 1:
        return list(values)
    return [call.source(value) for value in values]


def _merge(call: LayerCall, *, op: str, count: int | None = None) -> LayerValue:
    """Adds an operation on values, from left to right; those of fewer axes broadcast along the first ones."""
    if len(call.inputs) < 2 or count not in (None, len(call.inputs)):
        raise call.error(f"the inputs must be {count or 'several'} tensors, got {len(call.inputs)}.")
    values = arrange(call, call.inputs)
    return call.add(op, *values, rank=max(value.rank for value in values))


def concatenate(call: LayerCall, values: Sequence[LayerValue], axis: object) -> LayerValue:
    """Joins values along an axis of the source."""
    values = arrange(call, values)
    if len({value.rank for value in values}) > 1:
        raise call.error("the inputs have different numbers of axes.")
    return call.add("concat", *values, axis=call.axis(values[0], axis))


def _concatenate(call: LayerCall) -> LayerValue:
    return concatenate(call, call.inputs, call.options.get("axis", -1))


def _multiply_matrices(call: LayerCall, axes: object, normalize: bool) -> LayerValue:
    """Adds the sum of products along an axis of each of two values."""
    if len(call.inputs) != 2:
        raise call.error(f"the inputs must be two tensors, got {len(call.inputs)}.")
    both = [call.source(value) for value in call.inputs]
    pair = axes if isinstance(axes, list | tuple) else [axes, axes]
    if len(pair) != 2 or len({value.rank for value in both}) > 1 or both[0].rank > 2:
        raise UnknownLayer(f"{call.layer.kind} of tensors of these ranks")
    found = [call.axis(value, axis, what="axes") for value, axis in zip(both, pair, strict=True)]
    if normalize:
        both = [
            call.add("l2_normalize", value, axes=(axis,), epsilon=1e-12)
            for value, axis in zip(both, found, strict=True)
        ]
    if both[0].rank == 1:
        return call.add("reduce_sum", call.add("multiply", *both), axes=(-1,), keepdims=True)
    return call.add("matmul", *both, transpose_a=found[0] == -2, transpose_b=found[1] == -1)


def _dot(call: LayerCall) -> LayerValue:
    return _multiply_matrices(call, call.options.get("axes", -1), call.options.flag("normalize", False))


_MODES = {"sum": "add", "mul": "multiply", "ave": "average", "max": "maximum", "min": "minimum", "sub": "subtract"}


def _merge_by_mode(call: LayerCall) -> LayerValue:
    """Adds Keras 1's Merge."""
    mode = call.options.get("mode", "sum")
    if mode == "concat":
        return concatenate(call, call.inputs, call.options.get("concat_axis", -1))
    if mode == "dot":
        return _multiply_matrices(call, call.options.get("dot_axes", -1), False)
    if not isinstance(mode, str) or mode not in _MODES or call.options.get("mode_type", "raw") != "raw":
        raise UnknownLayer(f"Merge of the mode {str(mode)[:20]!r}")
    return _merge(call, op=_MODES[mode])


def _add_scaled(call: LayerCall) -> LayerValue:
    """Adds Inception-ResNet's sum of a value and a scaled one."""
    values = arrange(call, call.inputs)
    if len(values) != 2:
        raise call.error(f"the inputs must be two tensors, got {len(values)}.")
    return call.add("weighted_sum", *values, coefficients=(1.0, call.options.number("scale")))


LAYERS: dict[str, Handler] = {
    "Add": functools.partial(_merge, op="add"),
    "Subtract": functools.partial(_merge, op="subtract", count=2),
    "Multiply": functools.partial(_merge, op="multiply"),
    "Average": functools.partial(_merge, op="average"),
    "Maximum": functools.partial(_merge, op="maximum"),
    "Minimum": functools.partial(_merge, op="minimum"),
    "Concatenate": _concatenate,
    "Dot": _dot,
    "Merge": _merge_by_mode,
    "CustomScaleLayer": _add_scaled,
}
"""Layers of several inputs."""
