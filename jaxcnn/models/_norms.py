"""Constants of batch norm, in Flax's meaning: the momentum is the share of the old value."""

__all__ = ["KERAS_NORM"]

KERAS_NORM: dict[str, float] = {"momentum": 0.99, "epsilon": 1e-3}
"""Keras's defaults, which most of its applications keep."""
