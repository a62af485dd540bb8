"""Host batches by number."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import Batch
from jaxcnn.data.shuffling import permutation

__all__ = ["Loader"]


class Loader:
    """Batches of a source as NumPy arrays, each found by its number.

    ``loader[step]`` depends on ``(seed, step)`` only: a run that continues at any step sees what it
    would have seen. Steps go on through the epochs, each with an order of its own. Iteration, and
    ``epoch()``, give one pass for evaluation instead: every example once, in the source's order.

    A batch is ``{"image": (n, h, w, c), "label": (n,)}`` plus what else the items hold; integer labels
    become int32.

    Attributes:
        batch_size: Examples per batch.
        seed: Determines the order of all epochs.
        steps_per_epoch: Batches until the source is used up.

    Raises:
        ValueError: If the source is empty or smaller than a full batch, its arrays differ in length,
            or items that belong into one batch differ in shape.

    Example:
        >>> loader = data.Loader(data.digits(split="test"), 32, seed=0)
        >>> loader.steps_per_epoch, loader[0]["image"].shape, loader[1000]["label"].shape
        (11, (32, 20, 20, 1), (32,))
        >>> sum(len(batch["label"]) for batch in loader.epoch())
        360
    """

    def __init__(
        self,
        source: Any,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool = True,
        drop_last: bool = True,
        as_float: bool = True,
    ) -> None:
        """Prepares batches of a source; nothing is read yet.

        Args:
            source: ``(images, labels)``; or a mapping of arrays; or anything with ``len`` and items by
                number that are mappings, such as an image folder or a source of grain or TFDS.
            batch_size: Examples per batch.
            seed: Determines the order of all epochs.
            shuffle: False keeps the source's order in every epoch.
            drop_last: Leaves out the rest of an epoch that is no full batch; False gives a smaller one.
            as_float: Turns uint8 images into float32 in [0, 1]; all else passes as it is.
        """
        check(
            is_integer_at_least(batch_size, 1),
            "Loader",
            "batch_size",
            "a positive integer",
            repr(batch_size),
        )
        check(
            is_integer_at_least(seed, 0) and seed < 2**64,
            "Loader",
            "seed",
            "an integer in [0, 2**64)",
            repr(seed),
        )
        self.batch_size, self.seed = batch_size, seed
        self._shuffle, self._as_float = shuffle, as_float
        self._columns = _columns(source)
        self._source = source
        self._length = len(source) if self._columns is None else len(next(iter(self._columns.values())))
        check(self._length > 0, "Loader", "source", "at least one example", "none")
        full = not drop_last or self._length >= batch_size
        check(full, "Loader", "batch_size", f"at most the source's {self._length} with drop_last", repr(batch_size))
        self.steps_per_epoch = self._length // batch_size if drop_last else -(-self._length // batch_size)
        self._order: tuple[int, np.ndarray] | None = None

    def __getitem__(self, step: int) -> Batch:
        """Returns batch number ``step`` of an endless series."""
        step = operator.index(step)
        if step < 0:
            raise IndexError(f"Loader: step must be >= 0, got {step}.")
        epoch, position = divmod(step, self.steps_per_epoch)
        begin = position * self.batch_size
        return self._batch(self._epoch_order(epoch)[begin : begin + self.batch_size])

    def __iter__(self) -> Iterator[Batch]:
        """Returns one pass, as ``epoch``."""
        return self.epoch()

    def epoch(self) -> Iterator[Batch]:
        """Returns one pass in the source's order; the last batch may be smaller, nothing is left out."""
        for begin in range(0, self._length, self.batch_size):
            yield self._batch(np.arange(begin, min(begin + self.batch_size, self._length)))

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if not self._shuffle:
            return np.arange(self._length)
        cached = self._order
        if cached is None or cached[0] != epoch:
            cached = (epoch, permutation(self._length, self.seed, epoch))
            self._order = cached
        return cached[1]

    def _batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        if self._columns is not None:
            batch = {name: column[indices] for name, column in self._columns.items()}
        else:
            batch = _stack(_items(self._source, indices.tolist()))
        for name, value in batch.items():
            if name == "image" and self._as_float and value.dtype == np.uint8:
                batch[name] = value.astype(np.float32) / np.float32(255)
            elif name == "label" and np.issubdtype(value.dtype, np.integer):
                batch[name] = value.astype(np.int32)
        return batch


def _columns(source: Any) -> dict[str, np.ndarray] | None:
    """Returns a source that consists of whole arrays by name, or None for one of items."""
    if isinstance(source, tuple):
        check(len(source) == 2, "Loader", "source", "(images, labels)", f"a tuple of {len(source)}")
        source = {"image": source[0], "label": source[1]}
    if not isinstance(source, Mapping):
        random_access = hasattr(source, "__len__") and hasattr(source, "__getitem__")
        check(random_access, "Loader", "source", "arrays, or items by number with len", type(source).__name__)
        return None
    columns = {name: np.asarray(value) for name, value in source.items()}
    shapes = {name: value.shape for name, value in columns.items()}
    even = len(columns) > 0 and all(len(s) > 0 for s in shapes.values()) and len({s[0] for s in shapes.values()}) == 1
    check(even, "Loader", "source", "arrays of one length", repr(shapes))
    return columns


def _items(source: Any, indices: list[int]) -> Sequence[Mapping[str, Any]]:
    many = getattr(source, "__getitems__", None)
    items = many(indices) if many else [source[i] for i in indices]
    kind = type(items[0]).__name__
    check(
        isinstance(items[0], Mapping), "Loader", "source", 'of items {"image": ..., "label": ...}', f"items of {kind}"
    )
    return items


def _stack(items: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    batch = {}
    for name in items[0]:
        values = [np.asarray(item[name]) for item in items]
        shapes = sorted({value.shape for value in values})
        advice = f"of items of one shape (a size= brings images to one), {name!r}"
        check(len(shapes) == 1, "Loader", "source", advice, " and ".join(map(str, shapes[:3])))
        batch[name] = np.stack(values)
    return batch
