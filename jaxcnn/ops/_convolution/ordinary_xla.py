"""An ordinary convolution and its adjoints by XLA, and how many kernels take their turns.

On CPU both adjoints are written as plain convolutions (images NHWC, kernel HWIO, output NHWC) of transposed arrays.
JAX's own adjoints rename the axes instead, which XLA undoes outside of loops only: inside of one (a ``scan`` over
training steps, a ``map`` over members) it runs them as scalar loops, 20 to 30 times slower. Elsewhere they
are JAX's, which the backends know.
"""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.sharding import PartitionSpec as P

from jaxcnn.ops._conv_shape import Geometry
from jaxcnn.ops._convolution import ordinary_matmul

__all__ = ["Convolution", "choose", "tail"]

# So many members are taken together in each step of a loop over them, and twice as many written out without one: the
# backend runs what is independent at the same time. More would cost more to compile.
_TOGETHER = 8
_SPACE = {1: "W", 2: "HW", 3: "DHW"}


@dataclasses.dataclass(frozen=True)
class Convolution(Geometry):
    """Geometry of a kernel (*shared, *kernel, c // groups, f)."""

    groups: int = 1
    precision: Any = None


def tail(function: str, a: Any, b: Any, geometry: Any, first: Any, second: Any) -> list[tuple[int, Any]]:
    """Gives the axes behind the leading ones, none of which may be sharded in any operand."""
    for array, axes, channels in ((a, first, 1), (b, second, 1 if function == "to_kernel" else 2)):
        if any(axis is not None for axis in axes[-channels - geometry.rank :]):
            raise ValueError(f"conv: only leading axes may be sharded, got {axes} for {array.shape}.")
    sizes = {
        "forward": (*geometry.outputs, b.shape[-1]),
        "to_input": (*geometry.size, b.shape[-2] * geometry.groups),
        "to_kernel": (*geometry.kernel, a.shape[-1] // geometry.groups, b.shape[-1]),
    }
    return [(n, None) for n in sizes[function]]


def choose(function: str, a: Any, b: Any, geometry: Any, implementation: str, platform: Any, exported: bool) -> Any:
    """Gives the function that computes a primitive on a platform, lifted over its shared axes.

    Members with images of their own take turns on CPU: XLA runs there what ``vmap`` makes of them, a convolution in
    groups, as scalar loops. Members that see the same images are one convolution with more outputs.
    """
    del a, b, implementation, exported
    form: Any = functools.partial(_FORMS[function], geometry=geometry, plain=platform == "cpu")
    for own, axes in itertools.groupby(reversed(geometry.shared)):
        number = len(list(axes))
        if own and platform == "cpu":
            form = functools.partial(_in_turns, form, number)
            continue
        for _ in range(number):
            if own or function != "to_input":
                form = jax.vmap(form, (0 if own else None, 0))
            else:
                form = functools.partial(_summed, form, geometry.groups)
    return form


def _forward(x: Any, kernel: Any, geometry: Convolution, plain: bool) -> Any:
    """Convolves x (*batch, *size, c) by a kernel (*kernel, c // groups, f)."""
    lead = x.ndim - 1 - geometry.rank
    how = _How(geometry.strides, geometry.padding, geometry.input_dilation, geometry.dilation)
    y = _convolve(_one_batch_axis(x, geometry), kernel, geometry, how, plain, "IO")
    return y.reshape(*x.shape[:lead], *y.shape[1:])


def _to_input(g: Any, kernel: Any, geometry: Convolution, plain: bool) -> Any:
    """Applies the adjoint in x to g: the flipped kernel over g, strides and input dilation in each other's place."""
    lead = g.ndim - 1 - geometry.rank
    if plain and geometry.groups == 1 and ordinary_matmul.suits_input(g, kernel, geometry):
        return ordinary_matmul.to_input(g, kernel, geometry, geometry.precision)
    *taps, c, _ = kernel.shape
    kernel = jnp.flip(kernel, tuple(range(geometry.rank))).reshape(*taps, c, geometry.groups, -1)
    kernel = jnp.swapaxes(kernel, -3, -2).reshape(*taps, geometry.groups * c, -1)  # (c, f per group)
    kernel = jnp.swapaxes(kernel, -2, -1) if plain else kernel
    how = _How(geometry.input_dilation, geometry.adjoint_padding, geometry.strides, geometry.dilation)
    x = _convolve(_one_batch_axis(g, geometry), kernel, geometry, how, plain, "IO" if plain else "OI")
    return x.reshape(*g.shape[:lead], *x.shape[1:])


def _to_kernel(x: Any, g: Any, geometry: Convolution, plain: bool) -> Any:
    """Applies the adjoint in the kernel to g: g over x, images and channels in each other's place."""
    if plain and geometry.groups == 1 and ordinary_matmul.suits_kernel(x, geometry):
        return ordinary_matmul.to_kernel(x, g, geometry, geometry.precision)
    rank, space = geometry.rank, _SPACE[geometry.rank]
    x, g = _one_batch_axis(x, geometry), _one_batch_axis(g, geometry)
    axes = (f"C{space}N", f"I{space}O", f"{space}NC")
    convolve = functools.partial(
        lax.conv_general_dilated,
        window_strides=geometry.dilation,
        padding=geometry.kernel_padding,
        lhs_dilation=geometry.input_dilation,
        rhs_dilation=geometry.strides,
        batch_group_count=geometry.groups,
        precision=geometry.precision,
        out_sharding=ordinary_matmul.replicated(x, rank + 2),
    )
    if not plain or geometry.groups > 1:
        return convolve(x, g, dimension_numbers=axes)
    inner = tuple(range(1, rank + 1))
    x, g = jnp.transpose(x, (rank + 1, *inner, 0)), jnp.transpose(g, (*inner, 0, rank + 1))
    kernel = convolve(x, g, dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"))
    return jnp.transpose(kernel, (*inner, 0, rank + 1))


_FORMS: dict[str, Callable[..., Any]] = {"forward": _forward, "to_input": _to_input, "to_kernel": _to_kernel}


class _How(NamedTuple):
    """Where the taps of one convolution are, one item per spatial axis."""

    strides: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    input_dilation: tuple[int, ...]
    dilation: tuple[int, ...]

    def planes(self) -> "_How":
        """Leaves the first axis out."""
        return _How(self.strides[1:], self.padding[1:], self.input_dilation[1:], self.dilation[1:])


def _convolve(x: Any, kernel: Any, geometry: Convolution, how: _How, plain: bool, order: str) -> Any:
    """Convolves x (b, *spatial, c) by a kernel whose last axes are in this order; volumes plane by plane if plain."""
    rank = len(how.strides)
    if rank == 3 and plain:
        return _by_planes(x, kernel, geometry, how)
    return lax.conv_general_dilated(
        x,
        kernel,
        how.strides,
        how.padding,
        lhs_dilation=how.input_dilation,
        rhs_dilation=how.dilation,
        dimension_numbers=(f"N{_SPACE[rank]}C", f"{_SPACE[rank]}{order}", f"N{_SPACE[rank]}C"),
        feature_group_count=geometry.groups,
        precision=geometry.precision,
    )


def _by_planes(x: Any, kernel: Any, geometry: Convolution, how: _How) -> Any:
    """Adds, for every plane of the kernel, a convolution of planes: of volumes XLA's is a scalar loop on CPU."""
    taps, stride, dilation = kernel.shape[0], how.strides[0], how.dilation[0]
    widths = [(0, 0, 0)] * 5
    widths[1] = (*how.padding[0], how.input_dilation[0] - 1)
    x = lax.pad(x, jnp.zeros((), x.dtype), widths)
    last = (x.shape[1] - (taps - 1) * dilation - 1) // stride * stride
    total: Any = 0
    for t in range(taps):
        planes = lax.slice_in_dim(x, t * dilation, t * dilation + last + 1, stride, 1)
        part = _convolve(planes.reshape(-1, *planes.shape[2:]), kernel[t], geometry, how.planes(), True, "IO")
        total = total + part.reshape(*planes.shape[:2], *part.shape[1:])
    return total


def _one_batch_axis(x: Any, geometry: Convolution) -> Any:
    lead = x.ndim - 1 - geometry.rank
    return x if lead == 1 else x.reshape(math.prod(x.shape[:lead]), *x.shape[lead:])


def _in_turns(form: Callable[..., Any], axes: int, a: Any, b: Any) -> Any:
    """Takes the members along the first axes in turns, a few at a time; each device its own if a mesh shards them."""
    specs = [jax.typeof(array).sharding.spec[:axes] for array in (a, b)]
    spec = P(*(one if one is not None else other for one, other in zip(*specs, strict=True)))
    names = {name for axis in spec if axis is not None for name in (axis if isinstance(axis, tuple) else (axis,))}
    if names:
        local = functools.partial(_in_turns, form, axes)
        return jax.shard_map(local, in_specs=(spec, spec), out_specs=spec, axis_names=names)(a, b)
    members, n = a.shape[:axes], math.prod(a.shape[:axes])
    a, b = (array.reshape(n, *array.shape[axes:]) for array in (a, b))

    def some(a: Any, b: Any) -> Any:
        return jnp.stack([form(a[i], b[i]) for i in range(a.shape[0])])

    whole = n - n % _TOGETHER if n > 2 * _TOGETHER else 0
    parts = []
    if whole:
        groups = [array[:whole].reshape(-1, _TOGETHER, *array.shape[1:]) for array in (a, b)]
        part = lax.map(lambda arrays: some(*arrays), tuple(groups))
        parts.append(part.reshape(whole, *part.shape[2:]))
    if whole < n:
        parts.append(some(a[whole:], b[whole:]))
    result = parts[0] if len(parts) == 1 else jnp.concatenate(parts)
    return result.reshape(*members, *result.shape[1:])


def _summed(form: Callable[..., Any], groups: int, g: Any, kernel: Any) -> Any:
    """Adds what all members give, as one convolution with their outputs side by side."""
    return form(_side_by_side(g, groups), _side_by_side(kernel, groups))


def _side_by_side(array: Any, groups: int) -> Any:
    """Turns (n, ..., groups * f) into (..., groups * n * f)."""
    array = array.reshape(*array.shape[:-1], groups, array.shape[-1] // groups)
    array = jnp.moveaxis(array, 0, -2)
    return array.reshape(*array.shape[:-3], -1)
