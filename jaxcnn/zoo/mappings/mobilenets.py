"""Names of the MobileNets and of MNASNet, in the files of torchvision, Keras and TensorFlow slim."""

from collections.abc import Mapping, Sequence

import flax.linen as nn

from jaxcnn.models.mnasnet import MNASNet
from jaxcnn.models.mobilenet_v2 import MobileNetV2
from jaxcnn.models.mobilenet_v3 import MobileNetV3
from jaxcnn.zoo.mappings.matching import LayerName, Rule, Rules

__all__ = ["KERAS_TABLES", "PYTORCH_TABLES", "TENSORFLOW_TABLES"]

_PARTS = r"block(\d+)/(expand|depthwise|project)"


def _list_torch_mobilenet_v2(model: nn.Module) -> Sequence[Rule]:
    """Lists the rules of MobileNet v2, whose layers are numbered in each block, the expansion only where there is one.

    All but the projection lie with their batch norms in a sequence of their own.
    """
    table = model.table() if isinstance(model, MobileNetV2) else []

    def name(block: int, part: str, norm: str | None) -> str:
        place = ("expand", "depthwise", "project").index(part) - (table[block]["expansion"] == 1)
        inside = place + bool(norm) if part == "project" else f"{place}.{int(bool(norm))}"
        return f"features.{block + 1}.conv.{inside}"

    return [(rf"{_PARTS}(_bn)?", name), *_list_torch_ends(len(table)), (r"head", "classifier.1")]


def _list_torch_mobilenet_v3(model: nn.Module) -> Sequence[Rule]:
    """Lists the rules of MobileNet v3, whose parts are numbered in each block, of those that it has."""
    table = model.table() if isinstance(model, MobileNetV3) else []

    def number(block: int, part: str) -> str:
        has = {"expand": table[block]["expands"], "squeeze_excite": table[block]["squeezed"]}
        parts = [one for one in ("expand", "depthwise", "squeeze_excite", "project") if has.get(one, True)]
        return f"features.{block + 1}.block.{parts.index(part)}"

    return [
        (r"block(\d+)/squeeze_excite/reduce", lambda block: f"{number(block, 'squeeze_excite')}.fc1"),
        (r"block(\d+)/squeeze_excite/expand", lambda block: f"{number(block, 'squeeze_excite')}.fc2"),
        (rf"{_PARTS}_bn", lambda block, part: f"{number(block, part)}.1"),
        (_PARTS, lambda block, part: f"{number(block, part)}.0"),
        *_list_torch_ends(len(table)),
        (r"hidden", "classifier.0"),
        (r"head", "classifier.3"),
    ]


def _list_torch_ends(blocks: int) -> list[Rule]:
    """Lists the rules of the convolutions before and behind the blocks."""
    return [
        (r"conv1", "features.0.0"),
        (r"conv1_bn", "features.0.1"),
        (r"conv_last", f"features.{blocks + 1}.0"),
        (r"conv_last_bn", f"features.{blocks + 1}.1"),
    ]


_TORCH_MNAS_PARTS = {"expand": 0, "depthwise": 3, "project": 6}


def _name_torch_mnas(stage: int, block: int, part: str, norm: str | None) -> str:
    """Names a layer of a block of MNASNet; activations are counted too."""
    return f"layers.{stage + 7}.{block - 1}.layers.{_TORCH_MNAS_PARTS[part] + bool(norm)}"


def _list_torch_mnasnet(model: nn.Module) -> Sequence[Rule]:
    """Lists the rules of MNASNet, whose stages lie in one sequence with the layers before and behind them."""
    last = 8 + (len(model.stages) if isinstance(model, MNASNet) else 0)
    return [
        (r"conv1", "layers.0"),
        (r"conv1_bn", "layers.1"),
        (r"separable/(\w+?)(_bn)?", lambda part, norm: f"layers.{_TORCH_MNAS_PARTS[part] + bool(norm)}"),
        (r"stage(\d+)/block(\d+)/(\w+?)(_bn)?", _name_torch_mnas),
        (r"conv_last", f"layers.{last}"),
        (r"conv_last_bn", f"layers.{last + 1}"),
        (r"head", "classifier.1"),
    ]


_KERAS_MOBILENET: Sequence[Rule] = (
    (r"(conv1|conv1_bn)", r"\1"),
    (r"block(\d+)/(conv_\w\w)(_bn)?", r"\2_\1\3"),
    (r"head", lambda: LayerName("conv_preds", as_dense=True)),
)


def _name_keras_block(block: int, part: str, norm: str | None) -> str:
    """Names a layer of a block of MobileNet v2, whose norms end in capitals."""
    return f"{f'block_{block}' if block else 'expanded_conv'}_{part}{'_BN' if norm else ''}"


_KERAS_MOBILENET_V2: Sequence[Rule] = (
    (r"conv1", "Conv1"),
    (r"conv1_bn", "bn_Conv1"),
    (rf"{_PARTS}(_bn)?", _name_keras_block),
    (r"conv_last(_bn)?", r"Conv_1\1"),
    (r"head", lambda: LayerName("predictions", aliases=("Logits",))),
)


def _name_keras_excited(block: int, part: str, norm: str | None) -> LayerName:
    """Names a layer of a block of MobileNet v3, as Keras 3 does and as the published files have it."""
    number = f"_{block}" if block else ""
    known = {
        "squeeze_excite/reduce": ("squeeze_excite_conv", "squeeze_excite/Conv"),
        "squeeze_excite/expand": ("squeeze_excite_conv_1", "squeeze_excite/Conv_1"),
    }
    new, old = known.get(part, (part, part))
    return LayerName(
        f"expanded_conv{number}_{new}{'_bn' if norm else ''}",
        aliases=(f"expanded_conv{number}/{old}{'/BatchNorm' if norm else ''}",),
    )


_KERAS_MOBILENET_V3: Sequence[Rule] = (
    (r"conv1", lambda: LayerName("conv", aliases=("Conv",))),
    (r"conv1_bn", lambda: LayerName("conv_bn", aliases=("Conv/BatchNorm",))),
    (r"block(\d+)/([a-z_/]+?)(_bn)?", _name_keras_excited),
    (r"conv_last", lambda: LayerName("conv_1", aliases=("Conv_1",))),
    (r"conv_last_bn", lambda: LayerName("conv_1_bn", aliases=("Conv_1/BatchNorm",))),
    (r"hidden", lambda: LayerName("conv_2", as_dense=True, aliases=("Conv_2",))),
    (r"head", lambda: LayerName("logits", as_dense=True, aliases=("Logits",))),
)

_SLIM_HEAD = "Logits/Conv2d_1c_1x1"

_SLIM_MOBILENET: Sequence[Rule] = (
    (r"conv1", "MobilenetV1/Conv2d_0"),
    (r"conv1_bn", "MobilenetV1/Conv2d_0/BatchNorm"),
    (r"block(\d+)/conv_dw", r"MobilenetV1/Conv2d_\1_depthwise"),
    (r"block(\d+)/conv_dw_bn", r"MobilenetV1/Conv2d_\1_depthwise/BatchNorm"),
    (r"block(\d+)/conv_pw", r"MobilenetV1/Conv2d_\1_pointwise"),
    (r"block(\d+)/conv_pw_bn", r"MobilenetV1/Conv2d_\1_pointwise/BatchNorm"),
    (r"head", lambda: LayerName(f"MobilenetV1/{_SLIM_HEAD}", as_dense=True)),
)


def _name_slim_block(block: int, part: str, norm: str | None) -> str:
    """Names a layer of a block of MobileNet v2, of which the first has no number."""
    number = f"_{block}" if block else ""
    return f"MobilenetV2/expanded_conv{number}/{part}{'/BatchNorm' if norm else ''}"


_SLIM_MOBILENET_V2: Sequence[Rule] = (
    (r"conv1", "MobilenetV2/Conv"),
    (r"conv1_bn", "MobilenetV2/Conv/BatchNorm"),
    (rf"{_PARTS}(_bn)?", _name_slim_block),
    (r"conv_last", "MobilenetV2/Conv_1"),
    (r"conv_last_bn", "MobilenetV2/Conv_1/BatchNorm"),
    (r"head", lambda: LayerName(f"MobilenetV2/{_SLIM_HEAD}", as_dense=True)),
)

PYTORCH_TABLES: Mapping[str, Rules] = {
    "MNASNet": _list_torch_mnasnet,
    "MobileNetV2": _list_torch_mobilenet_v2,
    "MobileNetV3": _list_torch_mobilenet_v3,
}
"""Class of the model to rules, of files of torchvision."""

KERAS_TABLES: Mapping[str, Rules] = {
    "MobileNet": _KERAS_MOBILENET,
    "MobileNetV2": _KERAS_MOBILENET_V2,
    "MobileNetV3": _KERAS_MOBILENET_V3,
}
"""The same of Keras."""

TENSORFLOW_TABLES: Mapping[str, Rules] = {"MobileNet": _SLIM_MOBILENET, "MobileNetV2": _SLIM_MOBILENET_V2}
"""The same of TensorFlow slim."""
