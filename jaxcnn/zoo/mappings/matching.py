"""Puts the tensors of a weight file into the variables of a model, by a table of names."""

import dataclasses
import difflib
import itertools
import math
import os
import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.zoo.checkpoint import FormatError

__all__ = ["LayerName", "NameTable", "Rule", "Rules", "TensorNaming", "find_names", "match_tensors"]

_SHOWN = 8  # layers of one kind in a message
_WIDTH = 80  # columns of a message
_COMPARED = 500  # names that are compared letter by letter


@dataclasses.dataclass(frozen=True)
class LayerName:
    """Where the tensors of one layer are in a file.

    Attributes:
        prefix: The source's name of the layer.
        flattened: (h, w) of the maps whose flattened pixels a dense kernel multiplies, where the source flattens
            channels first: its rows are reordered.
        as_dense: Whether the source has a convolution in the place of a dense layer: of the same pixels, row by row.
        aliases: Names of it that other versions of the source wrote.
    """

    prefix: str
    flattened: tuple[int, int] | None = None
    as_dense: bool = False
    aliases: tuple[str, ...] = ()


Template = str | Callable[..., str | LayerName]
"""A text with ``\\1`` and the like, or a function of the pattern's groups (numbers as integers)."""

Rule = tuple[str, Template]
"""A pattern of the model's layer, such as ``stage(\\d+)/block(\\d+)/conv1``, and the source's name of it."""

Rules = Sequence[Rule] | Callable[[Any], Sequence[Rule]]
"""The rules of a class of models, or a function of the model where they depend on its options."""


@dataclasses.dataclass(frozen=True)
class TensorNaming:
    """How a source names the tensors of a layer.

    Attributes:
        separator: Between layer and tensor.
        names: Our name to the source's: ``{"kernel": "weight"}``. Several are tried in turn.
        ignored: Pattern of tensors that no model has, such as counters.
    """

    separator: str
    names: Mapping[str, tuple[str, ...]]
    ignored: str = r"(?!)"


@dataclasses.dataclass(frozen=True)
class NameTable:
    """The names of one family in one source.

    Attributes:
        naming: The source's names of tensors.
        rules: Patterns of layers, of which the first that matches counts.
        ignored: Pattern of layers of the file that the model leaves out, such as auxiliary classifiers.
    """

    naming: TensorNaming
    rules: Sequence[Rule]
    ignored: str = r"(?!)"


class _Missing(NamedTuple):
    """A variable that has no tensor."""

    role: str
    name: str | None  # the source's; None where no rule matches the layer
    size: int


def match_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, np.ndarray],
    shapes: Mapping[str, Any],
    table: NameTable,
) -> dict[str, dict[str, np.ndarray]]:
    """Finds the tensor of every variable of a model.

    Args:
        path: The file, for error messages.
        tensors: Its tensors.
        shapes: The model's variables, or their ``jax.ShapeDtypeStruct``.
        table: The names.

    Returns:
        Collection to path of variable, joined by ``/``, to tensor, in the model's order of axes.

    Raises:
        FormatError: If tensors are missing, left over or of another shape; all are listed, grouped by layer, with the
            nearest names.
    """
    found: dict[str, dict[str, np.ndarray]] = {}
    used: set[str] = set()
    missing: dict[str, list[_Missing]] = {}
    wrong: dict[str, list[str]] = {}
    for keys, leaf in jax.tree_util.tree_flatten_with_path(shapes)[0]:
        collection, *layers, role = (str(key.key) for key in keys)
        layer = "/".join(layers)
        place = _find_layer(layer, table.rules)
        names = _list_names(place, role, table.naming) if place is not None else []
        name = next((one for one in names if one in tensors), None)
        if place is None or name is None:
            lacking = _Missing(role, names[0] if names else None, math.prod(leaf.shape))
            missing.setdefault(layer, []).append(lacking)
            continue
        used.add(name)
        tensor = _arrange(tensors[name], tuple(leaf.shape), place, role)
        if tensor.shape != tuple(leaf.shape):
            wrong.setdefault(layer, []).append(f"{role} {tuple(leaf.shape)}, but {name} {tensors[name].shape}")
            continue
        found.setdefault(collection, {})[f"{layer}/{role}"] = tensor
    ignored = re.compile(f"(?:{table.ignored})|(?:{table.naming.ignored})")
    extra = {name: one.size for name, one in tensors.items() if name not in used and not ignored.fullmatch(name)}
    if missing or wrong or extra:
        raise FormatError(path, _describe(missing, wrong, extra, table.naming.separator))
    return found


def find_names(layer: str, role: str, table: NameTable) -> list[str]:
    """Lists the names that a tensor of a layer may have in a file; empty if no rule matches the layer.

    Args:
        layer: The model's layer.
        role: Name of the variable, such as ``"kernel"``.
        table: The names.

    Returns:
        The names.
    """
    place = _find_layer(layer, table.rules)
    return [] if place is None else _list_names(place, role, table.naming)


def _find_layer(layer: str, rules: Sequence[Rule]) -> LayerName | None:
    for pattern, template in rules:
        match = re.fullmatch(pattern, layer)
        if match is None:
            continue
        if isinstance(template, str):
            return LayerName(match.expand(template))
        groups = [int(text) if text is not None and text.isdigit() else text for text in match.groups()]
        place = template(*groups)
        return place if isinstance(place, LayerName) else LayerName(place)
    return None


def _list_names(place: LayerName, role: str, naming: TensorNaming) -> list[str]:
    return [
        f"{prefix}{naming.separator}{name}" if prefix else name
        for prefix in (place.prefix, *place.aliases)
        for name in naming.names.get(role, (role,))
    ]


def _arrange(tensor: np.ndarray, shape: tuple[int, ...], place: LayerName, role: str) -> np.ndarray:
    """Brings a tensor to the model's order of axes."""
    if role == "kernel" and place.flattened is not None and tensor.ndim == 2:
        h, w = place.flattened
        rows = tensor.shape[0]
        if rows % (h * w) == 0:
            return tensor.reshape(rows // (h * w), h, w, -1).transpose(1, 2, 0, 3).reshape(rows, -1)
    if tensor.ndim != len(shape) and _without_ones(tensor.shape) == _without_ones(shape):
        return tensor.reshape(shape)  # factors of channels, which sources give axes of size 1
    if place.as_dense and role == "kernel" and tensor.ndim == 4:
        return tensor.reshape(-1, tensor.shape[-1])
    if tensor.ndim == 4 and len(shape) == 4 and tensor.shape != shape and tensor.shape[2] == 1:
        height, width, c, m = shape  # a depthwise kernel, which files without groups keep as (kh, kw, 1, c * m)
        if tensor.shape == (height, width, 1, c * m):
            return tensor.reshape(shape)
    return tensor


def _without_ones(shape: Sequence[int]) -> list[int]:
    return [n for n in shape if n != 1]


def _describe(
    missing: Mapping[str, Sequence[_Missing]],
    wrong: Mapping[str, Sequence[str]],
    extra: Mapping[str, int],
    separator: str,
) -> str:
    """Lists what does not fit, in lines of a layer each."""
    lines = ["does not fit the model"]
    if missing:
        lines.append(f"{_count(missing)} of the model without tensors in the file:")
        lines += _shorten(missing, lambda layer: _describe_missing(layer, missing[layer], extra))
    if wrong:
        lines.append(f"{_count(wrong)} of the model with tensors of another shape:")
        lines += _shorten(wrong, lambda layer: f"{layer}: {'; '.join(wrong[layer])}")
    groups: dict[str, list[str]] = {}
    for name in extra:
        layer, _, tensor = name.rpartition(separator)
        groups.setdefault(layer, []).append(tensor)
    if groups:
        lines.append(f"{_count(groups)} of the file without a place in the model:")
        lines += _shorten(groups, lambda layer: f"{layer}: {', '.join(groups[layer])}".removeprefix(": "))
    return "\n".join(lines)


def _describe_missing(layer: str, lacking: Sequence[_Missing], extra: Mapping[str, int]) -> str:
    """Names the tensors that a layer lacks, and the one left over in the file that is nearest."""
    first = lacking[0]
    names = [one.name for one in lacking if one.name is not None]
    roles = ", ".join(one.role for one in lacking)
    text = f"{layer}: no {', '.join(names)}" if names else f"{layer}: no rule matches it ({roles})"
    same_size = [name for name, size in extra.items() if size == first.size]
    candidates = list(itertools.islice(same_size or extra, _COMPARED))
    nearest = difflib.get_close_matches(first.name or layer, candidates, n=1, cutoff=0.5 if first.name else 0.0)
    return f"{text}; nearest: {nearest[0]}" if nearest else text


def _count(layers: Mapping[str, object]) -> str:
    return "1 layer" if len(layers) == 1 else f"{len(layers)} layers"


def _shorten(layers: Mapping[str, object], describe: Callable[[str], str]) -> list[str]:
    """Describes the first layers, wrapped to the width of a message."""
    wrapper = textwrap.TextWrapper(
        _WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
    )
    lines = [line for layer in itertools.islice(layers, _SHOWN) for line in wrapper.wrap(describe(layer))]
    return [*lines, f"  and {len(layers) - _SHOWN} more"] if len(layers) > _SHOWN else lines
