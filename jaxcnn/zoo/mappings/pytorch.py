"""Names of PyTorch's weight files: torchvision's families, and the networks for CIFAR-10."""

from collections.abc import Mapping, Sequence

from jaxcnn.zoo.mappings import classics, convnext, efficientnet, inception, mobilenets, residual
from jaxcnn.zoo.mappings.matching import Rules, TensorNaming

__all__ = ["ALTERNATIVES", "IGNORED", "PYTORCH", "TABLES"]

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

TABLES: Mapping[str, Rules] = {
    **classics.PYTORCH_TABLES,
    **inception.PYTORCH_TABLES,
    **mobilenets.PYTORCH_TABLES,
    **residual.PYTORCH_TABLES,
    **convnext.PYTORCH_TABLES,
    **efficientnet.PYTORCH_TABLES,
}
"""Class of the model to rules."""

IGNORED: Mapping[str, str] = {**inception.PYTORCH_IGNORED}
"""Class of the model to a pattern of tensors that it leaves out, such as those of auxiliary classifiers."""

ALTERNATIVES: Mapping[str, Sequence[tuple[str, Rules]]] = {
    **convnext.PYTORCH_ALTERNATIVES,
    **efficientnet.PYTORCH_ALTERNATIVES,
}
"""Class of the model to a pattern of names and the rules for files that have such names, of timm for example."""
