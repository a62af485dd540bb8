"""Names of Keras's weight files, of every version of its formats."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.mappings.matching import LayerName, Rules, TensorNaming

__all__ = ["IGNORED", "KERAS", "TABLES", "name_keras_tensors"]

KERAS = TensorNaming(
    "/",
    {
        "kernel": ("kernel", "depthwise_kernel"),
        "scale": ("gamma",),
        "bias": ("bias", "beta"),
        "mean": ("moving_mean", "mean"),
        "var": ("moving_variance", "variance"),
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
    named: dict[str, np.ndarray] = {}
    for layer, names in layers.items():
        roles = [_find_role(name, checkpoint.tensors[name]) for name in names]
        is_layer = len(set(roles)) == len(roles)  # else it is a nested model, whose tensors name their own layers
        for name, role in zip(names, roles, strict=True):
            owner = layer if is_layer else name.rpartition("/")[0].removeprefix(f"{layer}/")
            named[f"{owner}/{role}"] = checkpoint.tensors[name]
    listed = {name for names in layers.values() for name in names}
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
    "MobileNet": [
        (r"(conv1|conv1_bn)", r"\1"),
        (r"block(\d+)/(conv_\w\w)(_bn)?", r"\2_\1\3"),
        (r"head", lambda: LayerName("conv_preds", as_dense=True)),
    ],
}
"""Class of the model to rules."""

IGNORED: Mapping[str, str] = {}
"""Class of the model to a pattern of tensors that it leaves out."""
