"""Maps from the pixels of a result to those of its source: a chain of geometric steps as one map, and its inverse.

Points are (x, y) in pixels, the first pixel's center being (0, 0). A map goes from the result to the source, as all
transforms of the library do; points of the source are carried to the result by its inverse.
"""

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._typing import FillValue
from jaxcnn.augment._inverse_points import Points, invert_points
from jaxcnn.ops._sampling import pixel_matrices as matrices
from jaxcnn.ops._sampling.pixel_matrices import Matrix
from jaxcnn.ops.remap import pixel_positions
from jaxcnn.ops.sampling import Mode, PaddingMode

__all__ = [
    "ANY_SAMPLING",
    "FillValue",
    "ImageFunction",
    "NonlinearMap",
    "PixelMap",
    "RowChange",
    "SamplingRequest",
    "choose_map",
    "displacement_map",
]

ImageFunction = Callable[[jax.Array], jax.Array]
"""Computes an image (..., h, w, c) from one."""


class SamplingRequest(NamedTuple):
    """How a step wants values to be sampled; None where it does not matter."""

    mode: Mode | None = None
    padding_mode: PaddingMode | None = None
    fill_value: FillValue = 0.0
    mask_fill_value: FillValue = 0  # of masks, where the image is filled or 0
    align_corners: bool = False  # matters for reflection
    antialias: bool = False

    def merge(self, other: "SamplingRequest") -> "SamplingRequest | None":
        """Returns what satisfies both, or None if they contradict one another."""
        if self.mode and other.mode and self.mode != other.mode:
            return None
        first, second = self.outside, other.outside
        if first and second and first != second:
            return None
        padding = self if first and (not second or _fill_size(self) >= _fill_size(other)) else other
        return padding._replace(mode=self.mode or other.mode, antialias=self.antialias or other.antialias)

    @property
    def outside(self) -> tuple[PaddingMode, Hashable, Hashable, bool] | None:
        """The padding in a form that can be compared: fills by their values, traced ones by their identity."""
        if self.padding_mode is None:
            return None
        about_centers = self.align_corners and self.padding_mode == "reflection"
        return self.padding_mode, _fill_key(self.fill_value), _fill_key(self.mask_fill_value), about_centers


def _fill_key(fill: FillValue) -> Hashable:
    """Returns what is equal for equal fills; the same value for every channel is the value alone."""
    try:
        values = np.asarray(fill, np.float32) + np.float32(0)  # -0 is 0
    except jax.errors.TracerArrayConversionError:
        return tuple(map(_fill_key, fill)) if isinstance(fill, Sequence) else id(fill)
    except (TypeError, ValueError):  # which is refused where it is used
        return id(fill)
    if values.ndim == 1 and values.size > 0 and np.all(values == values[0]):
        values = values[0]
    return values.shape, values.tobytes()


def _fill_size(sampling: SamplingRequest) -> int:
    fill = sampling.fill_value
    return len(fill) if isinstance(fill, Sequence) else getattr(fill, "size", 1)


ANY_SAMPLING = SamplingRequest()


class RowChange(NamedTuple):
    """A permutation of rows, of key points (..., k, c) along an axis, and its inverse."""

    forward: Callable[[jax.Array, int], jax.Array]
    backward: Callable[[jax.Array, int], jax.Array]


_SAME_ROWS = RowChange(lambda values, _: values, lambda values, _: values)


class NonlinearMap(NamedTuple):
    """A map of points that is not a matrix."""

    forward: Callable[[jax.Array, jax.Array, bool], Points]  # x, y, whether these are all pixels in order
    backward: Callable[[jax.Array, jax.Array], Points]


@dataclasses.dataclass(frozen=True)
class PixelMap:
    """A map from the pixels of a result (h, w) to those of its source.

    ``links`` are what points pass through, in this order; two neighbors are both matrices only if both are projective.
    ``exact`` does the same to an image (..., h, w, c) without interpolation, where that is possible. ``rows`` permutes
    the key points.
    """

    source: tuple[int, int]
    shape: tuple[int, int]
    links: tuple[Matrix | NonlinearMap, ...] = ()
    sampling: SamplingRequest = ANY_SAMPLING
    exact: ImageFunction | None = None
    rows: RowChange | None = None

    @classmethod
    def identity(cls, shape: tuple[int, int]) -> "PixelMap":
        """Returns the map that changes nothing."""
        return cls(shape, shape, exact=lambda image: image)

    def then(self, after: "PixelMap") -> "PixelMap | None":
        """Returns the map of this step followed by another, or None if their sampling contradicts one another."""
        sampling = self.sampling.merge(after.sampling)
        if sampling is None:
            return None
        links = list(after.links)
        for link in self.links:
            before = links[-1] if links else None
            if before is None or isinstance(before, NonlinearMap) or isinstance(link, NonlinearMap):
                links.append(link)
            elif matrices.is_affine(before) or matrices.is_affine(link):
                links[-1] = matrices.compose_entries(link, before)
            else:  # the product would bring back what lies behind the horizon of the first
                links.append(link)
        exact = None
        if self.exact is not None and after.exact is not None:
            exact = _compose(self.exact, after.exact)
        return PixelMap(self.source, after.shape, tuple(links), sampling, exact, _compose_rows(self.rows, after.rows))

    def pixels(self) -> Points:
        """Returns where all pixels of the result are sampled."""
        x, y = pixel_positions(self.shape)
        return self.forward(x, y, True)

    def forward(self, x: jax.Array, y: jax.Array, all_pixels: bool = False) -> Points:
        """Maps points of the result to the source."""
        for link in self.links:
            if isinstance(link, NonlinearMap):
                x, y = link.forward(x, y, all_pixels)
            else:
                x, y = matrices.map_points(link, x, y)
            all_pixels = False
        return x, y

    def backward(self, x: jax.Array, y: jax.Array) -> Points:
        """Maps points of the source to the result."""
        for link in reversed(self.links):
            if isinstance(link, NonlinearMap):
                x, y = link.backward(x, y)
            else:
                x, y = matrices.map_points(matrices.invert_entries(link), x, y)
        return x, y

    def invert(self, source: tuple[int, int]) -> "PixelMap":
        """Returns the map that brings the result back to a source of this shape."""
        links = tuple(
            _invert_nonlinear(link) if isinstance(link, NonlinearMap) else matrices.invert_entries(link)
            for link in reversed(self.links)
        )
        rows = None if self.rows is None else RowChange(self.rows.backward, self.rows.forward)
        return PixelMap(self.shape, source, links, self.sampling, rows=rows)


def displacement_map(
    displacement: Callable[[jax.Array, jax.Array, bool], Points], shape: tuple[int, int]
) -> NonlinearMap:
    """Makes a map of the displacement of the points of a result (h, w)."""

    def forward(x: jax.Array, y: jax.Array, all_pixels: bool) -> Points:
        dx, dy = displacement(x, y, all_pixels)
        return x + dx, y + dy

    def backward(x: jax.Array, y: jax.Array) -> Points:
        return invert_points(lambda at: forward(at[0], at[1], False), (x, y), shape)

    return NonlinearMap(forward, backward)


def choose_map(condition: jax.Array, first: PixelMap, other: PixelMap) -> PixelMap | None:
    """Chooses one of two maps between the same shapes; None if their sampling contradicts one another."""
    sampling = first.sampling.merge(other.sampling)
    if sampling is None:
        return None
    exact = None
    if first.exact is not None and other.exact is not None:
        exact = _choose_function(condition, first.exact, other.exact)
    one, two = _single_matrix(first), _single_matrix(other)
    if one is not None and two is not None:
        link: Matrix | NonlinearMap = matrices.select_entries(condition, one, two)
    else:
        link = _choose_nonlinear(condition, first, other)
    rows = _choose_rows(condition, first.rows, other.rows)
    return PixelMap(first.source, first.shape, (link,), sampling, exact, rows)


def _single_matrix(pixel_map: PixelMap) -> Matrix | None:
    """Returns the matrix of a map that is nothing else."""
    link, *others = pixel_map.links or (matrices.IDENTITY,)
    return None if others or isinstance(link, NonlinearMap) else link


def _choose_nonlinear(condition: jax.Array, first: PixelMap, other: PixelMap) -> NonlinearMap:
    def choose(a: Points, b: Points) -> Points:
        x, y = (jnp.where(condition, p, q) for p, q in zip(a, b, strict=True))
        return x, y

    return NonlinearMap(
        lambda x, y, all_pixels: choose(first.forward(x, y, all_pixels), other.forward(x, y, all_pixels)),
        lambda x, y: choose(first.backward(x, y), other.backward(x, y)),
    )


def _invert_nonlinear(link: NonlinearMap) -> NonlinearMap:
    return NonlinearMap(lambda x, y, all_pixels: link.backward(x, y), lambda x, y: link.forward(x, y, False))


def _compose_rows(first: RowChange | None, second: RowChange | None) -> RowChange | None:
    if first is None or second is None:
        return first or second
    return RowChange(
        lambda values, axis: second.forward(first.forward(values, axis), axis),
        lambda values, axis: first.backward(second.backward(values, axis), axis),
    )


def _choose_rows(condition: jax.Array, first: RowChange | None, other: RowChange | None) -> RowChange | None:
    if first is None and other is None:
        return None
    one, two = first or _SAME_ROWS, other or _SAME_ROWS
    return RowChange(
        lambda values, axis: jnp.where(condition, one.forward(values, axis), two.forward(values, axis)),
        lambda values, axis: jnp.where(condition, one.backward(values, axis), two.backward(values, axis)),
    )


def _compose(first: ImageFunction, second: ImageFunction) -> ImageFunction:
    return lambda image: second(first(image))


def _choose_function(condition: jax.Array, first: ImageFunction, other: ImageFunction) -> ImageFunction:
    return lambda image: jnp.where(condition, first(image), other(image))
