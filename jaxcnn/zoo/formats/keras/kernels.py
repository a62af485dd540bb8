"""How the kernels in a file of Keras lie: which axes were moved, which kernels are mirrored, and back again."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

__all__ = ["Ordering", "Weight", "as_layer_classes", "find_ordering", "upright"]

TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "Convolution2DTranspose")
DENSE = ("Dense", "Embedding", "BatchNormalization")
MOVED = {
    "OIHW": (2, 3, 1, 0),
    "OIDHW": (2, 3, 4, 1, 0),
    "WOI": (0, 2, 1),
    "HWOI": (0, 1, 3, 2),
    "DHWOI": (0, 1, 2, 4, 3),
}


@dataclasses.dataclass
class Weight:
    """One tensor of a file before it is read.

    Attributes:
        name: Its name for the caller.
        layer: The layer that it belongs to.
        kind: The class of the layer, such as ``"Conv2D"``, or None where the file does not say it.
        shape: Its shape in the file.
        source: What it is read from.
    """

    name: str
    layer: str
    kind: str | None
    shape: tuple[int, ...]
    source: Any


@dataclasses.dataclass
class Ordering:
    """How the kernels of the convolutions of one file lie.

    Attributes:
        first: They are (out, in, h, w), as with Keras 1's ``dim_ordering="th"``.
        flipped: They are mirrored in height and width: Theano convolves, the others correlate.
        notes: Why, in words.
        deconvolution: Kernels of transposed convolutions are (kh, kw, out, in), as since Keras 2.
    """

    first: bool
    flipped: bool
    notes: list[str]
    deconvolution: bool = True


def as_layer_classes(config: Any) -> dict[str, str]:
    """Gives the name and class of every layer of a ``model_config``, also in nested models and wrappers."""
    found: dict[str, str] = {}
    waiting = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            inner, kind = node.get("config"), node.get("class_name")
            if isinstance(inner, dict) and isinstance(kind, str):
                name = inner.get("name", node.get("name"))
                if isinstance(name, str):
                    found.setdefault(name, kind)
                waiting += [inner.get(key) for key in ("layers", "layer", "backward_layer")]
            elif isinstance(inner, list):  # the models of Keras 1 that are sequences
                waiting.append(inner)
    return found


def _dim_ordering(config: Any) -> str | None:
    """Gives the first ``dim_ordering`` in the configuration of a model of Keras 1."""
    waiting = [config]
    while waiting:
        node = waiting.pop()
        if isinstance(node, dict):
            if node.get("dim_ordering") in ("th", "tf"):
                return node["dim_ordering"]
            waiting += node.values()
        elif isinstance(node, list):
            waiting += node
    return None


def _votes(weights: Sequence[Weight]) -> tuple[int, int]:
    """Counts the kernels whose outputs are the last axis, and those whose outputs are the first one.

    The vector that follows a kernel, its bias or the batch normalization's scale, has as many values as it has
    outputs; the kernel that follows it often has as many inputs.
    """
    last = first = 0
    kernel = None
    for weight in weights:
        if "depthwise" in weight.name or "transpose" in weight.name or weight.kind in TRANSPOSED:
            kernel = None  # whose axes mean other things
        elif len(weight.shape) in (4, 5):
            if kernel:
                last += kernel[-1] == weight.shape[-2]
                first += kernel[0] == weight.shape[1]
            kernel = weight.shape
        elif len(weight.shape) == 1 and kernel:
            last += 2 * (kernel[-1] == weight.shape[0])
            first += 2 * (kernel[0] == weight.shape[0])
            kernel = None
        else:
            kernel = None
    return last, first


def find_ordering(weights: Sequence[Weight], attributes: Mapping[str, Any], config: Any, *, file_name: str) -> Ordering:
    """Decides how the kernels of a file of Keras 1 or 2 lie.

    Convention:
        Since Keras 2 kernels are (kh, kw, in, out) whatever the order of the images. Keras 1 with
        ``dim_ordering="th"`` kept (out, in, kh, kw); only its full models say so, and of weights alone the sizes of
        biases and neighbouring kernels tell it. Theano's convolution mirrors kernels. The attribute ``backend``, if
        any, says who wrote the file; without it, a name with ``tf_kernels`` or ``th_kernels``, the only mark that
        published files carry; without that, kernels (out, in, kh, kw) count as Theano's.

    Args:
        weights: The tensors in the order of the file.
        attributes: ``"backend"`` and ``"keras_version"`` of the file, where it has them.
        config: The model's configuration, or None.
        file_name: The name of the file.

    Returns:
        The ordering.
    """
    version, backend = attributes.get("keras_version"), attributes.get("backend")
    early = version is not None and str(version).split(".")[0] in ("0", "1")
    old = early or version is None
    kernels = any(len(weight.shape) in (4, 5) for weight in weights)
    declared = _dim_ordering(config) if old else None
    last, first = _votes(weights) if old else (0, 0)
    channels_first = kernels and (declared == "th" if declared else first > last)
    notes = []
    if channels_first:
        notes.append("Kernels of convolutions were (out, in, kh, kw), Keras 1's 'th', and are (kh, kw, in, out) now.")
    if backend is not None:
        flipped, why = backend == "theano", "the file says that Theano wrote it"
    elif "tf_kernels" in file_name or "th_kernels" in file_name:
        flipped, why = "th_kernels" in file_name, "the file's name says that they are Theano's"
    else:
        flipped, why = channels_first, "kernels in this order are taken for Theano's, for the file does not say"
    flipped = flipped and kernels
    if flipped:
        notes.append(f"Kernels of convolutions were mirrored in height and width, and are not now: {why}.")
    elif channels_first:
        notes.append("Kernels of convolutions were not mirrored, for another backend than Theano wrote them.")
    return Ordering(channels_first, flipped, notes, deconvolution=not (channels_first or early))


def _transposed(weight: Weight, siblings: Sequence[Weight]) -> bool:
    """Says whether a kernel is one of a transposed convolution, (kh, kw, out, in)."""
    rank = len(weight.shape)
    if rank not in (3, 4, 5) or not weight.name.split("/")[-1].startswith(("kernel", "0")):
        return False
    if weight.kind is not None:
        return weight.kind in TRANSPOSED
    if "transpose" in weight.layer.lower():
        return True
    biases = [sibling.shape for sibling in siblings if len(sibling.shape) == 1]
    outputs, inputs = weight.shape[-2:]
    # A kernel with one input is rather depthwise, and of equal numbers nothing can be said.
    return len(biases) == 1 and rank == 4 and biases[0] == (outputs,) and inputs not in (1, outputs)


def upright(
    array: np.ndarray, weight: Weight, siblings: Sequence[Weight], ordering: Ordering
) -> tuple[np.ndarray, str | None]:
    """Gives one tensor in the library's order of axes.

    Args:
        array: Its values as the file holds them.
        weight: What is known of it.
        siblings: The tensors of its layer.
        ordering: How kernels lie in the file.

    Returns:
        The array, C-contiguous, and the order of the source's axes if they were moved, else None.
    """
    rank, layout = array.ndim, None
    sequence = rank == 3 and weight.kind is not None and weight.kind.startswith("Conv")
    if sequence or (rank in (4, 5) and weight.kind not in DENSE):
        if ordering.first and not sequence:
            layout = "OIHW" if rank == 4 else "OIDHW"
        if ordering.flipped and "depthwise" not in weight.name:
            axes = range(2, rank) if layout else range(rank - 2)
            array = np.flip(array, tuple(axes))
    if layout is None and ordering.deconvolution and _transposed(weight, siblings):
        layout = {3: "WOI", 4: "HWOI", 5: "DHWOI"}[rank]
    if layout is not None:
        array = array.transpose(MOVED[layout])
    return np.asarray(array, order="C"), layout
