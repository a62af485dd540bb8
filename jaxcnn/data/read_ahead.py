"""Reading ahead of use in several threads, in order."""

from collections.abc import Callable, Iterator
from typing import TypeVar

__all__ = ["read_ahead"]

T = TypeVar("T")


def read_ahead(read: Callable[[int], T], numbers: range, threads: int) -> Iterator[T]:
    """Calls ``read`` for consecutive numbers in the threads of a grain pipeline; yields the results in order.

    At most ``threads`` results are read ahead. An exception of ``read`` is raised in place of its result. Dropping the
    iterator ends the threads.
    """
    import grain

    options = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=threads)
    return iter(grain.MapDataset.range(numbers.start, numbers.stop).map(read).to_iter_dataset(options))
