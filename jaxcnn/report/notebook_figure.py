"""The figures of this package: matplotlib's, which a notebook displays without ``pyplot``."""

import io

from matplotlib.figure import Figure

__all__ = ["NotebookFigure"]


class NotebookFigure(Figure):
    """A figure that is the output of a notebook's cell as an image."""

    def _repr_png_(self) -> bytes:
        """Renders it for a notebook."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=96, facecolor=self.get_facecolor())
        return buffer.getvalue()
