"""Geometric augmentations undone."""

from typing import Any, Protocol, runtime_checkable

from jaxcnn._check import check, check_positive_shape
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._decorator import Augmentation, advance, takes_chain
from jaxcnn.augment._examples import Example

__all__ = ["InverseAugmentation", "inverse"]


@runtime_checkable
class InverseAugmentation(Protocol):
    """Undoes the geometric part of an augmentation."""

    def __call__(self, key: PRNGKey, image: Example, /, *, shape: tuple[int, int] | None = None) -> Any:
        """Undoes the draw of ``key``; ``shape`` is the height and width of the original."""
        ...


def inverse(function: Augmentation) -> InverseAugmentation:
    """Builds the inverse of a geometric augmentation, for an augmented image or a map of predictions for it.

    Convention:
        The same key is the same draw. Changes of color are not undone, including those of policies; ``aug_mix`` has no
        inverse.

    Args:
        function: An augmentation built from the functions of this namespace.

    Returns:
        ``(key, image, *, shape=None) -> image``: ``image`` (..., h, w, c) is the result of ``function`` for ``key``, or
        has its shape; ``shape`` is the height and width of the original, by default the same. What was moved out of
        the frame is padded.

    Raises:
        ValueError: If ``function`` is not one of ``augment``'s, or (when called) the shapes do not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> image, key = jnp.arange(3.0).reshape(1, 3, 1), jax.random.key(1)
        >>> there = augment.random_flip_left_right(key, image)
        >>> back = augment.inverse(augment.random_flip_left_right)(key, there)
        >>> bool(jnp.all(back == image))
        True
    """
    check(takes_chain(function), "inverse", "function", "made of augment's functions", repr(function))

    def apply_inverse(key: PRNGKey, image: Example, /, *, shape: tuple[int, int] | None = None) -> Example:
        chain = Chain.start("inverse", image)
        source = chain.shape if shape is None else check_positive_shape("inverse", "shape", shape, "h w")
        pixel_map = advance(function, key, Chain.without_example((source[0], source[1]))).pixel_map
        expected = f"of {pixel_map.shape} pixels, as the augmentation's result"
        check(pixel_map.shape == chain.shape, "inverse", "image", expected, str(chain.shape))
        return chain.sample(pixel_map.invert(pixel_map.source)).result()

    return apply_inverse
