"""Distorted images drawn on the device from a key."""

import dataclasses
import functools
import math
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import (
    check,
    check_choice,
    check_positive_shape,
    check_single_key,
    is_integer_at_least,
    repeat_per_axis,
    shape_text,
)
from jaxcnn._representation import short_repr
from jaxcnn._typing import AnyArray, Array, Batch, Float, Int, PRNGKey, UInt8
from jaxcnn.data.description import digest_arrays, label_range
from jaxcnn.data.distortions import DEFAULTS, DistortionOptions, distort, draw_parameters

__all__ = ["Generator", "Stream", "distorted"]

Kind = Literal["R", "RTS", "P", "E", "T", "TC"]

_CHUNK_VALUES = 2**20  # pixels that ``Generator.fixed`` computes at once; bounds memory, does not change the result


@functools.partial(jax.tree_util.register_dataclass, data_fields=["images", "labels"], meta_fields=["options"])
@dataclasses.dataclass(frozen=True, eq=False)
class Generator:
    """Draws distorted images; made by ``distorted``.

    Example ``i`` of a batch depends on ``fold_in(key, i)`` alone: a larger batch from the same key begins
    with the smaller one (pixels equal up to the rounding of the device's program).

    It is a pytree whose leaves are the source arrays (uint8 ones stay uint8). In a jitted function that
    closes over it, the sources become constants of the compiled program; passed as an argument,
    ``jax.jit(lambda g, key: g(key, 64))(generator, key)``, they do not.

    Attributes:
        images: The source images (m, h, w, c).
        labels: Their labels (m,), int32.
        options: Kind, canvas and ranges.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import data
        >>> images, labels = data.digits(split="test")
        >>> generator = data.distorted(images, labels, kind="R")
        >>> few, many = generator(jax.random.key(0), 2), generator(jax.random.key(0), 5)
        >>> bool(jnp.all(few["image"] == many["image"][:2]))
        True
    """

    images: Any
    labels: Any
    options: DistortionOptions

    def __repr__(self) -> str:
        """Describes it in one line; arrays by their shapes."""
        return short_repr(self)

    def __call__(self, key: PRNGKey, n: int) -> Batch:
        """Draws ``n`` examples: ``{"image": (n, *canvas, c) in [0, 1], "label": (n,)}``."""
        check(is_integer_at_least(n, 1), "Generator", "n", "a positive integer", repr(n))
        check_single_key("Generator", key)
        return _draw_batch(self, key, n)

    def parameters(self, key: PRNGKey, n: int) -> dict[str, Any]:
        """Returns the parameters drawn for the same ``n`` examples, each array with a leading axis of ``n``.

        ``index`` of the source image; ``angle`` in radians, positive counter-clockwise; ``scale``;
        ``shift`` (x, y) and ``corners`` (4, 2) in canvas pixels from the center; ``offsets`` of the
        control points in image pixels; ``place`` (row, column) of the upper left pixel. The patches'
        ``patch_step`` (source index relative to the digit's), ``patch_from`` and ``patch_place``.
        """
        check(is_integer_at_least(n, 1), "Generator", "n", "a positive integer", repr(n))
        check_single_key("Generator", key)
        return _draw_parameters(self, key, n)

    def fixed(self, key: PRNGKey, *, repeats: int = 10) -> Batch:
        """Draws a test set: every source image ``repeats`` times, as NumPy arrays.

        Example ``r * m + i`` shows source image ``i``, so that a set with fewer repeats is a prefix of
        one with more. The same key draws the same images.
        """
        check(
            is_integer_at_least(repeats, 1),
            "Generator",
            "repeats",
            "a positive integer",
            repr(repeats),
        )
        check_single_key("Generator", key)
        m = len(self.labels)
        total = m * repeats
        values = int(np.prod(self.options.canvas)) * self.images.shape[-1]
        chunk = min(total, max(1, _CHUNK_VALUES // values))
        images = np.empty((total, *self.options.canvas, self.images.shape[-1]), np.float32)
        for start in range(0, total, chunk):
            # All chunks have one size, so that one program serves all; the excess of the last one is dropped.
            positions = np.arange(start, start + chunk)
            computed = np.asarray(
                _distort_chosen(self, key, positions.astype(np.int32), (positions % m).astype(np.int32))
            )
            images[start : start + chunk] = computed[: total - start]
        return {"image": images, "label": np.tile(np.asarray(self.labels), repeats)}

    def describe(self) -> dict[str, Any]:
        """Returns what a run folder keeps of this data: the distortion with its options, and the sources' form."""
        images = {"examples": len(self.labels), "shape": list(self.images.shape[1:]), "dtype": str(self.images.dtype)}
        options = dataclasses.asdict(self.options)
        found = {"kind": "distorted", "distortion": options.pop("kind"), **options, "sources": images}
        return {**found, **label_range(self.labels)}

    def fingerprint(self) -> dict[str, Any]:
        """Returns what identifies this data when a run is continued: the sources and the options."""
        return {"content": digest_arrays((self.images, self.labels)), "options": dataclasses.asdict(self.options)}

    def stream(self, batch_size: int) -> "Stream":
        """Returns a callable from a key to a batch of ``batch_size``, as a training step takes it."""
        check(
            is_integer_at_least(batch_size, 1),
            "Generator",
            "batch_size",
            "a positive integer",
            repr(batch_size),
        )
        return Stream(self, batch_size)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["generator"], meta_fields=["batch_size"])
@dataclasses.dataclass(frozen=True, eq=False)
class Stream:
    """Draws batches of a fixed size: maps a key to a batch. A pytree, like the generator.

    Attributes:
        generator: Draws the examples.
        batch_size: Number of examples.

    Example:
        As an argument of a jitted function its source images are not constants of the program.

        >>> import jax
        >>> from jaxcnn import data
        >>> stream = data.distorted(*data.digits(), kind="RTS").stream(8)
        >>> batch = jax.jit(lambda stream, key: stream(key))(stream, jax.random.key(0))
        >>> batch["image"].shape
        (8, 42, 42, 1)
    """

    generator: Generator
    batch_size: int

    def __repr__(self) -> str:
        """Describes it in one line; arrays by their shapes."""
        return short_repr(self)

    def describe(self) -> dict[str, Any]:
        """Returns what the generator says of itself."""
        return self.generator.describe()

    def fingerprint(self) -> dict[str, Any]:
        """Returns what identifies this data when a run is continued, as that of the generator."""
        return {**self.generator.fingerprint(), "order": {"batch_size": self.batch_size}}

    def __call__(self, key: PRNGKey) -> Batch:
        """Draws one batch."""
        return self.generator(key, self.batch_size)


def distorted(
    images: Float[Array | np.ndarray, "m h w c"] | UInt8[Array | np.ndarray, "m h w c"],
    labels: Int[Array | np.ndarray, " m"],
    *,
    kind: Kind,
    canvas: int | tuple[int, int] | None = None,
    degrees: float | None = None,
    scale: tuple[float, float] | None = None,
    margin: float | None = None,
    corner_sigma: float | None = None,
    point_sigma: float | None = None,
    points: int | None = None,
    distractors: int | None = None,
    patch: int | None = None,
) -> Generator:
    """Builds a generator of distorted images, as used to test spatial transformers.

    ======= ==================================================================== ==============
    kind    what it does                                                         canvas
    ======= ==================================================================== ==============
    ``R``   rotates by up to ``degrees`` (90) either way                         the image's
    ``RTS`` rotates (45), scales (0.7 to 1.2), puts at a random place            42 x 42
    ``P``   scales (0.75 to 1), moves every corner of the image                  the image's
    ``E``   scales (0.75 to 1), warps by a thin-plate spline                     the image's
    ``T``   puts at a random place, in whole pixels                              60 x 60
    ``TC``  as ``T``, plus patches of other images as clutter                    60 x 60
    ======= ==================================================================== ==============

    All distributions are uniform except the normal deviates of ``P`` and ``E``. The defaults imitate the
    distorted MNIST sets of the paper. It does not state all of them: the canvas of ``R``, ``P`` and
    ``E`` and the size of the patches, for example, are choices of this library.

    Convention:
        - Outside the image pixels are 0: white strokes on black.
        - ``RTS`` places the bounding box of the rotated and scaled image uniformly among all places where
          it lies within the canvas; along an axis where it does not fit it is centered.
        - ``P`` shifts the moved corners by the least amount that keeps their box on the canvas, or
          centers it if it is larger. Corners that cross (rare) hide part of the image.
        - ``R`` and ``E`` stay in the center; parts outside the canvas are cut off. Images without a blank
          border, such as the built-in digits, need a canvas somewhat larger than the image.
        - Patches and digit are combined by the maximum.

    Args:
        images: The sources, in [0, 1] or uint8.
        labels: Their classes.
        kind: The distortion, see above.
        canvas: Side, or height and width, of the result.
        degrees: ``R``, ``RTS``: the largest angle.
        scale: ``RTS``, ``P``, ``E``: smallest and largest factor.
        margin: ``RTS``: width in pixels of the images' blank border, which may leave the canvas: 4
            for MNIST.
        corner_sigma: ``P``: standard deviation of a corner's movement in each direction, in 1/28 of
            the image's side (pixels of an MNIST image); 5.
        point_sigma: ``E``: the same of a control point; 1.5.
        points: ``E``: control points per side of their square grid; 4.
        distractors: ``TC``: number of patches; 6.
        patch: ``TC``: side of a patch in pixels; 6. Many patches show nothing but background.

    Returns:
        The generator; call it with a key and a number of examples.

    Raises:
        ValueError: If a shape, dtype, kind or range is invalid, or an option belongs to another kind.

    Example:
        >>> import jax
        >>> from jaxcnn import data
        >>> generator = data.distorted(*data.digits(), kind="RTS")
        >>> batch = generator(jax.random.key(0), 8)
        >>> batch["image"].shape, batch["label"].shape
        ((8, 42, 42, 1), (8,))
        >>> generator.fixed(jax.random.key(1), repeats=1)["image"].shape
        (1437, 42, 42, 1)

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 4.1 and appendix A.
    """
    check_choice("distorted", "kind", kind, tuple(DEFAULTS))
    images, labels = _check_sources(images, labels)
    given = {
        "canvas": canvas,
        "degrees": degrees,
        "scale": scale,
        "margin": margin,
        "corner_sigma": corner_sigma,
        "point_sigma": point_sigma,
        "points": points,
        "distractors": distractors,
        "patch": patch,
    }
    given = {name: value for name, value in given.items() if value is not None}
    for name in given:
        used = name == "canvas" or name in DEFAULTS[kind]
        check(used, "distorted", name, f"left alone with kind={kind!r}", repr(given[name]))
    options = _make_options(kind, {**DEFAULTS[kind], **given}, images.shape)
    return Generator(jnp.asarray(images), jnp.asarray(labels), options)


def _check_sources(images: AnyArray, labels: AnyArray) -> tuple[AnyArray, AnyArray]:
    images, labels = (x if hasattr(x, "dtype") else np.asarray(x) for x in (images, labels))
    check(
        images.ndim == 4 and 0 not in images.shape, "distorted", "images", "of shape (m, h, w, c)", shape_text(images)
    )
    real = images.dtype == np.uint8 or jnp.issubdtype(images.dtype, jnp.floating)
    check(real, "distorted", "images", "float in [0, 1] or uint8", shape_text(images))
    whole = jnp.issubdtype(labels.dtype, jnp.integer) and labels.shape == images.shape[:1]
    check(whole, "distorted", "labels", f"{images.shape[0]} integers, one per image", shape_text(labels))
    return images if images.dtype == np.uint8 else images.astype(np.float32), labels.astype(np.int32)


def _make_options(kind: Kind, given: dict[str, Any], shape: tuple[int, ...]) -> DistortionOptions:
    m, h, w, _ = shape

    def require(condition: bool, name: str, expected: str) -> None:
        check(bool(condition), "distorted", name, expected, repr(given[name]))

    canvas = given.get("canvas", (h, w))
    canvas = check_positive_shape("distorted", "canvas", repeat_per_axis(canvas, 2), "h w")
    given["canvas"] = (canvas[0], canvas[1])
    if kind in ("T", "TC"):
        require(canvas[0] >= h and canvas[1] >= w, "canvas", f"at least the images' size ({h}, {w})")
    if "scale" in given:
        pair: tuple[Any, ...] = tuple(given["scale"]) if np.iterable(given["scale"]) else ()
        valid = len(pair) == 2 and all(map(_is_finite, pair)) and 0 < pair[0] <= pair[1]
        require(valid, "scale", "two positive numbers, the smaller first")
        given["scale"] = (float(pair[0]), float(pair[1]))
    for name in ("degrees", "margin", "corner_sigma", "point_sigma"):
        if name in given:
            require(_is_finite(given[name]) and given[name] >= 0, name, "a number >= 0")
            given[name] = float(given[name])
    if "points" in given:
        require(is_integer_at_least(given["points"], 2), "points", "an integer >= 2")
        given["points"] = int(given["points"])
    if kind == "TC":
        require(is_integer_at_least(given["distractors"], 0), "distractors", "an integer >= 0")
        fits = is_integer_at_least(given["patch"], 1) and given["patch"] <= min(h, w)
        require(fits, "patch", f"an integer in [1, {min(h, w)}], the images' side")
        given["distractors"], given["patch"] = int(given["distractors"]), int(given["patch"])
        require(m > 1 or given["distractors"] == 0, "distractors", "0 where there is only one image")
    return DistortionOptions(kind=kind, **given)


def _is_finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return math.isfinite(value)


def _draw_one(generator: Generator, key: PRNGKey, position: jax.Array) -> dict[str, jax.Array]:
    return draw_parameters(jax.random.fold_in(key, position), generator.options, generator.images.shape)


@functools.partial(jax.jit, static_argnames="n")
def _draw_parameters(generator: Generator, key: PRNGKey, n: int) -> dict[str, jax.Array]:
    return jax.vmap(lambda i: _draw_one(generator, key, i))(jnp.arange(n))


@functools.partial(jax.jit, static_argnames="n")
def _draw_batch(generator: Generator, key: PRNGKey, n: int) -> dict[str, jax.Array]:
    def draw_example(i: jax.Array) -> dict[str, jax.Array]:
        parameters = _draw_one(generator, key, i)
        label = jax.lax.dynamic_index_in_dim(generator.labels, parameters["index"], keepdims=False)
        return {"image": distort(generator.images, parameters, generator.options), "label": label}

    return jax.vmap(draw_example)(jnp.arange(n))


@jax.jit
def _distort_chosen(generator: Generator, key: PRNGKey, positions: jax.Array, indices: jax.Array) -> jax.Array:
    def distort_one(i: jax.Array, index: jax.Array) -> jax.Array:
        return distort(generator.images, {**_draw_one(generator, key, i), "index": index}, generator.options)

    return jax.vmap(distort_one)(positions, indices)
