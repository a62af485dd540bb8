"""Names of AlexNet, VGG and SqueezeNet, which depend on what is configured, in each source."""

from collections.abc import Sequence

from jaxcnn.models.alexnet import AlexNet
from jaxcnn.models.vgg import VGG
from jaxcnn.zoo.mappings.matching import LayerName, Rule

__all__ = ["list_slim_alexnet", "list_slim_vgg", "list_torch_alexnet", "list_torch_vgg"]


def list_torch_vgg(model: VGG) -> list[Rule]:
    """Lists torchvision's names of a VGG, whose numbers count convolutions, batch norms, activations and poolings."""
    rules: list[Rule] = []
    place = 0
    for i, convolutions in enumerate(model.convolutions, 1):
        for j in range(1, convolutions + 1):
            rules += [(f"stage{i}/conv{j}", f"features.{place}"), (f"stage{i}/bn{j}", f"features.{place + 1}")]
            place += 3 if model.batch_norm else 2
        place += 1
    return rules + _number_classifier(range(0, 3 * len(model.hidden) + 1, 3), (7, 7))


def list_torch_alexnet(model: AlexNet) -> list[Rule]:
    """Lists torchvision's names of an AlexNet, whose numbers count activations, poolings and dropouts too."""
    rules: list[Rule] = [(f"conv{i}", f"features.{place}") for i, place in enumerate((0, 3, 6, 8, 10), 1)]
    hidden = len(model.hidden)  # each behind a dropout
    return rules + _number_classifier([*range(1, 3 * hidden, 3), 3 * hidden], (6, 6))


def _number_classifier(places: Sequence[int], flattened: tuple[int, int]) -> list[Rule]:
    """Numbers fully connected layers, the last of which is the head and the first multiplies flattened maps."""
    layers = [*(f"fc{i}" for i in range(1, len(places))), "head"]
    names = [f"classifier.{place}" for place in places]
    first = LayerName(names[0], flattened=flattened)
    return [(layers[0], lambda: first), *zip(layers[1:], names[1:], strict=True)]


def list_slim_vgg(model: VGG) -> list[Rule]:
    """Lists slim's names of a VGG: a scope that counts all layers, stages, and ``fc6`` and on behind them."""
    layers = sum(model.convolutions) + len(model.hidden) + 1
    scope = "vgg_a" if layers == 11 else f"vgg_{layers}"
    convolutions = (r"stage(\d)/conv(\d)", rf"{scope}/conv\1/conv\1_\2")
    return [convolutions, *_count_on(scope, len(model.convolutions), len(model.hidden))]


def list_slim_alexnet(model: AlexNet) -> list[Rule]:
    """Lists slim's names of an AlexNet: ``fc6`` and on are behind five convolutions."""
    return [(r"conv(\d)", r"alexnet_v2/conv\1"), *_count_on("alexnet_v2", 5, len(model.hidden))]


def _count_on(scope: str, before: int, hidden: int) -> list[Rule]:
    """Counts the fully connected layers, which are convolutions in slim, on from those before."""
    return [
        (r"fc(\d)", lambda number: LayerName(f"{scope}/fc{before + number}", as_dense=True)),
        (r"head", lambda: LayerName(f"{scope}/fc{before + hidden + 1}", as_dense=True)),
    ]
