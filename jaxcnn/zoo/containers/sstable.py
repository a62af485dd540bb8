"""Sorted string tables, LevelDB's format of keys and values: TensorFlow's index and its older checkpoints."""

import os
from collections.abc import Iterator

from jaxcnn.zoo.containers.crc32c import crc32c, unmask
from jaxcnn.zoo.containers.protobuf import ProtobufReader
from jaxcnn.zoo.containers.source_file import SourceFile

__all__ = ["SSTable", "is_sstable"]

_FOOTER = 48
_MAGIC = bytes.fromhex("57fb808b247547db")
_SNAPPY_RATIO = 22  # a copy of 64 bytes takes three
_MAX_KEY_BYTES = 1 << 27  # of all keys together: each may repeat the one before at no cost


def is_sstable(path: str | os.PathLike[str]) -> bool:
    """Tests whether a file ends like a table."""
    if not os.path.isfile(path) or os.path.getsize(path) < _FOOTER:
        return False
    with open(path, "rb") as file:
        file.seek(-len(_MAGIC), os.SEEK_END)
        return file.read() == _MAGIC


class SSTable:
    """One table; blocks are checked and decompressed one at a time.

    Args:
        source: The file, for error messages.
        data: Its bytes.
        max_block_bytes: What one block may take decompressed.
    """

    def __init__(self, source: SourceFile, data: memoryview, max_block_bytes: int):
        self.source, self.data, self.max_block_bytes = source, data, max_block_bytes
        self.reader = ProtobufReader(source)
        self.key_bytes = 0

    def items(self) -> Iterator[tuple[bytes, memoryview]]:
        """Iterates over all keys and values.

        Yields:
            A key and a view of its value, in the order of the keys.

        Raises:
            FormatError: If the table is truncated or damaged, or its keys are out of order.
        """
        if len(self.data) < _FOOTER or self.data[-len(_MAGIC) :] != _MAGIC:
            raise self.source.error("does not end with the footer of a table; it is truncated or not a table.")
        footer = self.data[-_FOOTER : -len(_MAGIC)]
        _, place = self._handle(footer, 0)
        index, _ = self._handle(footer, place)
        last, total = b"", 0
        for _, value in self._entries(self._block(*index)):
            (begin, size), place = self._handle(value, 0)
            if place != len(value):
                raise self.source.error("an entry of the table's index is longer than the location of a block.")
            total += size
            if total > len(self.data):  # otherwise a small file could list one block without end
                raise self.source.error("the blocks of the table are larger than the file.")
            for key, content in self._entries(self._block(begin, size)):
                if key <= last and last:
                    raise self.source.error(f"the keys of the table are out of order at {key[:80]!r}.")
                last = key
                yield key, content

    def _handle(self, data: memoryview, place: int) -> tuple[tuple[int, int], int]:
        begin, place = self.reader.varint(data, place)
        size, place = self.reader.varint(data, place)
        return (begin, size), place

    def _block(self, begin: int, size: int) -> memoryview:
        """Returns a block's content after verifying its checksum."""
        if begin + size + 5 > len(self.data) - _FOOTER:
            raise self.source.error(f"a block of {size} bytes at byte {begin} extends beyond the end.")
        stored = int.from_bytes(self.data[begin + size + 1 : begin + size + 5], "little")
        if crc32c(self.data[begin : begin + size + 1]) != unmask(stored):
            raise self.source.error(f"the block at byte {begin} does not match its stored checksum.")
        content, kind = self.data[begin : begin + size], self.data[begin + size]
        if kind == 0:
            return content
        if kind != 1:
            raise self.source.error(f"the block at byte {begin} is compressed by the unknown method {kind}.")
        return self._decompress(content)

    def _decompress(self, content: memoryview) -> memoryview:
        import cramjam

        length, _ = self.reader.varint(content, 0)
        if length > _SNAPPY_RATIO * len(content):
            raise self.source.error(f"a block of {len(content)} bytes cannot expand to the {length} that it states.")
        self.source.with_budget(self.max_block_bytes).spend(length, "a block of the table")
        result = bytearray(length)
        try:
            written = cramjam.snappy.decompress_raw_into(content, result)
        except (cramjam.DecompressionError, ValueError, TypeError, OverflowError) as error:
            raise self.source.error(f"a block does not decompress: {error}") from error
        if written != length:
            raise self.source.error(f"a block states {length} bytes, but holds {written}.")
        return memoryview(result).toreadonly()

    def _entries(self, block: memoryview) -> Iterator[tuple[bytes, memoryview]]:
        count = int.from_bytes(block[-4:], "little")
        end = len(block) - 4 * (count + 1)
        if len(block) < 4 or end < 0:
            raise self.source.error(f"a block of {len(block)} bytes states {count} restart points.")
        place, key, block = 0, b"", block[:end]
        while place < end:
            shared, place = self.reader.varint(block, place)
            rest, place = self.reader.varint(block, place)
            size, place = self.reader.varint(block, place)
            if shared > len(key) or rest + size > end - place:
                raise self.source.error("an entry of a block extends beyond it.")
            self.key_bytes += shared + rest
            if self.key_bytes > _MAX_KEY_BYTES:
                raise self.source.error(f"the keys of the table take more than {_MAX_KEY_BYTES} bytes.")
            key = key[:shared] + bytes(block[place : place + rest])
            place += rest
            yield key, block[place : place + size]
            place += size
