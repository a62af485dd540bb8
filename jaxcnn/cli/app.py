"""The command line: reads it, runs the command, and turns errors into one line.

A mistake of the user gives one line on standard error and exit code 2, never a traceback; with
JAXCNN_TRACEBACK=1 in the environment the traceback is shown.
"""

import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jaxcnn
from jaxcnn._suggest import suggest
from jaxcnn.cli import completion, help_text, output
from jaxcnn.cli.augment import Augment, run_augment
from jaxcnn.cli.evaluate import Eval, run_eval
from jaxcnn.cli.inspection import Inspect, run_inspect
from jaxcnn.cli.models import Models, run_models
from jaxcnn.cli.options import CommandOptions
from jaxcnn.cli.parser import UsageError, asks_for_help, parse_command
from jaxcnn.cli.predict import Predict, run_predict
from jaxcnn.cli.report import Report, run_report
from jaxcnn.cli.train import Train, run_train
from jaxcnn.cli.weights import Convert, Download, Records, run_convert, run_download, run_records

__all__ = ["main"]


SIGPIPE = 141
"""Exit code of a command whose reader has gone, as shells number it."""


class _Command(NamedTuple):
    options: type[CommandOptions]
    run: Callable[[Any], None]


_COMMANDS = {
    "train": _Command(Train, run_train),
    "eval": _Command(Eval, run_eval),
    "predict": _Command(Predict, run_predict),
    "report": _Command(Report, run_report),
    "models": _Command(Models, run_models),
    "augment": _Command(Augment, run_augment),
    "records": _Command(Records, run_records),
    "download": _Command(Download, run_download),
    "inspect": _Command(Inspect, run_inspect),
    "convert": _Command(Convert, run_convert),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code.

    Args:
        arguments: The words behind ``jaxcnn`` on the command line; None takes them from there.

    Returns:
        0 if all went well, 2 for a mistake of the user, 1 if training failed, 130 after Ctrl-C, 141 if standard error
        was closed.

    Example:
        >>> from jaxcnn.cli import main
        >>> main(["--version"]) == 0
        jaxcnn ...
        True
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    _tolerate_characters()
    try:
        return _run(words)
    except BrokenPipeError:  # nobody reads the errors either
        output.discard(sys.stderr)
        return SIGPIPE


def _run(words: list[str]) -> int:
    """Runs the command; returns the exit code."""
    try:
        action = _parse(words)
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            action()
        output.flush()
    except (ValueError, OSError) as error:
        return _fail(error, 2)
    except jaxcnn.train.NonFiniteLossError as error:
        return _fail(error, 1)
    except KeyboardInterrupt as stop:
        print("\n" + "; ".join(["jaxcnn: stopped", *map(str, stop.args)]), file=sys.stderr)
        return 130
    return 0


def _parse(words: list[str]) -> Callable[[], None]:
    """Reads the command line; returns what it asks for.

    Raises:
        UsageError: If it cannot be understood, with a hint where to read on.
    """
    kinds = {name: command.options for name, command in _COMMANDS.items()}
    if not words or words[0] in ("--help", "-h"):
        return lambda: output.write(help_text.describe_commands(kinds))
    first, rest = words[0], words[1:]
    if first == "--version":
        return lambda: output.write(f"jaxcnn {jaxcnn.__version__}")
    if first.partition("=")[0] == "--print-completion":
        shell = " ".join([*first.split("=")[1:], *rest])
        if shell not in completion.SHELLS:
            expected = f"one of {', '.join(completion.SHELLS)}"
            raise UsageError(f"jaxcnn: --print-completion must be {expected}, got {shell!r}; see jaxcnn --help")
        return lambda: output.write(completion.write_completion(shell, kinds))
    if first not in _COMMANDS:
        kind = "option" if first.startswith("-") else "command"
        known = help_text.GENERAL_NAMES if kind == "option" else tuple(_COMMANDS)
        hint = suggest(first, known) or f"; the {kind}s are {', '.join(known)}"
        raise UsageError(f"jaxcnn: unknown {kind} {first!r}{hint}; see jaxcnn --help")
    command = _COMMANDS[first]
    if asks_for_help(rest):
        return lambda: output.write(help_text.describe_command(first, command.options))
    try:
        options = parse_command(command.options, rest)
    except ValueError as error:
        text = str(error) if isinstance(error, UsageError) else re.sub(r"^[A-Z]\w*: ", "", str(error).rstrip("."))
        raise UsageError(f"jaxcnn {first}: {text}; see jaxcnn {first} --help") from error
    return lambda: command.run(options)


def _tolerate_characters() -> None:
    """Lets a terminal or file without some characters show others instead of ending the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            unicode = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if unicode else "replace")


def _fail(error: Exception, code: int) -> int:
    if os.environ.get("JAXCNN_TRACEBACK") == "1":
        raise error
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, OSError) and error.strerror:  # of the system, without a sentence of ours
        text = ": ".join([error.strerror, *([str(error.filename)] if error.filename else [])])
    print(text if isinstance(error, UsageError) else f"jaxcnn: {text}", file=sys.stderr)
    return code


def _warn(message: Warning | str, category: type[Warning], *location: object) -> None:
    """Shows our own warnings as one line each, and leaves out those about other libraries' insides."""
    del location
    if issubclass(category, RuntimeWarning | UserWarning):
        print(f"warning: {message}", file=sys.stderr)
