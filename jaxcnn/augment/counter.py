"""Random numbers for every pixel from a counter and a hash, many times faster than ``jax.random`` on a CPU.

For augmentation only: the streams pass statistical tests, but nothing about them is cryptographic.

Number i of a key's stream, i the index of the element in row-major order, is computed in 32-bit words alone::

    k0, k1, k2 = words(key)
    a = mix(i ^ k0)
    bits = mix(mix(a ^ k1) ^ k2) + a

``mix`` is a bijection of 32-bit words, alternating shifts and multiplications, with constants found by a search for
low bias. Three rounds with a key before each leave no measurable structure, and the sum turns what would be a
permutation of the counter, in which no number occurs twice, into a random function. Two keys have the same numbers, in
another order, only if both k1 and k2 agree, which are 64 bits; with one key before a single round every pair would.

``words`` hashes the words of the key's data three times, from different starting values. So keys of any kind work:
seeds, the results of ``fold_in`` and ``split``, and ``rbg`` keys, whose own bits under ``vmap`` depend on the batch.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from jaxcnn._check import check, check_floating, check_single_key
from jaxcnn._typing import Array, Dtype, Float, PRNGKey, UInt32
from jaxcnn.ops._normal import half_normal

__all__ = ["counter_bits", "counter_normal", "counter_uniform"]

_STARTS = (0x9E3779B9, 0x3C6EF372, 0xDAA66D2B)  # multiples of 2^32 over the golden ratio


def counter_bits(key: PRNGKey, shape: Sequence[int]) -> UInt32[Array, "*shape"]:
    """Draws words of 32 random bits.

    Convention:
        A value is a function of the key's data and the element's index in row-major order alone: the
        first numbers of a longer stream are those of a shorter one, and a shape only arranges them.
        Draw for one example and lift over a batch of keys by ``vmap``. Beyond 2^32 elements the
        stream repeats itself.

    Args:
        key: A typed key of any implementation. Use it for one draw.
        shape: Shape of the result; may be empty, and axes may be 0.

    Returns:
        The words.

    Raises:
        ValueError: If ``key`` is not one typed key or ``shape`` is not a sequence of integers of at least 0.

    Example:
        >>> import jax
        >>> from jaxcnn.augment.counter import counter_bits
        >>> long, short = (counter_bits(jax.random.key(0), (n,)) for n in (6, 2))
        >>> bool((long[:2] == short).all())
        True

    References:
        Wellons 2018, "Prospecting for hash functions" (the constants, measured low bias); Salmon et al. 2011,
        "Parallel random numbers: as easy as 1, 2, 3" (streams from counters).
    """
    return _bits("counter_bits", key, shape)


def counter_uniform(key: PRNGKey, shape: Sequence[int], *, dtype: Dtype = jnp.float32) -> Float[Array, "*shape"]:
    """Draws numbers from the uniform distribution on [0, 1).

    Convention:
        As for ``counter_bits``, whose leading bits these are: 24, or as many as a narrower dtype
        holds, so that 1 is never reached. The mean is half a unit of the last bit below 1/2.

    Args:
        key: A typed key of any implementation. Use it for one draw.
        shape: Shape of the result; may be empty, and axes may be 0.
        dtype: A floating dtype.

    Returns:
        The numbers.

    Raises:
        ValueError: As for ``counter_bits``, and if ``dtype`` is not floating.

    Example:
        >>> import jax
        >>> from jaxcnn.augment.counter import counter_uniform
        >>> u = counter_uniform(jax.random.key(0), (1000,))
        >>> bool((u >= 0).all() and (u < 1).all()), round(float(u.mean()), 1)
        (True, 0.5)
    """
    name = "counter_uniform"
    check_floating(name, "dtype", jax.ShapeDtypeStruct((), dtype))
    kept = min(jnp.finfo(dtype).nmant + 1, 24)
    leading = (_bits(name, key, shape) >> np.uint32(32 - kept)).astype(jnp.int32)  # signed ones convert faster
    return (leading.astype(jnp.float32) * np.float32(2.0**-kept)).astype(dtype)


def counter_normal(key: PRNGKey, shape: Sequence[int], *, dtype: Dtype = jnp.float32) -> Float[Array, "*shape"]:
    """Draws numbers from the standard normal distribution.

    Convention:
        As for ``counter_bits``: the first bit is the sign, the other 31 are the probability of a larger
        magnitude, which the inverse of the distribution turns into one. Magnitudes reach 6.3; their relative
        error is below 1.5e-6.

    Args:
        key: A typed key of any implementation. Use it for one draw.
        shape: Shape of the result; may be empty, and axes may be 0.
        dtype: A floating dtype; the numbers are computed in float32.

    Returns:
        The numbers.

    Raises:
        ValueError: As for ``counter_bits``, and if ``dtype`` is not floating.

    Example:
        >>> import jax
        >>> from jaxcnn.augment.counter import counter_normal
        >>> keys = jax.random.split(jax.random.key(0), 4)
        >>> batch = jax.vmap(lambda key: counter_normal(key, (8, 8, 3)))(keys)
        >>> bool((batch[1] == counter_normal(keys[1], (8, 8, 3))).all())
        True

    Parity:
        The same distribution as ``jax.random.normal``, but different numbers.
    """
    name = "counter_normal"
    check_floating(name, "dtype", jax.ShapeDtypeStruct((), dtype))
    bits = _bits(name, key, shape)
    magnitude = (bits & np.uint32(0x7FFFFFFF)).astype(jnp.int32)
    z = half_normal(magnitude.astype(jnp.float32) * np.float32(2.0**-31) + np.float32(2.0**-32))
    sign = bits & np.uint32(0x80000000)
    signed = lax.bitcast_convert_type(lax.bitcast_convert_type(z, jnp.uint32) | sign, jnp.float32)
    return signed.astype(dtype)


def _bits(name: str, key: PRNGKey, shape: Sequence[int]) -> jax.Array:
    """Checks the arguments of the public functions and computes the words."""
    check_single_key(name, key)
    first, *others = _words(key)
    start = mixed = _mix(_index(_check_shape(name, shape)) ^ first)
    for word in others:
        mixed = _mix(mixed ^ word)
    return mixed + start


def _check_shape(name: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Returns the shape as a tuple of integers, or refuses it."""
    expected = "a sequence of integers of at least 0"
    try:
        sizes = tuple(shape)
    except TypeError:
        raise ValueError(f"{name}: shape must be {expected}, got {shape!r}.") from None
    integers = all(isinstance(s, int | np.integer) and not isinstance(s, bool) and s >= 0 for s in sizes)
    check(integers, name, "shape", expected, repr(shape))
    return tuple(int(s) for s in sizes)


def _index(shape: tuple[int, ...]) -> jax.Array:
    """Numbers the elements in row-major order, modulo 2^32; one iota per axis, so that any axis may be sharded."""
    index = jnp.zeros(shape, jnp.uint32)
    for axis in range(len(shape)):
        step = np.uint32(math.prod(shape[axis + 1 :]) % 2**32)
        index = index + lax.broadcasted_iota(jnp.uint32, shape, axis) * step
    return index


def _words(key: PRNGKey) -> list[jax.Array]:
    """Hashes the data of a key to one word for each starting value."""
    data = jax.random.key_data(key).astype(jnp.uint32).reshape(-1)
    found = []
    for start in _STARTS:
        word = jnp.asarray(start, jnp.uint32)
        for position in range(data.shape[0]):
            word = _mix(word ^ data[position])
        found.append(_mix(word ^ np.uint32(data.shape[0])))
    return found


def _mix(x: jax.Array) -> jax.Array:
    """Maps words to words, one to one: every bit of the result depends on every bit of the argument."""
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x21F0AAAD)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0xD35A2D97)
    return x ^ (x >> np.uint32(15))
