"""Metrics: one value per example, or counts that add over batches."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import as_array, check, check_floating, check_min_rank, is_integer_at_least, shape_text
from jaxcnn._namespace import close_namespace
from jaxcnn._typing import AnyArray, Array, Float, Int

__all__ = ["accuracy", "confusion_matrix", "mean", "top_k_accuracy"]


def accuracy(
    logits: Float[AnyArray, "*n classes"], labels: Int[AnyArray, "*n"] | Float[AnyArray, "*n classes"]
) -> Float[Array, "*n"]:
    """Computes for every example whether the largest logit is that of the label.

    Convention:
        Labels are class numbers, or probabilities of which the largest counts. Of equal logits the first
        is the prediction. Logits with a NaN count as wrong.

    Args:
        logits: One per class.
        labels: One class number, or one probability per class, for each example.

    Returns:
        1 or 0 for each example, float32.

    Raises:
        ValueError: If logits are not floating or have no classes, or the shape of labels does not match.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import metrics
        >>> metrics.accuracy(jnp.array([[1.0, 2.0], [1.0, 2.0]]), jnp.array([0, 1])).tolist()
        [0.0, 1.0]
    """
    logits, labels = _to_logits_and_classes("accuracy", logits, labels)
    predictions = _predict(logits)
    return ((predictions == labels) & (predictions >= 0)).astype(jnp.float32)


def top_k_accuracy(
    logits: Float[AnyArray, "*n classes"], labels: Int[AnyArray, "*n"] | Float[AnyArray, "*n classes"], *, k: int
) -> Float[Array, "*n"]:
    """Computes for every example whether the label is among the k largest logits.

    Convention:
        As in ``accuracy``, which is the case k = 1. Of equal logits the first counts as larger.

    Args:
        logits: One per class.
        labels: One class number, or one probability per class, for each example.
        k: How many guesses are allowed.

    Returns:
        1 or 0 for each example, float32.

    Raises:
        ValueError: As in ``accuracy``, or if k is not an integer from 1 to the number of classes.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import metrics
        >>> metrics.top_k_accuracy(jnp.array([[3.0, 2.0, 1.0]]), jnp.array([1]), k=2).tolist()
        [1.0]
    """
    logits, labels = _to_logits_and_classes("top_k_accuracy", logits, labels)
    classes = logits.shape[-1]
    valid = is_integer_at_least(k, 1) and k <= classes
    check(valid, "top_k_accuracy", "k", f"an integer from 1 to {classes}, the number of classes", repr(k))
    position = jnp.arange(classes, dtype=jnp.int32).reshape((1,) * labels.ndim + (classes,))
    label = jnp.expand_dims(labels, -1)
    value = jnp.sum(jnp.where(position == label, logits, 0), -1, keepdims=True, dtype=logits.dtype)
    ahead = (logits > value) | ((logits == value) & (position < label))
    rank = jnp.sum(ahead, -1, dtype=jnp.int32)
    valid_label = (labels >= 0) & (labels < classes) & (_predict(logits) >= 0)
    return ((rank < k) & valid_label).astype(jnp.float32)


def confusion_matrix(
    logits: Float[AnyArray, "*n classes"],
    labels: Int[AnyArray, "*n"] | Float[AnyArray, "*n classes"],
    *,
    num_classes: int,
) -> Int[Array, "classes classes"]:
    """Counts how often each class is predicted for each other.

    Convention:
        Rows are labels, columns are predictions, as in ``accuracy``. Examples whose label is out of
        range or whose logits hold a NaN are not counted. Matrices of batches add up.

    Args:
        logits: One per class.
        labels: One class number, or one probability per class, for each example.
        num_classes: Number of classes, equal to that of the logits.

    Returns:
        The counts, int32.

    Raises:
        ValueError: If logits are not floating or have another number of classes, or the shape of labels
            does not match.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import metrics
        >>> logits = jnp.array([[2.0, 1.0], [1.0, 2.0], [1.0, 2.0]])
        >>> metrics.confusion_matrix(logits, jnp.array([0, 0, 1]), num_classes=2).tolist()
        [[1, 1], [0, 1]]
    """
    logits, labels = _to_logits_and_classes("confusion_matrix", logits, labels)
    expected = f"the number of classes of logits, {shape_text(logits)}"
    check(num_classes == logits.shape[-1], "confusion_matrix", "num_classes", expected, repr(num_classes))
    true = jnp.expand_dims(jax.nn.one_hot(labels, num_classes, dtype=jnp.int32), -1)
    predicted = jnp.expand_dims(jax.nn.one_hot(_predict(logits), num_classes, dtype=jnp.int32), -2)
    # A sum, not a matrix product: examples may be sharded, and an explicit mesh refuses to contract them.
    return jnp.sum(true * predicted, tuple(range(labels.ndim)), dtype=jnp.int32)


def mean(sums: Mapping[str, Any]) -> dict[str, Any]:
    """Divides sums over batches by their count; on the host.

    Args:
        sums: Sums over examples by name, with the number of examples as ``"count"``.

    Returns:
        The means by name, without ``"count"``: floats, and NumPy arrays where a sum is an array.

    Raises:
        ValueError: If there is no ``"count"``, or it is not above 0.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import metrics
        >>> metrics.mean({"loss": jnp.array(6.0), "count": jnp.array(4)})
        {'loss': 1.5}
    """
    check("count" in sums, "mean", "sums", 'with an entry "count"', sorted(sums))
    count = np.asarray(sums["count"], np.float64)
    check(count.ndim == 0 and bool(count > 0), "mean", "sums", 'with one "count" above 0', count)
    means = {name: np.asarray(value, np.float64) / count for name, value in sums.items() if name != "count"}
    return {name: float(value) if np.ndim(value) == 0 else value for name, value in means.items()}


def _to_logits_and_classes(function: str, logits: AnyArray, labels: AnyArray) -> tuple[jax.Array, jax.Array]:
    """Checks logits and labels; returns logits and class numbers."""
    logits, labels = as_array(function, "logits", logits), as_array(function, "labels", labels)
    check_floating(function, "logits", logits)
    check_min_rank(function, "logits", logits, "classes")
    check(logits.shape[-1] > 0, function, "logits", "of at least one class", shape_text(logits))
    numbers = jnp.issubdtype(labels.dtype, jnp.integer)
    fits = labels.shape == (logits.shape[:-1] if numbers else logits.shape)
    expected = (
        f"of shape {logits.shape[:-1]} (integers) or {logits.shape} (floating), as logits is {shape_text(logits)}"
    )
    check(
        fits and (numbers or jnp.issubdtype(labels.dtype, jnp.floating)),
        function,
        "labels",
        expected,
        shape_text(labels),
    )
    return logits, labels.astype(jnp.int32) if numbers else jnp.argmax(labels, -1).astype(jnp.int32)


def _predict(logits: jax.Array) -> jax.Array:
    """Returns the class of the first largest logit, -1 where there is a NaN."""
    unknown = jnp.any(jnp.isnan(logits), -1)
    return jnp.where(unknown, -1, jnp.argmax(logits, -1).astype(jnp.int32))


close_namespace(__name__)
