"""How the axes of PyTorch's tensors are laid out: what names, shapes and programs tell, and what they do not."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxcnn.zoo.formats.pytorch.programs import KernelUse

__all__ = ["TRANSPOSITIONS", "Layouts", "infer_layouts"]

_WEIGHT = re.compile(r"(.*\.)?(weight(_orig|_v|_g|_mask)?|parametrizations\.weight\.original[01]?)")
_OWNER = re.compile(r"(?:parametrizations\.)?weight[^.]*(?:\.original[01]?)?$")
_TRANSPOSED_NAME = re.compile(r"transpose|deconv|convt(?![a-z])|(?<![a-z])tconv|convtrans|conv_trans", re.IGNORECASE)

TRANSPOSITIONS: dict[str, tuple[int, ...]] = {
    "OI": (1, 0),
    "OIW": (2, 1, 0),
    "OIHW": (2, 3, 1, 0),
    "OIDHW": (2, 3, 4, 1, 0),
    "IOW": (2, 0, 1),
    "IOHW": (2, 3, 0, 1),
    "IODHW": (2, 3, 4, 0, 1),
    "CMW": (2, 0, 1),
    "CMHW": (2, 3, 0, 1),
    "CMDHW": (2, 3, 4, 0, 1),
}
"""The axes in the order of this library: ``"OIHW"`` to (kh, kw, in, out), ``"CMHW"`` to (kh, kw, c, m)."""

_SPACES = {3: "W", 4: "HW", 5: "DHW"}


class Layouts(NamedTuple):
    """What is known of the kernels of a file.

    Attributes:
        axes: Name to order of axes in the file, such as ``"OIHW"``.
        channels: Name to number of channels of the kernels whose first axis, channels times multiplier, is split.
        notes: What was decided by what, and what could not be decided, in words.
    """

    axes: dict[str, str]
    channels: dict[str, int]
    notes: list[str]


def infer_layouts(shapes: Mapping[str, tuple[int, ...]], uses: Mapping[str, KernelUse] | None = None) -> Layouts:
    """Infers the order of axes of every kernel among the tensors of a file.

    Convention: A kernel is a tensor that the program uses as one or, in a state dict, one of 2 to 5 axes whose name
    ends in ``weight`` (or in the names that weight norm, spectral norm and pruning derive from it), unless its bias
    has the same shape. It is one of an ordinary convolution, ``"OIHW"``, unless the program says otherwise, or the
    size of its bias does, or, where that does not decide, its module has a name such as ``deconv`` or ``transpose``:
    then it is of a transposed one, ``"IOHW"``. Groups are in no state dict and are not guessed: a kernel with one
    input channel per group stays (kh, kw, 1, out), which ``ops.conv`` takes with any ``groups``. Where a program
    states the groups and there are as many as inputs, it is depthwise, ``"CMHW"``.

    Args:
        shapes: Name to shape in the order of the file.
        uses: Name to use of the tensors whose use a program states.

    Returns:
        The orders of axes, and notes on them.
    """
    uses = uses or {}
    found = Layouts({}, {}, [])
    owners: dict[str, list[str]] = {}
    for name, shape in shapes.items():
        is_kernel = uses[name].kind != "embedding" if name in uses else _WEIGHT.fullmatch(name) is not None
        if is_kernel and 2 <= len(shape) <= 5:
            owners.setdefault(_OWNER.sub("", name), []).append(name)
    told: dict[str, list[str]] = {"size": [], "name": [], "nothing": [], "groups": []}
    for owner, names in owners.items():
        largest = max(names, key=lambda name: math.prod(shapes[name]))
        shape, use = shapes[largest], uses.get(largest)
        bias = shapes.get(f"{owner}bias")
        if use is None and len(shape) > 2 and bias == shape:
            continue  # a normalization over several axes
        if len(shape) == 2:
            transposed = False
        elif use is not None:
            transposed = use.kind == "conv_transpose"
        else:
            reason = _find_transposed(owner, shape, bias)
            transposed = reason in ("size", "name")
            told.get(reason, []).append(largest)
        groups = use.groups if use is not None else 0
        if len(shape) > 2 and not transposed and not groups and shape[1] == 1 < shape[0]:
            told["groups"].append(largest)
        for name in names:
            rank = len(shapes[name])
            order = "OI" if not transposed else "IO"
            outputs, inputs = shapes[name][:2]
            if rank > 2 and not transposed and groups > 1 and inputs == 1 and outputs % groups == 0:
                order = "CM"
                found.channels[name] = groups
            found.axes[name] = order + _SPACES.get(rank, "")
    found.notes.extend(_write_notes(told))
    return found


def _find_transposed(owner: str, shape: tuple[int, ...], bias: tuple[int, ...] | None) -> str:
    """Returns what tells a transposed convolution, ``"size"`` or ``"name"``; ``"ordinary"``, or ``"nothing"``."""
    first, second = shape[:2]
    if bias is not None and len(bias) == 1 and second:
        if bias[0] != first and bias[0] % second == 0 and bias[0] and first % (bias[0] // second) == 0:
            return "size"
        if bias[0] == first and first != second and second != 1:
            return "ordinary"
    return "name" if _TRANSPOSED_NAME.search(owner) else "nothing"


def _write_notes(told: Mapping[str, list[str]]) -> list[str]:
    notes = []
    for reason, words in (("size", "the sizes of biases tell"), ("name", "the names of modules tell")):
        if names := told[reason]:
            notes.append(f"{_count(names)} of transposed convolutions, as {words}: became (kh, kw, in, out / groups).")
    if names := told["groups"]:
        notes.append(
            f"{_count(names)} with one input channel per group. The file does not state the "
            "groups, so they are (kh, kw, 1, out); if a layer is depthwise, reshape to (kh, kw, channels, "
            "out // channels)."
        )
    if names := told["nothing"]:
        notes.append(
            f"{_count(names)}: nothing in the file tells whether of an ordinary or a transposed convolution; taken as "
            "of an ordinary one."
        )
    return notes


def _count(names: Sequence[str]) -> str:
    """Writes ``"1 kernel (conv1.weight)"`` or ``"3 kernels (such as conv1.weight)"``."""
    return f"1 kernel ({names[0]})" if len(names) == 1 else f"{len(names)} kernels (such as {names[0]})"
