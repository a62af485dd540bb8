"""Names of PyTorch's weight files: torchvision's families, and the networks for CIFAR-10."""

from collections.abc import Mapping

from jaxcnn.zoo.mappings import inception, mobilenets, residual
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


TABLES: Mapping[str, Rules] = {
    **inception.PYTORCH_TABLES,
    **mobilenets.PYTORCH_TABLES,
    **residual.PYTORCH_TABLES,
    "ConvNeXt": _CONVNEXT,
    "AlexNet": list_torch_alexnet,
    "VGG": list_torch_vgg,
}
"""Class of the model to rules."""

IGNORED: Mapping[str, str] = {**inception.PYTORCH_IGNORED}
"""Class of the model to a pattern of tensors that it leaves out, such as those of auxiliary classifiers."""
