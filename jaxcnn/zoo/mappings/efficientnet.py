"""Names of EfficientNet, both versions, in the files of torchvision, Keras and timm."""

import re
from collections.abc import Mapping, Sequence

import flax.linen as nn
import numpy as np

from jaxcnn.models._inputs import IMAGENET_STD
from jaxcnn.zoo.mappings.matching import LayerName, Rule, Rules

__all__ = ["KERAS_TABLES", "PYTORCH_ALTERNATIVES", "PYTORCH_TABLES", "fold_second_rescaling"]

_BLOCK = r"stage(\d+)/block(\d+)/(\w+(?:/\w+)?)"


def _list_parts(module: nn.Module, stage: int) -> list[str]:
    """Lists the parts of the blocks of a stage: those that do not expand have fewer."""
    kind, expansion = getattr(module, "blocks", ())[stage - 1][:2]
    parts = ["expand"] if expansion != 1 else []
    return parts + (["depthwise", "squeeze", "project"] if kind == "plain" else ["project"])


def _list_torch(module: nn.Module) -> Sequence[Rule]:
    def name_part(stage: int, block: int, part: str) -> str:
        number = _list_parts(module, stage).index(part.removesuffix("_bn").partition("/")[0])
        inner = {"squeeze/reduce": "fc1", "squeeze/expand": "fc2"}.get(part) or ("1" if part.endswith("_bn") else "0")
        return f"features.{stage}.{block - 1}.block.{number}.{inner}"

    last = len(getattr(module, "blocks", ())) + 1
    return (
        (r"stem", "features.0.0"),
        (r"stem_bn", "features.0.1"),
        (_BLOCK, name_part),
        (r"last", f"features.{last}.0"),
        (r"last_bn", f"features.{last}.1"),
        (r"head", "classifier.1"),
    )


_TIMM_PARTS = {
    # parts of a block to names in timm, whose batch norms have the numbers of their convolutions
    ("expand", "depthwise", "squeeze", "project"): ("conv_pw", "conv_dw", "se", "conv_pwl"),
    ("depthwise", "squeeze", "project"): ("conv_dw", "se", "conv_pw"),
    ("expand", "project"): ("conv_exp", "conv_pwl"),
    ("project",): ("conv",),
}


def _list_timm(module: nn.Module) -> Sequence[Rule]:
    def name_part(stage: int, block: int, part: str) -> str:
        parts = _list_parts(module, stage)
        owner, _, inner = part.removesuffix("_bn").partition("/")
        name = _TIMM_PARTS[tuple(parts)][parts.index(owner)]
        if part.endswith("_bn"):
            name = f"bn{[one for one in parts if one != 'squeeze'].index(owner) + 1}"
        return f"blocks.{stage - 1}.{block - 1}.{name}{f'.conv_{inner}' if inner else ''}"

    return (
        (r"stem", "conv_stem"),
        (r"stem_bn", "bn1"),
        (_BLOCK, name_part),
        (r"last", "conv_head"),
        (r"last_bn", "bn2"),
        (r"head", "classifier"),
    )


_KERAS_PARTS = {
    "depthwise_bn": "bn",
    "squeeze/reduce": "se_reduce",
    "squeeze/expand": "se_expand",
    "expand": "expand_conv",
    "project": "project_conv",
}


def _name_keras(stage: int, block: int, part: str) -> LayerName:
    before = f"block{stage}{chr(ord('a') + block - 1)}_"
    if part == "depthwise":
        return LayerName(f"{before}dwconv", aliases=(f"{before}dwconv2",))  # of the first and the second version
    return LayerName(before + _KERAS_PARTS.get(part, part))


_KERAS: Sequence[Rule] = (
    (r"stem(_bn)?", lambda norm: f"stem{norm or '_conv'}"),
    (r"last(_bn)?", lambda norm: f"top{norm or '_conv'}"),
    (_BLOCK, _name_keras),
    (r"normalization", "normalization"),
    (r"head", "predictions"),
)

PYTORCH_TABLES: Mapping[str, Rules] = {"EfficientNet": _list_torch}
"""Class of the model to the rules of torchvision's files."""

PYTORCH_ALTERNATIVES: Mapping[str, Sequence[tuple[str, Rules]]] = {"EfficientNet": ((r"blocks\..*", _list_timm),)}
"""Class of the model to a pattern of names that a file has, and the rules for such files: timm's."""

KERAS_TABLES: Mapping[str, Rules] = {"EfficientNet": _KERAS}
"""Class of the model to the rules of Keras's files."""


def fold_second_rescaling(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Makes the normalization of Keras's files for ImageNet divide by standard deviations.

    They store these in the place of variances, and Keras's network for them, ``weights="imagenet"``, divides a second
    time by their square roots.

    Args:
        tensors: Tensors of a file of Keras, by layer and role.

    Returns:
        The tensors, with the squares of what the file stores as variances if that are ImageNet's standard deviations,
        and without the number of pixels that were measured.
    """
    named = {re.sub(r"^normalization_\d+/", "normalization/", name): tensor for name, tensor in tensors.items()}
    named.pop("normalization/count", None)
    var = named.get("normalization/variance")
    if var is not None and var.size == 3 and np.allclose(var.ravel(), IMAGENET_STD, rtol=1e-5):
        named["normalization/variance"] = np.square(var)
    return named
