"""Names of PyTorch's weight files: torchvision's families, and the networks for CIFAR-10."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.formats.pytorch.layouts import TRANSPOSITIONS, infer_layouts
from jaxcnn.zoo.mappings import classics, convnext, efficientnet, inception, mobilenets, residual
from jaxcnn.zoo.mappings.matching import Rules, TensorNaming

__all__ = ["ALTERNATIVES", "IGNORED", "PYTORCH", "TABLES", "name_safetensors"]

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


def name_safetensors(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Reorders the axes of a safetensors file of PyTorch, such as timm's, which the file does not state.

    Args:
        checkpoint: The file's content.

    Returns:
        Name to tensor, of which kernels are in this library's order of axes unless the file says that it is of another
        framework.
    """
    if checkpoint.metadata.get("extra", {}).get("format", "pt") != "pt":
        return dict(checkpoint.tensors)
    axes = infer_layouts({name: tensor.shape for name, tensor in checkpoint.tensors.items()}).axes
    return {
        name: tensor.transpose(TRANSPOSITIONS[axes[name]]) if name in axes else tensor
        for name, tensor in checkpoint.tensors.items()
    }


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
