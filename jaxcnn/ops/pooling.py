"""Pooling: what is left of the spatial axes, or of windows on them."""

from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn._check import as_array, check, check_floating, check_min_rank, shape_text
from jaxcnn._typing import AnyArray, Array, Float
from jaxcnn.ops._batching import working_dtype
from jaxcnn.ops._pool_windows import axis_windows, counts, pad_axes, window_max, window_sum

__all__ = [
    "Padding",
    "avg_pool",
    "class_activation_map",
    "gem_pool",
    "global_average_pool",
    "global_max_pool",
    "lse_pool",
    "max_pool",
    "weighted_average_pool",
]

Padding = Literal["SAME", "VALID"] | int | Sequence[int | tuple[int, int]]

_SPACE = (-3, -2)


def max_pool(
    x: Float[AnyArray, "*b h w c"],
    window: int | Sequence[int],
    *,
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    ceil_mode: bool = False,
) -> Float[Array, "*b h_out w_out c"]:
    """Takes the maximum of every window.

    Convention:
        - Axes: channels last; any number of leading axes, also none. The length of ``window`` says how
          many axes are spatial: 1, 2 or 3; an integer stands for two.
        - Of equal maxima the first in row-major order takes the gradient. A NaN makes its windows NaN.
        - Padding never wins. (A window with nothing but -inf beside padding passes no gradient on.)

    Args:
        x: Values.
        window: Height and width of the window, or one integer for both.
        strides: Steps from window to window; None stands for ``window``.
        padding: ``"VALID"`` is none, ``"SAME"`` gives size / stride, rounded up, outputs; an integer
            is for all sides; a sequence has one ``(low, high)`` or integer per axis. Less than ``window``.
        ceil_mode: Whether a last window that overlaps the end counts. It must start inside of ``x`` or
            the low padding.

    Returns:
        The maxima, in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` is not floating, has too few axes or an empty spatial axis, if an option is
            not of the form above, or if no window fits.

    Example:
        >>> x = jnp.arange(16.0).reshape(4, 4, 1)
        >>> ops.max_pool(x, 2)[..., 0].tolist()
        [[5.0, 7.0], [13.0, 15.0]]

    Parity:
        Values and gradients equal ``torch.nn.functional.max_pool2d`` (axes moved), values also
        ``flax.linen.max_pool``. PyTorch allows paddings up to half of the window only.
    """
    x = as_array("max_pool", "x", x)
    windows = axis_windows("max_pool", x, window, strides, padding, ceil_mode)
    return window_max(pad_axes(x, windows, -jnp.inf), windows)


def avg_pool(
    x: Float[AnyArray, "*b h w c"],
    window: int | Sequence[int],
    *,
    strides: int | Sequence[int] | None = None,
    padding: Padding = "VALID",
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Float[Array, "*b h_out w_out c"]:
    """Takes the mean of every window.

    Convention:
        Axes: channels last; any number of leading axes, also none. The length of ``window`` says how
        many axes are spatial: 1, 2 or 3; an integer stands for two.

    Args:
        x: Values; sums are accumulated in float32 or wider.
        window: Height and width of the window, or one integer for both.
        strides: Steps from window to window; None stands for ``window``.
        padding: As for ``max_pool``.
        ceil_mode: As for ``max_pool``; what lies beyond the padding is never counted.
        count_include_pad: Whether the zeros of the padding count as elements.

    Returns:
        The means, in the dtype of ``x``.

    Raises:
        ValueError: As for ``max_pool``.

    Example:
        >>> x = jnp.arange(16.0).reshape(4, 4, 1)
        >>> ops.avg_pool(x, 2)[..., 0].tolist()
        [[2.5, 4.5], [10.5, 12.5]]

    Parity:
        Values and gradients equal ``torch.nn.functional.avg_pool2d`` (axes moved) and
        ``flax.linen.avg_pool``; both of them count padding unless told otherwise.
    """
    x = as_array("avg_pool", "x", x)
    windows = axis_windows("avg_pool", x, window, strides, padding, ceil_mode)
    wide = window_sum(pad_axes(x.astype(working_dtype(x)), windows, 0.0), windows)
    number = counts(windows, include_pad=count_include_pad)
    number = number.reshape((1,) * (wide.ndim - number.ndim) + number.shape)
    return (wide / jnp.asarray(number, wide.dtype)).astype(x.dtype)


def global_average_pool(x: Float[AnyArray, "*b h w c"]) -> Float[Array, "*b c"]:
    """Takes the mean of every map.

    Args:
        x: Feature maps; the sum is accumulated in float32 or wider.

    Returns:
        The means, in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` is not floating, has too few axes or an empty spatial axis.

    Example:
        >>> ops.global_average_pool(jnp.array([[[1.0], [3.0]]])).tolist()
        [2.0]
    """
    x = _maps("global_average_pool", x)
    return jnp.mean(x, _SPACE, dtype=working_dtype(x)).astype(x.dtype)


def global_max_pool(x: Float[AnyArray, "*b h w c"]) -> Float[Array, "*b c"]:
    """Takes the maximum of every map.

    Convention:
        Of equal maxima the first in row-major order takes the gradient, as in ``max_pool``.

    Args:
        x: Feature maps.

    Returns:
        The maxima, in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` is not floating, has too few axes or an empty spatial axis.

    Example:
        >>> ops.global_max_pool(jnp.array([[[1.0], [3.0]]])).tolist()
        [3.0]
    """
    x = _maps("global_max_pool", x)
    return lax.squeeze(max_pool(x, x.shape[-3:-1]), (x.ndim - 3, x.ndim - 2))


def lse_pool(
    x: Float[AnyArray, "*b h w c"], *, r: float | Float[AnyArray, "#c"] | Float[AnyArray, ""]
) -> Float[Array, "*b c"]:
    """Takes a smooth maximum of every map: (1/r) log mean exp(r x).

    It lies between the mean (r towards 0) and the maximum (r towards infinity).

    Args:
        x: Feature maps; computed in float32 or wider, free of overflow.
        r: Sharpness, above 0, usually 5 to 10: one number, or one per channel.

    Returns:
        The pooled values, in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` is not floating, has too few axes or an empty spatial axis, or ``r`` is a
            number not above 0 or has another shape.

    Example:
        >>> round(ops.lse_pool(jnp.array([[[1000.0], [0.0]]]), r=1.0).item(), 3)
        999.307

    References:
        Pinheiro and Collobert 2015, arXiv:1411.6228, equation 6.
    """
    x = _maps("lse_pool", x)
    dtype = working_dtype(x)
    sharpness = _positive("lse_pool", "r", r, x, dtype)
    area = x.shape[-3] * x.shape[-2]
    total = jax.scipy.special.logsumexp(x.astype(dtype) * sharpness, _SPACE, keepdims=True)
    return jnp.squeeze((total - jnp.log(jnp.asarray(area, dtype))) / sharpness, _SPACE).astype(x.dtype)


def gem_pool(
    x: Float[AnyArray, "*b h w c"], *, p: float | Float[AnyArray, "#c"] | Float[AnyArray, ""]
) -> Float[Array, "*b c"]:
    """Takes the generalised mean of every map: (mean x^p)^(1/p).

    p = 1 is the mean, p towards infinity the maximum. Values below 1e-6 count as 1e-6 and get no
    gradient. It is computed in the logarithm, so that no power overflows or vanishes.

    Args:
        x: Feature maps, as a ReLU gives them; computed in float32 or wider.
        p: Exponent, above 0, usually learnt from 3 on: one number, or one per channel.

    Returns:
        The pooled values, in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` is not floating, has too few axes or an empty spatial axis, or ``p`` is a
            number not above 0 or has another shape.

    Example:
        >>> round(ops.gem_pool(jnp.array([[[1.0], [2.0]]]), p=3.0).item(), 3)  # (9 / 2) ** (1 / 3)
        1.651

    References:
        Radenovic, Tolias and Chum 2018, arXiv:1711.02512.
    """
    x = _maps("gem_pool", x)
    dtype = working_dtype(x)
    exponent = _positive("gem_pool", "p", p, x, dtype)
    wide = x.astype(dtype)
    logs = jnp.log(jnp.where(wide < 1e-6, 1e-6, wide))
    area = jnp.log(jnp.asarray(x.shape[-3] * x.shape[-2], dtype))
    total = jax.scipy.special.logsumexp(logs * exponent, _SPACE, keepdims=True)
    return jnp.squeeze(jnp.exp((total - area) / exponent), _SPACE).astype(x.dtype)


def weighted_average_pool(
    x: Float[AnyArray, "*b h w c"], weights: Float[AnyArray, "*b h w #c"]
) -> Float[Array, "*b c"]:
    """Takes the weighted mean of every map.

    Weights need not sum to 1. Weights that are all 0 give 0, with finite gradients. The result does
    not change when all weights of a map are multiplied by one number, however small or large.

    Args:
        x: Feature maps; sums are accumulated in float32 or wider.
        weights: At least 0: one weight per position, or one per position and channel.

    Returns:
        The means, in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` or ``weights`` are not floating, ``x`` has too few axes or an empty spatial
            axis, or the shape of ``weights`` is not that of ``x`` with 1 or c as its last entry.

    Example:
        >>> x, weights = jnp.array([[[1.0], [3.0]]]), jnp.array([[[3.0], [1.0]]])
        >>> ops.weighted_average_pool(x, weights).tolist()
        [1.5]
    """
    name = "weighted_average_pool"
    x, weights = _maps(name, x), as_array(name, "weights", weights)
    check_floating(name, "weights", weights)
    fits = weights.shape[:-1] == x.shape[:-1] and weights.shape[-1] in (1, x.shape[-1])
    expected = f"of shape {(*x.shape[:-1], 1)} or {x.shape}, as x is {shape_text(x)}"
    check(fits, name, "weights", expected, shape_text(weights))
    dtype = working_dtype(x, weights)
    wide = weights.astype(dtype)
    # The result does not depend on the scale: with the largest weight at 1, sums and their squares,
    # which the gradient divides by, neither overflow nor vanish.
    largest = lax.stop_gradient(jnp.max(jnp.abs(wide), _SPACE, keepdims=True))
    wide = wide / jnp.where(largest == 0, 1, largest)
    total = jnp.sum(wide, _SPACE)
    nothing = total == 0
    mean = jnp.sum(x.astype(dtype) * wide, _SPACE) / jnp.where(nothing, 1, total)
    return jnp.where(nothing, 0, mean).astype(x.dtype)


def class_activation_map(
    features: Float[AnyArray, "*b h w c"], kernel: Float[AnyArray, "c classes"]
) -> Float[Array, "*b h w classes"]:
    """Shows where each class finds its evidence: the classifier applied to every position.

    Its mean over space plus the classifier's bias is the logits of a network that ends in global
    average pooling and one dense layer with this kernel.

    Args:
        features: The feature maps that are pooled.
        kernel: Weights of the dense layer behind the pooling.

    Returns:
        One map per class, in the dtype of ``features``; computed in float32 or wider.

    Raises:
        ValueError: If an argument is not floating or has another rank, or the channels do not agree.

    Example:
        >>> features = jnp.array([[[1.0, 0.0], [0.0, 2.0]]])  # h=1, w=2, c=2
        >>> ops.class_activation_map(features, jnp.array([[1.0], [-1.0]]))[..., 0].tolist()
        [[1.0, -2.0]]

    References:
        Zhou et al. 2016, "Learning deep features for discriminative localization", arXiv:1512.04150.
    """
    name = "class_activation_map"
    features, kernel = _maps(name, features), as_array(name, "kernel", kernel)
    check_floating(name, "kernel", kernel)
    fits = kernel.ndim == 2 and kernel.shape[0] == features.shape[-1]
    expected = f"of shape ({features.shape[-1]}, classes), as features is {shape_text(features)}"
    check(fits, name, "kernel", expected, shape_text(kernel))
    dtype = working_dtype(features, kernel)
    maps = jnp.matmul(features.astype(dtype), kernel.astype(dtype), precision=lax.Precision.HIGHEST)
    return maps.astype(features.dtype)


def _maps(function: str, x: Any) -> jax.Array:
    argument = "features" if function == "class_activation_map" else "x"
    x = as_array(function, argument, x)
    check_min_rank(function, argument, x, "h w c")
    check_floating(function, argument, x)
    check(0 not in x.shape[-3:-1], function, argument, "at least 1 x 1 pixels", shape_text(x))
    return x


def _positive(function: str, argument: str, value: Any, x: jax.Array, dtype: Any) -> jax.Array:
    """Returns a positive parameter, one or one per channel, in the rank of ``x``."""
    if isinstance(value, int | float | np.number):
        check(bool(value > 0), function, argument, "above 0", value)
    numbers, c = as_array(function, argument, value), x.shape[-1]
    check(numbers.shape in ((), (1,), (c,)), function, argument, f"one number or {c}, one per channel", numbers.shape)
    return numbers.astype(dtype).reshape((1,) * (x.ndim - 1) + (numbers.size,))
