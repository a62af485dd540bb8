"""Makes the input of a pretrained network of a picture."""

import numpy as np

from jaxcnn._check import check
from jaxcnn._typing import Float, Num
from jaxcnn.graphs.operations.resizing import sample_positions
from jaxcnn.zoo.records.weight_records import Preprocessing

__all__ = ["preprocess_image"]


def preprocess_image(
    image: Num[np.ndarray, "*shape"],
    preprocessing: Preprocessing,
    *,
    shape: tuple[int | None, int | None, int | None] = (None, None, None),
    mean_image: np.ndarray | None = None,
) -> Float[np.ndarray, "h_out w_out c_out"]:
    """Resizes and crops an image, brings it to the range of the network's input, and subtracts the mean.

    Convention: Images are RGB or gray, uint8 in [0, 255] or floating in [0, 1]. A gray image becomes three equal
        channels where the network reads color, and color becomes luminance where it reads gray. Transparency is
        refused. Where no ``resize`` is stated, the shorter side is resized to the input's; where no size is known, the
        image keeps its own.

    Args:
        image: The image.
        preprocessing: What the network expects.
        shape: Height, width and channels of the input as far as the network states them.
        mean_image: An image (h, w, c) that is subtracted instead of ``preprocessing.mean``.

    Returns:
        The input, float32.

    Raises:
        ValueError: If the image has another rank, dtype or number of channels.

    Example:
        >>> import numpy as np
        >>> from jaxcnn.zoo import Preprocessing
        >>> from jaxcnn.zoo.preprocessing import preprocess_image
        >>> white = np.full((300, 400, 3), 255, np.uint8)
        >>> one = Preprocessing(size=224, resize=256, keep_aspect=True, value_range=(0, 1), mean=(0.5,), std=(0.5,))
        >>> x = preprocess_image(white, one)
        >>> x.shape, float(x.min()), float(x.max())
        ((224, 224, 3), 1.0, 1.0)
    """
    image = np.asarray(image)
    image = image[..., None] if image.ndim == 2 else image
    good = image.ndim == 3 and image.shape[-1] in (1, 3) and 0 not in image.shape
    check(good, "preprocess", "image", "one image (h, w, 3) or (h, w, 1)", image.shape)
    kind = image.dtype == np.uint8 or np.issubdtype(image.dtype, np.floating)
    check(kind, "preprocess", "image", "uint8 in [0, 255] or floating in [0, 1]", image.dtype)
    image = _convert_channels(image, shape[-1])
    image = _fit(image, preprocessing, shape)
    low, high = preprocessing.value_range or (0, 255)
    scale = (high - low) / (255.0 if image.dtype == np.uint8 else 1.0)
    x = image.astype(np.float32) * np.float32(scale) + np.float32(low)
    if preprocessing.color_order == "BGR" and x.shape[-1] == 3:
        x = x[..., ::-1]
    if mean_image is not None:
        x = x - _fit_mean(mean_image, x.shape, preprocessing)
    elif preprocessing.mean is not None:
        x = x - np.asarray(preprocessing.mean, np.float32)
    if preprocessing.std is not None:
        x = x / np.asarray(preprocessing.std, np.float32)
    return np.ascontiguousarray(x, np.float32)


def _convert_channels(image: np.ndarray, channels: int | None) -> np.ndarray:
    if channels == 3 and image.shape[-1] == 1:
        return np.repeat(image, 3, -1)
    if channels == 1 and image.shape[-1] == 3:
        gray = image.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
        gray = np.round(gray).astype(np.uint8) if image.dtype == np.uint8 else gray.astype(image.dtype)
        return gray[..., None]
    check(channels in (None, image.shape[-1]), "preprocess", "image", f"an image of {channels} channels", image.shape)
    return image


def _fit(image: np.ndarray, preprocessing: Preprocessing, shape: tuple[int | None, ...]) -> np.ndarray:
    """Crops and resizes to the size of the input."""
    size = preprocessing.size
    height, width = (size, size) if size is not None else shape[:2]
    if height is None or width is None:
        return image
    if preprocessing.crop_fraction is not None:
        h, w = image.shape[:2]
        inner = (round(h * preprocessing.crop_fraction), round(w * preprocessing.crop_fraction))
        return _resize(_center(image, inner), height, width, preprocessing)
    if preprocessing.resize is not None and preprocessing.keep_aspect is False:
        return _center(_resize(image, preprocessing.resize, preprocessing.resize, preprocessing), (height, width))
    h, w = image.shape[:2]
    shorter = preprocessing.resize
    factor = max(height / h, width / w) if shorter is None else shorter / min(h, w)
    # As torchvision does: the longer side is rounded down, of the shorter exactly what was asked for.
    new = (max(int(h * factor + 1e-6), height), max(int(w * factor + 1e-6), width))
    return _center(_resize(image, *new, preprocessing), (height, width))


def _fit_mean(mean: np.ndarray, shape: tuple[int, ...], preprocessing: Preprocessing) -> np.ndarray:
    """Cuts the center out of a mean image, enlarged first where it is smaller than the input."""
    mean = mean.astype(np.float32)
    check(mean.shape[-1] == shape[-1], "preprocess", "mean image", f"an image of {shape[-1]} channels", mean.shape)
    large = [max(n, m) for n, m in zip(shape[:2], mean.shape[:2], strict=True)]
    return _center(_resize(mean, large[0], large[1], preprocessing), shape[:2])


def _center(image: np.ndarray, size: tuple[int, ...]) -> np.ndarray:
    top, left = (round((n - m) / 2) for n, m in zip(image.shape[:2], size, strict=True))
    return image[top : top + size[0], left : left + size[1]]


def _resize(image: np.ndarray, height: int, width: int, preprocessing: Preprocessing) -> np.ndarray:
    """Resizes by Pillow, whose filters average over what they shrink, or by interpolation between neighbors."""
    if image.shape[:2] == (height, width):
        return image
    if preprocessing.antialias is False:
        return _interpolate(image, height, width)
    import PIL.Image

    kind = PIL.Image.Resampling[(preprocessing.interpolation or "bilinear").upper()]
    if image.dtype == np.uint8:
        picture = PIL.Image.fromarray(image if image.shape[-1] == 3 else image[..., 0])
        resized = np.asarray(picture.resize((width, height), kind))
        return resized if resized.ndim == 3 else resized[..., None]
    planes = [
        np.asarray(PIL.Image.fromarray(np.asarray(image[..., i], np.float32)).resize((width, height), kind))
        for i in range(image.shape[-1])
    ]
    return np.stack(planes, -1)


def _interpolate(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Interpolates bilinearly between neighbors, without averaging; uint8 becomes floating in [0, 1]."""
    x = image.astype(np.float32) / 255 if image.dtype == np.uint8 else image.astype(np.float32)
    for axis, new in ((0, height), (1, width)):
        at = np.clip(sample_positions(x.shape[axis], new, corners="half_pixel"), 0, x.shape[axis] - 1)
        low = np.floor(at).astype(int)
        weight = (at - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
        high = np.minimum(low + 1, x.shape[axis] - 1)
        x = np.take(x, low, axis) * (1 - weight) + np.take(x, high, axis) * weight
    return x
