"""What residual networks share: the addition, stages of blocks, the places of strides and dilations."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import chex
import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._typing import AnyArray, Array, Float
from jaxcnn.models._dilation import dilate_strides

__all__ = ["BOTTLENECKS", "BlockStage", "StridePlace", "add_shortcut", "place_strides", "spread_drop_path"]

StridePlace = Literal["first", "last"]
"""The block of a stage that has its stride."""

BOTTLENECKS: Mapping[int, tuple[int, ...]] = {
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
"""Layers of a network of bottlenecks to the number of them in each stage."""


def add_shortcut(x: Float[Array, "*b h w c"], shortcut: Float[AnyArray, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """Adds the shortcut of a residual block to its output.

    Checks at trace time that the shapes are equal: a shortcut of one channel, or of one pixel, would otherwise be
    broadcast and train without an error.
    """
    chex.assert_equal_shape((x, shortcut))
    return x + shortcut


class BlockStage(nn.Module):
    """Blocks of one resolution: ``block1``, ``block2`` and so on.

    Args:
        kind: Class of the blocks, which are called with the maps and whether to train.
        blocks: The options of each.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
    """

    kind: type[nn.Module]
    blocks: Sequence[Mapping[str, Any]]
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the last block."""
        kind = nn.remat(self.kind, static_argnums=(2,)) if self.remat else self.kind
        y = jnp.asarray(x)
        for i, options in enumerate(self.blocks, 1):
            y = kind(**options, name=f"block{i}")(y, train)
        return y


def place_strides(
    blocks: Sequence[int], strides: Sequence[int], *, before: int, output_stride: int, place: StridePlace = "first"
) -> list[list[tuple[int, int]]]:
    """Lists stride and dilation of every block, stage by stage.

    Args:
        blocks: Number of blocks of each stage.
        strides: Stride of each stage.
        before: Pixels of the image per pixel of the first stage's maps.
        output_stride: Pixels of the image per pixel of the last maps.
        place: The block of a stage that has its stride.

    Returns:
        Per stage, per block: stride and dilation.
    """
    own = []
    for number, stride in zip(blocks, strides, strict=True):
        ones = [1] * (number - 1)
        own += [stride, *ones] if place == "first" else [*ones, stride]
    places = iter(dilate_strides(own, output_stride, before=before))
    return [list(itertools.islice(places, number)) for number in blocks]


def spread_drop_path(rate: float, blocks: Sequence[int]) -> list[list[float]]:
    """Lists the probability of dropping the branch of every block: from 0 of the first to ``rate`` of the last."""
    last = max(sum(blocks) - 1, 1)
    return [[rate * (sum(blocks[:i]) + j) / last for j in range(number)] for i, number in enumerate(blocks)]
