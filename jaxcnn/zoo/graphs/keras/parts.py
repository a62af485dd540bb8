"""What the layers of a model share while it is imported: the file's weights, the graph's parameters."""

from collections.abc import Sequence

import numpy as np

from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.graphs.builder import GraphBuilder
from jaxcnn.zoo.graphs.keras.configuration import LayerSpec
from jaxcnn.zoo.graphs.keras.weights import WeightFinder, describe_shape, list_roles

__all__ = ["KerasParts"]

_SHOWN = 12


class KerasParts:
    """What the layers of a model share while it is imported.

    Args:
        builder: Collects nodes and parameters.
        weights: Finds the tensors of the file.
        version: Of Keras, as the file states it.
        backend: Of Keras, as the file states it; empty if it does not.
    """

    def __init__(self, builder: GraphBuilder, weights: WeightFinder, version: str, backend: str = ""):
        self.builder, self.weights, self.version, self.backend = builder, weights, version, backend
        self._arrays: dict[str, np.ndarray] = {}
        self._faults: dict[str, str] = {}

    def error(self, reason: str) -> FormatError:
        """Builds the error to raise for the file."""
        return self.builder.error(reason)

    @property
    def is_keras_3(self) -> bool:
        """Whether Keras 3 or later wrote the file."""
        return self.version.split(".")[0].isdecimal() and int(self.version.split(".")[0]) >= 3

    @property
    def cubic_steps(self) -> int | None:
        """The steps to which cubic interpolation rounds positions, as TensorFlow does; None if it is exact."""
        old = bool(self.version) and not self.is_keras_3
        return 1024 if self.backend == "tensorflow" or (old and not self.backend) else None

    def list_roles(self, layer: LayerSpec) -> tuple[str, ...]:
        """Lists the weights of a layer."""
        return list_roles(layer)

    def find_weight(
        self, path: tuple[str, ...], layer: LayerSpec, role: str, shape: Sequence[int | None] | None
    ) -> np.ndarray | None:
        """Finds a weight and checks its shape; faults are reported together by ``check_weights``."""
        array = self.weights.find(path, layer, role)
        name = f"{'/'.join(path)}/{role}"
        expected = describe_shape(shape) if shape is not None else ""
        if array is None:
            self._faults[name] = f"{name!r} {expected} is missing"
        elif array.dtype != np.float32 and role != "count":
            self._faults[name] = f"{name!r} has the dtype {array.dtype}: quantized layers are not supported"
        elif shape is not None and (
            array.ndim != len(shape) or any(n not in (None, m) for n, m in zip(shape, array.shape, strict=True))
        ):
            self._faults[name] = f"{name!r} must be {expected} and is {array.shape}"
        else:
            return array
        return None

    def add_parameter(self, path: str, array: np.ndarray | None, collection: str) -> str:
        """Adds an array unless its path is there: the calls of a layer share it."""
        if array is None:  # a fault that check_weights reports
            return path
        if path not in self._arrays:
            self._arrays[path] = array
            self.builder.add_parameter(path, array, collection=collection)
        return path

    def check_weights(self) -> None:
        """Raises an error that lists missing and misshapen weights, if there are any."""
        if not self._faults:
            return
        faults = list(self._faults.values())
        more = f"; and {len(faults) - _SHOWN} more" if len(faults) > _SHOWN else ""
        raise self.error(f"does not fit its own configuration: {'; '.join(faults[:_SHOWN])}{more}.")
