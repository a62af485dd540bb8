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


def _name_residual(stage: int, block: int, part: str) -> str:
    known = {"shortcut": "0_conv", "shortcut_bn": "0_bn"}
    return f"conv{stage + 1}_block{block}_{known.get(part) or f'{part[-1]}_{part[:-1]}'}"


def _name_preactivation(stage: int, block: int, part: str) -> str:
    known = {"bn1": "preact_bn", "bn2": "1_bn", "bn3": "2_bn", "shortcut": "0_conv"}
    return f"conv{stage + 1}_block{block}_{known.get(part) or f'{part[-1]}_conv'}"


_BLOCK = r"stage(\d+)/block(\d+)/(\w+)"
_RESNET_HEAD = (r"head", lambda: LayerName("predictions", aliases=("probs",)))

TABLES: Mapping[str, Rules] = {
    "MobileNet": [
        (r"(conv1|conv1_bn)", r"\1"),
        (r"block(\d+)/(conv_\w\w)(_bn)?", r"\2_\1\3"),
        (r"head", lambda: LayerName("conv_preds", as_dense=True)),
    ],
    "ResNet": [(_BLOCK, _name_residual), ("(conv|bn)1", r"conv1_\1"), _RESNET_HEAD],
    "ResNetV2": [(_BLOCK, _name_preactivation), ("conv1", "conv1_conv"), ("bn", "post_bn"), _RESNET_HEAD],
}
"""Class of the model to rules."""

IGNORED: Mapping[str, str] = {}
"""Class of the model to a pattern of tensors that it leaves out."""
