"""Progress of a run: a bar in a terminal or a notebook, sparse plain lines elsewhere."""

import html
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

__all__ = ["Progress"]

LINES = 10
"""Plain lines per run where there is no terminal."""

REDRAW = 0.1
"""Seconds between updates of a bar, so that it costs nothing per step."""

LONGEST, SHORTEST = 24, 8
"""Characters of a bar; where fewer are left it is not drawn."""


class Progress:
    """Shows label, step of total, rate, time elapsed and to go, loss and accuracy.

    A context manager: the bar stays on the screen when the block ends.

    The rate counts from one measurement to a later one: only then are steps known to be done, as the
    device works behind the host. A terminal shows a bar on standard error, as wide as the terminal: what does not
    fit is left out, the step count and the label last. A notebook shows a bar below the cell. Elsewhere a line is
    printed on standard error at every tenth of the run.
    """

    def __init__(
        self, label: str | None, total: int, start: int = 0, *, clock: Callable[[], float] = time.perf_counter
    ):
        """Shows nothing at all for ``label=None``."""
        self._total, self._clock = total, clock
        self._began = self._drawn = clock()
        self._first: tuple[int, float] | None = None
        self._last: tuple[int, float] | None = None
        self._figures: dict[str, float] = {}
        self._done = start
        self._display = None if label is None else _open(label, total, start)

    def measured(self, done: int, **figures: float) -> None:
        """Takes new figures, such as loss and accuracy, of steps that are really done."""
        mark = done, self._clock()
        self._first, self._last = self._first or mark, mark
        self._figures.update(figures)

    def update(self, done: int) -> None:
        """Takes the number of steps that were passed to the device."""
        self._done = done
        now = self._clock()
        if self._display is not None and (done >= self._total or now - self._drawn >= self._display.pause):
            self._drawn = now
            self._display.show(done, self._figures_at(done, now))

    def __enter__(self) -> "Progress":
        """Returns the bar, which is already on the screen."""
        return self

    def __exit__(self, *error: object) -> None:
        """Ends the bar."""
        if self._display is not None:
            self._display.close(self._done, self._figures_at(self._done, self._clock()))

    def _figures_at(self, done: int, now: float) -> list["_Figure"]:
        (first, began), (last, ended) = self._first or (0, 0.0), self._last or (0, 0.0)
        rate = (last - first) / (ended - began) if ended > began else 0.0
        figures = [_Figure(f"{rate:.1f} steps/s", 3)] if rate else []
        figures += [_Figure(f"{now - self._began:.0f} s elapsed", 2)]
        figures += [_Figure(f"{(self._total - done) / rate:.0f} s to go", 1)] if rate else []
        return figures + [_Figure(f"{name} {value:.3f}", 0) for name, value in self._figures.items()]


class _Figure(NamedTuple):
    text: str
    rank: int
    """Figures of a higher rank are left out first where there is little room."""


@runtime_checkable
class _Display(Protocol):
    pause: float
    """Seconds between updates."""

    def show(self, done: int, figures: Sequence[_Figure]) -> None: ...

    def close(self, done: int, figures: Sequence[_Figure]) -> None: ...


def _open(label: str, total: int, start: int) -> _Display:
    ipython: Any = sys.modules.get("IPython")
    if ipython is not None and hasattr(ipython.get_ipython(), "kernel"):
        return _NotebookBar(label, total, start, ipython.display.display)
    return _TerminalBar(label, total, start) if sys.stderr.isatty() else _Lines(label, total, start)


class _Lines:
    """Lines on standard error."""

    pause = 0.0

    def __init__(self, label: str, total: int, start: int):
        self._label, self._total = label, total
        self._tenth = start * LINES // max(total, 1)

    def show(self, done: int, figures: Sequence[_Figure]) -> None:
        tenth = done * LINES // self._total
        if tenth > self._tenth:
            self._tenth = tenth
            text = "  ".join(figure.text for figure in figures)
            print(f"{self._label}: {done}/{self._total}  {text}", file=sys.stderr, flush=True)

    def close(self, done: int, figures: Sequence[_Figure]) -> None:
        pass


class _TerminalBar:
    """A line in a terminal that is drawn again and again."""

    pause = REDRAW

    def __init__(self, label: str, total: int, start: int):
        from rich.console import Console
        from rich.live import Live

        self._label, self._total = label, total
        self._console = Console(stderr=True)
        self._live = Live(console=self._console, refresh_per_second=4)
        self._live.start()
        self.show(start, [_Figure("compiling", 0)])

    def show(self, done: int, figures: Sequence[_Figure]) -> None:
        from rich.text import Text

        label, filled, rest, tail = _arrange(self._label, done, self._total, figures, self._console.width)
        if not self._console.encoding.lower().startswith("utf"):
            filled, rest = "=" * len(filled), "-" * len(rest)
        line = Text.assemble((label, "bold"), (filled, "green"), (rest, "dim"), tail, no_wrap=True, overflow="crop")
        self._live.update(line)

    def close(self, done: int, figures: Sequence[_Figure]) -> None:
        self.show(done, figures)
        self._live.stop()


class _NotebookBar:
    """A bar below the cell of a notebook, which is saved with it."""

    pause = 5 * REDRAW

    def __init__(self, label: str, total: int, start: int, display: Callable[..., Any]):
        self._label, self._total = label, total
        self._handle = display(self._draw(start, [_Figure("compiling", 0)]), raw=True, display_id=True)

    def show(self, done: int, figures: Sequence[_Figure]) -> None:
        self._handle.update(self._draw(done, figures), raw=True)

    def close(self, done: int, figures: Sequence[_Figure]) -> None:
        self.show(done, figures)

    def _draw(self, done: int, figures: Sequence[_Figure]) -> dict[str, str]:
        text = "  ".join(figure.text for figure in figures)
        bar = f'<progress value="{done}" max="{self._total}" style="width: 12em; margin: 0 .6em"></progress>'
        tail = html.escape(f"{done}/{self._total}  {text}")
        page = f'<div style="white-space: pre-wrap"><b>{html.escape(self._label)}</b>{bar}{tail}</div>'
        return {"text/html": page, "text/plain": f"{self._label}: {done}/{self._total}  {text}"}


def _arrange(label: str, done: int, total: int, figures: Sequence[_Figure], width: int) -> tuple[str, str, str, str]:
    """Divides a line of a terminal: label, finished and open part of the bar, step count with the figures that fit."""
    count = f"{done:>{len(str(total))}}/{total}"
    label = label[: max(0, width - len(count) - 1)]
    label += " " * bool(label)
    room = width - len(label) - len(count)
    kept: list[_Figure] = []
    for figure in sorted(figures, key=lambda figure: figure.rank):
        if len(_join([*kept, figure])) + SHORTEST + 1 > room:
            break
        kept.append(figure)
    tail = _join([figure for figure in figures if figure in kept])
    bar = min(LONGEST, room - len(tail) - 1)
    bar = bar if bar >= SHORTEST else 0
    filled = bar * min(done, total) // max(total, 1)
    return label, "━" * filled, "─" * (bar - filled), " " * bool(bar) + count + tail


def _join(figures: Sequence[_Figure]) -> str:
    return "".join(f"  {figure.text}" for figure in figures)
