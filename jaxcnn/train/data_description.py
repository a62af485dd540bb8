"""What ``run.json`` says of the data: asked of the data objects where the caller says nothing.

A data object that knows about itself has a method ``describe()``, see ``data.description.SelfDescribing``. Two entries
of what it returns have a place of their own in ``run.json`` and are moved there: ``"classes"`` and ``"preprocessing"``.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn._check import check
from jaxcnn.data.description import SelfDescribing

__all__ = ["check_classes", "check_json", "describe_data"]


def describe_data(
    train: object,
    test: object,
    *,
    outputs: int | None,
    classes: Sequence[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    description: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the entries ``classes``, ``preprocessing`` and ``data`` of ``run.json``.

    Args:
        train: What a run trains on.
        test: What it is evaluated on, or None.
        outputs: How many logits the model gives, if known; class names of the data that do not match are left out.
        classes: Names that the caller gave.
        preprocessing: What the caller gave.
        description: What the caller said of the data, in place of what the data say.

    Returns:
        JSON values.
    """
    found = [_ask(data) for data in (train, test)]
    own_classes, own_preprocessing = (
        next((part[name] for part in found if part is not None and part.get(name) is not None), None)
        for name in ("classes", "preprocessing")
    )
    if classes is None and isinstance(own_classes, list | tuple) and outputs in (None, len(own_classes)):
        classes = own_classes
    described = [
        part and {name: value for name, value in part.items() if name not in ("classes", "preprocessing")}
        for part in found
    ]
    return {
        "classes": None if classes is None else [str(name) for name in classes],
        "preprocessing": own_preprocessing if preprocessing is None else dict(preprocessing),
        "data": dict(zip(("train", "test"), described, strict=True)) if description is None else dict(description),
    }


def check_classes(function: str, classes: Sequence[str] | None, outputs: int | None) -> None:
    """Refuses names of classes that are no distinct texts, one per logit."""
    if classes is None:
        return
    named = all(isinstance(name, str) for name in classes) and len(set(classes)) == len(classes)
    check(named, function, "classes", "distinct names", repr(classes))
    check(outputs in (None, len(classes)), function, "classes", f"{outputs} names, one per logit", len(classes))


def check_json(function: str, argument: str, value: Mapping[str, Any] | None) -> None:
    """Refuses what JSON cannot hold."""
    try:
        if value is None or isinstance(json.loads(json.dumps(value)), dict):
            return
    except (TypeError, ValueError):
        pass
    check(False, function, argument, "a mapping of plain JSON values", repr(value))


def _ask(data: object) -> dict[str, Any] | None:
    """Returns what data say of themselves, as JSON; of plain batches and lists of them only the number of examples."""
    if data is None:
        return None
    if isinstance(data, Mapping):
        return {"kind": "arrays", "examples": _count(data)}
    if isinstance(data, list | tuple):
        return {"kind": "arrays", "examples": sum(map(_count, data))}
    found = data.describe() if isinstance(data, SelfDescribing) and not isinstance(data, type) else None
    if not isinstance(found, Mapping):
        found = {"kind": getattr(data, "__qualname__", type(data).__qualname__)}
        classes = getattr(data, "classes", None)
        if isinstance(classes, list | tuple):
            found["classes"] = list(classes)
    return json.loads(json.dumps(found, default=str))


def _count(batch: Mapping[str, Any]) -> int:
    return len(batch["label"]) if "label" in batch and np.ndim(batch["label"]) else 0
