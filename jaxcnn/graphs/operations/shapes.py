"""Operations of graphs that move values without changing them."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxcnn.graphs.operations.arithmetic import align
from jaxcnn.graphs.operations.registry import REQUIRED, Step, operation

__all__ = ["reshape_example"]


@operation("concat", inputs=(1, None), axis=-1)
def _concatenate(step: Step) -> jax.Array:
    """Joins values along an axis."""
    return jnp.concatenate(step.inputs, axis=step.axis(step["axis"]))


def _new_axis(step: Step) -> int:
    """Converts the place of a new axis of an example to a negative one."""
    axis, rank = step["axis"], step.x.ndim - step.leading
    if not -rank - 1 <= axis <= rank:
        raise ValueError(f"axis must be in [{-rank - 1}, {rank}], got {axis}.")
    return axis if axis < 0 else axis - rank - 1


@operation("stack", inputs=(1, None), axis=0)
def _stack(step: Step) -> jax.Array:
    """Joins values along a new axis."""
    return jnp.stack(step.inputs, axis=_new_axis(step))


@operation("split", outputs=None, axis=-1, sizes=REQUIRED)
def _split(step: Step) -> Sequence[jax.Array]:
    """Cuts a value along an axis into parts of these sizes, of which one may be -1: what is left."""
    axis, sizes = step.axis(step["axis"]), list(step["sizes"])
    length = step.x.shape[axis]
    if sizes.count(-1) == 1:
        sizes[sizes.index(-1)] = length - sum(size for size in sizes if size != -1)
    if sum(sizes) != length or min(sizes) < 0:
        raise ValueError(f"the sizes {sizes} must add up to the {length} entries of axis {step['axis']}.")
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [jax.lax.slice_in_dim(step.x, at, at + n, axis=axis) for at, n in zip(starts, sizes, strict=True)]


@operation("slice", begin=REQUIRED, end=REQUIRED, strides=None)
def _slice_example(step: Step) -> jax.Array:
    """Slices all axes of each example, with Python's rules; None is the whole axis."""
    strides = step["strides"] or (None,) * len(step["begin"])
    if not len(step["begin"]) == len(step["end"]) == len(strides) <= step.x.ndim - step.leading:
        raise ValueError(f"begin {step['begin']} and end {step['end']} must have at most one number per axis.")
    ranges = tuple(slice(*one) for one in zip(step["begin"], step["end"], strides, strict=True))
    return step.x[(slice(None),) * step.leading + ranges]


@operation("crop_like", inputs=2, axes=(0, 1), offsets=(0, 0), clip=False)
def _crop_like(step: Step) -> jax.Array:
    """Crops the first value to the size of the second along some axes, from offsets on; None centers.

    ``clip``: whether offsets that are too large are reduced to the largest that fit.
    """
    x, like = step.inputs
    for axis, offset in zip(step.axes(step["axes"]), step["offsets"], strict=True):
        size = like.shape[axis]
        begin = (x.shape[axis] - size) // 2 if offset is None else offset
        begin = min(begin, x.shape[axis] - size) if step["clip"] else begin
        if begin < 0 or begin + size > x.shape[axis]:
            raise ValueError(f"{size} entries from {begin} on do not fit into the shape {x.shape[step.leading :]}.")
        x = jax.lax.slice_in_dim(x, begin, begin + size, axis=axis)
    return x


@operation("pad", padding=REQUIRED, mode="constant", value=0.0)
def _pad_example(step: Step) -> jax.Array:
    """Pads the axes of each example by pairs; negative ones crop. ``mode``: constant, reflect, symmetric or edge."""
    pairs = [tuple(pair) for pair in step["padding"]]
    if len(pairs) != step.x.ndim - step.leading:
        raise ValueError(f"the padding {pairs} must have a pair per axis of the shape {step.x.shape[step.leading :]}.")
    if step["mode"] == "constant":
        config = [(0, 0, 0)] * step.leading + [(low, high, 0) for low, high in pairs]
        return jax.lax.pad(step.x, jnp.asarray(step["value"], step.x.dtype), config)
    return jnp.pad(step.x, [(0, 0)] * step.leading + pairs, mode=step["mode"])


def reshape_example(x: jax.Array, shape: Sequence[int | None], leading: int) -> jax.Array:
    """Reshapes each example.

    Args:
        x: Values.
        shape: Shape of an example; one size may be -1, and None keeps the size of that axis.
        leading: Number of batch axes.

    Returns:
        The reshaped values.

    Raises:
        ValueError: If the number of values differs.
    """
    old = x.shape[leading:]
    new = [old[i] if size is None and i < len(old) else size for i, size in enumerate(shape)]
    sizes = [-1 if size is None else int(size) for size in new]
    known = math.prod(size for size in sizes if size != -1)
    total = math.prod(old)
    if sizes.count(-1) == 1 and known and total % known == 0:
        sizes[sizes.index(-1)] = total // known
    if math.prod(sizes) != total or min(sizes, default=1) < 0:
        raise ValueError(f"an example of shape {old} cannot become {tuple(shape)}.")
    return x.reshape(*x.shape[:leading], *sizes)


@operation("reshape", shape=REQUIRED)
def _reshape(step: Step) -> jax.Array:
    """Reshapes each example; one size may be -1, None keeps the size of that axis."""
    return reshape_example(step.x, step["shape"], step.leading)


@operation("flatten", begin=0, end=-1)
def _flatten(step: Step) -> jax.Array:
    """Joins the axes of each example from ``begin`` to ``end``, both included."""
    shape, rank = step.x.shape[step.leading :], step.x.ndim - step.leading
    if rank == 0:
        return step.x[..., None]
    begin, end = (step.axis(step[key]) + rank for key in ("begin", "end"))
    return reshape_example(step.x, (*shape[:begin], math.prod(shape[begin : end + 1]), *shape[end + 1 :]), step.leading)


@operation("permute", axes=REQUIRED)
def _permute(step: Step) -> jax.Array:
    """Reorders the axes of each example."""
    if sorted(step["axes"]) != list(range(step.x.ndim - step.leading)):
        raise ValueError(f"axes must be an order of the {step.x.ndim - step.leading} axes, got {step['axes']}.")
    return step.x.transpose(*range(step.leading), *(step.leading + axis for axis in step["axes"]))


@operation("squeeze", axes=None)
def _squeeze(step: Step) -> jax.Array:
    """Removes axes of size 1; None removes all of them."""
    shape = step.x.shape[step.leading :]
    chosen = (
        [i - len(shape) for i, n in enumerate(shape) if n == 1] if step["axes"] is None else step.axes(step["axes"])
    )
    return jnp.squeeze(step.x, tuple(chosen))


@operation("expand_dims", axis=REQUIRED)
def _expand_dims(step: Step) -> jax.Array:
    """Adds an axis of size 1."""
    return jnp.expand_dims(step.x, _new_axis(step))


@operation("tile", repeats=REQUIRED)
def _tile(step: Step) -> jax.Array:
    """Repeats each example as a whole along each axis."""
    _check_repeats(step, math.prod(step["repeats"]))
    return jnp.tile(step.x, (1,) * step.leading + tuple(step["repeats"]))


@operation("repeat", axis=REQUIRED, count=REQUIRED)
def _repeat(step: Step) -> jax.Array:
    """Repeats each entry of an axis."""
    _check_repeats(step, step["count"])
    return jnp.repeat(step.x, step["count"], axis=step.axis(step["axis"]))


def _check_repeats(step: Step, count: int) -> None:
    """Checks that a value is repeated at least once, and does not become absurdly large."""
    if count < 1 or count * math.prod(step.x.shape[step.leading :]) >= 2**31:
        raise ValueError(f"{count} repeats are too few or too many.")


@operation("broadcast_like", inputs=2)
def _broadcast_like(step: Step) -> jax.Array:
    """Broadcasts the first value to the shape of the second."""
    x, like = align(step.inputs, step.leading)
    return jnp.broadcast_to(x, like.shape)


@operation("gather", axis=0, indices=REQUIRED)
def _gather(step: Step) -> jax.Array:
    """Takes entries of an axis by number; a single number drops the axis."""
    axis = step.axis(step["axis"])
    size, indices = step.x.shape[axis], step["indices"]
    flat = indices if isinstance(indices, tuple) else (indices,)
    if not all(-size <= index < size for index in flat):
        raise ValueError(f"indices must be in [{-size}, {size}), got {indices}.")
    return jnp.take(step.x, jnp.asarray(indices, jnp.int32), axis=axis)


@operation("reverse", axes=REQUIRED)
def _reverse(step: Step) -> jax.Array:
    """Reverses axes."""
    return jnp.flip(step.x, step.axes(step["axes"]))


@operation("shuffle_channels", groups=REQUIRED)
def _shuffle_channels(step: Step) -> jax.Array:
    """Interleaves groups of channels."""
    *rest, c = step.x.shape
    if c % step["groups"]:
        raise ValueError(f"{c} channels cannot be {step['groups']} groups.")
    return step.x.reshape(*rest, step["groups"], -1).swapaxes(-1, -2).reshape(*rest, c)


_ORDERS = ("block_first", "channel_first")


@operation("depth_to_space", block=REQUIRED, order="block_first")
def _depth_to_space(step: Step) -> jax.Array:
    """Moves blocks of channels to pixels.

    ``order``: in which order a pixel's channels are numbered: ``"block_first"`` (row, column, channel), as in
    TensorFlow, or ``"channel_first"`` (channel, row, column), as in PyTorch.
    """
    *rest, h, w, c = step.x.shape
    b = step["block"]
    if c % (b * b):
        raise ValueError(f"{c} channels cannot be blocks of {b} x {b}.")
    block_first = step.choose("order", *_ORDERS) == "block_first"
    x = step.x.reshape(*rest, h, w, *((b, b, c // b**2) if block_first else (c // b**2, b, b)))
    x = x if block_first else jnp.moveaxis(x, -3, -1)
    return jnp.swapaxes(x, -4, -3).reshape(*rest, h * b, w * b, c // b**2)


@operation("space_to_depth", block=REQUIRED, order="block_first")
def _space_to_depth(step: Step) -> jax.Array:
    """Moves blocks of pixels to channels, the inverse of ``depth_to_space``."""
    *rest, h, w, c = step.x.shape
    b = step["block"]
    if h % b or w % b:
        raise ValueError(f"{h} x {w} pixels cannot be blocks of {b} x {b}.")
    x = jnp.swapaxes(step.x.reshape(*rest, h // b, b, w // b, b, c), -4, -3)
    x = x if step.choose("order", *_ORDERS) == "block_first" else jnp.moveaxis(x, -1, -3)
    return x.reshape(*rest, h // b, w // b, b * b * c)


@operation("cast", dtype=REQUIRED)
def _cast(step: Step) -> jax.Array:
    """Converts to another kind of dtype; floating values keep the dtype of the computation."""
    dtype = jnp.dtype(step["dtype"])
    floating = jnp.issubdtype(dtype, jnp.floating) and jnp.issubdtype(step.x.dtype, jnp.floating)
    return step.x if floating else step.x.astype(dtype)
