"""Names of AlexNet, VGG and SqueezeNet, which depend on what is configured, in each source."""

from collections.abc import Mapping, Sequence

from jaxcnn.models.alexnet import AlexNet
from jaxcnn.models.squeezenet import SqueezeNet
from jaxcnn.models.vgg import VGG
from jaxcnn.zoo.mappings.matching import LayerName, Rule, Rules

__all__ = ["KERAS_TABLES", "PYTORCH_TABLES", "TENSORFLOW_TABLES"]


def _list_torch_vgg(model: VGG) -> list[Rule]:
    """Lists torchvision's names of a VGG, whose numbers count convolutions, batch norms, activations and poolings."""
    rules: list[Rule] = []
    place = 0
    for i, convolutions in enumerate(model.convolutions, 1):
        for j in range(1, convolutions + 1):
            rules += [(f"stage{i}/conv{j}", f"features.{place}"), (f"stage{i}/bn{j}", f"features.{place + 1}")]
            place += 3 if model.batch_norm else 2
        place += 1
    return rules + _number_classifier(range(0, 3 * len(model.hidden) + 1, 3), (7, 7))


def _list_torch_alexnet(model: AlexNet) -> list[Rule]:
    """Lists torchvision's names of an AlexNet, whose numbers count activations, poolings and dropouts too."""
    rules: list[Rule] = [(f"conv{i}", f"features.{place}") for i, place in enumerate((0, 3, 6, 8, 10), 1)]
    hidden = len(model.hidden)  # each behind a dropout
    return rules + _number_classifier([*range(1, 3 * hidden, 3), 3 * hidden], (6, 6))


def _list_torch_squeezenet(model: SqueezeNet) -> list[Rule]:
    """Lists torchvision's names of a SqueezeNet, whose numbers count poolings too, and an activation."""
    rules: list[Rule] = [(r"conv1", "features.0"), (r"head", lambda: LayerName("classifier.1", as_dense=True))]
    place = 2 + (1 in model.pools)
    for i in range(2, len(model.fires) + 2):
        rules.append((rf"fire{i}/(\w+)", rf"features.{place}.\1"))
        place += 1 + (i in model.pools)
    return rules


def _number_classifier(places: Sequence[int], flattened: tuple[int, int]) -> list[Rule]:
    """Numbers fully connected layers, the last of which is the head and the first multiplies flattened maps."""
    layers = [*(f"fc{i}" for i in range(1, len(places))), "head"]
    names = [f"classifier.{place}" for place in places]
    first = LayerName(names[0], flattened=flattened)
    return [(layers[0], lambda: first), *zip(layers[1:], names[1:], strict=True)]


def _list_slim_vgg(model: VGG) -> list[Rule]:
    """Lists slim's names of a VGG: a scope that counts all layers, stages, and ``fc6`` and on behind them."""
    layers = sum(model.convolutions) + len(model.hidden) + 1
    scope = "vgg_a" if layers == 11 else f"vgg_{layers}"
    convolutions = (r"stage(\d)/conv(\d)", rf"{scope}/conv\1/conv\1_\2")
    return [convolutions, *_count_on(scope, len(model.convolutions), len(model.hidden))]


def _list_slim_alexnet(model: AlexNet) -> list[Rule]:
    """Lists slim's names of an AlexNet: ``fc6`` and on are behind five convolutions."""
    return [(r"conv(\d)", r"alexnet_v2/conv\1"), *_count_on("alexnet_v2", 5, len(model.hidden))]


def _count_on(scope: str, before: int, hidden: int) -> list[Rule]:
    """Counts the fully connected layers, which are convolutions in slim, on from those before."""
    return [
        (r"fc(\d)", lambda number: LayerName(f"{scope}/fc{before + number}", as_dense=True)),
        (r"head", lambda: LayerName(f"{scope}/fc{before + hidden + 1}", as_dense=True)),
    ]


PYTORCH_TABLES: Mapping[str, Rules] = {
    "AlexNet": _list_torch_alexnet,
    "SqueezeNet": _list_torch_squeezenet,
    "VGG": _list_torch_vgg,
}
"""Class of the model to rules."""

KERAS_TABLES: Mapping[str, Rules] = {
    "SqueezeNet": [
        (r"conv1", "conv1"),
        (r"fire(\d)/squeeze", r"fire\1/squeeze1x1"),
        (r"fire(\d)/(expand\dx\d)", r"fire\1/\2"),
        (r"head", lambda: LayerName("conv10", as_dense=True)),
    ],
    "VGG": [(r"stage(\d)/conv(\d)", r"block\1_conv\2"), (r"fc(\d)", r"fc\1"), (r"head", "predictions")],
}
"""Likewise."""

TENSORFLOW_TABLES: Mapping[str, Rules] = {"AlexNet": _list_slim_alexnet, "VGG": _list_slim_vgg}
"""Likewise."""
