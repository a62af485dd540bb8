"""Images of a batch mixed with one another, together with their labels."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import as_array, check, is_integer_at_least, shape_text
from jaxcnn._typing import AnyArray, Array, Float, Int, Num, PRNGKey
from jaxcnn.augment._argument_checks import NumberOption, check_number, is_known_number
from jaxcnn.augment._examples import round_to_dtype

__all__ = ["cutmix", "mixup"]


def mixup(
    key: PRNGKey,
    images: Num[AnyArray, "n h w c"],
    labels: Int[AnyArray, "n"] | Float[AnyArray, "n classes"],
    *,
    num_classes: int,
    alpha: NumberOption = 1.0,
) -> tuple[Num[Array, "n h w c"], Float[Array, "n classes"]]:
    """Mixes every image with the one before it, and their labels in the same proportion.

    Convention:
        Every pair has its own proportion, drawn from Beta(alpha, alpha). Each image is mixed with its predecessor,
        the first with the last: in a shuffled batch that is as random as any other pairing.

    Args:
        key: Key of the draw.
        images: Floating or uint8.
        labels: Class indices, or soft labels.
        num_classes: Number of classes.
        alpha: Above 0; 1 draws uniformly, smaller values mix less, 0.2 is usual for ImageNet.

    Returns:
        Images in their dtype, and soft labels, float32.

    Raises:
        ValueError: If a shape or dtype is wrong, or ``alpha`` is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> images, labels = jnp.stack([jnp.zeros((2, 2, 1)), jnp.ones((2, 2, 1))]), jnp.array([0, 1])
        >>> mixed, soft = augment.mixup(jax.random.key(0), images, labels, num_classes=2)
        >>> bool(jnp.allclose(mixed[:, 0, 0, 0], soft[:, 1]))
        True

    Parity:
        torchvision's ``MixUp``, which draws one proportion for the batch.

    References:
        Zhang et al. 2018, "mixup: beyond empirical risk minimization", arXiv:1710.09412.
    """
    images, soft = _check_batch("mixup", images, labels, num_classes, alpha)
    share = _draw_shares(key, images.shape[0], alpha)
    part = jnp.expand_dims(share, (1, 2, 3))
    floating = images if jnp.issubdtype(images.dtype, jnp.floating) else images.astype(jnp.float32)
    mixed = _mix_with_partners(floating, part.astype(floating.dtype))
    return round_to_dtype(mixed, images.dtype), _mix_with_partners(soft, share[:, None])


def cutmix(
    key: PRNGKey,
    images: Num[AnyArray, "n h w c"],
    labels: Int[AnyArray, "n"] | Float[AnyArray, "n classes"],
    *,
    num_classes: int,
    alpha: NumberOption = 1.0,
) -> tuple[Num[Array, "n h w c"], Float[Array, "n classes"]]:
    """Pastes a box of the image before it into every image, and mixes their labels by its area.

    Convention:
        Every pair has its own box: its area, before it is clipped at the border, is one minus a draw from
        Beta(alpha, alpha), its aspect ratio that of the image, its center any point. Partners as in ``mixup``.

    Args:
        key: Key of the draw.
        images: Floating or uint8.
        labels: Class indices, or soft labels.
        num_classes: Number of classes.
        alpha: Above 0; 1 draws uniformly.

    Returns:
        Images in their dtype, and soft labels, float32, by the actual area of the box.

    Raises:
        ValueError: If a shape or dtype is wrong, or ``alpha`` is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> images, labels = jnp.stack([jnp.zeros((8, 8, 1)), jnp.ones((8, 8, 1))]), jnp.array([0, 1])
        >>> mixed, soft = augment.cutmix(jax.random.key(0), images, labels, num_classes=2)
        >>> bool(jnp.allclose(mixed.mean((1, 2, 3)), soft[:, 1]))
        True

    Parity:
        torchvision's ``CutMix``, which draws one box for the batch.

    References:
        Yun et al. 2019, "CutMix: regularization strategy to train strong classifiers", arXiv:1905.04899.
    """
    images, soft = _check_batch("cutmix", images, labels, num_classes, alpha)
    n, h, w = images.shape[:3]
    half = jnp.sqrt(1 - _draw_shares(jax.random.fold_in(key, 0), n, alpha)) / 2
    center = jax.random.uniform(jax.random.fold_in(key, 1), (n, 2), jnp.float32)
    inside, area = [], jnp.ones(n, jnp.float32)
    for axis, size in enumerate((h, w)):
        middle = jnp.floor(center[:, axis] * size)
        low, high = (jnp.clip(jnp.trunc(middle + sign * half * size), 0, size) for sign in (-1, 1))
        place = jax.lax.broadcasted_iota(jnp.float32, (n, size), 1)
        inside.append((place >= low[:, None]) & (place < high[:, None]))
        area *= (high - low) / size
    box = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return jnp.where(box, _partners(images), images), _mix_with_partners(soft, 1 - area[:, None])


def _check_batch(
    name: str, images: AnyArray, labels: AnyArray, num_classes: int, alpha: NumberOption
) -> tuple[jax.Array, jax.Array]:
    """Returns images and soft labels as JAX arrays, or refuses them."""
    images, labels = as_array(name, "images", images), as_array(name, "labels", labels)
    known = jnp.issubdtype(images.dtype, jnp.floating) or images.dtype == jnp.uint8
    check(known and images.ndim == 4, name, "images", "(n, h, w, c), floating or uint8", shape_text(images))
    check(is_integer_at_least(num_classes, 1), name, "num_classes", "an integer of at least 1", repr(num_classes))
    check_number(name, "alpha", alpha, "above 0", lambda v: v > 0)
    n = images.shape[0]
    if jnp.issubdtype(labels.dtype, jnp.integer):
        check(labels.shape == (n,), name, "labels", f"({n},) numbers or ({n}, {num_classes})", shape_text(labels))
        return images, jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
    soft = jnp.issubdtype(labels.dtype, jnp.floating) and labels.shape == (n, num_classes)
    check(soft, name, "labels", f"({n},) numbers or ({n}, {num_classes})", shape_text(labels))
    return images, labels.astype(jnp.float32)


def _draw_shares(key: PRNGKey, n: int, alpha: NumberOption) -> jax.Array:
    """Draws from Beta(alpha, alpha), float32."""
    if is_known_number(alpha) and alpha == 1:
        return jax.random.uniform(key, (n,), jnp.float32)
    return jax.random.beta(key, alpha, alpha, (n,), jnp.float32)


def _mix_with_partners(values: jax.Array, share: jax.Array) -> jax.Array:
    return share * values + (1 - share) * _partners(values)


def _partners(values: jax.Array) -> jax.Array:
    sharding = jax.typeof(values).sharding
    if not sharding.mesh.explicit_axes:
        return jnp.roll(values, 1, axis=0)
    # A sharded axis cannot be sliced.
    before = np.roll(np.arange(len(values), dtype=np.int32), 1)
    return values.at[before].get(out_sharding=sharding)
