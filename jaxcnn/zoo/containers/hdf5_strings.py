"""How much memory the texts of an attribute of HDF5 may take at worst, found before HDF5 is asked for them.

Texts of any length lie in collections, "global heaps"; an attribute holds places in them, 16 bytes for each text. Many
places may name one long text, so that a small attribute unfolds into much memory, and HDF5 2.0 does not come back from
a collection whose sizes do not add up. Here all collections are walked through first.
"""

import mmap
import os
import struct

from jaxcnn.zoo.checkpoint import FormatError

__all__ = ["Texts"]

HEAP = b"GCOL\x01"
SMALL = 4080
"""The largest text that shares a collection with others."""

MANY = 64
"""Up to so many long texts, the places that name them are counted."""


class Texts:
    """The sizes of the texts in the collections of one file.

    Args:
        path: The file.
        base: Where HDF5 begins in it.
        shown: The name for messages.
    """

    def __init__(self, path: str, base: int, shown: str | os.PathLike[str]):
        self.shown = shown
        self.small = 0
        self.long: list[tuple[int, bytes]] = []
        self.named: list[tuple[int, int]] = []
        with open(path, "rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with content:
            place = content.find(HEAP)
            while place >= 0:
                self._walk(content, place, base)
                place = content.find(HEAP, place + len(HEAP))
            if len(self.long) > MANY:
                self.small = max(size for size, _ in self.long)
            else:
                self.named = [(size, _count(content, name)) for size, name in self.long]

    def worst(self, count: int) -> int:
        """Gives the bytes that so many texts may take at worst."""
        return count * self.small + sum(size * min(count, times) for size, times in self.named)

    def _walk(self, content: mmap.mmap, begin: int, base: int) -> None:
        """Notes the sizes of the texts in one collection, or refuses it."""
        place, end = begin + 16, begin + int.from_bytes(content[begin + 8 : begin + 16], "little")
        if not place <= end <= len(content):
            raise FormatError(self.shown, f"The collection of texts at byte {begin} ends beyond the file.")
        while place + 16 <= end:
            index, length = struct.unpack_from("<H6xQ", content, place)
            step = 16 + -(-length // 8) * 8 if index else length
            if step > end - place or (index == 0 and step != end - place):
                raise FormatError(self.shown, f"The collection of texts at byte {begin} is corrupt at byte {place}.")
            if index and length > SMALL:
                self.long.append((length, struct.pack("<QI", begin - base, index)))
            elif index:
                self.small = max(self.small, length)
            place += step


def _count(content: mmap.mmap, name: bytes) -> int:
    """Counts how often some bytes stand in a file."""
    count, place = 0, content.find(name)
    while place >= 0:
        count, place = count + 1, content.find(name, place + 1)
    return count
