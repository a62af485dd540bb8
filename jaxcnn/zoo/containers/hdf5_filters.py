"""Checks the filtered chunks of a dataset before HDF5 reads them and allocates all that they expand to."""

import enum
import itertools
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxcnn.zoo.containers.source_file import SourceFile

if TYPE_CHECKING:
    import h5py

__all__ = ["Filter", "check_chunks"]

_PIECE = 1 << 16


class Filter(enum.IntEnum):
    """The filters that are read, by their number in HDF5. What others make of hostile settings is not known."""

    DEFLATE = 1
    SHUFFLE = 2
    CHECKSUM = 3


def check_chunks(
    source: SourceFile,
    dataset: "h5py.Dataset",
    chunk: Sequence[int],
    itemsize: int,
    filters: Sequence[int],
    what: str,
) -> None:
    """Decompresses every chunk once, piece by piece, and keeps nothing of it.

    Args:
        source: The file, for error messages.
        dataset: A dataset whose filters are among those of ``Filter``, each once.
        chunk: The shape of its chunks.
        itemsize: The bytes of one value in the file.
        filters: Their numbers in the order in which they were applied.
        what: The dataset's name, for error messages.

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
            if filters[place] == Filter.CHECKSUM:
                count -= 4
            elif filters[place] == Filter.DEFLATE:
                count = _count_inflated(content[:count], size + 4)
        if count != size:
            raise source.error(f"A chunk of {what} does not expand to its {size} bytes.")


def _count_inflated(content: bytes, limit: int) -> int:
    """Counts the bytes that a chunk expands to, and stops counting beyond ``limit``."""
    inflater = zlib.decompressobj()
    count = 0
    while content and count <= limit and not inflater.eof:
        count += len(inflater.decompress(content, _PIECE))
        content = inflater.unconsumed_tail
    while count <= limit and not inflater.eof and (more := inflater.decompress(b"", _PIECE)):
        count += len(more)
    return count if inflater.eof else -1
