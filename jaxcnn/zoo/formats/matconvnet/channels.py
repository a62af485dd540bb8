"""How many channels come into the layers of a network of MatConvNet, which tells grouped kernels from others."""

from typing import Any

__all__ = ["Channels"]

SAME = (
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
SAME_DAG = ("BatchNorm", "ReLU", "Pooling", "DropOut", "LRN", "Sigmoid", "SoftMax", "Scale", "Crop", "Sum", "Tanh")


class Channels:
    """Follows the number of channels through a network, as far as it is certain.

    MatConvNet keeps no number of groups: a kernel's inputs divide the channels of what comes in.

    Args:
        meta: The network's ``meta``, of which the size of the image is used.
    """

    def __init__(self, meta: Any):
        self.first = _of_image(meta)
        self.after: dict[int, int | None] = {0: self.first}
        self.variables: dict[str, int | None] = {}

    def before(self, place: int) -> int | None:
        """Gives the channels that come into a layer of a sequence, or None."""
        return self.after.get(place - 1)

    def pass_simple(self, place: int, kind: Any, kernel: tuple[int, ...] | None) -> None:
        """Notes what comes out of a layer of a sequence whose kernel has MATLAB's shape."""
        if kind in ("conv", "convt"):
            self.after[place] = _outputs(kernel, kind) if kernel else self.before(place)
        else:
            self.after[place] = self.before(place) if kind in SAME else None

    def pass_dag(self, layer: dict[str, Any], kind: str | None, kernel: tuple[int, ...] | None) -> None:
        """Notes what comes out of a layer of a graph."""
        if kind in ("conv", "convt"):
            count = _outputs(kernel, kind) if kernel else None
        else:
            inputs = [self.of([name]) for name in layer["inputs"]]
            known = [number for number in inputs if number is not None]
            name, block = str(layer.get("type")).rpartition(".")[2], layer["block"]
            count = inputs[0] if inputs and name in SAME_DAG else None
            if name == "Concat" and isinstance(block, dict) and block.get("dim", 3) == 3 and len(known) == len(inputs):
                count = sum(known)
        for output in layer["outputs"][:1]:
            self.variables[output] = count

    def of(self, inputs: list[str]) -> int | None:
        """Gives the channels of the first of some variables, or None."""
        if not inputs:
            return None
        return self.variables.get(inputs[0], self.first if inputs[0] in ("input", "data", "x0") else None)


def _outputs(kernel: tuple[int, ...], kind: str) -> int:
    """Gives the number of a kernel's outputs."""
    axis = 3 if kind == "conv" else 2
    return kernel[axis] if len(kernel) > axis else 1


def _of_image(meta: Any) -> int | None:
    """Gives the number of channels of the images that a network was made for, or None."""
    normalization = meta.get("normalization") if isinstance(meta, dict) else None
    size = normalization.get("imageSize") if isinstance(normalization, dict) else None
    size = size or (meta.get("inputSize") if isinstance(meta, dict) else None)
    if not isinstance(size, list) or len(size) < 2 or not all(isinstance(item, int) for item in size):
        return None
    return size[2] if len(size) > 2 else 1
