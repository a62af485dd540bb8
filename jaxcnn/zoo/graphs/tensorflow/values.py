"""What the nodes of a TensorFlow graph compute while it is imported: constants, values of the network, and others."""

import dataclasses
from typing import Any, Literal

import numpy as np

from jaxcnn.zoo.graphs.tensorflow.sizes import BATCH, Dimension, SymbolicSize, divide_exactly

__all__ = [
    "DEAD",
    "Blocks",
    "FoldedConstant",
    "Dead",
    "Noise",
    "Result",
    "UnsupportedNode",
    "GraphValue",
    "broadcast_dims",
    "product",
]


_KEEPING = ("Reshape", "Squeeze", "ExpandDims", "Cast", "Transpose", "BiasAdd", "Dequantize")
_KEEPING += ("FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel", "FakeQuantWithMinMaxArgs")


class UnsupportedNode(Exception):
    """An operation, or a use of one, that the importer does not know."""


class Dead:
    """What the branch of a condition computes that is not taken."""


DEAD = Dead()
"""The only one."""


@dataclasses.dataclass(frozen=True, eq=False)
class FoldedConstant:
    """An array that is known, or a vector of sizes of which some are not: then its dtype is object.

    Attributes:
        array: The array, in TensorFlow's order of axes.
        name: Name of the constant or variable; empty for what is computed of others.
        op: The operation that computed it; empty for constants of the file.
        inputs: What it was computed of.
        trained: Whether it is a variable of the trained network, as far as the file shows.
    """

    array: np.ndarray
    name: str = ""
    op: str = ""
    inputs: tuple["FoldedConstant", ...] = ()
    trained: bool = False

    def root(self) -> "FoldedConstant":
        """Returns the named constant that this one is but for its shape and dtype, or else itself."""
        found = self
        while not found.name and found.inputs and found.op in _KEEPING:
            found = found.inputs[0]
        return found


@dataclasses.dataclass(frozen=True)
class Blocks:
    """A map that SpaceToBatch has cut: held whole, so that a convolution of it is a dilated one.

    Attributes:
        sizes: The block, per spatial axis.
        padding: What is still to be padded, pairs.
    """

    sizes: tuple[int, ...]
    padding: tuple[tuple[Dimension, Dimension], ...]


@dataclasses.dataclass(frozen=True)
class GraphValue:
    """A value of the network.

    Attributes:
        name: Its name in the graph that is built.
        dims: TensorFlow's shape, with the batch.
        batch: Where the batch is: ``"leading"``, the first axis; ``"merged"``, joined with the first axis, which is
            held as the first axis of each example; ``"none"``, nowhere: a single example.
        first: Whether TensorFlow's order is channels first; it is held channels last.
        dtype: TensorFlow's name of its dtype.
        blocks: Set between SpaceToBatch and BatchToSpace.
        transposed: The name of the Transpose that put the channels first, while nothing has been computed of it since.
    """

    name: str
    dims: tuple[Dimension, ...]
    batch: Literal["leading", "merged", "none"] = "leading"
    first: bool = False
    dtype: str = "float32"
    blocks: Blocks | None = None
    transposed: str = ""

    @property
    def rank(self) -> int:
        """The number of TensorFlow's axes."""
        return len(self.dims)

    @property
    def example(self) -> tuple[Dimension, ...]:
        """The shape of one example in TensorFlow's order."""
        if self.batch == "leading":
            return self.dims[1:]
        if self.batch == "merged":
            share = divide_exactly(self.dims[0], BATCH)
            return (share if share is not None else SymbolicSize.symbol(f"share of {self.name}"), *self.dims[1:])
        return self.dims

    @property
    def held(self) -> tuple[Dimension, ...]:
        """The shape of one example as it is held."""
        shape = self.example
        return (*shape[1:], shape[0]) if self.first else shape

    def axis(self, axis: int) -> int:
        """Converts TensorFlow's axis to the axis of an example.

        Raises:
            Unsupported: If it is the batch, or there is no such axis.
        """
        if not -self.rank <= axis < self.rank:
            raise UnsupportedNode(f"the axis {axis} of a value of {self.rank} axes")
        axis %= self.rank
        if self.batch != "none" and axis == 0:
            raise UnsupportedNode("an operation along the batch")
        axis -= self.batch == "leading"
        if self.first:
            return axis - 1 if axis else len(self.example) - 1
        return axis


@dataclasses.dataclass(frozen=True)
class Noise:
    """Random numbers, uniform from ``low`` to ``low + 1``, or the mask that dropout makes of them.

    Attributes:
        low: The lower end.
        keep: Of a mask: the probability of 1.
    """

    low: float = 0.0
    keep: float | None = None


Result = Any
"""A ``Constant``, a ``Value``, ``Noise`` or ``DEAD``; what an operation takes of these, its function checks."""


def product(dims: tuple[Dimension, ...]) -> Dimension:
    """Multiplies sizes."""
    total: Dimension = 1
    for size in dims:
        total = total * size
    return total


def broadcast_dims(*shapes: tuple[Dimension, ...]) -> tuple[Dimension, ...]:
    """Computes the shape of values that broadcast.

    Raises:
        ValueError: If two known sizes differ.
    """
    rank = max(len(shape) for shape in shapes)
    result: list[Dimension] = []
    for axis in range(-rank, 0):
        sizes = [shape[axis] for shape in shapes if len(shape) >= -axis]
        wide = [size for size in sizes if not (isinstance(size, int) and size == 1)]
        known = {size for size in wide if isinstance(size, int)}
        if len(known) > 1:
            raise ValueError(f"the shapes {', '.join(map(str, shapes))} do not broadcast.")
        result.append(next(iter(known)) if known else wide[0] if wide else 1)
    return tuple(result)
