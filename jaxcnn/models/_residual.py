"""The addition at the end of a residual block."""

import chex

from jaxcnn._typing import AnyArray, Array, Float

__all__ = ["add_shortcut"]


def add_shortcut(x: Float[Array, "*b h w c"], shortcut: Float[AnyArray, "*b h w c"]) -> Float[Array, "*b h w c"]:
    """Adds the shortcut of a residual block to its output.

    Checks at trace time that the shapes are equal: a shortcut of one channel, or of one pixel, would otherwise be
    broadcast and train without an error.
    """
    chex.assert_equal_shape((x, shortcut))
    return x + shortcut
