"""What ``run.json`` says of the data: asked of the data objects where the caller says nothing.

A data object that knows about itself has a method ``describe()``, see ``data.description.SelfDescribing``. Two entries
of what it returns have a place of their own in ``run.json`` and are moved there: ``"classes"`` and ``"preprocessing"``.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn._check import check
from jaxcnn.data.description import SelfDescribing, SelfIdentifying, digest_arrays, label_range
from jaxcnn.data.transfer import Prefetched
from jaxcnn.train.batches import STEP_FIELDS, LabelCheck

__all__ = ["ask_data", "check_classes", "check_json", "check_labels_agree", "describe_data", "fingerprint_data"]


def ask_data(data: object) -> dict[str, Any] | None:
    """Returns what data say of themselves, as JSON; of plain batches and lists of them their number and labels."""
    data = _original(data)
    if data is None:
        return None
    if isinstance(data, Mapping):
        return _describe_batches([data])
    if isinstance(data, list | tuple):
        return _describe_batches(data)
    found = data.describe() if isinstance(data, SelfDescribing) and not isinstance(data, type) else None
    if not isinstance(found, Mapping):
        found = {"kind": getattr(data, "__qualname__", type(data).__qualname__)}
        classes = getattr(data, "classes", None)
        if isinstance(classes, list | tuple):
            found["classes"] = list(classes)
    return json.loads(json.dumps(found, default=str))


def fingerprint_data(data: object, *, ordered: bool) -> dict[str, Any] | None:
    """Returns what identifies data when a run is continued, as JSON; None where they do not say.

    Args:
        data: What a run trains on or is evaluated on.
        ordered: Whether the order of the examples counts.
    """
    data = _original(data)
    if isinstance(data, Mapping):
        data = [data]
    if isinstance(data, list | tuple):
        return {"content": digest_arrays([{name: b[name] for name in STEP_FIELDS if name in b} for b in data])}
    if not isinstance(data, SelfIdentifying) or isinstance(data, type):
        return None
    found = {name: value for name, value in data.fingerprint().items() if ordered or name != "order"}
    return json.loads(json.dumps(found, default=str))


def describe_data(
    found: Sequence[dict[str, Any] | None],
    *,
    outputs: int | None,
    classes: Sequence[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    description: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Returns the entries ``classes``, ``preprocessing`` and ``data`` of ``run.json``.

    Args:
        found: What training and test data say of themselves.
        outputs: How many logits the model gives, if known; class names of the data that do not match are left out.
        classes: Names that the caller gave.
        preprocessing: What the caller gave.
        description: What the caller said of the data, in place of what the data say.

    Returns:
        JSON values.
    """
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


def check_labels_agree(function: str, found: Sequence[dict[str, Any] | None], labels: LabelCheck) -> None:
    """Refuses data whose labels are no classes of the model, or mean other classes in training and in evaluation."""
    known = []
    for argument, part in zip(("data", "evaluate"), found, strict=True):
        classes = None if part is None else part.get("classes")
        if isinstance(classes, list):
            known.append(classes)
            labels.check_range(argument, 0, max(0, len(classes) - 1), f", of class {classes[-1]!r}" if classes else "")
        own = None if part is None else part.get("labels")
        if isinstance(own, list) and len(own) == 2 and all(isinstance(label, int) for label in own):
            labels.check_range(argument, own[0], own[1], "")
    if len(known) == 2 and any(a != b for a, b in zip(*known, strict=False)):
        train, test = (", ".join(map(str, classes)) for classes in known)
        expected = f"labeled by the classes of the training data, {train} (image_folder takes classes=)"
        check(False, function, "evaluate", expected, test)


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


def _original(data: object) -> object:
    """Returns what is prefetched in place of the prefetching."""
    return data.source if isinstance(data, Prefetched) else data


def _describe_batches(batches: Sequence[Any]) -> dict[str, Any]:
    labels = [np.asarray(b["label"]) for b in batches if isinstance(b, Mapping) and "label" in b]
    ranges = [found["labels"] for found in map(label_range, labels) if found]
    examples = sum(len(part) for part in labels if part.ndim)
    if not ranges or len(ranges) < len(labels):
        return {"kind": "arrays", "examples": examples}
    low, high = (list(side) for side in zip(*ranges, strict=True))
    return {"kind": "arrays", "examples": examples, "labels": [min(low), max(high)]}
