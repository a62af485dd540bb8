"""Where batches come from: drawn on the device, looked up by step, or taken one after another."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, cast

import jax
import numpy as np

from jaxcnn._typing import Batch, PRNGKey

__all__ = ["Drawn", "Indexed", "Iterated", "Source", "make_source"]

STEP_FIELDS = ("image", "label", "weight")


class Drawn:
    """Batches that a callable ``key -> batch`` draws inside the jitted step.

    A callable that is a registered pytree of arrays is an argument of the jitted step; of any other
    one the arrays are compiled into the step as constants.
    """

    def __init__(self, data: Callable[[PRNGKey], Batch]):
        """Takes the callable apart from its arrays where it is a pytree."""
        is_tree = all(isinstance(leaf, jax.Array | np.ndarray) for leaf in jax.tree.leaves(data))
        self.argument = data if is_tree else None
        self._data = data

    def draw(self, argument: Any, key: PRNGKey) -> Batch:
        """Draws a batch; traced."""
        return (self._data if argument is None else argument)(key)

    def at(self, step: int) -> Batch | None:
        """Gives what the host hands to a step: nothing."""

    def example(self) -> Batch:
        """Gives shapes and dtypes of a batch."""
        return jax.eval_shape(self._data, jax.random.key(0))


class Indexed:
    """Batches by number: an object with ``__getitem__(step)``, or a list or tuple that is gone through in circles."""

    argument = None

    def __init__(self, data: Any):
        """Keeps the object."""
        self._data = data

    def at(self, step: int) -> Batch:
        """Gives the batch of a step."""
        circular = isinstance(self._data, list | tuple)
        return _fields(self._data[step % len(self._data) if circular else step])

    def example(self) -> Batch:
        """Gives a batch."""
        return self.at(0)


class Iterated:
    """Batches one after another; going on at a later step skips the ones before, pass after pass."""

    argument = None

    def __init__(self, data: Iterable[Batch]):
        """Starts the first pass."""
        self._data, self._iterator = data, iter(data)
        self._taken = 0
        self._current: Batch | None = None

    def at(self, step: int) -> Batch:
        """Gives the batch of a step; steps must not decrease."""
        while self._taken <= step:
            self._current = self._next(step)
            self._taken += 1
        assert self._current is not None
        return _fields(self._current)

    def example(self) -> Batch:
        """Gives the first batch; it is still there for step 0."""
        return self.at(0)

    def _next(self, step: int) -> Batch:
        batch = next(self._iterator, None)
        if batch is None and not isinstance(self._data, Iterator):
            self._iterator = iter(self._data)
            batch = next(self._iterator, None)
        if batch is None:
            raise ValueError(f"fit: data must last until step {step + 1}, got an end after {self._taken} batches.")
        return batch


Source = Drawn | Indexed | Iterated


def make_source(function: str, data: Any) -> Source:
    """Finds out which kind of data it is.

    Args:
        function: Name for the message.
        data: Callable ``key -> batch``, object with ``__getitem__(step)``, or iterable of batches.

    Returns:
        The source.

    Raises:
        ValueError: If it is none of them, or an empty list.
    """
    if callable(data):
        return Drawn(cast(Callable[[PRNGKey], Batch], data))
    empty = isinstance(data, list | tuple) and not data
    if not isinstance(data, Mapping) and not empty:
        if hasattr(data, "__getitem__"):
            return Indexed(data)
        if isinstance(data, Iterable):
            return Iterated(data)
    raise ValueError(
        f"{function}: data must be a callable key -> batch, an object with __getitem__(step), "
        f"or an iterable of batches, got {'an empty ' if empty else ''}{type(data).__name__}."
    )


def _fields(batch: Batch) -> Batch:
    """Leaves out of a host batch what the step does not read, file names for example."""
    return {name: batch[name] for name in STEP_FIELDS if name in batch}
