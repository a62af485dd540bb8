"""What the commands have in common: options whose default is described in words, options in use, tables."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import tyro
from rich import box
from rich.table import Table

__all__ = ["CommandOptions", "given", "option", "table"]


@runtime_checkable
class CommandOptions(Protocol):
    """The options of a command: a dataclass."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


def option(metavar: str | None, default: str) -> Any:
    """Describes an option whose default is worked out later, in words."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")


def given(command: CommandOptions) -> dict[str, object]:
    """Returns the options of a command that differ from their defaults, flag -> value, as on the command line."""
    values = {field.name: (getattr(command, field.name), field.default) for field in dataclasses.fields(command)}
    return {f"--{name.replace('_', '-')}": value for name, (value, default) in values.items() if value != default}


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> Table:
    """Builds a table for the terminal; all columns but the first are aligned to the right."""
    result = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title or None, title_style="bold")
    for i, name in enumerate(header):
        width = max(len(cell) for cell in (name, *(row[i] for row in rows)))
        result.add_column(name, justify="left" if i == 0 else "right", no_wrap=True, min_width=width if i else None)
    for row in rows:
        result.add_row(*row)
    return result
