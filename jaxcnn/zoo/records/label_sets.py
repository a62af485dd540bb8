"""The names of the classes that networks distinguish."""

import functools
import json
from importlib import resources

from jaxcnn._check import check_choice

__all__ = ["labels"]

_SETS = ("imagenet-1000", "imagenet-1001")


def labels(name: str) -> tuple[str, ...]:
    """Returns the names of the classes, in the order of a network's outputs.

    Args:
        name: The ``labels`` of a record. ``"imagenet-1000"``: the classes of ILSVRC 2012, sorted by their WordNet
            numbers, as PyTorch, Keras and Caffe have them. ``"imagenet-1001"``: the same preceded by ``"background"``,
            as in TensorFlow's slim.

    Returns:
        One name per output, in English, all different.

    Raises:
        ValueError: If this package has no list of that name.

    Example:
        >>> from jaxcnn.zoo import labels
        >>> labels("imagenet-1000")[:3], labels("imagenet-1001")[:2]
        (('tench', 'goldfish', 'great white shark'), ('background', 'tench'))

    References:
        The categories of torchvision 0.28.0; Russakovsky et al. 2015, arXiv:1409.0575.
    """
    check_choice("labels", "name", name, _SETS)
    return ("background",) * (name == "imagenet-1001") + _imagenet()


@functools.cache
def _imagenet() -> tuple[str, ...]:
    text = resources.files("jaxcnn.zoo.records").joinpath("recorded", "imagenet-1000.json").read_text("utf-8")
    return tuple(json.loads(text))
