"""Names of ConvNeXt in the files of torchvision, Keras, timm and its authors."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from jaxcnn.zoo.mappings.matching import LayerName, Rule, Rules

__all__ = ["KERAS_TABLES", "PYTORCH_ALTERNATIVES", "PYTORCH_TABLES", "remove_model_name"]

_BLOCK = r"stage(\d+)/block(\d+)/(\w+)"

_TORCH_PARTS = {"depthwise": ".block.0", "norm": ".block.2", "expand": ".block.3", "project": ".block.5"}

_TORCH: Sequence[Rule] = (
    (r"stem", "features.0.0"),
    (r"stem_norm", "features.0.1"),
    (r"stage(\d+)/downsample_norm", lambda stage: f"features.{2 * stage - 2}.0"),
    (r"stage(\d+)/downsample", lambda stage: f"features.{2 * stage - 2}.1"),
    (
        _BLOCK,
        lambda stage, block, part: f"features.{2 * stage - 1}.{block - 1}{_TORCH_PARTS.get(part, '')}",
    ),
    (r"head_norm", "classifier.0"),
    (r"head", "classifier.2"),
)

_TIMM_PARTS = {"depthwise": ".conv_dw", "norm": ".norm", "expand": ".mlp.fc1", "project": ".mlp.fc2"}


def _name_timm(stage: int, block: int, part: str) -> LayerName:
    # Its smallest networks have 1x1 convolutions in the place of dense layers.
    name = f"stages.{stage - 1}.blocks.{block - 1}{_TIMM_PARTS.get(part, '')}"
    return LayerName(name, as_dense=part in ("expand", "project"))


_TIMM: Sequence[Rule] = (
    (r"stem", "stem.0"),
    (r"stem_norm", "stem.1"),
    (r"stage(\d+)/downsample_norm", lambda stage: f"stages.{stage - 1}.downsample.0"),
    (r"stage(\d+)/downsample", lambda stage: f"stages.{stage - 1}.downsample.1"),
    (_BLOCK, _name_timm),
    (r"head_norm", "head.norm"),
    (r"head", "head.fc"),
)

_AUTHORS_PARTS = {"depthwise": ".dwconv", "norm": ".norm", "expand": ".pwconv1", "project": ".pwconv2"}

_AUTHORS: Sequence[Rule] = (
    (r"stem", "downsample_layers.0.0"),
    (r"stem_norm", "downsample_layers.0.1"),
    (r"stage(\d+)/downsample_norm", lambda stage: f"downsample_layers.{stage - 1}.0"),
    (r"stage(\d+)/downsample", lambda stage: f"downsample_layers.{stage - 1}.1"),
    (_BLOCK, lambda stage, block, part: f"stages.{stage - 1}.{block - 1}{_AUTHORS_PARTS.get(part, '')}"),
    (r"head_norm", "norm"),
    (r"head", "head"),
)

_KERAS_PARTS = {
    "depthwise": "depthwise_conv",
    "norm": "layernorm",
    "expand": "pointwise_conv_1",
    "project": "pointwise_conv_2",
}

_KERAS: Sequence[Rule] = (
    (r"stem", "stem_conv"),
    (r"stem_norm", "stem_layernorm"),
    (r"stage(\d+)/downsample_norm", lambda stage: f"downsampling_layernorm_{stage - 2}"),
    (r"stage(\d+)/downsample", lambda stage: f"downsampling_conv_{stage - 2}"),
    (
        _BLOCK,
        lambda stage, block, part: f"stage_{stage - 1}_block_{block - 1}_{_KERAS_PARTS.get(part, part)}",
    ),
    (r"head_norm", lambda: LayerName("head_layernorm", aliases=("layer_normalization",))),
    (r"head", "head_dense"),
)

PYTORCH_TABLES: Mapping[str, Rules] = {"ConvNeXt": _TORCH}
"""Class of the model to the rules of torchvision's files."""

PYTORCH_ALTERNATIVES: Mapping[str, Sequence[tuple[str, Rules]]] = {
    "ConvNeXt": ((r"stages\.\d+\.blocks\..*", _TIMM), (r"downsample_layers\..*", _AUTHORS)),
}
"""Class of the model to a pattern of names that a file has, and the rules for such files: timm's and the authors'."""

KERAS_TABLES: Mapping[str, Rules] = {"ConvNeXt": _KERAS}
"""Class of the model to the rules of Keras's files."""


def remove_model_name(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Removes the model's name, which begins those of Keras's layers, and the number of the last norm that it does not.

    Args:
        tensors: Tensors of a file of Keras, by layer and role.

    Returns:
        The same tensors.
    """
    prefixes = (re.fullmatch(r"(.*?)stage_0_block_0_\w+/\w+", name) for name in tensors)
    prefix = next((match[1] for match in prefixes if match is not None), "")
    short = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
    return {re.sub(r"^(layer_normalization)_\d+/", r"\1/", name): one for name, one in short.items()}
