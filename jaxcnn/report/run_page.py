"""Plots and page of a run: ``plots/*.png`` and ``report.html`` in its folder."""

import dataclasses
import html
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn import train
from jaxcnn._typing import Float, Int
from jaxcnn.report import plots
from jaxcnn.report.networks import Answers, LabeledImages, Network
from jaxcnn.report.page import DARK, NARROW, figure_html, table_html, write_page
from jaxcnn.report.style import Figure, png, to_dark

__all__ = ["Evaluation", "RunPage", "to_displayable", "write_run_page"]

SHOWN = 10
"""Test images on the page."""


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """Networks and what they answer to the test images.

    Attributes:
        images: The test images.
        classes: Names of the classes.
        answers: One per network.
    """

    images: LabeledImages
    classes: Sequence[str]
    answers: Mapping[Network, Answers]


@dataclasses.dataclass(frozen=True)
class RunPage:
    """The words of a page.

    Attributes:
        title: Its title.
        summary: Its first paragraph.
        header: Columns of the result table.
        rows: Its rows.
        note: A sentence below the table.
        configuration: What the run was configured with, JSON values.
    """

    title: str
    summary: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str
    configuration: Mapping[str, Any]


def write_run_page(
    info: train.RunInfo | train.ExperimentInfo,
    page: RunPage,
    networks: Sequence[Network],
    evaluation: Evaluation | None,
) -> Path:
    """Writes plots and page of a run; without test images, learning curves only.

    Args:
        info: The run.
        page: The words.
        networks: Its trained networks.
        evaluation: What they answer to test images, or None.

    Returns:
        The page.
    """
    folder = info.folder
    histories: dict[str, list[Any]] = {}
    for network in networks:
        histories.setdefault(network.arm, []).append(network.history())
    band = "Mean over runs; the band spans all runs." if len(networks) > len(histories) else "One run per curve."
    sections = [("Result", [table_html(page.header, page.rows), f"<p>{html.escape(page.note)}</p>"])]
    curves = _Figure(
        "curves", lambda narrow: plots.learning_curves(histories, columns=1 if narrow else 2), band, "learning curves"
    )
    if evaluation is None:
        sections.append(("Learning curves", [_embed(folder, curves)]))
    else:
        preprocessing = info.preprocessing if isinstance(info, train.RunInfo) else None
        examples, *others = _draw(evaluation, preprocessing)
        first = "Where the spatial transformer looks" if "orange" in examples.caption else "Test images"
        sections.append((first, [_embed(folder, examples)]))
        sections.append(("Learning curves", [_embed(folder, curves)]))
        sections += [(shown.alternative.capitalize(), [_embed(folder, shown)]) for shown in others]
    origin = info.origin
    versions = ", ".join(f"{name} {version}" for name, version in origin.libraries.items())
    made = f"jaxcnn {origin.jaxcnn}, Python {origin.python}, {versions}; {origin.device}; started {origin.started}."
    configuration = html.escape(json.dumps(page.configuration, indent=1))
    sections.append(("How this was made", [f"<p>{html.escape(made)}</p>", f"<pre>{configuration}</pre>"]))
    path = folder / "report.html"
    write_page(path, page.title, page.summary, sections)
    return path


def to_displayable(
    images: Float[np.ndarray, "n h w c"], preprocessing: Mapping[str, Any] | None
) -> Float[np.ndarray, "n h w shown"]:
    """Undoes the pre-processing of inputs, for display: values in [0, 1], one or three channels."""
    images = np.asarray(images, np.float32)
    known = preprocessing or {}
    if known.get("std") is not None:
        images = images * np.asarray(known["std"], np.float32)
    if known.get("mean") is not None:
        images = images + np.asarray(known["mean"], np.float32)
    low, high = known.get("value_range") or (min(0.0, float(images.min())), max(1.0, float(images.max())))
    images = np.clip((images - low) / (high - low), 0, 1)
    return images if images.shape[-1] in (1, 3) else images[..., :3] if images.shape[-1] > 3 else images[..., :1]


@dataclasses.dataclass(frozen=True)
class _Figure:
    name: str
    draw: Callable[[bool], Figure]
    """Whether it is for a narrow screen -> the figure."""
    caption: str
    alternative: str


def _embed(folder: Path, shown: _Figure) -> str:
    """Writes a figure to its file and returns the HTML that shows it, for wide and narrow, light and dark screens."""
    wide, narrow = shown.draw(False), shown.draw(True)
    content, small = png(wide), png(narrow)
    (folder / "plots").mkdir(exist_ok=True)
    (folder / "plots" / f"{shown.name}.png").write_bytes(content)
    variants = {f"{NARROW} and {DARK}": png(to_dark(narrow)), NARROW: small, DARK: png(to_dark(wide))}
    return figure_html(content, shown.caption, alternative=shown.alternative, variants=variants)


def _draw(evaluation: Evaluation, preprocessing: Mapping[str, Any] | None) -> list[_Figure]:
    """Draws test images, confusion matrices and the hardest mistakes; the images are those of the last arm's first."""
    labels, classes = evaluation.images.labels, evaluation.classes
    last = list(evaluation.answers)[-1].arm
    network, answers = next((network, found) for network, found in evaluation.answers.items() if network.arm == last)
    predicted = answers.probabilities
    chosen = _first_of_each(labels, len(classes))
    captions = [plots.prediction_text(classes, int(labels[i]), predicted[i], most=9) for i in chosen]
    corners, seen = (None if part is None else part[chosen] for part in (answers.frame, answers.seen))
    images = to_displayable(evaluation.images.read(chosen), preprocessing)
    caption = "Above each image: true class → predicted class and its probability."
    if corners is not None and seen is not None:
        seen = to_displayable(seen, preprocessing)
        caption = (
            f"Left of each pair: a test image with the sampling frame (orange) that {network.label} predicts; the dot "
            f"marks the corner that becomes the upper left. Right: the transformed image, which the classifier reads. "
            f"{caption.replace('each image', 'each pair')}"
        )
    matrices: dict[str, Int[np.ndarray, "k k"]] = {}
    for other, found in evaluation.answers.items():
        counts = np.zeros((len(classes), len(classes)), int)
        np.add.at(counts, (labels, found.logits.argmax(1)), 1)
        matrices[other.arm] = matrices.get(other.arm, 0) + counts
    wrong = _hardest(labels, predicted, evaluation.images.originals)
    mistaken = to_displayable(evaluation.images.read(wrong), preprocessing)
    several = ", summed over runs" if len(evaluation.answers) > len(matrices) else ""
    repeated = ", and of every original one version" if evaluation.images.originals is not None else ""

    short = max(map(len, classes)) <= 3

    def draw_frames(narrow: bool) -> Figure:
        columns = 5 if not narrow else 4 if seen is None and short else 2
        return plots.frames(images, corners, seen, captions, columns=columns)

    def draw_confusion(narrow: bool) -> Figure:
        return plots.confusion(matrices, classes=classes, columns=1 if narrow else None)

    def draw_mistakes(narrow: bool) -> Figure:
        columns = 6 if not narrow else 3 if short else 2
        return plots.mistakes(mistaken, labels[wrong], predicted[wrong], classes=classes, columns=columns)

    return [
        _Figure("frames", draw_frames, caption, "test images"),
        _Figure(
            "confusion",
            draw_confusion,
            f"Numbers of test images{several}; the stronger the blue, the larger the share of the true class.",
            "confusion matrix" if len(matrices) == 1 else "confusion matrices",
        ),
        _Figure(
            "mistakes",
            draw_mistakes,
            f"Test images that {network.label} misclassifies: true class → predicted class and its probability; the "
            f"lowest probability of the true class first. Every kind of mistake is shown once before any is shown "
            f"twice{repeated}.",
            "hardest mistakes",
        ),
    ]


def _first_of_each(labels: Int[np.ndarray, " n"], classes: int) -> Int[np.ndarray, " k"]:
    """Returns the index of one image of each of the first classes."""
    found = [np.flatnonzero(labels == number)[:1] for number in range(classes)]
    return np.concatenate(found)[:SHOWN]


def _hardest(
    labels: Int[np.ndarray, " n"],
    predicted: Float[np.ndarray, "n k"],
    originals: Int[np.ndarray, " n"] | None,
    most: int = 12,
) -> Int[np.ndarray, " m"]:
    """Returns misclassified images, those with the lowest probability of the true class first.

    Of each original only the hardest version counts, and every kind of mistake (true and predicted class) is shown
    once before any is shown twice. Without mistakes it returns the first image.
    """
    answers = predicted.argmax(1)
    wrong = np.flatnonzero(answers != labels)
    order = wrong[np.argsort(predicted[wrong, labels[wrong]], kind="stable")]
    if originals is not None:
        order = order[_count_earlier(originals[order]) == 0]
    repeats = _count_earlier(labels[order] * predicted.shape[1] + answers[order])
    chosen = np.sort(np.argsort(repeats, kind="stable")[:most])
    return order[chosen] if len(wrong) else np.arange(1)


def _count_earlier(values: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    """Counts for each value how many equal ones stand before it."""
    found = np.zeros(len(values), int)
    for value in np.unique(values):
        equal = np.flatnonzero(values == value)
        found[equal] = np.arange(len(equal))
    return found
