"""Images and labels from NumPy archives."""

import math
import os
import zipfile
import zlib

import numpy as np

from jaxcnn._check import check
from jaxcnn._typing import Int, Num

__all__ = ["read_npz"]

_DEFLATE_RATIO = 1032  # deflate can make nothing smaller than 1/1032 (zlib's technical notes)


def read_npz(
    path: str | os.PathLike[str],
    *,
    images: str = "x_train",
    labels: str = "y_train",
    shape: tuple[int, int, int] | None = None,
    max_bytes: int = 2**33,
) -> tuple[Num[np.ndarray, "n h w c"], Int[np.ndarray, " n"]]:
    """Reads images and labels from an ``.npz`` archive.

    Only the two named arrays are read. Nothing is unpickled. An array's header is compared with the
    file's size before memory is allocated.

    Args:
        path: The file.
        images: Name of the array of images: (n, h, w, c), (n, h, w), or any (n, ...) with ``shape``.
            Integers from 0 to 255 become uint8; floating values stay as they are.
        labels: Name of the array of labels: integers starting at 0, (n,) or (n, 1).
        shape: Height, width and channels of an image that is stored flat.
        max_bytes: Largest array that is read.

    Returns:
        Images and int32 labels.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the archive is damaged or lacks an array, or an array has another shape or dtype.

    Example:
        >>> import numpy as np
        >>> from jaxcnn import data
        >>> import os, tempfile
        >>> path = os.path.join(tempfile.mkdtemp(), "two.npz")
        >>> np.savez(path, x_train=np.zeros((2, 16)), y_train=np.array([[3], [4]]))
        >>> pixels, classes = data.read_npz(path, shape=(4, 4, 1))
        >>> pixels.shape, classes.tolist()
        ((2, 4, 4, 1), [3, 4])
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"read_npz: path must be an existing file, got {os.fspath(path)!r}.")
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            names = {n.removesuffix(".npy") for n in archive.namelist() if n.endswith(".npy")}
            for argument, name in (("images", images), ("labels", labels)):
                got = f"{name!r} for {os.fspath(path)!r}"
                check(name in names, "read_npz", argument, f"one of its arrays {tuple(sorted(names))!r}", got)
                arrays[argument] = _read_member(archive, f"{name}.npy", path, max_bytes)
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        raise ValueError(_describe_damage(path, str(error) or type(error).__name__)) from error
    return _to_images(arrays["images"], images, shape), _to_labels(arrays["labels"], labels, len(arrays["images"]))


def _describe_damage(path: str | os.PathLike[str], reason: str) -> str:
    return f"read_npz: path must be an intact npz file, got {os.fspath(path)!r} ({reason})."


def _read_member(archive: zipfile.ZipFile, name: str, path: str | os.PathLike[str], max_bytes: int) -> np.ndarray:
    """Reads one array after comparing its header, the archive's directory and the file's size."""
    info = archive.getinfo(name)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(_describe_damage(path, f"{name} is compressed by a method that NumPy does not write"))
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    with archive.open(info) as file:
        try:
            version = np.lib.format.read_magic(file)
            if version not in readers:
                raise ValueError(f"unknown version {version}")
            shape, _, dtype = readers[version](file)
        except ValueError as error:
            raise ValueError(_describe_damage(path, f"{name}: {error}")) from error
        begin = file.tell()
    if dtype.hasobject:
        raise ValueError(_describe_damage(path, f"{name} holds pickled objects, which are not read"))
    expected = math.prod(shape) * dtype.itemsize
    if info.file_size - begin != expected or info.file_size > os.path.getsize(path) * _DEFLATE_RATIO:
        raise ValueError(_describe_damage(path, f"{name} states {dtype}{shape}, which does not match its size"))
    if expected > max_bytes:
        raise ValueError(_describe_damage(path, f"{name} has {expected} bytes, more than max_bytes={max_bytes}"))
    with archive.open(info) as file:
        try:
            return np.lib.format.read_array(file, allow_pickle=False)
        except ValueError as error:
            raise ValueError(_describe_damage(path, f"{name}: {error}")) from error


def _to_images(array: np.ndarray, name: str, shape: tuple[int, int, int] | None) -> np.ndarray:
    got = f"{array.dtype}{array.shape} in {name!r}"
    if shape is not None:
        fits = array.ndim >= 2 and math.prod(array.shape[1:]) == math.prod(shape)
        check(fits, "read_npz", "shape", "the shape of one image", f"{tuple(shape)} for {got}")
        array = array.reshape(len(array), *shape)
    elif array.ndim == 3:
        array = array[..., None]
    check(array.ndim == 4, "read_npz", "images", "of shape (n, h, w, c) or (n, h, w), or used with shape=", got)
    if np.issubdtype(array.dtype, np.floating) or array.dtype == np.uint8:
        return array
    small = array.dtype == bool or (
        np.issubdtype(array.dtype, np.integer) and (array.size == 0 or (array.min() >= 0 and array.max() <= 255))
    )
    check(bool(small), "read_npz", "images", "floating or integers in 0..255", got)
    return array.astype(np.uint8)


def _to_labels(array: np.ndarray, name: str, n: int) -> np.ndarray:
    got = f"{array.dtype}{array.shape} in {name!r}"
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    numbers = np.issubdtype(array.dtype, np.integer) or np.issubdtype(array.dtype, np.floating)
    whole = numbers and array.shape == (n,) and bool(np.all(array == np.round(array)))
    check(whole, "read_npz", "labels", f"{n} whole numbers, one per image", got)
    if n:
        low, high = array.min(), array.max()
        expected = "numbers of classes, 0 to 2**31 - 1"
        check(bool(low >= 0 and high < 2**31), "read_npz", "labels", expected, f"{low} to {high} in {name!r}")
    return array.astype(np.int32)
