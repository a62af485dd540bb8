"""Finds the models of the families that belong to known weight files, and the other way around."""

import dataclasses
import functools
import re
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn

from jaxcnn.models.registry import ARCHITECTURES, resolve_name
from jaxcnn.zoo.records.weight_records import Preprocessing, Record, records

__all__ = ["find_model", "find_name", "fit_preprocessing", "find_record", "find_records"]


def find_model(record: Record) -> tuple[str, dict[str, Any]] | None:
    """Finds the model of a record and its options; None if there is none yet."""
    source, _, name = record.name.partition("/")
    for pattern, template, options in _RECORDED:
        if (match := re.fullmatch(pattern, record.name)) is not None:
            found = resolve_name(match.expand(template))
            stated = {key: float(match[group]) for key, group in options.items()}
            return (found, stated) if found in ARCHITECTURES else None
    plain = record.network if source == "pytorch" else name.removesuffix("_notop")
    found = find_name(plain, source)
    options = {"transform_input": True} if source == "pytorch" and found in _TRANSFORMED else {}
    return (found, options) if found in ARCHITECTURES else None


_TRANSFORMED = ("googlenet", "inception_v3")
"""Models that torchvision's trained weights make undo ImageNet's mean and standard deviation."""


def fit_preprocessing(record: Record, module: nn.Module) -> Preprocessing | None:
    """Finds what a model with the weights of a record expects as input.

    Args:
        record: The record.
        module: The model.

    Returns:
        What the record states; for images in [-1, 1] where the source's network has them inside and the model, whose
        ``transform_input`` is False, has not.
    """
    found, stated = find_model(record), record.preprocessing
    inside = found is not None and found[1].get("transform_input", False)
    if stated is None or inside == getattr(module, "transform_input", False):
        return stated
    return dataclasses.replace(stated, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


_RECORDED: Sequence[tuple[str, str, Mapping[str, int]]] = (
    (r"keras/mobilenet_v1_([\d.]+)_\d+(?:_notop)?", "mobilenet", {"alpha": 1}),
    (
        r"(keras|tensorflow)/mobilenet_v([123](?:_large|_small)?(?:_minimalistic)?)_([\d.]+)_\d+(?:_notop)?",
        r"\1/mobilenet_v\2",
        {"alpha": 3},
    ),
)
"""Patterns of records' names, the names of their models, and the options that a group of the pattern states."""


def find_name(name: str, framework: str | None) -> str:
    """Finds the name of a model for a file of a framework: of ``resnet50`` for Keras ``keras/resnet50``, if it differs.

    Args:
        name: Name of a model.
        framework: What wrote the file.

    Returns:
        The name.
    """
    of_source = f"{framework}/{name}"
    return of_source if of_source in ARCHITECTURES else resolve_name(name)


def find_record(name: str, framework: str | None) -> Record | None:
    """Finds a record of a model, for what files of its source expect: the first at the size that it was made for."""
    source = name.partition("/")[0] if "/" in name else framework
    found = [one for one in find_records().get(name, ()) if one.name.startswith(f"{source}/")]
    size = ARCHITECTURES[name].size if name in ARCHITECTURES else None
    fitting = (one for one in found if one.preprocessing is not None and one.preprocessing.size == size)
    return next(fitting, next(iter(found), None))


@functools.cache
def find_records() -> Mapping[str, Sequence[Record]]:
    """Finds the records of every model, of all its widths.

    Returns:
        Name of model to records.
    """
    found: dict[str, list[Record]] = {}
    for one in records():
        if (model := find_model(one)) is not None:
            found.setdefault(model[0], []).append(one)
    return found
