"""A convolution and its two adjoints as primitives that are one another's derivatives.

``forward`` (x, kernel) -> y, ``to_input`` (g, kernel) -> x and ``to_kernel`` (x, g) -> kernel are bilinear, and the
transpose of each in either operand is another of the three. Derivatives of any order, forward and reverse, therefore
stay among them, and no gradient is left to automatic differentiation of an implementation. Batching over kernels
adds an axis to ``ConvShape.x_is_mapped``; batching over images alone adds a leading axis to the images.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.core import ShapedArray
from jax.extend.core import Primitive
from jax.interpreters import ad

from jaxcnn._typing import AnyArray
from jaxcnn.ops._convolution.shape import ConvShape
from jaxcnn.ops._primitives import (
    ArrayFunction,
    LoweringTarget,
    create_primitive,
    match_varying_axes,
    move_batch_axis_first,
)

__all__ = ["Axis", "Direction", "Operation", "define_convolution", "mesh_axes"]

Direction = Literal["forward", "to_input", "to_kernel"]
"""The convolution, its adjoint in the input, or its adjoint in the kernel."""

MeshAxes = str | tuple[str, ...] | None
"""The axes of the mesh that an axis of an array is sharded over."""

Operation = Callable[..., jax.Array]
"""(a, b, *, conv, implementation) -> array: binds one of the three primitives."""

ConvShapeT = TypeVar("ConvShapeT", bound=ConvShape)


class Axis(NamedTuple):
    """One axis of a result."""

    size: int
    mesh_axes: MeshAxes = None


def define_convolution(
    name: str,
    *,
    trailing_axes: Callable[[Direction, ShapedArray, ShapedArray, ConvShapeT], list[Axis]],
    choose: Callable[[LoweringTarget, Direction, ShapedArray, ShapedArray, ConvShapeT, str], ArrayFunction],
) -> tuple[Operation, Operation, Operation]:
    """Defines the three primitives of one family of convolutions.

    Args:
        name: Name of the family.
        trailing_axes: (direction, a, b, conv) -> the axes of the result behind its leading ones.
        choose: (target, direction, a, b, conv, implementation) -> function that computes the result from a and b.

    Returns:
        ``forward``: convolves x (*x_mapped, *batch, *input_size, c) by a kernel (*mapped, *kernel_size, ., .).
        ``to_input``: the adjoint of ``forward`` in x, applied to g, which has the shape of its output.
        ``to_kernel``: the adjoint of ``forward`` in the kernel, applied to x and such a g.
    """

    def create(direction: Direction) -> Primitive:
        def abstract_eval(a: ShapedArray, b: ShapedArray, *, conv: ConvShapeT, implementation: str) -> ShapedArray:
            del implementation
            _check_spatial_axes(name, direction, a, b, conv)
            axes = _leading_axes(direction, a, b, conv) + trailing_axes(direction, a, b, conv)
            shape, spec = zip(*axes, strict=True)
            return a.update(shape=shape, sharding=a.sharding.update(spec=spec), weak_type=False)

        def choose_implementation(
            target: LoweringTarget, a: ShapedArray, b: ShapedArray, *, conv: ConvShapeT, implementation: str
        ) -> ArrayFunction:
            return choose(target, direction, a, b, conv, implementation)

        return create_primitive(
            f"{name}_{direction}",
            abstract_eval=abstract_eval,
            choose=choose_implementation,
            batch=functools.partial(_batch, direction),
            static_argnames=("conv", "implementation"),
        )

    primitives = create("forward"), create("to_input"), create("to_kernel")
    forward, to_input, to_kernel = (functools.partial(_bind, primitive) for primitive in primitives)
    ad.defbilinear(
        primitives[0],
        lambda g, x, kernel, **static: to_input(g, kernel, **static),
        lambda g, x, kernel, **static: to_kernel(x, g, **static),
    )
    ad.defbilinear(
        primitives[1],
        lambda x, g, kernel, **static: forward(x, kernel, **static),
        lambda x, g, kernel, **static: to_kernel(x, g, **static),
    )
    ad.defbilinear(
        primitives[2],
        lambda kernel, x, g, **static: to_input(g, kernel, **static),
        lambda kernel, x, g, **static: forward(x, kernel, **static),
    )
    return forward, to_input, to_kernel


def mesh_axes(array: ShapedArray) -> tuple[MeshAxes, ...]:
    """Returns, for every axis of an array, the axes of the mesh that it is sharded over."""
    spec = tuple(array.sharding.spec)
    return spec + (None,) * (array.ndim - len(spec))


def _bind(primitive: Primitive, a: AnyArray, b: AnyArray, /, *, conv: ConvShape, implementation: str) -> jax.Array:
    return primitive.bind(*match_varying_axes(a, b), conv=conv, implementation=implementation)


def _check_spatial_axes(name: str, direction: Direction, a: ShapedArray, b: ShapedArray, conv: ConvShape) -> None:
    for image in (a, b) if direction == "to_kernel" else (a,):
        axes = mesh_axes(image)
        if any(axis is not None for axis in axes[-1 - conv.rank : -1]):
            raise ValueError(f"{name}: the spatial axes of x must not be sharded, got {axes} for {image.shape}.")


def _leading_axes(direction: Direction, a: ShapedArray, b: ShapedArray, conv: ConvShape) -> list[Axis]:
    """Returns the mapped axes and the batch axes of a result, which are sharded as the operands' are."""
    leading = [Axis(*axis) for axis in zip(a.shape, mesh_axes(a), strict=True)][: a.ndim - 1 - conv.rank]
    number = len(conv.x_is_mapped)
    mapped = [Axis(*axis) for axis in zip(b.shape, mesh_axes(b), strict=True)][:number]
    if direction == "to_kernel":
        return mapped
    if direction == "to_input":
        images = [axis for axis, is_mapped in zip(leading, conv.x_is_mapped, strict=False) if is_mapped]
        return images + leading[number:]
    axes, rest = [], iter(leading)
    for is_mapped, of_kernel in zip(conv.x_is_mapped, mapped, strict=True):
        of_images = next(rest) if is_mapped else Axis(of_kernel.size)
        axes.append(of_images if of_images.mesh_axes is not None else of_kernel)
    return axes + list(rest)


def _batch(
    direction: Direction,
    primitive: Primitive,
    operands: Sequence[AnyArray],
    axes: Sequence[int | None],
    /,
    *,
    conv: ConvShape,
    implementation: str,
) -> tuple[jax.Array, int]:
    (a, b), (i, j) = operands, axes
    if j is None and i is not None and direction != "to_kernel":  # images only: one more axis behind the mapped ones
        all_mapped, x_mapped = len(conv.x_is_mapped), sum(conv.x_is_mapped)
        before, after = (all_mapped, x_mapped) if direction == "to_input" else (x_mapped, all_mapped)
        return _bind(primitive, jnp.moveaxis(a, i, before), b, conv=conv, implementation=implementation), after
    size = next(array.shape[axis] for array, axis in zip(operands, axes, strict=True) if axis is not None)
    is_mapped = i is not None or direction == "to_input"
    b = move_batch_axis_first(b, j, size)
    a = move_batch_axis_first(a, i, size) if is_mapped else a
    conv = dataclasses.replace(conv, x_is_mapped=(is_mapped, *conv.x_is_mapped))
    return _bind(primitive, a, b, conv=conv, implementation=implementation), 0
