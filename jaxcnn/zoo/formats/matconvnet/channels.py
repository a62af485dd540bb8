"""How many channels enter the layers of a network of MatConvNet: this tells grouped kernels from others."""

from typing import Any

__all__ = ["Channels"]

_KEEPING = (
    "bnorm",
    "relu",
    "pool",
    "dropout",
    "normalize",
    "lrn",
    "noffset",
    "spnorm",
    "sigmoid",
    "softmax",
    "pad",
    "crop",
)
_KEEPING_DAG = ("BatchNorm", "ReLU", "Pooling", "DropOut", "LRN", "Sigmoid", "SoftMax", "Scale", "Crop", "Sum", "Tanh")


class Channels:
    """Follows the number of channels through a network, as far as it is certain.

    MatConvNet stores no number of groups: it is the number of incoming channels over that of a kernel's inputs.

    Args:
        meta: The network's ``meta``, which states the size of the image.
    """

    def __init__(self, meta: object):
        self.first = _image_channels(meta)
        self.after: dict[int, int | None] = {0: self.first}
        self.variables: dict[str, int | None] = {}

    def before(self, place: int) -> int | None:
        """Returns the number of channels that enter a layer of a sequence, or None if it is unknown."""
        return self.after.get(place - 1)

    def add_simple_layer(self, place: int, kind: object, kernel: tuple[int, ...] | None) -> None:
        """Records the output of a layer of a sequence; its kernel has MATLAB's shape."""
        if kind in ("conv", "convt"):
            self.after[place] = _count_outputs(kernel, kind) if kernel else self.before(place)
        else:
            self.after[place] = self.before(place) if kind in _KEEPING else None

    def add_dag_layer(self, layer: dict[str, Any], kind: str | None, kernel: tuple[int, ...] | None) -> None:
        """Records the output of a layer of a graph."""
        if kind in ("conv", "convt"):
            count = _count_outputs(kernel, kind) if kernel else None
        else:
            inputs = [self.of([name]) for name in layer["inputs"]]
            known = [number for number in inputs if number is not None]
            name, block = str(layer.get("type")).rpartition(".")[2], layer["block"]
            count = inputs[0] if inputs and name in _KEEPING_DAG else None
            if name == "Concat" and isinstance(block, dict) and block.get("dim", 3) == 3 and len(known) == len(inputs):
                count = sum(known)
        for output in layer["outputs"][:1]:
            self.variables[output] = count

    def of(self, inputs: list[str]) -> int | None:
        """Returns the number of channels of the first of some variables, or None if it is unknown."""
        if not inputs:
            return None
        return self.variables.get(inputs[0], self.first if inputs[0] in ("input", "data", "x0") else None)


def _count_outputs(kernel: tuple[int, ...], kind: object) -> int:
    """Returns the number of a kernel's outputs."""
    axis = 3 if kind == "conv" else 2
    return kernel[axis] if len(kernel) > axis else 1


def _image_channels(meta: object) -> int | None:
    """Returns the number of channels of the images that a network was made for, or None if it is not stated."""
    normalization = meta.get("normalization") if isinstance(meta, dict) else None
    size = normalization.get("imageSize") if isinstance(normalization, dict) else None
    size = size or (meta.get("inputSize") if isinstance(meta, dict) else None)
    if not isinstance(size, list) or len(size) < 2 or not all(isinstance(item, int) for item in size):
        return None
    return size[2] if len(size) > 2 else 1
