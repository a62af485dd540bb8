"""The tree of numbered variables that Keras 3 writes, and the names that its layers and variables have."""

import re
from collections.abc import Mapping
from typing import Any

from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.containers.hdf5 import Hdf5
from jaxcnn.zoo.formats.keras.kernels import Weight

__all__ = ["store_weights"]

DEPTH = 64
"""How deep models may be nested."""

KERNEL = ("kernel", "bias")
SEPARABLE = ("depthwise_kernel", "pointwise_kernel", "bias")
VARIABLES = {
    **{
        f"{name}{rank}D{after}": KERNEL
        for name in ("Conv", "DepthwiseConv")
        for rank in "123"
        for after in ("", "Transpose")
    },
    "SeparableConv1D": SEPARABLE,
    "SeparableConv2D": SEPARABLE,
    "Dense": KERNEL,
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "LayerNormalization": ("gamma", "beta"),
    "GroupNormalization": ("gamma", "beta"),
    "Embedding": ("embeddings",),
    "PReLU": ("alpha",),
}
"""The variables of a class of layers in the order in which they are numbered."""

OPTIONS = {"bias": "use_bias", "gamma": "scale", "beta": "center"}
"""The option of a layer without which a variable is not there."""


def _key(class_name: str) -> str:
    """Gives the group's name for a class: ``"Conv2DTranspose"`` -> ``"conv2d_transpose"``."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


CLASSES = {_key(name): name for name in VARIABLES}


def _children(config: Any) -> dict[str, Any]:
    """Gives the group path below a model and the configuration of each of its layers."""
    inner = config.get("config") if isinstance(config, Mapping) else None
    if not isinstance(inner, Mapping):
        return {}
    found, counts = {}, {}
    for layer in inner["layers"] if isinstance(inner.get("layers"), list) else []:
        if isinstance(layer, Mapping) and isinstance(layer.get("class_name"), str):
            key = _key(layer["class_name"])
            counts[key] = counts.get(key, -1) + 1
            found[f"layers/{key}_{counts[key]}" if counts[key] else f"layers/{key}"] = layer
    if isinstance(inner.get("layer"), Mapping):
        found["layer"] = inner["layer"]
    return found


def _own_variables(kind: str | None, config: Any, count: int) -> tuple[str, ...] | None:
    """Gives the names of a layer's variables, or None where they are not certain."""
    names = VARIABLES.get(kind or "")
    inner = config.get("config") if isinstance(config, Mapping) else None
    if names is None:
        return None
    if isinstance(inner, Mapping):
        names = tuple(name for name in names if inner.get(OPTIONS.get(name, ""), True))
    elif names[-1] == "bias" and count == len(names) - 1:
        names = names[:-1]
    return names if len(names) == count else None


def store_weights(file: Hdf5, config: Any) -> tuple[list[Weight], dict[str, str]]:
    """Lists the variables of a file of Keras 3.

    Convention:
        A variable is named as in Keras, ``"block/conv1/kernel"``, where the names of its layers, from the file or the
        configuration, and the class of the last one are known; its number stands in place of an unknown name.
        Where no layer has a name it is the path in the file, ``"layers/conv2d/vars/0"``. Layers come in the order of
        the configuration, or else of the file.

    Args:
        file: The open file.
        config: The model's configuration, or None.

    Returns:
        The variables, and the path in the file of each name.
    """
    found: list[tuple[str, str, Weight]] = []
    seen: set[int] = set()

    def visit(group: Any, path: str, names: tuple[str, ...], settings: Any, depth: int) -> None:
        """Lists the variables of one layer, then those of its children."""
        address = file.address(group)
        if address in seen or depth > DEPTH:
            raise FormatError(file.path, f"The group {path or '/'} holds itself, or is nested too deeply.")
        seen.add(address)
        variables = file.member(group, "vars")
        own = _own_name(file, variables, settings)
        if path:
            names = (*names, own or path.rpartition("/")[2])
        if variables is not None:
            if not file.is_group(variables):
                raise FormatError(file.path, f"{path}/vars is no group.")
            found.extend(_variables(file, variables, path, names, own, settings))
        known = _children(settings)
        inner = sorted((name for name in file.members(group) if name != "vars"), key=_natural)
        for name in inner:
            child = file.member(group, name)
            if (not path and name == "optimizer") or child is None or not file.is_group(child):
                continue
            if name in ("layers", "_layer_checkpoint_dependencies"):
                if file.address(child) in seen:
                    raise FormatError(file.path, f"The group {path}/{name} holds itself.")
                seen.add(file.address(child))
                below = {key: known.get(f"layers/{key}") for key in file.members(child)}
                places = {key.partition("/")[2]: place for place, key in enumerate(known)}
                for key in sorted(below, key=lambda key: (places.get(key, len(places)), _natural(key))):
                    node = file.member(child, key)
                    if node is not None and file.is_group(node):
                        visit(node, f"{path}/{name}/{key}".strip("/"), names, below[key], depth + 1)
            else:
                visit(child, f"{path}/{name}".strip("/"), names, known.get(name), depth + 1)

    visit(file.root, "", (), config, 0)
    if not found:
        raise FormatError(file.path, "It has neither the attribute layer_names nor variables of Keras.")
    counts: dict[str, int] = {}
    for name, _, _ in found:
        counts[name] = counts.get(name, 0) + 1
    for name, path, weight in found:
        weight.name = name if counts[name] == 1 else path
    paths = {weight.name: path for _, path, weight in found}
    if len(paths) < len(found):
        raise FormatError(file.path, "Two of its variables have one name.")
    return [weight for _, _, weight in found], paths


def _natural(text: str) -> list[tuple[int, int | str]]:
    """A key that sorts ``conv2d_2`` before ``conv2d_10``."""
    return [(0, int(part)) if part.isdecimal() and len(part) < 10 else (1, part) for part in re.split(r"(\d+)", text)]


def _own_name(file: Hdf5, variables: Any, settings: Any) -> str | None:
    """Gives a layer's name as the file or the configuration says it."""
    name = file.attribute(variables, "name") if variables is not None else None
    if not isinstance(name, str) and isinstance(settings, Mapping):
        inner = settings.get("config")
        name = inner.get("name") if isinstance(inner, Mapping) else None
    return name if isinstance(name, str) and name else None


def _variables(
    file: Hdf5, variables: Any, path: str, names: tuple[str, ...], own: str | None, settings: Any
) -> list[tuple[str, str, Weight]]:
    """Lists one layer's own variables: name, path in the file, what else is known."""
    keys = sorted(file.members(variables), key=_natural)
    kind = settings.get("class_name") if isinstance(settings, Mapping) else None
    if not isinstance(kind, str):
        kind = CLASSES.get(re.sub(r"_\d+$", "", path.rpartition("/")[2]))
    words = _own_variables(kind, settings, len(keys))
    listed = []
    for place, key in enumerate(keys):
        source = file.member(variables, key)
        where = f"{path}/vars/{key}".strip("/")
        if source is None or file.is_group(source):
            raise FormatError(file.path, f"{where} is no variable.")
        word = words[place] if words and key == str(place) else key
        name = "/".join((*names, word)) if own or not names else where
        listed.append((name, where, Weight(name, "/".join(names) or path, kind, source.shape or (), source)))
    return listed
