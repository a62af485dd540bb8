"""Batches on their way to the device."""

import contextlib
import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, Generic, TypeVar

import jax

from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import Batch, PyTree
from jaxcnn.data.random_access import BatchesByStep, Epochs

__all__ = ["Prefetched", "PrefetchedByStep", "prefetch"]

T = TypeVar("T")  # a batch: a tree of arrays

_PATIENCE = 5.0  # seconds that an abandoned iterator waits for its thread to finish a transfer
_BRIEF = 0.2  # the same while the thread waits for the source, which may block forever


class Prefetched(Iterator[T], Generic[T]):
    """Batches of an iterable, read ahead in a thread; made by ``prefetch``.

    A loop makes one pass, as over the iterable itself: over a list again and again, over an iterator once.

    Attributes:
        source: The iterable.

    Example:
        >>> import numpy as np
        >>> from jaxcnn import data
        >>> batches = data.prefetch([np.zeros(2), np.ones(2)])
        >>> isinstance(batches, data.Prefetched), len(list(batches)), len(list(batches))
        (True, 2, 2)
    """

    def __init__(self, source: Any, size: int, sharding: PyTree) -> None:
        """Starts nothing yet."""
        self.source = source
        self._size, self._sharding = size, sharding
        self._once = isinstance(source, Iterator)
        self._pass: Generator[T, None, None] | None = None

    def _start(self) -> Generator[T, None, None]:
        source = self.source  # a closure over self would keep a dropped object, and its thread, alive
        return _iterate_ahead(lambda: iter(source), self._size, self._sharding)

    def __iter__(self) -> Iterator[T]:
        """Starts a pass, or continues the one that ``next`` has started."""
        return self if self._once or self._pass is not None else self._start()

    def __next__(self) -> T:
        """Returns the next batch of a pass."""
        if self._pass is None:
            self._pass = self._start()
        try:
            return next(self._pass)
        except BaseException:  # the end, or an error: nothing more comes of this pass
            self.close()
            raise

    def epoch(self) -> Iterator[T]:
        """Makes one pass; over an iterator there is only one."""
        return iter(self)

    def close(self) -> None:
        """Ends the pass that ``next`` has started, and its thread."""
        if self._once and self._pass is None:
            self._pass = self._start()
        if self._pass is not None:
            self._pass.close()
            self._pass = self._pass if self._once else None


class PrefetchedByStep(Prefetched[Batch]):
    """Batches by number, such as those of a loader, read ahead in a thread; made by ``prefetch``.

    ``batches[step]`` is ``source[step]`` on the device, and the batches after it are read ahead: a training loop, which
    asks for one step after another, waits for none of them. Asking for any other step starts to read anew.

    Example:
        >>> from jaxcnn import data
        >>> loader = data.Loader(data.digits(), 32, seed=0)
        >>> batches = data.prefetch(loader)
        >>> isinstance(batches, data.PrefetchedByStep), bool((batches[7]["image"] == loader[7]["image"]).all())
        (True, True)
    """

    def __init__(self, source: BatchesByStep, size: int, sharding: PyTree) -> None:
        """Starts nothing yet."""
        super().__init__(source, size, sharding)
        self._steps: tuple[int, Generator[Batch, None, None]] | None = None
        self._reading = threading.Lock()  # held by the thread that reads steps: two at once could confuse the source

    def __getitem__(self, step: int) -> Batch:
        """Returns the batch of a step on the device."""
        if self._steps is None or self._steps[0] != step:
            self._close_steps()
            source = self.source
            batches = _iterate_ahead(lambda: _count(source, step), self._size, self._sharding, self._reading)
        else:
            batches = self._steps[1]
        self._steps = None  # after an error the next access starts anew
        batch = next(batches)
        self._steps = step + 1, batches
        return batch

    def epoch(self) -> Iterator[Batch]:
        """Makes one pass over the source: by its ``epoch`` where it has one, else by iteration."""
        return self._start()

    def _start(self) -> Generator[Batch, None, None]:
        source = self.source
        reader = source.epoch if isinstance(source, Epochs) else lambda: source
        return _iterate_ahead(lambda: iter(reader()), self._size, self._sharding)

    def close(self) -> None:
        """Ends all threads; batches may still be asked for, which starts a new one."""
        super().close()
        self._close_steps()

    def _close_steps(self) -> None:
        if self._steps is not None:
            self._steps[1].close()
            self._steps = None


def prefetch(
    iterable: Iterable[T] | BatchesByStep, *, size: int = 2, sharding: PyTree = None
) -> "Prefetched[T] | PrefetchedByStep":
    """Reads batches and sends them to the device ahead of their use, in a thread.

    The order is kept. An error of the source is raised in place of its batch. Closing or dropping the
    iterator ends the thread, which starts when the first batch is requested.

    Of a source with batches by number, such as ``data.Loader``, the result has batches by number too: ``fit`` draws the
    same shuffled batches from ``prefetch(loader)`` as from ``loader``, for any number of epochs, and resumes at any
    step. Iteration and ``epoch()`` make one pass in the source's order, as those of the loader do.

    Args:
        iterable: Batches: trees of arrays.
        size: Maximum number of batches read ahead; each takes device memory.
        sharding: A device or sharding, or a tree of them, as ``jax.device_put`` takes it. None is JAX's
            default device (of the process: a caller's context manager does not reach the thread).

    Returns:
        The batches on the device: an iterator, with ``[step]`` where the source has batches by number.

    Raises:
        ValueError: If ``size`` is not positive.

    Example:
        >>> from jaxcnn import data
        >>> batches = data.prefetch(data.Loader(data.digits(split="test"), 128, seed=0))
        >>> [len(batch["label"]) for batch in batches]
        [128, 128, 104]
        >>> batches[1000]["image"].shape
        (128, 20, 20, 1)
    """
    check(is_integer_at_least(size, 1), "prefetch", "size", "a positive integer", repr(size))
    if isinstance(iterable, BatchesByStep) and not isinstance(iterable, list | tuple):
        return PrefetchedByStep(iterable, size, sharding)
    return Prefetched(iterable, size, sharding)


def _count(source: BatchesByStep, step: int) -> Iterator[Batch]:
    while True:
        yield source[step]
        step += 1


def _iterate_ahead(
    reader: Callable[[], Iterator[T]],
    size: int,
    sharding: PyTree,
    lock: contextlib.AbstractContextManager[Any] | None = None,
) -> Generator[T, None, None]:
    # The semaphore holds one permit per batch that may still be read; the queue itself is unbounded.
    permits, ready = threading.Semaphore(size), queue.SimpleQueue()
    closed, reading = threading.Event(), threading.Event()

    def work() -> None:
        try:
            reading.set()
            with lock or contextlib.nullcontext():
                iterator = reader()
                while True:
                    reading.clear()
                    permits.acquire()
                    reading.set()
                    if closed.is_set():
                        break
                    batch = next(iterator)
                    reading.clear()
                    if closed.is_set():
                        break
                    ready.put(("batch", jax.device_put(batch, sharding)))
        except StopIteration:
            ready.put(("end", None))
        except BaseException as error:  # passed on: raised where the batch is requested
            ready.put(("error", error))

    thread = threading.Thread(target=work, name="jaxcnn-prefetch", daemon=True)
    thread.start()
    try:
        while True:
            kind, value = ready.get()
            if kind == "end":
                return
            if kind == "error":
                raise value
            permits.release()
            yield value
    finally:
        closed.set()
        permits.release()
        # After Ctrl-C, for one, the source may never return; the thread then ends without a further transfer.
        thread.join(_BRIEF if reading.is_set() else _PATIENCE)
