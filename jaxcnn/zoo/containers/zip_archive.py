"""Zip archives of tensors, mapped into memory and guarded against lying directories."""

import struct
import zipfile
import zlib
from pathlib import Path

from jaxcnn.zoo.checkpoint import Budget, FormatError
from jaxcnn.zoo.containers.mapped_file import mapped

__all__ = ["DEFLATE_RATIO", "Archive", "archive_names"]

DEFLATE_RATIO = 1032
"""Deflate can make nothing smaller than 1/1032 (zlib's technical notes)."""

_BROKEN = (zipfile.BadZipFile, struct.error, zlib.error, NotImplementedError, RuntimeError, ValueError, OverflowError)
_BROKEN += (EOFError, IndexError, KeyError, OSError, MemoryError)
_ENCRYPTED = 0x1


def archive_names(path: Path, head: bytes) -> tuple[str, ...]:
    """Gives the names in a zip archive; none where the file is no archive or its directory cannot be read."""
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ()
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(archive.namelist())
    except _BROKEN:
        return ()


class Archive:
    """A zip archive whose entries are read one at a time, each checked before memory is taken for it.

    Args:
        path: The file.
        max_bytes: What its compressed entries together may unpack to.

    Raises:
        FormatError: If it is no zip archive or its directory is damaged.
    """

    def __init__(self, path: Path, max_bytes: int) -> None:
        """Reads the directory."""
        self.path = path
        self._data = mapped(path)
        self._budget = Budget(path, max_bytes)
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except FileNotFoundError:
            raise
        except _BROKEN as error:
            raise FormatError(path, f"the directory of the zip archive cannot be read ({error}).") from error
        # Not ``is_dir``, which fails for an empty name.
        self.entries = {entry.filename: entry for entry in entries if not entry.filename.endswith("/")}

    def __len__(self) -> int:
        """How many bytes the file has."""
        return len(self._data)

    def read(self, name: str) -> memoryview:
        """Gives the bytes of one entry: a view of the file where it is stored, else unpacked.

        Raises:
            FormatError: For an entry that is absent, encrypted, packed by an unknown method, longer or shorter than
                the directory says, more than deflate can make of the file, beyond ``max_bytes``, or whose checksum
                is wrong.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise FormatError(self.path, f"the archive has no entry {name!r}.")
        if entry.flag_bits & _ENCRYPTED:
            raise FormatError(self.path, f"entry {name!r} is encrypted.")
        packed = self._packed(entry)
        if entry.compress_type == zipfile.ZIP_STORED:
            content = packed
        elif entry.compress_type == zipfile.ZIP_DEFLATED:
            content = memoryview(self._inflated(entry, packed))
        else:
            raise FormatError(self.path, f"entry {name!r} is packed by method {entry.compress_type}, not by deflate.")
        if len(content) != entry.file_size:
            raise FormatError(self.path, f"entry {name!r} has {len(content)} bytes in place of {entry.file_size}.")
        if zlib.crc32(content) != entry.CRC:
            raise FormatError(self.path, f"the checksum of entry {name!r} is wrong: the file is damaged.")
        return content

    def _packed(self, entry: zipfile.ZipInfo) -> memoryview:
        start = entry.header_offset
        header = self._data[start : start + 30] if 0 <= start <= len(self) else b""
        if len(header) < 30 or bytes(header[:4]) != b"PK\x03\x04":
            raise FormatError(self.path, f"entry {entry.filename!r} has no header where the directory says.")
        name, extra = struct.unpack("<HH", header[26:30])
        start += 30 + name + extra
        if entry.compress_size > len(self) - start:
            raise FormatError(self.path, f"entry {entry.filename!r} goes on beyond the end of the file.")
        return self._data[start : start + entry.compress_size]

    def _inflated(self, entry: zipfile.ZipInfo, packed: memoryview) -> bytes:
        if entry.file_size > DEFLATE_RATIO * len(packed):
            text = f"entry {entry.filename!r} claims {entry.file_size} bytes, but {len(packed)} packed ones hold fewer."
            raise FormatError(self.path, text)
        self._budget.spend(entry.file_size, f"entry {entry.filename!r}")
        try:
            return zlib.decompressobj(-zlib.MAX_WBITS).decompress(packed, entry.file_size + 1)
        except (zlib.error, MemoryError, OverflowError) as error:
            raise FormatError(self.path, f"entry {entry.filename!r} cannot be unpacked ({error}).") from error
