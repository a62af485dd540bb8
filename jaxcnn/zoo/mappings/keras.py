"""Names of Keras's weight files, of every version of its formats."""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.mappings import classics, convnext, efficientnet, inception, mobilenets, residual
from jaxcnn.zoo.mappings.keras_numbers import renumber_layers
from jaxcnn.zoo.mappings.matching import Rules, TensorNaming

__all__ = ["IGNORED", "KERAS", "PREPARED", "TABLES", "name_keras_tensors"]

KERAS = TensorNaming(
    "/",
    {
        "kernel": ("kernel", "depthwise_kernel"),
        "scale": ("gamma",),
        "bias": ("bias", "beta"),
        "mean": ("moving_mean", "mean"),
        "var": ("moving_variance", "variance"),
        "gamma": ("gamma", "variable", "0"),  # of layers of a model's own, which Keras calls Variable or numbers
    },
)

_ROLES = {
    "depthwise_kernel": r"depthwise_(kernel|weights)",
    "pointwise_kernel": r"pointwise_(kernel|weights)",
    "kernel": r"kernel|W|weights",
    "bias": r"bias|b|biases",
    "gamma": r"gamma|scale",
    "beta": r"beta|offset",
    "moving_mean": r"moving_mean|running_mean",
    "moving_variance": r"moving_variance|running_(std|var|variance)",
    "variable": r"[Vv]ariable",
}
"""Role to the names by which the versions of Keras end a tensor's name, behind its layer's."""


def name_keras_tensors(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Names the tensors of a file alike, whatever version of Keras wrote it.

    Args:
        checkpoint: The file's content.

    Returns:
        ``LAYER/role`` to tensor. A role that is not known keeps the tensor's last name.
    """
    layers: Mapping[str, Sequence[str]] = checkpoint.metadata.get("layers") or {}
    paths: Mapping[str, str] = checkpoint.metadata.get("paths") or {}
    found: list[tuple[str, str, np.ndarray]] = []
    for layer, names in layers.items():
        if any(paths.get(name) == name for name in names):
            continue  # the file does not name its layers: a path numbers them in another order than Keras's names
        roles = [_find_role(name, checkpoint.tensors[name]) for name in names]
        if roles == ["0", "1", "2"]:  # of a batch norm without scale, whose variables such a file only numbers
            roles = ["beta", "moving_mean", "moving_variance"]
        owners = [name.rpartition("/")[0].removeprefix(f"{layer}/") for name in names]
        others = {owner for owner in owners if not f"/{layer}".startswith(f"/{owner}".rstrip("/"))}
        of_one = not others or len(set(owners)) == 1
        is_layer = len(set(roles)) == len(roles) and of_one  # else a model that holds layers
        for name, role, owner in zip(names, roles, owners, strict=True):
            found.append((layer if is_layer else owner, role, checkpoint.tensors[name]))
    owners_by_name: dict[str, set[str]] = {}
    for owner, _, _ in found:
        owners_by_name.setdefault(owner.rpartition("/")[2], set()).add(owner)
    named = {}
    for owner, role, tensor in found:
        short = owner.rpartition("/")[2]  # without the nested models that hold the layer, where it is the only one
        named[f"{short if len(owners_by_name[short]) == 1 else owner}/{role}"] = tensor
    listed = {name for names in layers.values() for name in names if paths.get(name) != name}
    return named | {name: tensor for name, tensor in checkpoint.tensors.items() if name not in listed}


def _find_role(name: str, tensor: np.ndarray) -> str:
    last = name.rpartition("/")[2].removesuffix(":0")
    for role, pattern in _ROLES.items():
        if re.fullmatch(rf"(?:.*_)?(?:{pattern})(?:_\d+)?", last):
            return role
    if re.fullmatch(r"[a-z]+\d+", last):  # Keras 1 numbers the tensors of layers without a name
        return "kernel" if tensor.ndim > 1 else "bias"
    return last


TABLES: Mapping[str, Rules] = {
    **classics.KERAS_TABLES,
    **inception.KERAS_TABLES,
    **mobilenets.KERAS_TABLES,
    **residual.KERAS_TABLES,
    **convnext.KERAS_TABLES,
    **efficientnet.KERAS_TABLES,
}
"""Class of the model to rules."""

IGNORED: Mapping[str, str] = {}
"""Class of the model to a pattern of tensors that it leaves out."""


PREPARED: Mapping[str, Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]]] = {
    **dict.fromkeys(inception.KERAS_TABLES, renumber_layers),
    "ConvNeXt": convnext.remove_model_name,
    "EfficientNet": efficientnet.fold_second_rescaling,
}
"""Class of the model to what makes its tensors fit the rules: names that depend on more than the layer."""
