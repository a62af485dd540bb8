"""Weighted sums of neighbouring pixels and their two adjoints, as primitives that are one another's derivatives.

``read`` (pixels, weights) -> values, ``to_pixels`` (g, weights) -> pixels and ``to_weights`` (pixels, g) -> weights
are bilinear; which pixels they touch is given by integers, which have no derivative. Every interpolation is such a
sum, its derivative in a coordinate is one in a weight, so forward and reverse mode of any order stay among the three.

A point touches ``rows``: at fixed distances from its first pixel, ``width`` pixels in line each.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxcnn.ops import _taps_forms as forms
from jaxcnn.ops._bilinear import vary_alike
from jaxcnn.ops._taps_forms import Taps

__all__ = ["read"]


def read(pixels: Any, weights: Any, first: Any, *, rows: Sequence[int], width: int) -> jax.Array:
    """Sums pixels times weights at every point; what has weight zero counts as zero, also if it is not finite.

    Args:
        pixels: (n, c).
        weights: (*points, t) of the same dtype, row by row; t = len(rows) * width.
        first: (*points) int32, the first pixel that a point touches.
        rows: Where its rows begin, counted from there. All that is touched must be within ``pixels``.
        width: Pixels of a row.

    Returns:
        (*points, c).
    """
    taps = Taps(tuple(rows), width, pixels.shape[0], ())
    if jax.typeof(weights).sharding.mesh.explicit_axes:  # which may shard the axes of the points
        return forms.read(pixels, weights, first, taps=taps)
    shape = first.shape
    values = _bind(_read, pixels, weights.reshape(-1, weights.shape[-1]), first.reshape(-1), taps=taps)
    return values.reshape(*shape, pixels.shape[-1])


def _bind(primitive: Primitive, a: Any, b: Any, first: Any, *, taps: Taps) -> Any:
    return primitive.bind(*vary_alike(a, b, first), taps=taps)


def _define(name: str) -> Primitive:
    primitive = Primitive(f"taps_{name}")

    @functools.partial(jax.jit, static_argnames="taps")
    def alone(a: Any, b: Any, first: Any, *, taps: Taps) -> Any:
        return primitive.bind(a, b, first, taps=taps)

    def lower(platform: str | None, context: Any, *arrays: Any, taps: Taps) -> Any:
        looped = platform == "cpu" and _on_one_device(context.module_context.axis_context)
        exported = context.module_context.lowering_parameters.for_export
        form = forms.choose(name, *context.avals_in, taps=taps, looped=looped, exported=exported)
        return mlir.lower_fun(form, multiple_results=False)(context, *arrays)

    primitive.def_impl(alone)
    primitive.def_abstract_eval(functools.partial(_shape, name))
    for platform in (None, "cpu"):
        mlir.register_lowering(primitive, functools.partial(lower, platform), platform=platform)
    batching.primitive_batchers[primitive] = functools.partial(_batch, name, primitive)
    return primitive


def _on_one_device(context: Any) -> bool:
    """Tells if the program, or the part of a ``shard_map`` that is lowered, sees whole arrays."""
    manual = getattr(context, "manual_axes", None)
    if manual is not None:
        return frozenset(context.mesh.axis_names) == manual
    return getattr(context, "num_devices", 0) == 1


def _shape(name: str, a: Any, b: Any, first: Any, *, taps: Taps) -> Any:
    *lead, q = first.shape
    if name == "read":
        shape = (*lead, q, a.shape[-1])
    elif name == "to_weights":
        shape = (*lead, q, taps.number)
    else:
        shape = (*(n for n, own in zip(lead, taps.own, strict=True) if own), taps.pixels, a.shape[-1])
    return a.update(shape=shape, sharding=a.sharding.update(spec=(None,) * len(shape)), weak_type=False)


def _batch(name: str, primitive: Primitive, arrays: Sequence[Any], axes: Sequence[Any], *, taps: Taps) -> Any:
    n = next(x.shape[axis] for x, axis in zip(arrays, axes, strict=True) if axis is not None)
    # Images that are not mapped are shared; what belongs to points is repeated, being small beside the values.
    own = name == "to_pixels" or axes[0] is not None
    arrays = [
        x if i == 0 and not own else _first(x, axis, n) for i, (x, axis) in enumerate(zip(arrays, axes, strict=True))
    ]
    return _bind(primitive, *arrays, taps=taps._replace(own=(own, *taps.own))), 0


def _first(array: Any, axis: int | None, n: int) -> Any:
    return jnp.broadcast_to(array, (n, *array.shape)) if axis is None else jnp.moveaxis(array, axis, 0)


_read, _to_pixels, _to_weights = (_define(name) for name in ("read", "to_pixels", "to_weights"))

# The adjoints of each in its first and in its second operand, from the cotangent and both.
_ADJOINTS: dict[Primitive, Any] = {
    _read: (
        lambda ct, pixels, weights: (_to_pixels, ct, weights),
        lambda ct, pixels, weights: (_to_weights, pixels, ct),
    ),
    _to_pixels: (lambda ct, g, weights: (_read, ct, weights), lambda ct, g, weights: (_to_weights, ct, g)),
    _to_weights: (lambda ct, pixels, g: (_to_pixels, g, ct), lambda ct, pixels, g: (_read, pixels, ct)),
}


def _adjoint(primitive: Primitive, ct: Any, a: Any, b: Any, first: Any, *, taps: Taps) -> list[Any]:
    position = 0 if ad.is_undefined_primal(a) else 1
    adjoint, left, right = _ADJOINTS[primitive][position](ct, a, b)
    result = _bind(adjoint, left, right, first, taps=taps)
    return [result, None, None] if position == 0 else [None, result, None]


def _linear(primitive: Primitive, position: int, tangent: Any, a: Any, b: Any, first: Any, *, taps: Taps) -> Any:
    a, b = (tangent, b) if position == 0 else (a, tangent)
    return _bind(primitive, a, b, first, taps=taps)


for _primitive in _ADJOINTS:
    ad.defjvp(_primitive, *(functools.partial(_linear, _primitive, position) for position in (0, 1)), None)
    ad.primitive_transposes[_primitive] = functools.partial(_adjoint, _primitive)
