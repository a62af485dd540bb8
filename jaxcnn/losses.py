"""Losses: one value per example."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import DTypeLike

from jaxcnn._check import as_array, check, check_floating, check_min_rank, shape_text
from jaxcnn._namespace import close_namespace
from jaxcnn._typing import AnyArray, Array, Float, Int

__all__ = ["cross_entropy", "jensen_shannon"]


def cross_entropy(
    logits: Float[AnyArray, "*n classes"],
    labels: Int[AnyArray, "*n"] | Float[AnyArray, "*n classes"],
    *,
    label_smoothing: float = 0.0,
) -> Float[Array, "*n"]:
    """Computes the cross-entropy of labels and logits.

    Convention:
        Labels are class numbers starting at 0, or probabilities of all classes (soft labels, as from
        mixup). A class number out of range gives NaN. A class of probability 0 adds 0, even
        where its logit is -inf.

    Args:
        logits: Unnormalized log-probabilities; computed in float32 or wider.
        labels: One class number, or one probability per class, for each example.
        label_smoothing: Share of the probability that is spread evenly over all classes, in [0, 1].

    Returns:
        One loss per example, in nats, float32 or wider.

    Raises:
        ValueError: If logits are not floating or have no classes, the shape of labels does not match or
            they are neither integer nor floating, or the smoothing lies outside [0, 1].

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import losses
        >>> loss = losses.cross_entropy(jnp.array([[0.0, 0.0], [2.0, 0.0]]), jnp.array([0, 1]))
        >>> loss.round(3).tolist()  # log 2 and log(1 + e ** 2)
        [0.6930000185966492, 2.127000093460083]

    Parity:
        Equals ``torch.nn.functional.cross_entropy(..., reduction="none")``.

    References:
        Label smoothing: Szegedy et al. 2016, arXiv:1512.00567, section 7.
    """
    name = "cross_entropy"
    logits, labels = as_array(name, "logits", logits), as_array(name, "labels", labels)
    check_floating(name, "logits", logits)
    check_min_rank(name, "logits", logits, "classes")
    classes = logits.shape[-1]
    check(classes > 0, name, "logits", "of at least one class", shape_text(logits))
    if isinstance(label_smoothing, int | float):
        check(0 <= label_smoothing <= 1, name, "label_smoothing", "in [0, 1]", label_smoothing)
    dtype = jnp.float64 if jnp.float64 in (logits.dtype, labels.dtype) else jnp.float32
    targets, known = _class_probabilities(logits, labels, dtype)
    # Smoothing of 0 or a traced one: the formula holds for both.
    targets = optax.smooth_labels(targets, as_array(name, "label_smoothing", label_smoothing).astype(dtype))
    logs = jax.nn.log_softmax(logits.astype(dtype))
    loss = -jnp.sum(targets * jnp.where((targets == 0) & jnp.isneginf(logs), 0, logs), -1)
    return loss if known is None else jnp.where(known, loss, jnp.nan)


def jensen_shannon(logits: Float[AnyArray, "*n k classes"]) -> Float[Array, "*n"]:
    """Computes the Jensen-Shannon divergence of the predictions for several versions of an example.

    Convention:
        The mean of the Kullback-Leibler divergences of each prediction from their mean: 0 where all agree, at most
        log k. The AugMix loss is cross-entropy plus 12 times this, of an image and two augmented versions of it.

    Args:
        logits: Of k versions of every example; computed in float32 or wider.

    Returns:
        One divergence per example, in nats, float32 or wider.

    Raises:
        ValueError: If logits are not floating, or have no versions or no classes.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import losses
        >>> plain, first, second = (jnp.zeros((1, 2)) for _ in range(3))
        >>> losses.jensen_shannon(jnp.stack([plain, first, second], -2)).tolist()
        [0.0]

    References:
        Hendrycks et al. 2020, "AugMix", arXiv:1912.02781, section 3.
    """
    name, logits = "jensen_shannon", as_array("jensen_shannon", "logits", logits)
    check_floating(name, "logits", logits)
    check_min_rank(name, "logits", logits, "k classes")
    check(0 not in logits.shape[-2:], name, "logits", "of at least one version and class", shape_text(logits))
    logs = jax.nn.log_softmax(logits.astype(jnp.float64 if logits.dtype == jnp.float64 else jnp.float32))
    mean = jax.nn.logsumexp(logs, -2, keepdims=True) - np.log(logits.shape[-2]).astype(logs.dtype)
    apart = jnp.exp(logs) * jnp.where(jnp.isneginf(logs), 0, logs - mean)
    return jnp.mean(jnp.sum(apart, -1), -1)


def _class_probabilities(logits: jax.Array, labels: jax.Array, dtype: DTypeLike) -> tuple[jax.Array, jax.Array | None]:
    """Computes probabilities of all classes and, of class numbers, a mask of those in range."""
    name, classes = "cross_entropy", logits.shape[-1]
    shapes = f"of shape {logits.shape[:-1]} (integers) or {logits.shape} (floating), as logits is {shape_text(logits)}"
    if jnp.issubdtype(labels.dtype, jnp.integer):
        check(labels.shape == logits.shape[:-1], name, "labels", shapes, shape_text(labels))
        # No gather by label: the batch may be sharded.
        return jax.nn.one_hot(labels, classes, dtype=dtype), (labels >= 0) & (labels < classes)
    soft = jnp.issubdtype(labels.dtype, jnp.floating) and labels.shape == logits.shape
    check(soft, name, "labels", shapes, shape_text(labels))
    return labels.astype(dtype), None


close_namespace(__name__)
