"""The text that ``--help`` prints, wrapped to the width of the terminal."""

import inspect
import re
import textwrap
from collections.abc import Mapping, Sequence

from jaxcnn.cli.options import CommandOptions, Option, read_options
from jaxcnn.cli.output import find_width

__all__ = ["GENERAL", "GENERAL_NAMES", "describe_command", "describe_commands", "summarize_command"]

WIDEST = 100
"""Longest line, as longer ones are hard to read."""

LEFT = 26
"""Columns of the names, where there is room for two columns."""

DESCRIPTION = (
    "Convolutional image models in JAX. `jaxcnn train` is the place to start; `jaxcnn COMMAND --help` lists the "
    "options of a command."
)

GENERAL = (
    ("--help, -h", "Show this text."),
    ("--version", "Show the version."),
    ("--print-completion SHELL", "Print a script that completes commands and options in bash, zsh or fish."),
)


GENERAL_NAMES = tuple(re.split(r"[ ,]", names)[0] for names, _ in GENERAL)
"""Names of the options that need no command."""


def describe_commands(commands: Mapping[str, type[CommandOptions]]) -> str:
    """Describes the command line as a whole."""
    rows = [(name, summarize_command(command)) for name, command in commands.items()]
    parts = [_usage("jaxcnn COMMAND [OPTIONS]"), _fill(DESCRIPTION), _section("commands", rows)]
    return "\n\n".join([*parts, _section("options", GENERAL)])


def describe_command(name: str, command: type[CommandOptions]) -> str:
    """Describes a command: usage, purpose, arguments and options."""
    described = read_options(command)
    arguments = [one for one in described if one.positional]
    usage = " ".join([f"jaxcnn {name}", "[OPTIONS]", *map(_argument, arguments)])
    parts = [_usage(usage), _fill(summarize_command(command))]
    if arguments:
        parts.append(_section("arguments", [(one.name, _sentence(one)) for one in arguments]))
    options = [(_left(one), _sentence(one)) for one in described if not one.positional]
    return "\n\n".join([*parts, _section("options", [*options, GENERAL[0]])])


def summarize_command(command: type[CommandOptions]) -> str:
    """Returns what a command does: its docstring."""
    return " ".join((inspect.getdoc(command) or "").split())


def _argument(one: Option) -> str:
    name = f"{one.name} [{one.name} ...]" if one.many and one.required else f"{one.name}{' ...' if one.many else ''}"
    return name if one.required else f"[{name}]"


def _left(one: Option) -> str:
    if one.choices or one.kind is bool:
        return ", ".join(one.names) if one.kind is bool else f"{one.name} {one.field.upper()}{' ...' * one.many}"
    return f"{one.name} {one.metavar.removesuffix('...')}{' ...' * one.many}"


def _sentence(one: Option) -> str:
    """Writes what an option does, its choices, and its default."""
    choices = f" {'Any' if one.many else 'One'} of {', '.join(one.choices)}." if one.choices else ""
    return f"{one.text}{choices} ({f'default: {one.default}' if one.default else 'required'})"


def _width() -> int:
    return max(20, min(WIDEST, find_width(80)))


def _fill(text: str, indent: str = "", first: str | None = None) -> str:
    """Wraps a text; words that are longer than a line are not broken."""
    first = indent if first is None else first
    text = re.sub(r" %", "\N{NO-BREAK SPACE}%", text)
    wrapped = textwrap.fill(
        text,
        _width(),
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapped.replace("\N{NO-BREAK SPACE}", " ")


def _usage(text: str) -> str:
    return _fill(text, " " * 7, "usage: ")


def _section(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """Writes names in a column of their own, or on lines of their own where the terminal is narrow."""
    left = min(LEFT, max(len(name) for name, _ in rows) + 4)
    if _width() < 2 * left:
        pieces = [part for name, text in rows for part in (_fill(name, " " * 4, "  "), _fill(text, " " * 6))]
        return "\n".join([f"{title}:", *pieces])
    pieces = []
    for name, text in rows:
        if len(name) + 4 <= left:
            pieces.append(_fill(text, " " * left, f"  {name}".ljust(left)))
        else:
            pieces += [_fill(name, " " * 4, "  "), _fill(text, " " * left)]
    return "\n".join([f"{title}:", *pieces])
