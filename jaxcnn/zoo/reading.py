"""Reads a weight file of any known format, detected from its content."""

import functools
import os
from pathlib import Path

from jaxcnn._check import check, is_integer_at_least
from jaxcnn.zoo.checkpoint import MAX_BYTES, Checkpoint, FormatError, WeightFormat
from jaxcnn.zoo.download import downloads
from jaxcnn.zoo.records import weight_records

__all__ = ["formats", "locate", "read"]

_HEAD_BYTES = 4096


@functools.cache
def formats() -> tuple[WeightFormat, ...]:
    """Returns the formats that ``read`` tries in turn, those that are detected most reliably first.

    The readers are imported by the first call, so that ``import jaxcnn`` stays light.

    Returns:
        The formats.

    Example:
        >>> from pathlib import Path
        >>> from jaxcnn.zoo.reading import formats
        >>> [one.name for one in formats() if one.matches(Path("a.tflite"), b"    TFL3")]
        ['TensorFlow Lite']
    """
    from jaxcnn.zoo.containers.tar_archive import is_tar
    from jaxcnn.zoo.formats.caffe.caffemodel import is_caffe, read_caffe
    from jaxcnn.zoo.formats.keras.hdf5_file import is_keras_h5, read_keras_h5
    from jaxcnn.zoo.formats.keras.keras_archive import is_keras, read_keras
    from jaxcnn.zoo.formats.matconvnet.mat_file import is_matconvnet, read_matconvnet
    from jaxcnn.zoo.formats.numpy_file import is_numpy, read_numpy
    from jaxcnn.zoo.formats.pytorch.checkpoint_file import is_pytorch, read_pytorch
    from jaxcnn.zoo.formats.safetensors_file import is_safetensors, read_safetensors
    from jaxcnn.zoo.formats.tar_file import read_tar
    from jaxcnn.zoo.formats.tensorflow.checkpoint_files import is_tensorflow_checkpoint, read_tensorflow_checkpoint
    from jaxcnn.zoo.formats.tensorflow.graph_def import is_tensorflow_graph, read_tensorflow_graph
    from jaxcnn.zoo.formats.tensorflow.tflite_file import is_tflite, read_tflite

    single = (
        WeightFormat("PyTorch", is_pytorch, read_pytorch),
        WeightFormat("NumPy", is_numpy, read_numpy),
        WeightFormat("safetensors", is_safetensors, read_safetensors),
        WeightFormat("MatConvNet", is_matconvnet, read_matconvnet),  # before Keras's: version 7.3 is also HDF5
        WeightFormat("Keras archive", is_keras, read_keras),
        WeightFormat("Keras HDF5", is_keras_h5, read_keras_h5),
        WeightFormat("TensorFlow Lite", is_tflite, read_tflite),
        WeightFormat("TensorFlow checkpoint or SavedModel", is_tensorflow_checkpoint, read_tensorflow_checkpoint),
        WeightFormat("TensorFlow graph", is_tensorflow_graph, read_tensorflow_graph),
        WeightFormat("Caffe", is_caffe, read_caffe),
    )
    archive = WeightFormat("tar archive", is_tar, functools.partial(read_tar, formats=single))
    return (*single[:-1], archive, single[-1])


def read(path: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES, download: bool = False) -> Checkpoint:
    """Reads a weight file, whatever its name; the format is detected from its content.

    Nothing in the file is executed, and no framework is imported. Whatever a file declares is checked against its size
    and against ``max_bytes`` before memory is allocated.

    Convention: Kernels are (kh, kw, in, out), depthwise ones (kh, kw, c, m), those of dense layers (in, out), if
    the format says what a kernel is. Names are those of the file.

    Args:
        path: The file; for formats of several files, their folder or common prefix. Or the name of a record, such as
            ``"keras/xception"``, whose file has been or is to be downloaded.
        max_bytes: What all tensors together may take.
        download: Whether the file of a record may be downloaded if it is missing, as by ``zoo.download``.

    Returns:
        Tensors, metadata and the graph, if the file has one.

    Raises:
        FileNotFoundError: If there is no such file, or the file of a record was not downloaded.
        DownloadError: If it cannot be downloaded.
        FormatError: If its format is unknown, or it is damaged, hostile, or holds unsupported content, or neither
            tensors nor the description of a network.
        ValueError: If ``max_bytes`` is not a positive integer.

    Example:
        >>> import os
        >>> from jaxcnn.zoo import read
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
    location = locate(path, download=download)
    head = b""
    if location.is_file():
        with open(location, "rb") as file:
            head = file.read(_HEAD_BYTES)
    for one in formats():
        if one.matches(location, head):
            checkpoint = one.read(location, max_bytes=max_bytes)
            if not checkpoint.tensors and checkpoint.graph is None:
                notes = " ".join(str(note) for note in checkpoint.metadata.get("notes", ()))
                raise FormatError(location, f"holds no tensors ({one.name}). {notes}".rstrip())
            return checkpoint
    if not location.exists():
        hint = weight_records.suggest_record(path)
        raise FileNotFoundError(f"read: path must be an existing file, got {str(path)!r}{hint}.")
    names = ", ".join(one.name for one in formats())
    if head.startswith(b"PK"):
        got = "a zip archive that is damaged or holds none of these"
    else:
        got = "a folder that is none of these" if location.is_dir() else f"a file that begins with {head[:16]!r}"
    raise FormatError(location, f"must be of a known format ({names}), got {got}.")


def locate(path: str | os.PathLike[str], *, download: bool) -> Path:
    """Finds the file of a path or, if nothing exists there and it is the name of a record, of that record.

    Args:
        path: A path, or the name of a record.
        download: Whether the file of a record may be downloaded if it is missing.

    Returns:
        The path of the file, which need not exist unless it is that of a record.

    Raises:
        FileNotFoundError: If the file of a record was not downloaded.
        DownloadError: If it cannot be downloaded.
    """
    record = None if Path(path).exists() else weight_records.find(os.fspath(path))
    if record is None:
        return Path(path)
    if download:
        return downloads.download(record.name)
    file = downloads.cached(record.name)
    if file is None:
        hint = f"run 'jaxcnn download {record.name}', or in Python pass download=True"
        raise FileNotFoundError(f"read: the file of {record.name!r} must be downloaded first; {hint}.")
    return file
