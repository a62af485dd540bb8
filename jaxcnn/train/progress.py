"""A progress bar in a terminal, sparse plain lines elsewhere."""

import sys
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Progress"]

LINES = 10
"""Plain lines per run where there is no terminal."""

REDRAW = 0.1
"""Seconds between updates of the bar, so that it costs nothing per step."""


class Progress:
    """Shows label, step of total, rate, time elapsed and to go, loss and accuracy on standard error.

    A context manager: the bar stays on the screen when the block ends.

    The rate counts from one measurement to a later one: only then are steps known to be done, as the
    device works behind the host. Without a terminal a line is printed at every tenth of the run.
    """

    def __init__(
        self, label: str | None, total: int, start: int = 0, *, clock: Callable[[], float] = time.perf_counter
    ):
        """Shows nothing at all for ``label=None``."""
        self._label, self._total, self._clock = label, total, clock
        self._began = self._drawn = clock()
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, float] | None = None
        self._figures: dict[str, float] = {}
        self._done = start
        self._tenth = start * LINES // max(total, 1)
        self._bar: Any = None
        self._task: Any = None
        if label is not None and sys.stderr.isatty():
            self._open(label, start)

    def _open(self, label: str, start: int) -> None:
        from rich import progress
        from rich.console import Console

        self._bar = progress.Progress(
            progress.TextColumn("[bold]{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[text]}"),
            console=Console(stderr=True),
            refresh_per_second=4,
        )
        self._task = self._bar.add_task(label, total=self._total, completed=start, text="compiling")
        self._bar.start()

    def measured(self, done: int, **figures: float) -> None:
        """Takes new figures, such as loss and accuracy, of steps that are really done."""
        mark = done, self._clock()
        self._first, self._last = self._first or mark, mark
        self._figures.update(figures)

    def update(self, done: int) -> None:
        """Takes the number of steps that were passed to the device."""
        self._done = done
        now = self._clock()
        if self._bar is not None and (done >= self._total or now - self._drawn >= REDRAW):
            self._drawn = now
            self._bar.update(self._task, completed=done, text=self._text(done, now))
        elif self._label is not None and self._bar is None and done * LINES // self._total > self._tenth:
            self._tenth = done * LINES // self._total
            print(f"{self._label}: {done}/{self._total}  {self._text(done, now)}", file=sys.stderr, flush=True)

    def __enter__(self) -> "Progress":
        """Returns the bar, which is already on the screen."""
        return self

    def __exit__(self, *error: object) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=self._done, text=self._text(self._done, self._clock()))
            self._bar.stop()

    def _text(self, done: int, now: float) -> str:
        (first, began), (last, ended) = self._first or (0, 0.0), self._last or (0, 0.0)
        rate = (last - first) / (ended - began) if ended > began else 0.0
        parts = [f"{rate:.1f} steps/s"] if rate else []
        parts += [f"{now - self._began:.0f} s elapsed"]
        parts += [f"{(self._total - done) / rate:.0f} s to go"] if rate else []
        return "  ".join(parts + [f"{name} {value:.3f}" for name, value in self._figures.items()])
