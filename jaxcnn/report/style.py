"""One look for all figures: dark on white, one palette that colour-blind readers can tell apart."""

from typing import Any

__all__ = ["INK", "PALETTE", "figure", "png"]

PALETTE = ("#5b6b7b", "#d9622b", "#2a7f8e", "#8a4f9e", "#b59a2b")
INK, FAINT = "#20262d", "#d5dae0"


def figure(rows: int, columns: int, *, width: float, height: float, **options: Any) -> tuple[Any, Any]:
    """Makes an empty figure (size in inches) that needs no display, and its axes as a 2-D array."""
    import matplotlib
    from matplotlib.figure import Figure

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
        canvas = Figure(figsize=(width, height), layout="constrained")
        axes = canvas.subplots(rows, columns, squeeze=False, **options)
    return canvas, axes


def png(canvas: Any, *, dpi: int = 144) -> bytes:
    """Renders a figure.

    Args:
        canvas: A matplotlib figure, as the functions of this namespace return it.
        dpi: Dots per inch.

    Returns:
        The bytes of a PNG file.

    Example:
        >>> report.png(report.confusion({"net": np.eye(2, dtype=int)}, classes=["a", "b"]))[1:4]
        b'PNG'
    """
    import io

    buffer = io.BytesIO()
    canvas.savefig(buffer, format="png", dpi=dpi, facecolor="white")
    return buffer.getvalue()
