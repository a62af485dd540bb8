"""What commands print: lines and tables on standard output."""

import contextlib
import os
import re
import sys
import textwrap
from collections.abc import Sequence
from typing import TextIO

from rich.cells import cell_len

__all__ = ["discard", "find_width", "flush", "format_table", "write", "write_table"]

UNLIMITED = 1_000_000
"""Width of a file or a pipe: nothing is cut or wrapped there."""

NUMBER = re.compile(r"[-+]?[\d,.]+|$")

Rows = Sequence[Sequence[str]]


def write(text: str = "") -> None:
    """Prints a line. Once whoever reads the output has closed it, as ``head`` does, further lines are dropped."""
    try:
        print(text)
    except BrokenPipeError:
        discard(sys.stdout)


def flush() -> None:
    """Writes out what is buffered, so that a full disk is reported before the process ends."""
    try:
        if sys.stdout is not None:  # as it is without a terminal and without a file
            sys.stdout.flush()
    except BrokenPipeError:
        discard(sys.stdout)


def discard(stream: TextIO | None) -> None:
    """Drops all that is written to a stream from now on, and what it has buffered."""
    if stream is not None:
        with contextlib.suppress(OSError, ValueError):  # a stream without a file has no reader either
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def find_width(otherwise: int) -> int:
    """Returns the columns of the terminal that standard output goes to, or that ``COLUMNS`` states.

    ``otherwise``: the width of a file or a pipe. It is asked of ``sys.stdout`` itself, which may have been replaced
    while the process still has a terminal.
    """
    stated = os.environ.get("COLUMNS", "")
    if stated.isdigit() and int(stated) > 0:
        return int(stated)
    with contextlib.suppress(AttributeError, OSError, ValueError):  # no stream, no terminal, closed
        return os.get_terminal_size(sys.stdout.fileno()).columns or otherwise
    return otherwise


def write_table(header: Sequence[str], rows: Rows, *, title: str = "", rule: bool = True) -> None:
    """Prints a table as ``format_table`` makes it, for the width of the terminal."""
    table = format_table(header, rows, width=find_width(UNLIMITED), rule=rule)
    for line in [*([title] if title else []), *table]:
        write(line)


def format_table(header: Sequence[str], rows: Rows, *, width: int, rule: bool = True) -> list[str]:
    """Formats a table; columns of numbers are aligned to the right.

    Nothing is ever left out: where a table is too wide the names of its columns take several lines, and where that is
    not enough each row is a block of lines. ``rule``: whether to draw a line below the header.
    """
    widest = [max([1, *(cell_len(row[i]) for row in rows)]) for i in range(len(header))]
    wide = _format_grid([[name] for name in header], rows, rule)
    if _fits(wide, width):
        return wide
    titles = [_wrap(name, most) for name, most in zip(header, widest, strict=True)]
    narrow = _format_grid(titles, rows, rule)
    if _fits(narrow, width):
        return narrow
    left = max(map(cell_len, header[1:]), default=0)
    blocks = [
        [row[0], *(f"  {_pad(name, left)}  {cell}" for name, cell in zip(header[1:], row[1:], strict=True))]
        for row in rows
    ]
    return [line for block in blocks for line in block]


def _format_grid(titles: Sequence[Sequence[str]], rows: Rows, rule: bool) -> list[str]:
    columns = range(len(titles))
    widths = [max(map(cell_len, [*titles[i], *(row[i] for row in rows)])) for i in columns]
    numbers = [i > 0 and all(NUMBER.match(row[i]) for row in rows) for i in columns]
    depth = max(map(len, titles))
    heads = list(zip(*[[""] * (depth - len(title)) + list(title) for title in titles], strict=True))
    cells = [*heads, *rows]
    lines = ["  ".join(_pad(row[i], widths[i], right=numbers[i]) for i in columns).rstrip() for row in cells]
    if not rule:
        return lines
    lines.insert(depth, "─" * (sum(widths) + 2 * (len(widths) - 1)))
    return [f" {line}" for line in lines]


def _wrap(name: str, most: int) -> list[str]:
    longest = max(map(len, name.split()), default=1)
    return textwrap.wrap(name, max(most, longest), break_on_hyphens=False) or [""]


def _fits(lines: Sequence[str], width: int) -> bool:
    return all(cell_len(line) <= width for line in lines)


def _pad(text: str, width: int, *, right: bool = False) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space
