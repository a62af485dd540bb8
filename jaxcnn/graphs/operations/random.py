"""Operations of graphs that are random in training mode and do nothing, or nothing random, otherwise."""

import jax
import jax.numpy as jnp

from jaxcnn.graphs.operations.registry import Step, operation

__all__ = ["drop"]


def drop(step: Step, shape: tuple[int, ...]) -> jax.Array:
    """Drops values in training mode and divides the others by the probability of keeping them.

    Args:
        step: The step, with the option ``rate``.
        shape: Shape of the mask; it broadcasts.

    Returns:
        The values.
    """
    rate = step["rate"]
    if not step.train or rate <= 0:
        return step.x
    if rate >= 1:
        return jnp.zeros_like(step.x)
    kept = jax.random.bernoulli(step.key(), 1 - rate, shape)
    return jnp.where(kept, step.x / (1 - rate), jnp.zeros((), step.x.dtype))


@operation("dropout", rate=0.5, shape=None)
def _dropout(step: Step) -> jax.Array:
    """Drops single values; ``shape``: 1 for the axes of an example along which all are dropped together, else None."""
    if step["shape"] is None:
        return drop(step, step.x.shape)
    sizes = step.x.shape[step.leading :]
    if len(step["shape"]) != len(sizes):
        raise ValueError(f"shape must have {len(sizes)} sizes, got {step['shape']}.")
    shared = tuple(1 if one == 1 else size for one, size in zip(step["shape"], sizes, strict=True))
    return drop(step, step.x.shape[: step.leading] + shared)


@operation("spatial_dropout", rate=0.5)
def _spatial_dropout(step: Step) -> jax.Array:
    """Drops channels."""
    spatial = step.x.ndim - step.leading - 1
    return drop(step, step.x.shape[: step.leading] + (1,) * spatial + step.x.shape[-1:])


@operation("gaussian_noise", sigma=0.1)
def _gaussian_noise(step: Step) -> jax.Array:
    """Adds normal noise."""
    return step.x + step["sigma"] * jax.random.normal(step.key(), step.x.shape, step.x.dtype) if step.train else step.x


@operation("gaussian_dropout", rate=0.5)
def _gaussian_dropout(step: Step) -> jax.Array:
    """Multiplies by normal noise around 1."""
    if not step.train or step["rate"] <= 0:
        return step.x
    sigma = (step["rate"] / (1 - step["rate"])) ** 0.5
    return step.x * (1 + sigma * jax.random.normal(step.key(), step.x.shape, step.x.dtype))


_ALPHA = -1.7580993408473766  # what SELU tends to for small values


@operation("alpha_dropout", rate=0.5)
def _alpha_dropout(step: Step) -> jax.Array:
    """Sets single values to what SELU tends to, and keeps mean and variance of standard normal values."""
    rate = step["rate"]
    if not step.train or not 0 < rate < 1:
        return step.x
    kept = jax.random.bernoulli(step.key(), 1 - rate, step.x.shape)
    scale = ((1 - rate) * (1 + rate * _ALPHA**2)) ** -0.5
    y = jnp.where(kept, step.x, jnp.asarray(_ALPHA, step.x.dtype))
    return scale * y - scale * _ALPHA * rate
