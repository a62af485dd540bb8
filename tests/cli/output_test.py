"""Tables on a terminal: nothing is left out at any width."""

import io
import os
import pty
import sys

import pytest

from jaxcnn.cli.output import find_width, format_table

HEADER = ("image", "class", *"0123456789")
ROWS = [("picture.png", "7", *["10"] * 9, "100"), ("b.png", "0", *["0"] * 10)]


def test_a_table_that_fits_has_a_line_per_row():
    assert format_table(("name", "size"), [("a", "1,000"), ("long", "5")], width=80) == [
        " name   size",
        " ───────────",
        " a     1,000",
        " long      5",
    ]


def test_names_of_columns_are_wrapped_before_rows_are():
    lines = format_table(("name", "compile time, s"), [("a", "1")], width=16)
    assert [line.split() for line in lines if "─" not in line] == [["compile"], ["name", "time,", "s"], ["a", "1"]]


@pytest.mark.parametrize("width", [20, 40, 60, 80])
def test_every_cell_is_shown_at_every_width(width):
    lines = format_table(HEADER, ROWS, width=width)
    words = " ".join(lines).split()
    assert all(len(line) <= width for line in lines)
    assert words.count("100") == 1 and words.count("10") == 9 and {*HEADER[2:], "picture.png", "b.png"} <= set(words)


def test_wide_characters_take_two_columns():
    lines = format_table(("name", "n"), [("写真", "1"), ("abcd", "2")], width=80)
    assert lines[2:] == [" 写真  1", " abcd  2"]


def test_a_table_is_as_wide_as_where_it_goes_not_as_the_terminal_of_the_process(monkeypatch):
    terminal, end = pty.openpty()
    with os.fdopen(end, "w") as screen, os.fdopen(terminal):
        monkeypatch.setattr(sys, "__stdout__", screen)
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        assert find_width(1000) == 1000
        monkeypatch.setattr(sys, "stdout", screen)
        monkeypatch.setattr(os, "get_terminal_size", lambda file: os.terminal_size((61, 24)) if file == end else None)
        assert find_width(1000) == 61
        monkeypatch.setenv("COLUMNS", "40")
        assert find_width(1000) == 40
