"""Evaluation of a whole data set in chunks of one size, so that the evaluation step compiles once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import numpy as np

from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import Array, Batch
from jaxcnn.train.sources import STEP_FIELDS
from jaxcnn.train.state import State

__all__ = ["Evaluator", "TestData", "chunk_size", "chunks"]


@runtime_checkable
class Epochs(Protocol):
    """Data that can be gone through once in order, such as a ``data.Loader``."""

    def epoch(self) -> Iterable[Batch]:
        """Returns the batches of one pass."""
        ...


TestData = Batch | Sequence[Batch] | Epochs | Callable[[], Iterable[Batch]]
"""What ``fit`` takes as ``evaluate``."""


class Evaluator:
    """Evaluates states on one data set.

    Args of the constructor: ``step`` is a jitted evaluation step, ``data`` one batch, a list of
    batches, an object with ``epoch()`` or a callable without arguments that returns an iterable of
    batches, ``limit`` the largest chunk.
    """

    def __init__(self, function: str, step: Callable[[State, Batch], Mapping[str, Array]], data: TestData, limit: int):
        """Checks the kind of data."""
        check(is_integer_at_least(limit, 1), function, "evaluate_batch", "a positive integer", limit)
        kinds = "one batch, a list of batches, an object with epoch(), or a callable that returns an iterable"
        known = isinstance(data, Mapping | Sequence | Epochs) or callable(data)
        check(known, function, "evaluate", kinds, type(data).__name__)
        self._function, self._step, self._data, self._limit = function, step, data, limit
        self._size: int | None = None

    def _batches(self) -> Iterable[Batch]:
        if isinstance(self._data, Mapping):
            return [self._data]
        if isinstance(self._data, Sequence):
            return self._data
        return self._data.epoch() if isinstance(self._data, Epochs) else self._data()

    @property
    def fresh(self) -> bool:
        """Whether nothing has been evaluated, so nothing compiled, yet."""
        return self._size is None

    def __call__(self, state: State) -> dict[str, np.ndarray]:
        """Returns the mean of every metric over all examples."""
        sums = []
        for batch in self._batches():
            n = len(batch["label"])
            if self._size is None and n > 0:
                self._size = chunk_size(n, self._limit)
            if n > 0:
                sums += [self._step(state, chunk) for chunk in chunks(batch, self._size or n)]
        check(bool(sums), self._function, "evaluate", "at least one example", "none")
        # Sums of chunks add up in float64 on the host: the number of chunks costs no digits.
        total = jax.tree.map(lambda *parts: np.sum(np.asarray(parts, np.float64), axis=0), *jax.device_get(sums))
        count = total.pop("count")
        return {
            name: np.asarray(value / np.expand_dims(count, tuple(range(count.ndim, value.ndim))))
            for name, value in total.items()
        }


def chunk_size(n: int, limit: int) -> int:
    """Divides ``n`` examples into the fewest chunks of at most ``limit``, as equal as can be."""
    return -(-n // -(-n // limit))


def chunks(batch: Batch, size: int) -> Iterator[dict[str, Any]]:
    """Cuts a batch into chunks of one size; the last is padded with its first example at weight 0."""
    n = len(batch["label"])
    fields = {name: batch[name] for name in STEP_FIELDS if name in batch}
    fields.setdefault("weight", np.ones(n, np.float32))
    for start in range(0, n, size):
        chunk = {name: values[start : start + size] for name, values in fields.items()}
        missing = size - len(chunk["label"])
        if missing:
            padded = {name: np.asarray(values) for name, values in chunk.items()}
            chunk = {name: np.concatenate([v, np.repeat(v[:1], missing, axis=0)]) for name, v in padded.items()}
            chunk["weight"][size - missing :] = 0
        yield chunk
