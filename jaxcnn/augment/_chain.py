"""An example on its way through augmentations: reading is put off until pixels are needed.

``augmentation`` makes of a function of a ``Chain`` one of examples. A ``sequence`` hands one chain from function to
function, so geometric neighbours collect one map, and one reading.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import check, shape_text
from jaxcnn._typing import AnyArray
from jaxcnn.augment._geometry import ANY, Geometry, Reading, select
from jaxcnn.augment._keys import one_key
from jaxcnn.ops._materialize import materialize, materialize_planes
from jaxcnn.ops.sampling import Mode, PaddingMode, check_options, sample_pixels

__all__ = ["Chain", "Example", "advance", "augmentation", "chain_of", "has_branches", "is_geometric", "takes_chain"]

Example = AnyArray | Mapping[str, Any]
"""An image (h, w, c), floating in [0, 1] or uint8, or a dictionary with one.

Entries ``"image"``, ``"mask"`` (h, w) or (h, w, k) read by nearest pixel, ``"keypoints"`` (k, 2) in (x, y) pixels, the
first pixel's centre being (0, 0), and ``"boxes"`` (k, 4) as (x_min, y_min, x_max, y_max) in pixels of their outer
edges; others, such as a label, stay as they are. Outside of the image a mask shows what the image does there, and 0
where that is filled; integers in it are exact up to 2^24. An image of further leading axes, a clip, is changed as one.
"""

F = TypeVar("F", bound=Callable[..., Any])


@dataclasses.dataclass(frozen=True)
class Chain:
    """An example, and where the pixels of the result are to be read in it.

    On the way levels of uint8 are floating, and rounded once, at the end. That is not only more exact: compiled in one
    program for a CPU, changes of uint8 one after the other took far longer.
    """

    example: Any  # None where only the map is wanted
    geometry: Geometry
    levels: bool = False  # whether the image was uint8, and is floating now
    changed: bool = False  # whether the image was computed by a function after it was read

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.geometry.shape

    @property
    def pixels(self) -> Any:
        """The image, where all was read."""
        return _image(self.example)

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return 1 if self.example is None else _image(self.example).shape[-1]

    def read(self, geometry: Geometry) -> "Chain":
        """Reads the result so far by another map, from its shape to the map's."""
        both = self.geometry.then(geometry)
        if both is None and self.example is None:  # only where points go is wanted
            both = dataclasses.replace(self.geometry, reading=ANY).then(geometry)
        if both is None:
            return dataclasses.replace(self.done(), geometry=geometry)
        return dataclasses.replace(self, geometry=both)

    def change(self, function: Callable[[Any], Any], *, apart: bool = False) -> "Chain":
        """Applies a function to the image, floating in [0, 1], of the result so far; it must keep its shape.

        ``apart`` says that the function costs more, or reads values in another order, than what changes colours.
        """
        if self.example is None:
            return self
        done = self.floating()
        image = materialize_planes(done.pixels) if done.changed and apart else done.pixels
        changed = done.with_example(_with_image(done.example, function(image)))
        return dataclasses.replace(changed, changed=True)

    def where(self, condition: Any, other: "Chain") -> "Chain":
        """Chooses this chain or another of the same example, both of one shape."""
        check(self.shape == other.shape, "augment", "both results", "of one shape", f"{self.shape} and {other.shape}")
        if self.example is other.example:
            geometry = select(condition, self.geometry, other.geometry)
            if geometry is None and self.example is None:  # only where points go is wanted
                geometry = select(condition, dataclasses.replace(self.geometry, reading=ANY), other.geometry)
            if geometry is not None:
                return dataclasses.replace(self, geometry=geometry)
        done, others = self.floating(), other.floating()
        chosen = jax.tree.map(lambda a, b: jnp.where(condition, a, b), done.example, others.example)
        return dataclasses.replace(done, example=chosen)

    def with_example(self, example: Any) -> "Chain":
        """Gives what a function made of the example, when all was read; the result has a shape of its own."""
        h, w = _image(example).shape[-3:-1]
        return dataclasses.replace(self, example=example, geometry=Geometry.none((h, w)))

    def done(self, *, last: bool = False) -> "Chain":
        """Reads what is to be read; ``last`` says that the image is not computed with any more."""
        geometry = self.geometry
        if not geometry.links:
            return self
        if geometry.exact is not None:
            return dataclasses.replace(self, example=_read_all(self.example, geometry), geometry=_nothing(geometry))
        chain = self.with_example(self.example).floating()
        image = materialize(lambda image: image, chain.pixels) if chain.changed else chain.pixels
        example = _with_image(chain.example, image)
        return Chain(_read_all(example, geometry, store=not last), _nothing(geometry), chain.levels)

    def floating(self) -> "Chain":
        """Reads what is to be read, and makes levels and places floating, as reading makes them."""
        done = self.done()
        if isinstance(done.example, Mapping):
            moving = {name: _places(v) for name, v in done.example.items() if name in ("keypoints", "boxes")}
            done = dataclasses.replace(done, example={**done.example, **moving})
        image = jnp.asarray(_image(done.example))
        if image.dtype != jnp.uint8:
            return done
        image = materialize(lambda levels: levels * jnp.float32(1 / 255), image)
        return dataclasses.replace(done, example=_with_image(done.example, image), levels=True)

    def finish(self) -> Any:
        """Reads what is to be read and gives the example."""
        done = self.done(last=not self.levels and self.pixels.dtype != jnp.uint8)
        return _with_image(done.example, as_dtype(done.pixels * 255, jnp.uint8)) if done.levels else done.example


def _nothing(geometry: Geometry) -> Geometry:
    return Geometry.none(geometry.shape)


def _read_all(example: Any, geometry: Geometry, *, store: bool = False) -> Any:
    def read_image(image: Any) -> Any:
        return _read(image, geometry, geometry.reading)

    image = materialize(read_image, _image(example)) if store else read_image(_image(example))
    if not isinstance(example, Mapping):
        return image
    done = {**example, "image": image}
    if "mask" in example:
        mask = jnp.asarray(example["mask"])
        flat = mask.ndim < jnp.ndim(example["image"])
        read = _read(mask[..., None] if flat else mask, geometry, _of_masks(geometry.reading))
        done["mask"] = read[..., 0] if flat else read
    if "keypoints" in example:
        done["keypoints"] = _moved(_places(example["keypoints"]), geometry)
    if "boxes" in example:
        done["boxes"] = _moved_boxes(_places(example["boxes"]), geometry)
    return done


def _of_masks(reading: Reading) -> Reading:
    """Says how masks are read: outside they are 0 where the image is filled, else what the image shows there."""
    padding = "zeros" if reading.padding_mode == "fill" else reading.padding_mode
    return Reading("nearest", padding, align_corners=reading.align_corners)


def _places(points: Any) -> jax.Array:
    points = jnp.asarray(points)
    return points.astype(jnp.promote_types(points.dtype, jnp.float32))


def _with_image(example: Any, image: Any) -> Any:
    return {**example, "image": image} if isinstance(example, Mapping) else image


def start(function: str, example: Any) -> Chain:
    """Begins a chain, or refuses what is no example."""
    image = _image(example)
    kind = getattr(image, "dtype", None)
    known = kind is not None and (kind == jnp.uint8 or jnp.issubdtype(kind, jnp.floating))
    got = shape_text(image) if kind is not None else type(image).__name__
    good = known and image.ndim >= 3 and 0 not in image.shape[-3:]
    check(good, function, "image", "(h, w, c), uint8 or floating, of at least 1 x 1 pixels", got)
    h, w = image.shape[-3:-1]
    if isinstance(example, Mapping) and "mask" in example:
        shape = np.shape(example["mask"])
        fits = (shape[-2:] if len(shape) < image.ndim else shape[-3:-1]) == (h, w)
        check(fits, function, "mask", f"({h}, {w}) or ({h}, {w}, k), as the image", str(shape))
    return Chain(example, Geometry.none((h, w)))


def probe(shape: tuple[int, int]) -> Chain:
    """Begins a chain of no example, which only collects the map."""
    return Chain(None, Geometry.none(shape))


def chain_of(image: Any) -> Chain:
    """Tells the type checker what the functions under ``augmentation`` are really given."""
    return cast(Chain, image)


def augmentation(*, geometric: bool, branches: bool = False) -> Callable[[F], F]:
    """Makes of a function of (key, chain) one that takes examples as well.

    Args:
        geometric: Whether it only moves pixels.
        branches: Whether it does one of several things of which some cost much.
    """

    def mark(function: F) -> F:
        @functools.wraps(function)
        def wrapped(key: Any, image: Any, **options: Any) -> Any:
            if isinstance(image, Chain):
                return function(key, image, **options)
            one_key(function.__name__, key)
            return function(key, start(function.__name__, image), **options).finish()

        wrapped.geometric, wrapped.branches = geometric, branches  # type: ignore[attr-defined]
        wrapped.marked = wrapped  # type: ignore[attr-defined]
        return cast(F, wrapped)

    return mark


def advance(function: Callable[..., Any], key: Any, chain: Chain) -> Chain:
    """Applies an augmentation of any origin to a chain."""
    if takes_chain(function):
        return function(key, chain)
    check(chain.example is not None, "inverse", "every function", "one of augment's", repr(function))
    return start("sequence", function(key, chain.finish()))


def takes_chain(function: Any) -> bool:
    """Tells if a function is one of ours, also with options bound by ``functools.partial``."""
    bare = _bare(function)
    return getattr(bare, "marked", None) is bare  # ``functools.wraps`` and ``jax.jit`` copy attributes to others


def is_geometric(function: Any) -> bool:
    """Tells if a function of ours only moves pixels."""
    return takes_chain(function) and _bare(function).geometric


def has_branches(function: Any) -> bool:
    """Tells if a function of ours does one of several things of which some cost much."""
    return getattr(_bare(function), "branches", False)


def _bare(function: Any) -> Any:
    while isinstance(function, functools.partial):
        function = function.func
    return function


def _image(example: Any) -> Any:
    if isinstance(example, Mapping):
        check("image" in example, "augment", "an example", 'an image or a dictionary with "image"', str(list(example)))
        return example["image"]
    return example


def _read(image: Any, geometry: Geometry, reading: Reading) -> jax.Array:
    """Reads an image (..., h, w, c), the same places of every leading axis."""
    image = jnp.asarray(image)
    if geometry.exact is not None and reading.outside == geometry.reading.outside:
        return geometry.exact(image)
    # Where nothing outside is wanted, the border: at an edge interpolation reads beyond the image.
    padding: PaddingMode = reading.padding_mode or "border"
    mode: Mode = reading.mode or "bilinear"
    fill_value, align_corners = reading.fill_value, reading.align_corners
    antialias = reading.antialias and mode == "bilinear"
    floating = image if jnp.issubdtype(image.dtype, jnp.floating) else image.astype(jnp.float32)
    options = check_options("augment", floating, mode, padding, fill_value, align_corners, antialias)
    options, points = options._replace(finite=True), geometry.points()  # images are in [0, 1]

    def one(image: Any) -> Any:
        return sample_pixels(image, points, options, 1)

    for _ in range(image.ndim - 3):
        one = jax.vmap(one)
    return as_dtype(one(floating), image.dtype)


def as_dtype(values: Any, dtype: Any) -> jax.Array:
    """Casts floating values, rounding where the dtype is an integer one."""
    if jnp.issubdtype(dtype, jnp.floating):
        return values.astype(dtype)
    if dtype == jnp.bool_:
        return values > 0.5
    rounded = jnp.round(values)
    return (jnp.clip(rounded, 0, 255) if dtype == jnp.uint8 else rounded).astype(dtype)


def _moved(points: Any, geometry: Geometry) -> jax.Array:
    return jnp.stack(geometry.backward(points[..., 0], points[..., 1]), -1).astype(points.dtype)


def _moved_boxes(boxes: Any, geometry: Geometry) -> jax.Array:
    """Gives the boxes around what the corners and the middles of the sides become, cut at the frame."""
    left, top, right, bottom = (boxes[..., i] - 0.5 for i in range(4))
    middle, half = (left + right) / 2, (top + bottom) / 2
    x = jnp.stack([left, middle, right, right, right, middle, left, left], -1)
    y = jnp.stack([top, top, top, half, bottom, bottom, bottom, half], -1)
    x, y = geometry.backward(x, y)
    h, w = geometry.shape
    sides = [
        jnp.clip(v + 0.5, 0, n)
        for v, n in ((jnp.min(x, -1), w), (jnp.min(y, -1), h), (jnp.max(x, -1), w), (jnp.max(y, -1), h))
    ]
    return jnp.stack(sides, -1).astype(boxes.dtype)
