"""Fills the models of ``models.create`` with weight files that carry no architecture."""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxcnn import models
from jaxcnn._check import check
from jaxcnn.models.registry import ARCHITECTURES
from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.mappings import pytorch
from jaxcnn.zoo.mappings.matching import NameTable, Rule, find_names, match_tensors
from jaxcnn.zoo.records.weight_records import Record, records
from jaxcnn.zoo.variable_shapes import find_variable_shapes

__all__ = ["build_filled", "find_model_name", "find_record"]

_SOURCES = {"pytorch": (pytorch.PYTORCH, pytorch.TABLES, pytorch.IGNORED)}
"""Framework of a file to its names of tensors, and class of model to rules and to layers that are left out."""


def find_model_name(record: Record) -> str | None:
    """Finds the model of a record; None if there is none yet."""
    source = record.name.partition("/")[0]
    names = (f"{source}/{record.network.lower()}", record.network) if source != "pytorch" else (record.network,)
    return next((name for name in names if name in ARCHITECTURES), None)


def find_record(name: str, framework: str | None) -> Record | None:
    """Finds a record of a model, for what files of its source expect; the first of several versions."""
    source = name.partition("/")[0] if "/" in name else framework
    return next((one for one in records() if one.name.startswith(f"{source}/") and find_model_name(one) == name), None)


def build_filled(
    path: str | os.PathLike[str],
    checkpoint: Checkpoint,
    name: str,
    *,
    num_classes: int | Literal["file"] | None = "file",
    channels: int | None = None,
    mapping: Sequence[Rule] | None = None,
    options: Mapping[str, Any] | None = None,
) -> tuple[nn.Module, dict[str, Any], list[str]]:
    """Builds a model and fills it with the tensors of a file.

    Args:
        path: The file, for error messages.
        checkpoint: Its content.
        name: Name of the model, one of ``models.names()``.
        num_classes: ``"file"``: as many as the file's classifier has, or features if it has none. None leaves the
            classifier out.
        channels: Channels of the images; where they differ from the file's, the first kernel is adapted.
        mapping: Rules that replace those of the source: pattern of the model's layer to name in the file.
        options: Fields of the model.

    Returns:
        Module, variables, and notes.

    Raises:
        FormatError: If the tensors do not fit the model.
        ValueError: If the name is unknown, or there are no rules for it.
    """
    options = dict(options or {})
    module = models.create(name, num_classes=1000, **options)
    table = _find_table(checkpoint, name, type(module), mapping)
    notes: list[str] = []
    tensors = dict(checkpoint.tensors)
    shapes = find_variable_shapes(module, _image_shape(name, 3))
    head = [keys for keys in shapes if keys[0] == "params" and "head" in keys and keys[-1] == "kernel"]
    wanted = num_classes
    if wanted == "file":
        own = _find_tensor(tensors, head[-1], table) if head else None
        wanted = None if own is None else int(tensors[own].shape[-1])
    if wanted != 1000:
        module = models.create(name, num_classes=wanted, **options)
        shapes = find_variable_shapes(module, _image_shape(name, 3))
    other = find_variable_shapes(module, _image_shape(name, 5))
    first = next((keys for keys, leaf in other.items() if leaf.shape != shapes[keys].shape), None)
    own = None if first is None else _find_tensor(tensors, first, table)
    if own is not None and tensors[own].ndim == 4:
        stored = tensors[own].shape[2]
        if channels not in (None, stored):
            notes.append(f"The first kernel was adapted from {stored} to {channels} channels.")
            tensors[own], stored = _adapt_channels(tensors[own], channels), channels
        if stored != 3:
            shapes = find_variable_shapes(module, _image_shape(name, stored))
    tree = traverse_util.unflatten_dict(shapes)
    left_out = table.ignored if wanted is not None else f"(?:{table.ignored})|(?:{_head_pattern(head, table)})"
    found = match_tensors(path, tensors, tree, NameTable(table.naming, table.rules, left_out))
    flat = {(part, *key.split("/")): jnp.asarray(value) for part, one in found.items() for key, value in one.items()}
    return module, traverse_util.unflatten_dict(flat), notes


def _find_table(checkpoint: Checkpoint, name: str, kind: type[nn.Module], mapping: Sequence[Rule] | None) -> NameTable:
    framework = checkpoint.metadata.get("framework")
    known = framework in _SOURCES
    naming, tables, ignored = _SOURCES[framework if known else "pytorch"]
    if mapping is not None:
        return NameTable(naming, mapping)
    expected = f"a model that has a table of names for files of {framework}"
    check(known and kind.__name__ in tables, "load", "model", expected, repr(name))
    return NameTable(naming, tables[kind.__name__], ignored.get(kind.__name__, r"(?!)"))


def _image_shape(name: str, channels: int) -> jax.ShapeDtypeStruct:
    """Returns the shape of an image that a model was made for."""
    size = ARCHITECTURES[name].size if name in ARCHITECTURES else 224
    return jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)


def _find_tensor(tensors: Mapping[str, np.ndarray], keys: Sequence[str], table: NameTable) -> str | None:
    """Finds the name in a file of the tensor of a variable; None if it is not there."""
    return next((one for one in find_names("/".join(keys[1:-1]), keys[-1], table) if one in tensors), None)


def _head_pattern(head: Sequence[tuple[str, ...]], table: NameTable) -> str:
    """Returns a pattern of the classifier's tensors, which a model without one leaves out."""
    layers = {"/".join(keys[1:-1]) for keys in head}
    names = [one for layer in layers for role in ("kernel", "bias") for one in find_names(layer, role, table)]
    return "|".join(map(re.escape, names)) or r"(?!)"


def _adapt_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Adapts a first kernel: one channel gets the sum; more repeat the old ones, scaled by their numbers."""
    old = kernel.shape[2]
    if channels == 1:
        return kernel.sum(2, keepdims=True)
    repeated = np.take(kernel, np.arange(channels) % old, axis=2)
    return (repeated * np.float32(old / channels)).astype(kernel.dtype)
