"""Sorted tables of keys and values in the manner of LevelDB: TensorFlow's index and its older checkpoints."""

import os
from collections.abc import Iterator

from jaxcnn.zoo.checkpoint import Budget, FormatError
from jaxcnn.zoo.containers.crc32c import crc32c, unmasked
from jaxcnn.zoo.containers.protobuf import Wire

__all__ = ["Table", "is_table"]

_FOOTER = 48
_MAGIC = bytes.fromhex("57fb808b247547db")
_SNAPPY_RATIO = 22  # a copy of 64 bytes takes three
_MOST_KEYS = 1 << 27  # bytes of all keys together: each may repeat the one before at no cost


def is_table(path: str | os.PathLike[str]) -> bool:
    """Says whether a file ends as a table does."""
    if not os.path.isfile(path) or os.path.getsize(path) < _FOOTER:
        return False
    with open(path, "rb") as file:
        file.seek(-len(_MAGIC), os.SEEK_END)
        return file.read() == _MAGIC


class Table:
    """One table; blocks are checked and unpacked one at a time.

    Args:
        path: The file, for the message of an error.
        data: Its bytes.
        max_bytes: What one block may take unpacked.
    """

    def __init__(self, path: str | os.PathLike[str], data: memoryview, max_bytes: int):
        self.path, self.data, self.max_bytes = path, data, max_bytes
        self.wire = Wire(path)
        self.key_bytes = 0

    def items(self) -> Iterator[tuple[bytes, memoryview]]:
        """Walks over all keys and values.

        Yields:
            A key and a view of its value, in the order of the keys.

        Raises:
            FormatError: If the table is truncated or damaged, or its keys are out of order.
        """
        if len(self.data) < _FOOTER or self.data[-len(_MAGIC) :] != _MAGIC:
            raise FormatError(self.path, "does not end with the footer of a table; it is truncated or no table.")
        footer = self.data[-_FOOTER : -len(_MAGIC)]
        _, place = self._handle(footer, 0)
        index, _ = self._handle(footer, place)
        last, total = b"", 0
        for _, value in self._entries(self._block(*index)):
            (begin, size), place = self._handle(value, 0)
            if place != len(value):
                raise FormatError(self.path, "an entry of the table's index is longer than the place of a block.")
            total += size
            if total > len(self.data):  # else a small file could name one block without end
                raise FormatError(self.path, "the blocks of the table are larger than the file.")
            for key, content in self._entries(self._block(begin, size)):
                if key <= last and last:
                    raise FormatError(self.path, f"the keys of the table are out of order at {key[:80]!r}.")
                last = key
                yield key, content

    def _handle(self, data: memoryview, place: int) -> tuple[tuple[int, int], int]:
        begin, place = self.wire.varint(data, place)
        size, place = self.wire.varint(data, place)
        return (begin, size), place

    def _block(self, begin: int, size: int) -> memoryview:
        """Gives a block's content, its checksum verified."""
        if begin + size + 5 > len(self.data) - _FOOTER:
            raise FormatError(self.path, f"a block of {size} bytes at byte {begin} goes beyond the end.")
        stored = int.from_bytes(self.data[begin + size + 1 : begin + size + 5], "little")
        if crc32c(self.data[begin : begin + size + 1]) != unmasked(stored):
            raise FormatError(self.path, f"the block at byte {begin} has another checksum than is stored.")
        content, kind = self.data[begin : begin + size], self.data[begin + size]
        if kind == 0:
            return content
        if kind != 1:
            raise FormatError(self.path, f"the block at byte {begin} is compressed by the unknown method {kind}.")
        return self._unpacked(content)

    def _unpacked(self, content: memoryview) -> memoryview:
        import cramjam

        length, _ = self.wire.varint(content, 0)
        if length > _SNAPPY_RATIO * len(content):
            raise FormatError(self.path, f"a block of {len(content)} bytes cannot hold the {length} that it states.")
        Budget(self.path, self.max_bytes).spend(length, "a block of the table")
        result = bytearray(length)
        try:
            written = cramjam.snappy.decompress_raw_into(content, result)
        except (cramjam.DecompressionError, ValueError, TypeError, OverflowError) as error:
            raise FormatError(self.path, f"a block does not decompress: {error}") from error
        if written != length:
            raise FormatError(self.path, f"a block states {length} bytes, but has {written}.")
        return memoryview(result).toreadonly()

    def _entries(self, block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
        count = int.from_bytes(block[-4:], "little")
        end = len(block) - 4 * (count + 1)
        if len(block) < 4 or end < 0:
            raise FormatError(self.path, f"a block of {len(block)} bytes states {count} places to restart.")
        place, key, block = 0, b"", block[:end]
        while place < end:
            shared, place = self.wire.varint(block, place)
            rest, place = self.wire.varint(block, place)
            size, place = self.wire.varint(block, place)
            if shared > len(key) or rest + size > end - place:
                raise FormatError(self.path, "an entry of a block goes beyond it.")
            self.key_bytes += shared + rest
            if self.key_bytes > _MOST_KEYS:
                raise FormatError(self.path, f"the keys of the table take more than {_MOST_KEYS} bytes.")
            key = key[:shared] + bytes(block[place : place + rest])
            place += rest
            yield key, block[place : place + size]
            place += size
