"""How the axes of PyTorch's tensors are laid out, inferred from their names and shapes."""

import re
from collections.abc import Mapping

__all__ = ["TRANSPOSITIONS", "infer_layouts"]

_WEIGHT = re.compile(r"(.*\.)?(weight(_orig|_v|_g|_mask)?|parametrizations\.weight\.original[01]?)")

TRANSPOSITIONS: dict[str, tuple[int, ...]] = {
    "OI": (1, 0),
    "OIW": (2, 1, 0),
    "OIHW": (2, 3, 1, 0),
    "OIDHW": (2, 3, 4, 1, 0),
    "CMW": (2, 0, 1),
    "CMHW": (2, 3, 0, 1),
    "CMDHW": (2, 3, 4, 0, 1),
}
"""The axes in the order of this library: ``"OIHW"`` to (kh, kw, in, out), ``"CMHW"`` to (kh, kw, c, m)."""

_DENSE = {2: "OI", 3: "OIW", 4: "OIHW", 5: "OIDHW"}
_DEPTHWISE = {3: "CMW", 4: "CMHW", 5: "CMDHW"}


def infer_layouts(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Infers the order of axes of every kernel among the tensors of a state dict.

    A kernel is a tensor of 2 to 5 axes whose name ends in ``weight`` (or in the names that weight norm, spectral norm
    and pruning derive from it). It is depthwise if it has one input channel, several output channels, and an earlier
    kernel has that many output channels, which rules out a first layer on gray images. Shapes reveal neither transposed
    convolutions, whose first two axes are swapped, nor embeddings, whose axes should stay; both are treated as ordinary
    kernels.

    Args:
        shapes: Name to shape in the order of the file.

    Returns:
        Name to order of axes, such as ``"OIHW"``, or ``"CMHW"`` for depthwise kernels.
    """
    layouts: dict[str, str] = {}
    outputs: set[int] = set()
    for name, shape in shapes.items():
        if len(shape) not in _DENSE or not _WEIGHT.fullmatch(name):
            continue
        depthwise = len(shape) in _DEPTHWISE and shape[1] == 1 and shape[0] > 1 and shape[0] in outputs
        layouts[name] = (_DEPTHWISE if depthwise else _DENSE)[len(shape)]
        outputs.add(shape[0])
    return layouts
