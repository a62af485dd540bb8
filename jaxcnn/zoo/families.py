"""Fills the models of ``models.create`` with weight files that carry no architecture."""

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxcnn import models
from jaxcnn._check import check
from jaxcnn.models.registry import ARCHITECTURES, resolve_name
from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.mappings import keras, pytorch, tensorflow
from jaxcnn.zoo.mappings.matching import NameTable, Rule, Rules, TensorNaming, find_names, match_tensors
from jaxcnn.zoo.records.weight_records import Preprocessing, Record, records
from jaxcnn.zoo.variable_shapes import find_variable_shapes
from jaxcnn.zoo.width_fitting import ScaledNetwork, fit_widths

__all__ = ["build_filled", "find_model", "find_name", "find_preprocessing", "find_record", "find_records"]


class Source(NamedTuple):
    """What is known of a framework's weight files."""

    naming: TensorNaming
    name_tensors: Callable[[Checkpoint], dict[str, np.ndarray]]
    tables: Mapping[str, Rules]  # by class of model
    ignored: Mapping[str, str]  # by class of model: pattern of tensors that it leaves out
    prepared: Mapping[str, Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]] = {}  # before rules apply
    alternatives: Mapping[str, Sequence[tuple[str, Rules]]] = {}  # by class: pattern of names, rules of such files


def _keep_names(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Returns the tensors of a file under their own names."""
    return dict(checkpoint.tensors)


_SOURCES = {
    "pytorch": Source(pytorch.PYTORCH, _keep_names, pytorch.TABLES, pytorch.IGNORED, alternatives=pytorch.ALTERNATIVES),
    "safetensors": Source(
        pytorch.PYTORCH, pytorch.name_safetensors, pytorch.TABLES, pytorch.IGNORED, alternatives=pytorch.ALTERNATIVES
    ),
    "keras": Source(keras.KERAS, keras.name_keras_tensors, keras.TABLES, keras.IGNORED, keras.PREPARED),
    "tensorflow": Source(
        tensorflow.TENSORFLOW, tensorflow.name_tensorflow_tensors, tensorflow.TABLES, tensorflow.IGNORED
    ),
}
"""Framework of a file to what is known of it."""


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


def find_preprocessing(record: Record, module: nn.Module) -> Preprocessing | None:
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
    table = _find_table(checkpoint, name, module, mapping)
    notes: list[str] = []
    source = _find_source(checkpoint)
    tensors = source.name_tensors(checkpoint)
    if mapping is None and (prepare := source.prepared.get(type(module).__name__)) is not None:
        tensors = prepare(tensors)
    if isinstance(module, ScaledNetwork):
        layers = {layer: _find_tensor(tensors, ("params", layer, "kernel"), table) for layer in module.widths()}
        stored = {layer: int(tensors[own].shape[-1]) for layer, own in layers.items() if own is not None}
        fitted = fit_widths(module, stored, {**ARCHITECTURES[name].options, **options})
        if fitted:
            options |= fitted
            module = models.create(name, num_classes=1000, **options)
            notes += [f"{option} {value} follows from the shapes of the file." for option, value in fitted.items()]
    shapes = find_variable_shapes(module, _image_shape(name, 3))
    head = [keys for keys in shapes if keys[0] == "params" and "head" in keys and keys[-1] == "kernel"]
    wanted = num_classes
    if wanted == "file":
        own = _find_tensor(tensors, head[-1], table) if head else None
        if own is not None and np.isnan(tensors[own]).all():
            own = None
            notes.append("The classifier was left out: the file has no values of it, only NaN.")
        wanted = None if own is None else int(tensors[own].shape[-1])
    left_out = table.ignored
    if wanted != 1000:
        module = models.create(name, num_classes=wanted, **options)
        of_classifier, shapes = shapes, find_variable_shapes(module, _image_shape(name, 3))
        of_classifier = [keys for keys in of_classifier if keys not in shapes]
        left_out = f"(?:{left_out})|(?:{_name_pattern(of_classifier, table)})"
    other = find_variable_shapes(module, _image_shape(name, 5))
    per_channel = [keys for keys, leaf in other.items() if leaf.shape != shapes[keys].shape]
    first = next((keys for keys in per_channel if keys[-1] == "kernel"), None)
    own = None if first is None else _find_tensor(tensors, first, table)
    if own is not None and tensors[own].ndim == 4:
        stored = tensors[own].shape[2]
        if channels not in (None, stored):
            notes.append(f"The first kernel was adapted from {stored} to {channels} channels.")
            tensors[own], stored = _adapt_channels(tensors[own], channels), channels
            of_pixels = [keys for keys in per_channel if keys[0] == "batch_stats"]  # which the model normalizes
            for statistic in (_find_tensor(tensors, keys, table) for keys in of_pixels):
                if statistic is not None:
                    tensors[statistic] = np.full(channels, tensors[statistic].mean(), tensors[statistic].dtype)
        if stored != 3:
            shapes = find_variable_shapes(module, _image_shape(name, stored))
    for keys, leaf in _find_flattened(tensors, module, name, shapes, table).items():
        notes.append(f"{'/'.join(keys[1:-1])} belongs to images of another size than the usual one.")
        shapes[keys] = leaf
    tree = traverse_util.unflatten_dict(shapes)
    found = match_tensors(path, tensors, tree, NameTable(table.naming, table.rules, left_out))
    used, counters = {_find_tensor(tensors, keys, table) for keys in shapes}, table.naming.ignored
    left = [name for name in tensors if name not in used and not re.fullmatch(counters, name)]
    if extra := [name for name in left if re.fullmatch(table.ignored, name)]:
        notes.append(f"{len(extra)} tensors of auxiliary layers were left out, such as {extra[0]!r}.")
    flat = {(part, *key.split("/")): jnp.asarray(value) for part, one in found.items() for key, value in one.items()}
    return module, traverse_util.unflatten_dict(flat), notes


def _find_source(checkpoint: Checkpoint) -> Source:
    """Returns what is known of the framework that wrote a file; formats that many write have PyTorch's names."""
    return _SOURCES.get(str(checkpoint.metadata.get("framework")), _SOURCES["pytorch"])


def _find_table(checkpoint: Checkpoint, name: str, module: nn.Module, mapping: Sequence[Rule] | None) -> NameTable:
    source, kind = _find_source(checkpoint), type(module).__name__
    if mapping is not None:
        return NameTable(source.naming, mapping)
    framework = checkpoint.metadata.get("framework")
    expected = f"a model that has a table of names for files of {framework}"
    check(kind in source.tables, "load", "model", expected, repr(name))
    rules = source.tables[kind]
    for pattern, others in source.alternatives.get(kind, ()):
        if any(re.fullmatch(pattern, one) for one in checkpoint.tensors):
            rules = others
    return NameTable(source.naming, rules(module) if callable(rules) else rules, source.ignored.get(kind, r"(?!)"))


def _image_shape(name: str, channels: int) -> jax.ShapeDtypeStruct:
    """Returns the shape of an image that a model was made for."""
    size = ARCHITECTURES[name].size if name in ARCHITECTURES else 224
    return jax.ShapeDtypeStruct((1, size, size, channels), jnp.float32)


def _find_tensor(tensors: Mapping[str, np.ndarray], keys: Sequence[str], table: NameTable) -> str | None:
    """Finds the name in a file of the tensor of a variable; None if it is not there."""
    return next((one for one in find_names("/".join(keys[1:-1]), keys[-1], table) if one in tensors), None)


def _name_pattern(variables: Sequence[tuple[str, ...]], table: NameTable) -> str:
    """Returns a pattern of the names that the tensors of variables have in a file."""
    names = [one for keys in variables for one in find_names("/".join(keys[1:-1]), keys[-1], table)]
    return "|".join(map(re.escape, names)) or r"(?!)"


def _find_flattened(
    tensors: Mapping[str, np.ndarray],
    module: nn.Module,
    name: str,
    shapes: Mapping[tuple[str, ...], Any],
    table: NameTable,
) -> dict[tuple[str, ...], Any]:
    """Finds dense kernels over flattened maps that are not those of the usual size of images, and their shapes."""
    found = {}
    for keys, leaf in shapes.items():
        own = _find_tensor(tensors, keys, table) if leaf.ndim == 2 and keys[-1] == "kernel" else None
        if own is not None and tensors[own].ndim == 2 and tensors[own].shape[0] != leaf.shape[0]:
            found[keys] = jax.ShapeDtypeStruct((tensors[own].shape[0], leaf.shape[1]), leaf.dtype)
    if not found:
        return {}
    usual = _image_shape(name, 3)
    larger = jax.ShapeDtypeStruct((1, 2 * usual.shape[1], *usual.shape[2:]), usual.dtype)
    depends = find_variable_shapes(module, larger)
    return {keys: leaf for keys, leaf in found.items() if depends[keys].shape != shapes[keys].shape}


def _adapt_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Adapts a first kernel: one channel gets the sum; more repeat the old ones, scaled by their numbers."""
    old = kernel.shape[2]
    if channels == 1:
        return kernel.sum(2, keepdims=True)
    repeated = np.take(kernel, np.arange(channels) % old, axis=2)
    return (repeated * np.float32(old / channels)).astype(kernel.dtype)
