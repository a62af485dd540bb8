"""What a person looks at after a run: the plots and the page."""

import html
import json
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn import metrics, report, train
from jaxcnn.recipes._experiment import classify, load, networks
from jaxcnn.recipes.rts_digits import Config, test_set

__all__ = ["CLASSES", "table", "verdict", "write"]

CLASSES = tuple("0123456789")

HEADER = ("network", "test error, %", "parameters", "seeds", "time, s", "of it compiling, s")


def table(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """Gives the rows of the result table, as text, under ``HEADER``."""
    rows = []
    for arm, of_arm in results["arms"].items():
        std = "" if of_arm["std"] is None else f" ± {of_arm['std']:.2f}"
        error, seeds = f"{of_arm['mean']:.2f}{std}", str(len(of_arm["errors"]))
        times = f"{of_arm['seconds']:.0f}", f"{of_arm['compile_seconds']:.0f}"
        rows.append((arm, error, f"{of_arm['parameters']:,}", seeds, *times))
    return rows


def verdict(results: dict[str, Any]) -> str:
    """Says in a sentence or two what the comparison shows, and what not."""
    comparison, config = results.get("comparison"), results["config"]
    if comparison is None or comparison["ratio"] is None:
        return f"Trained for {config['steps']} steps of {config['batch']} images."
    text = f"The network behind the transformer makes {comparison['ratio']:.2f} times the errors of the plain one"
    if comparison["gap_in_standard_errors"] is not None:
        text += (
            f"; the gap of {comparison['gap']:.1f} points is {comparison['gap_in_standard_errors']:.1f} standard errors"
        )
    budget = f"{config['steps']} steps of {config['batch']} images for both"
    caution = f"This is a gap at a short, equal budget ({budget}), not at convergence."
    return f"{text}. {caution}"


def write(config: Config, folder: Path, results: dict[str, Any]) -> Path:
    """Writes ``plots/*.png`` and ``report.html``; returns the page's path."""
    test = test_set(config)
    images, labels = test["image"], test["label"]
    (folder / "plots").mkdir(exist_ok=True)
    every = networks(config, folder)
    histories = {arm: [train.read_history(n.folder) for n in every if n.arm == arm] for arm in config.arms}
    found = {n: classify(config, n, load(n), images) for n in every}
    matrices = {arm: np.zeros((10, 10), int) for arm in config.arms}
    for network, parts in found.items():
        matrices[network.arm] += np.asarray(
            metrics.confusion_matrix(parts["probabilities"], labels, num_classes=10), int
        )
    shown = next(n for n in every if n.arm == config.arms[-1])  # the transformer's, where there is one
    predicted = found[shown]["probabilities"]
    chosen = np.concatenate([np.flatnonzero(labels == c)[:1] for c in range(10)])
    captions = [f"{labels[i]} → {predicted[i].argmax()} ({100 * predicted[i].max():.0f} %)" for i in chosen]
    corners, seen = (found[shown][k][chosen] if k in found[shown] else None for k in ("frame", "seen"))
    plots = {
        "curves": report.learning_curves(histories),
        "frames": report.frames(images[chosen], corners, seen, captions),
        "confusion": report.confusion(matrices, classes=CLASSES),
        "mistakes": report.mistakes(images, labels, predicted, classes=CLASSES),
    }
    files = {name: report.png(figure) for name, figure in plots.items()}
    for name, content in files.items():
        (folder / "plots" / f"{name}.png").write_bytes(content)
    page = folder / "report.html"
    _page(page, config, folder, results, files, f"{shown.arm} seed {shown.seed}", transformed=corners is not None)
    return page


def _page(
    page: Path,
    config: Config,
    folder: Path,
    results: dict[str, Any],
    files: dict[str, bytes],
    who: str,
    *,
    transformed: bool,
) -> None:
    about = json.loads((folder / "config.json").read_text())
    count, seeds = results["test_images"], config.seeds
    frames = "True class, predicted class and its probability."
    if transformed:
        frames = (
            f"Test images with the sampling frame that {who} predicts (the dot is the upper left corner of what is "
            f"read), and beside each what the classifier then sees. {frames}"
        )
    versions = ", ".join(f"{name} {version}" for name, version in about["libraries"].items())
    made_by = f"jaxcnn {about['jaxcnn']}, Python {about['python']}, {versions}"
    reproduce = f"{made_by}; {results['device']}; started {about['started']}."
    said = f"Mean and standard deviation over {seeds} seeds." if seeds > 1 else "One seed: no spread is known."
    setting = f"Built-in digits, distorted on the fly ({config.kind}, {config.canvas} x {config.canvas} pixels)."
    report.write_page(
        page,
        "Digits behind a spatial transformer",
        f"{setting} {verdict(results)}",
        [
            (
                "Result",
                [report.table_html(HEADER, table(results)), f"<p>{said} {count:,} fixed test images.</p>"],
            ),
            (
                "Where it looks" if transformed else "Test images",
                [report.figure_html(files["frames"], frames, alternative="test images and frames")],
            ),
            (
                "Learning curves",
                [
                    report.figure_html(
                        files["curves"], "Mean over seeds; the band spans all seeds.", alternative="curves"
                    )
                ],
            ),
            (
                "Confusion",
                [
                    report.figure_html(
                        files["confusion"],
                        "Counts on the test images, summed over seeds; colour is the share of the true class.",
                        alternative="confusion matrices",
                    )
                ],
            ),
            (
                "Hardest mistakes",
                [
                    report.figure_html(
                        files["mistakes"],
                        _mistaken(who),
                        alternative="mistakes",
                    )
                ],
            ),
            (
                "How this was made",
                [
                    f"<p>{html.escape(reproduce)}</p>",
                    f"<pre>{html.escape(json.dumps(about['config'], indent=1))}</pre>",
                ],
            ),
        ],
    )


def _mistaken(who: str) -> str:
    order = "the least probability for the true class first"
    return f"What {who} got wrong: true → predicted (its probability), {order}."
