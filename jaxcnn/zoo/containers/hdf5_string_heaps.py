"""How much memory the strings of an HDF5 attribute may take at worst, found before HDF5 is asked for them.

Strings of variable length are stored in collections, "global heaps"; an attribute holds references to them, 16 bytes
for each string. Many references may name one long string, so that a small attribute expands to much memory, and HDF5
2.0 never returns from a collection whose sizes do not add up. Here all collections are walked first.
"""

import mmap
import os
import struct

from jaxcnn.zoo.containers.source_file import SourceFile

__all__ = ["StringHeaps"]

_HEAP = b"GCOL\x01"
_MAX_SHARED = 4080  # bytes of the largest string that shares a collection with others
_MAX_COUNTED = 64  # long strings whose references are counted; of more, the longest is assumed for every reference


class StringHeaps:
    """The sizes of the strings in the collections of one file.

    Args:
        source: The file, for error messages.
        path: Its path on the disk.
        base: Where HDF5 begins in it.
    """

    def __init__(self, source: SourceFile, path: str | os.PathLike[str], base: int):
        self.source = source
        self.small = 0
        self.long: list[tuple[int, bytes]] = []
        self.references: list[tuple[int, int]] = []
        with open(path, "rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with content:
            position = content.find(_HEAP)
            while position >= 0:
                self._walk(content, position, base)
                position = content.find(_HEAP, position + len(_HEAP))
            if len(self.long) > _MAX_COUNTED:
                self.small = max(size for size, _ in self.long)
            else:
                self.references = [(size, _count_occurrences(content, address)) for size, address in self.long]

    def max_bytes(self, count: int) -> int:
        """Returns the bytes that so many strings may take at worst."""
        return count * self.small + sum(size * min(count, times) for size, times in self.references)

    def _walk(self, content: mmap.mmap, begin: int, base: int) -> None:
        """Records the sizes of the strings in one collection, or refuses it."""
        position, end = begin + 16, begin + int.from_bytes(content[begin + 8 : begin + 16], "little")
        if not position <= end <= len(content):
            raise self.source.error(f"The collection of strings at byte {begin} ends beyond the file.")
        while position + 16 <= end:
            index, length = struct.unpack_from("<H6xQ", content, position)
            step = 16 + -(-length // 8) * 8 if index else length
            if step > end - position or (index == 0 and step != end - position):
                text = f"The collection of strings at byte {begin} is corrupt at byte {position}."
                raise self.source.error(text)
            if index and length > _MAX_SHARED:
                self.long.append((length, struct.pack("<QI", begin - base, index)))
            elif index:
                self.small = max(self.small, length)
            position += step


def _count_occurrences(content: mmap.mmap, address: bytes) -> int:
    """Counts how often some bytes occur in a file."""
    count, position = 0, content.find(address)
    while position >= 0:
        count, position = count + 1, content.find(address, position + 1)
    return count
