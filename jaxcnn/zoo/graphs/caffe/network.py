"""What the tables of Caffe's layers build with: blobs and how they are held, weights, names."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.graphs.nodes import Input, Node
from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.graphs.builder import GraphBuilder
from jaxcnn.zoo.graphs.caffe.layer_options import LayerOptions
from jaxcnn.zoo.graphs.caffe.wiring import Top, WiredLayer, describe_layer

__all__ = ["Blob", "CaffeNetwork", "Layer", "LayerRule", "Unsupported"]

Shape = tuple[int | None, ...]
_LARGEST_BLOB = 2**31


class Unsupported(Exception):
    """A layer that is used in a way that cannot be imported; it is reported among the unknown operations."""


@dataclasses.dataclass(frozen=True)
class Blob:
    """A value of the graph and what Caffe sees in it.

    Attributes:
        value: Name of the value.
        shape: Shape of one example in Caffe's order, None where any size is accepted.
        last: Whether the first of these axes, the channels, is held last.
    """

    value: str
    shape: Shape
    last: bool = False

    @property
    def rank(self) -> int:
        """Number of axes, without the batch."""
        return len(self.shape)

    @property
    def held(self) -> Shape:
        """The shape as the graph holds it."""
        return self.shape[1:] + self.shape[:1] if self.last else self.shape

    def axis(self, axis: int) -> int:
        """Converts one of Caffe's axes, without the batch, to the axis that the graph holds it on."""
        return (axis - 1 if axis else self.rank - 1) if self.last else axis


class CaffeNetwork:
    """A network while it is imported.

    Args:
        builder: Collects the parts.
        batch: Size of the batch that the file states, or None.
    """

    def __init__(self, builder: GraphBuilder, *, batch: int | None = None):
        self.builder, self.batch = builder, batch
        self.blobs: dict[Top, Blob] = {}
        self.missing: list[str] = []
        self.fan_ins: list[tuple[int | None, int]] = []  # of inner products: what they read, and have weights for
        self.remainder = 0  # pixels that no window of a convolution or pool reaches
        self.shared: dict[str, tuple[str, Shape]] = {}
        self._converted: dict[tuple[str, str], Blob] = {}

    def add_input(self, blob: Blob) -> None:
        """Adds an input, whose name is taken."""
        self.builder.inputs.append(Input(blob.value, blob.held))

    def convert(self, layer: "Layer", blob: Blob, order: str) -> Blob:
        """Returns a blob with its channels last (``"last"``), or in Caffe's order (``"source"``)."""
        if blob.rank < 2 or blob.last == (order == "last"):
            return blob
        if (blob.value, order) not in self._converted:
            axes = (*range(1, blob.rank), 0) if order == "last" else (blob.rank - 1, *range(blob.rank - 1))
            self._converted[blob.value, order] = layer.add(
                "permute",
                [blob],
                blob.shape,
                last=order == "last",
                options={"axes": axes},
                name=f"{blob.value}_{order}",
            )
        return self._converted[blob.value, order]


class Layer:
    """One layer while it is imported: its blobs, its parameters, and what it adds to the graph.

    Args:
        network: The network.
        wired: What it reads and writes.
    """

    def __init__(self, network: CaffeNetwork, wired: WiredLayer):
        self.network, self.wired = network, wired
        self.name, self.kind, self.fields = wired.name, wired.kind, wired.fields
        self.bottoms = [network.blobs[top] for top in wired.bottoms]
        self._weights = 0

    def error(self, reason: str) -> FormatError:
        """Builds the error to raise for this layer."""
        return self.network.builder.error(f"{describe_layer(self.name, self.kind)}: {reason}")

    def note(self, text: str) -> None:
        """Records something about the layer."""
        self.network.builder.note(f"{self.name}: {text}")

    def options(self, name: str) -> LayerOptions:
        """Returns parameters by the name of their message, without ``_param``."""
        values = self.fields.get(f"{name}_param")
        return LayerOptions(f"{name}_param", {} if values is None else values, self.error)

    def check_counts(self, bottoms: int | tuple[int, int | None], tops: int | tuple[int, int | None] = 1) -> None:
        """Checks how many blobs it reads and writes."""
        for key, allowed, found in (
            ("bottom", bottoms, len(self.wired.bottoms)),
            ("top", tops, len(self.wired.tops)),
        ):
            low, high = (allowed, allowed) if isinstance(allowed, int) else allowed
            if found < low or (high is not None and found > high):
                count = f"{low}" if low == high else f"at least {low}" if high is None else f"{low} to {high}"
                raise self.error(f"it must have {count} {key}{'s' * (count != '1')}, got {found}.")

    @property
    def bottom(self) -> Blob:
        """The first blob that it reads."""
        return self.bottoms[0]

    def image(self, place: int = 0) -> Blob:
        """Returns a blob that it reads with the channels last; it must be an image (channels, height, width)."""
        blob = self.bottoms[place]
        if blob.rank != 3:
            raise self.error(f"it must read images (batch, channels, height, width), got {self.show(blob)}.")
        return self.last(blob)

    def last(self, blob: Blob) -> Blob:
        """Returns a blob with the channels last."""
        return self.network.convert(self, blob, "last")

    def source(self, blob: Blob) -> Blob:
        """Returns a blob in Caffe's order of axes."""
        return self.network.convert(self, blob, "source")

    def alike(self, blobs: Sequence[Blob]) -> list[Blob]:
        """Returns blobs that are all held in one order: the channels last if one of them is."""
        order = self.last if any(blob.last for blob in blobs) else self.source
        return [order(blob) for blob in blobs]

    def show(self, blob: Blob) -> str:
        """Prints the shape of a blob for messages."""
        return f"({', '.join(['batch', *('any' if size is None else str(size) for size in blob.shape)])})"

    def axis(self, axis: int, blob: Blob, *, what: str = "axis") -> int:
        """Converts an axis that the file states to one of an example; the batch's is -1."""
        rank = blob.rank + 1
        if not -rank <= axis < rank:
            raise self.error(f"{what} must be in [{-rank}, {rank}), got {axis}.")
        return axis % rank - 1

    def example_axis(self, axis: int, blob: Blob) -> int:
        """Converts an axis that the file states to one of an example."""
        found = self.axis(axis, blob)
        if found < 0:
            raise Unsupported("along the batch")
        return found

    def weight(
        self, part: str, shape: Shape, role: str, *, collection: str = "params", fits: Callable[..., Any] | None = None
    ) -> str:
        """Takes an array of the file as a parameter.

        Args:
            part: What the reader of weights calls it.
            shape: The shape that it must have; None where any size is right.
            role: What the operation calls it.
            collection: Where it is among the variables.
            fits: Converts the array before its shape is checked.

        Returns:
            The path of the parameter. Where it is missing or has another shape, that is reported in the end.
        """
        network, place = self.network, self._weights
        self._weights += 1
        spec = self.fields.get("param")
        spec = spec[place] if isinstance(spec, list | tuple) and place < len(spec) else None
        name = spec.get("name") if isinstance(spec, Mapping) else spec
        path = f"{'/'.join(part or '_' for part in self.name.split('/'))}/{role}"
        if isinstance(name, str) and name:
            if name in network.shared:
                known, owned = network.shared[name]
                if owned == shape:
                    return known
                raise self.error(f"it shares the parameter {name!r:.60} of shape {owned}, and needs {shape}.")
            network.shared[name] = path, shape
        array = network.builder.tensors.get(f"{self.name}/{part}")
        if array is None:
            network.missing.append(f"{self.name}/{part} (missing)")
            return self._register(path, _zeros(shape), collection)
        found = array if fits is None else fits(array)
        right = found.ndim == len(shape) and all(b in (None, a) for a, b in zip(found.shape, shape, strict=True))
        if not right or found.dtype.kind not in "fiu":
            kind = "" if found.dtype.kind in "fiu" else f" {found.dtype}"
            expected = tuple("any" if size is None else size for size in shape)
            network.missing.append(f"{self.name}/{part} (of shape {array.shape}{kind}, expected {expected})")
            return self._register(path, _zeros(shape), collection)
        return self._register(path, found.astype(np.float32, copy=False), collection)

    def register(self, role: str, array: np.ndarray, place: int) -> str:
        """Registers an array that the description implies, and returns its path."""
        name = "/".join(part or "_" for part in self.name.split("/"))
        return self._register(f"{name}/{role}{place or ''}", array, "constants")

    def has(self, part: str) -> bool:
        """Returns whether the file has an array of the layer."""
        return f"{self.name}/{part}" in self.network.builder.tensors

    def tensor(self, part: str) -> np.ndarray | None:
        """Returns an array of the file, or None."""
        return self.network.builder.tensors.get(f"{self.name}/{part}")

    def _register(self, path: str, array: np.ndarray, collection: str) -> str:
        if path in self.network.builder.arrays:
            raise self.error("another layer with weights has the same name.")
        return self.network.builder.add_parameter(path, array, collection=collection)

    def add(
        self,
        op: str,
        blobs: Sequence[Blob],
        shape: Shape,
        *,
        last: bool = False,
        options: Mapping[str, Any] | None = None,
        parameters: Mapping[str, str] | None = None,
        name: str | None = None,
    ) -> Blob:
        """Adds a node before the layer's last one.

        Args:
            op: The operation.
            blobs: What it reads.
            shape: Shape of an example of what it writes, in Caffe's order.
            last: Whether the channels are held last.
            options: Options of the operation.
            parameters: Role to path.
            name: Name of the node and of the value; by default those of layer and operation.

        Returns:
            What it writes.
        """
        inputs = [blob.value for blob in blobs]
        name = f"{self.name}_{op}" if name is None else name
        value = self.network.builder.add(op, name, inputs, options=options, parameters=parameters, source=self.kind)
        return self._checked(Blob(value, shape, last and len(shape) > 1))

    def finish(
        self,
        op: str,
        blobs: Sequence[Blob],
        shape: Shape,
        *,
        last: bool = False,
        options: Mapping[str, Any] | None = None,
        parameters: Mapping[str, str] | None = None,
        top: int = 0,
    ) -> Blob:
        """Adds the node that writes a top of the layer, as ``add`` does."""
        value = self.wired.tops[top].value
        name = self.wired.node if top == 0 else value
        node = Node(name, op, tuple(blob.value for blob in blobs), (value,), options or {}, parameters or {}, self.kind)
        self.network.builder.nodes.append(node)
        return self._checked(Blob(value, shape, last and len(shape) > 1))

    def finish_several(self, op: str, blob: Blob, shapes: Sequence[Shape], options: Mapping[str, Any]) -> list[Blob]:
        """Adds the node that writes all tops of the layer."""
        values = tuple(top.value for top in self.wired.tops)
        node = Node(self.wired.node, op, (blob.value,), values, options, {}, self.kind)
        self.network.builder.nodes.append(node)
        return [self._checked(Blob(value, shape, blob.last)) for value, shape in zip(values, shapes, strict=True)]

    def _checked(self, blob: Blob) -> Blob:
        total = 1
        for size in blob.shape:
            total *= 1 if size is None else size
            if (size is not None and size < 1) or total >= _LARGEST_BLOB:
                raise self.error(f"its result would have the shape {self.show(blob)}.")
        return blob


LayerRule = Callable[[Layer], Blob | list[Blob]]
"""Adds a layer to the graph; returns what it writes, one blob for each top."""


def _zeros(shape: Shape) -> np.ndarray:
    """Returns an array that takes no memory, in the place of one that is missing."""
    return np.broadcast_to(np.zeros((), np.float32), tuple(1 if size is None else size for size in shape))
