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


@operation("dropout", rate=0.5)
def _dropout(step: Step) -> jax.Array:
    """Drops single values."""
    return drop(step, step.x.shape)


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
