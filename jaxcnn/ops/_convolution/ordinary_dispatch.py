"""Which implementation of an ordinary convolution runs where, and how it runs for several kernels.

On CPU members with images of their own run one after another: XLA would run the result of ``vmap``, a grouped
convolution, as scalar loops there. Members that see the same images are one convolution with more outputs.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
from jax import lax
from jax.core import ShapedArray
from jax.export import is_symbolic_dim
from jax.sharding import PartitionSpec as P

from jaxcnn.ops._convolution import ordinary_matmul, ordinary_xla
from jaxcnn.ops._convolution.grouped_blocks import over_blocks
from jaxcnn.ops._convolution.ordinary_xla import GroupedConvShape
from jaxcnn.ops._convolution.primitives import Direction
from jaxcnn.ops._convolution.unrolled_map import map_in_steps
from jaxcnn.ops._primitives import ArrayFunction, LoweringTarget

__all__ = ["choose_ordinary"]

# So many members are unrolled in each step of a loop over them, or twice as many without a loop: the backend runs
# independent operations in parallel. More would take longer to compile.
_UNROLLED_MEMBERS = 8


def choose_ordinary(
    target: LoweringTarget,
    direction: Direction,
    a: ShapedArray,
    b: ShapedArray,
    conv: GroupedConvShape,
    implementation: str,
) -> ArrayFunction:
    """Returns the function that computes a primitive on a target, lifted over its mapped axes."""
    del a, b, implementation
    on_cpu = target.platform == "cpu"
    single = {"forward": ordinary_xla.forward, "to_input": _to_input, "to_kernel": _to_kernel}[direction]
    single = functools.partial(single, on_cpu=on_cpu)
    if on_cpu and conv.groups > 1:
        function = over_blocks(single, direction, conv)
    else:
        function = functools.partial(single, conv=conv)
    for x_is_mapped, axes in itertools.groupby(reversed(conv.x_is_mapped)):
        number = len(list(axes))
        if x_is_mapped and on_cpu:
            function = functools.partial(_loop_over_members, function, number, _UNROLLED_MEMBERS // conv.groups)
            continue
        for _ in range(number):
            if x_is_mapped or direction != "to_input":
                function = jax.vmap(function, (0 if x_is_mapped else None, 0))
            else:
                function = functools.partial(_concatenate_members, function, conv.groups)
    return function


def _to_input(g: jax.Array, kernel: jax.Array, conv: GroupedConvShape, on_cpu: bool) -> jax.Array:
    if on_cpu and ordinary_matmul.suits_to_input(g, kernel, conv):
        return ordinary_matmul.to_input(g, kernel, conv)
    return ordinary_xla.to_input(g, kernel, conv, on_cpu)


def _to_kernel(x: jax.Array, g: jax.Array, conv: GroupedConvShape, on_cpu: bool) -> jax.Array:
    if on_cpu and ordinary_matmul.suits_to_kernel(x, conv):
        return ordinary_matmul.to_kernel(x, g, conv)
    return ordinary_xla.to_kernel(x, g, conv, on_cpu)


def _loop_over_members(function: ArrayFunction, axes: int, unrolled: int, a: jax.Array, b: jax.Array) -> jax.Array:
    """Computes the members along the first axes, ``unrolled`` at a time; if a mesh shards them, each device its own."""
    specs = [jax.typeof(array).sharding.spec[:axes] for array in (a, b)]
    spec = P(*(one if one is not None else other for one, other in zip(*specs, strict=True)))
    names = {name for axis in spec if axis is not None for name in (axis if isinstance(axis, tuple) else (axis,))}
    if names:
        local = functools.partial(_loop_over_members, function, axes, unrolled)
        return jax.shard_map(local, in_specs=(spec, spec), out_specs=spec, axis_names=names)(a, b)
    members, n = a.shape[:axes], math.prod(a.shape[:axes])
    a, b = (array.reshape(n, *array.shape[axes:]) for array in (a, b))
    if is_symbolic_dim(n):
        result = lax.map(lambda operands: function(*operands), (a, b))
    else:
        result = map_in_steps(function, a, b, unrolled=max(unrolled, 1))
    return result.reshape(*members, *result.shape[1:])


def _concatenate_members(function: ArrayFunction, groups: int, g: jax.Array, kernel: jax.Array) -> jax.Array:
    """Sums the results for all members by one convolution with their output channels side by side."""
    return function(_move_members_to_channels(g, groups), _move_members_to_channels(kernel, groups))


def _move_members_to_channels(array: jax.Array, groups: int) -> jax.Array:
    """Reshapes (n, ..., groups * f) to (..., groups * n * f)."""
    array = array.reshape(*array.shape[:-1], groups, array.shape[-1] // groups)
    array = jnp.moveaxis(array, 0, -2)
    return array.reshape(*array.shape[:-3], math.prod(array.shape[-3:]))
