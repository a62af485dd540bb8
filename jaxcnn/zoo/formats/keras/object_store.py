"""The tree of numbered variables that Keras 3 writes, and the names of its layers and variables."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxcnn.zoo.containers.hdf5 import Hdf5File
from jaxcnn.zoo.formats.keras.kernels import Weight

if TYPE_CHECKING:
    import h5py

__all__ = ["list_variables"]

_MAX_DEPTH = 64  # of nested models

_KERNEL = ("kernel", "bias")
_SEPARABLE = ("depthwise_kernel", "pointwise_kernel", "bias")
_VARIABLES = {
    **{
        f"{name}{rank}D{after}": _KERNEL
        for name in ("Conv", "DepthwiseConv")
        for rank in "123"
        for after in ("", "Transpose")
    },
    "SeparableConv1D": _SEPARABLE,
    "SeparableConv2D": _SEPARABLE,
    "Dense": _KERNEL,
    "BatchNormalization": ("gamma", "beta", "moving_mean", "moving_variance"),
    "LayerNormalization": ("gamma", "beta"),
    "GroupNormalization": ("gamma", "beta"),
    "Normalization": ("mean", "variance", "count"),
    "Embedding": ("embeddings",),
    "PReLU": ("alpha",),
}
"""The variables of a class of layers in the order of their numbers."""

_SWITCHES = {"bias": "use_bias", "gamma": "scale", "beta": "center"}
"""The option of a layer that turns a variable on."""


def _group_name(class_name: str) -> str:
    """Returns the group's name for a class: ``"Conv2DTranspose"`` -> ``"conv2d_transpose"``."""
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", class_name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


_CLASSES = {_group_name(name): name for name in _VARIABLES}


def _find_layers(config: object) -> dict[str, Mapping[str, Any]]:
    """Returns the group path below a model and the configuration of each of its layers."""
    inner = config.get("config") if isinstance(config, Mapping) else None
    if not isinstance(inner, Mapping):
        return {}
    found, counts = {}, {}
    for layer in inner["layers"] if isinstance(inner.get("layers"), list) else []:
        if isinstance(layer, Mapping) and isinstance(layer.get("class_name"), str):
            key = _group_name(layer["class_name"])
            counts[key] = counts.get(key, -1) + 1
            found[f"layers/{key}_{counts[key]}" if counts[key] else f"layers/{key}"] = layer
    if isinstance(inner.get("layer"), Mapping):
        found["layer"] = inner["layer"]
    return found


def _name_variables(kind: str | None, config: object, count: int) -> tuple[str, ...] | None:
    """Returns the names of a layer's variables, or None if they are not certain."""
    names = _VARIABLES.get(kind or "")
    inner = config.get("config") if isinstance(config, Mapping) else None
    if names is None:
        return None
    if isinstance(inner, Mapping):
        names = tuple(name for name in names if inner.get(_SWITCHES.get(name, ""), True))
    elif names[-1] == "bias" and count == len(names) - 1:
        names = names[:-1]
    return names if len(names) == count else None


class _Variable(NamedTuple):
    """A variable: the name that it should get, its path in the file, and the weight that it is."""

    name: str
    path: str
    weight: Weight


def list_variables(file: Hdf5File, config: object) -> tuple[list[Weight], dict[str, str]]:
    """Lists the variables of a file of Keras 3.

    Convention:
        A variable is named as in Keras, ``"block/conv1/kernel"``, where the names of its layers, from the file or the
        configuration, and the class of the last one are known; its number replaces an unknown name.
        If no layer has a name, it is the path in the file, ``"layers/conv2d/vars/0"``. Layers come in the order of
        the configuration, otherwise of the file.

    Args:
        file: The open file.
        config: The model's configuration, or None.

    Returns:
        The variables, and the path in the file of each name.
    """
    found: list[_Variable] = []
    seen: set[int] = set()

    def visit(group: "h5py.Group", path: str, names: tuple[str, ...], config: object, depth: int) -> None:
        """Lists the variables of one layer, then those of its children."""
        address = file.address(group)
        if address in seen or depth > _MAX_DEPTH:
            raise file.source.error(f"The group {path or '/'} holds itself, or is nested too deeply.")
        seen.add(address)
        if file.find_dataset(group, "vars") is not None:
            raise file.source.error(f"{path}/vars is not a group.")
        variables = file.find_group(group, "vars")
        own = _find_layer_name(file, variables, config)
        if path:
            names = (*names, own or path.rpartition("/")[2])
        if variables is not None:
            found.extend(_list_layer_variables(file, variables, path, names, own, config))
        known = _find_layers(config)
        inner = sorted((name for name in file.list_members(group) if name != "vars"), key=_natural_key)
        for name in inner:
            child = file.find_group(group, name)
            if (not path and name == "optimizer") or child is None:
                continue
            if name in ("layers", "_layer_checkpoint_dependencies"):
                if file.address(child) in seen:
                    raise file.source.error(f"The group {path}/{name} holds itself.")
                seen.add(file.address(child))
                below = {key: known.get(f"layers/{key}") for key in file.list_members(child)}
                places = {key.partition("/")[2]: place for place, key in enumerate(known)}
                for key in sorted(below, key=lambda key: (places.get(key, len(places)), _natural_key(key))):
                    node = file.find_group(child, key)
                    if node is not None:
                        visit(node, f"{path}/{name}/{key}".strip("/"), names, below[key], depth + 1)
            else:
                visit(child, f"{path}/{name}".strip("/"), names, known.get(name), depth + 1)

    visit(file.root, "", (), config, 0)
    if not found and not config:  # a model may have no variables
        raise file.source.error("It has neither the attribute layer_names nor variables of Keras.")
    counts: dict[str, int] = {}
    for variable in found:
        counts[variable.name] = counts.get(variable.name, 0) + 1
    for variable in found:
        variable.weight.name = variable.name if counts[variable.name] == 1 else variable.path
    paths = {variable.weight.name: variable.path for variable in found}
    if len(paths) < len(found):
        raise file.source.error("Two of its variables have the same name.")
    return [variable.weight for variable in found], paths


def _natural_key(text: str) -> list[tuple[int, int | str]]:
    """Returns a key that sorts ``conv2d_2`` before ``conv2d_10``."""
    return [(0, int(part)) if part.isdecimal() and len(part) < 10 else (1, part) for part in re.split(r"(\d+)", text)]


def _find_layer_name(file: Hdf5File, variables: "h5py.Group | None", config: object) -> str | None:
    """Returns a layer's name as the file or the configuration states it."""
    name = file.attribute(variables, "name") if variables is not None else None
    if not isinstance(name, str) and isinstance(config, Mapping):
        inner = config.get("config")
        name = inner.get("name") if isinstance(inner, Mapping) else None
    return name if isinstance(name, str) and name else None


def _list_layer_variables(
    file: Hdf5File,
    variables: "h5py.Group",
    path: str,
    names: tuple[str, ...],
    own: str | None,
    config: object,
) -> list[_Variable]:
    """Lists one layer's own variables."""
    keys = sorted(file.list_members(variables), key=_natural_key)
    kind = config.get("class_name") if isinstance(config, Mapping) else None
    if not isinstance(kind, str):
        kind = _CLASSES.get(re.sub(r"_\d+$", "", path.rpartition("/")[2]))
    words = _name_variables(kind, config, len(keys))
    listed = []
    for place, key in enumerate(keys):
        dataset = file.find_dataset(variables, key)
        where = f"{path}/vars/{key}".strip("/")
        if dataset is None:
            raise file.source.error(f"{where} is not a variable.")
        word = words[place] if words and key == str(place) else key
        name = "/".join((*names, word)) if own or not names else where
        listed.append(_Variable(name, where, Weight(name, "/".join(names) or path, kind, dataset.shape or (), dataset)))
    return listed
