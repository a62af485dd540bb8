"""Which pixels a weighted gather reads: what is fixed when a program is traced."""

from typing import NamedTuple

import jax
from jax.core import ShapedArray

__all__ = ["GatherSpec"]


class GatherSpec(NamedTuple):
    """The static parameters of a weighted gather and its gradients.

    A point reads rows of consecutive pixels: row k begins ``row_offsets[k]`` pixels behind the point's base index. One
    pixel together with its weight is a tap; taps are numbered row by row.
    """

    row_offsets: tuple[int, ...]
    row_width: int  # pixels of a row
    num_pixels: int  # of an image
    is_batched: tuple[bool, ...]  # per mapped axis, which come first: whether images have it, or share one
    finite: bool = False  # whether all pixels are known to be finite

    @property
    def num_taps(self) -> int:
        """Number of taps of a point."""
        return len(self.row_offsets) * self.row_width

    @property
    def tap_offsets(self) -> list[int]:
        """Distance of every tap from the base index."""
        return [row + i for row in self.row_offsets for i in range(self.row_width)]

    def batch_shape(self, base_index: jax.Array | ShapedArray) -> list[int]:
        """Returns the mapped axes of the images that these points read."""
        return [n for n, batched in zip(base_index.shape, self.is_batched, strict=False) if batched]
