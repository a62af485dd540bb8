"""Weighted sums of neighbouring pixels and their two adjoints, as primitives that are one another's derivatives.

``read`` (pixels, weights) -> values, ``to_pixels`` (g, weights) -> pixels and ``to_weights`` (pixels, g) -> weights
are bilinear; which pixels they touch is given by integers, which have no derivative. Every interpolation is such a
sum, its derivative in a coordinate is one in a weight, so forward and reverse mode of any order stay among the three.

A point touches ``rows``: at fixed distances from its first pixel, ``width`` pixels in line each. The operands are:

- ``read`` (pixels, first pixel of each point, weights, one array per tap) -> values;
- ``to_pixels`` (values, first pixels, weights) -> pixels;
- ``to_weights`` (pixels, first pixels, values) -> weights, stacked.
"""

import functools
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxcnn.ops._primitives import always_compiled, first_axis, vary_alike
from jaxcnn.ops._sampling import gather_xla as forms
from jaxcnn.ops._sampling.gather_xla import Taps

__all__ = ["read"]


def read(
    pixels: Any, weights: Sequence[Any], first: Any, *, rows: Sequence[int], width: int, finite: bool = False
) -> jax.Array:
    """Sums pixels times weights at every point; what has weight zero counts as zero, also if it is not finite.

    Args:
        pixels: (n, c).
        weights: Of every tap, row by row, (*points) of the same dtype. They are not stacked: XLA's CPU backend would
            store them before it reads them.
        first: (*points) int32, the first pixel that a point touches.
        rows: Where its rows begin, counted from there. All that is touched must be within ``pixels``.
        width: Pixels of a row.
        finite: Whether all pixels are known to be finite; a choice per tap, a third of the time, is saved then.

    Returns:
        (*points, c).
    """
    taps = Taps(tuple(rows), width, pixels.shape[0], (), finite)
    if jax.typeof(first).sharding.mesh.explicit_axes:  # which may shard the axes of the points
        return forms.read(pixels, first, *weights, taps=taps)
    return _bind(_read, pixels, first, *weights, taps=taps)


def _bind(primitive: Primitive, *arrays: Any, taps: Taps) -> Any:
    return primitive.bind(*vary_alike(*arrays), taps=taps)


def _define(name: str) -> Primitive:
    primitive = Primitive(f"taps_{name}")

    @functools.partial(jax.jit, static_argnames="taps")
    def alone(*arrays: Any, taps: Taps) -> Any:
        return primitive.bind(*arrays, taps=taps)

    def lower(platform: str | None, context: Any, *arrays: Any, taps: Taps) -> Any:
        looped = platform == "cpu" and _on_one_device(context.module_context.axis_context)
        exported = context.module_context.lowering_parameters.for_export
        form = forms.choose(name, *context.avals_in, taps=taps, looped=looped, exported=exported)
        return mlir.lower_fun(form, multiple_results=False)(context, *arrays)

    primitive.def_impl(always_compiled(alone))
    primitive.def_abstract_eval(functools.partial(_shape, name))
    for platform in (None, "cpu"):
        mlir.register_lowering(primitive, functools.partial(lower, platform), platform=platform)
    batching.primitive_batchers[primitive] = functools.partial(_batch, name, primitive)
    ad.primitive_jvps[primitive] = functools.partial(_jvp, primitive)
    ad.primitive_transposes[primitive] = functools.partial(_transpose, primitive)
    return primitive


def _on_one_device(context: Any) -> bool:
    """Tells if the program, or the part of a ``shard_map`` that is lowered, sees whole arrays."""
    manual = getattr(context, "manual_axes", None)
    if manual is not None:
        return frozenset(context.mesh.axis_names) == manual
    return getattr(context, "num_devices", 0) == 1


def _shape(name: str, a: Any, first: Any, *rest: Any, taps: Taps) -> Any:
    del rest
    if name == "read":
        shape = (*first.shape, a.shape[-1])
    elif name == "to_weights":
        shape = (*first.shape, taps.number)
    else:
        shape = (*taps.images(first), taps.pixels, a.shape[-1])
    return a.update(shape=shape, sharding=a.sharding.update(spec=(None,) * len(shape)), weak_type=False)


def _batch(name: str, primitive: Primitive, arrays: Sequence[Any], axes: Sequence[Any], *, taps: Taps) -> Any:
    n = next(x.shape[axis] for x, axis in zip(arrays, axes, strict=True) if axis is not None)
    # Images that are not mapped are shared; what belongs to points is repeated, being small beside the values.
    own = name == "to_pixels" or axes[0] is not None
    arrays = [
        x if i == 0 and not own else first_axis(x, axis, n)
        for i, (x, axis) in enumerate(zip(arrays, axes, strict=True))
    ]
    return _bind(primitive, *arrays, taps=taps._replace(own=(own, *taps.own))), 0


def _jvp(primitive: Primitive, primals: Sequence[Any], tangents: Sequence[Any], *, taps: Taps) -> Any:
    a, first, *rest = primals
    change, _, *changes = tangents
    value = _bind(primitive, *primals, taps=taps)
    terms = []
    if type(change) is not ad.Zero:
        terms.append(_bind(primitive, change, first, *rest, taps=taps))
    if any(type(c) is not ad.Zero for c in changes):
        whole = [ad.instantiate_zeros(c) for c in changes]
        terms.append(_bind(primitive, a, first, *whole, taps=taps))
    if not terms:
        return value, jnp.zeros_like(value)
    return value, functools.reduce(operator.add, terms)


def _transpose(primitive: Primitive, ct: Any, a: Any, first: Any, *rest: Any, taps: Taps) -> list[Any]:
    in_first = ad.is_undefined_primal(a)
    if primitive is _to_weights:
        (g,), parts = rest, _parts(ct)
        if in_first:
            return [_bind(_to_pixels, g, first, *parts, taps=taps), None, None]
        return [None, None, _bind(_read, a, first, *parts, taps=taps)]
    if in_first:
        other = _to_pixels if primitive is _read else _read
        return [_bind(other, ct, first, *rest, taps=taps), None, *[None] * len(rest)]
    pixels, g = (a, ct) if primitive is _read else (ct, a)
    parts = _parts(_bind(_to_weights, pixels, first, g, taps=taps))
    return [None, None, *(p if ad.is_undefined_primal(w) else None for p, w in zip(parts, rest, strict=True))]


def _parts(weights: Any) -> list[Any]:
    """Takes stacked weights apart."""
    return [jax.lax.index_in_dim(weights, k, axis=-1, keepdims=False) for k in range(weights.shape[-1])]


_read, _to_pixels, _to_weights = (_define(name) for name in ("read", "to_pixels", "to_weights"))
