"""What a network of MatConvNet says of its images and classes."""

from collections.abc import Mapping

import numpy as np

from jaxcnn.zoo.graphs.matconvnet.options import list_numbers
from jaxcnn.zoo.records.weight_records import Preprocessing

__all__ = ["find_input_size", "find_labels", "find_mean_image", "read_preprocessing"]


def _normalization(meta: object) -> Mapping[str, object]:
    found = meta.get("normalization") if isinstance(meta, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _read_size(value: object) -> tuple[int, int, int | None] | None:
    """Reads height, width and, where it is stated, channels."""
    numbers = list_numbers(value)
    if numbers is None or len(numbers) < 2 or not all(n == int(n) and 1 <= n <= 2**16 for n in numbers[:3]):
        return None
    return int(numbers[0]), int(numbers[1]), int(numbers[2]) if len(numbers) > 2 else None


def find_input_size(meta: object, name: str | None = None) -> tuple[int | None, int | None, int | None]:
    """Finds the size of the images, or of the input of a name among several, as far as it is stated.

    Args:
        meta: The network's ``meta``.
        name: Name of an input; None for that of images.

    Returns:
        Height, width, channels.
    """
    meta = meta if isinstance(meta, Mapping) else {}
    inputs = meta.get("inputs")
    for one in inputs if isinstance(inputs, list) else [inputs]:
        found = _read_size(one.get("size")) if isinstance(one, Mapping) and one.get("name") == name else None
        if found is not None:
            return found
    if name is not None:
        return (None, None, None)
    return _read_size(_normalization(meta).get("imageSize")) or _read_size(meta.get("inputSize")) or (None, None, None)


def find_mean_image(meta: object) -> np.ndarray | None:
    """Finds the image that is subtracted, None where there is none or one number per channel."""
    mean = _normalization(meta).get("averageImage")
    if not isinstance(mean, np.ndarray) or mean.dtype.kind not in "fiu" or not np.isfinite(mean).all():
        return None
    mean = mean[..., None] if mean.ndim == 2 else mean
    return mean.astype(np.float32) if mean.ndim == 3 and min(mean.shape[:2]) > 1 else None


def read_preprocessing(meta: object) -> Preprocessing | None:
    """Finds how an image becomes the input, None where the network does not say it.

    Args:
        meta: The network's ``meta``.

    Returns:
        Images are RGB in [0, 255]. What ``border`` adds to the size is cut off again; ``cropSize`` is the share of an
        image that is kept.
    """
    said = _normalization(meta)
    if not said:
        return None
    height, width, _ = find_input_size(meta)
    size = height if height == width else None
    mean = list_numbers(said.get("averageImage"))
    keep = list_numbers(said.get("keepAspect"))
    interpolation = said.get("interpolation")
    border, crop = list_numbers(said.get("border")), list_numbers(said.get("cropSize"))
    keep_aspect = bool(keep[0]) if keep is not None else True
    resize, crop_fraction = None, None
    share = crop[0] if crop is not None and 0 < crop[0] < 1 else None
    if size is not None:
        extra = int(border[0]) if border is not None and 0 < border[0] <= 2**16 else 0
        if share is not None and keep_aspect:
            resize = round(size / share)
        elif share is not None:
            crop_fraction = share
        elif extra or not keep_aspect:
            resize = size + extra
    return Preprocessing(
        size=size,
        resize=resize,
        keep_aspect=keep_aspect,
        crop_fraction=crop_fraction,
        interpolation=interpolation if interpolation in ("bilinear", "bicubic") else None,
        antialias=True,
        color_order="RGB",
        value_range=(0, 255),
        mean=tuple(mean) if mean is not None and len(mean) in (1, 3) else None,
    )


def find_labels(meta: object) -> tuple[str, ...] | None:
    """Finds the names of the classes: their descriptions, else their short names."""
    classes = meta.get("classes") if isinstance(meta, Mapping) else None
    for key in ("description", "name"):
        texts = classes.get(key) if isinstance(classes, Mapping) else None
        if isinstance(texts, list) and texts and all(isinstance(text, str) for text in texts):
            return tuple(texts)
    return None
