"""Where batches come from: drawn on the device, looked up by step, or taken one after another."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import jax
import numpy as np

from jaxcnn._typing import Batch, PRNGKey, PyTree

__all__ = ["TracedSource", "IndexedSource", "IterableSource", "Source", "make_source"]

STEP_FIELDS = ("image", "label", "weight")
"""What steps read of a batch."""


@runtime_checkable
class BatchesByStep(Protocol):
    """Batches by number, such as a ``data.Loader`` or a list."""

    def __getitem__(self, step: int, /) -> Batch:
        """Returns the batch of a step."""
        ...


TrainingData = Callable[[PRNGKey], Batch] | BatchesByStep | Iterable[Batch]
"""What ``fit`` takes as ``data``."""


class TracedSource:
    """Batches that a callable ``key -> batch`` draws inside the jitted step.

    A callable that is a registered pytree of arrays is an argument of the jitted step; of any other
    one the arrays are compiled into the step as constants.
    """

    def __init__(self, data: Callable[[PRNGKey], Batch]):
        """Takes the callable apart from its arrays where it is a pytree."""
        is_tree = all(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(data))
        self.argument = data if is_tree else None
        self._data = data

    def draw(self, argument: PyTree, key: PRNGKey) -> Batch:
        """Draws a batch; traced."""
        return (self._data if argument is None else argument)(key)

    def at(self, step: int) -> Batch | None:
        """Returns what the host passes to a step: nothing."""

    def example(self) -> Batch:
        """Returns shapes and dtypes of a batch."""
        return jax.eval_shape(self._data, jax.random.key(0))


class IndexedSource:
    """Batches by number: an object with ``__getitem__(step)``, or a list or tuple that repeats."""

    argument = None

    def __init__(self, data: BatchesByStep):
        """Keeps the object."""
        self._data = data

    def at(self, step: int) -> Batch:
        """Returns the batch of a step."""
        if isinstance(self._data, list | tuple):
            step = step % len(self._data)
        return _fields(self._data[step])

    def example(self) -> Batch:
        """Returns a batch."""
        return self.at(0)


class IterableSource:
    """Batches one after another; resuming at a later step skips the ones before it."""

    argument = None

    def __init__(self, data: Iterable[Batch]):
        """Starts the first pass."""
        self._data, self._iterator = data, iter(data)
        self._taken = 0
        self._current: Batch | None = None

    def at(self, step: int) -> Batch:
        """Returns the batch of a step; steps must not decrease."""
        while self._taken <= step:
            self._current = self._next(step)
            self._taken += 1
        assert self._current is not None
        return _fields(self._current)

    def example(self) -> Batch:
        """Returns the first batch; it is still there for step 0."""
        return self.at(0)

    def _next(self, step: int) -> Batch:
        batch = next(self._iterator, None)
        if batch is None and not isinstance(self._data, Iterator):
            self._iterator = iter(self._data)
            batch = next(self._iterator, None)
        if batch is None:
            raise ValueError(f"fit: data must last until step {step + 1}, got an end after {self._taken} batches.")
        return batch


Source = TracedSource | IndexedSource | IterableSource


def make_source(function: str, data: TrainingData) -> Source:
    """Makes the source that fits the kind of data.

    Args:
        function: Name for the message.
        data: Callable ``key -> batch``, object with ``__getitem__(step)``, or iterable of batches.

    Returns:
        The source.

    Raises:
        ValueError: If it is none of these, or an empty list.
    """
    if callable(data):
        return TracedSource(data)
    empty = isinstance(data, list | tuple) and not data
    if not isinstance(data, Mapping) and not empty:
        if isinstance(data, BatchesByStep):
            return IndexedSource(data)
        if isinstance(data, Iterable):
            return IterableSource(data)
    raise ValueError(
        f"{function}: data must be a callable key -> batch, an object with __getitem__(step), "
        f"or an iterable of batches, got {'an empty ' if empty else ''}{type(data).__name__}."
    )


def _fields(batch: Batch) -> Batch:
    """Drops from a host batch what the step does not read, such as file names."""
    return {name: batch[name] for name in STEP_FIELDS if name in batch}
