"""Which tensor of a file is which weight of a layer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.graphs.keras.configuration import LayerSpec, ModelSpec

__all__ = ["WeightFinder", "list_roles"]

_CONVOLUTIONS = {f"Conv{rank}D{after}" for rank in "123" for after in ("", "Transpose")}

_ROLES: dict[str, tuple[tuple[str, str | None], ...]] = {
    **{name: (("kernel", None), ("bias", "use_bias")) for name in (*_CONVOLUTIONS, "Dense")},
    **{f"DepthwiseConv{rank}D": (("kernel", None), ("bias", "use_bias")) for rank in "123"},
    **{
        f"SeparableConv{rank}D": (("depthwise_kernel", None), ("pointwise_kernel", None), ("bias", "use_bias"))
        for rank in "12"
    },
    "BatchNormalization": (("gamma", "scale"), ("beta", "center"), ("moving_mean", None), ("moving_variance", None)),
    "LayerNormalization": (("gamma", "scale"), ("beta", "center")),
    "GroupNormalization": (("gamma", "scale"), ("beta", "center")),
    "InstanceNormalization": (("gamma", "scale"), ("beta", "center")),
    "RMSNormalization": (("scale", None),),
    "PReLU": (("alpha", None),),
    "LayerScale": (("gamma", None),),
}
"""The weights of a class of layers in their order, and the option that turns each on."""

_FIXED = ("moving_mean", "moving_variance", "mean", "variance", "count")
"""Weights that are never trained; those of a nested model stand behind all others."""

_NAMES = {
    "kernel": ("kernel", "depthwise_kernel", "depthwise_weights", "W", "weights"),
    "bias": ("bias", "b", "biases"),
    "depthwise_kernel": ("depthwise_kernel", "depthwise_weights"),
    "pointwise_kernel": ("pointwise_kernel", "pointwise_weights"),
    "gamma": ("gamma", "scale"),
    "beta": ("beta", "offset"),
    "moving_mean": ("moving_mean", "running_mean"),
    "moving_variance": ("moving_variance", "running_std", "running_var", "running_variance"),
    "alpha": ("alpha", "alphas"),
}
"""The last part of a tensor's name, by version."""

_MOVED_BACK = {"WOI": (0, 2, 1), "HWOI": (0, 1, 3, 2), "DHWOI": (0, 1, 2, 4, 3)}
_UNREAD = {"OIHW": (3, 2, 0, 1), "OIDHW": (4, 3, 0, 1, 2)}


def list_roles(layer: LayerSpec) -> tuple[str, ...]:
    """Lists the weights of a layer in Keras's order."""
    if layer.kind == "Normalization":
        given = layer.config.get("mean") is not None
        return () if given else ("mean", "variance", "count")
    roles = _ROLES.get(layer.kind, ())
    return tuple(role for role, switch in roles if switch is None or layer.config.get(switch, True) is not False)


Path = tuple[str, ...]
Slot = tuple[Path, str]  # of a layer, and the role


class WeightFinder:
    """Finds the tensors of layers in a file.

    Files list tensors by layer, and those of nested models either under each of their layers or, in HDF5, together
    under the outer model, trained ones first.

    Args:
        checkpoint: The file's content.
        model: The outermost model.
    """

    def __init__(self, checkpoint: Checkpoint, model: ModelSpec):
        self._tensors = checkpoint.tensors
        found = checkpoint.metadata.get("layers")
        self._layers: Mapping[str, Sequence[str]] = found if isinstance(found, Mapping) else {}
        found = checkpoint.metadata.get("layouts")
        self._layouts: Mapping[str, str] = found if isinstance(found, Mapping) else {}
        self._model = model
        self._plans: dict[str, dict[Slot, str]] = {}
        self._own: dict[Path, dict[str, str]] = {}

    def find(self, path: Path, layer: LayerSpec, role: str) -> np.ndarray | None:
        """Finds a weight.

        Args:
            path: Names of the models that the layer is in, and its own.
            layer: The layer.
            role: Keras's name of the weight, one of ``list_roles``.

        Returns:
            The array, floating ones as float32; None if there is none.
        """
        name = self._find_names(path, layer).get(role)
        if name is None or name not in self._tensors:
            return None
        array, layout = self._tensors[name], self._layouts.get(name)
        is_transposed = layer.kind.endswith("Transpose")
        if layout in _MOVED_BACK and not is_transposed:  # the reader took it for another layer of that name
            array = array.transpose(_MOVED_BACK[layout])
        elif layout in _UNREAD and layer.kind == "Conv1D":  # Keras 1 stores (length, 1, in, out)
            array = array.transpose(_UNREAD[layout])
        elif is_transposed and role == "kernel" and layout is None and not self._is_early(name):
            array = array.swapaxes(-1, -2)
        if layer.kind == "Conv1D" and role == "kernel" and array.ndim == 4 and array.shape[1] == 1:
            array = array[:, 0]
        return array.astype(np.float32) if _is_floating(array) else array

    def _is_early(self, name: str) -> bool:
        """Tests whether a tensor has a name of Keras 1, whose transposed kernels are (kh, kw, in, out)."""
        return name.split("/")[-1].removesuffix(":0").endswith("_W")

    def _find_names(self, path: Path, layer: LayerSpec) -> dict[str, str]:
        if path not in self._own:
            self._own[path] = self._match(path, layer)
        return self._own[path]

    def _match(self, path: Path, layer: LayerSpec) -> dict[str, str]:
        roles, own = list_roles(layer), path[-1]
        full = "/".join(path)
        if full in self._layers:
            return _match_layer(roles, self._layers[full])
        if len(path) > 1 and path[0] in self._layers:
            if path[0] not in self._plans:
                self._plans[path[0]] = self._plan(self._model.layers[path[0]], self._layers[path[0]])
            plan = self._plans[path[0]]
            return {role: plan[path, role] for role in roles if (path, role) in plan}
        if own in self._layers:  # Keras 1 lists the layers of branches beside the others
            return _match_layer(roles, self._layers[own])
        return {}

    def _plan(self, outer: LayerSpec, names: Sequence[str]) -> dict[Slot, str]:
        """Assigns the tensors of a nested model to its layers: by their names, else by their order."""
        slots = list(_list_slots(outer, (outer.name,)))
        by_name = _match_names(slots, names)
        if by_name is not None:
            return by_name
        trained, fixed = _split_slots(outer, (outer.name,))
        ordered = [*trained, *fixed]
        return dict(zip(ordered, names, strict=True)) if len(ordered) == len(names) else {}


def _is_floating(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" or array.dtype.name in ("bfloat16", "float8_e4m3fn", "float8_e5m2")


def _last_part(name: str) -> str:
    return name.split("/")[-1].split(":")[0]


def _fits(role: str, name: str) -> bool:
    last = _last_part(name)
    return any(last == one or last.endswith(f"_{one}") for one in _NAMES.get(role, (role,)))


def _match_layer(roles: Sequence[str], names: Sequence[str]) -> dict[str, str]:
    """Assigns the tensors of one layer to its weights: by their names, else by their order."""
    exact = {role: [name for name in names if _last_part(name) in _NAMES.get(role, (role,))] for role in roles}
    ending = {role: [name for name in names if _fits(role, name)] for role in roles}
    for found in (exact, ending):
        chosen = [one[0] for one in found.values() if len(one) == 1]
        if len(chosen) == len(roles) == len(set(chosen)):
            return dict(zip(roles, chosen, strict=True))
    if len(names) == len(roles):
        return dict(zip(roles, names, strict=True))
    return {role: one[0] for role, one in ending.items() if len(one) == 1}


def _list_slots(layer: LayerSpec, path: Path) -> Iterator[Slot]:
    """Yields the weights of a layer and of the layers in it, in order."""
    if layer.model is None:
        for role in list_roles(layer):
            yield path, role
        return
    for inner in layer.model.layers.values():
        yield from _list_slots(inner, (*path, inner.name))


def _split_slots(layer: LayerSpec, path: Path) -> tuple[list[Slot], list[Slot]]:
    """Lists the trained weights, and those that are fixed, as Keras orders them."""
    trained: list[Slot] = []
    fixed: list[Slot] = []
    if layer.model is None:
        for role in list_roles(layer):
            (fixed if role in _FIXED else trained).append((path, role))
    else:
        for inner in layer.model.layers.values():
            more, less = _split_slots(inner, (*path, inner.name))
            trained += more
            fixed += less
    if layer.config.get("trainable", True) is False:
        return [], trained + fixed
    return trained, fixed


def _match_names(slots: Sequence[Slot], names: Sequence[str]) -> dict[Slot, str] | None:
    """Assigns tensors whose names hold those of their layers; None if that is ambiguous."""
    found: dict[Slot, str] = {}
    by_layer: dict[str, list[tuple[str, ...]]] = {}
    parts = {name: tuple(name.split("/")) for name in names}
    by_parent: dict[str, list[str]] = {}
    for name, split in parts.items():
        for one in split[:-1]:
            by_parent.setdefault(one, []).append(name)
    for path, _ in slots:
        paths = by_layer.setdefault(path[-1], [])
        if path not in paths:
            paths.append(path)
    for path, role in slots:
        own = path[-1]
        candidates = by_parent.get(own) or [name for name in names if _last_part(name).startswith(f"{own}_")]
        fitting = [name for name in candidates if _fits(role, name)]
        if len(by_layer[own]) > 1:  # layers of one name in several models: their models must be named, too
            fitting = [name for name in fitting if len(path) > 1 and path[-2] in parts[name]]
        if len(fitting) != 1:
            return None
        found[path, role] = fitting[0]
    return found if len(set(found.values())) == len(found) else None


def describe_shape(shape: Sequence[int | None] | Any) -> str:
    """Formats an expected shape, in which None is any size."""
    return f"({', '.join('any' if size is None else str(size) for size in shape)}{',' * (len(shape) == 1)})"
