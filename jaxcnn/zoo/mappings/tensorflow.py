"""Names of TensorFlow slim's checkpoints and graphs."""

import re
from collections.abc import Mapping

import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.mappings import classics, inception, mobilenets, residual
from jaxcnn.zoo.mappings.matching import Rules, TensorNaming

__all__ = ["IGNORED", "TABLES", "TENSORFLOW", "name_tensorflow_tensors"]

TENSORFLOW = TensorNaming(
    "/",
    {
        "kernel": ("weights", "depthwise_weights"),
        "depthwise_kernel": ("depthwise_weights",),
        "pointwise_kernel": ("pointwise_weights",),
        "scale": ("gamma",),
        "bias": ("biases", "beta"),
        "mean": ("moving_mean",),
        "var": ("moving_variance",),
    },
    ignored=r"global_step|.*/(RMSProp(_1)?|Momentum|Adam(_1)?)",
)

_AVERAGE = "/ExponentialMovingAverage"


def name_tensorflow_tensors(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    """Lists the tensors of layers: without the constants of a graph, averaged over training where there are averages.

    A network's scope does not count its layers: ``resnet_v1_50/conv1`` is ``resnet_v1/conv1``.

    Args:
        checkpoint: The file's content.

    Returns:
        Name to tensor.
    """
    named = {
        re.sub(r"^(resnet_v[12])_\d+/", r"\1/", name): tensor
        for name, tensor in checkpoint.tensors.items()
        if tensor.ndim and tensor.dtype.kind not in "iub"
    }
    averages = {name.removesuffix(_AVERAGE): tensor for name, tensor in named.items() if name.endswith(_AVERAGE)}
    return {name: averages.get(name, tensor) for name, tensor in named.items() if not name.endswith(_AVERAGE)}


TABLES: Mapping[str, Rules] = {
    **classics.TENSORFLOW_TABLES,
    **inception.TENSORFLOW_TABLES,
    **mobilenets.TENSORFLOW_TABLES,
    **residual.TENSORFLOW_TABLES,
}
"""Class of the model to rules."""

IGNORED: Mapping[str, str] = {
    **inception.TENSORFLOW_IGNORED,
    "MobileNet": r"final_training_ops/.*",  # a classifier of the logits, which a script of TensorFlow trains
}
"""Class of the model to a pattern of tensors that it leaves out, such as those of auxiliary classifiers."""
