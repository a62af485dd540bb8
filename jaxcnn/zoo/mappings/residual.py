"""Names of ResNet of every version, DenseNet, RegNet and ShuffleNet v2 in each source."""

from collections.abc import Mapping, Sequence

from jaxcnn.zoo.mappings.matching import LayerName, Rule, Rules

__all__ = ["KERAS_TABLES", "PYTORCH_TABLES", "TENSORFLOW_TABLES"]

_BLOCK = r"stage(\d+)/block(\d+)/([\w/]+)"


def _name_torch_block(stage: int, block: int, part: str) -> str:
    known = {"shortcut": "downsample.0", "shortcut_bn": "downsample.1"}
    return f"layer{stage}.{block - 1}.{known.get(part, part)}"


_TORCH_RESIDUAL: Sequence[Rule] = [(_BLOCK, _name_torch_block), (r"(conv1|bn1)", r"\1")]

_TORCH_RESNET: Sequence[Rule] = [*_TORCH_RESIDUAL, (r"head", "fc")]
_TORCH_CIFAR_RESNET: Sequence[Rule] = [*_TORCH_RESIDUAL, (r"head", "linear")]


def _name_keras_block(stage: int, block: int, part: str) -> str:
    known = {"shortcut": "0_conv", "shortcut_bn": "0_bn"}
    return f"conv{stage + 1}_block{block}_{known.get(part) or f'{part[-1]}_{part[:-1]}'}"


def _name_keras_preactivation(stage: int, block: int, part: str) -> str:
    known = {"bn1": "preact_bn", "bn2": "1_bn", "bn3": "2_bn", "shortcut": "0_conv"}
    return f"conv{stage + 1}_block{block}_{known.get(part) or f'{part[-1]}_conv'}"


_KERAS_HEAD: Rule = (r"head", lambda: LayerName("predictions", aliases=("probs",)))

_KERAS_RESNET: Sequence[Rule] = [(_BLOCK, _name_keras_block), (r"(conv|bn)1", r"conv1_\1"), _KERAS_HEAD]
_KERAS_RESNET_V2: Sequence[Rule] = [
    (_BLOCK, _name_keras_preactivation),
    (r"conv1", "conv1_conv"),
    (r"bn", "post_bn"),
    _KERAS_HEAD,
]

_SLIM_BLOCK = r"stage(\d+)/block(\d+)"

_SLIM_RESNET: Sequence[Rule] = [
    (rf"{_SLIM_BLOCK}/(conv\d|shortcut)", r"resnet_v1/block\1/unit_\2/bottleneck_v1/\3"),
    (rf"{_SLIM_BLOCK}/bn(\d)", r"resnet_v1/block\1/unit_\2/bottleneck_v1/conv\3/BatchNorm"),
    (rf"{_SLIM_BLOCK}/shortcut_bn", r"resnet_v1/block\1/unit_\2/bottleneck_v1/shortcut/BatchNorm"),
    (r"conv1", "resnet_v1/conv1"),
    (r"bn1", "resnet_v1/conv1/BatchNorm"),
    (r"head", lambda: LayerName("resnet_v1/logits", as_dense=True)),
]
_SLIM_RESNET_V2: Sequence[Rule] = [
    (rf"{_SLIM_BLOCK}/(conv\d|shortcut)", r"resnet_v2/block\1/unit_\2/bottleneck_v2/\3"),
    (rf"{_SLIM_BLOCK}/bn1", r"resnet_v2/block\1/unit_\2/bottleneck_v2/preact"),
    (rf"{_SLIM_BLOCK}/bn2", r"resnet_v2/block\1/unit_\2/bottleneck_v2/conv1/BatchNorm"),
    (rf"{_SLIM_BLOCK}/bn3", r"resnet_v2/block\1/unit_\2/bottleneck_v2/conv2/BatchNorm"),
    (r"conv1", "resnet_v2/conv1"),
    (r"bn", "resnet_v2/postnorm"),
    (r"head", lambda: LayerName("resnet_v2/logits", as_dense=True)),
]


def _name_torch_dense(stage: int, layer: int, part: str, number: int) -> LayerName:
    """Names a layer of a dense block; files of before 2019 have a point before its number."""
    part = "norm" if part == "bn" else part
    place = f"features.denseblock{stage}.denselayer{layer}.{part}"
    return LayerName(f"{place}{number}", aliases=(f"{place}.{number}",))


def _name_keras_dense(stage: int, layer: int, part: str, number: int) -> str:
    return f"conv{stage + 1}_block{layer}_{number - 1 if part == 'bn' else number}_{part}"


_DENSE = r"stage(\d+)/layer(\d+)/(bn|conv)(\d)"

_TORCH_DENSENET: Sequence[Rule] = [
    (_DENSE, _name_torch_dense),
    (r"transition(\d+)/bn", r"features.transition\1.norm"),
    (r"transition(\d+)/conv", r"features.transition\1.conv"),
    (r"conv1", "features.conv0"),
    (r"bn1", "features.norm0"),
    (r"bn", "features.norm5"),
    (r"head", "classifier"),
]
_KERAS_DENSENET: Sequence[Rule] = [
    (_DENSE, _name_keras_dense),
    (r"transition(\d+)/(bn|conv)", lambda stage, part: f"pool{stage + 1}_{part}"),
    (r"(conv|bn)1", lambda part: LayerName(f"conv1_{part}", aliases=(f"conv1/{part}",))),
    (r"bn", "bn"),
    (r"head", lambda: LayerName("predictions", aliases=("fc1000",))),
]

_REGNET_PARTS = {"shortcut": "proj.0", "shortcut_bn": "proj.1", "se/reduce": "f.se.fc1", "se/expand": "f.se.fc2"} | {
    f"{part}{number}": f"f.{letter}.{place}"
    for number, letter in enumerate("abc", 1)
    for place, part in enumerate(("conv", "bn"))
}

_TORCH_REGNET: Sequence[Rule] = [
    (
        _BLOCK,
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

_TORCH_SHUFFLENET_V2: Sequence[Rule] = [
    (_BLOCK, lambda stage, block, part: f"stage{stage}.{block - 1}.{_SHUFFLE_PARTS[part]}"),
    (r"conv([15])", r"conv\1.0"),
    (r"bn([15])", r"conv\1.1"),
    (r"head", "fc"),
]

PYTORCH_TABLES: Mapping[str, Rules] = {
    "CifarResNet": _TORCH_CIFAR_RESNET,
    "DenseNet": _TORCH_DENSENET,
    "RegNet": _TORCH_REGNET,
    "ResNet": _TORCH_RESNET,
    "ShuffleNetV2": _TORCH_SHUFFLENET_V2,
}
"""Class of the model to rules."""

KERAS_TABLES: Mapping[str, Rules] = {
    "DenseNet": _KERAS_DENSENET,
    "ResNet": _KERAS_RESNET,
    "ResNetV2": _KERAS_RESNET_V2,
}
"""The same for files of Keras."""

TENSORFLOW_TABLES: Mapping[str, Rules] = {"ResNet": _SLIM_RESNET, "ResNetV2": _SLIM_RESNET_V2}
"""The same for files of slim."""
