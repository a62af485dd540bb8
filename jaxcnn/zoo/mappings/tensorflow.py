"""Names of TensorFlow slim's checkpoints and graphs."""

from collections.abc import Mapping

import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.mappings.matching import LayerName, Rules, TensorNaming

__all__ = ["IGNORED", "TABLES", "TENSORFLOW", "name_tensorflow_tensors"]

TENSORFLOW = TensorNaming(
    "/",
    {
        "kernel": ("weights", "depthwise_weights"),
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

    Args:
        checkpoint: The file's content.

    Returns:
        Name to tensor.
    """
    named = {
        name: tensor for name, tensor in checkpoint.tensors.items() if tensor.ndim and tensor.dtype.kind not in "iub"
    }
    averages = {name.removesuffix(_AVERAGE): tensor for name, tensor in named.items() if name.endswith(_AVERAGE)}
    return {name: averages.get(name, tensor) for name, tensor in named.items() if not name.endswith(_AVERAGE)}


_HEAD = "Logits/Conv2d_1c_1x1"

TABLES: Mapping[str, Rules] = {
    "MobileNet": [
        (r"conv1", "MobilenetV1/Conv2d_0"),
        (r"conv1_bn", "MobilenetV1/Conv2d_0/BatchNorm"),
        (r"block(\d+)/conv_dw", r"MobilenetV1/Conv2d_\1_depthwise"),
        (r"block(\d+)/conv_dw_bn", r"MobilenetV1/Conv2d_\1_depthwise/BatchNorm"),
        (r"block(\d+)/conv_pw", r"MobilenetV1/Conv2d_\1_pointwise"),
        (r"block(\d+)/conv_pw_bn", r"MobilenetV1/Conv2d_\1_pointwise/BatchNorm"),
        (r"head", lambda: LayerName(f"MobilenetV1/{_HEAD}", as_dense=True)),
    ],
}
"""Class of the model to rules."""

IGNORED: Mapping[str, str] = {
    "MobileNet": r"final_training_ops/.*",  # a classifier of the logits, which a script of TensorFlow trains
}
"""Class of the model to a pattern of tensors that it leaves out, such as those of auxiliary classifiers."""
