"""One look for all figures, light and dark, with one palette that color-blind readers can tell apart."""

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcnn._check import check

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
else:  # matplotlib is imported where it is used
    Axes = Figure = object

__all__ = ["FAINT", "INK", "PALETTE", "Axes", "Figure", "figure", "image_format", "png", "render", "to_dark"]

PALETTE = ("#5b6b7b", "#d9622b", "#2a7f8e", "#8a4f9e", "#b59a2b")
"""Slate, orange, teal, purple, ochre."""

FORMATS = {".png": "png", ".jpg": "jpg", ".jpeg": "jpg", ".webp": "webp", ".pdf": "pdf", ".svg": "svg"}
"""Suffix -> format of a figure's file."""

INK, FAINT = "#20262d", "#d5dae0"

PAGE = {"light": "#ffffff", "dark": "#15191e"}
"""Background of figures and pages."""

_DARK = {
    INK: "#e3e8ed",
    FAINT: "#3d4650",
    "#ffffff": INK,  # text on the deepest blue of a confusion matrix, which is the brightest in the dark
    "#5b6b7b": "#a3b4c4",
    "#d9622b": "#ec8550",
    "#2a7f8e": "#55b9c9",
    "#8a4f9e": "#c394d4",
    "#b59a2b": "#d8bd52",
}
"""Colors of figures -> their counterparts on a dark page."""


def figure(rows: int, columns: int, *, width: float, height: float, **options: Any) -> tuple[Figure, np.ndarray]:
    """Makes an empty figure (size in inches) that needs no display, and its axes as a 2-D array.

    ``options`` are those of matplotlib's ``Figure.subplots``.
    """
    import matplotlib

    from jaxcnn.report.notebook_figure import NotebookFigure

    settings: Any = {
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "axes.edgecolor": FAINT,
        "axes.labelcolor": INK,
        "axes.titlecolor": INK,
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": False,
        "xtick.color": INK,
        "ytick.color": INK,
        "text.color": INK,
        "legend.frameon": False,
    }
    with matplotlib.rc_context(settings):
        canvas = NotebookFigure(figsize=(width, height), layout="constrained", facecolor=PAGE["light"])
        axes = canvas.subplots(rows, columns, squeeze=False, **options)
    return canvas, axes


def png(canvas: Figure, *, dpi: int = 144) -> bytes:
    """Renders a figure.

    Args:
        canvas: A matplotlib figure, as the functions of this namespace return it.
        dpi: Dots per inch.

    Returns:
        The bytes of a PNG file.

    Example:
        >>> import numpy as np
        >>> from jaxcnn import report
        >>> report.png(report.confusion({"net": np.eye(2, dtype=int)}, classes=["a", "b"]))[1:4]
        b'PNG'
    """
    return render(canvas, "png", dpi=dpi)


def image_format(function: str, argument: str, path: str | os.PathLike[str]) -> str:
    """Returns the format of a figure's file by its suffix, PNG without one, and refuses others."""
    suffix = Path(path).suffix.lower()
    known = ("", *FORMATS)
    check(suffix in known, function, argument, f"a file that ends in {', '.join(FORMATS)}", repr(os.fspath(path)))
    return FORMATS.get(suffix, "png")


def render(canvas: Figure, form: str, *, dpi: int = 144) -> bytes:
    """Renders a figure in a format of ``image_format``."""
    buffer = io.BytesIO()
    canvas.savefig(buffer, format=form, dpi=dpi, facecolor=canvas.get_facecolor())
    return buffer.getvalue()


def to_dark(canvas: Figure) -> Figure:
    """Changes the colors of a figure to those of a dark page; returns the same figure."""
    from matplotlib import collections, colors, image, lines, patches, text

    def change(color: Any) -> Any:
        alpha = colors.to_rgba(color)[3]
        found = _DARK.get(colors.to_hex(color))
        return color if found is None else colors.to_rgba(found, alpha)

    canvas.draw_without_rendering()  # makes the ticks, which have colors of their own
    for artist in canvas.findobj():
        if isinstance(artist, text.Text | lines.Line2D):
            artist.set_color(change(artist.get_color()))
        elif isinstance(artist, patches.Patch):
            artist.set_edgecolor(change(artist.get_edgecolor()))
            artist.set_facecolor(change(artist.get_facecolor()))
        elif isinstance(artist, collections.Collection):
            artist.set_facecolor([change(tuple(color)) for color in np.atleast_2d(artist.get_facecolor())])
        elif isinstance(artist, image.AxesImage) and artist.get_cmap().name == "Blues":
            artist.set_cmap(
                colors.LinearSegmentedColormap.from_list("dark blues", [PAGE["dark"], "#2b5c8f", "#cfe4f7"])
            )
    canvas.set_facecolor(PAGE["dark"])
    for axis in canvas.axes:
        axis.set_facecolor(PAGE["dark"])
    return canvas
