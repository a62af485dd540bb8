"""Tar archives, plain or compressed by gzip, unpacked into a folder within bounds."""

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.containers.source_file import SourceFile

__all__ = ["is_tar", "unpack_tar"]

_GZIP = b"\x1f\x8b"
_PIECE = 1 << 20
_MAX_MEMBERS = 1000
_TAR_ERRORS = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, OverflowError, MemoryError)
_TAR_ERRORS += (OSError,)


def is_tar(path: Path, head: bytes) -> bool:
    """Tests whether a file is a tar archive, or compressed by gzip, as such archives are.

    Args:
        path: The file; it is not opened.
        head: Its first 4096 bytes.

    Returns:
        Whether it is.
    """
    del path
    return head.startswith(_GZIP + b"\x08") or head[257:262] == b"ustar"


def unpack_tar(source: SourceFile, folder: Path, wanted: Callable[[str], bool]) -> None:
    """Writes the wanted members of an archive into a folder, under the last parts of their names.

    Links, devices and sparse members are skipped.

    Args:
        source: The archive. The sizes of all members are taken from its budget, also of those that are skipped: they
            must be decompressed on the way to the next.
        folder: An empty folder.
        wanted: Decides by its last part whether a member is written.

    Raises:
        FormatError: For an archive that is truncated, corrupt or hostile, larger than the budget, or has two members
            of one name.
    """
    with open(source.path, "rb") as file:
        compressed = file.read(2) == _GZIP
        file.seek(0)
        try:
            stream = _HeaderGuard(gzip.GzipFile(fileobj=file) if compressed else file)
            with tarfile.open(fileobj=stream, mode="r:") as archive:
                for count, member in enumerate(archive):
                    if count == _MAX_MEMBERS:
                        raise source.error(f"the archive must have at most {_MAX_MEMBERS} members.")
                    source.spend(member.size, f"member {member.name[:200]!r}")
                    target = folder / PurePosixPath(member.name).name
                    if not member.isreg() or member.issparse() or not wanted(target.name):
                        continue
                    if target == folder or target.exists():
                        raise source.error(f"the archive has a member {member.name[:200]!r}, which is in the way.")
                    _copy_member(archive, member, target)
        except FormatError:
            raise
        except _TAR_ERRORS as error:
            raise source.error(f"the archive cannot be unpacked ({error}).") from error


class _HeaderGuard:
    """A stream for ``tarfile`` that refuses long reads: members are read in short pieces, long headers are hostile."""

    def __init__(self, stream: io.BufferedIOBase):
        self.stream = stream

    def read(self, size: int = -1, /) -> bytes:
        """Reads a header or a piece of a member."""
        if not 0 <= size <= _PIECE:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self.stream.read(size)

    def write(self, data: bytes, /) -> int:
        """Refuses: archives are only read."""
        raise io.UnsupportedOperation("write")

    def tell(self) -> int:
        """Returns the position."""
        return self.stream.tell()

    def seek(self, position: int, /) -> int:
        """Moves to a position."""
        return self.stream.seek(position)

    def close(self) -> None:
        """Closes the stream."""
        self.stream.close()


def _copy_member(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    content = archive.extractfile(member)
    assert content is not None  # of a regular member
    with open(target, "xb") as file:
        left = member.size
        while piece := content.read(min(left, _PIECE // 4)):
            file.write(piece)
            left -= len(piece)
    if left:
        raise EOFError(f"{member.name[:200]!r} ends {left} bytes early")
