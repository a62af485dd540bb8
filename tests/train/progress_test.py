"""The progress of a run: a bar that keeps its step count in any terminal, and one in notebooks."""

import io
import re
import sys
import types

import pytest
from rich.cells import cell_len

from jaxcnn.train.progress import Progress

FIGURES = {"loss": 0.123, "accuracy": 0.987}


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def show(total, label="st_cnn seed 0"):
    """Shows a run that takes 6 seconds for every tenth of its steps."""
    now = 0.0
    with Progress(label, total, clock=lambda: now) as progress:
        for done in range(total // 10, total + 1, total // 10):
            now += 6.0
            progress.measured(done, **FIGURES)
            progress.update(done)


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (120, ("st_cnn seed 0", "800/800", "steps/s", "elapsed", "to go", "loss 0.123", "accuracy 0.987", "━")),
        (80, ("st_cnn seed 0", "800/800", "to go", "loss 0.123", "accuracy 0.987", "━")),
        (60, ("st_cnn seed 0", "800/800", "loss 0.123", "━")),
        (30, ("st_cnn seed 0", "800/800", "━")),
        (12, ("st_c", "800/800")),
    ],
)
def test_the_bar_is_as_wide_as_the_terminal_and_keeps_the_step_count(width, shown, monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    show(800)
    drawn = re.split(r"\x1b\[[?\d;]*[A-Za-z]|[\r\n]", re.sub(r"\x1b\[[\d;]*m", "", terminal.getvalue()))
    last = [line for line in drawn if line.strip()][-1]
    assert all(text in last for text in shown), last
    assert cell_len(last) <= width and "…" not in last


def test_a_notebook_shows_one_bar_that_is_updated(monkeypatch, capsys):
    shown = []

    class Handle:
        def update(self, content, raw):
            shown.append(content)

    def display(content, raw, display_id):
        shown.append(content)
        return Handle()

    fake = types.SimpleNamespace(
        get_ipython=lambda: types.SimpleNamespace(kernel=None), display=types.SimpleNamespace(display=display)
    )
    monkeypatch.setitem(sys.modules, "IPython", fake)
    show(20, "a <b>")
    assert '<progress value="0" max="20"' in shown[0]["text/html"]
    assert '<progress value="20" max="20"' in shown[-1]["text/html"] and "a &lt;b&gt;" in shown[-1]["text/html"]
    assert shown[-1]["text/plain"].startswith("a <b>: 20/20") and "loss 0.123" in shown[-1]["text/plain"]
    assert capsys.readouterr().err == ""
