"""Inputs of a run's networks: its test images, or those of ``--data``, and pictures in files."""

import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxcnn import data, train
from jaxcnn._check import check
from jaxcnn.recipes._runner import find_recipe
from jaxcnn.report.networks import LabeledImages
from jaxcnn.train.input_format import InputFormat

__all__ = ["find_test_images"]

ARRAYS = (("x_test", "y_test"), ("images", "labels"), ("image", "label"), ("x", "y"), ("x_train", "y_train"))
"""Names of images and labels in an npz file, the first pair that is there."""


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
