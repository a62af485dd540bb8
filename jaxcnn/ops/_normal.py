"""The inverse of the normal distribution in single precision, by polynomials that vectorise on every platform."""

import jax
import jax.numpy as jnp
import numpy as np

__all__ = ["half_normal", "normal_quantile"]

# z / x as a polynomial in sqrt(6 - log(1 - x^2)) - 3.9, where x = erf(z / sqrt(2)), for z up to 6.4. Like z / x, that
# variable is analytic at 0 and asymptotically linear. Minimax fit of the relative error, 8.8e-7. One polynomial covers
# all z because XLA does not reliably vectorize two polynomials and a selection between them.
_SHIFT = 6.0
_CENTER = 3.9
_RATIO = (4.0557457823, 1.8216199870, -0.1319002841, 0.0398343858, -0.0032524576, -0.0088641085, 0.0125420257,
          -0.0134371987, 0.0047830785, 0.0045687917, -0.0032344860, -0.0004377395, 0.0004770125)  # fmt: skip
_CELL = 2.0**-24  # width of the interval that each float32 in [0, 1) represents


def half_normal(tail: jax.Array) -> jax.Array:
    """Computes the z >= 0 that the magnitude of a normal variable exceeds with probability ``tail``.

    The relative error is below 1.5e-6 for ``tail`` from 2^-32 (z = 6.34) to 1/2 (z = 0.67); for larger ``tail``
    the absolute error is.

    Args:
        tail: Probabilities in [2^-32, 1], float32.

    Returns:
        The quantiles, float32.
    """
    v = jnp.sqrt(_SHIFT - jnp.log(tail * (2 - tail))) - _CENTER
    ratio = jnp.full_like(v, _RATIO[-1])
    for coefficient in _RATIO[-2::-1]:
        ratio = ratio * v + np.float32(coefficient)
    return (1 - tail) * ratio


def normal_quantile(uniform: jax.Array) -> jax.Array:
    """Computes the normal quantile at the midpoint of the interval of width 2^-24 that each uniform number represents.

    Args:
        uniform: Numbers in [0, 1), floating.

    Returns:
        Quantiles within +-5.42, symmetric, float32.
    """
    uniform = uniform.astype(jnp.float32)
    low = uniform < 0.5
    side = jnp.where(low, uniform, (1 - uniform) - _CELL) + _CELL / 2  # 1 - uniform is exact there
    z = half_normal(2 * jnp.clip(side, _CELL / 2, 0.5))
    return jnp.where(low, -z, z)
