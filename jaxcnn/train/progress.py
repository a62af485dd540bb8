"""A progress bar in a terminal, sparse plain lines elsewhere."""

import sys
import time
from typing import Any

__all__ = ["Progress"]

LINES = 10
"""Plain lines per run where there is no terminal."""

REDRAW = 0.1
"""Seconds between updates of the bar, so that it costs nothing per step."""


class Progress:
    """Shows label, step of total, rate, time gone and left, loss and accuracy on standard error.

    The bar stays on the screen when it ends. Without a terminal a line is printed at every tenth of the run.
    """

    def __init__(self, label: str | None, total: int, start: int = 0):
        """Shows nothing at all for ``label=None``."""
        self._label, self._total, self._start = label, total, start
        self._began = self._drawn = time.perf_counter()
        self._first: tuple[int, float] | None = None
        self._figures: dict[str, float] = {}
        self._tenth = start * LINES // max(total, 1)
        self._bar: Any = None
        self._task: Any = None
        if label is not None and sys.stderr.isatty():
            self._open(label)

    def _open(self, label: str) -> None:
        from rich import progress
        from rich.console import Console

        self._bar = progress.Progress(
            progress.TextColumn("[bold]{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeElapsedColumn(),
            progress.TextColumn("left"),
            progress.TimeRemainingColumn(elapsed_when_finished=False),
            progress.TextColumn("{task.fields[figures]}"),
            console=Console(stderr=True),
            refresh_per_second=4,
        )
        self._task = self._bar.add_task(label, total=self._total, completed=self._start, rate="compiling", figures="")
        self._bar.start()

    def measured(self, **figures: float) -> None:
        """Takes new figures, such as loss and accuracy."""
        self._figures.update(figures)

    def update(self, done: int) -> None:
        """Says how many steps are done."""
        now = time.perf_counter()
        self._first = self._first or (done, now)
        last = done >= self._total
        if self._bar is not None and (last or now - self._drawn >= REDRAW):
            self._drawn = now
            self._bar.update(self._task, completed=done, rate=self._rate(done, now), figures=self._text())
        elif self._label is not None and self._bar is None and done * LINES // self._total > self._tenth:
            self._tenth = done * LINES // self._total
            rate = self._per_second(done, now)
            parts = [f"{self._label}: {done}/{self._total}", self._rate(done, now), f"{now - self._began:.0f} s gone"]
            parts += [f"{(self._total - done) / rate:.0f} s left"] if rate else []
            print("  ".join([*parts, self._text()]).rstrip(), file=sys.stderr, flush=True)

    def close(self, done: int) -> None:
        """Ends the bar, and leaves it on the screen as it is."""
        if self._bar is not None:
            now = time.perf_counter()
            self._bar.update(self._task, completed=done, rate=self._rate(done, now), figures=self._text())
            self._bar.stop()

    def _per_second(self, done: int, now: float) -> float:
        """Gives the rate since the first step came back, so without its compilation."""
        step, began = self._first or (done, now)
        return (done - step) / (now - began) if now > began else 0.0

    def _rate(self, done: int, now: float) -> str:
        rate = self._per_second(done, now)
        return f"{rate:.1f} steps/s" if rate else ""

    def _text(self) -> str:
        return "  ".join(f"{name} {value:.3f}" for name, value in self._figures.items())
