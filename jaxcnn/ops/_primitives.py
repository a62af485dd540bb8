"""Builds primitives that compile for every platform and work under ``vmap``, under ``shard_map`` and without ``jit``.

The implementation is chosen when a primitive is lowered, by platform and shape, so an exported program can hold one
per platform. Derivatives are up to the engine that defines the primitive.
"""

import functools
from collections.abc import Callable, Hashable, Sequence
from typing import Literal, NamedTuple, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jaxcnn._typing import AnyArray

__all__ = [
    "ArrayFunction",
    "LoweringTarget",
    "create_primitive",
    "match_varying_axes",
    "move_batch_axis_first",
]

P = ParamSpec("P")
T = TypeVar("T")

ArrayFunction = Callable[..., jax.Array]
"""Computes an array from the operands of a primitive."""


class LoweringTarget(NamedTuple):
    """What is known about a program when one of its primitives is lowered."""

    platform: Literal["cpu"] | None  # None: any other platform
    is_exported: bool
    sees_whole_arrays: bool  # not the shards of arrays on several devices


def create_primitive(
    name: str,
    *,
    abstract_eval: Callable[..., ShapedArray],
    choose: Callable[..., ArrayFunction],
    batch: Callable[..., tuple[jax.Array, int]],
    static_argnames: Sequence[str],
) -> Primitive:
    """Creates a primitive with one array as its result.

    Args:
        name: Name in jaxprs.
        abstract_eval: (*abstract operands, **static) -> abstract result, with its sharding.
        choose: (target, *abstract operands, **static) -> function of the operands that computes the result.
        batch: (primitive, operands, mapped axes, **static) -> result and its mapped axis: the rule for ``vmap``.
        static_argnames: Names of the static parameters.

    Returns:
        The primitive; it has no derivatives yet.
    """
    primitive = Primitive(name)

    def lower(
        platform: Literal["cpu"] | None,
        context: mlir.LoweringRuleContext,
        *operands: mlir.Value,
        **static: Hashable,
    ) -> Sequence[mlir.Value | Sequence[mlir.Value]]:
        module = context.module_context
        is_exported = module.lowering_parameters.for_export
        target = LoweringTarget(platform, is_exported, _sees_whole_arrays(module.axis_context))
        implementation = choose(target, *context.avals_in, **static)
        return mlir.lower_fun(implementation, multiple_results=False)(context, *operands)

    primitive.def_impl(_keep_compiled(jax.jit(primitive.bind, static_argnames=static_argnames)))
    primitive.def_abstract_eval(abstract_eval)
    mlir.register_lowering(primitive, functools.partial(lower, None))
    mlir.register_lowering(primitive, functools.partial(lower, "cpu"), platform="cpu")
    batching.primitive_batchers[primitive] = functools.partial(batch, primitive)
    return primitive


def _sees_whole_arrays(axis_context: mlir.AxisContext) -> bool:
    """Returns whether the program, or the part of a ``shard_map`` that is lowered, sees whole arrays."""
    if isinstance(axis_context, mlir.SPMDAxisContext):
        return frozenset(axis_context.mesh.axis_names) == axis_context.manual_axes
    return getattr(axis_context, "num_devices", 0) == 1


def _keep_compiled(function: Callable[P, T]) -> Callable[P, T]:
    """Keeps a compiled function compiled under ``jax.disable_jit``: a primitive cannot run in any other way."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        with jax.disable_jit(False):
            return function(*args, **kwargs)

    return run


def match_varying_axes(*arrays: AnyArray) -> list[jax.Array]:
    """Makes arrays vary over the same manual axes of a ``shard_map``; otherwise gradients miss a sum over devices."""
    varying = [_varying_axes(array) for array in arrays]
    union = frozenset().union(*varying)
    missing = [tuple(union - axes) for axes in varying]
    return [
        jax.lax.pcast(array, axes, to="varying") if axes else jnp.asarray(array)
        for array, axes in zip(arrays, missing, strict=True)
    ]


def _varying_axes(array: AnyArray) -> frozenset[str]:
    aval = jax.typeof(array)
    manual = getattr(aval, "manual_axis_type", None)  # JAX 0.10; older and newer versions call it vma
    return manual.varying if manual is not None else getattr(aval, "vma", frozenset())


def move_batch_axis_first(array: AnyArray, axis: int | None, size: int) -> jax.Array:
    """Moves a mapped axis to the front; an array that is not mapped is repeated along a new one."""
    if axis is not None:
        return jnp.moveaxis(array, axis, 0)
    return jax.lax.broadcast_in_dim(array, (size, *array.shape), tuple(range(1, array.ndim + 1)))
