"""Pictures of what augmentations do to an image: a gallery of all functions, and samples of a policy."""

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import augment
from jaxcnn._check import check, check_file, is_integer_at_least
from jaxcnn._typing import Float
from jaxcnn.report._rows import Row, cells, rows
from jaxcnn.report.style import FAINT, INK, figure

__all__ = ["function_gallery", "overview_gallery", "policies", "policy_samples", "read_image", "sample_gallery"]

MUTED = "#55606b"
_LINE, _GAP = 0.17, 0.1  # inches: a line of small text, the space between pictures

Pictures = Sequence[tuple[Row, Sequence[np.ndarray]]]


def read_image(path: str | os.PathLike[str], *, size: int = 192) -> Float[np.ndarray, "h w 3"]:
    """Reads a picture in color, upright, resized to a given size.

    Args:
        path: The picture, any format that Pillow reads.
        size: Longer side of the result, in pixels.

    Returns:
        The image (h, w, 3), float32 in [0, 1].

    Raises:
        FileNotFoundError: If the file does not exist.
        IsADirectoryError: If it is a folder.
        ValueError: If the picture cannot be read, or ``size`` is not a positive integer.

    Example:
        >>> import PIL.Image, tempfile
        >>> from jaxcnn.report.gallery import read_image
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     PIL.Image.new("L", (60, 40), 255).save(f"{folder}/white.png")
        ...     read_image(f"{folder}/white.png", size=30).shape
        (20, 30, 3)
    """
    import PIL.Image
    import PIL.ImageOps

    check(is_integer_at_least(size, 1), "read_image", "size", "a positive integer", repr(size))
    check_file("read_image", "path", path)
    try:
        with PIL.Image.open(path) as opened:
            picture = PIL.ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, ValueError, SyntaxError, PIL.Image.DecompressionBombError) as error:
        kind = "not a format that Pillow knows" if isinstance(error, PIL.UnidentifiedImageError) else str(error)
        raise ValueError(f"read_image: path must be a readable picture, got {str(path)!r} ({kind}).") from None
    factor = size / max(picture.size)
    w, h = (max(1, round(side * factor)) for side in picture.size)
    return np.asarray(picture.resize((w, h), PIL.Image.Resampling.LANCZOS), np.float32) / 255


def policies() -> dict[str, Callable[..., Any]]:
    """Lists the policies that can be sampled.

    Returns:
        Name -> ``(key, image) -> image``. ``"basic"`` is a flip, a small affine map and a change of colors.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn.report.gallery import policies
        >>> policies()["basic"](jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)
    """
    names = ("trivial_augment", "rand_augment", "auto_augment", "aug_mix")
    basic = [
        augment.random_flip_left_right,
        partial(augment.random_affine, degrees=15.0, translate=0.1, scale=(0.85, 1.15), padding_mode="border"),
        partial(augment.random_color_jitter, brightness=0.3, contrast=0.3, saturation=0.3, hue=0.05),
    ]
    found = {name: getattr(augment, name) for name in names if hasattr(augment, name)}
    return {**found, "basic": augment.sequence(basic)}


def policy_samples(
    policy: Callable[..., Any], image: Float[np.ndarray, "h w c"], *, samples: int = 24, seed: int = 0
) -> list[np.ndarray]:
    """Draws samples of a policy.

    Convention:
        The key of sample i is ``fold_in(key(seed), i)``.

    Args:
        policy: ``(key, image) -> image``.
        image: The image (h, w, c) in [0, 1].
        samples: Number of samples.
        seed: Seed of the draws.

    Returns:
        The samples.

    Raises:
        ValueError: If ``samples`` is not a positive integer.

    Example:
        >>> import numpy as np
        >>> from jaxcnn.report.gallery import policies, policy_samples
        >>> len(policy_samples(policies()["basic"], np.zeros((8, 8, 3)), samples=3))
        3
    """
    check(is_integer_at_least(samples, 1), "policy_samples", "samples", "a positive integer", repr(samples))
    key, given, program = jax.random.key(seed), jnp.asarray(image, jnp.float32), jax.jit(policy)
    return [np.asarray(program(jax.random.fold_in(key, i), given)) for i in range(samples)]


def function_gallery(image: Float[np.ndarray, "h w c"], *, functions: Sequence[str] = (), seed: int = 0) -> Any:
    """Draws the effect of every random function of ``augment`` on an image, a row each, with rising magnitudes.

    Args:
        image: The image (h, w, c) in [0, 1].
        functions: Names of the functions; none: all.
        seed: Seed of the draws.

    Returns:
        The figure.

    Raises:
        ValueError: If ``image`` is not of shape (h, w, c), or a function does not exist.

    Example:
        >>> import numpy as np
        >>> from jaxcnn.report.gallery import function_gallery
        >>> figure = function_gallery(np.zeros((4, 6, 3)), functions=["random_rotation"])
        >>> [text.get_text() for text in figure.axes[0].texts][:3]
        ['geometric', 'random_rotation', 'degrees']
    """
    return draw_functions(image, compute_pictures(image, functions=functions, seed=seed))


def overview_gallery(image: Float[np.ndarray, "h w c"], *, functions: Sequence[str] = (), seed: int = 0) -> Any:
    """Draws one picture per random function of ``augment``, close together.

    Args:
        image: The image (h, w, c) in [0, 1].
        functions: Names of the functions; none: all.
        seed: Seed of the draws.

    Returns:
        The figure, 9 inches wide.

    Raises:
        ValueError: If ``image`` is not of shape (h, w, c), or a function does not exist.

    Example:
        >>> import numpy as np
        >>> from jaxcnn.report.gallery import overview_gallery
        >>> float(overview_gallery(np.zeros((4, 6, 3)), functions=["random_rotation"]).get_figwidth())
        9.0
    """
    return draw_overview(image, compute_pictures(image, functions=functions, seed=seed))


def compute_pictures(
    image: Float[np.ndarray, "h w c"],
    *,
    functions: Sequence[str] = (),
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Pictures:
    """Computes the pictures of every row; ``progress`` is called with the number of finished rows and of all rows."""
    check(np.ndim(image) == 3, "gallery", "image", "of shape (h, w, c)", np.shape(image))
    shown, table = rows((image.shape[0], image.shape[1]), functions), []
    for row in shown:
        progress(len(table), len(shown))
        table.append((row, cells(image, row, seed=seed)))
    progress(len(table), len(shown))
    return table


def draw_functions(image: Float[np.ndarray, "h w c"], table: Pictures) -> Any:
    """Draws rows of computed pictures."""
    box, label = _box(image.shape, 1.3), 2.15
    pitch, most = max(box[0], 0.9) + _GAP, max(len(pictures) for _, pictures in table)
    width = label + pitch * (most + 1) + _GAP
    height = _GAP
    places, group = [], ""
    for row, _ in table:
        height += 0.5 if row.group != group else 0
        places.append(height)
        height += max(_LINE + box[1] + _GAP, _LINE * (len(row.names) + 1) + 2 * _GAP)
        group = row.group
    canvas, axis = _sheet(width, height)
    group = ""
    for (row, pictures), top in zip(table, places, strict=True):
        if row.group != group:
            axis.text(_GAP, top - 0.14, row.group, fontsize=12, fontweight="bold", va="bottom", color=INK)
            axis.plot([_GAP, width - _GAP], [top - 0.09] * 2, color=FAINT, linewidth=1)
            group = row.group
        middle = top + _LINE + box[1] / 2
        first = max(middle - _LINE * len(row.names) / 2, top + _LINE)
        for i, name in enumerate(row.names):
            axis.text(_GAP, first + _LINE * i, name, fontsize=9, va="center", color=INK)
        axis.text(_GAP, first + _LINE * len(row.names), row.note, fontsize=8, va="center", color=MUTED)
        labels = ("original", *(cell.label for cell in row.cells))
        for j, (name, picture) in enumerate(zip(labels, (image, *pictures), strict=True)):
            center = label + pitch * (j + 0.5)
            axis.text(center, top + _LINE / 2, name, fontsize=8, ha="center", va="center", color=INK if j else MUTED)
            _picture(axis, picture, image.shape, (center, middle), box)
    return canvas


def draw_overview(image: Float[np.ndarray, "h w c"], table: Pictures) -> Any:
    """Draws one picture per function, from rows of computed pictures."""
    shown = [
        (name.removeprefix("random_"), pictures[min(index, len(pictures) - 1)])
        for row, pictures in table
        for name, index in zip(row.names, row.shown, strict=True)
    ]
    columns, width, gap = 9, 9.0, 0.06
    pitch = width / columns
    box = _box(image.shape, pitch - gap)
    step = box[1] + 0.19
    canvas, axis = _sheet(width, step * -(-len(shown) // columns))
    for i, (name, picture) in enumerate(shown):
        x, y = pitch * (i % columns + 0.5), step * (i // columns)
        axis.text(x, y + 0.1, name.replace("_", " "), fontsize=6, ha="center", va="center", color=INK)
        _picture(axis, picture, image.shape, (x, y + 0.18 + box[1] / 2), box)
    return canvas


def sample_gallery(
    images: Sequence[Float[np.ndarray, "_h _w _c"]],
    samples: Sequence[Sequence[Float[np.ndarray, "_h _w _c"]]],
    names: Sequence[str],
    *,
    columns: int = 6,
) -> Any:
    """Draws samples of a policy in a grid, numbered, after the original, for each of several images.

    Args:
        images: The originals (h, w, c) in [0, 1], of any sizes.
        samples: The samples of each image.
        names: Names of the images.
        columns: Number of samples side by side.

    Returns:
        The figure.

    Raises:
        ValueError: If the sequences differ in length, or are empty.

    Example:
        >>> import numpy as np
        >>> from jaxcnn.report.gallery import sample_gallery
        >>> figure = sample_gallery([np.zeros((4, 6, 3))], [[np.ones((4, 6, 3))] * 3], ["black.png"])
        >>> len(figure.axes[0].images)
        4
    """
    counts = len(images), len(samples), len(names)
    check(len(set(counts)) == 1 and counts[0] > 0, "sample_gallery", "sequences", "of one length above 0", counts)
    columns = min(columns, max(len(drawn) for drawn in samples))
    boxes = [_box(image.shape, 1.45) for image in images]
    pitch = max(box[0] for box in boxes) + _GAP
    margin = max(pitch, 1.5)
    lines = [-(-len(drawn) // columns) for drawn in samples]
    heights = [max(n * (box[1] + _LINE + _GAP), box[1] + 2 * _LINE) for n, box in zip(lines, boxes, strict=True)]
    between = 0.25
    canvas, axis = _sheet(margin + columns * pitch + 2 * _GAP, sum(heights) + between * (len(images) - 1) + _GAP)
    top = _GAP
    for image, drawn, name, box, height in zip(images, samples, names, boxes, heights, strict=True):
        _picture(axis, image, image.shape, (_GAP + margin / 2, top + box[1] / 2), box)
        short = name if len(name) <= 20 else f"{name[:9]}…{name[-10:]}"
        axis.text(_GAP + margin / 2, top + box[1] + _LINE * 0.7, short, fontsize=8, ha="center", va="center", color=INK)
        for i, picture in enumerate(drawn):
            x = 2 * _GAP + margin + pitch * (i % columns) + (pitch - _GAP) / 2
            y = top + (box[1] + _LINE + _GAP) * (i // columns) + box[1] / 2
            _picture(axis, picture, image.shape, (x, y), box)
            below = y + box[1] / 2 + _LINE * 0.7
            axis.text(x, below, f"sample {i}", fontsize=8, ha="center", va="center", color=MUTED)
        top += height + between
    return canvas


def _box(shape: Sequence[int], side: int | float) -> tuple[int | float, int | float]:
    """Returns width and height, in inches, of a picture with a given longer side."""
    h, w = shape[:2]
    return side * w / max(h, w), side * h / max(h, w)


def _sheet(width: int | float, height: int | float) -> tuple[Any, Any]:
    """Makes a figure and one axis that covers it, in inches from the upper left corner."""
    canvas, axes = figure(1, 1, width=width, height=height)
    canvas.set_layout_engine("none")
    axis = axes[0, 0]
    axis.set_position((0, 0, 1, 1))
    axis.axis("off")
    axis.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    return canvas, axis


def _picture(
    axis: Any,
    image: np.ndarray,
    original: Sequence[int],
    center: tuple[int | float, int | float],
    box: tuple[int | float, int | float],
) -> None:
    """Shows an image centered on a point, at the scale at which the original fills a box."""
    h, w, c = image.shape
    scale = min(1.0, original[0] / h, original[1] / w)  # never larger than the box
    half_w, half_h = box[0] * w / original[1] * scale / 2, box[1] * h / original[0] * scale / 2
    extent = (center[0] - half_w, center[0] + half_w, center[1] + half_h, center[1] - half_h)
    shown = np.clip(image, 0, 1)
    axis.imshow(shown[..., 0] if c == 1 else shown, cmap="gray", vmin=0, vmax=1, extent=extent, aspect="auto")
    left, right, bottom, top = extent
    axis.plot([left, right, right, left, left], [top, top, bottom, bottom, top], color=FAINT, linewidth=0.8)
