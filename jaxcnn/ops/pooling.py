"""Pooling over windows, or over all spatial axes."""

from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn._check import as_array, check, check_floating, check_min_rank, shape_text
from jaxcnn._typing import AnyArray, Array, Dtype, Float, Number, PerAxis
from jaxcnn.ops._batching import working_dtype
from jaxcnn.ops._pool_windows import count_elements, max_of_windows, pad_axes, resolve_windows, sum_of_windows

__all__ = [
    "avg_pool",
    "class_activation_map",
    "gem_pool",
    "global_average_pool",
    "global_max_pool",
    "lse_pool",
    "max_pool",
    "weighted_average_pool",
]

PoolPadding = Literal["SAME", "VALID"] | int | Sequence[int | tuple[int, int]]

_SPATIAL = (-3, -2)


def max_pool(
    x: Float[AnyArray, "*b_spatial c"],
    window: PerAxis,
    *,
    strides: PerAxis | None = None,
    padding: PoolPadding = "VALID",
    ceil_mode: bool = False,
) -> Float[Array, "*b_spatial_out c"]:
    """Computes the maximum of every window.

    Convention:
        - Axes: channels last; any number of leading axes, including none. The length of ``window``
          is the number of spatial axes: 1, 2 or 3; an integer stands for two.
        - The first of several equal maxima in row-major order receives the gradient. Windows with a NaN are NaN.
        - Padding is never the maximum. (A window that contains only -inf and padding passes no gradient.)

    Args:
        x: Values.
        window: Height and width of the window, or one integer for both.
        strides: Steps from window to window; None uses ``window``.
        padding: ``"VALID"`` adds none, ``"SAME"`` gives ceil(size / stride) outputs; an integer applies to all
            sides; a sequence has one ``(low, high)`` or integer per axis. Must be less than ``window``.
        ceil_mode: Whether to include a last window that extends beyond the end. It must start inside ``x`` or
            the low padding.

    Returns:
        The maxima, in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` is not floating, has too few axes or an empty spatial axis, if an option
            has another form than above, or if no window fits.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> x = jnp.arange(16.0).reshape(4, 4, 1)
        >>> ops.max_pool(x, 2)[..., 0].tolist()
        [[5.0, 7.0], [13.0, 15.0]]

    Parity:
        Values and gradients equal ``torch.nn.functional.max_pool2d`` (axes moved), values also
        ``flax.linen.max_pool``. PyTorch limits the padding to half of the window.
    """
    x = as_array("max_pool", "x", x)
    windows = resolve_windows("max_pool", x, window, strides, padding, ceil_mode)
    return max_of_windows(pad_axes(x, windows, -jnp.inf), windows)


def avg_pool(
    x: Float[AnyArray, "*b_spatial c"],
    window: PerAxis,
    *,
    strides: PerAxis | None = None,
    padding: PoolPadding = "VALID",
    ceil_mode: bool = False,
    count_include_pad: bool = False,
) -> Float[Array, "*b_spatial_out c"]:
    """Computes the mean of every window.

    Convention:
        Axes: channels last; any number of leading axes, including none. The length of ``window``
        is the number of spatial axes: 1, 2 or 3; an integer stands for two.

    Args:
        x: Values; sums are accumulated in float32 or wider.
        window: Height and width of the window, or one integer for both.
        strides: Steps from window to window; None uses ``window``.
        padding: As for ``max_pool``.
        ceil_mode: As for ``max_pool``; positions beyond the padding are never counted.
        count_include_pad: Whether the zeros of the padding count as elements.

    Returns:
        The means, in the dtype of ``x``.

    Raises:
        ValueError: As for ``max_pool``.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> x = jnp.arange(16.0).reshape(4, 4, 1)
        >>> ops.avg_pool(x, 2)[..., 0].tolist()
        [[2.5, 4.5], [10.5, 12.5]]

    Parity:
        Values and gradients equal ``torch.nn.functional.avg_pool2d`` (axes moved) and
        ``flax.linen.avg_pool``; both count padding by default.
    """
    x = as_array("avg_pool", "x", x)
    windows = resolve_windows("avg_pool", x, window, strides, padding, ceil_mode)
    wide = sum_of_windows(pad_axes(x.astype(working_dtype(x)), windows, 0.0), windows)
    number = count_elements(windows, include_pad=count_include_pad)
    number = number.reshape((1,) * (wide.ndim - number.ndim) + number.shape)
    return (wide / jnp.asarray(number, wide.dtype)).astype(x.dtype)


def global_average_pool(x: Float[AnyArray, "*b h w c"]) -> Float[Array, "*b c"]:
    """Computes the mean of every map.

    Args:
        x: Feature maps; the sum is accumulated in float32 or wider.

    Returns:
        The means, in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` is not floating, has too few axes or an empty spatial axis.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.global_average_pool(jnp.array([[[1.0], [3.0]]])).tolist()
        [2.0]
    """
    x = _check_maps("global_average_pool", x)
    return jnp.mean(x, _SPATIAL, dtype=working_dtype(x)).astype(x.dtype)


def global_max_pool(x: Float[AnyArray, "*b h w c"]) -> Float[Array, "*b c"]:
    """Computes the maximum of every map.

    Convention:
        The first of several equal maxima in row-major order receives the gradient, as in ``max_pool``.

    Args:
        x: Feature maps.

    Returns:
        The maxima, in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` is not floating, has too few axes or an empty spatial axis.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.global_max_pool(jnp.array([[[1.0], [3.0]]])).tolist()
        [3.0]
    """
    x = _check_maps("global_max_pool", x)
    return lax.squeeze(max_pool(x, x.shape[-3:-1]), (x.ndim - 3, x.ndim - 2))


def lse_pool(
    x: Float[AnyArray, "*b h w c"], *, r: float | Float[AnyArray, "#c"] | Float[AnyArray, ""]
) -> Float[Array, "*b c"]:
    """Computes a smooth maximum of every map: (1/r) log mean exp(r x).

    It lies between the mean (r -> 0) and the maximum (r -> infinity).

    Args:
        x: Feature maps; computed in float32 or wider, without overflow.
        r: Sharpness, above 0, usually 5 to 10: one number, or one per channel.

    Returns:
        The pooled values, in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` is not floating, has too few axes or an empty spatial axis, or ``r`` is a
            number not above 0 or has another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> round(ops.lse_pool(jnp.array([[[1000.0], [0.0]]]), r=1.0).item(), 3)
        999.307

    References:
        Pinheiro and Collobert 2015, arXiv:1411.6228, equation 6.
    """
    x = _check_maps("lse_pool", x)
    dtype = working_dtype(x)
    sharpness = _broadcast_positive("lse_pool", "r", r, x, dtype)
    area = x.shape[-3] * x.shape[-2]
    total = jax.scipy.special.logsumexp(x.astype(dtype) * sharpness, _SPATIAL, keepdims=True)
    return jnp.squeeze((total - jnp.log(jnp.asarray(area, dtype))) / sharpness, _SPATIAL).astype(x.dtype)


def gem_pool(
    x: Float[AnyArray, "*b h w c"], *, p: float | Float[AnyArray, "#c"] | Float[AnyArray, ""]
) -> Float[Array, "*b c"]:
    """Computes the generalized mean of every map: (mean x^p)^(1/p).

    p = 1 is the mean, p -> infinity the maximum. Values below 1e-6 are clipped to 1e-6 and get no
    gradient. It is computed with logarithms, so that no power overflows or underflows.

    Args:
        x: Feature maps, usually the output of a ReLU; computed in float32 or wider.
        p: Exponent, above 0, usually learned, starting from 3: one number, or one per channel.

    Returns:
        The pooled values, in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` is not floating, has too few axes or an empty spatial axis, or ``p`` is a
            number not above 0 or has another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> round(ops.gem_pool(jnp.array([[[1.0], [2.0]]]), p=3.0).item(), 3)  # (9 / 2) ** (1 / 3)
        1.651

    References:
        Radenovic, Tolias and Chum 2018, arXiv:1711.02512.
    """
    x = _check_maps("gem_pool", x)
    dtype = working_dtype(x)
    exponent = _broadcast_positive("gem_pool", "p", p, x, dtype)
    wide = x.astype(dtype)
    logs = jnp.log(jnp.where(wide < 1e-6, 1e-6, wide))
    area = jnp.log(jnp.asarray(x.shape[-3] * x.shape[-2], dtype))
    total = jax.scipy.special.logsumexp(logs * exponent, _SPATIAL, keepdims=True)
    return jnp.squeeze(jnp.exp((total - area) / exponent), _SPATIAL).astype(x.dtype)


def weighted_average_pool(
    x: Float[AnyArray, "*b h w c"], weights: Float[AnyArray, "*b h w #c"]
) -> Float[Array, "*b c"]:
    """Computes the weighted mean of every map.

    Weights need not sum to 1. Weights that are all 0 give 0, with finite gradients. Multiplying all weights
    of a map by a positive number, however small or large, does not change the result.

    Args:
        x: Feature maps; sums are accumulated in float32 or wider.
        weights: At least 0: one weight per position, or one per position and channel.

    Returns:
        The means, in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` or ``weights`` are not floating, ``x`` has too few axes or an empty spatial
            axis, or the shape of ``weights`` is not that of ``x`` with 1 or c as its last entry.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> x, weights = jnp.array([[[1.0], [3.0]]]), jnp.array([[[3.0], [1.0]]])
        >>> ops.weighted_average_pool(x, weights).tolist()
        [1.5]
    """
    name = "weighted_average_pool"
    x, weights = _check_maps(name, x), as_array(name, "weights", weights)
    check_floating(name, "weights", weights)
    fits = weights.shape[:-1] == x.shape[:-1] and weights.shape[-1] in (1, x.shape[-1])
    expected = f"of shape {(*x.shape[:-1], 1)} or {x.shape}, as x is {shape_text(x)}"
    check(fits, name, "weights", expected, shape_text(weights))
    dtype = working_dtype(x, weights)
    wide = weights.astype(dtype)
    # The result does not depend on the scale: if the largest weight is 1, the sums and their squares,
    # which the gradient divides by, neither overflow nor underflow.
    largest = lax.stop_gradient(jnp.max(jnp.abs(wide), _SPATIAL, keepdims=True))
    wide = wide / jnp.where(largest == 0, 1, largest)
    total = jnp.sum(wide, _SPATIAL)
    nothing = total == 0
    mean = jnp.sum(x.astype(dtype) * wide, _SPATIAL) / jnp.where(nothing, 1, total)
    return jnp.where(nothing, 0, mean).astype(x.dtype)


def class_activation_map(
    features: Float[AnyArray, "*b h w c"], kernel: Float[AnyArray, "c classes"]
) -> Float[Array, "*b h w classes"]:
    """Maps the evidence for every class: applies the classifier to every position.

    The spatial mean of the result plus the classifier's bias equals the logits of a network that ends with
    global average pooling and one dense layer with this kernel.

    Args:
        features: The feature maps that are pooled.
        kernel: Weights of the dense layer after the pooling.

    Returns:
        One map per class, in the dtype of ``features``; computed in float32 or wider.

    Raises:
        ValueError: If an argument is not floating or has another rank, or the channels do not agree.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> features = jnp.array([[[1.0, 0.0], [0.0, 2.0]]])  # h=1, w=2, c=2
        >>> ops.class_activation_map(features, jnp.array([[1.0], [-1.0]]))[..., 0].tolist()
        [[1.0, -2.0]]

    References:
        Zhou et al. 2016, "Learning deep features for discriminative localization", arXiv:1512.04150.
    """
    name = "class_activation_map"
    features, kernel = _check_maps(name, features), as_array(name, "kernel", kernel)
    check_floating(name, "kernel", kernel)
    fits = kernel.ndim == 2 and kernel.shape[0] == features.shape[-1]
    expected = f"of shape ({features.shape[-1]}, classes), as features is {shape_text(features)}"
    check(fits, name, "kernel", expected, shape_text(kernel))
    dtype = working_dtype(features, kernel)
    maps = jnp.matmul(features.astype(dtype), kernel.astype(dtype), precision=lax.Precision.HIGHEST)
    return maps.astype(features.dtype)


def _check_maps(function: str, x: AnyArray) -> jax.Array:
    """Converts feature maps to a JAX array; raises an error for a wrong rank or dtype."""
    argument = "features" if function == "class_activation_map" else "x"
    x = as_array(function, argument, x)
    check_min_rank(function, argument, x, "h w c")
    check_floating(function, argument, x)
    check(0 not in x.shape[-3:-1], function, argument, "at least 1 x 1 pixels", shape_text(x))
    return x


def _broadcast_positive(
    function: str, argument: str, value: Number | AnyArray, x: jax.Array, dtype: Dtype
) -> jax.Array:
    """Reshapes a positive parameter, one number or one per channel, to the rank of ``x``."""
    if isinstance(value, int | float | np.number):
        check(bool(value > 0), function, argument, "above 0", value)
    numbers, c = as_array(function, argument, value), x.shape[-1]
    check(numbers.shape in ((), (1,), (c,)), function, argument, f"one number or {c}, one per channel", numbers.shape)
    return numbers.astype(dtype).reshape((1,) * (x.ndim - 1) + (numbers.size,))
