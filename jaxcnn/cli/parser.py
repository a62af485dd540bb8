"""Reads the words of a command line into the dataclass of a command."""

import argparse
import re
from collections.abc import Sequence
from typing import NoReturn, TypeVar

from jaxcnn._suggest import suggest
from jaxcnn.cli.options import CommandOptions, Option, read_options

__all__ = ["UsageError", "asks_for_help", "parse_command"]

C = TypeVar("C", bound=CommandOptions)

NOUNS = {int: "an integer", float: "a number"}
NUMBER = re.compile(r"-\.?\d")


class UsageError(ValueError):
    """A command line that cannot be understood."""


class _Words(argparse.ArgumentParser):
    """Splits words into options and the rest; reports mistakes as exceptions."""

    def __init__(self, options: Sequence[Option]):
        super().__init__(add_help=False, allow_abbrev=False, exit_on_error=False)
        for one in options:
            if one.kind is bool:
                self.add_argument(one.name, dest=one.field, action=argparse.BooleanOptionalAction)
            else:
                self.add_argument(one.name, dest=one.field, nargs="*" if one.many else None)

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def asks_for_help(words: Sequence[str]) -> bool:
    """Returns whether ``--help`` or ``-h`` is among the words."""
    head, _ = _cut(words)
    return "--help" in head or "-h" in head


def parse_command(command: type[C], words: Sequence[str]) -> C:
    """Builds a command from the words that follow its name.

    Raises:
        UsageError: If an option is unknown, lacks its value or has one that it cannot have, if a positional argument
            is missing, or if there are too many.
        ValueError: If the command itself refuses the values.
    """
    described = read_options(command)
    options = [one for one in described if not one.positional]
    head, tail = _cut(words)
    try:
        found, rest = _Words(options).parse_known_args([_use_hyphens(word) for word in head])
    except argparse.ArgumentError as error:
        name = (error.argument_name or "").split("/")[0]
        switch = any(one.kind is bool for one in options if one.name == name)
        raise UsageError(f"{name} {'takes no value' if switch else 'needs a value'}") from None
    if unknown := [word for word in rest if word.startswith("-") and word != "-" and not NUMBER.match(word)]:
        name = unknown[0].partition("=")[0]
        known = [name for one in options for name in one.names] + ["--help"]
        raise UsageError(f"unknown option {name}{suggest(name, known)}")
    values = {one.field: getattr(found, one.field) for one in options}
    values |= _place([one for one in described if one.positional], [*rest, *tail])
    kinds = {one.field: one for one in described}
    return command(**{name: _convert(kinds[name], value) for name, value in values.items() if value is not None})


def _cut(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Divides words at ``--``, after which all are positional."""
    at = list(words).index("--") if "--" in words else len(words)
    return list(words[:at]), list(words[at + 1 :])


def _use_hyphens(word: str) -> str:
    """Spells the name of an option with hyphens."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word


def _place(described: Sequence[Option], words: Sequence[str]) -> dict[str, str | list[str]]:
    """Distributes words over positional arguments; one that takes several is the last."""
    values: dict[str, str | list[str]] = {}
    left = list(words)
    for one in described:
        if left:
            values[one.field], left = (left, []) if one.many else (left[0], left[1:])
    missing = [one.name for one in described if one.required and one.field not in values]
    if missing:
        raise UsageError(f"missing {' and '.join(missing)}")
    if left:
        most = " ".join(one.name for one in described)
        raise UsageError(f"unexpected {left[0]!r}{f' after {most}' if most else '; it takes options only'}")
    return values


def _convert(one: Option, value: object) -> object:
    if isinstance(value, list):
        return tuple(_convert_word(one, word) for word in value)
    return _convert_word(one, value) if isinstance(value, str) else value


def _convert_word(one: Option, word: str) -> object:
    if one.choices and word not in one.choices:
        raise UsageError(
            f"{one.name} must be one of {', '.join(one.choices)}, got {word!r}{suggest(word, one.choices)}"
        )
    try:
        return one.kind(word)
    except ValueError:
        raise UsageError(f"{one.name} must be {NOUNS[one.kind]}, got {word!r}") from None
