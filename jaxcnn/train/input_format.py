"""What the networks of a run read: shape and dtype of an input, and what makes one of a picture."""

import dataclasses
import os
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from jaxcnn import data
from jaxcnn._check import check
from jaxcnn._typing import Num
from jaxcnn.data.folder import fit_picture
from jaxcnn.data.pictures import cut_out_digit
from jaxcnn.train.run_folder import RunInfo
from jaxcnn.zoo import Preprocessing

__all__ = ["InputFormat", "Invert"]

Invert = Literal["auto", "yes", "no"]


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
    def of(info: RunInfo) -> "InputFormat":
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
        low, high = self._value_range
        scaled = low + image.astype(np.float32) * ((high - low) / np.float32(255))
        scaled = scaled - np.asarray(self.preprocessing.get("mean") or 0.0, np.float32)
        return (scaled / np.asarray(self.preprocessing.get("std") or 1.0, np.float32)).astype(self.dtype)

    def convert(self, image: np.ndarray) -> Num[np.ndarray, "h w c"]:
        """Makes an input of an image (h, w, 1) or (h, w, 3), uint8 or floating in [0, 1], as ``read`` does of a file.

        Raises:
            ValueError: If it is no such image.
        """
        import PIL.Image

        image = image[..., None] if image.ndim == 2 else image
        good = image.ndim == 3 and image.shape[-1] in (1, 3) and 0 not in image.shape
        check(good, "preprocess", "image", "one image (h, w, 3) or (h, w, 1)", image.shape)
        if np.issubdtype(image.dtype, np.floating):
            inside = bool(((image >= 0) & (image <= 1)).all())
            check(inside, "preprocess", "image", "uint8 in [0, 255] or floating in [0, 1]", "other values")
            image = np.round(255 * image).astype(np.uint8)
        check(image.dtype == np.uint8, "preprocess", "image", "uint8 in [0, 255] or floating in [0, 1]", image.dtype)
        picture = PIL.Image.fromarray(image if image.shape[-1] == 3 else image[..., 0])
        h, w, channels = self.shape
        if self.reads_digits:
            gray = np.asarray(picture.convert("L"), np.float32) / 255
            return cut_out_digit(gray, canvas=(h, w))
        return self.scale(fit_picture(picture, (h, w), channels, self.preprocessing.get("fit", "crop")))

    def describe(self) -> Preprocessing | None:
        """Describes it as the pre-processing of other networks is, where that is possible."""
        h, w, _ = self.shape
        if self.reads_digits:
            return None
        stretch = self.preprocessing.get("fit", "crop") == "stretch"
        low, high = self._value_range
        mean, std = (
            np.atleast_1d(self.preprocessing.get(name) or other) for name, other in (("mean", 0.0), ("std", 1))
        )
        return Preprocessing(
            size=h if h == w else None,
            resize=h if h == w and stretch else None,
            keep_aspect=not stretch,
            interpolation="bilinear",
            antialias=True,
            color_order="RGB",
            value_range=(0, 1),
            mean=tuple(float((one - low) / (high - low)) for one in mean),
            std=tuple(float(one / (high - low)) for one in std),
        )

    @property
    def _value_range(self) -> tuple[int | float, int | float]:
        low, high = self.preprocessing.get("value_range", (0, 1) if "float" in self.dtype else (0, 255))
        return low, high
