"""What the tensors of a TensorFlow Lite model are while it is imported: values of the graph, constants, sizes."""

import dataclasses
from fractions import Fraction
from typing import Any

import numpy as np

__all__ = ["Constant", "Size", "Value", "concrete", "describe_sizes"]


@dataclasses.dataclass(frozen=True)
class Value:
    """A value that depends on the network's input.

    Attributes:
        name: Its name in the graph.
        shape: The shape of one example, without the batch.
        dtype: Name of its dtype.
        batch: Which axis of the source's tensor is the batch; None where the source has removed it.
        block: Where the source holds it in blocks of pixels along the batch (``SPACE_TO_BATCH_ND``): their height and
            width; here it is held as maps.
        weighted: Whether a layer with a kernel comes before it.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"
    batch: int | None = 0
    block: tuple[int, int] | None = None
    weighted: bool = False

    @property
    def rank(self) -> int:
        """The rank of the source's tensor."""
        return len(self.shape) + (self.batch is not None)

    def source_shape(self, batch: int) -> tuple[int, ...]:
        """Returns the shape of the source's tensor, for a size of the batch."""
        at = self.batch
        return self.shape if at is None else (*self.shape[:at], batch, *self.shape[at:])

    def axis(self, axis: int) -> int:
        """Converts an axis of the source's tensor to one of the example; raises for the batch."""
        place = self.place(axis)
        if place == self.batch:
            raise ValueError(f"axis {axis} is the batch.")
        return place - (self.batch is not None and place > self.batch)

    def place(self, axis: int) -> int:
        """Converts an axis of the source's tensor, which may count from the end, to one from the front."""
        if not -self.rank <= axis < self.rank:
            raise ValueError(f"axis must be in [{-self.rank}, {self.rank}), got {axis}.")
        return axis % self.rank


@dataclasses.dataclass(frozen=True)
class Constant:
    """An array of the file, or computed from such arrays.

    Attributes:
        array: Its numbers; of dtype object where some of them are sizes of values.
        name: The source's name of the tensor.
        layout: The source's order of the axes where the reader has moved them.
    """

    array: np.ndarray
    name: str
    layout: str | None = None


@dataclasses.dataclass(frozen=True)
class Size:
    """A number that is proportional to the size of an axis of a value, or to the batch.

    Attributes:
        number: What it is for the stated input.
        value: Name of the value; None for the batch.
        axis: Axis of the example.
        factor: Of the size.
    """

    number: int
    value: str | None
    axis: int = 0
    factor: Fraction = Fraction(1)

    def __mul__(self, other: Any) -> "Size | int":
        """Multiplies by a number; the product of sizes is a number."""
        if self.value is None or isinstance(other, Size):
            return self if other == 1 and not isinstance(other, Size) else self.number * int(other)
        factor = self.factor * Fraction(float(other)).limit_denominator(4096)
        return dataclasses.replace(self, number=int(self.number * other), factor=factor)

    __rmul__ = __mul__

    def __floordiv__(self, other: Any) -> "Size | int":
        """Divides by a number."""
        divisor = int(other)
        if isinstance(other, Size) or self.value is None or divisor < 1 or self.number % divisor:
            return self if not isinstance(other, Size) and divisor == 1 else self.number // divisor
        return dataclasses.replace(self, number=self.number // divisor, factor=self.factor / divisor)

    __truediv__ = __floordiv__

    def __int__(self) -> int:
        """Returns the number for the stated input."""
        return self.number

    __index__ = __int__

    def __float__(self) -> float:
        """Returns the number for the stated input."""
        return float(self.number)

    def __add__(self, other: Any) -> int:
        """Adds a number, which is no longer a multiple of the size."""
        return self.number + int(other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> int:
        """Subtracts a number."""
        return self.number - int(other)

    def __rsub__(self, other: Any) -> int:
        """Subtracts from a number."""
        return int(other) - self.number

    def __rfloordiv__(self, other: Any) -> int:
        """Divides a number."""
        return int(other) // self.number

    __rtruediv__ = __rfloordiv__

    def __lt__(self, other: Any) -> bool:
        """Compares the numbers."""
        return self.number < int(other)

    def __gt__(self, other: Any) -> bool:
        """Compares the numbers."""
        return self.number > int(other)


def concrete(array: np.ndarray) -> np.ndarray:
    """Replaces sizes by their numbers for the stated input.

    Args:
        array: Numbers, of dtype object where some are sizes.

    Returns:
        The numbers.
    """
    if array.dtype != object:
        return array
    return np.array([int(one) for one in array.reshape(-1)], np.int64).reshape(array.shape)


def describe_sizes(value: Value, batch: int) -> np.ndarray:
    """Lists the sizes of the source's tensor, as they follow from the input.

    Args:
        value: The value.
        batch: Size of the batch in the file.

    Returns:
        A vector of dtype object.
    """
    sizes: list[Size] = [Size(size, value.name, axis) for axis, size in enumerate(value.shape)]
    if value.batch is not None:
        sizes.insert(value.batch, Size(batch, None))
    found = np.empty(len(sizes), object)
    found[:] = sizes
    return found
