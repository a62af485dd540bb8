"""Options of a command, read from the fields of its dataclass: name, type, default, the docstring below the field."""

import ast
import dataclasses
import functools
import inspect
import itertools
import textwrap
import types
import typing
from typing import Annotated, Any, Literal

__all__ = ["CommandOptions", "Option", "given", "option", "positional", "read_options"]

METAVARS = {int: "INT", float: "FLOAT", str: "TEXT"}


@dataclasses.dataclass(frozen=True)
class CommandOptions:
    """The options of a command, which derives from it and adds them as fields."""


@dataclasses.dataclass(frozen=True)
class _Label:
    """What an annotation adds to a field."""

    metavar: str | None
    default: str | None
    name: str | None = None
    positional: bool = False


def option(metavar: str | None = None, default: str | None = None, *, name: str | None = None) -> _Label:
    """Describes an option in an annotation: its placeholder, a default that is worked out later in words, its name."""
    return _Label(metavar, default, name)


def positional(metavar: str, default: str | None = None) -> _Label:
    """Marks a field as a positional argument; arguments: as for ``option``."""
    return _Label(metavar, default, positional=True)


@dataclasses.dataclass(frozen=True)
class Option:
    """An option or a positional argument.

    Attributes:
        field: The field of the dataclass.
        name: ``--name`` of an option, the placeholder of a positional argument.
        metavar: The placeholder of its value, empty for a switch.
        kind: ``int``, ``float``, ``str``, or ``bool`` for a switch ``--name``, ``--no-name``.
        choices: The values that are allowed, none if any is.
        many: Whether it takes several values.
        positional: Whether it is a positional argument.
        required: Whether it has no default.
        default: The default in words, empty if it is required.
        text: What it does.
    """

    field: str
    name: str
    metavar: str
    kind: type[int] | type[float] | type[str] | type[bool]
    choices: tuple[str, ...]
    many: bool
    positional: bool
    required: bool
    default: str
    text: str

    @property
    def names(self) -> tuple[str, ...]:
        """The words that set it; none for a positional argument."""
        if self.positional:
            return ()
        return (self.name, self.name.replace("--", "--no-", 1)) if self.kind is bool else (self.name,)


@functools.cache
def read_options(command: type[CommandOptions]) -> tuple[Option, ...]:
    """Reads the options of a command in the order of its fields."""
    hints, texts = typing.get_type_hints(command, include_extras=True), _read_texts(command)
    return tuple(_read_option(f, hints[f.name], texts.get(f.name, "")) for f in dataclasses.fields(command))


def given(command: CommandOptions) -> dict[str, object]:
    """Returns the options of a command that differ from their defaults, flag -> value, as on the command line."""
    values = {field.name: (getattr(command, field.name), field.default) for field in dataclasses.fields(command)}
    return {f"--{name.replace('_', '-')}": value for name, (value, default) in values.items() if value != default}


def _read_option(field: dataclasses.Field[Any], hint: object, text: str) -> Option:
    label = _Label(None, None)
    if typing.get_origin(hint) is Annotated:
        hint, label = typing.get_args(hint)[:2]
    if typing.get_origin(hint) in (types.UnionType, typing.Union):  # with None, which no word stands for
        (hint,) = [part for part in typing.get_args(hint) if part is not types.NoneType]
    many = typing.get_origin(hint) is tuple
    if many:
        hint = typing.get_args(hint)[0]
    choices = typing.get_args(hint) if typing.get_origin(hint) is Literal else ()
    kind: Any = str if choices else hint
    metavar = "" if kind is bool else label.metavar or "|".join(choices) or METAVARS[kind]
    name = f"--{(label.name or field.name).replace('_', '-')}"
    required = field.default is dataclasses.MISSING
    default = "" if required else label.default or _describe(field.default)
    return Option(
        field.name,
        metavar if label.positional else name,
        metavar,
        kind,
        choices,
        many,
        label.positional,
        required,
        default,
        text,
    )


def _describe(default: object) -> str:
    if isinstance(default, bool):
        return "yes" if default else "no"
    return " ".join(map(str, default)) if isinstance(default, tuple) else str(default)


def _read_texts(command: type) -> dict[str, str]:
    """Reads the docstrings below the fields of a class and of those that it derives from."""
    found: dict[str, str] = {}
    for kind in reversed(command.__mro__[:-1]):
        try:
            tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
        except (OSError, TypeError):  # installed without sources
            continue
        body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
        for field, below in itertools.pairwise(body):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found
