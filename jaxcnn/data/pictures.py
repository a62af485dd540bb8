"""Users' pictures of single digits: any size, dark on light or light on dark."""

import os
from typing import TYPE_CHECKING, Literal

import numpy as np

from jaxcnn._check import check, check_choice, check_file, check_positive_shape, repeat_per_axis
from jaxcnn._typing import Float

if TYPE_CHECKING:
    import PIL.Image

__all__ = ["cut_out_digit", "read_digit"]


def read_digit(
    path: str | os.PathLike[str],
    *,
    canvas: int | tuple[int, int] = 42,
    size: int = 20,
    invert: Literal["auto", "yes", "no"] = "auto",
) -> Float[np.ndarray, "h w 1"]:
    """Reads a picture of a digit as the networks for distorted digits expect it: light on black, on a canvas.

    A picture that is as large as the canvas is returned unchanged. Any other is cropped to its ink, resized
    to ``size`` pixels on the longer side, and centered on the canvas.

    Args:
        path: The picture, in any format that Pillow reads.
        canvas: Side, or height and width, of the result.
        size: Longer side of the digit in it, in pixels.
        invert: Whether to swap dark and light; ``"auto"`` does if the picture's edge is light.

    Returns:
        The image (*canvas, 1), float32 in [0, 1].

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the picture cannot be read or is blank.

    Example:
        >>> import numpy as np
        >>> from jaxcnn import data
        >>> import PIL.Image, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     picture = np.full((90, 60), 255, np.uint8)
        ...     picture[20:70, 28:32] = 0  # a dark stroke on white paper
        ...     PIL.Image.fromarray(picture).save(f"{folder}/one.png")
        ...     digit = data.read_digit(f"{folder}/one.png")
        >>> digit.shape, digit[0, 0, 0].item(), round(float(digit[21, 21, 0]), 1)
        ((42, 42, 1), 0.0, 1.0)
    """
    import PIL.Image

    check_choice("read_digit", "invert", invert, ("auto", "yes", "no"))
    height, width = check_positive_shape("read_digit", "canvas", repeat_per_axis(canvas, 2), "h w")
    check(1 <= size <= min(height, width), "read_digit", "size", f"1 to {min(height, width)} pixels", size)
    check_file("read_digit", "path", path)
    try:
        with PIL.Image.open(path) as opened:
            picture = _to_gray(opened)
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        kind = "not a format that Pillow knows" if isinstance(error, PIL.UnidentifiedImageError) else str(error)
        raise ValueError(f"read_digit: path must be a readable picture, got {str(path)!r} ({kind}).") from None
    return cut_out_digit(picture, canvas=(height, width), size=size, invert=invert, name=repr(str(path)))


def cut_out_digit(
    picture: Float[np.ndarray, "h w"],
    *,
    canvas: tuple[int, int],
    size: int = 20,
    invert: Literal["auto", "yes", "no"] = "auto",
    name: str = "an image",
) -> Float[np.ndarray, "h_out w_out 1"]:
    """Cuts a digit out of a gray picture and centers it on a canvas, as ``read_digit`` does.

    Args:
        picture: Gray values in [0, 1].
        canvas: As for ``read_digit``.
        size: As for ``read_digit``.
        invert: As for ``read_digit``.
        name: What the picture is called in an error message.

    Returns:
        As ``read_digit``.

    Raises:
        ValueError: If the picture is blank.
    """
    import PIL.Image

    height, width = canvas
    edge = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    if invert == "yes" or (invert == "auto" and np.median(edge) > 0.5):
        picture = 1 - picture
    if picture.shape == (height, width):
        return picture[..., None]
    floor = float(np.median(picture[[0, -1], :]))
    strength = np.clip(picture - floor, 0, None)
    check(float(strength.max()) > 0.1, "read_digit", "path", "a picture with something on it", name)
    strength = strength / strength.max()
    rows, columns = np.flatnonzero((strength > 0.3).any(1)), np.flatnonzero((strength > 0.3).any(0))
    cut = strength[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    factor = size / max(cut.shape)
    target_h, target_w = (max(1, round(side * factor)) for side in cut.shape)
    # Pillow's filter widens with the reduction, so that thin strokes do not break.
    small = PIL.Image.fromarray(cut.astype(np.float32)).resize((target_w, target_h), PIL.Image.Resampling.BILINEAR)
    result = np.zeros((height, width, 1), np.float32)
    top, left = (height - target_h) // 2, (width - target_w) // 2
    result[top : top + target_h, left : left + target_w, 0] = np.clip(np.asarray(small), 0, 1)
    return result


def _to_gray(picture: "PIL.Image.Image") -> np.ndarray:
    """Converts a picture to gray in [0, 1]; transparency becomes white paper."""
    import PIL.Image

    if picture.mode in ("I", "I;16", "F"):
        values = np.asarray(picture, np.float32)
        low, high = float(values.min()), float(values.max())
        return (values - low) / (high - low) if high > low else np.zeros_like(values)
    colored = picture.convert("RGBA")
    paper = PIL.Image.new("RGBA", colored.size, "white")
    return np.asarray(PIL.Image.alpha_composite(paper, colored).convert("L"), np.float32) / 255
