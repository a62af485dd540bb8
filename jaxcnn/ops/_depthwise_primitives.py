"""Depthwise convolution and its two adjoints as primitives that are one another's derivatives.

``forward`` (x, kernel) -> y, ``to_input`` (g, kernel) -> x and ``to_kernel`` (x, g) -> kernel are bilinear, and the
transpose of each in either operand is another of the three. With that, forward and reverse mode of
any order never leave them, so no gradient is left to autodiff of an implementation. Batching over
kernels adds an axis to ``Geometry.shared``; batching over images alone adds a leading axis to these.

What runs is chosen when a primitive is lowered, by platform and shape: see ``_depthwise_dispatch``.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxcnn.ops import _depthwise_dispatch as dispatch
from jaxcnn.ops._depthwise_geometry import Geometry

__all__ = ["forward", "to_input", "to_kernel"]


def forward(x: jax.Array, kernel: jax.Array, *, geometry: Geometry, implementation: str) -> jax.Array:
    """Convolves x (*own, *batch, *size, c) by a kernel (*shared, *kernel, c, m)."""
    return _bind(_forward, x, kernel, geometry, implementation)


def to_input(g: jax.Array, kernel: jax.Array, *, geometry: Geometry, implementation: str) -> jax.Array:
    """Applies the adjoint of ``forward`` in x to g, of the shape of its output."""
    return _bind(_to_input, g, kernel, geometry, implementation)


def to_kernel(x: jax.Array, g: jax.Array, *, geometry: Geometry, implementation: str) -> jax.Array:
    """Applies the adjoint of ``forward`` in the kernel to g, of the shape of its output."""
    return _bind(_to_kernel, x, g, geometry, implementation)


def _bind(primitive: Primitive, a: Any, b: Any, geometry: Geometry, implementation: str) -> Any:
    return primitive.bind(*_vary_alike(a, b), geometry=geometry, implementation=implementation)


def _vary_alike(*arrays: Any) -> list[Any]:
    """Makes arrays vary over the same manual axes of a ``shard_map``; without it gradients miss a sum there."""
    varying = [_varying(a) for a in arrays]
    every = frozenset().union(*varying)
    missing = [tuple(every - own) for own in varying]
    return [jax.lax.pcast(a, axes, to="varying") if axes else a for a, axes in zip(arrays, missing, strict=True)]


def _varying(array: Any) -> frozenset[Any]:
    kind = jax.typeof(array)
    manual = getattr(kind, "manual_axis_type", None)  # JAX 0.10; newer and older ones call it vma
    return manual.varying if manual is not None else getattr(kind, "vma", frozenset())


def _shape(function: str, a: Any, b: Any, geometry: Geometry) -> Any:
    """Gives shape and sharding of the result: leading axes and channels are sharded as the operands are."""
    rank, number = geometry.rank, len(geometry.shared)
    first, second = _axes(a), _axes(b)
    for array, axes in [(a, first), (b, second)][: 2 if function == "to_kernel" else 1]:
        if any(axis is not None for axis in axes[-1 - rank : -1]):
            got = f"{axes} for {array.shape}"
            raise ValueError(f"depthwise_conv: the spatial axes of x must not be sharded, got {got}.")
    lead = list(zip(a.shape, first, strict=True))[: a.ndim - 1 - rank]
    shared = list(zip(b.shape, second, strict=True))[:number]
    if function == "forward":
        every, own = [], iter(lead)
        for has, kernels in zip(geometry.shared, shared, strict=True):
            images = next(own) if has else (kernels[0], None)
            every.append(images if images[1] is not None else kernels)
        lead = every + list(own)
    elif function == "to_input":
        lead = [axis for axis, has in zip(lead, geometry.shared, strict=False) if has] + lead[number:]
    else:
        lead = shared
    channel = first[-1] if first[-1] is not None else second[-1 if function == "to_kernel" else -2]
    c, m = (a.shape[-1], b.shape[-1] // a.shape[-1]) if function == "to_kernel" else b.shape[-2:]
    tail = {
        "forward": [*((n, None) for n in geometry.outputs), (c * m, channel)],
        "to_input": [*((n, None) for n in geometry.size), (c, channel)],
        "to_kernel": [*((n, None) for n in geometry.kernel), (c, channel), (m, None)],
    }[function]
    shape, axes = zip(*lead, *tail, strict=True)
    return a.update(shape=shape, sharding=a.sharding.update(spec=axes), weak_type=False)


def _axes(array: Any) -> tuple[Any, ...]:
    spec = tuple(array.sharding.spec)
    return spec + (None,) * (array.ndim - len(spec))


def _define(function: str) -> Primitive:
    primitive = Primitive(f"depthwise_{function}")

    def run(a: Any, b: Any, *, geometry: Geometry, implementation: str, platform: str | None, exported: bool) -> Any:
        return dispatch.choose(function, a, b, geometry, implementation, platform, exported)(a, b)

    def lower(platform: str | None, context: Any, *arrays: Any, **how: Any) -> Any:
        exported = context.module_context.lowering_parameters.for_export
        rule = functools.partial(run, platform=platform, exported=exported)
        return mlir.lower_fun(rule, multiple_results=False)(context, *arrays, **how)

    @functools.partial(jax.jit, static_argnames=("geometry", "implementation"))
    def alone(a: Any, b: Any, *, geometry: Geometry, implementation: str) -> Any:
        return primitive.bind(a, b, geometry=geometry, implementation=implementation)

    primitive.def_impl(alone)
    primitive.def_abstract_eval(lambda a, b, *, geometry, implementation: _shape(function, a, b, geometry))
    for platform in (None, "cpu"):
        mlir.register_lowering(primitive, functools.partial(lower, platform), platform=platform)
    batching.primitive_batchers[primitive] = functools.partial(_batch, function, primitive)
    return primitive


def _batch(
    function: str, primitive: Primitive, arrays: Sequence[Any], axes: Sequence[Any], *, geometry: Geometry, **rest: Any
) -> tuple[Any, int]:
    (a, b), (i, j) = arrays, axes
    if j is None and function != "to_kernel":  # images only: one more leading axis behind the shared ones
        every, own = len(geometry.shared), sum(geometry.shared)
        before, after = (every, own) if function == "to_input" else (own, every)
        return _bind(primitive, jnp.moveaxis(a, i, before), b, geometry, **rest), after
    n = a.shape[i] if i is not None else b.shape[j]
    own = i is not None or function == "to_input"
    b = _first(b, j, n)
    a = _first(a, i, n) if own else a
    geometry = geometry._replace(shared=(own, *geometry.shared))
    return _bind(primitive, a, b, geometry, **rest), 0


def _first(array: Any, axis: int | None, n: int) -> Any:
    """Brings a mapped axis to the front, or repeats what is not mapped."""
    if axis is not None:
        return jnp.moveaxis(array, axis, 0)
    return jax.lax.broadcast_in_dim(array, (n, *array.shape), tuple(range(1, array.ndim + 1)))


_forward, _to_input, _to_kernel = (_define(name) for name in ("forward", "to_input", "to_kernel"))

ad.defbilinear(
    _forward,
    lambda g, x, kernel, **how: to_input(g, kernel, **how),
    lambda g, x, kernel, **how: to_kernel(x, g, **how),
)
ad.defbilinear(
    _to_input,
    lambda x, g, kernel, **how: forward(x, kernel, **how),
    lambda x, g, kernel, **how: to_kernel(x, g, **how),
)
ad.defbilinear(
    _to_kernel,
    lambda kernel, x, g, **how: to_input(g, kernel, **how),
    lambda kernel, x, g, **how: forward(x, kernel, **how),
)
