"""How the kernels in a file of Keras are laid out, and how to convert them: order of axes, flipped kernels."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import h5py

__all__ = ["Ordering", "Weight", "find_layer_classes", "find_ordering", "to_hwio"]

_TRANSPOSED = ("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose", "Convolution2DTranspose")
_NOT_CONVOLUTIONS = ("Dense", "Embedding", "BatchNormalization")
_AXES = {
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
        kind: The class of the layer, such as ``"Conv2D"``, or None if the file does not state it.
        shape: Its shape in the file.
        dataset: What it is read from.
    """

    name: str
    layer: str
    kind: str | None
    shape: tuple[int, ...]
    dataset: "h5py.Dataset"


@dataclasses.dataclass
class Ordering:
    """How the kernels of the convolutions of one file are laid out.

    Attributes:
        channels_first: They are (out, in, h, w), as with Keras 1's ``dim_ordering="th"``.
        flipped: They are flipped in height and width: Theano convolves, the others correlate.
        notes: Why, in words.
        deconvolution: Kernels of transposed convolutions are (kh, kw, out, in), as since Keras 2.
    """

    channels_first: bool
    flipped: bool
    notes: list[str]
    deconvolution: bool = True


def find_layer_classes(config: object) -> dict[str, str]:
    """Returns the name and class of every layer of a ``model_config``, also in nested models and wrappers."""
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
            elif isinstance(inner, list):  # sequential models of Keras 1
                waiting.append(inner)
    return found


def _find_dim_ordering(config: object) -> str | None:
    """Finds the first ``dim_ordering`` in the configuration of a model of Keras 1."""
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


def _count_votes(weights: Sequence[Weight]) -> tuple[int, int]:
    """Counts the evidence that the outputs of kernels are the last axis, and that they are the first one.

    The vector that follows a kernel, its bias or the batch normalization's scale, has as many values as it has
    outputs; the kernel that follows it often has as many inputs.
    """
    last = first = 0
    kernel = None
    for weight in weights:
        if "depthwise" in weight.name or "transpose" in weight.name or weight.kind in _TRANSPOSED:
            kernel = None  # whose axes have other meanings
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


def find_ordering(
    weights: Sequence[Weight], attributes: Mapping[str, Any], config: object, *, file_name: str
) -> Ordering:
    """Decides how the kernels of a file of Keras 1 or 2 are laid out.

    Convention:
        Since Keras 2, kernels are (kh, kw, in, out) whatever the order of the images. Keras 1 with
        ``dim_ordering="th"`` kept (out, in, kh, kw); only its full models state this; in files of weights the
        sizes of biases and neighboring kernels reveal it. Theano's convolution flips kernels. The attribute
        ``backend``, if any, names the writer of the file; without it, ``tf_kernels`` or ``th_kernels`` in the file's
        name, the only mark of published files; without that, kernels (out, in, kh, kw) count as Theano's.

    Args:
        weights: The tensors in the order of the file.
        attributes: ``"backend"`` and ``"keras_version"`` of the file, if it has them.
        config: The model's configuration, or None.
        file_name: The name of the file.

    Returns:
        The ordering.
    """
    version, backend = attributes.get("keras_version"), attributes.get("backend")
    early = version is not None and str(version).split(".")[0] in ("0", "1")
    old = early or version is None
    kernels = any(len(weight.shape) in (4, 5) for weight in weights)
    declared = _find_dim_ordering(config) if old else None
    last, first = _count_votes(weights) if old else (0, 0)
    channels_first = kernels and (declared == "th" if declared else first > last)
    notes = []
    if channels_first:
        notes.append("Kernels of convolutions: (out, in, kh, kw), Keras 1's 'th', became (kh, kw, in, out).")
    if backend is not None:
        flipped, why = backend == "theano", "the file states that Theano wrote it"
    elif "tf_kernels" in file_name or "th_kernels" in file_name:
        flipped, why = "th_kernels" in file_name, "the file's name states that they are Theano's"
    else:
        flipped, why = channels_first, "kernels in this order are assumed to be Theano's, as the file does not state it"
    flipped = flipped and kernels
    if flipped:
        notes.append(f"Kernels of convolutions were flipped in height and width and were flipped back: {why}.")
    elif channels_first:
        notes.append("Kernels of convolutions were not flipped: a backend other than Theano wrote them.")
    return Ordering(channels_first, flipped, notes, deconvolution=not (channels_first or early))


def _is_transposed(weight: Weight, siblings: Sequence[Weight]) -> bool:
    """Tests whether a kernel is one of a transposed convolution, (kh, kw, out, in)."""
    rank = len(weight.shape)
    if rank not in (3, 4, 5) or not weight.name.split("/")[-1].startswith(("kernel", "0")):
        return False
    if weight.kind is not None:
        return weight.kind in _TRANSPOSED
    if "transpose" in weight.layer.lower():
        return True
    biases = [sibling.shape for sibling in siblings if len(sibling.shape) == 1]
    outputs, inputs = weight.shape[-2:]
    # A kernel with one input is more likely depthwise, and equal numbers are no evidence.
    return len(biases) == 1 and rank == 4 and biases[0] == (outputs,) and inputs not in (1, outputs)


def to_hwio(
    array: np.ndarray, weight: Weight, siblings: Sequence[Weight], ordering: Ordering
) -> tuple[np.ndarray, str | None]:
    """Converts one tensor to this library's order of axes.

    Args:
        array: Its values as stored.
        weight: What is known of it.
        siblings: The tensors of its layer.
        ordering: How kernels are laid out in the file.

    Returns:
        The array, C-contiguous, and the order of the source's axes if they were moved, otherwise None.
    """
    rank, layout = array.ndim, None
    sequence = rank == 3 and weight.kind is not None and weight.kind.startswith("Conv")
    if sequence or (rank in (4, 5) and weight.kind not in _NOT_CONVOLUTIONS):
        if ordering.channels_first and not sequence:
            layout = "OIHW" if rank == 4 else "OIDHW"
        if ordering.flipped and "depthwise" not in weight.name:
            axes = range(2, rank) if layout else range(rank - 2)
            array = np.flip(array, tuple(axes))
    if layout is None and ordering.deconvolution and _is_transposed(weight, siblings):
        layout = {3: "WOI", 4: "HWOI", 5: "DHWOI"}[rank]
    if layout is not None:
        array = array.transpose(_AXES[layout])
    return np.asarray(array, order="C"), layout
