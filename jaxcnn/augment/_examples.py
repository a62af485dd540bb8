"""Examples: an image alone, or a dictionary with it and what belongs to it, checked and sampled through a map."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import as_array, check, shape_text
from jaxcnn._typing import AnyArray, Dtype
from jaxcnn.augment._pixel_maps import PixelMap, SamplingRequest
from jaxcnn.augment._programs import is_tracing
from jaxcnn.ops._materialize import materialize
from jaxcnn.ops._sampling.nonfinite import replace_nonfinite
from jaxcnn.ops._sampling.transforms import is_far_outside
from jaxcnn.ops.sampling import Mode, PaddingMode, check_options, is_zero, sample_pixels

__all__ = [
    "PARTS",
    "Example",
    "check_example",
    "check_float_range",
    "image_of",
    "image_shape",
    "mark_inside",
    "replace_image",
    "round_to_dtype",
    "sample_example",
    "to_float_points",
]

Example = AnyArray | Mapping[str, Any]
"""An image (h, w, c), floating in [0, 1] or uint8, or a dictionary with one.

Entries ``"image"``, ``"mask"`` (h, w) or (h, w, k) sampled at the nearest pixel, ``"keypoints"`` (k, 2) in (x, y)
pixels, the first pixel's center being (0, 0), and ``"boxes"`` (k, 4) as (x_min, y_min, x_max, y_max) in pixels of their
outer edges; others, such as a label, stay as they are. Further columns of key points and boxes, such as a visibility or
a class, are carried along. Outside of the image a mask is ``mask_fill_value`` where the
image is 0 or filled, and otherwise shows what the image does there; integers in it are exact up to 2^24. An image with
further leading axes, a clip, is changed as one. Pixels may be infinite or NaN; they do not affect others.

The result also has ``"keypoints_inside"`` and ``"boxes_inside"`` (k,), bool: whether a key point lies in the frame, and
whether a box has an area in it. Passed on with the example, they stay False. What has no place in the result, such as a
point behind the horizon, is far outside.
"""

_LEVELS = 10.0  # from which on values are taken for levels of [0, 255]; no normalization reaches them
_COLUMNS = {"keypoints": 2, "boxes": 4}
PARTS = ("image", "mask", *_COLUMNS, *(f"{name}_inside" for name in _COLUMNS))
"""The entries of an example that an augmentation may change."""


def image_of(example: Example) -> AnyArray:
    """Returns the image of an example, or refuses a dictionary without one."""
    if isinstance(example, Mapping):
        check("image" in example, "augment", "an example", 'an image or a dictionary with "image"', str(list(example)))
        return example["image"]
    return example


def image_shape(example: Example) -> tuple[int, int]:
    """Returns the height and width of an example's image."""
    h, w = image_of(example).shape[-3:-1]
    return h, w


def replace_image(example: Example, image: jax.Array) -> Example:
    """Returns the example with another image."""
    return {**example, "image": image} if isinstance(example, Mapping) else image


def check_example(function: str, example: Example) -> None:
    """Refuses anything that is not an example, on behalf of a public function."""
    image = image_of(example)
    array = isinstance(image, jax.Array | np.ndarray)
    known = array and (image.dtype == jnp.uint8 or jnp.issubdtype(image.dtype, jnp.floating))
    got = shape_text(image) if array else f"{type(image).__module__}.{type(image).__name__}"
    good = known and image.ndim >= 3 and 0 not in image.shape[-3:]
    check(good, function, "image", "an array (h, w, c), uint8 or floating, of at least 1 x 1 pixels", got)
    if not isinstance(example, Mapping):
        return
    if "mask" in example:
        mask, (h, w) = example["mask"], image.shape[-3:-1]
        array = isinstance(mask, jax.Array | np.ndarray)
        shape = mask.shape if array else ()
        fits = (shape[-2:] if len(shape) < image.ndim else shape[-3:-1]) == (h, w)
        got = str(shape) if array else type(mask).__name__
        check(fits, function, "mask", f"({h}, {w}) or ({h}, {w}, k), as the image", got)
    for name in _COLUMNS:
        if name in example:
            _check_points(function, name, example)


def check_float_range(function: str, image: AnyArray) -> None:
    """Refuses a floating image of levels up to 255, which colors would be clipped to white, if its values are known."""
    if is_tracing() or not jnp.issubdtype(image.dtype, jnp.floating) or image.size == 0:
        return
    most = float(np.max(image) if isinstance(image, np.ndarray) else jnp.max(image))
    got = f"values up to {most:g}; divide levels by 255"
    check(not most > _LEVELS, function, "image", "in [0, 1] where it is floating", got)


def _check_points(function: str, name: str, example: Mapping[str, Any]) -> None:
    count, columns = _COLUMNS[name], {"keypoints": "x, y", "boxes": "x_min, y_min, x_max, y_max"}[name]
    points = as_array(function, name, example[name])
    numbers = jnp.issubdtype(points.dtype, jnp.floating) or jnp.issubdtype(points.dtype, jnp.integer)
    none = points.shape == (0,)
    good = none or (numbers and points.ndim > 0 and points.shape[-1] >= count)
    check(good, function, name, f"(k, {count}) of ({columns}), or with further columns", shape_text(points))
    if f"{name}_inside" in example:
        flags, shape = as_array(function, f"{name}_inside", example[f"{name}_inside"]), points.shape[:-1]
        fits = flags.dtype == jnp.bool_ and flags.shape == ((0,) if none else shape)
        check(fits, function, f"{name}_inside", f"bool{shape}, one for each of {name}", shape_text(flags))


def mark_inside(example: Example) -> Example:
    """Adds to an example which of its key points and boxes are inside of the frame."""
    if not isinstance(example, Mapping):
        return example
    marked = dict(example)
    for name, count in _COLUMNS.items():
        if name in example:
            points = to_float_points(example[name])
            if points.shape == (0,):
                marked[name] = points = jnp.zeros((0, count), points.dtype)
            marked[f"{name}_inside"] = _merge_inside(example, name, points, image_shape(example))
    return marked


def _merge_inside(example: Mapping[str, Any], name: str, points: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Returns which points or boxes are inside of a frame, and were so before."""
    h, w = shape
    if name == "keypoints":
        x, y = points[..., 0], points[..., 1]
        inside = (x >= -0.5) & (x <= w - 0.5) & (y >= -0.5) & (y <= h - 0.5)
    else:
        left, top, right, bottom = (points[..., i] for i in range(4))
        inside = (jnp.minimum(right, w) > jnp.maximum(left, 0)) & (jnp.minimum(bottom, h) > jnp.maximum(top, 0))
    before = example.get(f"{name}_inside")
    return inside if before is None else inside & jnp.asarray(before)


def to_float_points(points: AnyArray | Sequence[Any]) -> jax.Array:
    """Converts key points or boxes to floating arrays, as moving them does."""
    array = jnp.asarray(points)
    return array.astype(jnp.float64 if array.dtype == jnp.float64 else jnp.float32)


def round_to_dtype(values: jax.Array, dtype: Dtype) -> jax.Array:
    """Casts floating values, rounding them for an integer dtype."""
    if jnp.issubdtype(dtype, jnp.floating):
        return values.astype(dtype)
    if dtype == jnp.bool_:
        return values > 0.5
    rounded = jnp.round(values)
    return (jnp.clip(rounded, 0, 255) if dtype == jnp.uint8 else rounded).astype(dtype)


def sample_example(
    example: Example, pixel_map: PixelMap, *, materialized: bool = False, finite: bool = False
) -> Example:
    """Samples the image and the mask of an example and moves its key points and boxes.

    Args:
        example: The example.
        pixel_map: Where the pixels of the result are sampled.
        materialized: Whether the image is materialized before anything reads it, see ``ops._materialize``.
        finite: Whether all pixels of the image are known to be finite.

    Returns:
        The example in the shape of the map's result.
    """
    request = pixel_map.sampling
    unused = request.padding_mode in ("zeros", "fill") or is_zero(request.mask_fill_value)
    expected = 'left at 0 unless padding_mode is "zeros" or "fill"'
    check(unused, "augment", "mask_fill_value", expected, repr(request.mask_fill_value))

    def sample_image(image: AnyArray) -> jax.Array:
        return _sample(image, pixel_map, pixel_map.sampling, finite)

    image = materialize(sample_image, image_of(example)) if materialized else sample_image(image_of(example))
    if not isinstance(example, Mapping):
        return image
    sampled = {**example, "image": image}
    if "mask" in example:
        mask = jnp.asarray(example["mask"])
        flat = mask.ndim < jnp.ndim(example["image"])
        layers = _sample(mask[..., None] if flat else mask, pixel_map, _mask_sampling(pixel_map.sampling), False)
        sampled["mask"] = layers[..., 0] if flat else layers
    if "keypoints" in example:
        points = _move_points(to_float_points(example["keypoints"]), pixel_map)
        inside = _merge_inside(example, "keypoints", points, pixel_map.shape)
        if pixel_map.rows is not None:
            points, inside = pixel_map.rows.forward(points, -2), pixel_map.rows.forward(inside, -1)
        sampled |= {"keypoints": points, "keypoints_inside": inside}
    if "boxes" in example:
        boxes = _move_boxes(to_float_points(example["boxes"]), pixel_map)
        sampled |= {"boxes": boxes, "boxes_inside": _merge_inside(example, "boxes", boxes, pixel_map.shape)}
    return sampled


def _mask_sampling(image: SamplingRequest) -> SamplingRequest:
    """Returns how masks are sampled: outside they have a value of their own, or show the border or mirror image."""
    padding, fill = image.padding_mode, image.mask_fill_value
    if padding in ("zeros", "fill"):
        padding = "zeros" if is_zero(fill) else "fill"
    return SamplingRequest("nearest", padding, fill, align_corners=image.align_corners)


def _sample(image: AnyArray, pixel_map: PixelMap, sampling: SamplingRequest, finite: bool) -> jax.Array:
    """Samples an image (..., h, w, c) at the same points for every leading axis; pixels of weight zero are not read."""
    image = jnp.asarray(image)
    # The fill of an exact copy is that of the image.
    same_outside = sampling.padding_mode == pixel_map.sampling.padding_mode != "fill"
    if pixel_map.exact is not None and (sampling is pixel_map.sampling or same_outside):
        return pixel_map.exact(image)
    mode: Mode = sampling.mode or "bilinear"
    # The border if nothing outside is wanted: at an edge interpolation reads beyond the image.
    padding: PaddingMode = sampling.padding_mode or "border"
    fill_value, align_corners = sampling.fill_value, sampling.align_corners
    antialias = sampling.antialias and mode == "bilinear"
    floating = image if jnp.issubdtype(image.dtype, jnp.floating) else image.astype(jnp.float32)
    options = check_options("augment", floating, mode, padding, fill_value, align_corners, antialias)
    finite = finite or not jnp.issubdtype(image.dtype, jnp.floating)
    replaced = mode != "nearest" and not finite and not antialias
    options, points = options._replace(finite=finite or replaced), pixel_map.pixels()

    def sample_one(image: jax.Array) -> jax.Array:
        if not replaced:
            return sample_pixels(image, points, options, 1)
        hidden, restore = replace_nonfinite(image.astype(jnp.float32))
        return restore(sample_pixels(hidden, points, options, 1))

    for _ in range(image.ndim - 3):
        sample_one = jax.vmap(sample_one)
    return round_to_dtype(sample_one(floating), image.dtype)


def _move_points(points: jax.Array, pixel_map: PixelMap) -> jax.Array:
    moved = jnp.stack(pixel_map.backward(points[..., 0], points[..., 1]), -1).astype(points.dtype)
    return jnp.concatenate([moved, points[..., 2:]], -1)


def _move_boxes(boxes: jax.Array, pixel_map: PixelMap) -> jax.Array:
    """Returns the boxes around the moved corners and middles of the sides, clipped to the frame.

    Points without a place in the result are left out; a box that has none is empty.
    """
    left, top, right, bottom = (boxes[..., i] - 0.5 for i in range(4))
    middle, half = (left + right) / 2, (top + bottom) / 2
    x = jnp.stack([left, middle, right, right, right, middle, left, left], -1)
    y = jnp.stack([top, top, top, half, bottom, bottom, bottom, half], -1)
    x, y = pixel_map.backward(x, y)
    found = ~is_far_outside(x, y) | jnp.isnan(x) | jnp.isnan(y)
    h, w = pixel_map.shape
    sides = [
        jnp.clip(jnp.where(jnp.any(found, -1), v + 0.5, 0.0), 0, n)
        for v, n in (
            (jnp.min(x, -1, where=found, initial=jnp.inf), w),
            (jnp.min(y, -1, where=found, initial=jnp.inf), h),
            (jnp.max(x, -1, where=found, initial=-jnp.inf), w),
            (jnp.max(y, -1, where=found, initial=-jnp.inf), h),
        )
    ]
    moved = jnp.stack(sides, -1).astype(boxes.dtype)
    return jnp.concatenate([moved, boxes[..., 4:]], -1)
