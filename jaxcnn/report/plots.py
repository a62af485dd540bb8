"""Figures of a training experiment, from plain arrays. Each function returns a matplotlib figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn._check import check
from jaxcnn._typing import Float, Int
from jaxcnn.report.style import FAINT, INK, PALETTE, figure

__all__ = ["confusion", "frames", "learning_curves", "mistakes", "predictions"]

Lines = Sequence[Mapping[str, Any]]


def learning_curves(histories: Mapping[str, Sequence[Lines]]) -> Any:
    """Draws training loss and test error over steps, mean and range over the runs of each arm.

    Args:
        histories: Arm -> the metrics of each of its runs, as ``train.read_history`` gives them.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no arm.

    Example:
        >>> lines = [{"step": s, "split": "test", "loss": 1 / s, "accuracy": 1 - 1 / s} for s in (1, 2)]
        >>> [axis.get_ylabel() for axis in report.learning_curves({"cnn": [lines]}).axes]
        ['training loss', 'test error, %']
    """
    check(bool(histories), "learning_curves", "histories", "at least one arm", "none")
    canvas, axes = figure(1, 2, width=9, height=3.4)
    shown = (("train", "loss", "training loss", 1.0), ("test", "accuracy", "test error, %", 100.0))
    for axis, (split, name, label, factor) in zip(axes[0], shown, strict=True):
        for color, (arm, runs) in zip(PALETTE, histories.items(), strict=False):
            tables = [_series(lines, split, name) for lines in runs]
            steps = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
            if not steps:
                continue
            values = np.array([[table[s] for s in steps] for table in tables], float)
            values = factor * (1 - values) if name == "accuracy" else factor * values
            axis.plot(
                steps, values.mean(0), color=color, linewidth=2, label=arm, marker="o" if len(steps) < 3 else None
            )
            axis.fill_between(steps, values.min(0), values.max(0), color=color, alpha=0.2, linewidth=0)
        axis.set_xlabel("step")
        axis.set_ylabel(label)
        axis.grid(axis="y", color=FAINT, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.set_ylim(bottom=0)
        if axis.lines:
            axis.legend(frameon=False)
    return canvas


def frames(
    images: Float[np.ndarray, "n h w c"],
    corners: Float[np.ndarray, "n 4 2"] | None,
    seen: Float[np.ndarray, "n h_out w_out c"] | None,
    captions: Sequence[str],
    *,
    columns: int = 5,
) -> Any:
    """Draws images with the sampling frame in them, beside what the classifier then sees.

    Convention:
        ``corners`` are (x, y) in [-1, 1] over the outer edges of the image, in drawing order.

    Args:
        images: The images (n, h, w, 1) in [0, 1].
        corners: The frame in each (n, 4, 2), or None without a transformer.
        seen: What the transformer passes on (n, h_out, w_out, 1), or None.
        captions: A line below each image.
        columns: How many pairs side by side.

    Returns:
        The figure.

    Raises:
        ValueError: If the arrays differ in length.

    Example:
        >>> square = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.5
        >>> figure = report.frames(np.zeros((2, 8, 8, 1)), np.stack([square] * 2), np.zeros((2, 4, 4, 1)), ["a", "b"])
        >>> len(figure.axes)
        4
    """
    n = len(images)
    for name, value in (("corners", corners), ("seen", seen), ("captions", captions)):
        check(
            value is None or len(value) == n,
            "frames",
            name,
            f"of length {n}, as images",
            None if value is None else len(value),
        )
    columns = min(columns, n)
    rows, each = -(-n // columns), 1 if seen is None else 2
    canvas, axes = figure(rows, columns * each, width=1.06 * columns * each + 0.2, height=1.36 * rows + 0.1)
    for axis in axes.ravel():
        axis.axis("off")
    for i in range(n):
        left = axes[i // columns, (i % columns) * each]
        h, w = images[i].shape[:2]
        _picture(left, images[i])
        if corners is not None:
            points = (np.asarray(corners[i]) + 1) * (w / 2, h / 2) - 0.5
            closed = np.concatenate([points, points[:1]])
            left.plot(*closed.T, color=PALETTE[1], linewidth=1.6, clip_on=True)
            left.plot(*points[0], "o", color=PALETTE[1], markersize=3.5, clip_on=True)  # the output's upper left corner
        left.set_title(captions[i], fontsize=8, fontweight="normal", color=INK, pad=3)
        if seen is not None:
            _picture(axes[i // columns, (i % columns) * each + 1], seen[i], edge=PALETTE[1])
    return canvas


def confusion(matrices: Mapping[str, Int[np.ndarray, "k k"]], *, classes: Sequence[str]) -> Any:
    """Draws confusion matrices side by side: counts as text, shares of the true class as colour.

    Args:
        matrices: Arm -> counts (classes, classes), a row per true class.
        classes: Names of the classes.

    Returns:
        The figure.

    Raises:
        ValueError: If a matrix is not of shape (classes, classes).

    Example:
        >>> figure = report.confusion({"cnn": np.eye(3, dtype=int)}, classes=["a", "b", "c"])
        >>> figure.axes[0].get_title()
        'cnn'
    """
    k = len(classes)
    for arm, counts in matrices.items():
        check(np.shape(counts) == (k, k), "confusion", f"matrices[{arm!r}]", f"of shape ({k}, {k})", np.shape(counts))
    side = 0.36 * k + 1.0
    canvas, axes = figure(1, len(matrices), width=side * len(matrices), height=side)
    for axis, (arm, counts) in zip(axes[0], matrices.items(), strict=True):
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.ndindex(k, k):
            if counts[i, j]:
                color = "white" if share[i, j] > 0.55 else INK
                axis.text(j, i, int(counts[i, j]), ha="center", va="center", fontsize=7, color=color)
        axis.set_xticks(range(k), classes)
        axis.set_yticks(range(k), classes)
        axis.tick_params(length=0)
        axis.set_xlabel("predicted")
        axis.set_ylabel("true")
        axis.set_title(arm, fontsize=11, fontweight="bold")
    return canvas


def mistakes(
    images: Float[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n k"],
    *,
    classes: Sequence[str],
    most: int = 12,
) -> Any:
    """Draws the wrong predictions with the highest loss: the least probability for the true class.

    Args:
        images: The images (n, h, w, 1) in [0, 1].
        labels: True classes (n,).
        probabilities: Predicted probabilities (n, classes).
        classes: Names of the classes.
        most: How many at most.

    Returns:
        The figure; it says so if nothing was wrong.

    Raises:
        ValueError: If the arrays differ in length.

    Example:
        >>> wrong = np.array([[0.1, 0.9], [0.6, 0.4]])
        >>> figure = report.mistakes(np.zeros((2, 4, 4, 1)), np.array([0, 0]), wrong, classes=["a", "b"])
        >>> figure.axes[0].get_title()
        'a → b (90 %)'
    """
    n = len(images)
    check(
        len(labels) == n == len(probabilities),
        "mistakes",
        "arrays",
        "of one length",
        (n, len(labels), len(probabilities)),
    )
    predicted = probabilities.argmax(1)
    wrong = np.flatnonzero(predicted != labels)
    wrong = wrong[np.argsort(probabilities[wrong, labels[wrong]], kind="stable")][:most]
    columns = max(1, min(6, len(wrong)))
    rows = max(1, -(-len(wrong) // columns))
    canvas, axes = figure(rows, columns, width=max(1.5 * columns, 3), height=1.75 * rows)
    for axis in axes.ravel():
        axis.axis("off")
    if not len(wrong):
        axes[0, 0].text(0.5, 0.5, "no mistakes", ha="center", va="center")
    for axis, i in zip(axes.ravel(), wrong, strict=False):
        _picture(axis, images[i])
        true, taken = int(labels[i]), int(predicted[i])
        title = f"{classes[true]} → {classes[taken]} ({100 * probabilities[i, taken]:.0f} %)"
        axis.set_title(title, fontsize=8, fontweight="normal", pad=3)
    return canvas


def predictions(
    images: Float[np.ndarray, "n h w c"],
    probabilities: Float[np.ndarray, "n k"],
    names: Sequence[str],
    *,
    classes: Sequence[str],
    corners: Float[np.ndarray, "n 4 2"] | None = None,
    seen: Float[np.ndarray, "n h_out w_out c"] | None = None,
) -> Any:
    """Draws one row per image: the image with its frame, what the classifier sees, the probabilities.

    Args:
        images: The images (n, h, w, 1) in [0, 1].
        probabilities: Predicted probabilities (n, classes).
        names: What to call each image.
        classes: Names of the classes.
        corners: As for ``frames``.
        seen: As for ``frames``.

    Returns:
        The figure.

    Raises:
        ValueError: If the arrays differ in length.

    Example:
        >>> figure = report.predictions(np.zeros((1, 8, 8, 1)), np.array([[0.2, 0.8]]), ["x.png"], classes=["a", "b"])
        >>> figure.axes[0].get_title()
        'x.png'
    """
    n, each = len(images), 2 if seen is None else 3
    check(
        len(probabilities) == n == len(names),
        "predictions",
        "arrays",
        "of one length",
        (n, len(probabilities), len(names)),
    )
    ratios = [1.0] * (each - 1) + [2.2]
    canvas, axes = figure(n, each, width=1.75 * sum(ratios), height=1.85 * n, width_ratios=ratios)
    for i, row in enumerate(axes):
        h, w = images[i].shape[:2]
        _picture(row[0], images[i])
        if corners is not None:
            points = (np.asarray(corners[i]) + 1) * (w / 2, h / 2) - 0.5
            row[0].plot(*np.concatenate([points, points[:1]]).T, color=PALETTE[1], linewidth=1.8)
            row[0].plot(*points[0], "o", color=PALETTE[1], markersize=4)
        name = names[i] if len(names[i]) <= 18 else f"{names[i][:8]}…{names[i][-9:]}"
        row[0].set_title(name, fontsize=9, fontweight="normal")
        if seen is not None:
            _picture(row[1], seen[i], edge=PALETTE[1])
            row[1].set_title("what it sees", fontsize=9, fontweight="normal")
        best = int(probabilities[i].argmax())
        colors = [PALETTE[1] if j == best else PALETTE[0] for j in range(len(classes))]
        row[-1].bar(range(len(classes)), 100 * probabilities[i], color=colors, width=0.7)
        row[-1].set_xticks(range(len(classes)), classes)
        row[-1].set_ylim(0, 109)
        row[-1].set_yticks([0, 50, 100])
        row[-1].set_ylabel("%")
        row[-1].set_title(f"{classes[best]} ({100 * probabilities[i, best]:.1f} %)", fontsize=9)
        row[-1].tick_params(length=0, labelsize=8)
    return canvas


def _series(lines: Lines, split: str, name: str) -> dict[int, float]:
    return {line["step"]: line[name] for line in lines if line["split"] == split and line.get(name) is not None}


def _picture(axis: Any, image: np.ndarray, edge: str = FAINT) -> None:
    """Shows a grey or colour image with a thin edge, and clips what is drawn over it to the image."""
    image = np.asarray(image, float)
    h, w, c = image.shape
    axis.axis("on")
    axis.imshow(image[..., 0] if c == 1 else np.clip(image, 0, 1), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axis.set_xlim(-0.5, w - 0.5)
    axis.set_ylim(h - 0.5, -0.5)
    axis.set_xticks([])
    axis.set_yticks([])
    for spine in axis.spines.values():
        spine.set(visible=True, color=edge, linewidth=1.2)
