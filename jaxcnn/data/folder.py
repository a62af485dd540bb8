"""Image files in one folder per class."""

import dataclasses
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxcnn._check import check, check_choice, check_positive_shape, repeat_per_axis
from jaxcnn._representation import short_repr

__all__ = ["ImageFolder", "image_folder"]

_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """The images of a folder, read on access; made by ``image_folder``.

    Item ``i`` is ``{"image": uint8 (h, w, channels), "label": int32 ()}``.

    Attributes:
        paths: All files, by class, then by path.
        labels: The class of each, an index into ``classes``.
        classes: Names of the classes: the sub-folders, sorted.
        size: Height and width that all images are resized to, or None.
        channels: 1, 3 or 4.
        fit: How they are resized to ``size``.
        root: The folder.

    Example:
        >>> from jaxcnn import data
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> (root / "cat").mkdir()
        >>> Image.new("RGB", (6, 4), "red").save(root / "cat" / "a.png")
        >>> data.image_folder(root)[0]["image"].shape
        (4, 6, 3)
    """

    paths: tuple[str, ...]
    labels: tuple[int, ...]
    classes: tuple[str, ...]
    size: tuple[int, int] | None = None
    channels: int = 3
    fit: str = "crop"
    root: str = ""

    def __repr__(self) -> str:
        """Describes it in one line; arrays by their shapes."""
        return short_repr(self)

    def __len__(self) -> int:
        """Returns the number of images."""
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Reads image ``index``; a file that cannot be read raises a ``ValueError`` with its path."""
        image = _read_image(self.paths[index], self.size, self.channels, self.fit)
        return {"image": image, "label": np.int32(self.labels[index])}

    def describe(self) -> dict[str, Any]:
        """Returns what a run folder keeps of this data: path, number of examples, classes and pre-processing."""
        return {
            "kind": "image_folder",
            "path": self.root,
            "examples": len(self),
            "classes": list(self.classes),
            "preprocessing": {
                "size": None if self.size is None else list(self.size),
                "channels": self.channels,
                "fit": self.fit,
                "value_range": [0, 255],
            },
        }


def image_folder(
    root: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    channels: Literal[1, 3, 4] = 3,
    fit: Literal["crop", "stretch"] = "crop",
) -> ImageFolder:
    """Lists the images of a folder that has one sub-folder per class.

    Sub-folders of a class folder belong to the class. Hidden files and files of other types are
    skipped. Files are read on access to an item.

    Convention:
        - Photographs are rotated according to their metadata (EXIF).
        - Resizing is bilinear with antialiasing (Pillow's). ``fit="crop"`` first crops the largest
          central part with the aspect ratio of ``size``; ``"stretch"`` resizes the whole image.
        - Images with 16 bits per channel keep the upper 8; of an animation the first frame is used.

    Args:
        root: The folder.
        size: Side, or height and width, to resize all images to; None keeps their sizes.
        channels: 1 (gray), 3 (RGB) or 4 (RGBA).
        fit: ``"crop"`` or ``"stretch"``.

    Returns:
        A source with ``len``, items by number and ``classes``.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If the folder has no class folders, or one of them no images, or an option is invalid.

    Example:
        >>> from jaxcnn import data
        >>> import pathlib, tempfile
        >>> from PIL import Image
        >>> root = pathlib.Path(tempfile.mkdtemp())
        >>> for name in ("cat", "dog"):
        ...     (root / name).mkdir()
        ...     Image.new("L", (6, 4), 255).save(root / name / "a.png")
        >>> source = data.image_folder(root, size=8, channels=1)
        >>> source.classes, len(source), source[1]["image"].shape, int(source[1]["label"])
        (('cat', 'dog'), 2, (8, 8, 1), 1)
    """
    check_choice("image_folder", "channels", channels, tuple(_MODES))
    check_choice("image_folder", "fit", fit, ("crop", "stretch"))
    if size is not None:
        h, w = check_positive_shape("image_folder", "size", repeat_per_axis(size, 2), "h w")
        size = (h, w)
    base = Path(root)
    if not base.is_dir():
        raise FileNotFoundError(f"image_folder: root must be an existing folder, got {os.fspath(root)!r}.")
    classes = sorted(p.name for p in base.iterdir() if p.is_dir() and not p.name.startswith("."))
    got = f"{os.fspath(root)!r}"
    check(bool(classes), "image_folder", "root", "a folder with one sub-folder per class", f"{got} without any")
    paths, labels = [], []
    for label, name in enumerate(classes):
        found = sorted(_image_files(base / name))
        check(bool(found), "image_folder", "root", "a folder of classes with images each", f"{got}: none in {name!r}")
        paths += found
        labels += [label] * len(found)
    return ImageFolder(tuple(paths), tuple(labels), tuple(classes), size, channels, fit, str(base.absolute()))


def _image_files(folder: Path) -> list[str]:
    return [
        os.path.join(parent, name)
        for parent, _, names in os.walk(folder)
        for name in names
        if name.lower().endswith(_SUFFIXES) and not name.startswith(".")
    ]


def _read_image(path: str, size: tuple[int, int] | None, channels: int, fit: str) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith("I"):
                # Conversion to 8 bits would clip 16-bit values instead of scaling them.
                image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
            image = image.convert(_MODES[channels])
            if size is not None:
                target = (size[1], size[0])
                if fit == "crop":
                    image = ImageOps.fit(image, target, Image.Resampling.BILINEAR)
                else:
                    image = image.resize(target, Image.Resampling.BILINEAR)
            return np.array(image).reshape(image.height, image.width, channels)
    except Exception as error:  # Pillow's decoders raise nearly any exception on damaged files
        message = f"image_folder: root must hold readable images, got {path!r} ({type(error).__name__}: {error})."
        raise ValueError(message) from error
