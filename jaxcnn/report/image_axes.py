"""Draws images, and what lies over them, on the axes of a figure."""

import numpy as np

from jaxcnn.report.style import FAINT, PALETTE, Axes

__all__ = ["draw_frame", "draw_heat", "draw_image"]


def draw_heat(axis: Axes, image: np.ndarray, heat: np.ndarray) -> None:
    """Shows an image in gray with a map over all of it, the more opaque the stronger."""
    gray = np.asarray(image, float)[..., :3].mean(-1, keepdims=True)
    draw_image(axis, 0.25 + 0.6 * gray)
    strength = np.clip(np.asarray(heat, float), 0, None)
    strength = strength / max(float(strength.max()), 1e-12)
    h, w = gray.shape[:2]
    axis.imshow(
        strength,
        cmap="inferno",
        vmin=0,
        vmax=1,
        alpha=0.65,
        interpolation="bilinear",
        extent=(-0.5, w - 0.5, h - 0.5, -0.5),
    )
    axis.set_xlim(-0.5, w - 0.5)
    axis.set_ylim(h - 0.5, -0.5)


def draw_image(axis: Axes, image: np.ndarray, edge: str = FAINT) -> None:
    """Shows a gray or color image with a thin edge, and clips what is drawn over it to the image."""
    image = np.asarray(image, float)
    h, w, c = image.shape
    axis.axis("on")
    axis.imshow(
        image[..., 0] if c == 1 else np.clip(image[..., :3], 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest"
    )
    axis.set_xlim(-0.5, w - 0.5)
    axis.set_ylim(h - 0.5, -0.5)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set(visible=True, color=edge, linewidth=1.2)


def draw_frame(axis: Axes, corners: np.ndarray, shape: tuple[int, ...], *, linewidth: float, dot: float) -> None:
    """Draws a sampling frame in orange, with a dot at the upper left corner of what is read."""
    points = (np.asarray(corners) + 1) * (shape[1] / 2, shape[0] / 2) - 0.5
    axis.plot(*np.concatenate([points, points[:1]]).T, color=PALETTE[1], linewidth=linewidth, clip_on=True)
    axis.plot(*points[0], "o", color=PALETTE[1], markersize=dot, clip_on=True)
