"""Where batches come from: drawn on the device, looked up by step, or taken one after another."""

import inspect
from collections.abc import Callable, Iterable, Mapping

import jax
import numpy as np

from jaxcnn._typing import Batch, PRNGKey, PyTree
from jaxcnn.data.random_access import BatchesByStep
from jaxcnn.train.batches import STEP_FIELDS, check_batch, describe_kind

__all__ = ["TracedSource", "IndexedSource", "IterableSource", "Source", "make_source"]

TrainingData = Callable[[PRNGKey], Batch] | BatchesByStep | Iterable[Batch]
"""What ``fit`` takes as ``data``."""


class TracedSource:
    """Batches that a callable ``key -> batch`` draws inside the jitted step.

    A callable that is a registered pytree of arrays is an argument of the jitted step; of any other
    one the arrays are compiled into the step as constants.
    """

    def __init__(self, function: str, data: Callable[[PRNGKey], Batch]):
        """Takes the callable apart from its arrays where it is a pytree."""
        self._function = function
        is_tree = all(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(data))
        self.argument = data if is_tree else None
        self._data = data

    def draw(self, argument: PyTree, key: PRNGKey) -> Batch:
        """Draws a batch; traced."""
        return (self._data if argument is None else argument)(key)

    def at(self, step: int) -> Batch | None:
        """Returns what the host passes to a step: nothing."""

    def first(self, number: int) -> Batch | None:
        """Returns what the host passes to a measurement: nothing."""

    def example(self) -> Batch:
        """Returns shapes and dtypes of a batch."""
        batch = jax.eval_shape(self._data, jax.random.key(0))
        check_batch(self._function, "data", batch)
        return batch


class IndexedSource:
    """Batches by number: an object with ``__getitem__(step)``, or a list or tuple that repeats."""

    argument = None

    def __init__(self, function: str, data: BatchesByStep):
        """Keeps the object."""
        self._function, self._data = function, data
        self._first: Batch | None = None

    def at(self, step: int) -> Batch:
        """Returns the batch of a step."""
        return self._first if step == 0 and self._first is not None else self.read(step)

    def first(self, number: int) -> Batch:
        """Returns one of the first batches."""
        return self.at(number)

    def read(self, step: int) -> Batch:
        """Reads the batch of a step."""
        if isinstance(self._data, list | tuple):
            step = step % len(self._data)
        return _fields(self._function, self._data[step])

    def example(self) -> Batch:
        """Returns the first batch, which is read once."""
        if self._first is None:
            self._first = self.at(0)
        return self._first


class IterableSource:
    """Batches one after another; resuming at a later step skips the ones before it."""

    argument = None

    def __init__(self, function: str, data: Iterable[Batch], kept: int):
        """Starts the first pass; keeps so many of the first batches."""
        self._function, self._data, self._iterator = function, data, iter(data)
        self._taken = 0
        self._current: Batch | None = None
        self._kept: list[Batch] = []
        self._keep = kept

    def at(self, step: int) -> Batch:
        """Returns the batch of a step; steps must not decrease."""
        while self._taken <= step:
            self._current = self._next(step)
            self._taken += 1
            if len(self._kept) < self._keep:
                self._kept.append(_fields(self._function, self._current))
        assert self._current is not None
        return _fields(self._function, self._current)

    def first(self, number: int) -> Batch:
        """Returns one of the first batches; of those that have been taken if they are not as many."""
        return self._kept[number % len(self._kept)]

    def example(self) -> Batch:
        """Returns the first batch; it is still there for step 0."""
        return self.at(0)

    def _next(self, step: int) -> Batch:
        batch = next(self._iterator, None)
        if batch is None:
            self._iterator = iter(self._data)  # the next pass; of an iterator there is none
            batch = next(self._iterator, None)
        if batch is None:
            place = f"until step {step + 1}, got an end after {self._taken} batches"
            raise ValueError(f"{self._function}: data must last {place}.")
        return batch


Source = TracedSource | IndexedSource | IterableSource


def make_source(function: str, data: TrainingData, *, kept: int = 0) -> Source:
    """Makes the source that fits the kind of data.

    Args:
        function: Name for the message.
        data: Callable ``key -> batch``, object with ``__getitem__(step)``, or iterable of batches.
        kept: How many of the first batches ``first`` returns.

    Returns:
        The source.

    Raises:
        ValueError: If it is none of these, or an empty list.
    """
    if callable(data):
        _check_takes_key(function, data)
        return TracedSource(function, data)
    empty = isinstance(data, list | tuple) and not data
    if not isinstance(data, Mapping) and not empty:
        if isinstance(data, BatchesByStep):
            return IndexedSource(function, data)
        if isinstance(data, Iterable):
            return IterableSource(function, data, kept)
    raise ValueError(
        f"{function}: data must be a callable key -> batch, an object with __getitem__(step), "
        f"or an iterable of batches, got {'an empty ' if empty else ''}{type(data).__name__}."
    )


def _check_takes_key(function: str, data: Callable[..., object]) -> None:
    """Refuses a callable that cannot be called with one key."""
    try:
        inspect.signature(data).bind(None)
    except TypeError as error:
        text = f"{function}: data must be a callable key -> batch, got {describe_kind(data)} that cannot be called so"
        raise ValueError(f"{text} ({error}).") from None
    except ValueError:  # the signature is not known
        return


def _fields(function: str, batch: Batch) -> Batch:
    """Checks a host batch and drops what the step does not read, such as file names."""
    check_batch(function, "data", batch)
    return {name: batch[name] for name in STEP_FIELDS if name in batch}
