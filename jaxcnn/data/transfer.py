"""Batches on their way to the device."""

import queue
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import jax

from jaxcnn._check import check, is_integer_at_least

__all__ = ["prefetch"]

_PATIENCE = 5.0  # seconds that an abandoned iterator waits for its thread; a source may block for ever


def prefetch(iterable: Iterable[Any], *, size: int = 2, sharding: Any = None) -> Iterator[Any]:
    """Reads batches and sends them to the device ahead of their use, in a thread.

    The order is kept. An error of the source is raised where its batch would have come. An iterator
    that is closed or dropped ends its thread. The thread starts with the first batch asked for.

    Args:
        iterable: Batches: trees of arrays.
        size: How many batches are at most ahead; each takes device memory.
        sharding: A device or sharding, or a tree of them, as ``jax.device_put`` takes it. None is JAX's
            default device (of the program: the context of a caller does not reach the thread).

    Returns:
        An iterator over the batches on the device.

    Raises:
        ValueError: If ``size`` is not positive.

    Example:
        >>> batches = data.prefetch(data.Loader(data.digits(split="test"), 128, seed=0))
        >>> [len(batch["label"]) for batch in batches]
        [128, 128, 104]
    """
    check(is_integer_at_least(size, 1), "prefetch", "size", "a positive integer", repr(size))
    return _ahead(iterable, size, sharding)


def _ahead(iterable: Iterable[Any], size: int, sharding: Any) -> Iterator[Any]:
    # The semaphore holds one permit per batch that may still be made; the queue itself is unbounded.
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
        except BaseException as error:  # handed over: raised where the batch is asked for
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
