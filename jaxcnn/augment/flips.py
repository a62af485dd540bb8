"""Random flips and quarter turns of an example, without interpolation."""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._chain import Example, augmentation, chain_of
from jaxcnn.augment._draws import entry, integer, probability, uniforms
from jaxcnn.augment._geometry import Geometry
from jaxcnn.ops._sampling import pixel_matrices as matrices

__all__ = ["random_flip_left_right", "random_flip_up_down", "random_rotate_90"]


@augmentation(geometric=True)
def random_flip_left_right(key: PRNGKey, image: Example, *, p: float = 0.5) -> Example:
    """Mirrors an example left to right with probability ``p``.

    Args:
        key: The draw.
        image: The example.
        p: Probability.

    Returns:
        The example, of the same shape and dtype. Nothing is interpolated.

    Raises:
        ValueError: If ``image`` is no example, or ``p`` outside of [0, 1].

    Example:
        >>> augment.random_flip_left_right(jax.random.key(0), jnp.arange(3.0).reshape(1, 3, 1), p=1.0)[0, :, 0].tolist()
        [2.0, 1.0, 0.0]

    Parity:
        ``ops.flip_left_right``, drawn as by torchvision's ``RandomHorizontalFlip``.
    """
    return _flip("random_flip_left_right", key, image, p, 1)


@augmentation(geometric=True)
def random_flip_up_down(key: PRNGKey, image: Example, *, p: float = 0.5) -> Example:
    """Mirrors an example top to bottom with probability ``p``.

    Args:
        key: The draw.
        image: The example.
        p: Probability.

    Returns:
        The example, of the same shape and dtype. Nothing is interpolated.

    Raises:
        ValueError: If ``image`` is no example, or ``p`` outside of [0, 1].

    Example:
        >>> augment.random_flip_up_down(jax.random.key(0), jnp.arange(3.0).reshape(3, 1, 1), p=1.0)[:, 0, 0].tolist()
        [2.0, 1.0, 0.0]

    Parity:
        ``ops.flip_up_down``, drawn as by torchvision's ``RandomVerticalFlip``.
    """
    return _flip("random_flip_up_down", key, image, p, 0)


@augmentation(geometric=True)
def random_rotate_90(key: PRNGKey, image: Example, *, turns: tuple[int, ...] = (0, 1, 2, 3)) -> Example:
    """Turns a square example by a multiple of 90 degrees, each of ``turns`` equally likely.

    Args:
        key: The draw.
        image: The example; one that is not square can be turned by 0 and 2 only.
        turns: Quarter turns to choose from, counter-clockwise.

    Returns:
        The example, of the same shape and dtype. Nothing is interpolated.

    Raises:
        ValueError: If ``image`` is no example, or if it is not square and an odd turn is among ``turns``.

    Example:
        >>> square = jnp.arange(4.0).reshape(2, 2, 1)
        >>> augment.random_rotate_90(jax.random.key(0), square, turns=(1,))[..., 0].tolist()
        [[1.0, 3.0], [0.0, 2.0]]

    Parity:
        ``ops.rotate_90``, as ``numpy.rot90``.
    """
    chain = chain_of(image)
    h, w = chain.shape
    name, several = "random_rotate_90", isinstance(turns, tuple | list) and len(turns) > 0
    good = several and all(is_integer_at_least(t, -(2**31)) for t in turns)
    check(good, name, "turns", "a tuple of at least one integer", repr(turns))
    kept = h == w or all(t % 2 == 0 for t in turns)
    check(kept, name, "turns", "even, or the image square", f"{tuple(turns)} and {h} x {w} pixels")
    (number,) = uniforms(key, 1)
    turn = entry(np.array([t % 4 for t in turns], np.int32), integer(number, len(turns)))
    allowed, maps = sorted({t % 4 for t in turns}), _turns(h, w)
    chosen = maps[allowed[0]]
    for i in allowed[1:]:
        chosen = matrices.select_entries(turn == i, maps[i], chosen)

    def exact(image: Any) -> Any:
        turned = [ops.rotate_90(image, i) for i in allowed]
        for i, candidate in zip(allowed[1:], turned[1:], strict=True):
            turned[0] = jnp.where(turn == i, candidate, turned[0])
        return turned[0]

    return chain.read(Geometry(chain.shape, chain.shape, (chosen,), exact=exact))  # type: ignore[return-value]


def _flip(name: str, key: PRNGKey, image: Any, p: float, axis: int) -> Any:
    chain = chain_of(image)
    (number,) = uniforms(key, 1)
    flipped = number < probability(name, "p", p)
    sign, start = jnp.where(flipped, -1.0, 1.0), jnp.where(flipped, chain.shape[axis] - 1.0, 0.0)
    row = (sign, 0.0, start) if axis == 1 else (0.0, sign, start)
    first, second, third = matrices.IDENTITY
    matrix = (row, second, third) if axis == 1 else (first, row, third)
    flip = ops.flip_left_right if axis == 1 else ops.flip_up_down

    def exact(image: Any) -> Any:
        return jnp.where(flipped, flip(image), image)

    return chain.read(Geometry(chain.shape, chain.shape, (matrix,), exact=exact))


def _turns(h: int, w: int) -> list[Any]:
    """Gives the maps of 0 to 3 quarter turns counter-clockwise; one of them reads (x, y) at (w - 1 - y, x)."""
    last = (0.0, 0.0, 1.0)
    return [
        matrices.IDENTITY,
        ((0.0, -1.0, w - 1.0), (1.0, 0.0, 0.0), last),
        ((-1.0, 0.0, w - 1.0), (0.0, -1.0, h - 1.0), last),
        ((0.0, 1.0, 0.0), (-1.0, 0.0, h - 1.0), last),
    ]
