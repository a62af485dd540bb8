"""What every model asks of its input."""

import math
from typing import Any

from jaxcnn._check import check, check_floating, check_min_rank, shape_text

__all__ = ["check_images", "flat"]


def check_images(model: str, x: Any, *, smallest: int = 1) -> None:
    """Refuses what is not floating images (*b, h, w, c) of at least ``smallest`` pixels each way.

    A lower rank would otherwise pass silently: an image without its channel axis, say, is
    convolved along the wrong axes.
    """
    check_min_rank(model, "x", x, "h w c")
    check_floating(model, "x", x)
    check(min(x.shape[-3:-1]) >= smallest, model, "x", f"at least {smallest} x {smallest} pixels", shape_text(x))


def flat(x: Any) -> Any:
    """Makes images or maps (*b, h, w, c) one axis; its size is stated, as none could be inferred of an empty batch."""
    return x.reshape(*x.shape[:-3], math.prod(x.shape[-3:]))
