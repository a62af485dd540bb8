"""The command line: parses it, runs the command, and turns errors into one line.

A mistake of the user gives one line on standard error and exit code 2, never a traceback; with
JAXCNN_TRACEBACK=1 in the environment the traceback is shown.
"""

import contextlib
import functools
import io
import operator
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple

import tyro

import jaxcnn
from jaxcnn.cli.augment import Augment, run_augment
from jaxcnn.cli.evaluate import Eval, run_eval
from jaxcnn.cli.models import Models, run_models
from jaxcnn.cli.predict import Predict, run_predict
from jaxcnn.cli.report import Report, run_report
from jaxcnn.cli.train import Train, run_train
from jaxcnn.cli.weights import Convert, Download, Inspect, Records, run_convert, run_download, run_inspect, run_records

__all__ = ["main"]

DESCRIPTION = (
    "Convolutional image models in JAX. `jaxcnn train` is the place to start; "
    "`jaxcnn COMMAND --help` has the options, `jaxcnn --version` the version."
)


class _Command(NamedTuple):
    options: type
    run: Callable[..., None]


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
        0 if all went well, 2 for a mistake of the user, 1 if training failed, 130 after Ctrl-C.

    Example:
        >>> from jaxcnn.cli import main
        >>> main(["--version"]) == 0
        jaxcnn ...
        True
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words == ["--version"]:
        print(f"jaxcnn {jaxcnn.__version__}")
        return 0
    command, code = _parse(words)
    if command is None:
        return code
    run = next(run for options, run in _COMMANDS.values() if type(command) is options)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            run(command)
    except (ValueError, OSError) as error:
        return _fail(error, 2)
    except jaxcnn.train.NonFiniteLossError as error:
        return _fail(error, 1)
    except KeyboardInterrupt as stop:
        print("\n" + "; ".join(["jaxcnn: stopped", *map(str, stop.args)]), file=sys.stderr)
        return 130
    return 0


def _parse(words: list[str]) -> tuple[object | None, int]:
    """Returns the command, or None and the exit code once help or an error was shown."""
    captured = io.StringIO()
    choices = [Annotated[command.options, tyro.conf.subcommand(name)] for name, command in _COMMANDS.items()]
    union: Any = functools.reduce(operator.or_, choices)
    try:
        with contextlib.redirect_stderr(captured):
            return tyro.cli(union, args=words or ["--help"], prog="jaxcnn", description=DESCRIPTION), 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 2
        if code:
            print(_one_line(captured.getvalue(), words), file=sys.stderr)
        return None, code
    except ValueError as error:  # from the checks of the options
        return None, _fail(error, 2)


def _one_line(panel: str, words: list[str]) -> str:
    """Reduces the panel that the parser draws to its message and, if it has one, its suggestion."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", panel)
    sections: list[list[str]] = [[]]
    for row in plain.splitlines()[1:]:  # the first is the title; without UTF-8 the frame is drawn by dashes and spaces
        text = row.strip(" │|")
        if text.strip("─-╰╯+"):
            sections[-1].append(text)
        elif sections[-1]:
            sections.append([])
    message = " ".join(sections[0]).strip().rstrip(".") or "cannot read the command line"
    message = re.sub(r"^Error parsing [A-Z]\w*: (\w+: )?", "", message)  # a check of our own, of all options together
    suggestion = next((s[1].split()[0] for s in sections if len(s) > 1 and s[0].startswith("Perhaps you meant")), None)
    if suggestion is not None:
        message += f" (did you mean {suggestion}?)"
    known = words[0] if words and words[0] in _COMMANDS else None
    prog = f"jaxcnn {known}" if known else "jaxcnn"
    return f"{prog}: {message[0].lower()}{message[1:]}; see {prog} --help"


def _fail(error: Exception, code: int) -> int:
    if os.environ.get("JAXCNN_TRACEBACK") == "1":
        raise error
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"jaxcnn: {text}", file=sys.stderr)
    return code


def _warn(message: Warning | str, category: type[Warning], *location: object) -> None:
    """Shows our own warnings as one line each, and leaves out those about other libraries' insides."""
    del location
    if issubclass(category, RuntimeWarning | UserWarning):
        print(f"warning: {message}", file=sys.stderr)
