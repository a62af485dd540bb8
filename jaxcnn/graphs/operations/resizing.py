"""Resizing of feature maps in graphs."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.graphs.operations.registry import REQUIRED, Step, operation

__all__ = ["sample_positions"]


def sample_positions(size: int, new: int, *, corners: str, scale: float | None = None) -> np.ndarray:
    """Computes where along an axis the new pixels lie, in pixels of the old ones.

    Args:
        size: Number of old pixels.
        new: Number of new pixels.
        corners: ``"half_pixel"`` (centers of the corners' outer edges agree), ``"align"`` (the corner pixels agree) or
            ``"asymmetric"`` (position i is i / scale).
        scale: New pixels per old one; None is ``new / size``.

    Returns:
        The positions.

    Example:
        >>> from jaxcnn.graphs.operations.resizing import sample_positions
        >>> sample_positions(2, 4, corners="half_pixel").tolist()
        [-0.25, 0.25, 0.75, 1.25]
    """
    at = np.arange(new, dtype=np.float64)
    if corners == "align":
        return at * ((size - 1) / (new - 1) if new > 1 else 0.0)
    ratio = size / new if scale is None else 1 / scale
    return (at + 0.5) * ratio - 0.5 if corners == "half_pixel" else at * ratio


@operation(
    "resize",
    inputs=(1, 2),
    size=None,
    scale=None,
    method="bilinear",
    corners="half_pixel",
    rounding="floor",
    cubic=-0.5,
    steps=None,
    edges="left_out",
)
def _resize(step: Step) -> jax.Array:
    """Resizes the two axes before the channels to ``size``, by ``scale``, or to the size of a second input.

    ``method``: ``"nearest"``, ``"bilinear"`` (edges repeated) or ``"cubic"`` (Keys's kernel with the parameter
    ``cubic``), all without antialiasing. ``corners``: see ``sample_positions``. ``rounding`` of positions of
    ``"nearest"``: ``"floor"``, of the next pixel's lower bound as in most frameworks, or ``"round"``, halves up. Of
    ``"cubic"``: ``steps`` between two pixels to which positions are rounded, as TensorFlow does; ``edges``,
    ``"left_out"`` (pixels outside have no weight, the others are scaled to a sum of 1) or ``"repeated"``. With
    ``corners="align"`` a scale is that of the distance between the corner pixels.
    """
    x = step.x
    step.choose("method", "nearest", "bilinear", "cubic")
    step.choose("corners", "half_pixel", "align", "asymmetric")
    step.choose("rounding", "floor", "round")
    step.choose("edges", "left_out", "repeated")
    if len(step.inputs) == 2:
        new = step.inputs[1].shape[-3:-1]
    elif step["size"] is not None:
        new = step["size"]
    else:
        scale = step["scale"] if isinstance(step["scale"], tuple) else (step["scale"],) * 2
        gap = step["corners"] == "align"  # distances between pixels are scaled, not their number
        pairs = zip(x.shape[-3:-1], scale, strict=True)
        new = tuple(int(np.floor((n - gap) * s + 1e-6)) + gap for n, s in pairs)
    if min(new) < 1 or max(new) > 2**16:
        raise ValueError(f"the new size must be in [1, {2**16}], got {tuple(new)}.")
    for axis, count in zip((-3, -2), new, strict=True):
        x = _resize_axis(x, axis, int(count), step)
    return x


def _resize_axis(x: jax.Array, axis: int, new: int, step: Step) -> jax.Array:
    size = x.shape[axis]
    if size == new and step["corners"] != "asymmetric":
        return x
    at = sample_positions(size, new, corners=step["corners"])
    if step["method"] == "nearest":
        # In float32, as frameworks compute it: exact halves are frequent.
        at = at.astype(np.float32)
        if step["corners"] == "half_pixel" and step["rounding"] == "floor":
            at = at + np.float32(0.5)
        index = np.floor(at + 0.5) if step["rounding"] == "round" else np.floor(at)
        return jnp.take(x, jnp.asarray(np.clip(index, 0, size - 1).astype(np.int32)), axis=axis)
    if step["method"] == "cubic":
        return _interpolate_cubic(x, axis, at, step)
    at = np.clip(at, 0, size - 1)
    low = np.floor(at).astype(np.int32)
    high = np.minimum(low + 1, size - 1)
    weight = _along(at - low, axis, x)
    first, second = jnp.take(x, jnp.asarray(low), axis=axis), jnp.take(x, jnp.asarray(high), axis=axis)
    return first + (second - first) * weight


def _along(weights: np.ndarray, axis: int, x: jax.Array) -> jax.Array:
    """Shapes weights along a negative axis, so that they broadcast."""
    return jnp.asarray(weights, x.dtype).reshape((1,) * (x.ndim + axis) + (-1,) + (1,) * (-axis - 1))


def _interpolate_cubic(x: jax.Array, axis: int, at: np.ndarray, step: Step) -> jax.Array:
    """Interpolates by Keys's kernel."""
    size, a = x.shape[axis], step["cubic"]
    low = np.floor(at).astype(np.int64)
    part = at - low
    if step["steps"] is not None:
        part = np.round(part.astype(np.float32) * np.float32(step["steps"])) / np.float64(step["steps"])
    offsets = np.arange(-1, 3)
    index, distance = low[:, None] + offsets, np.abs(part[:, None] - offsets)
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    weights = np.where(distance <= 1, near, np.where(distance < 2, far, 0))
    if step["edges"] == "left_out":
        weights *= (index >= 0) & (index < size)
        weights /= weights.sum(1, keepdims=True)
    index = np.clip(index, 0, size - 1).astype(np.int32)
    parts = [
        jnp.take(x, jnp.asarray(index[:, i]), axis=axis) * _along(weights[:, i], axis, x) for i in range(len(offsets))
    ]
    return sum(parts[1:], parts[0])


@operation("center_crop", size=(1, 1), enlarge=False)
def _center_crop(step: Step) -> jax.Array:
    """Cuts out the middle of the maps.

    ``enlarge``: maps that are too small are cropped to the proportions of ``size`` and resized to it, bilinearly.
    """
    (height, width), (h, w) = step["size"], step.x.shape[-3:-1]
    if height <= h and width <= w:
        top, left = (h - height) // 2, (w - width) // 2
        return step.x[..., top : top + height, left : left + width, :]
    if not step["enlarge"]:
        raise ValueError(f"{height} x {width} pixels cannot be cut out of {h} x {w}.")
    options = {"corners": "half_pixel", "method": "bilinear"}
    x = _crop_to_proportions(step.x, height, width)
    for axis, count in ((-3, height), (-2, width)):
        x = _resize_axis(x, axis, count, dataclasses.replace(step, options=options))
    return x


@operation("crop_to_proportions", size=REQUIRED)
def _crop_proportions(step: Step) -> jax.Array:
    """Cuts out the largest middle part of the maps that has the proportions of ``size``, (height, width)."""
    return _crop_to_proportions(step.x, *step["size"])


def _crop_to_proportions(x: jax.Array, height: int, width: int) -> jax.Array:
    h, w = x.shape[-3:-1]
    new_h = max(min(h, int(w * height / width)), 1)
    new_w = max(min(w, int(h * width / height)), 1)
    top, left = (h - new_h) // 2, (w - new_w) // 2
    return x[..., top : top + new_h, left : left + new_w, :]
