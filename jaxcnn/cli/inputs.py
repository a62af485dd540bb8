"""Inputs of a run's networks: its test images, or those of ``--data``, and pictures in files."""

import dataclasses
import os
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxcnn import data, train
from jaxcnn._check import check
from jaxcnn._typing import Num
from jaxcnn.recipes._runner import find_recipe
from jaxcnn.report.networks import LabeledImages

__all__ = ["InputFormat", "Invert", "find_test_images"]

Invert = Literal["auto", "yes", "no"]

ARRAYS = (("x_test", "y_test"), ("images", "labels"), ("image", "label"), ("x", "y"), ("x_train", "y_train"))
"""Names of images and labels in an npz file, the first pair that is there."""


@dataclasses.dataclass(frozen=True)
class InputFormat:
    """What a network reads: shape and dtype of an input, and what makes one of a picture.

    Attributes:
        shape: Height, width and channels.
        dtype: Name of the dtype.
        preprocessing: As the run has it: ``reader`` ("digit" or none), ``fit``, ``value_range``, ``mean``, ``std``.
    """

    shape: tuple[int, int, int]
    dtype: str
    preprocessing: Mapping[str, Any]

    @staticmethod
    def of(info: train.RunInfo) -> "InputFormat":
        """Takes it from what a run says."""
        shape = info.input["shape"]
        check(len(shape) == 3, "run", "input", "an image (h, w, c), to read pictures", tuple(shape))
        h, w, channels = shape
        return InputFormat((h, w, channels), info.input["dtype"], info.preprocessing or {})

    @property
    def reads_digits(self) -> bool:
        """Whether pictures are of single digits, which are cut out and put on a canvas."""
        return self.preprocessing.get("reader") == "digit"

    def read(self, path: str, *, invert: Invert = "auto") -> Num[np.ndarray, "h w c"]:
        """Reads a picture and makes an input of it."""
        if self.reads_digits:
            return data.read_digit(path, canvas=self.shape[:2], invert=invert)
        check(os.path.isfile(path), "run", "picture", "an existing file", repr(path))
        h, w, channels = self.shape
        fit = self.preprocessing.get("fit", "crop")
        source = data.ImageFolder((path,), (0,), ("",), size=(h, w), channels=channels, fit=fit)
        return self.scale(source[0]["image"])

    def scale(self, image: np.ndarray) -> np.ndarray:
        """Brings pixels to the range of the run's inputs; floating values pass as they are."""
        if np.issubdtype(image.dtype, np.floating):
            return image.astype(self.dtype)
        low, high = self.preprocessing.get("value_range", (0, 1) if "float" in self.dtype else (0, 255))
        scaled = low + image.astype(np.float32) * ((high - low) / np.float32(255))
        scaled = scaled - np.asarray(self.preprocessing.get("mean") or 0.0, np.float32)
        return (scaled / np.asarray(self.preprocessing.get("std") or 1.0, np.float32)).astype(self.dtype)


def find_test_images(info: train.RunInfo, path: str | None) -> LabeledImages | None:
    """Finds the test images of a run, or reads those that the user names.

    Args:
        info: The run.
        path: A folder with one sub-folder per class, a folder with the files of MNIST, an npz file; None for the
            test data that the run describes.

    Returns:
        The images; None where the run does not describe its test data, or they are no longer there.
    """
    known = info.data or {}
    test = known.get("test") or {}
    if path is None and test.get("kind") == "recipe" and "recipe" in known:
        recipe = find_recipe(known["recipe"]["name"])
        config = recipe.configure(known["recipe"]["config"])
        return LabeledImages.of(recipe.test_set(config), originals=recipe.originals(config))
    if path is None and test.get("kind") == "image_folder" and os.path.isdir(str(test.get("path"))):
        path = str(test["path"])
    return None if path is None else _read(Path(path), InputFormat.of(info), info.classes)


def _read(path: Path, form: InputFormat, classes: Sequence[str] | None) -> LabeledImages:
    if path.suffix == ".npz":
        return _from_arrays(*_read_npz(path), form)
    if any(path.glob("*-images-idx3-ubyte*")):
        return _from_arrays(*data.mnist(path, split="test"), form)
    check(path.is_dir(), "run", "--data", "a folder of pictures or of idx files, or an npz file", repr(str(path)))
    folder = data.image_folder(path, classes=classes)
    return LabeledImages(
        np.array(folder.labels), lambda indices: np.stack([form.read(folder.paths[i]) for i in indices])
    )


def _read_npz(path: Path) -> tuple[np.ndarray, np.ndarray]:
    check(path.is_file(), "run", "--data", "an existing file", repr(str(path)))
    try:
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist()}
    except zipfile.BadZipFile as error:
        raise ValueError(f"run: --data must be an intact npz file, got {str(path)!r} ({error}).") from None
    images, labels = next((pair for pair in ARRAYS if names.issuperset(pair)), ARRAYS[0])
    return data.read_npz(path, images=images, labels=labels)


def _from_arrays(images: np.ndarray, labels: np.ndarray, form: InputFormat) -> LabeledImages:
    check(images.shape[1:] == form.shape, "run", "--data", f"images of shape {form.shape}", images.shape[1:])
    return LabeledImages(labels, lambda indices: form.scale(images[indices]))
