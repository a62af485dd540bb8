"""Host batches by number."""

import operator
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import Batch
from jaxcnn.data.description import SelfDescribing, SelfIdentifying, digest_arrays, label_range
from jaxcnn.data.random_access import RandomAccess
from jaxcnn.data.read_ahead import read_ahead
from jaxcnn.data.shuffling import permute_range

__all__ = ["Loader"]


_ENDLESS = 2**62


class Loader:
    """Reads batches of a source as NumPy arrays, each by its number.

    ``loader[step]`` depends on ``(seed, step)`` only: a run that resumes at any step gets the batches it
    would have got. Steps continue through the epochs, each with its own order. Iteration and
    ``epoch()`` make one pass for evaluation instead: every example once, in the source's order.

    A batch is ``{"image": (n, h, w, c), "label": (n,)}`` plus any other fields of the items; integer labels
    become int32.

    Attributes:
        batch_size: Examples per batch.
        seed: Determines the order of all epochs.
        steps_per_epoch: Batches per pass over the source.

    Raises:
        ValueError: If the source is empty or smaller than a full batch, its arrays differ in length,
            or the items of a batch differ in shape.

    Example:
        >>> from jaxcnn import data
        >>> loader = data.Loader(data.digits(split="test"), 32, seed=0)
        >>> loader.steps_per_epoch, loader[0]["image"].shape, loader[1000]["label"].shape
        (11, (32, 20, 20, 1), (32,))
        >>> sum(len(batch["label"]) for batch in loader.epoch())
        360
    """

    def __init__(
        self,
        source: tuple[ArrayLike, ArrayLike] | Mapping[str, ArrayLike] | RandomAccess,
        batch_size: int,
        *,
        seed: int,
        shuffle: bool = True,
        drop_last: bool = True,
        as_float: bool = True,
        threads: int = 0,
    ) -> None:
        """Prepares batches of a source; nothing is read yet.

        Args:
            source: ``(images, labels)``; or a mapping of arrays; or an object with ``len`` and items by
                number that are mappings, such as an image folder or a source of grain or TFDS.
            batch_size: Examples per batch.
            seed: Determines the order of all epochs.
            shuffle: False keeps the source's order in every epoch.
            drop_last: Drops the last batch of an epoch if it is not full; False keeps it, smaller.
            as_float: Converts uint8 images to float32 in [0, 1]; everything else passes unchanged.
            threads: Number of threads that read batches ahead of their use, with grain; 0 reads on access.
                Pays where items are decoded, as in an image folder. The source must allow reading by
                several threads at once.
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
        check(is_integer_at_least(threads, 0), "Loader", "threads", "an integer >= 0", repr(threads))
        self.batch_size, self.seed = batch_size, seed
        self._threads = threads
        self._ahead: tuple[int, Iterator[Batch]] | None = None  # the next batch's number, and the batches from it on
        self._shuffle, self._as_float = shuffle, as_float
        self._source = _to_columns_or_items(source)
        self._length = len(next(iter(self._source.values())) if isinstance(self._source, dict) else self._source)
        check(self._length > 0, "Loader", "source", "at least one example", "none")
        full = not drop_last or self._length >= batch_size
        check(full, "Loader", "batch_size", f"at most the source's {self._length} with drop_last", repr(batch_size))
        self.steps_per_epoch = self._length // batch_size if drop_last else -(-self._length // batch_size)
        self._order: tuple[int, np.ndarray] | None = None

    def __getitem__(self, step: int) -> Batch:
        """Returns batch number ``step`` of an infinite series."""
        step = operator.index(step)
        if step < 0:
            raise IndexError(f"Loader: step must be >= 0, got {step}.")
        if self._threads == 0:
            return self._read_step(step)
        if self._ahead is None or self._ahead[0] != step:
            self._ahead = (step, read_ahead(self._read_step, range(step, _ENDLESS), self._threads))
        batches = self._ahead[1]
        self._ahead = None  # after an error the next access starts anew
        batch = next(batches)
        self._ahead = (step + 1, batches)
        return batch

    def __iter__(self) -> Iterator[Batch]:
        """Makes one pass, as ``epoch`` does."""
        return self.epoch()

    def epoch(self) -> Iterator[Batch]:
        """Makes one pass in the source's order; the last batch may be smaller, every example is included."""
        numbers = range(-(-self._length // self.batch_size))
        if self._threads:
            return read_ahead(self._read_in_order, numbers, self._threads)
        return map(self._read_in_order, numbers)

    def _read_step(self, step: int) -> Batch:
        epoch, position = divmod(step, self.steps_per_epoch)
        begin = position * self.batch_size
        return self._batch(self._epoch_order(epoch)[begin : begin + self.batch_size])

    def describe(self) -> dict[str, Any]:
        """Returns what a run folder keeps of this data: what the source says of itself, as arrays their form."""
        if isinstance(self._source, dict):
            image = self._source.get("image")
            form = {} if image is None else {"shape": list(image.shape[1:]), "dtype": str(image.dtype)}
            labels = label_range(self._source["label"]) if "label" in self._source else {}
            return {"kind": "arrays", "examples": self._length, **form, **labels}
        if not isinstance(self._source, SelfDescribing):
            return {"kind": type(self._source).__name__, "examples": self._length}
        found = self._source.describe()
        if self._as_float and "preprocessing" in found:
            found = {**found, "preprocessing": {**found["preprocessing"], "value_range": [0, 1]}}
        return found

    def fingerprint(self) -> dict[str, Any]:
        """Returns what identifies this data when a run is continued: the source, and what its order depends on."""
        if isinstance(self._source, dict):
            content = digest_arrays(self._source)
        else:
            source: Any = self._source
            known = isinstance(source, SelfIdentifying)
            content = source.fingerprint()["content"] if known else f"{self._length} examples"
        order = {"batch_size": self.batch_size, "seed": self.seed, "shuffle": self._shuffle}
        order["steps_per_epoch"] = self.steps_per_epoch
        return {"content": content, "as_float": self._as_float, "order": order}

    def _read_in_order(self, number: int) -> Batch:
        begin = number * self.batch_size
        return self._batch(np.arange(begin, min(begin + self.batch_size, self._length)))

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if not self._shuffle:
            return np.arange(self._length)
        cached = self._order
        if cached is None or cached[0] != epoch:
            cached = (epoch, permute_range(self._length, self.seed, epoch))
            self._order = cached
        return cached[1]

    def _batch(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        if isinstance(self._source, dict):
            batch = {name: column[indices] for name, column in self._source.items()}
        else:
            batch = _stack(_read_items(self._source, indices.tolist()))
        for name, value in batch.items():
            if name == "image" and self._as_float and value.dtype == np.uint8:
                batch[name] = value.astype(np.float32) / np.float32(255)
            elif name == "label" and np.issubdtype(value.dtype, np.integer):
                batch[name] = _to_int32(value)
        return batch


def _to_columns_or_items(
    source: tuple[ArrayLike, ArrayLike] | Mapping[str, ArrayLike] | RandomAccess,
) -> dict[str, np.ndarray] | RandomAccess:
    """Converts whole arrays to a dictionary of columns; returns a source of items as it is."""
    if isinstance(source, tuple):
        check(len(source) == 2, "Loader", "source", "(images, labels)", f"a tuple of {len(source)}")
        source = {"image": source[0], "label": source[1]}
    if not isinstance(source, Mapping):
        random_access = hasattr(source, "__len__") and hasattr(source, "__getitem__")
        check(random_access, "Loader", "source", "arrays, or items by number with len", type(source).__name__)
        return source
    columns = {name: np.asarray(value) for name, value in source.items()}
    shapes = {name: value.shape for name, value in columns.items()}
    even = len(columns) > 0 and all(len(s) > 0 for s in shapes.values()) and len({s[0] for s in shapes.values()}) == 1
    check(even, "Loader", "source", "arrays of one length", repr(shapes))
    return columns


def _to_int32(labels: np.ndarray) -> np.ndarray:
    """Converts class numbers to int32 and refuses those that would wrap around."""
    low, high = (int(labels.min()), int(labels.max())) if labels.size else (0, 0)
    check(-(2**31) <= low <= high < 2**31, "Loader", "source", "labeled by 32-bit integers", f"{low} to {high}")
    return labels.astype(np.int32)


def _read_items(source: RandomAccess, indices: list[int]) -> Sequence[Mapping[str, Any]]:
    """Reads several items, by one request if the source takes it."""
    many = getattr(source, "__getitems__", None)
    items = many(indices) if many else [source[i] for i in indices]
    kind = type(items[0]).__name__
    check(
        isinstance(items[0], Mapping), "Loader", "source", 'of items {"image": ..., "label": ...}', f"items of {kind}"
    )
    return items


def _stack(items: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Stacks items of one shape into a batch."""
    batch = {}
    for name in items[0]:
        values = [np.asarray(item[name]) for item in items]
        shapes = sorted({value.shape for value in values})
        advice = f"of items of one shape (a size= brings images to one), {name!r}"
        check(len(shapes) == 1, "Loader", "source", advice, " and ".join(map(str, shapes[:3])))
        batch[name] = np.stack(values)
    return batch
