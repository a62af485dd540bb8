"""A chain of augmentations of one example: sampling is deferred until its pixels are needed.

A ``sequence`` hands one chain from function to function, so geometric neighbors collect one map, and the image is
sampled once.
"""

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from jaxcnn._check import check
from jaxcnn._typing import AnyArray
from jaxcnn.augment._examples import (
    Example,
    check_example,
    image_of,
    image_shape,
    mark_inside,
    replace_image,
    round_to_dtype,
    sample_example,
    to_float_points,
)
from jaxcnn.augment._pixel_maps import ANY_SAMPLING, ImageFunction, PixelMap, choose_map
from jaxcnn.ops._materialize import materialize, materialize_planes

__all__ = ["Chain"]


@dataclasses.dataclass(frozen=True)
class Chain:
    """An example, and where the pixels of the result are to be sampled in it.

    In between, levels of uint8 are floating, and they are rounded once, at the end. That is not only more exact:
    compiled in one program for a CPU, changes of uint8 one after the other took far longer.
    """

    source: Example | None  # None where only the map is wanted
    pixel_map: PixelMap
    was_uint8: bool = False  # whether the image was uint8, and is floating now
    computed: bool = False  # whether the image was computed by a function after it was sampled

    @classmethod
    def start(cls, function: str, example: Example) -> "Chain":
        """Begins a chain with an example, or refuses anything else on behalf of a public function."""
        check_example(function, example)
        example = mark_inside(example)
        return cls(example, PixelMap.identity(image_shape(example)))

    @classmethod
    def without_example(cls, shape: tuple[int, int]) -> "Chain":
        """Begins a chain that only collects the map."""
        return cls(None, PixelMap.identity(shape))

    @property
    def example(self) -> Example:
        """The example, as it is before the map."""
        if self.source is None:
            raise ValueError("augment: chain must hold an example, got one that only collects a map.")
        return self.source

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the result."""
        return self.pixel_map.shape

    @property
    def pixels(self) -> AnyArray:
        """The image, once it is sampled."""
        return image_of(self.example)

    @property
    def channels(self) -> int:
        """Channels of the image."""
        return 1 if self.source is None else image_of(self.source).shape[-1]

    def sample(self, pixel_map: PixelMap) -> "Chain":
        """Samples the result so far through another map, from its shape to the map's."""
        both = self.pixel_map.then(pixel_map)
        if both is None and self.source is None:  # only the map is wanted
            both = dataclasses.replace(self.pixel_map, sampling=ANY_SAMPLING).then(pixel_map)
        if both is None:
            return dataclasses.replace(self.resolve(), pixel_map=pixel_map)
        return dataclasses.replace(self, pixel_map=both)

    def change(self, function: ImageFunction, *, separate: bool = False) -> "Chain":
        """Applies a function to the image, floating in [0, 1], of the result so far; it must keep its shape.

        ``separate`` marks functions that cost more, or read values in another order, than changes of colors.
        """
        if self.source is None:
            return self
        resolved = self.to_float()
        image = jnp.asarray(resolved.pixels)
        image = materialize_planes(image) if resolved.computed and separate else image
        changed = resolved.replace_example(replace_image(resolved.example, function(image)))
        return dataclasses.replace(changed, computed=True)

    def where(self, condition: jax.Array, other: "Chain") -> "Chain":
        """Chooses this chain or another of the same example, both of one shape."""
        check(self.shape == other.shape, "augment", "both results", "of one shape", f"{self.shape} and {other.shape}")
        if self.source is other.source:
            chosen = choose_map(condition, self.pixel_map, other.pixel_map)
            if chosen is None and self.source is None:  # only the map is wanted
                anyhow = dataclasses.replace(self.pixel_map, sampling=ANY_SAMPLING)
                chosen = choose_map(condition, anyhow, other.pixel_map)
            if chosen is not None:
                return dataclasses.replace(self, pixel_map=chosen)
        first, second = self.to_float(), other.to_float()
        example = jax.tree.map(lambda a, b: jnp.where(condition, a, b), first.example, second.example)
        return dataclasses.replace(first, source=example)

    def replace_example(self, example: Example) -> "Chain":
        """Returns the chain with what a function computed from its sampled example; it may have another shape."""
        return dataclasses.replace(self, source=example, pixel_map=PixelMap.identity(image_shape(example)))

    def resolve(self, *, last: bool = False) -> "Chain":
        """Samples what is still to be sampled; ``last`` promises that nothing is computed from the image any more."""
        pixel_map = self.pixel_map
        if not pixel_map.links:
            return self
        identity = PixelMap.identity(pixel_map.shape)
        if pixel_map.exact is not None:
            return dataclasses.replace(self, source=sample_example(self.example, pixel_map), pixel_map=identity)
        chain = self.replace_example(self.example).to_float()
        image = jnp.asarray(chain.pixels)
        image = materialize(lambda image: image, image) if chain.computed else image
        example = sample_example(
            replace_image(chain.example, image), pixel_map, materialized=not last, finite=chain.was_uint8
        )
        return Chain(example, identity, chain.was_uint8)

    def to_float(self) -> "Chain":
        """Samples what is still to be sampled, and makes levels, key points and boxes floating, as sampling does."""
        chain = self.resolve()
        if isinstance(chain.example, Mapping):
            points = {k: to_float_points(v) for k, v in chain.example.items() if k in ("keypoints", "boxes")}
            chain = dataclasses.replace(chain, source={**chain.example, **points})
        image = jnp.asarray(chain.pixels)
        if image.dtype != jnp.uint8:
            return chain
        image = materialize(lambda levels: levels.astype(jnp.float32) * jnp.float32(1 / 255), image)
        return dataclasses.replace(chain, source=replace_image(chain.example, image), was_uint8=True)

    def result(self) -> Example:
        """Samples what is still to be sampled and returns the example."""
        chain = self.resolve(last=not self.was_uint8 and self.pixels.dtype != jnp.uint8)
        if not chain.was_uint8:
            return chain.example
        return replace_image(chain.example, round_to_dtype(jnp.asarray(chain.pixels) * 255, jnp.uint8))
