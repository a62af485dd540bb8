"""Names of PyTorch's weight files: torchvision's families, and the networks for CIFAR-10."""

from collections.abc import Mapping, Sequence

import flax.linen as nn

from jaxcnn.zoo.mappings import inception
from jaxcnn.zoo.mappings.classics import list_torch_alexnet, list_torch_vgg
from jaxcnn.zoo.mappings.matching import LayerName, Rule, Rules, TensorNaming

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


def _name_dense(stage: int, layer: int, part: str, number: int) -> LayerName:
    """Names a layer of a dense block; files of before 2019 have a point before its number."""
    part = "norm" if part == "bn" else part
    place = f"features.denseblock{stage}.denselayer{layer}.{part}"
    return LayerName(f"{place}{number}", aliases=(f"{place}.{number}",))


_DENSE: list[Rule] = [
    (r"stage(\d+)/layer(\d+)/(bn|conv)(\d)", _name_dense),
    (r"transition(\d+)/bn", r"features.transition\1.norm"),
    (r"transition(\d+)/conv", r"features.transition\1.conv"),
    (r"conv1", "features.conv0"),
    (r"bn1", "features.norm0"),
    (r"bn", "features.norm5"),
    (r"head", "classifier"),
]

_REGNET_PARTS = {"shortcut": "proj.0", "shortcut_bn": "proj.1", "se/reduce": "f.se.fc1", "se/expand": "f.se.fc2"} | {
    f"{part}{number}": f"f.{letter}.{place}"
    for number, letter in enumerate("abc", 1)
    for place, part in enumerate(("conv", "bn"))
}

_REGNET: list[Rule] = [
    (
        r"stage(\d+)/block(\d+)/([\w/]+)",
        lambda stage, block, part: f"trunk_output.block{stage}.block{stage}-{block - 1}.{_REGNET_PARTS[part]}",
    ),
    (r"conv1", "stem.0"),
    (r"bn1", "stem.1"),
    (r"head", "fc"),
]

_SHUFFLE_PARTS = {
    "shortcut_depthwise": "branch1.0",
    "shortcut_depthwise_bn": "branch1.1",
    "shortcut": "branch1.2",
    "shortcut_bn": "branch1.3",
    "conv1": "branch2.0",
    "bn1": "branch2.1",
    "depthwise": "branch2.3",
    "depthwise_bn": "branch2.4",
    "conv2": "branch2.5",
    "bn2": "branch2.6",
}

_SHUFFLE: list[Rule] = [
    (
        r"stage(\d+)/block(\d+)/(\w+)",
        lambda stage, block, part: f"stage{stage}.{block - 1}.{_SHUFFLE_PARTS[part]}",
    ),
    (r"conv([15])", r"conv\1.0"),
    (r"bn([15])", r"conv\1.1"),
    (r"head", "fc"),
]

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
    "ConvNeXt": _CONVNEXT,
    "AlexNet": list_torch_alexnet,
    "DenseNet": _DENSE,
    "RegNet": _REGNET,
    "ShuffleNetV2": _SHUFFLE,
    "ResNet": [*_RESIDUAL, (r"head", "fc")],
    "CifarResNet": [*_RESIDUAL, (r"head", "linear")],
    "MobileNetV2": _mobilenet_v2,
    "VGG": list_torch_vgg,
}
"""Class of the model to rules."""

IGNORED: Mapping[str, str] = {**inception.PYTORCH_IGNORED}
"""Class of the model to a pattern of tensors that it leaves out, such as those of auxiliary classifiers."""
