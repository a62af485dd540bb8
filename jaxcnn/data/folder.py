"""Image files in one folder per class."""

import dataclasses
import json
import os
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from jaxcnn._check import check, check_choice, check_positive_shape, repeat_per_axis
from jaxcnn._representation import short_repr
from jaxcnn._typing import UInt8
from jaxcnn.data.description import digest_text

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["ImageFolder", "fit_picture", "image_folder", "read_picture"]

_SUFFIXES = (".apng", ".avif", ".bmp", ".dds", ".dib", ".gif", ".ico", ".jfif", ".jpe", ".jpeg", ".jpg", ".pbm", ".pcx")
_SUFFIXES += (".pgm", ".png", ".pnm", ".ppm", ".qoi", ".tga", ".tif", ".tiff", ".webp")
_UNREADABLE = (".cr2", ".dng", ".exr", ".heic", ".heif", ".jp2", ".jxl", ".nef", ".psd", ".svg")
"""Types of image files that cannot be read; that they are left out is worth a warning."""

_JUNK = ("__MACOSX",)
"""Folders that archive programs add."""

_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """The images of a folder, read on access; made by ``image_folder``.

    Item ``i`` is ``{"image": uint8 (h, w, channels), "label": int32 ()}``.

    Attributes:
        paths: All files, by class, then by path.
        labels: The class of each, an index into ``classes``.
        classes: Names of the classes: the sub-folders, sorted, or those that were given.
        size: Height and width that all images are resized to, or None.
        channels: 1, 3 or 4.
        fit: How they are resized to ``size``.
        root: The folder.
        skipped: Files that ``on_error="skip"`` left out, with the reasons.

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
    skipped: tuple[tuple[str, str], ...] = ()

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

    def fingerprint(self) -> dict[str, Any]:
        """Returns what identifies this data when a run is continued: names, sizes and labels of files, and options.

        Files are not read. The place of the folder does not count; of more than 10,000 files evenly spaced ones are
        asked for their size.
        """
        chosen = self.paths[:: -(-len(self.paths) // 10_000) or 1]
        names = [os.path.relpath(path, self.root) if self.root else path for path in self.paths]
        sizes = [os.path.getsize(path) if os.path.exists(path) else None for path in chosen]
        known = [names, self.labels, self.classes, self.size, self.channels, self.fit, sizes]
        return {"content": digest_text(json.dumps(known))}


def image_folder(
    root: str | os.PathLike[str],
    *,
    size: int | tuple[int, int] | None = None,
    channels: Literal[1, 3, 4] = 3,
    fit: Literal["crop", "stretch"] = "crop",
    classes: Sequence[str] | None = None,
    on_error: Literal["raise", "skip"] = "raise",
) -> ImageFolder:
    """Lists the images of a folder that has one sub-folder per class.

    Sub-folders of a class folder belong to the class; links to folders are followed. Hidden files and folders,
    ``__MACOSX`` and files of other types are skipped; images of a type that cannot be read, such as ``.heic``, are
    skipped with a warning. Files are read on access to an item.

    Convention:
        - Labels number the classes: the sub-folders in alphabetical order, or ``classes`` in the order given. Pass the
          classes of the training folder (``train.classes``, or ``read_run(run).classes``) for every other folder:
          a test folder that lacks a class would number the remaining ones differently.
        - Photographs are rotated according to their metadata (EXIF).
        - Resizing is bilinear with antialiasing (Pillow's). ``fit="crop"`` first crops the largest
          central part with the aspect ratio of ``size``; ``"stretch"`` resizes the whole image.
        - Integers of 16 or 32 bits are taken as they are where none exceeds 255, else as 16-bit values, of which the
          upper 8 bits are kept. Floating values are scaled by 255 where none exceeds 1, else taken as they are,
          up to 255.
        - Of an animation the first frame is used.

    Args:
        root: The folder.
        size: Side, or height and width, to resize all images to; None keeps their sizes.
        channels: 1 (gray), 3 (RGB) or 4 (RGBA).
        fit: ``"crop"`` or ``"stretch"``.
        classes: Names of the classes, by label; None takes the sub-folders. A class without images gives a warning,
            a sub-folder that is none of the classes is an error.
        on_error: ``"skip"`` reads every file once, now, and leaves out those that cannot be read; they are listed in
            ``skipped``. With ``"raise"`` access to such an item raises the error.

    Returns:
        A source with ``len``, items by number and ``classes``.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If the folder has no class folders, or other ones than ``classes``; if one has no images (unless
            ``classes`` are given); or if an option is invalid.

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
        >>> data.image_folder(root, classes=("dog", "cat")).labels
        (0, 1)
    """
    check_choice("image_folder", "channels", channels, tuple(_MODES))
    check_choice("image_folder", "fit", fit, ("crop", "stretch"))
    check_choice("image_folder", "on_error", on_error, ("raise", "skip"))
    if size is not None:
        h, w = check_positive_shape("image_folder", "size", repeat_per_axis(size, 2), "h w")
        size = (h, w)
    base = Path(root)
    if not base.is_dir():
        raise FileNotFoundError(f"image_folder: root must be an existing folder, got {os.fspath(root)!r}.")
    found = sorted(p.name for p in base.iterdir() if p.is_dir() and not _is_hidden(p.name))
    got = f"{os.fspath(root)!r}"
    check(bool(found), "image_folder", "root", "a folder with one sub-folder per class", f"{got} without any")
    names = _check_classes(classes, found, got) if classes is not None else tuple(found)
    paths, labels, skipped, empty = [], [], [], []
    for label, name in enumerate(names):
        files = sorted(_image_files(base / name)) if name in found else []
        for path in files:
            reason = _find_damage(path, channels) if on_error == "skip" else None
            if reason is None:
                paths.append(path)
                labels.append(label)
            else:
                skipped.append((path, reason))
        if label not in labels[-1:]:
            empty.append(name)
    if empty and (classes is None or not paths):
        check(False, "image_folder", "root", "a folder of classes with images each", f"{got}: none in {empty[0]!r}")
    if empty:
        text = f"image_folder: root {got} has no images of {_list_names(empty)}, of {len(names)} classes."
        warnings.warn(text, UserWarning, stacklevel=2)
    absolute = str(base.absolute())
    return ImageFolder(tuple(paths), tuple(labels), names, size, channels, fit, absolute, tuple(skipped))


def _check_classes(classes: Sequence[str], found: Sequence[str], root: str) -> tuple[str, ...]:
    """Refuses classes that are not distinct names, and sub-folders that are none of them."""
    named = not isinstance(classes, str) and all(isinstance(name, str) for name in classes)
    distinct = named and len(set(classes)) == len(classes) > 0
    check(distinct, "image_folder", "classes", "distinct names of classes", repr(classes))
    unknown = [name for name in found if name not in classes]
    expected = f"a folder of the classes {_list_names(classes)}"
    check(not unknown, "image_folder", "root", expected, f"{root}, which also has {_list_names(unknown)}")
    return tuple(classes)


def _list_names(names: Sequence[str]) -> str:
    """Lists names for a message, the first ten of many."""
    return ", ".join(map(repr, names[:10])) + (f" and {len(names) - 10} more" if len(names) > 10 else "")


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in _JUNK


def _image_files(folder: Path) -> Iterator[str]:
    """Lists the image files below a folder, also behind links to folders, and warns of those that cannot be read."""
    seen, unreadable = set(), []
    for parent, folders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(parent)
        if place in seen:  # a link to a folder that contains it, or a second link to the same folder
            folders.clear()
            continue
        seen.add(place)
        folders[:] = sorted(name for name in folders if not _is_hidden(name))
        for name in sorted(names):
            if _is_hidden(name):
                continue
            if name.lower().endswith(_SUFFIXES):
                yield os.path.join(parent, name)
            elif name.lower().endswith(_UNREADABLE):
                unreadable.append(name)
    if unreadable:
        kinds = ", ".join(sorted({os.path.splitext(name)[1].lower() for name in unreadable}))
        text = f"image_folder: files of types that cannot be read ({kinds}) are left out in {str(folder)!r}"
        warnings.warn(f"{text}: {_list_names(unreadable)}.", UserWarning, stacklevel=3)


def read_picture(path: str, channels: int) -> UInt8[np.ndarray, "h w c"]:
    """Reads an image file in its own size, as the files of a folder are read."""
    return _read_image(path, None, channels, "crop")


def _find_damage(path: str, channels: int) -> str | None:
    """Returns why a file cannot be read, None where it can."""
    try:
        _read_image(path, None, channels, "crop")
    except ValueError as error:
        return str(error.__cause__ or error)
    return None


def _read_image(path: str, size: tuple[int, int] | None, channels: int, fit: str) -> np.ndarray:
    from PIL import Image, ImageOps

    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError("not a regular file")  # opening a pipe would wait for a writer
        with Image.open(path) as file:
            return fit_picture(ImageOps.exif_transpose(file), size, channels, fit)
    except Exception as error:  # Pillow's decoders raise nearly any exception on damaged files
        message = f"image_folder: root must hold readable images, got {path!r} ({type(error).__name__}: {error})."
        raise ValueError(message) from error


def fit_picture(
    image: "PIL.Image.Image", size: tuple[int, int] | None, channels: int, fit: str
) -> UInt8[np.ndarray, "h w c"]:
    """Converts a picture to a number of channels and brings it to a size, as ``image_folder`` states."""
    from PIL import Image, ImageOps

    if image.mode.startswith("I") or image.mode == "F":
        image = Image.fromarray(_to_bytes(np.asarray(image)))
    image = image.convert(_MODES[channels])
    if size is not None:
        target = (size[1], size[0])
        if fit == "crop":
            image = ImageOps.fit(image, target, Image.Resampling.BILINEAR)
        else:
            image = image.resize(target, Image.Resampling.BILINEAR)
    return np.array(image).reshape(image.height, image.width, channels)


def _to_bytes(values: np.ndarray) -> np.ndarray:
    """Converts wide integers or floating values to uint8, where Pillow's own conversion would clip them.

    Raises:
        ValueError: If values are not finite, negative or above the range.
    """
    floating = np.issubdtype(values.dtype, np.floating)
    low, high = float(values.min()), float(values.max())
    if not 0 <= low <= high <= (255 if floating else 65535):
        raise ValueError(f"values must lie in 0..{255 if floating else 65535}, got {low:g} to {high:g}")
    if floating:
        return np.round(values * 255 if high <= 1 else values).astype(np.uint8)
    return (values if high <= 255 else values >> 8).astype(np.uint8)
