"""Where the pixels of a result are read: a chain of geometric steps as one map, its inverse, and its options.

Points are (x, y) in pixels, the first pixel's centre being (0, 0). A map goes from the result to the source, as all
transforms of the library do; points of the source are carried to the result by its inverse.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcnn.ops._sampling import pixel_matrices as matrices
from jaxcnn.ops._sampling.pixel_matrices import Matrix
from jaxcnn.ops.remap import pixel_positions
from jaxcnn.ops.sampling import Mode, PaddingMode

__all__ = ["ANY", "Bend", "Geometry", "Reading", "displaced", "select"]

_ROUNDS = 20  # of the fixed-point iteration that inverts a bend


class Reading(NamedTuple):
    """How values are read; None where a step does not care."""

    mode: Mode | None = None
    padding_mode: PaddingMode | None = None
    fill_value: Any = 0.0
    align_corners: bool = False  # matters for reflection
    antialias: bool = False

    def merged(self, other: "Reading") -> "Reading | None":
        """Gives what suits both, or None if they contradict one another."""
        if self.mode and other.mode and self.mode != other.mode:
            return None
        first, second = self.outside, other.outside
        if first and second and first != second:
            return None
        padding = self if first else other
        return padding._replace(mode=self.mode or other.mode, antialias=self.antialias or other.antialias)

    @property
    def outside(self) -> tuple[Any, ...] | None:
        """Says what lies outside, comparable."""
        if self.padding_mode is None:
            return None
        fill = self.fill_value
        known = isinstance(fill, int | float | tuple)
        about_centres = self.align_corners and self.padding_mode == "reflection"
        return self.padding_mode, fill if known else id(fill), about_centres


ANY = Reading()


class Bend(NamedTuple):
    """A map that is no matrix."""

    forward: Callable[[Any, Any, bool], tuple[Any, Any]]  # x, y, whether these are all pixels in order
    backward: Callable[[Any, Any], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class Geometry:
    """A map from the pixels of a result (h, w) to those of its source.

    ``links`` are what points pass, the first one first; two neighbours are never both matrices. ``exact`` does
    with an image (..., h, w, c) what the map says without reading between pixels, where that is possible.
    """

    source: tuple[int, int]
    shape: tuple[int, int]
    links: tuple[Matrix | Bend, ...] = ()
    reading: Reading = ANY
    exact: Callable[[Any], Any] | None = None

    @classmethod
    def none(cls, shape: tuple[int, int]) -> "Geometry":
        """Gives the map of nothing done."""
        return cls(shape, shape, exact=lambda image: image)

    def then(self, after: "Geometry") -> "Geometry | None":
        """Gives the map of this step followed by another, or None if their readings contradict one another."""
        reading = self.reading.merged(after.reading)
        if reading is None:
            return None
        links = list(after.links)
        for link in self.links:
            if links and not isinstance(links[-1], Bend) and not isinstance(link, Bend):
                links[-1] = matrices.compose_entries(link, links[-1])
            else:
                links.append(link)
        exact = None
        if self.exact is not None and after.exact is not None:
            exact = _in_turn(self.exact, after.exact)
        return Geometry(self.source, after.shape, tuple(links), reading, exact)

    def points(self) -> tuple[Any, Any]:
        """Gives where all pixels of the result are read."""
        x, y = pixel_positions(self.shape)
        return self.forward(x, y, True)

    def forward(self, x: Any, y: Any, whole: bool = False) -> tuple[Any, Any]:
        """Carries points of the result to the source."""
        for link in self.links:
            x, y = link.forward(x, y, whole) if isinstance(link, Bend) else matrices.map_points(link, x, y)
            whole = False
        return x, y

    def backward(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Carries points of the source to the result."""
        for link in reversed(self.links):
            if isinstance(link, Bend):
                x, y = link.backward(x, y)
            else:
                x, y = matrices.map_points(matrices.invert_entries(link), x, y)
        return x, y

    def inverted(self, source: tuple[int, int]) -> "Geometry":
        """Gives the map that brings the result back to a source of this shape."""
        links = [
            Bend(_ordered(v.backward), _plain(v.forward)) if isinstance(v, Bend) else matrices.invert_entries(v)
            for v in reversed(self.links)
        ]
        return Geometry(self.shape, source, tuple(links), self.reading)


def displaced(displacement: Callable[[Any, Any, bool], tuple[Any, Any]]) -> Bend:
    """Makes a bend of the displacement that points of the result have, small and smooth enough to be inverted."""

    def forward(x: Any, y: Any, whole: bool) -> tuple[Any, Any]:
        dx, dy = displacement(x, y, whole)
        return x + dx, y + dy

    def backward(x: Any, y: Any) -> tuple[Any, Any]:
        def nearer(_: Any, at: Any) -> Any:
            dx, dy = displacement(at[0], at[1], False)
            return x - dx, y - dy

        return jax.lax.fori_loop(0, _ROUNDS, nearer, (x, y))

    return Bend(forward, backward)


def select(condition: Any, first: Geometry, other: Geometry) -> Geometry | None:
    """Chooses one of two maps between the same shapes; None if their readings contradict one another."""
    reading = first.reading.merged(other.reading)
    if reading is None:
        return None
    exact = None
    if first.exact is not None and other.exact is not None:
        exact = _chosen(condition, first.exact, other.exact)
    both = [g.links or (matrices.IDENTITY,) for g in (first, other)]
    if all(len(links) == 1 and not isinstance(links[0], Bend) for links in both):
        links: tuple[Matrix | Bend, ...] = (matrices.select_entries(condition, both[0][0], both[1][0]),)  # type: ignore
    else:
        links = (_either(condition, first, other),)
    return Geometry(first.source, first.shape, links, reading, exact)


def _either(condition: Any, first: Geometry, other: Geometry) -> Bend:
    def choose(a: Any, b: Any) -> tuple[Any, Any]:
        x, y = (jnp.where(condition, p, q) for p, q in zip(a, b, strict=True))
        return x, y

    return Bend(
        lambda x, y, whole: choose(first.forward(x, y, whole), other.forward(x, y, whole)),
        lambda x, y: choose(first.backward(x, y), other.backward(x, y)),
    )


def _in_turn(first: Callable[[Any], Any], second: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda image: second(first(image))


def _chosen(condition: Any, first: Callable[[Any], Any], other: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda image: jnp.where(condition, first(image), other(image))


def _ordered(function: Callable[[Any, Any], tuple[Any, Any]]) -> Callable[[Any, Any, bool], tuple[Any, Any]]:
    return lambda x, y, whole: function(x, y)


def _plain(function: Callable[[Any, Any, bool], tuple[Any, Any]]) -> Callable[[Any, Any], tuple[Any, Any]]:
    return lambda x, y: function(x, y, False)
