"""Zip archives, mapped into memory; what their directories claim is checked before memory is taken."""

import mmap
import struct
import tempfile
import zipfile
import zlib
from pathlib import Path

from jaxcnn.zoo.containers.mapped_file import map_file, release_pages
from jaxcnn.zoo.containers.source_file import DEFLATE_RATIO, SourceFile

__all__ = ["ZipArchive", "list_entries"]

_ZIP_ERRORS = (zipfile.BadZipFile, struct.error, zlib.error, NotImplementedError, RuntimeError, ValueError)
_ZIP_ERRORS += (OverflowError, EOFError, IndexError, KeyError, OSError, MemoryError)
_ENCRYPTED = 0x1
_MAX_IN_MEMORY = 1 << 24  # bytes; larger entries are decompressed into a temporary file
_PIECE = 1 << 20


def list_entries(path: Path, head: bytes) -> tuple[str, ...]:
    """Lists the names in a zip archive; none if the file is not an archive or its directory cannot be read."""
    if not head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ()
    try:
        with zipfile.ZipFile(path) as archive:
            return tuple(archive.namelist())
    except _ZIP_ERRORS:
        return ()


class ZipArchive:
    """A zip archive whose entries are read one at a time, each checked before memory is taken for it.

    Args:
        source: The file. Its compressed entries together may expand to ``max_bytes``, beside the tensors' budget.

    Raises:
        FormatError: If it is not a zip archive or its directory is damaged.
    """

    def __init__(self, source: SourceFile):
        """Reads the directory."""
        self.source = source.with_budget(source.max_bytes)
        self._data = map_file(source.path)
        try:
            with zipfile.ZipFile(source.path) as archive:
                entries = archive.infolist()
        except FileNotFoundError:
            raise
        except _ZIP_ERRORS as error:
            raise self.source.error(f"the directory of the zip archive cannot be read ({error}).") from error
        seen: set[str] = set()
        for entry in entries:
            if entry.filename in seen:
                raise self.source.error(f"the archive has two entries {entry.filename[:200]!r}.")
            seen.add(entry.filename)
        # Not ``is_dir``, which fails for an empty name.
        self.entries = {entry.filename: entry for entry in entries if not entry.filename.endswith("/")}

    def __len__(self) -> int:
        """Returns the size of the file in bytes."""
        return len(self._data)

    def read(self, name: str) -> memoryview:
        """Reads one entry: a view of the file if it is stored, otherwise its decompressed bytes.

        Raises:
            FormatError: For an entry that is absent, encrypted, compressed by an unknown method, longer or shorter
                than the directory says, larger than deflate can expand it to, beyond ``max_bytes``, or whose checksum
                is wrong.
        """
        entry = self.entries.get(name)
        if entry is None:
            raise self.source.error(f"the archive has no entry {name!r}.")
        if entry.flag_bits & _ENCRYPTED:
            raise self.source.error(f"entry {name!r} is encrypted.")
        stored = self._stored_bytes(entry)
        if entry.compress_type == zipfile.ZIP_STORED:
            content = stored
        elif entry.compress_type == zipfile.ZIP_DEFLATED:
            content = self._inflate(entry, stored)
        else:
            raise self.source.error(f"entry {name!r} is compressed by method {entry.compress_type}, not by deflate.")
        if len(content) != entry.file_size:
            raise self.source.error(f"entry {name!r} has {len(content)} bytes instead of {entry.file_size}.")
        if _compute_crc32(content) != entry.CRC:
            raise self.source.error(f"the checksum of entry {name!r} is wrong: the file is damaged.")
        return content

    def _stored_bytes(self, entry: zipfile.ZipInfo) -> memoryview:
        start = entry.header_offset
        header = self._data[start : start + 30] if 0 <= start <= len(self) else b""
        if len(header) < 30 or bytes(header[:4]) != b"PK\x03\x04":
            raise self.source.error(f"entry {entry.filename!r} has no header where the directory says.")
        name, extra = struct.unpack("<HH", header[26:30])
        start += 30 + name + extra
        if entry.compress_size > len(self) - start:
            raise self.source.error(f"entry {entry.filename!r} extends beyond the end of the file.")
        return self._data[start : start + entry.compress_size]

    def _inflate(self, entry: zipfile.ZipInfo, stored: memoryview) -> memoryview:
        if entry.file_size > DEFLATE_RATIO * len(stored):
            text = f"entry {entry.filename!r} claims {entry.file_size} bytes, but {len(stored)} compressed bytes"
            raise self.source.error(f"{text} expand to fewer.")
        self.source.spend(entry.file_size, f"entry {entry.filename!r}")
        try:
            if entry.file_size > _MAX_IN_MEMORY:
                return self._inflate_to_file(entry, stored)
            return memoryview(zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, entry.file_size + 1))
        except (zlib.error, MemoryError, OverflowError, OSError) as error:
            raise self.source.error(f"entry {entry.filename!r} cannot be decompressed ({error}).") from error

    @staticmethod
    def _inflate_to_file(entry: zipfile.ZipInfo, stored: memoryview) -> memoryview:
        """Decompresses an entry into a temporary file and maps it, so that its pages can be released."""
        decompressor = zlib.decompressobj(-zlib.MAX_WBITS)
        with tempfile.TemporaryFile() as file:
            left, position = entry.file_size + 1, 0
            pending: memoryview | bytes = b""
            while left and not decompressor.eof and (pending or position < len(stored)):
                if not pending:
                    pending = stored[position : position + _PIECE]
                    position += len(pending)
                piece = decompressor.decompress(pending, min(_PIECE, left))
                pending = decompressor.unconsumed_tail
                file.write(piece)
                left -= len(piece)
            file.write(decompressor.flush()[:left])
            file.flush()
            return memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))


def _compute_crc32(content: memoryview) -> int:
    """Computes a checksum piece by piece, and releases the pages of a mapped file in between."""
    total = 0
    for begin in range(0, len(content), _MAX_IN_MEMORY):
        total = zlib.crc32(content[begin : begin + _MAX_IN_MEMORY], total)
        release_pages(content)
    return total
