"""Figures of a training experiment, from plain arrays. Each function returns a matplotlib figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn._check import check
from jaxcnn._typing import Float, Int
from jaxcnn.report.image_axes import draw_frame, draw_heat, draw_image
from jaxcnn.report.style import FAINT, INK, PALETTE, Axes, Figure, figure

__all__ = ["confusion", "frames", "learning_curves", "mistakes", "prediction_text", "predictions"]

Lines = Sequence[Mapping[str, Any]]

_COUNTED = 20
"""Classes up to which a confusion matrix shows counts and names."""

_BARS = 5
"""Bars per picture where there are more classes than fit, or their names are long."""


def learning_curves(histories: Mapping[str, Sequence[Lines]], *, columns: int = 2) -> Figure:
    """Draws training loss and test error over steps, mean and range over the runs of each arm.

    Where runs end at different steps, mean and range are over those that have the step. The test loss takes the
    place of the test error where no accuracy was measured.

    Args:
        histories: Arm -> the metrics of each of its runs, as ``train.read_history`` returns them.
        columns: 2 draws both side by side, 1 one below the other.

    Returns:
        The figure.

    Raises:
        ValueError: If there is no arm.

    Example:
        >>> from jaxcnn import report
        >>> lines = [{"step": s, "split": "test", "loss": 1 / s, "accuracy": 1 - 1 / s} for s in (1, 2)]
        >>> [axis.get_ylabel() for axis in report.learning_curves({"cnn": [lines]}).axes]
        ['training loss', 'test error, %']
    """
    check(bool(histories), "learning_curves", "histories", "at least one arm", "none")
    check(columns in (1, 2), "learning_curves", "columns", "1 or 2", repr(columns))
    canvas, axes = figure(2 // columns, columns, width=4.5 * columns, height=3.4 * (2 // columns))
    every = [lines for runs in histories.values() for lines in runs]
    by_error = any(_series(lines, "test", "accuracy") for lines in every) or not any(
        _series(lines, "test", "loss") for lines in every
    )
    right = ("test", "accuracy", "test error, %") if by_error else ("test", "loss", "test loss")
    for axis, (split, name, label) in zip(axes.flat, (("train", "loss", "training loss"), right), strict=True):
        for i, (arm, runs) in enumerate(histories.items()):
            tables = [_series(lines, split, name) for lines in runs]
            steps = sorted(set().union(*tables))
            if not steps:
                continue
            values = np.array([[table.get(s, np.nan) for s in steps] for table in tables], float)
            values = 100 * (1 - values) if name == "accuracy" else values
            color, dashes = PALETTE[i % len(PALETTE)], ("-", "--", ":", "-.")[i // len(PALETTE) % 4]
            marker = "o" if len(steps) < 3 else None
            axis.plot(steps, np.nanmean(values, 0), dashes, color=color, linewidth=2, label=arm, marker=marker)
            low, high = np.nanmin(values, 0), np.nanmax(values, 0)
            axis.fill_between(steps, low, high, color=color, alpha=0.2, linewidth=0)
        axis.locator_params(axis="x", integer=True)
        axis.set_xlabel("training step")
        axis.set_ylabel(label)
        axis.grid(axis="y", color=FAINT, linewidth=0.6)
        axis.set_axisbelow(True)
        for limits, change in ((axis.get_xlim(), axis.set_xlim), (axis.get_ylim(), axis.set_ylim)):
            change(0, 1.04 * limits[1])  # markers at the top are drawn in full
        if axis.lines:
            axis.legend(frameon=False, labelcolor=INK)
    return canvas


def frames(
    images: Float[np.ndarray, "n h w c"],
    corners: Float[np.ndarray, "n 4 2"] | None,
    seen: Float[np.ndarray, "n h_out w_out c"] | None,
    captions: Sequence[str],
    *,
    columns: int = 5,
) -> Figure:
    """Draws images with the sampling frame of a spatial transformer in orange, beside the transformed images.

    Convention:
        ``corners`` are (x, y) in [-1, 1] over the outer edges of the image, in drawing order.

    Args:
        images: The images (n, h, w, c) in [0, 1], gray or color.
        corners: The frame in each (n, 4, 2), or None without a transformer.
        seen: The transformed images (n, h_out, w_out, 1), which the classifier reads, or None.
        captions: A line below each image.
        columns: How many pairs side by side.

    Returns:
        The figure.

    Raises:
        ValueError: If the arrays differ in length.

    Example:
        >>> import numpy as np
        >>> from jaxcnn import report
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
    size = _caption_size(columns * (1 if seen is None else 2))
    columns = min(columns, n)
    rows, each = -(-n // columns), 1 if seen is None else 2
    tall = max(caption.count("\n") for caption in captions)
    side = _tile_side(captions, size, least=1.06 * each) / each
    canvas, axes = figure(
        rows, columns * each, width=side * columns * each + 0.2, height=(side + 0.3 + 0.15 * tall) * rows + 0.1
    )
    for axis in axes.ravel():
        axis.axis("off")
    for i in range(n):
        left = axes[i // columns, (i % columns) * each]
        h, w = images[i].shape[:2]
        draw_image(left, images[i])
        if corners is not None:
            draw_frame(left, corners[i], (h, w), linewidth=1.6, dot=3.5)
        place = "center" if seen is None else "left"  # above both images of a pair
        left.set_title(captions[i], fontsize=size, fontweight="normal", color=INK, pad=3, loc=place)
        if seen is not None:
            draw_image(axes[i // columns, (i % columns) * each + 1], seen[i], edge=PALETTE[1])
    return canvas


def confusion(
    matrices: Mapping[str, Int[np.ndarray, "k k"]], *, classes: Sequence[str], columns: int | None = None
) -> Figure:
    """Draws confusion matrices side by side: counts as text, the share of the true class as depth of blue.

    Beyond 20 classes counts and names are left out.

    Args:
        matrices: Arm -> counts (classes, classes), a row per true class.
        classes: Names of the classes.
        columns: How many matrices side by side; by default all.

    Returns:
        The figure.

    Raises:
        ValueError: If a matrix is not of shape (classes, classes).

    Example:
        >>> import numpy as np
        >>> from jaxcnn import report
        >>> figure = report.confusion({"cnn": np.eye(3, dtype=int)}, classes=["a", "b", "c"])
        >>> figure.axes[0].get_title()
        'cnn'
    """
    k = len(classes)
    for arm, counts in matrices.items():
        check(np.shape(counts) == (k, k), "confusion", f"matrices[{arm!r}]", f"of shape ({k}, {k})", np.shape(counts))
    counted, names = k <= _COUNTED, [_shorten(name, 14) for name in classes]
    turned = counted and max(map(len, names)) > 3
    side = 0.36 * min(k, _COUNTED) + 1.0 + (1.4 if turned else 0)
    columns = min(columns or len(matrices), len(matrices))
    rows, height = -(-len(matrices) // columns), side + (0.5 if turned else 0)
    canvas, axes = figure(rows, columns, width=side * columns, height=height * rows)
    digits = max(len(str(int(counts.max()))) for counts in matrices.values())
    for axis in axes.ravel()[len(matrices) :]:
        axis.axis("off")
    for axis, (arm, counts) in zip(axes.ravel(), matrices.items(), strict=False):
        share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
        axis.imshow(share, cmap="Blues", vmin=0, vmax=1)
        for i, j in np.argwhere(counts) if counted else ():
            color = "#ffffff" if share[i, j] > 0.55 else INK
            axis.text(j, i, int(counts[i, j]), ha="center", va="center", fontsize=9 if digits < 5 else 7, color=color)
        if counted:
            axis.set_xticks(range(k), names, rotation=90 if turned else 0)
            axis.set_yticks(range(k), names)
        axis.tick_params(length=0)
        axis.set_xlabel("predicted class" if counted else "predicted class, number")
        axis.set_ylabel("true class" if counted else "true class, number")
        axis.set_title(arm, fontsize=11, fontweight="bold")
    return canvas


def mistakes(
    images: Float[np.ndarray, "n h w c"],
    labels: Int[np.ndarray, " n"],
    probabilities: Float[np.ndarray, "n k"],
    *,
    classes: Sequence[str],
    most: int = 12,
    columns: int = 6,
) -> Figure:
    """Draws the misclassified images with the highest loss, the lowest probability of the true class first.

    Args:
        images: The images (n, h, w, c) in [0, 1], gray or color.
        labels: True classes (n,).
        probabilities: Predicted probabilities (n, classes).
        classes: Names of the classes.
        most: How many at most.
        columns: How many side by side.

    Returns:
        The figure; without mistakes it says so.

    Raises:
        ValueError: If the arrays differ in length.

    Example:
        >>> import numpy as np
        >>> from jaxcnn import report
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
    size = _caption_size(columns)
    columns = max(1, min(columns, len(wrong)))
    rows = max(1, -(-len(wrong) // columns))
    titles = [prediction_text(classes, int(labels[i]), probabilities[i]) for i in wrong]
    side = _tile_side(titles, size, least=1.5)
    canvas, axes = figure(rows, columns, width=max(side * columns, 3.0), height=(side + 0.25) * rows)
    for axis in axes.ravel():
        axis.axis("off")
    if not len(wrong):
        axes[0, 0].text(0.5, 0.5, "no mistakes", ha="center", va="center")
    for axis, i, title in zip(axes.ravel(), wrong, titles, strict=False):
        draw_image(axis, images[i])
        axis.set_title(title, fontsize=size, fontweight="normal", pad=3)
    return canvas


def predictions(
    images: Float[np.ndarray, "n h w c"] | Sequence[Float[np.ndarray, "_h _w c"]],
    probabilities: Float[np.ndarray, "n k"],
    names: Sequence[str],
    *,
    classes: Sequence[str],
    corners: Float[np.ndarray, "n 4 2"] | None = None,
    seen: Float[np.ndarray, "n h_out w_out c"] | None = None,
    heat: Sequence[Float[np.ndarray, "_h_map _w_map"]] | None = None,
) -> Figure:
    """Draws one row per image: the image with its sampling frame, the transformed image, the probabilities.

    Of more than ten classes, or of classes with long names, the five most probable are shown.

    Args:
        images: The images (n, h, w, c) in [0, 1], gray or color, or a sequence of images of several sizes.
        probabilities: Predicted probabilities (n, classes).
        names: A title for each image.
        classes: Names of the classes.
        corners: As for ``frames``.
        seen: As for ``frames``.
        heat: Maps of the evidence for the most probable class, of ``graphs.compute_heat_maps``, to be drawn over the
            transformed image where there is one, else over the image; what speaks against the class is not shown.

    Returns:
        The figure.

    Raises:
        ValueError: If the arrays differ in length.

    Example:
        >>> import numpy as np
        >>> from jaxcnn import report
        >>> figure = report.predictions(np.zeros((1, 8, 8, 1)), np.array([[0.2, 0.8]]), ["x.png"], classes=["a", "b"])
        >>> figure.axes[0].get_title()
        'x.png'
    """
    n, each = len(images), 2 + (seen is not None) + (heat is not None)
    fits = heat is None or len(heat) == n
    check(fits, "predictions", "heat", f"of length {n}, as images", "another length")
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
        draw_image(row[0], images[i])
        if corners is not None:
            draw_frame(row[0], corners[i], images[i].shape[:2], linewidth=1.8, dot=4.0)
        row[0].set_title(_shorten_file(names[i], 18), fontsize=9, fontweight="normal")
        if seen is not None:
            draw_image(row[1], seen[i], edge=PALETTE[1])
            row[1].set_title("transformed", fontsize=9, fontweight="normal")
        if heat is not None:
            draw_heat(row[-2], images[i] if seen is None else seen[i], heat[i])
            row[-2].set_title("evidence", fontsize=9, fontweight="normal")
        best = int(probabilities[i].argmax())
        _draw_bars(row[-1], probabilities[i], classes)
        row[-1].set_title(f"{_shorten(classes[best], 28)} ({100 * probabilities[i, best]:.1f} %)", fontsize=9)
        row[-1].tick_params(length=0, labelsize=8)
    return canvas


def prediction_text(classes: Sequence[str], true: int, probabilities: np.ndarray, *, most: int = 14) -> str:
    """Writes ``true → predicted (probability)``, in two lines where the names are long."""
    taken = int(probabilities.argmax())
    names = _shorten(classes[true], most), _shorten(classes[taken], most)
    gap = " " if max(map(len, names)) <= 3 else "\n"
    return f"{names[0]}{gap}→ {names[1]} ({100 * probabilities[taken]:.0f} %)"


def _caption_size(columns: int) -> int:
    """Returns the size of captions, larger in figures for narrow screens, where there are few columns."""
    return 9 if columns > 4 else 10


def _tile_side(captions: Sequence[str], size: int, *, least: int | float) -> float:
    """Returns the width of an image, in inches, below which the lines of its caption would touch its neighbors'."""
    longest = max((len(line) for caption in captions for line in caption.split("\n")), default=0)
    return max(least, 0.0085 * size * longest)


def _draw_bars(axis: Axes, probabilities: np.ndarray, classes: Sequence[str]) -> None:
    """Draws the probability of every class, or of the most probable ones by name, the largest in orange."""
    k, percent = len(classes), 100 * probabilities
    colors = [PALETTE[1] if j == percent.argmax() else PALETTE[0] for j in range(k)]
    if k <= 10 and max(map(len, classes)) <= 3:
        axis.bar(range(k), percent, color=colors, width=0.7)
        axis.set_xticks(range(k), classes)
        axis.set_ylim(0, 109)
        axis.set_yticks([0, 50, 100])
        axis.set_ylabel("probability, %", fontsize=8)
        return
    top: list[int] = np.argsort(-percent, kind="stable")[:_BARS].tolist()
    axis.barh(range(len(top)), percent[top], color=[colors[j] for j in top], height=0.7)
    axis.set_yticks(range(len(top)), [_shorten(classes[j], 16) for j in top])
    axis.set_ylim(len(top) - 0.5, -0.5)
    axis.set_xlim(0, 100)
    axis.set_xticks([0, 50, 100])
    axis.set_xlabel("probability, %", fontsize=8)


def _shorten(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most - 1].rstrip()}…"


def _shorten_file(name: str, most: int) -> str:
    """Shortens in the middle: the end has what tells apart pictures of one camera."""
    return name if len(name) <= most else f"{name[: most // 2 - 1]}…{name[-(most // 2) :]}"


def _series(lines: Lines, split: str, name: str) -> dict[int, float]:
    return {line["step"]: line[name] for line in lines if line["split"] == split and line.get(name) is not None}
