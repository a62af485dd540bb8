"""Images of a batch mixed with one another, and their labels with them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import as_array, check, is_integer_at_least, shape_text
from jaxcnn._typing import AnyArray, Array, Float, Int, Num, PRNGKey
from jaxcnn.augment._chain import as_dtype

__all__ = ["cutmix", "mixup"]


def mixup(
    key: PRNGKey,
    images: Num[AnyArray, "n h w c"],
    labels: Int[AnyArray, "n"] | Float[AnyArray, "n classes"],
    *,
    num_classes: int,
    alpha: float = 1.0,
) -> tuple[Num[Array, "n h w c"], Float[Array, "n classes"]]:
    """Mixes every image with the one before it, and their labels in the same proportion.

    Convention:
        Every pair has a proportion of its own, drawn from Beta(alpha, alpha). Partners are neighbours, the first and
        the last too: of a shuffled batch that is as random as any.

    Args:
        key: The draw.
        images: Floating or uint8.
        labels: Numbers of classes, or soft labels.
        num_classes: How many classes there are.
        alpha: Above 0; 1 draws evenly, less keeps images more apart, 0.2 is usual for ImageNet.

    Returns:
        Images in their dtype, and soft labels, float32.

    Raises:
        ValueError: If a form or dtype is wrong, or ``alpha`` is not above 0.

    Example:
        >>> images, labels = jnp.stack([jnp.zeros((2, 2, 1)), jnp.ones((2, 2, 1))]), jnp.array([0, 1])
        >>> mixed, soft = augment.mixup(jax.random.key(0), images, labels, num_classes=2)
        >>> bool(jnp.allclose(mixed[:, 0, 0, 0], soft[:, 1]))
        True

    Parity:
        torchvision's ``MixUp``, which draws one proportion for the batch.

    References:
        Zhang et al. 2018, "mixup: beyond empirical risk minimization", arXiv:1710.09412.
    """
    images, soft = _checked("mixup", images, labels, num_classes, alpha)
    share = _shares(key, len(images), alpha)
    part = jnp.expand_dims(share, (1, 2, 3))
    floating = images if jnp.issubdtype(images.dtype, jnp.floating) else images.astype(jnp.float32)
    mixed = _between(floating, part.astype(floating.dtype))
    return as_dtype(mixed, images.dtype), _between(soft, share[:, None])


def cutmix(
    key: PRNGKey,
    images: Num[AnyArray, "n h w c"],
    labels: Int[AnyArray, "n"] | Float[AnyArray, "n classes"],
    *,
    num_classes: int,
    alpha: float = 1.0,
) -> tuple[Num[Array, "n h w c"], Float[Array, "n classes"]]:
    """Pastes a box of the image before it into every image, and mixes their labels by its area.

    Convention:
        Every pair has a box of its own: its area, before it is cut off at the border, is one minus a draw from
        Beta(alpha, alpha), its form the image's, its centre any point. Partners as in ``mixup``.

    Args:
        key: The draw.
        images: Floating or uint8.
        labels: Numbers of classes, or soft labels.
        num_classes: How many classes there are.
        alpha: Above 0; 1 draws evenly.

    Returns:
        Images in their dtype, and soft labels, float32, by the box's real area.

    Raises:
        ValueError: If a form or dtype is wrong, or ``alpha`` is not above 0.

    Example:
        >>> images, labels = jnp.stack([jnp.zeros((8, 8, 1)), jnp.ones((8, 8, 1))]), jnp.array([0, 1])
        >>> mixed, soft = augment.cutmix(jax.random.key(0), images, labels, num_classes=2)
        >>> bool(jnp.allclose(mixed.mean((1, 2, 3)), soft[:, 1]))
        True

    Parity:
        torchvision's ``CutMix``, which draws one box for the batch.

    References:
        Yun et al. 2019, "CutMix: regularization strategy to train strong classifiers", arXiv:1905.04899.
    """
    images, soft = _checked("cutmix", images, labels, num_classes, alpha)
    n, h, w = images.shape[:3]
    half = jnp.sqrt(1 - _shares(jax.random.fold_in(key, 0), n, alpha)) / 2
    centre = jax.random.uniform(jax.random.fold_in(key, 1), (n, 2), jnp.float32)
    inside, area = [], jnp.ones(n, jnp.float32)
    for axis, size in enumerate((h, w)):
        middle = jnp.floor(centre[:, axis] * size)
        low, high = (jnp.clip(jnp.trunc(middle + sign * half * size), 0, size) for sign in (-1, 1))
        place = jax.lax.broadcasted_iota(jnp.float32, (n, size), 1)
        inside.append((place >= low[:, None]) & (place < high[:, None]))
        area *= (high - low) / size
    box = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return jnp.where(box, _partners(images), images), _between(soft, 1 - area[:, None])


def _checked(name: str, images: Any, labels: Any, num_classes: Any, alpha: Any) -> tuple[jax.Array, jax.Array]:
    images, labels = as_array(name, "images", images), as_array(name, "labels", labels)
    known = jnp.issubdtype(images.dtype, jnp.floating) or images.dtype == jnp.uint8
    check(known and images.ndim == 4, name, "images", "(n, h, w, c), floating or uint8", shape_text(images))
    check(is_integer_at_least(num_classes, 1), name, "num_classes", "an integer of at least 1", repr(num_classes))
    check(alpha > 0, name, "alpha", "above 0", repr(alpha))
    n = images.shape[0]
    if jnp.issubdtype(labels.dtype, jnp.integer):
        check(labels.shape == (n,), name, "labels", f"({n},) numbers or ({n}, {num_classes})", shape_text(labels))
        return images, jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
    soft = jnp.issubdtype(labels.dtype, jnp.floating) and labels.shape == (n, num_classes)
    check(soft, name, "labels", f"({n},) numbers or ({n}, {num_classes})", shape_text(labels))
    return images, labels.astype(jnp.float32)


def _shares(key: PRNGKey, n: int, alpha: float) -> jax.Array:
    """Draws from Beta(alpha, alpha), float32."""
    if alpha == 1:
        return jax.random.uniform(key, (n,), jnp.float32)
    return jax.random.beta(key, alpha, alpha, (n,), jnp.float32)


def _between(values: jax.Array, share: jax.Array) -> jax.Array:
    return share * values + (1 - share) * _partners(values)


def _partners(values: jax.Array) -> jax.Array:
    sharding = jax.typeof(values).sharding
    if not sharding.mesh.explicit_axes:
        return jnp.roll(values, 1, axis=0)
    # Of a sharded axis no part can be sliced off.
    before = np.roll(np.arange(len(values), dtype=np.int32), 1)
    return values.at[before].get(out_sharding=sharding)
