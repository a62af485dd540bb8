"""Names of PyTorch's weight files: torchvision's families, and the networks for CIFAR-10."""

from collections.abc import Mapping

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


def _residual(stage: int, block: int, part: str) -> str:
    known = {"shortcut": "downsample.0", "shortcut_bn": "downsample.1"}
    return f"layer{stage}.{block - 1}.{known.get(part, part)}"


_RESIDUAL: list[Rule] = [(r"stage(\d+)/block(\d+)/(\w+)", _residual), (r"(conv1|bn1)", r"\1")]

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
    "ConvNeXt": _CONVNEXT,
    "ResNet": [*_RESIDUAL, (r"head", "fc")],
    "CifarResNet": [*_RESIDUAL, (r"head", "linear")],
}
"""Class of the model to rules."""

IGNORED: Mapping[str, str] = {}
"""Class of the model to a pattern of tensors that it leaves out, such as those of auxiliary classifiers."""
