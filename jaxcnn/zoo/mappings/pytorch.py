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
    },
    ignored=r".*num_batches_tracked",
)


def _residual(stage: int, block: int, part: str) -> str:
    known = {"shortcut": "downsample.0", "shortcut_bn": "downsample.1"}
    return f"layer{stage}.{block - 1}.{known.get(part, part)}"


_RESIDUAL: list[Rule] = [(r"stage(\d+)/block(\d+)/(\w+)", _residual), (r"(conv1|bn1)", r"\1")]

TABLES: Mapping[str, Rules] = {
    "ResNet": [*_RESIDUAL, (r"head", "fc")],
    "CifarResNet": [*_RESIDUAL, (r"head", "linear")],
}
"""Class of the model to rules."""

IGNORED: Mapping[str, str] = {}
"""Class of the model to a pattern of tensors that it leaves out, such as those of auxiliary classifiers."""
