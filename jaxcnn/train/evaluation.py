"""Evaluation of a whole data set in chunks of one size, so that the evaluation step compiles once."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import Array, Batch
from jaxcnn.data.random_access import Epochs
from jaxcnn.train.batches import STEP_FIELDS, LabelCheck, check_batch
from jaxcnn.train.state import State

__all__ = ["Evaluator", "TestData", "chunk_size", "chunks"]


TestData = Batch | Sequence[Batch] | Epochs | Callable[[], Iterable[Batch]]
"""What ``fit`` takes as ``evaluate``."""


class Evaluator:
    """Evaluates states on one data set.

    Args of the constructor: ``step`` is a jitted evaluation step, ``data`` one batch, a list of
    batches, an object with ``epoch()`` or a callable without arguments that returns an iterable of
    batches, ``limit`` the largest chunk, ``labels`` checks the labels,
    ``plain`` is the evaluation step of one model.
    """

    def __init__(
        self,
        function: str,
        step: Callable[[State, Batch], Mapping[str, Array]],
        data: TestData,
        limit: int,
        labels: LabelCheck,
        plain: Callable[[State, Batch], Mapping[str, Array]],
    ):
        """Checks the kind of data, and data that are on the host already."""
        check(is_integer_at_least(limit, 1), function, "evaluate_batch", "a positive integer", limit)
        kinds = "one batch, a list of batches, an object with epoch(), or a callable that returns an iterable"
        known = isinstance(data, Mapping | Sequence | Epochs) or callable(data)
        check(known, function, "evaluate", kinds, type(data).__name__)
        self._function, self._step, self._data, self._limit = function, step, data, limit
        self._labels, self._plain = labels, plain
        self._size: int | None = None
        if isinstance(data, Mapping | list | tuple):
            sizes = []
            for batch in self._batches():
                self._check(batch)
                sizes.append(len(batch["label"]))
            check(sum(sizes) > 0, function, "evaluate", "at least one example", "none")

    def check_metric(self, state: State, metric: str | None) -> None:
        """Refuses a metric by which no evaluation is best, one with several values per example; reads a batch.

        Args:
            state: A state of one model.
            metric: Name, with or without a minus.
        """
        if metric is None or not (isinstance(self._data, Mapping | list | tuple | Epochs)):
            return
        for batch in self._batches():
            if len(batch["label"]) == 0:
                continue
            fields = {name: jax.ShapeDtypeStruct(batch[name].shape, batch[name].dtype) for name in ("image", "label")}
            values = jax.eval_shape(self._plain, state, fields)[metric.removeprefix("-")]
            expected = "a metric with one value per example"
            check(values.ndim == 0, self._function, "best", expected, f"{metric!r} with shape {values.shape} each")
            break

    def _check(self, batch: Batch) -> None:
        check_batch(self._function, "evaluate", batch)
        self._labels.check_labels("evaluate", batch["label"], "")

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
            if not isinstance(self._data, Mapping | list | tuple):
                self._check(batch)
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
