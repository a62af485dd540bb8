"""Names of PyTorch's weight files: torchvision's families, and the networks for CIFAR-10."""

from collections.abc import Mapping, Sequence

import flax.linen as nn

from jaxcnn.zoo.mappings import inception, residual
from jaxcnn.zoo.mappings.classics import list_torch_alexnet, list_torch_vgg
from jaxcnn.zoo.mappings.matching import Rule, Rules, TensorNaming

__all__ = ["IGNORED", "PYTORCH", "TABLES"]

PYTORCH = TensorNaming(
    ".",
    {
        "kernel": ("weight",),
        "scale": ("weight",),
        "bias": ("bias",),
        "mean": ("running_mean",),
        "var": ("running_var",),
        "gamma": ("gamma", "layer_scale"),
    },
    ignored=r".*num_batches_tracked",
)

_CONVNEXT_PARTS = {"depthwise": ".block.0", "norm": ".block.2", "expand": ".block.3", "project": ".block.5"}

_CONVNEXT: list[Rule] = [
    (r"stem", "features.0.0"),
    (r"stem_norm", "features.0.1"),
    (r"stage(\d+)/downsample_norm", lambda stage: f"features.{2 * stage - 2}.0"),
    (r"stage(\d+)/downsample", lambda stage: f"features.{2 * stage - 2}.1"),
    (
        r"stage(\d+)/block(\d+)/(\w+)",
        lambda stage, block, part: f"features.{2 * stage - 1}.{block - 1}{_CONVNEXT_PARTS.get(part, '')}",
    ),
    (r"head_norm", "classifier.0"),
    (r"head", "classifier.2"),
]


def _mobilenet_v2(model: nn.Module) -> Sequence[Rule]:
    """Lists the rules of MobileNet v2, whose layers are numbered in each block, the expansion only where there is one.

    All but the projection lie with their batch norms in a sequence of their own.
    """
    expansions = [expansion for expansion, _, repeats, _ in getattr(model, "blocks", ()) for _ in range(repeats)]

    def name(block: int, part: str, norm: str | None) -> str:
        place = ("expand", "depthwise", "project").index(part) - (expansions[block] == 1)
        inside = place + bool(norm) if part == "project" else f"{place}.{int(bool(norm))}"
        return f"features.{block + 1}.conv.{inside}"

    last = len(expansions) + 1
    return [
        (r"conv1", "features.0.0"),
        (r"conv1_bn", "features.0.1"),
        (r"block(\d+)/(expand|depthwise|project)(_bn)?", name),
        (r"conv_last", f"features.{last}.0"),
        (r"conv_last_bn", f"features.{last}.1"),
        (r"head", "classifier.1"),
    ]


TABLES: Mapping[str, Rules] = {
    **inception.PYTORCH_TABLES,
    **residual.PYTORCH_TABLES,
    "ConvNeXt": _CONVNEXT,
    "AlexNet": list_torch_alexnet,
    "MobileNetV2": _mobilenet_v2,
    "VGG": list_torch_vgg,
}
"""Class of the model to rules."""

IGNORED: Mapping[str, str] = {**inception.PYTORCH_IGNORED}
"""Class of the model to a pattern of tensors that it leaves out, such as those of auxiliary classifiers."""
