"""Initializers of depthwise kernels: ``(key, shape, dtype) -> array``, as in ``jax.nn.initializers``."""

from typing import Literal

import jax

from jaxcnn._check import check, check_choice
from jaxcnn._typing import Initializer

__all__ = ["depthwise_variance_scaling"]

Mode = Literal["fan_in", "fan_out", "fan_avg"]
Distribution = Literal["truncated_normal", "normal", "uniform"]


def depthwise_variance_scaling(
    scale: float, *, mode: Mode = "fan_in", distribution: Distribution = "truncated_normal"
) -> Initializer:
    """Scales depthwise kernels (*kernel, c, m) by the inputs that one output actually sees: one channel.

    The fans of ordinary initializers are wrong for them: in the shape (kh, kw, c, m) they count kh kw c
    inputs, in Flax's (kh, kw, 1, c m) they count kh kw c m outputs, both c times too many, so kernels
    are too small. Here fan_in is kh kw and fan_out kh kw m.

    Args:
        scale: Variance times fan: 1 keeps the variance of a linear layer's input (LeCun), 2 that of a layer
            after a ReLU (He).
        mode: ``"fan_in"``, ``"fan_out"`` or their mean, ``"fan_avg"`` (Glorot).
        distribution: ``"truncated_normal"``, ``"normal"`` or ``"uniform"``.

    Returns:
        The initializer, for kernels of any number of spatial axes.

    Raises:
        ValueError: If an option is unknown or ``scale`` is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import initializers
        >>> kernel = initializers.depthwise_variance_scaling(2.0)(jax.random.key(0), (3, 3, 256, 1), jnp.float32)
        >>> round(float(kernel.std()), 2), round((2 / 9) ** 0.5, 2)
        (0.47, 0.47)

    References:
        LeCun et al. 1998, "Efficient BackProp"; He et al. 2015, arXiv:1502.01852.
    """
    name = "depthwise_variance_scaling"
    check(scale > 0, name, "scale", "above 0", scale)
    check_choice(name, "mode", mode, ("fan_in", "fan_out", "fan_avg"))
    check_choice(name, "distribution", distribution, ("truncated_normal", "normal", "uniform"))
    return jax.nn.initializers.variance_scaling(scale, mode, distribution, in_axis=(), out_axis=-1, batch_axis=-2)
