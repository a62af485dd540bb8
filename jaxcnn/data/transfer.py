"""Batches on their way to the device."""

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

import jax

from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import PyTree

__all__ = ["prefetch"]

T = TypeVar("T")  # a batch: a tree of arrays

_PATIENCE = 5.0  # seconds that an abandoned iterator waits for its thread; a source may block forever


def prefetch(iterable: Iterable[T], *, size: int = 2, sharding: PyTree = None) -> Generator[T, None, None]:
    """Reads batches and sends them to the device ahead of their use, in a thread.

    The order is kept. An error of the source is raised in place of its batch. Closing or dropping the
    iterator ends the thread, which starts when the first batch is requested.

    Args:
        iterable: Batches: trees of arrays.
        size: Maximum number of batches read ahead; each takes device memory.
        sharding: A device or sharding, or a tree of them, as ``jax.device_put`` takes it. None is JAX's
            default device (of the process: a caller's context manager does not reach the thread).

    Returns:
        An iterator over the batches on the device.

    Raises:
        ValueError: If ``size`` is not positive.

    Example:
        >>> from jaxcnn import data
        >>> batches = data.prefetch(data.Loader(data.digits(split="test"), 128, seed=0))
        >>> [len(batch["label"]) for batch in batches]
        [128, 128, 104]
    """
    check(is_integer_at_least(size, 1), "prefetch", "size", "a positive integer", repr(size))
    return _iterate_ahead(iterable, size, sharding)


def _iterate_ahead(iterable: Iterable[T], size: int, sharding: PyTree) -> Generator[T, None, None]:
    # The semaphore holds one permit per batch that may still be read; the queue itself is unbounded.
    permits, ready = threading.Semaphore(size), queue.SimpleQueue()
    closed = threading.Event()

    def work() -> None:
        try:
            iterator = iter(iterable)
            while True:
                permits.acquire()
                if closed.is_set():
                    break
                try:
                    batch = next(iterator)
                except StopIteration:
                    ready.put(("end", None))
                    break
                ready.put(("batch", jax.device_put(batch, sharding)))
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
        thread.join(_PATIENCE)
