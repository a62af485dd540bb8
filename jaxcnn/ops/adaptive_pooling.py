"""Pooling to a given size, whatever the size of the input."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn._check import (
    as_array,
    check,
    check_floating,
    check_known_sizes,
    check_min_rank,
    check_positive_shape,
    shape_text,
)
from jaxcnn._typing import AnyArray, Array, Float
from jaxcnn.ops._batching import working_dtype
from jaxcnn.ops.pooling import avg_pool

__all__ = ["adaptive_avg_pool"]


def adaptive_avg_pool(x: Float[AnyArray, "*b h w c"], shape: Sequence[int]) -> Float[Array, "*b h_out w_out c"]:
    """Averages maps of any size to maps of one size.

    Output i of n covers the inputs from floor(i m / n) up to ceil((i + 1) m / n) of m, so that windows overlap where
    n does not divide m, and repeat inputs where n is larger.

    Args:
        x: Feature maps; sums are accumulated in float32 or wider.
        shape: Height and width of the result.

    Returns:
        The means, in the dtype of ``x``.

    Raises:
        ValueError: If ``x`` is not floating, has too few axes or an empty spatial axis, or ``shape`` is not two
            positive integers.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> ops.adaptive_avg_pool(jnp.arange(5.0).reshape(5, 1, 1), (2, 1))[..., 0].tolist()
        [[1.0], [3.0]]

    Parity:
        Values and gradients equal ``torch.nn.functional.adaptive_avg_pool2d``, axes moved.
    """
    name = "adaptive_avg_pool"
    x = as_array(name, "x", x)
    check_min_rank(name, "x", x, "h w c")
    check_floating(name, "x", x)
    out = check_positive_shape(name, "shape", shape, "h w")
    h, w = x.shape[-3:-1]
    check_known_sizes(name, "x", x, "h w", (h, w))
    check(h > 0 and w > 0, name, "x", "at least 1 x 1 pixels", shape_text(x))
    if (h, w) == out:
        return x
    if h % out[0] == 0 and w % out[1] == 0:
        return avg_pool(x, (h // out[0], w // out[1]))
    dtype = working_dtype(x)
    rows, columns = (jnp.asarray(_average_windows(n, m), dtype) for n, m in zip(out, (h, w), strict=True))
    means = jnp.einsum("ph,...hwc->...pwc", rows, x.astype(dtype), precision=lax.Precision.HIGHEST)
    return jnp.einsum("qw,...pwc->...pqc", columns, means, precision=lax.Precision.HIGHEST).astype(x.dtype)


def _average_windows(n: int, m: int) -> np.ndarray:
    """Returns the (n, m) matrix that averages ``m`` values to ``n``."""
    place, outputs = np.arange(m), np.arange(n)[:, None]
    inside = (place >= outputs * m // n) & (place < -(-(outputs + 1) * m // n))
    return inside / inside.sum(1, keepdims=True)
