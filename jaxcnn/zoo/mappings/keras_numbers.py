"""Numbers of Keras's layers without names of their own."""

import re
from collections.abc import Mapping

import numpy as np

__all__ = ["renumber_layers"]

_AUTOMATIC = {
    "conv2d": r"conv(?:olution)?_?2d",
    "separable_conv2d": r"separable_?conv(?:olution)?_?2d",
    "depthwise_conv2d": r"depthwise_?conv(?:olution)?_?2d",
    "batch_normalization": r"batch_?normalization",
    "dense": r"dense",
}
"""Names that Keras gives to layers without one, before the number, to the patterns of all versions."""


def renumber_layers(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Renumbers the layers that Keras named, from 0 on: its counter starts anywhere, depending on the session.

    Args:
        tensors: ``LAYER/role`` to tensor.

    Returns:
        The same with ``conv2d``, ``conv2d_1``, ``conv2d_2``, ... in the order of the file's numbers.
    """
    found: dict[str, list[tuple[int, str]]] = {}
    for layer in dict.fromkeys(name.rpartition("/")[0] for name in tensors):
        for kind, pattern in _AUTOMATIC.items():
            if (match := re.fullmatch(rf"{pattern}(?:_(\d+))?", layer)) is not None:
                found.setdefault(kind, []).append((int(match[1] or 0), layer))
    new = {
        layer: f"{kind}_{i}" if i else kind
        for kind, numbered in found.items()
        for i, (_, layer) in enumerate(sorted(numbered))
    }
    split = {name: name.rpartition("/") for name in tensors}
    return {f"{new.get(split[name][0], split[name][0])}/{split[name][2]}": one for name, one in tensors.items()}
