"""The weighted gather (a sum of neighboring pixels times weights) and its two gradients, as JAX primitives.

A sum of pixels times weights is linear in each of the two, so its gradients are sums of the same kind. Three
operations, each the derivative of the others, carry forward and reverse mode of any order:

- ``gather`` (pixels, base index of every point, weights, one array per tap) -> values;
- ``image_gradient`` (g, base indices, weights) -> gradient to the pixels;
- ``weight_gradient`` (pixels, base indices, g) -> gradient to the weights, stacked.

The base index is the first pixel that a point reads; it is an integer and has no derivative. The other pixels lie at
fixed distances from it (``GatherSpec``). Which implementation runs is chosen when a primitive is lowered:
``gather_xla`` or ``gather_native``. The gradient to the grid continues from the weights to the positions in
``interpolation``, by JAX's own rules.
"""

import functools
import math
import operator
from collections.abc import Mapping, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad

from jaxcnn._typing import AnyArray
from jaxcnn.ops import _native
from jaxcnn.ops._batching import exceeds
from jaxcnn.ops._primitives import (
    ArrayFunction,
    LoweringTarget,
    create_primitive,
    match_varying_axes,
    move_batch_axis_first,
)
from jaxcnn.ops._sampling import gather_native, gather_xla
from jaxcnn.ops._sampling.gather_spec import GatherSpec

__all__ = ["weighted_gather"]

OperationName = Literal["gather", "image_gradient", "weight_gradient"]

_MAX_GATHERED_TAPS = 4  # taps of one channel up to which their gradients are gathered: XLA fuses these with their uses

_PLAIN: Mapping[OperationName, ArrayFunction] = {
    "gather": gather_xla.gather,
    "image_gradient": gather_xla.image_gradient,
    "weight_gradient": gather_xla.weight_gradient,
}
_ON_ONE_CPU: Mapping[OperationName, ArrayFunction] = {
    "gather": gather_xla.gather_flat,
    "image_gradient": gather_xla.image_gradient_loop,
    "weight_gradient": gather_xla.weight_gradient_loop,
}
_NATIVE: Mapping[OperationName, ArrayFunction] = {
    "image_gradient": gather_native.image_gradient,
    "weight_gradient": gather_native.weight_gradient,
}


def weighted_gather(
    pixels: jax.Array,
    weights: Sequence[jax.Array],
    base_index: jax.Array,
    *,
    row_offsets: Sequence[int],
    row_width: int,
    finite: bool = False,
) -> jax.Array:
    """Sums pixels times weights at every point; pixels of weight zero count as zero even if they are not finite.

    Args:
        pixels: (n, c).
        weights: Of every tap, row by row, (*points) of the same dtype. They are not stacked: XLA's CPU backend would
            store them before it reads them.
        base_index: (*points) int32, the first pixel that a point reads.
        row_offsets: Where the rows of a point begin, counted from its base index. All pixels that are read must lie
            within ``pixels``.
        row_width: Pixels of a row.
        finite: Whether all pixels are known to be finite; this saves a comparison per tap, a third of the time.

    Returns:
        (*points, c).
    """
    spec = GatherSpec(tuple(row_offsets), row_width, pixels.shape[0], (), finite)
    if jax.typeof(base_index).sharding.mesh.explicit_axes:  # which may shard the axes of the points
        return gather_xla.gather(pixels, base_index, *weights, spec=spec)
    return _bind(_gather, pixels, base_index, *weights, spec=spec)


def _bind(primitive: Primitive, *arrays: AnyArray, spec: GatherSpec) -> jax.Array:
    return primitive.bind(*match_varying_axes(*arrays), spec=spec)


def _define(operation: OperationName) -> Primitive:
    primitive = create_primitive(
        f"sampling_{operation}",
        abstract_eval=functools.partial(_infer_shape, operation),
        choose=functools.partial(_choose, operation),
        batch=functools.partial(_batch, operation),
        static_argnames=("spec",),
    )
    ad.primitive_jvps[primitive] = functools.partial(_jvp, primitive)
    ad.primitive_transposes[primitive] = functools.partial(_transpose, primitive)
    return primitive


def _choose(
    operation: OperationName,
    target: LoweringTarget,
    a: ShapedArray,
    base_index: ShapedArray,
    *rest: ShapedArray,
    spec: GatherSpec,
) -> ArrayFunction:
    """Chooses what computes an operation on operands of these shapes; exported programs get no native kernels."""
    small = not exceeds(math.prod(spec.batch_shape(base_index)) * spec.num_pixels, 2**31 - 1)
    on_one_cpu = target.platform == "cpu" and target.sees_whole_arrays
    if on_one_cpu and small and 0 not in base_index.shape and a.shape[-1] > 0:
        if operation == "weight_gradient" and a.shape[-1] == 1 and spec.num_taps <= _MAX_GATHERED_TAPS:
            return functools.partial(gather_xla.weight_gradient_flat, spec=spec)
        if (
            operation in _NATIVE
            and not target.is_exported
            and _native.is_requested()
            and gather_native.supports(a, *rest)
        ):
            return functools.partial(_NATIVE[operation], spec=spec)
        return functools.partial(_ON_ONE_CPU[operation], spec=spec)
    function = functools.partial(_PLAIN[operation], spec=spec)
    for batched in reversed(spec.is_batched):
        if operation == "image_gradient" and not batched:
            function = functools.partial(_sum_over_batch, function)
        else:
            axes = (0 if batched or operation == "image_gradient" else None, 0, *[0] * len(rest))
            function = jax.vmap(function, axes)
    return function


def _sum_over_batch(function: ArrayFunction, *arrays: jax.Array) -> jax.Array:
    return jnp.sum(jax.vmap(function)(*arrays), 0)


def _infer_shape(
    operation: OperationName, a: ShapedArray, base_index: ShapedArray, *rest: ShapedArray, spec: GatherSpec
) -> ShapedArray:
    del rest
    if operation == "gather":
        shape = (*base_index.shape, a.shape[-1])
    elif operation == "weight_gradient":
        shape = (*base_index.shape, spec.num_taps)
    else:
        shape = (*spec.batch_shape(base_index), spec.num_pixels, a.shape[-1])
    return a.update(shape=shape, sharding=a.sharding.update(spec=(None,) * len(shape)), weak_type=False)


def _batch(
    operation: OperationName,
    primitive: Primitive,
    arrays: Sequence[AnyArray],
    axes: Sequence[int | None],
    *,
    spec: GatherSpec,
) -> tuple[jax.Array, int]:
    n = next(x.shape[axis] for x, axis in zip(arrays, axes, strict=True) if axis is not None)
    # Images that are not mapped are shared; what belongs to points is repeated, being small beside the values.
    batched = operation == "image_gradient" or axes[0] is not None
    arrays = [
        x if i == 0 and not batched else move_batch_axis_first(x, axis, n)
        for i, (x, axis) in enumerate(zip(arrays, axes, strict=True))
    ]
    return _bind(primitive, *arrays, spec=spec._replace(is_batched=(batched, *spec.is_batched))), 0


def _jvp(
    primitive: Primitive,
    primals: Sequence[AnyArray],
    tangents: Sequence[AnyArray | ad.Zero],
    *,
    spec: GatherSpec,
) -> tuple[jax.Array, jax.Array]:
    a, base_index, *rest = primals
    change, _, *changes = tangents
    value = _bind(primitive, *primals, spec=spec)
    terms = []
    if not isinstance(change, ad.Zero):
        terms.append(_bind(primitive, change, base_index, *rest, spec=spec))
    if any(not isinstance(c, ad.Zero) for c in changes):
        instantiated = [ad.instantiate_zeros(c) for c in changes]
        terms.append(_bind(primitive, a, base_index, *instantiated, spec=spec))
    if not terms:
        return value, jnp.zeros_like(value)
    return value, functools.reduce(operator.add, terms)


def _transpose(
    primitive: Primitive,
    ct: AnyArray,
    a: AnyArray | ad.UndefinedPrimal,
    base_index: AnyArray,
    *rest: AnyArray | ad.UndefinedPrimal,
    spec: GatherSpec,
) -> list[jax.Array | None]:
    """Computes the gradient of a primitive to its first operand, or to the others."""
    defined = [x for x in rest if not isinstance(x, ad.UndefinedPrimal)]
    if primitive is _weight_gradient:
        parts = _unstack(ct)
        if isinstance(a, ad.UndefinedPrimal):
            return [_bind(_image_gradient, *defined, base_index, *parts, spec=spec), None, None]
        return [None, None, _bind(_gather, a, base_index, *parts, spec=spec)]
    if isinstance(a, ad.UndefinedPrimal):
        other = _image_gradient if primitive is _gather else _gather
        return [_bind(other, ct, base_index, *defined, spec=spec), None, *[None] * len(rest)]
    pixels, g = (a, ct) if primitive is _gather else (ct, a)
    parts = _unstack(_bind(_weight_gradient, pixels, base_index, g, spec=spec))
    return [None, None, *(p if ad.is_undefined_primal(w) else None for p, w in zip(parts, rest, strict=True))]


def _unstack(weights: AnyArray) -> list[jax.Array]:
    """Splits stacked weights into one array per tap."""
    return [jax.lax.index_in_dim(weights, k, axis=-1, keepdims=False) for k in range(weights.shape[-1])]


_gather, _image_gradient, _weight_gradient = _define("gather"), _define("image_gradient"), _define("weight_gradient")
