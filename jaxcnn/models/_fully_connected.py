"""The classifier of early networks: fully connected layers over the pixels of the last maps."""

from collections.abc import Sequence
from typing import Unpack

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._check import check_known_sizes
from jaxcnn._typing import AnyArray, Array, Float
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import drop_features

__all__ = ["classify_windows"]


def classify_windows(
    x: Float[AnyArray, "*b h w c"],
    hidden: Sequence[int],
    num_classes: int,
    *,
    window: tuple[int, int],
    dropout: float,
    dropout_first: bool = False,
    train: bool,
    **dtypes: Unpack[Dtypes],
) -> Float[Array, "*b classes"]:
    """Computes logits by fully connected layers over windows of the maps, and their mean over all windows.

    Call it inside a compact method: ``fc1`` and so on, ``head`` and the dropouts become submodules of that module.

    Args:
        x: Feature maps, at least as large as the window.
        hidden: Units of each hidden layer.
        num_classes: Number of logits.
        window: Height and width of the maps that the first layer is connected to; larger maps hold several windows,
            at every pixel.
        dropout: Rate of dropout.
        dropout_first: Whether dropout precedes each hidden layer instead of following it.
        train: Whether to drop.
        **dtypes: Dtypes of the layers.
    """
    y = _flatten_windows(x, window)
    for i, units in enumerate(hidden, 1):
        if dropout_first:
            y = drop_features(y, dropout, name=f"dropout{i}", train=train)
        y = nn.relu(nn.Dense(units, kernel_init=_normal, name=f"fc{i}", **dtypes)(y))
        if not dropout_first:
            y = drop_features(y, dropout, name=f"dropout{i}", train=train)
    return jnp.mean(nn.Dense(num_classes, kernel_init=_normal, name="head", **dtypes)(y), (-3, -2))


def _flatten_windows(x: Float[AnyArray, "*b h w c"], window: tuple[int, int]) -> Float[Array, "*b rows columns hwc"]:
    """Flattens the pixels of every window, row by row, into one axis."""
    check_known_sizes("models", "x", x, "h w", x.shape[-3:-1])  # the weights behind belong to one size
    h, w = window
    rows, columns = x.shape[-3] - h + 1, x.shape[-2] - w + 1
    if rows == columns == 1:
        return jnp.reshape(x, (*x.shape[:-3], 1, 1, h * w * x.shape[-1]))
    return jnp.concatenate([x[..., i : i + rows, j : j + columns, :] for i in range(h) for j in range(w)], axis=-1)


_normal = nn.initializers.normal(0.01)
