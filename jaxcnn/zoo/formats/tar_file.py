"""Weight files in a tar archive, plain or compressed by gzip, as TensorFlow's slim and Caffe's users publish them."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from jaxcnn.zoo.checkpoint import Checkpoint, FormatError, WeightFormat
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.containers.tar_archive import unpack_tar

__all__ = ["read_tar"]

_OTHER_SUFFIXES = (".meta", ".pbtxt", ".prototxt", ".binaryproto", ".txt", ".csv", ".md", ".py", ".json", ".jpg")
_OTHER_SUFFIXES += (".png",)
_CHECKPOINT_LIST = "checkpoint"  # names the newest of TensorFlow's checkpoints
_PREFERRED = "TensorFlow checkpoint or SavedModel"  # slim's archives also hold the same weights frozen and as TF Lite


def read_tar(path: Path, *, max_bytes: int, formats: Sequence[WeightFormat]) -> Checkpoint:
    """Reads the weights in a tar archive.

    Convention: The members are unpacked into a temporary folder, under the last parts of their names. A checkpoint of
        TensorFlow or a ``.caffemodel`` takes precedence over other weights; of those there must be exactly one. Links,
        devices and files that do not hold weights are skipped.

    Args:
        path: The archive.
        max_bytes: What its members, and then the tensors, may take.
        formats: The formats that a member may have.

    Returns:
        The content of the weights; ``metadata["notes"]`` names the member.

    Raises:
        FormatError: For an archive that is truncated, corrupt, hostile, larger than ``max_bytes``, or that holds no
            weights, or several.
        FileNotFoundError: If there is no such file.
    """
    source = SourceFile(path, max_bytes)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        unpack_tar(source, folder, _may_hold_weights)
        found = _find_weights(folder, formats)
        preferred = [(member, weights) for member, weights in found if weights.name == _PREFERRED]
        preferred = preferred or [(member, weights) for member, weights in found if member.suffix == ".caffemodel"]
        chosen = preferred or found
        if len(chosen) != 1:
            got = ", ".join(sorted(member.name for member, _ in chosen)) or "none"
            raise source.error(f"the archive must hold weights in one file, got {got}.")
        member, weights = chosen[0]
        try:
            checkpoint = weights.read(member, max_bytes=max_bytes)
        except FormatError as error:
            raise source.error(f"{member.name} in the archive: {error.reason}") from error
    note = f"read from the archive: {member.name} ({weights.name})"
    notes = [*checkpoint.metadata.get("notes", ()), note]
    return Checkpoint(checkpoint.tensors, {**checkpoint.metadata, "notes": notes}, checkpoint.graph)


def _may_hold_weights(name: str) -> bool:
    return not (Path(name).suffix.lower() in _OTHER_SUFFIXES or name.startswith(".") or name == _CHECKPOINT_LIST)


def _find_weights(folder: Path, formats: Sequence[WeightFormat]) -> list[tuple[Path, WeightFormat]]:
    """Lists all weights in a folder, each with its format."""
    found = []
    files = sorted(folder.iterdir())
    for file in files:
        stem, shard, _ = file.name.partition(".data-")
        if shard and folder / f"{stem}.index" in files:  # read together with its index
            continue
        with open(file, "rb") as opened:
            head = opened.read(4096)
        found += [(file, one) for one in formats if one.matches(file, head)][:1]
    return found
