"""One function that reads a weight file of any format known, told by its content."""

import functools
import os
from pathlib import Path
from typing import Any

from jaxcnn._check import check, is_integer_at_least
from jaxcnn.zoo.checkpoint import MAX_BYTES, Checkpoint, Format, FormatError
from jaxcnn.zoo.download import downloads
from jaxcnn.zoo.records import weight_records

__all__ = ["formats", "read"]

_HEAD = 4096


@functools.cache
def formats() -> tuple[Format, ...]:
    """Gives what ``read`` tries in turn, first the formats that tell themselves most surely.

    The readers are imported by the first call, so that ``import jaxcnn`` stays light.

    Returns:
        Of each format its name, whether a path whose file has these first bytes is of it, and its reader.

    Example:
        >>> [name for name, fits, _ in formats() if fits(Path("a.tflite"), b"    TFL3")]
        ['TensorFlow Lite']
    """
    from jaxcnn.zoo.formats.caffe.caffemodel import is_caffe, read_caffe
    from jaxcnn.zoo.formats.keras.hdf5_file import is_keras_h5, read_keras_h5
    from jaxcnn.zoo.formats.keras.keras_archive import is_keras, read_keras
    from jaxcnn.zoo.formats.matconvnet.mat_file import is_matconvnet, read_matconvnet
    from jaxcnn.zoo.formats.numpy_file import is_numpy, read_numpy
    from jaxcnn.zoo.formats.pytorch.checkpoint_file import is_pytorch, read_pytorch
    from jaxcnn.zoo.formats.safetensors_file import is_safetensors, read_safetensors
    from jaxcnn.zoo.formats.tar_archive import is_tar, read_tar
    from jaxcnn.zoo.formats.tensorflow.checkpoint_files import is_tensorflow_checkpoint, read_tensorflow_checkpoint
    from jaxcnn.zoo.formats.tensorflow.graph_def import is_tensorflow_graph, read_tensorflow_graph
    from jaxcnn.zoo.formats.tensorflow.tflite_file import is_tflite, read_tflite

    single = (
        ("PyTorch", is_pytorch, read_pytorch),
        ("NumPy", is_numpy, read_numpy),
        ("safetensors", is_safetensors, read_safetensors),
        ("MatConvNet", is_matconvnet, read_matconvnet),  # before Keras's: version 7.3 is HDF5, too
        ("Keras archive", is_keras, read_keras),
        ("Keras HDF5", is_keras_h5, read_keras_h5),
        ("TensorFlow Lite", is_tflite, read_tflite),
        ("TensorFlow checkpoint or SavedModel", is_tensorflow_checkpoint, read_tensorflow_checkpoint),
        ("TensorFlow graph", is_tensorflow_graph, read_tensorflow_graph),
        ("Caffe", is_caffe, read_caffe),
    )
    return (*single[:-1], ("tar archive", is_tar, functools.partial(read_tar, formats=single)), single[-1])


def read(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, download: bool = False) -> Checkpoint:
    """Reads a weight file, whatever its name, by the format that its content shows.

    Nothing of the file is run, and no framework is imported. What a file states is compared with its size and with
    ``max_bytes`` before memory is taken.

    Convention: Kernels are (kh, kw, in, out), depthwise ones (kh, kw, c, m), those of dense layers (in, out), where
    the format tells what a kernel is. Names are the file's.

    Args:
        path: The file; for formats of several files, their folder or common prefix. Or the name of a record, such as
            ``"keras/xception"``, whose file was downloaded, or is to be.
        max_bytes: What all tensors together may take.
        download: Whether the file of a record may be downloaded where it is not there, as by ``zoo.download``.

    Returns:
        Tensors, metadata and, where the file has one, the graph.

    Raises:
        FileNotFoundError: If there is no such file, or that of a record was not downloaded.
        DownloadError: If it cannot be downloaded.
        FormatError: If its format is unknown, or it is damaged, hostile or holds what is not read.
        ValueError: If ``max_bytes`` is no positive integer.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "weights.npz")
        ...     np.savez(path, kernel=np.ones((3, 3, 1, 8), np.float32))
        ...     checkpoint = read(path)
        >>> checkpoint.metadata["format"], checkpoint.tensors["kernel"].shape
        ('numpy', (3, 3, 1, 8))
    """
    check(is_integer_at_least(max_bytes, 1), "read", "max_bytes", "a positive integer", repr(max_bytes))
    place = _found(path, download)
    head = b""
    if place.is_file():
        with open(place, "rb") as file:
            head = file.read(_HEAD)
    for _, fits, reader in formats():
        if fits(place, head):
            return reader(place, max_bytes=max_bytes)
    if not place.exists():
        near = weight_records.near(path)
        raise FileNotFoundError(f"read: path must be an existing file, got {str(path)!r}{near}.")
    names = ", ".join(name for name, _, _ in formats())
    if head.startswith(b"PK"):
        got = "a zip archive that is damaged or holds none of these"
    else:
        got = "a folder that is none of these" if place.is_dir() else f"a file that begins with {head[:16]!r}"
    raise FormatError(place, f"must be of a known format ({names}), got {got}.")


def _found(path: Any, download: bool) -> Path:
    """Gives the path, or, where nothing is there and it is the name of a record, that of its file."""
    record = None if Path(path).exists() else weight_records.find(os.fspath(path))
    if record is None:
        return Path(path)
    if download:
        return downloads.download(record.name)
    file = downloads.cached(record.name)
    if file is None:
        way = f"run 'jaxcnn download {record.name}', or in Python pass download=True"
        raise FileNotFoundError(f"read: the file of {record.name!r} must be downloaded first; {way}.")
    return file
