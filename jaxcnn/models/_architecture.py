"""One row of a family's table: a name stands for a class and its options."""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import flax.linen as nn

__all__ = ["Architecture"]


class Architecture(NamedTuple):
    """A named network of a family.

    Attributes:
        kind: The class.
        options: Its fields that differ from the defaults.
        parameters: Number of trained values, for as many classes.
        size: Height and width of the images that the source trained it with.
        classes: Number of classes that it was trained for.
        source: Whose network it is, where its name does not begin with that.
    """

    kind: type[nn.Module]
    options: Mapping[str, Any]
    parameters: int
    size: int = 224
    classes: int = 1000
    source: Literal["pytorch", "keras"] = "pytorch"
