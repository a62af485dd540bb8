"""The idx format of MNIST and similar data sets."""

import gzip
import io
import math
import os
import zlib
from pathlib import Path
from typing import Literal

import numpy as np

from jaxcnn._check import check, check_choice
from jaxcnn._typing import Int, Num, UInt8

__all__ = ["mnist", "read_idx"]

_DTYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_DEFLATE_RATIO = 1032  # deflate can make nothing smaller than 1/1032 (zlib's technical notes)
_CHUNK = 2**20


def read_idx(path: str | os.PathLike[str], *, max_bytes: int = 2**33) -> Num[np.ndarray, "..."]:
    """Reads an array from an idx file, plain or compressed by gzip.

    Compression is detected from the content, not from the name. Header and file size are compared
    before memory is allocated.

    Args:
        path: The file.
        max_bytes: Largest array that is read.

    Returns:
        The array in the byte order of the machine; writable.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is not an idx file, is truncated, corrupt, longer than its header states, or
            larger than ``max_bytes``.

    Example:
        >>> from jaxcnn import data
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "three.idx"
        >>> _ = path.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 3, 10, 20, 30]))
        >>> data.read_idx(path).tolist()
        [10, 20, 30]

    References:
        Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits", file format.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"read_idx: path must be an existing file, got {os.fspath(path)!r}.")
    try:
        with open(path, "rb") as plain:
            size = os.fstat(plain.fileno()).st_size
            compressed = plain.read(2) == b"\x1f\x8b"
            plain.seek(0)
            if not compressed:
                return _read_array(plain, path, size, max_bytes)
            with gzip.GzipFile(fileobj=plain) as file:
                return _read_array(file, path, size * _DEFLATE_RATIO, max_bytes)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(_describe_damage(path, f"damaged compression: {error}")) from error


def mnist(
    folder: str | os.PathLike[str], *, split: Literal["train", "test"] = "train"
) -> tuple[UInt8[np.ndarray, "n h w c=1"], Int[np.ndarray, " n"]]:
    """Reads MNIST, or a data set in its format, from a folder of its usual files.

    The files are ``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte`` and
    ``t10k-labels-idx1-ubyte``, each with or without ``.gz``. Nothing is downloaded.

    Args:
        folder: Folder of the files.
        split: ``"train"`` or ``"test"`` (the ``t10k`` files).

    Returns:
        Images in uint8, white strokes on black, and labels in int32.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file is damaged, or the two files do not match.

    Example:
        Two images of 1 x 2 pixels in the form of the test set.

        >>> from jaxcnn import data
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> header = [0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2]
        >>> _ = (folder / "t10k-images-idx3-ubyte").write_bytes(bytes([*header, 0, 50, 100, 255]))
        >>> _ = (folder / "t10k-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 7, 3]))
        >>> images, labels = data.mnist(folder, split="test")
        >>> images.shape, labels.tolist()
        ((2, 1, 2, 1), [7, 3])
    """
    check_choice("mnist", "split", split, ("train", "test"))
    prefix = {"train": "train", "test": "t10k"}[split]
    image_path = _find(folder, f"{prefix}-images-idx3-ubyte")
    label_path = _find(folder, f"{prefix}-labels-idx1-ubyte")
    images, labels = read_idx(image_path), read_idx(label_path)
    name = f"{os.fspath(folder)!r}"
    pair = images.dtype == np.uint8 and images.ndim == 3 and labels.dtype == np.uint8 and labels.ndim == 1
    form = f"{images.dtype}{images.shape} and {labels.dtype}{labels.shape} in {name}"
    check(pair, "mnist", "files", "uint8 images (n, h, w) and uint8 labels (n,)", form)
    check(len(images) == len(labels), "mnist", "files", "as many images as labels", form)
    return images[..., None], labels.astype(np.int32)


def _find(folder: str | os.PathLike[str], name: str) -> Path:
    for candidate in (name, name + ".gz"):
        path = Path(folder) / candidate
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"mnist: folder must hold {name} or {name}.gz, got {os.fspath(folder)!r}. "
        "Put the four files of MNIST there; nothing is downloaded."
    )


def _describe_damage(path: str | os.PathLike[str], reason: str) -> str:
    return f"read_idx: path must be an intact idx file, got {os.fspath(path)!r} ({reason})."


def _read_array(file: io.BufferedIOBase, path: str | os.PathLike[str], bound: int, max_bytes: int) -> np.ndarray:
    """Reads header and values; ``bound`` is the largest number of bytes that the file can hold."""
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[2] not in _DTYPES:
        raise ValueError(_describe_damage(path, f"begins with {magic.hex(' ') or 'nothing'}"))
    dtype, rank = np.dtype(_DTYPES[magic[2]]), magic[3]
    header = file.read(4 * rank)
    if len(header) < 4 * rank:
        raise ValueError(_describe_damage(path, "ends within its header"))
    shape = tuple(int(n) for n in np.frombuffer(header, ">u4"))
    expected = math.prod(shape) * dtype.itemsize
    stated = f"its header states {shape} of {dtype.name}"
    # 32 is the largest rank of all NumPy versions; a product of sizes with a 0 may hide sizes that are too large.
    if rank == 0 or rank > 32 or max(shape) * dtype.itemsize > bound or expected > bound:
        raise ValueError(_describe_damage(path, f"{stated}, more than the file can hold"))
    if expected > max_bytes:
        raise ValueError(_describe_damage(path, f"{stated}, {expected} bytes, more than max_bytes={max_bytes}"))
    values = bytearray()
    # One byte more than stated is requested, to detect a file that is too long.
    while len(values) <= expected and (piece := file.read(min(_CHUNK, expected + 1 - len(values)))):
        values += piece
    if len(values) < expected:
        raise ValueError(_describe_damage(path, f"{stated}, {expected} bytes, but {len(values)} follow"))
    if len(values) > expected:
        raise ValueError(_describe_damage(path, f"{stated}, {expected} bytes, but more follow"))
    array = np.frombuffer(values, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)
