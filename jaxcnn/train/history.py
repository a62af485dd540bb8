"""The metrics of a run: lines in memory and in ``metrics.jsonl``, and the evaluations among them."""

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["LINE_FIELDS", "History", "Line", "best_evaluation", "evaluations", "read_history", "write_atomically"]

Line = dict[str, Any]

LINE_FIELDS = ("step", "split", "member", "seconds", "rate")
"""What a line of metrics holds besides metrics."""


def read_history(run: str | os.PathLike[str]) -> list[Line]:
    r"""Reads the metrics of a run folder.

    A last line that was cut off, as a killed process leaves it, is left out.

    Args:
        run: Folder that ``fit`` or ``fit_ensemble`` wrote.

    Returns:
        One dict per line of ``metrics.jsonl``: ``step``, ``split`` (``"train"`` or ``"test"``), metrics, ``seconds``,
        for training lines ``rate``, for ensembles ``member``. A value that was not finite is None.

    Raises:
        ValueError: If there is no such file, or a line of it is not JSON.

    Example:
        >>> from jaxcnn.train import read_history
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as run:
        ...     _ = pathlib.Path(run, "metrics.jsonl").write_text('{"step": 1, "split": "test", "loss": 0.5}\n{"st')
        ...     read_history(run)
        [{'step': 1, 'split': 'test', 'loss': 0.5}]
    """
    path = Path(run) / "metrics.jsonl"
    if not path.is_file():
        raise ValueError(f"read_history: run must be a run folder with metrics.jsonl, got {str(run)!r}.")
    *complete, _ = path.read_bytes().split(b"\n")
    try:
        return [json.loads(line) for line in complete]
    except ValueError as error:
        raise ValueError(f"read_history: {path} must hold one JSON object per line, got {error}.") from None


class History:
    """The lines of a run, written to a file as they come where there is a run folder."""

    def __init__(self, run: Path | None, step: int):
        """Takes over the lines up to ``step`` and removes later ones, which are about to be measured again."""
        self._path = None if run is None else run / "metrics.jsonl"
        self.lines: list[Line] = []
        if run is not None and self._path is not None:
            if self._path.exists():
                self.lines = [line for line in read_history(run) if line["step"] <= step]
            # Nothing is written where nothing changes: a finished run may lie on a disk that cannot be written to.
            text = "".join(json.dumps(line) + "\n" for line in self.lines)
            if not self._path.exists() or self._path.read_text() != text:
                write_atomically(self._path, text)

    def add(self, lines: Sequence[Line]) -> None:
        """Adds lines."""
        clean = [{name: _jsonable(value) for name, value in line.items()} for line in lines]
        self.lines += clean
        if self._path is not None:
            try:
                with self._path.open("a") as file:
                    file.write("".join(json.dumps(line, allow_nan=False) + "\n" for line in clean))
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror}, in writing the metrics", str(self._path)) from error

    def sync(self) -> None:
        """Brings the file onto the disk: a checkpoint must never be ahead of it."""
        if self._path is not None:
            with self._path.open("rb") as file:
                os.fsync(file.fileno())


def evaluations(lines: Sequence[Line], name: str) -> list[tuple[int, float]]:
    """Returns ``(step, value)`` of a test metric, averaged over members; not finite counts as minus infinity.

    A name with a leading minus stands for the negated metric.
    """
    sign, name = (-1.0, name[1:]) if name.startswith("-") else (1.0, name)
    values: dict[int, list[float]] = {}
    for line in lines:
        if line["split"] == "test" and name in line:
            value = line[name]
            values.setdefault(line["step"], []).append(-math.inf if value is None else sign * value)
    return [(step, float(np.mean(of_members))) for step, of_members in sorted(values.items())]


def best_evaluation(lines: Sequence[Line], name: str) -> tuple[int | None, int]:
    """Returns the step of the best evaluation, the first of equals, and how many came after it without a better one."""
    found = evaluations(lines, name)
    if not found:
        return None, 0
    index = max(range(len(found)), key=lambda i: (found[i][1], -i))
    return found[index][0], len(found) - 1 - index


def write_atomically(path: Path, text: str) -> None:
    """Replaces a file by a new one in one move: a reader, or a killed writer, finds the old or the new one."""
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _jsonable(value: object) -> object:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [_jsonable(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
