"""Checks of batches: their form, and whether the labels are classes of the model."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from jaxcnn import losses
from jaxcnn._check import check, shape_text
from jaxcnn._typing import Batch

__all__ = ["STEP_FIELDS", "LabelCheck", "check_batch", "describe_kind"]

STEP_FIELDS = ("image", "label", "weight")
"""What steps read of a batch."""


def check_batch(function: str, argument: str, batch: object) -> None:
    """Refuses what is not a mapping of arrays of one length, ``"image"`` and ``"label"`` among them.

    Args:
        function: Name for the message.
        argument: Where the batch comes from, for the message.
        batch: Arrays, tracers, or shapes and dtypes.
    """
    expected = 'made of batches {"image": (n, ...), "label": (n, ...)}'
    if not isinstance(batch, Mapping):
        check(False, function, argument, expected, describe_kind(batch))
        return
    if "image" not in batch or "label" not in batch:
        check(False, function, argument, expected, f"the names {', '.join(map(repr, batch)) or 'of nothing'}")
    fields = {name: batch[name] for name in STEP_FIELDS if name in batch}
    for name, value in fields.items():
        known = isinstance(value, np.ndarray | jax.Array | jax.ShapeDtypeStruct)
        check(known, function, argument, f"{expected} of NumPy or JAX arrays", f"{describe_kind(value)} as {name!r}")
    lengths = {name: value.shape[:1] for name, value in fields.items()}
    even = len(set(lengths.values())) == 1 and () not in lengths.values()
    texts = ", ".join(f"{name} {shape_text(value)}" for name, value in fields.items())
    check(even, function, argument, f"{expected} of one length", texts)


def describe_kind(value: object) -> str:
    """Names the type of a value that was not expected, and the way out for tensors of other frameworks."""
    if isinstance(value, tuple | list):
        kinds = {f"{type(item).__module__.partition('.')[0]}.{type(item).__name__}" for item in value}
        of = f" of {len(value)}" + (f" ({', '.join(sorted(kinds))})" if 0 < len(value) < 9 else "")
        return f"a {type(value).__name__}{of.replace('builtins.', '')}"
    package = type(value).__module__.partition(".")[0]
    if package in ("torch", "tensorflow"):
        return f"a {package}.{type(value).__name__} (.numpy() makes an array of it; images have channels last)"
    return f"a {type(value).__name__}" if value is not None else "None"


class LabelCheck:
    """Refuses labels that are not classes of the model, where the loss is cross-entropy: it would become nan."""

    def __init__(self, function: str, loss: object, outputs: int | None):
        """Checks nothing for other losses, whose labels may be anything, and models of unknown outputs."""
        while isinstance(loss, functools.partial):
            loss = loss.func
        self._function = function
        self._classes = outputs if loss is losses.cross_entropy else None

    def check_range(self, argument: str, low: int, high: int, place: str) -> None:
        """Checks the lowest and the highest class number of some labels."""
        classes = self._classes
        if classes is None or 0 <= low <= high < classes:
            return
        worst = high if high >= classes else low
        advice = f"; models.create(..., num_classes={high + 1}) has as many" if low >= 0 else ""
        expected = f"labeled from 0 to {classes - 1}, as the model has {classes} classes"
        check(False, self._function, argument, expected, f"the label {worst}{place}{advice}")

    def check_labels(self, argument: str, labels: Any, place: str) -> None:
        """Checks labels that are on the host or worth fetching; soft labels, and tracers, pass."""
        if self._classes is None or isinstance(labels, Tracer):
            return
        if labels.ndim == 1 and not jnp.issubdtype(labels.dtype, jnp.integer):
            expected = f"labeled by integers (n,), or by probabilities (n, {self._classes})"
            check(False, self._function, argument, expected, f"labels {shape_text(labels)}{place}")
        if jnp.issubdtype(labels.dtype, jnp.integer) and labels.size and not isinstance(labels, jax.ShapeDtypeStruct):
            values = np.asarray(labels)
            self.check_range(argument, int(values.min()), int(values.max()), place)

    def check_host_batch(self, argument: str, batch: Batch | None, place: str) -> None:
        """Checks the labels of a batch as far as that needs no waiting for the device."""
        if batch is not None and isinstance(batch["label"], np.ndarray):
            self.check_labels(argument, batch["label"], place)
