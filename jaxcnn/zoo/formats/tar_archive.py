"""Weight files packed in a tar archive, plain or by gzip, as TensorFlow's slim and Caffe's users publish them."""

import gzip
import tarfile
import tempfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from jaxcnn.zoo.checkpoint import Budget, Checkpoint, Format, FormatError

__all__ = ["is_tar", "read_tar"]

_PIECE = 1 << 20
_MOST = 1000  # members
_BESIDE = (".meta", ".pbtxt", ".prototxt", ".binaryproto", ".txt", ".csv", ".md", ".py", ".json", ".jpg", ".png")
_LIST = "checkpoint"  # which names the newest of TensorFlow's checkpoints
_FIRST = "TensorFlow checkpoint or SavedModel"  # slim's archives have the same weights frozen and for TensorFlow Lite
_BROKEN = (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, ValueError, OverflowError, MemoryError, OSError)


def is_tar(path: Path, head: bytes) -> bool:
    """Says whether a file is a tar archive, or packed by gzip, as archives are.

    Args:
        path: The file.
        head: Its first 4096 bytes.

    Returns:
        Whether ``read_tar`` is the reader to ask.
    """
    del path
    return head.startswith(b"\x1f\x8b\x08") or head[257:262] == b"ustar"


def read_tar(path: Path, *, max_bytes: int, formats: Sequence[Format]) -> Checkpoint:
    """Reads the weights in a tar archive.

    Convention: The members go to a temporary folder, under the last parts of their names, which is removed. A
        checkpoint of TensorFlow or a ``.caffemodel`` is read before what else there is; of others there must be one.
        Links, devices and what does not hold weights are passed over.

    Args:
        path: The archive.
        max_bytes: What its members, and then the tensors, may take.
        formats: What a member may be: name, whether a file with these first bytes is of it, reader.

    Returns:
        The content of the weights; ``metadata["notes"]`` says which member it was.

    Raises:
        FormatError: For an archive that is truncated, corrupt, hostile, larger than ``max_bytes``, or holds no weights,
            or several.
        FileNotFoundError: If there is no such file.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        _unpack(path, folder, Budget(path, max_bytes))
        found = _weights(folder, formats)
        named = [one for one in found if one[1].suffix == ".caffemodel"]
        best = [one for one in found if one[0] == _FIRST] or named or found
        if len(best) != 1:
            got = ", ".join(sorted(member.name for _, member, _ in best)) or "none"
            raise FormatError(path, f"the archive must hold weights in one file, got {got}.")
        kind, member, reader = best[0]
        try:
            checkpoint = reader(member, max_bytes=max_bytes)
        except FormatError as error:
            raise FormatError(path, f"{member.name} in the archive: {error.reason}") from error
    note = f"read of the archive: {member.name} ({kind})"
    notes = [*checkpoint.metadata.get("notes", ()), note]
    return Checkpoint(checkpoint.tensors, {**checkpoint.metadata, "notes": notes}, checkpoint.graph)


class _Careful:
    """A stream that refuses to be read in larger pieces than members are: headers that claim to be long are hostile."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.seek, self.tell = stream.seek, stream.tell

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _PIECE:
            raise tarfile.ReadError(f"a header of {size} bytes")
        return self.stream.read(size)


def _unpack(path: Path, folder: Path, budget: Budget) -> None:
    """Writes the regular members of an archive into a folder."""
    with open(path, "rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
        file.seek(0)
        try:
            stream = _Careful(gzip.GzipFile(fileobj=file) if packed else file)
            with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
                for count, member in enumerate(archive):
                    if count == _MOST:
                        raise FormatError(path, f"the archive must have at most {_MOST} members.")
                    # Counted where it is not wanted, too: it has to be unpacked on the way to the next.
                    budget.spend(member.size, f"member {member.name[:200]!r}")
                    target = folder / PurePosixPath(member.name).name
                    beside = target.suffix.lower() in _BESIDE or target.name.startswith(".") or target.name == _LIST
                    if not member.isreg() or member.issparse() or beside:
                        continue
                    if target == folder or target.exists():
                        raise FormatError(path, f"the archive has a member {member.name[:200]!r}, which is in the way.")
                    _copy(archive, member, target)
        except _BROKEN as error:
            if isinstance(error, FormatError):
                raise
            raise FormatError(path, f"the archive cannot be unpacked ({error}).") from error


def _copy(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = archive.extractfile(member)
    assert source is not None  # of a regular member
    with open(target, "xb") as file:
        left = member.size
        while piece := source.read(min(left, _PIECE // 4)):
            file.write(piece)
            left -= len(piece)
    if left:
        raise EOFError(f"{member.name[:200]!r} ends {left} bytes early")


def _weights(folder: Path, formats: Sequence[Format]) -> list[tuple[str, Path, Callable[..., Checkpoint]]]:
    """Gives the format, the path and the reader of all weights in a folder."""
    found = []
    files = sorted(folder.iterdir())
    for file in files:
        stem, shard, _ = file.name.partition(".data-")
        if shard and folder / f"{stem}.index" in files:  # read with its index
            continue
        with open(file, "rb") as opened:
            head = opened.read(4096)
        fitting = next(((kind, reader) for kind, fits, reader in formats if fits(file, head)), None)
        if fitting is not None:
            found.append((fitting[0], file, fitting[1]))
    return found
