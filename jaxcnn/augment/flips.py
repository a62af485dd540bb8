"""Random flips and quarter turns of an example, without interpolation."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._argument_checks import NumberOption, check_probability
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._decorator import augmentation
from jaxcnn.augment._draws import draw_uniforms, lookup, to_integer
from jaxcnn.augment._pixel_maps import PixelMap, RowChange
from jaxcnn.ops._sampling import pixel_matrices as matrices
from jaxcnn.ops._sampling.pixel_matrices import Matrix

__all__ = ["random_flip_left_right", "random_flip_up_down", "random_rotate_90"]


@augmentation(geometric=True)
def random_flip_left_right(
    key: PRNGKey, image: Chain, *, p: NumberOption = 0.5, keypoint_pairs: Sequence[Sequence[int]] = ()
) -> Chain:
    """Mirrors an example left to right with probability ``p``.

    Args:
        key: Key of the draw.
        image: The example.
        p: Probability.
        keypoint_pairs: Rows of the key points that are mirror images of one another, such as the left and the right
            eye: ``((1, 2), (3, 4))`` swaps rows 1 and 2, and 3 and 4, where the example is mirrored.

    Returns:
        The example, with the same shape and dtype. Pixels are copied, not interpolated.

    Raises:
        ValueError: If ``image`` is not an example, ``p`` is outside of [0, 1], or ``keypoint_pairs`` is not a list of
            pairs of different rows.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_flip_left_right(jax.random.key(0), jnp.arange(3.0).reshape(1, 3, 1), p=1.0)[0, :, 0].tolist()
        [2.0, 1.0, 0.0]

    Parity:
        ``ops.flip_left_right``, drawn as by torchvision's ``RandomHorizontalFlip``.
    """
    return _flip("random_flip_left_right", key, image, p, 1, keypoint_pairs)


@augmentation(geometric=True)
def random_flip_up_down(
    key: PRNGKey, image: Chain, *, p: NumberOption = 0.5, keypoint_pairs: Sequence[Sequence[int]] = ()
) -> Chain:
    """Mirrors an example top to bottom with probability ``p``.

    Args:
        key: Key of the draw.
        image: The example.
        p: Probability.
        keypoint_pairs: Rows of the key points that are mirror images of one another, such as the left and the right
            eye: ``((1, 2), (3, 4))`` swaps rows 1 and 2, and 3 and 4, where the example is mirrored.

    Returns:
        The example, with the same shape and dtype. Pixels are copied, not interpolated.

    Raises:
        ValueError: If ``image`` is not an example, ``p`` is outside of [0, 1], or ``keypoint_pairs`` is not a list of
            pairs of different rows.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_flip_up_down(jax.random.key(0), jnp.arange(3.0).reshape(3, 1, 1), p=1.0)[:, 0, 0].tolist()
        [2.0, 1.0, 0.0]

    Parity:
        ``ops.flip_up_down``, drawn as by torchvision's ``RandomVerticalFlip``.
    """
    return _flip("random_flip_up_down", key, image, p, 0, keypoint_pairs)


@augmentation(geometric=True)
def random_rotate_90(key: PRNGKey, image: Chain, *, turns: tuple[int, ...] = (0, 1, 2, 3)) -> Chain:
    """Rotates a square example by a multiple of 90 degrees, each of ``turns`` equally likely.

    Args:
        key: Key of the draw.
        image: The example; an image that is not square can be rotated by 0 and 2 turns only.
        turns: Quarter turns to choose from, counter-clockwise.

    Returns:
        The example, with the same shape and dtype. Pixels are copied, not interpolated.

    Raises:
        ValueError: If ``image`` is not an example, or it is not square and ``turns`` holds an odd number.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> square = jnp.arange(4.0).reshape(2, 2, 1)
        >>> augment.random_rotate_90(jax.random.key(0), square, turns=(1,))[..., 0].tolist()
        [[1.0, 3.0], [0.0, 2.0]]

    Parity:
        ``ops.rotate_90``, as ``numpy.rot90``.
    """
    h, w = image.shape
    name, several = "random_rotate_90", isinstance(turns, tuple | list) and len(turns) > 0
    good = several and all(is_integer_at_least(t, -(2**31)) for t in turns)
    check(good, name, "turns", "a tuple of at least one integer", repr(turns))
    kept = h == w or all(t % 2 == 0 for t in turns)
    check(kept, name, "turns", "even, or the image square", f"{tuple(turns)} and {h} x {w} pixels")
    (number,) = draw_uniforms(key, 1)
    turn = lookup(np.array([t % 4 for t in turns], np.int32), to_integer(number, len(turns)))
    allowed, maps = sorted({t % 4 for t in turns}), _quarter_turns(h, w)
    chosen = maps[allowed[0]]
    for i in allowed[1:]:
        chosen = matrices.select_entries(turn == i, maps[i], chosen)

    def rotate(pixels: jax.Array) -> jax.Array:
        candidates = [ops.rotate_90(pixels, i) for i in allowed]
        result = candidates[0]
        for i, candidate in zip(allowed[1:], candidates[1:], strict=True):
            result = jnp.where(turn == i, candidate, result)
        return result

    return image.sample(PixelMap(image.shape, image.shape, (chosen,), exact=rotate))


def _flip(name: str, key: PRNGKey, image: Chain, p: NumberOption, axis: int, pairs: Sequence[Sequence[int]]) -> Chain:
    check_probability(name, "p", p)
    (number,) = draw_uniforms(key, 1)
    drawn = number < p
    sign, start = jnp.where(drawn, -1.0, 1.0), jnp.where(drawn, image.shape[axis] - 1.0, 0.0)
    row = (sign, 0.0, start) if axis == 1 else (0.0, sign, start)
    first, second, third = matrices.IDENTITY
    matrix = (row, second, third) if axis == 1 else (first, row, third)
    flip = ops.flip_left_right if axis == 1 else ops.flip_up_down

    def flip_or_not(pixels: jax.Array) -> jax.Array:
        return jnp.where(drawn, flip(pixels), pixels)

    rows = _swap_rows(name, pairs, drawn)
    return image.sample(PixelMap(image.shape, image.shape, (matrix,), exact=flip_or_not, rows=rows))


def _swap_rows(name: str, pairs: Sequence[Sequence[int]], drawn: jax.Array) -> RowChange | None:
    """Returns the change of key points that swaps pairs of rows where the example is mirrored."""
    expected = "pairs (left, right) of different rows"
    listed = isinstance(pairs, Sequence | np.ndarray) and all(np.shape(pair) == (2,) for pair in pairs)
    check(listed, name, "keypoint_pairs", expected, repr(pairs))
    numbers = [i for pair in pairs for i in pair]
    different = all(is_integer_at_least(i, 0) for i in numbers) and len(set(numbers)) == len(numbers)
    check(different, name, "keypoint_pairs", expected, repr(pairs))
    if not numbers:
        return None

    def swap(values: jax.Array, axis: int) -> jax.Array:
        count = values.shape[axis] if values.ndim >= -axis else 1
        check(max(numbers) < count, name, "keypoint_pairs", f"rows of the {count} key points", repr(pairs))
        order = np.arange(count)
        for left, right in pairs:
            order[[left, right]] = right, left
        return jnp.where(drawn, jnp.take(values, order, axis=axis, mode="clip"), values)

    return RowChange(swap, swap)


def _quarter_turns(h: int, w: int) -> list[Matrix]:
    """Returns the maps of 0 to 3 quarter turns counter-clockwise; one of them samples (x, y) at (w - 1 - y, x)."""
    last = (0.0, 0.0, 1.0)
    return [
        matrices.IDENTITY,
        ((0.0, -1.0, w - 1.0), (1.0, 0.0, 0.0), last),
        ((-1.0, 0.0, w - 1.0), (0.0, -1.0, h - 1.0), last),
        ((0.0, 1.0, 0.0), (-1.0, 0.0, h - 1.0), last),
    ]
