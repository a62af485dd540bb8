"""A convolution and its two adjoints as primitives that are one another's derivatives.

``forward`` (x, kernel) -> y, ``to_input`` (g, kernel) -> x and ``to_kernel`` (x, g) -> kernel are bilinear, and the
transpose of each in either operand is another of the three. With that, forward and reverse mode of
any order never leave them, so no gradient is left to autodiff of an implementation. Batching over
kernels adds an axis to ``Geometry.shared``; batching over images alone adds a leading axis to these.

What runs is chosen when a primitive is lowered, by platform and shape.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxcnn.ops._conv_shape import Geometry

__all__ = ["Kind", "Operation", "always_compiled", "define", "first_axis", "vary_alike"]

Operation = Callable[..., jax.Array]
"""(a, b, *, geometry, implementation) -> array."""


class Kind(NamedTuple):
    """What is particular to one kind of convolution."""

    name: str
    # (function, a, b, geometry, axes of the mesh that a and b are sharded over) -> (length, axes of the mesh) of every
    # axis of the result behind the leading ones.
    tail: Callable[..., list[tuple[int, Any]]]
    # (function, a, b, geometry, implementation, platform, exported) -> what computes the result from a and b.
    choose: Callable[..., Callable[[Any, Any], Any]]


def define(kind: Kind) -> tuple[Operation, Operation, Operation]:
    """Makes the three functions of a kind.

    Returns:
        ``forward``: convolves x (*own, *batch, *size, c) by a kernel (*shared, *kernel, ., .).
        ``to_input``: the adjoint of ``forward`` in x, of g of the shape of its output.
        ``to_kernel``: the adjoint of ``forward`` in the kernel, of x and such a g.
    """
    primitives = [_primitive(kind, function) for function in ("forward", "to_input", "to_kernel")]
    forward, to_input, to_kernel = (functools.partial(_bind, primitive) for primitive in primitives)
    ad.defbilinear(
        primitives[0],
        lambda g, x, kernel, **how: to_input(g, kernel, **how),
        lambda g, x, kernel, **how: to_kernel(x, g, **how),
    )
    ad.defbilinear(
        primitives[1],
        lambda x, g, kernel, **how: forward(x, kernel, **how),
        lambda x, g, kernel, **how: to_kernel(x, g, **how),
    )
    ad.defbilinear(
        primitives[2],
        lambda kernel, x, g, **how: to_input(g, kernel, **how),
        lambda kernel, x, g, **how: forward(x, kernel, **how),
    )
    return forward, to_input, to_kernel


def _bind(primitive: Primitive, a: Any, b: Any, *, geometry: Geometry, implementation: str) -> Any:
    return primitive.bind(*vary_alike(a, b), geometry=geometry, implementation=implementation)


def always_compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Keeps a compiled function compiled under ``jax.disable_jit``: a primitive has no other way to run."""

    def run(*arrays: Any, **how: Any) -> Any:
        with jax.disable_jit(False):
            return function(*arrays, **how)

    return run


def vary_alike(*arrays: Any) -> list[Any]:
    """Makes arrays vary over the same manual axes of a ``shard_map``; without it gradients miss a sum there."""
    varying = [_varying(a) for a in arrays]
    every = frozenset().union(*varying)
    missing = [tuple(every - own) for own in varying]
    return [jax.lax.pcast(a, axes, to="varying") if axes else a for a, axes in zip(arrays, missing, strict=True)]


def _varying(array: Any) -> frozenset[Any]:
    kind = jax.typeof(array)
    manual = getattr(kind, "manual_axis_type", None)  # JAX 0.10; newer and older ones call it vma
    return manual.varying if manual is not None else getattr(kind, "vma", frozenset())


def _primitive(kind: Kind, function: str) -> Primitive:
    primitive = Primitive(f"{kind.name}_{function}")

    def run(a: Any, b: Any, *, geometry: Geometry, implementation: str, platform: str | None, exported: bool) -> Any:
        return kind.choose(function, a, b, geometry, implementation, platform, exported)(a, b)

    def lower(platform: str | None, context: Any, *arrays: Any, **how: Any) -> Any:
        exported = context.module_context.lowering_parameters.for_export
        rule = functools.partial(run, platform=platform, exported=exported)
        return mlir.lower_fun(rule, multiple_results=False)(context, *arrays, **how)

    @functools.partial(jax.jit, static_argnames=("geometry", "implementation"))
    def alone(a: Any, b: Any, *, geometry: Geometry, implementation: str) -> Any:
        return primitive.bind(a, b, geometry=geometry, implementation=implementation)

    primitive.def_impl(always_compiled(alone))
    primitive.def_abstract_eval(lambda a, b, *, geometry, implementation: _shape(kind, function, a, b, geometry))
    for platform in (None, "cpu"):
        mlir.register_lowering(primitive, functools.partial(lower, platform), platform=platform)
    batching.primitive_batchers[primitive] = functools.partial(_batch, function, primitive)
    return primitive


def _shape(kind: Kind, function: str, a: Any, b: Any, geometry: Geometry) -> Any:
    """Gives shape and sharding of the result: leading axes are sharded as the operands' are."""
    rank, number = geometry.rank, len(geometry.shared)
    first, second = _mesh_axes(a), _mesh_axes(b)
    for array, axes in [(a, first), (b, second)][: 2 if function == "to_kernel" else 1]:
        if any(axis is not None for axis in axes[-1 - rank : -1]):
            got = f"{axes} for {array.shape}"
            raise ValueError(f"{kind.name}: the spatial axes of x must not be sharded, got {got}.")
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
    shape, axes = zip(*lead, *kind.tail(function, a, b, geometry, first, second), strict=True)
    return a.update(shape=shape, sharding=a.sharding.update(spec=axes), weak_type=False)


def _mesh_axes(array: Any) -> tuple[Any, ...]:
    spec = tuple(array.sharding.spec)
    return spec + (None,) * (array.ndim - len(spec))


def _batch(
    function: str, primitive: Primitive, arrays: Sequence[Any], axes: Sequence[Any], *, geometry: Geometry, **rest: Any
) -> tuple[Any, int]:
    (a, b), (i, j) = arrays, axes
    if j is None and function != "to_kernel":  # images only: one more leading axis behind the shared ones
        every, own = len(geometry.shared), sum(geometry.shared)
        before, after = (every, own) if function == "to_input" else (own, every)
        return _bind(primitive, jnp.moveaxis(a, i, before), b, geometry=geometry, **rest), after
    n = a.shape[i] if i is not None else b.shape[j]
    own = i is not None or function == "to_input"
    b = first_axis(b, j, n)
    a = first_axis(a, i, n) if own else a
    geometry = dataclasses.replace(geometry, shared=(own, *geometry.shared))
    return _bind(primitive, a, b, geometry=geometry, **rest), 0


def first_axis(array: Any, axis: int | None, n: int) -> Any:
    """Brings a mapped axis to the front, or repeats what is not mapped."""
    if axis is not None:
        return jnp.moveaxis(array, axis, 0)
    return jax.lax.broadcast_in_dim(array, (n, *array.shape), tuple(range(1, array.ndim + 1)))
