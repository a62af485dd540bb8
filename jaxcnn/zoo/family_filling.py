"""Fills the models of ``models.create`` with weight files that carry no architecture."""

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
from jaxcnn.models.registry import ARCHITECTURES
from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.mappings import keras, pytorch, tensorflow
from jaxcnn.zoo.mappings.matching import NameTable, Rule, Rules, TensorNaming, find_names, match_tensors
from jaxcnn.zoo.variable_shapes import find_variable_shapes
from jaxcnn.zoo.width_fitting import ScaledNetwork, fit_widths

__all__ = ["build_filled"]


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
    model = _FittedModel(checkpoint, name, mapping, dict(options or {}))
    model.fit_widths()
    model.fit_classes(num_classes)
    model.fit_channels(channels)
    model.fit_flattened()
    return model.module, model.fill(path), model.notes


class _FittedModel:
    """A model that is made to fit the tensors of a file, option by option.

    Args:
        checkpoint: The file's content.
        name: Name of the model.
        mapping: Rules that replace those of the source.
        options: Fields of the model.
    """

    def __init__(self, checkpoint: Checkpoint, name: str, mapping: Sequence[Rule] | None, options: dict[str, Any]):
        self.name, self.options, self.notes = name, options, list[str]()
        self.classes: int | None = 1000
        self.module = models.create(name, num_classes=self.classes, **options)
        self.table = _find_table(checkpoint, name, self.module, mapping)
        self.left_out = self.table.ignored
        source = _find_source(checkpoint)
        self.tensors = source.name_tensors(checkpoint)
        if mapping is None and (prepare := source.prepared.get(type(self.module).__name__)) is not None:
            self.tensors = prepare(self.tensors)
        self.channels = 3
        self._traced: dict[tuple[int, ...], Mapping[tuple[str, ...], Any]] = {}

    def _build(self) -> None:
        self.module = models.create(self.name, num_classes=self.classes, **self.options)
        self._traced.clear()

    def _find_shapes(self, channels: int | None = None, *, stretch: int = 1) -> Mapping[tuple[str, ...], Any]:
        """Computes the shapes of the variables, for images of the usual size or ``stretch`` times as high.

        Each is computed once, as that traces the whole model.
        """
        size = ARCHITECTURES[self.name].size if self.name in ARCHITECTURES else 224
        shape = (1, stretch * size, size, channels or self.channels)
        if shape not in self._traced:
            self._traced[shape] = find_variable_shapes(self.module, jax.ShapeDtypeStruct(shape, jnp.float32))
        return self._traced[shape]

    def _find_tensor(self, keys: Sequence[str]) -> str | None:
        """Finds the name in the file of the tensor of a variable; None if it is not there."""
        names = find_names("/".join(keys[1:-1]), keys[-1], self.table)
        return next((one for one in names if one in self.tensors), None)

    def fit_widths(self) -> None:
        """Finds the width multiplier that the file was written with, unless it is given."""
        if not isinstance(self.module, ScaledNetwork):
            return
        layers = {layer: self._find_tensor(("params", layer, "kernel")) for layer in self.module.widths()}
        stored = {layer: int(self.tensors[own].shape[-1]) for layer, own in layers.items() if own is not None}
        known = ARCHITECTURES[self.name].options if self.name in ARCHITECTURES else {}
        if fitted := fit_widths(self.module, stored, {**known, **self.options}):
            self.options |= fitted
            self._build()
            self.notes += [f"{option} {value} follows from the shapes of the file." for option, value in fitted.items()]

    def fit_classes(self, wanted: int | Literal["file"] | None) -> None:
        """Builds the model for as many classes as the file's classifier has, or without a classifier."""
        shapes = self._find_shapes()
        if wanted == "file":
            head = [keys for keys in shapes if keys[0] == "params" and "head" in keys and keys[-1] == "kernel"]
            own = self._find_tensor(head[-1]) if head else None
            if own is not None and np.isnan(self.tensors[own]).all():
                own = None
                self.notes.append("The classifier was left out: the file has no values of it, only NaN.")
            wanted = None if own is None else int(self.tensors[own].shape[-1])
        if wanted == self.classes:
            return
        self.classes = wanted
        self._build()
        kept = self._find_shapes()
        of_classifier = [keys for keys in shapes if keys not in kept]
        self.left_out = f"(?:{self.left_out})|(?:{_name_pattern(of_classifier, self.table)})"

    def fit_channels(self, wanted: int | None) -> None:
        """Finds how many channels the file's images had; where others are wanted, adapts the first kernel."""
        shapes, other = self._find_shapes(3), self._find_shapes(5)
        per_channel = [keys for keys, leaf in other.items() if leaf.shape != shapes[keys].shape]
        first = next((keys for keys in per_channel if keys[-1].endswith("kernel")), None)
        own = None if first is None else self._find_tensor(first)
        if own is None or self.tensors[own].ndim != 4:
            return
        self.channels = self.tensors[own].shape[2]
        if first is None or wanted in (None, self.channels):
            return
        fixed = first[-1] != "kernel"  # of a separable convolution, whose second kernel depends on channels, too
        check(not fixed, "load", "channels", f"{self.channels}, as the first convolution is separable", wanted)
        self.notes.append(f"The first kernel was adapted from {self.channels} to {wanted} channels.")
        self.tensors[own], self.channels = _adapt_channels(self.tensors[own], wanted), wanted
        of_pixels = [keys for keys in per_channel if keys[0] == "batch_stats"]  # which the model normalizes
        for statistic in map(self._find_tensor, of_pixels):
            if statistic is not None:
                old = self.tensors[statistic]
                self.tensors[statistic] = np.full(wanted, old.mean(), old.dtype)

    def fit_flattened(self) -> None:
        """Takes dense kernels over flattened maps as they are where they belong to images of another size."""
        self.shapes = dict(self._find_shapes())
        found = {}
        for keys, leaf in self.shapes.items():
            own = self._find_tensor(keys) if leaf.ndim == 2 and keys[-1] == "kernel" else None
            if own is not None and self.tensors[own].ndim == 2 and self.tensors[own].shape[0] != leaf.shape[0]:
                found[keys] = jax.ShapeDtypeStruct((self.tensors[own].shape[0], leaf.shape[1]), leaf.dtype)
        if not found:
            return
        depends = self._find_shapes(stretch=2)
        for keys, leaf in found.items():
            if depends[keys].shape != self.shapes[keys].shape:
                self.notes.append(f"{'/'.join(keys[1:-1])} belongs to images of another size than the usual one.")
                self.shapes[keys] = leaf

    def fill(self, path: str | os.PathLike[str]) -> dict[str, Any]:
        """Puts the tensors into the variables of the model."""
        tree = traverse_util.unflatten_dict(self.shapes)
        table = NameTable(self.table.naming, self.table.rules, self.left_out)
        found = match_tensors(path, self.tensors, tree, table)
        used, counters = {self._find_tensor(keys) for keys in self.shapes}, table.naming.ignored
        left = [name for name in self.tensors if name not in used and not re.fullmatch(counters, name)]
        if extra := [name for name in left if re.fullmatch(self.table.ignored, name)]:
            self.notes.append(f"{len(extra)} tensors of auxiliary layers were left out, such as {extra[0]!r}.")
        flat = {
            (part, *key.split("/")): jnp.asarray(value) for part, one in found.items() for key, value in one.items()
        }
        return traverse_util.unflatten_dict(flat)


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


def _name_pattern(variables: Sequence[tuple[str, ...]], table: NameTable) -> str:
    """Returns a pattern of the names that the tensors of variables have in a file."""
    names = [one for keys in variables for one in find_names("/".join(keys[1:-1]), keys[-1], table)]
    return "|".join(map(re.escape, names)) or r"(?!)"


def _adapt_channels(kernel: np.ndarray, channels: int) -> np.ndarray:
    """Adapts a first kernel: one channel gets the sum; more repeat the old ones, scaled by their numbers."""
    old = kernel.shape[2]
    if channels == 1:
        return kernel.sum(2, keepdims=True)
    repeated = np.take(kernel, np.arange(channels) % old, axis=2)
    return (repeated * np.float32(old / channels)).astype(kernel.dtype)
