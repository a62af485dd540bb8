"""Checks the filtered chunks of a dataset before HDF5 reads them: it takes whatever memory a chunk unfolds into."""

import itertools
import os
import zlib
from collections.abc import Sequence
from typing import Any

from jaxcnn.zoo.checkpoint import FormatError

__all__ = ["check_chunks"]

PIECE = 1 << 16
DEFLATE, CHECKSUM = 1, 3


def check_chunks(
    dataset: Any,
    chunk: Sequence[int],
    itemsize: int,
    filters: Sequence[int],
    *,
    path: str | os.PathLike[str],
    what: str,
) -> None:
    """Unpacks every chunk once, piece by piece, and keeps nothing of it.

    Args:
        dataset: Whose filters are among deflate (1), shuffle (2) and checksum (3), each once.
        chunk: The shape of its chunks.
        itemsize: The bytes of one value in the file.
        filters: Their numbers in the order in which they were applied.
        path: The file, for messages.
        what: The dataset's name, for messages.

    Raises:
        FormatError: For a chunk that is missing, damaged, or not of the declared size.
    """
    size = itemsize
    for length in chunk:
        size *= length
    starts = [range(0, length, step) for length, step in zip(dataset.shape, chunk, strict=True)]
    for offset in itertools.product(*starts):
        mask, content = dataset.id.read_direct_chunk(offset)
        count = len(content)
        for place in reversed(range(len(filters))):
            if mask >> place & 1:
                continue
            if filters[place] == CHECKSUM:
                count -= 4
            elif filters[place] == DEFLATE:
                count = _unpacked(content[:count], size + 4)
        if count != size:
            raise FormatError(path, f"A chunk of {what} does not unpack to its {size} bytes.")


def _unpacked(content: bytes, most: int) -> int:
    """Counts the bytes that a chunk unpacks to, and stops counting beyond ``most``."""
    inflater = zlib.decompressobj()
    count = 0
    while content and count <= most and not inflater.eof:
        count += len(inflater.decompress(content, PIECE))
        content = inflater.unconsumed_tail
    while count <= most and not inflater.eof and (more := inflater.decompress(b"", PIECE)):
        count += len(more)
    return count if inflater.eof else -1
