"""Constants of batch norm, in Flax's meaning: the momentum is the share of the old value."""

from typing import TypedDict

__all__ = ["KERAS_NORM", "TORCH_NORM", "NormConstants"]


class NormConstants(TypedDict):
    """Keyword arguments of ``flax.linen.BatchNorm`` that differ between frameworks."""

    momentum: float
    epsilon: float


KERAS_NORM = NormConstants(momentum=0.99, epsilon=1e-3)
"""Keras's defaults, which most of its applications keep."""

TORCH_NORM = NormConstants(momentum=0.9, epsilon=1e-5)
"""PyTorch's defaults; its momentum 0.1 is the share of the new value."""
