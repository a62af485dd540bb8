"""What a run measures while it trains: figures of its steps, lines of metrics, times."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcnn._typing import Array
from jaxcnn.train.history import History, Line
from jaxcnn.train.members import Members

__all__ = ["FIGURES", "Recorder"]

FIGURES = ("loss", "accuracy", "gradient_norm")


class Recorder:
    """Collects the figures of every step and turns them into lines of metrics.

    Figures stay on the device until ``fetch``, the only place where the host waits for it.

    Attributes:
        history: The lines so far.
        compile_seconds: Time of what ran inside of ``compiling``.
    """

    def __init__(self, folder: Path | None, members: Members | None, start: int, progress: Mapping[str, Any]):
        """Continues from the progress that a checkpoint at step ``start`` holds, see ``progress``; empty for none."""
        self.history = History(folder, start)
        self.compile_seconds = 0.0
        self._members = members
        self._on_device: list[dict[str, Array]] = []
        self._pending: list[list[float | list[float]]] = list(progress.get("pending", []))
        self._earlier, self._began = float(progress.get("seconds", 0.0)), time.perf_counter()
        self.start_clock(start)

    def start_clock(self, step: int) -> None:
        """Starts to measure the rate: it counts neither compilation nor evaluation nor saving."""
        self._mark, self._marked_step = time.perf_counter(), step

    @contextlib.contextmanager
    def compiling(self, first: bool) -> Iterator[None]:
        """Counts the time of a ``with`` block as compilation where it is the first of its kind."""
        before = time.perf_counter()
        yield
        if first:
            self.compile_seconds += time.perf_counter() - before

    def take(self, figures: dict[str, Array]) -> None:
        """Takes the figures of a step, without waiting for them."""
        self._on_device.append(figures)

    def fetch(self) -> dict[str, np.ndarray]:
        """Waits for the steps since the last call; returns their figures, (steps,) or (steps, members)."""
        rows = [[np.asarray(row[name], np.float64) for name in FIGURES] for row in jax.device_get(self._on_device)]
        self._on_device = []
        self._pending += [[figure.tolist() for figure in row] for row in rows]
        return {name: np.asarray([row[i] for row in rows]) for i, name in enumerate(FIGURES)}

    def means(self) -> tuple[dict[str, np.ndarray], int]:
        """Returns the means of the figures that no line covers yet, and of how many steps they are."""
        rows = self._pending
        return {name: np.asarray(np.mean([row[i] for row in rows], axis=0)) for i, name in enumerate(FIGURES)}, len(
            rows
        )

    def latest(self) -> dict[str, float]:
        """Returns loss and accuracy of the last step, averaged over members."""
        return {name: float(np.mean(self._pending[-1][FIGURES.index(name)])) for name in ("loss", "accuracy")}

    def rate(self, step: int) -> float:
        """Returns the steps per second since the clock was started."""
        return (step - self._marked_step) / max(time.perf_counter() - self._mark, 1e-9)

    def lines(self, step: int, split: str, figures: Mapping[str, np.ndarray], **more: float) -> list[Line]:
        """Makes the lines of metrics of one moment, without writing them: one, or one per active member."""
        timing = {"seconds": self.seconds(), **more}
        if self._members is None:
            return [{"step": step, "split": split, **figures, **timing}]
        return [
            {"step": step, "split": split, "member": i, **{name: value[i] for name, value in figures.items()}, **timing}
            for i in np.flatnonzero(self._members.active).tolist()
        ]

    def write_means(self, step: int, rate: float) -> None:
        """Writes the lines of training metrics up to a step."""
        means, _ = self.means()
        self.write(self.lines(step, "train", means, rate=rate))
        self._pending = []

    def write(self, lines: Sequence[Line]) -> None:
        """Writes lines."""
        self.history.add(lines)

    def progress(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps of the recorder, after bringing the lines onto the disk."""
        self.history.sync()
        return {"pending": self._pending, "seconds": self.seconds()}

    def seconds(self) -> float:
        """Returns the wall-clock time of the run so far, earlier parts included."""
        return self._earlier + time.perf_counter() - self._began
