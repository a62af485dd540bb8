"""The random parameters of a distortion and how it applies them to an image, one example at a time.

``draw_parameters`` draws the parameters of one example from a key; ``distort`` applies them to the source images.
Lengths are pixels of the canvas, measured from its center, x to the right and y downwards, unless stated otherwise.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from jaxcnn import ops
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._draws import to_range, to_unit_interval
from jaxcnn.ops._sampling import pixel_matrices as matrices

__all__ = ["DEFAULTS", "DistortionOptions", "distort", "draw_parameters"]

DEFAULTS: dict[str, dict[str, Any]] = {
    "R": {"degrees": 90.0},
    "RTS": {"canvas": 42, "degrees": 45.0, "scale": (0.7, 1.2), "margin": 0.0},
    "P": {"scale": (0.75, 1.0), "corner_sigma": 5.0},
    "E": {"scale": (0.75, 1.0), "point_sigma": 1.5, "points": 4},
    "T": {"canvas": 60},
    "TC": {"canvas": 60, "distractors": 6, "patch": 6},
}
"""The options of every kind and their defaults; a kind without ``canvas`` keeps the image's size."""

_WORDS = 5  # random words for index, angle, scale and the two coordinates of the place
_REFERENCE_SIZE = 28.0  # side of an MNIST image, in whose pixels the sigmas are given


@dataclasses.dataclass(frozen=True)
class DistortionOptions:
    """The static options of a distortion; hashable. Those that a kind does not use stay at 0."""

    kind: str
    canvas: tuple[int, int]
    degrees: float = 0.0
    scale: tuple[float, float] = (1.0, 1.0)
    margin: float = 0.0
    corner_sigma: float = 0.0
    point_sigma: float = 0.0
    points: int = 0
    distractors: int = 0
    patch: int = 0


def draw_parameters(key: PRNGKey, options: DistortionOptions, source_shape: tuple[int, ...]) -> dict[str, jax.Array]:
    """Draws the parameters of one example; ``source_shape`` is (m, h, w, c)."""
    m, h, w, _ = source_shape
    size, canvas = np.array([w, h], np.float32), np.array(options.canvas[::-1], np.float32)
    # One request for random words: every further one costs more compilation than all that follows.
    # Each quantity has its own words, so that an option changes only the quantities that it describes.
    words = jax.random.bits(key, (_WORDS + _count_noise_words(options),), jnp.uint32)
    noise = words[_WORDS:]
    parameters = {"index": _to_integers(words[0], m)}
    if options.kind in ("T", "TC"):
        parameters["place"] = _to_integers(words[1:3], np.array(options.canvas) - (h, w) + 1)
        if options.kind == "TC":
            parameters.update(_draw_clutter(noise.reshape(5, options.distractors), options, source_shape))
        return parameters
    if options.kind in ("R", "RTS"):
        limit = math.radians(options.degrees)
        parameters["angle"] = _to_uniform(words[1], -limit, limit)
    if options.kind != "R":
        parameters["scale"] = _to_uniform(words[2], *options.scale)
    if options.kind == "RTS":
        # A pixel's bilinear footprint reaches half a pixel beyond its edge, hence the + 1.
        box = _bound_rotated(size - 2 * options.margin + 1, parameters["angle"]) * parameters["scale"]
        room = jnp.maximum(canvas - box, 0) / 2
        parameters["shift"] = room * _to_uniform(words[3:5], -1.0, 1.0)
    elif options.kind == "P":
        corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32) * size / 2
        sigma = options.corner_sigma * size / _REFERENCE_SIZE
        moved = parameters["scale"] * corners + _to_normal(noise.reshape(4, 2)) * sigma[None]
        parameters["corners"] = moved + _shift_into(moved, canvas)[None]
    elif options.kind == "E":
        sigma = options.point_sigma * size / _REFERENCE_SIZE
        parameters["offsets"] = _to_normal(noise.reshape(options.points**2, 2)) * sigma[None]
    return parameters


def distort(images: jax.Array, parameters: dict[str, jax.Array], options: DistortionOptions) -> jax.Array:
    """Distorts image ``parameters["index"]`` of the sources (m, h, w, c)."""
    image = _to_float(jax.lax.dynamic_index_in_dim(images, parameters["index"], keepdims=False))
    if options.kind in ("T", "TC"):
        return _place_on_canvas(images, image, parameters, options)
    size, canvas = np.array(image.shape[1::-1], np.float32), np.array(options.canvas[::-1], np.float32)
    if options.kind == "P":
        matrix = _map_to_square(parameters["corners"] * (2 / canvas)[None])
        return ops.warp_perspective(image, matrix, shape=options.canvas)
    if options.kind == "E":
        # The spline maps the canvas to the image, so that it needs no inverse: at the control points of the
        # scaled digit it reads the displaced points of the image.
        axis = np.linspace(-1, 1, options.points, dtype=np.float32)
        # Row by row, as ``warp_tps`` orders its regular grid.
        control = np.stack([v.ravel() for v in np.meshgrid(axis, axis)], -1)
        points = jnp.asarray(control * (canvas / size)) / parameters["scale"] + parameters["offsets"] * (2 / size)[None]
        return ops.warp_tps(image, points, shape=options.canvas)
    theta = _compute_theta(parameters, size, canvas)
    return ops.warp_affine(image, theta, shape=options.canvas)


def _to_float(image: jax.Array) -> jax.Array:
    floating = image.astype(jnp.float32)
    return floating / 255 if image.dtype == jnp.uint8 else floating


def _count_noise_words(options: DistortionOptions) -> int:
    return {"P": 8, "E": 2 * options.points**2, "TC": 5 * options.distractors}.get(options.kind, 0)


def _to_integers(words: jax.Array, count: ArrayLike) -> jax.Array:
    # The bias of the remainder is below count / 2**32.
    return (words % np.asarray(count, np.uint32)).astype(jnp.int32)


def _to_uniform(words: jax.Array, low: float, high: float) -> jax.Array:
    return to_range(to_unit_interval(words), (low, high))


def _to_normal(words: jax.Array) -> jax.Array:
    # Centers of 2**23 cells of (-1, 1): never an end, where the inverse is infinite.
    within = ((words >> 9).astype(jnp.float32) + 0.5) * 2.0**-22 - 1
    return jax.lax.erf_inv(within) * math.sqrt(2)


def _draw_clutter(words: jax.Array, options: DistortionOptions, source_shape: tuple[int, ...]) -> dict[str, jax.Array]:
    m, h, w, _ = source_shape
    p = options.patch
    return {
        # Offset of the patch's source image from the digit's: never 0, the digit itself.
        "patch_step": 1 + _to_integers(words[0], max(m - 1, 1)),
        "patch_from": _to_integers(words[1:3].T, np.array([[h, w]]) - p + 1),
        "patch_place": _to_integers(words[3:5].T, np.array([options.canvas]) - p + 1),
    }


def _place_on_canvas(
    images: jax.Array, image: jax.Array, parameters: dict[str, jax.Array], options: DistortionOptions
) -> jax.Array:
    m, _, _, c = images.shape
    row, column = parameters["place"]
    zero = jnp.int32(0)  # with 64 bits switched on, a plain 0 would not match the other starts
    canvas = jnp.zeros((*options.canvas, c), jnp.float32)
    canvas = jax.lax.dynamic_update_slice(canvas, image, (row, column, zero))
    if options.distractors == 0:
        return canvas
    p = options.patch

    def add_patch(i: jax.Array, canvas: jax.Array) -> jax.Array:
        other = (parameters["index"] + parameters["patch_step"][i]) % m
        (y, x), (top, left) = parameters["patch_from"][i], parameters["patch_place"][i]
        patch = _to_float(jax.lax.dynamic_slice(images, (other, y, x, zero), (1, p, p, c))[0])
        under = jax.lax.dynamic_slice(canvas, (top, left, zero), (p, p, c))
        return jax.lax.dynamic_update_slice(canvas, jnp.maximum(under, patch), (top, left, zero))

    return jax.lax.fori_loop(0, options.distractors, add_patch, canvas)


def _bound_rotated(size: np.ndarray, angle: jax.Array) -> jax.Array:
    """Computes width and height of the box around a rotated rectangle of the given width and height."""
    cosine, sine = jnp.abs(jnp.cos(angle)), jnp.abs(jnp.sin(angle))
    return jnp.stack([cosine * size[0] + sine * size[1], sine * size[0] + cosine * size[1]])


def _shift_into(points: jax.Array, canvas: np.ndarray) -> jax.Array:
    """Computes the shortest shift of the points' box into the canvas, or that which centers a box too large."""
    low, high = jnp.min(points, 0), jnp.max(points, 0)
    inwards = jnp.maximum(-canvas / 2 - low, 0) - jnp.maximum(high - canvas / 2, 0)
    return jnp.where(high - low <= canvas, inwards, -(low + high) / 2)


def _compute_theta(parameters: dict[str, jax.Array], size: np.ndarray, canvas: np.ndarray) -> jax.Array:
    """Computes the canvas-to-image matrix of a digit that is rotated (counter-clockwise), scaled, then shifted."""
    scale = parameters["scale"] if "scale" in parameters else jnp.float32(1.0)
    shift = parameters.get("shift", jnp.zeros(2, jnp.float32))
    cosine, sine = jnp.cos(parameters["angle"]) / scale, jnp.sin(parameters["angle"]) / scale
    turn = jnp.stack([jnp.stack([cosine, -sine]), jnp.stack([sine, cosine])])
    linear = turn * (canvas[None, :] / size[:, None])
    offset = -jnp.sum(turn * shift[None, :], axis=1) * (2 / size)
    return jnp.concatenate([linear, offset[:, None]], axis=1)


def _map_to_square(corners: jax.Array) -> jax.Array:
    """Computes the homography that maps four corners to (-1, -1), (1, -1), (1, 1), (-1, 1).

    The corner pixels of an image of 3 x 3 lie 2 apart, as those do. Three corners on one line (probability 0) give NaN.
    """
    pixels = matrices.invert_entries(matrices.matrix_from_corners((3, 3), [(x, y) for x, y in corners]))
    return matrices.to_array(matrices.compose_entries(((1.0, 0.0, -1.0), (0.0, 1.0, -1.0), (0.0, 0.0, 1.0)), pixels))
