"""The command line: ``jaxcnn train | eval | predict | models | augment | records | download | inspect | convert``.

A mistake of the user gives one line on standard error and exit code 2, never a traceback; with
JAXCNN_TRACEBACK=1 in the environment the traceback is shown.
"""

import contextlib
import dataclasses
import io
import os
import re
import shlex
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

import jaxcnn
from jaxcnn.cli.options import option
from jaxcnn.cli.weights import Convert, Download, Inspect, Records, run_convert, run_download, run_inspect, run_records
from jaxcnn.recipes.rts_digits import Arm, Config

__all__ = ["main"]

DESCRIPTION = (
    "Convolutional image models in JAX. `jaxcnn train` is the place to start; "
    "`jaxcnn COMMAND --help` has the options, `jaxcnn --version` the version."
)


@dataclasses.dataclass(frozen=True)
class Train(Config):
    """Train a CNN, and a CNN behind a spatial transformer, on distorted digits; compare them and write a report."""

    run: Annotated[str | None, option("FOLDER", "runs/rts_digits-DATE-TIME")] = None
    """Folder for metrics, checkpoints, plots and report."""
    resume: Annotated[str | None, option("FOLDER", "start a new run")] = None
    """Go on with the run in this folder, with the options it was started with."""
    progress: bool = True
    """Show a progress bar per network."""


@dataclasses.dataclass(frozen=True)
class Eval:
    """Measure the test error of a run's networks again, from their checkpoints."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run folder."""


@dataclasses.dataclass(frozen=True)
class Predict:
    """Classify pictures of digits with a network of a run, and draw where it looked."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run folder."""
    images: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE", help_behavior_hint="(required)")
    ]
    """Pictures of one digit each, of any size; dark on light or light on dark."""
    arm: Annotated[Arm | None, option(None, "the one behind a transformer, where the run has one")] = None
    """Which network."""
    seed: int = 0
    """Which of its seeds."""
    invert: Literal["auto", "yes", "no"] = "auto"
    """Whether to swap dark and light; auto does where a picture's edge is light."""
    out: Annotated[str | None, option("FILE", "predictions.png in the run folder")] = None
    """Where to draw it."""


@dataclasses.dataclass(frozen=True)
class Models:
    """List the models that `jaxcnn.models.create` builds."""


@dataclasses.dataclass(frozen=True)
class Augment:
    """Show what every augmentation, and a whole policy, makes of pictures: two plots and a page."""

    images: Annotated[tyro.conf.Positional[tuple[str, ...]], option("IMAGE", "a photograph of a flower")] = ()
    """Pictures of any size; the functions are shown on the first."""
    policy: Annotated[str | None, option("NAME", "trivial_augment")] = None
    """Which policy to draw samples from: trivial_augment, rand_augment, auto_augment, aug_mix, or basic (a flip, an
    affine map, a change of colours)."""
    functions: Annotated[tuple[str, ...], option("NAME...", "all")] = ()
    """Which functions to show, such as random_rotation."""
    out: Annotated[str, tyro.conf.arg(metavar="FOLDER")] = "runs/augment"
    """Folder for plots and page; new, empty, or of an earlier call of this command."""
    size: int = 192
    """Pixels of the longer side that every picture is brought to first."""
    seed: int = 0
    """Which draws to show."""
    samples: int = 24
    """How many samples of the policy to draw of each picture."""
    overview: bool = False
    """Also write overview.png, small enough for a README: one picture per function."""
    progress: bool = True
    """Show a progress bar."""


Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Eval, tyro.conf.subcommand("eval")]
    | Annotated[Predict, tyro.conf.subcommand("predict")]
    | Annotated[Models, tyro.conf.subcommand("models")]
    | Annotated[Augment, tyro.conf.subcommand("augment")]
    | Annotated[Records, tyro.conf.subcommand("records")]
    | Annotated[Download, tyro.conf.subcommand("download")]
    | Annotated[Inspect, tyro.conf.subcommand("inspect")]
    | Annotated[Convert, tyro.conf.subcommand("convert")]
)


_NAMES = ("train", "eval", "predict", "models", "augment", "records", "download", "inspect", "convert")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code.

    Args:
        arguments: What stands behind ``jaxcnn`` on the command line; None takes it from there.

    Returns:
        0 if all went well, 2 for a mistake of the user, 1 if training failed, 130 after Ctrl-C.

    Example:
        >>> from jaxcnn.cli import main
        >>> main(["--version"]) == 0
        jaxcnn ...
        True
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given == ["--version"]:
        print(f"jaxcnn {jaxcnn.__version__}")
        return 0
    command, code = _parse(given)
    if command is None:
        return code
    commands: dict[type, Any] = {
        **{Train: _train, Eval: _eval, Predict: _predict, Models: _models},
        **{Augment: lambda command: _augment(command, given)},
        **{Records: run_records, Download: run_download, Inspect: run_inspect, Convert: run_convert},
    }
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            commands[type(command)](command)
    except (ValueError, OSError) as error:
        return _fail(error, 2)
    except jaxcnn.train.NonFiniteLossError as error:
        return _fail(error, 1)
    except KeyboardInterrupt:
        resume = getattr(command, "resume", None) or getattr(command, "run", None) or "the run folder"
        hint = f"; jaxcnn train --resume {_Running.folder or resume} goes on" if isinstance(command, Train) else ""
        print(f"\njaxcnn: stopped{hint}", file=sys.stderr)
        return 130
    return 0


class _Running:
    """The folder of the run under way, for the message after Ctrl-C."""

    folder: Path | None = None


def _parse(given: list[str]) -> tuple[Any, int]:
    """Gives the command, or None and the exit code once help or an error was shown."""
    captured = io.StringIO()
    try:
        with contextlib.redirect_stderr(captured):
            return tyro.cli(Command, args=given or ["--help"], prog="jaxcnn", description=DESCRIPTION), 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 2
        if code:
            print(_one_line(captured.getvalue(), given), file=sys.stderr)
        return None, code
    except ValueError as error:  # from the checks of the options
        return None, _fail(error, 2)


def _one_line(panel: str, given: list[str]) -> str:
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
    known = given[0] if given and given[0] in _NAMES else None
    prog = f"jaxcnn {known}" if known else "jaxcnn"
    return f"{prog}: {message[0].lower()}{message[1:]}; see {prog} --help"


def _fail(error: Exception, code: int) -> int:
    if os.environ.get("JAXCNN_TRACEBACK") == "1":
        raise error
    text = " ".join(str(error).split()) or type(error).__name__
    print(f"jaxcnn: {text}", file=sys.stderr)
    return code


def _warn(message: Any, category: Any, *place: Any) -> None:
    """Shows our own warnings as one line each, and leaves out those about other libraries' insides."""
    del place
    if issubclass(category, RuntimeWarning | UserWarning):
        print(f"warning: {message}", file=sys.stderr)


def _train(command: Train) -> None:
    from rich.console import Console

    from jaxcnn.recipes import _experiment as experiment
    from jaxcnn.recipes import _report as rts_report

    began = time.perf_counter()
    console = Console()
    if command.resume is not None:
        given = [f.name for f in dataclasses.fields(command) if getattr(command, f.name) != f.default]
        others = [f"--{name.replace('_', '-')}" for name in given if name not in ("resume", "progress")]
        if others:
            raise ValueError(f"train: --resume takes all options from the run, got also {', '.join(others)}.")
        folder = Path(command.resume)
        config = experiment.read_folder(folder)
    else:
        folder = Path(command.run or time.strftime("runs/rts_digits-%Y%m%d-%H%M%S"))
        config = Config(**{f.name: getattr(command, f.name) for f in dataclasses.fields(Config)})
        experiment.open_folder(folder, config)
    _Running.folder = folder
    console.print(f"Run folder: {folder}", highlight=False)
    results = experiment.run(
        config, folder, progress=command.progress, say=lambda text: print(f"warning: {text}", file=sys.stderr)
    )
    page = rts_report.write(config, folder, results)
    console.print(_table(rts_report.HEADER, rts_report.table(results)))
    console.print(rts_report.verdict(results), highlight=False)
    console.print(f"Report: {page} ({time.perf_counter() - began:.0f} s in all)", highlight=False, soft_wrap=True)


def _eval(command: Eval) -> None:
    from rich.console import Console

    from jaxcnn.recipes import _experiment as experiment

    folder = Path(command.run)
    config = experiment.read_folder(folder)
    rows = []
    for arm, errors in experiment.evaluate(config, folder).items():
        mean, std = experiment.spread(errors)
        spread = "" if std != std else f" ± {std:.2f}"
        rows.append((arm, f"{mean:.2f}{spread}", "  ".join(f"{error:.2f}" for error in errors)))
    Console().print(_table(("network", "test error, %", "per seed"), rows))


def _predict(command: Predict) -> None:
    import numpy as np
    from rich.console import Console

    from jaxcnn import data, report
    from jaxcnn.recipes import _experiment as experiment
    from jaxcnn.recipes import _report as rts_report

    folder = Path(command.run)
    config = experiment.read_folder(folder)
    if not command.images:
        raise ValueError("predict: images must be at least one picture, got none.")
    arm = command.arm or config.arms[-1]
    found = [n for n in experiment.networks(config, folder) if n.arm == arm and n.seed == command.seed]
    if not found:
        text = f"predict: the run must have {arm} seed {command.seed}; it has {', '.join(config.arms)}"
        raise ValueError(f"{text}, seeds 0 to {config.seeds - 1}.")
    images = np.stack([data.read_digit(path, canvas=config.canvas, invert=command.invert) for path in command.images])
    parts = experiment.classify(config, found[0], experiment.load(found[0]), images)
    classes, names = rts_report.CLASSES, [Path(path).name for path in command.images]
    rows = [
        (name, classes[int(p.argmax())], *(f"{100 * v:.0f}" for v in p))
        for name, p in zip(names, parts["probabilities"], strict=True)
    ]
    Console().print(_table(("image", "digit", *classes), rows, title="probability in percent"))
    out = Path(command.out) if command.out else folder / "predictions.png"
    picture = report.predictions(
        images, parts["probabilities"], names, classes=classes, corners=parts.get("frame"), seen=parts.get("seen")
    )
    out.write_bytes(report.png(picture))
    Console().print(f"Picture: {out}", highlight=False, soft_wrap=True)


def _models(command: Models) -> None:
    del command
    import jax
    import jax.numpy as jnp
    from rich.console import Console

    from jaxcnn import models

    rows = []
    for name in models.names():
        model, x = models.create(name), jnp.zeros((1, 42, 42, 1))
        variables = jax.eval_shape(model.init, jax.random.key(0), x)
        rows.append((name, f"{sum(leaf.size for leaf in jax.tree.leaves(variables['params'])):,}"))
    Console().print(_table(("model", "parameters, 42 x 42 x 1 to 10 classes"), rows))


def _augment(command: Augment, given: Sequence[str]) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from jaxcnn.report import gallery_folder

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    hidden = not command.progress or not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as bar:
        task = bar.add_task("compiling and drawing", total=None)
        paths = gallery_folder.write(
            Path(command.out),
            command.images,
            functions=command.functions,
            policy=command.policy,
            size=command.size,
            seed=command.seed,
            samples=command.samples,
            overview=command.overview,
            command=shlex.join(["jaxcnn", *given]),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for path in paths:
        Console().print(str(path), highlight=False, soft_wrap=True, markup=False)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], *, title: str = "") -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title or None, title_style="bold")
    for i, name in enumerate(header):
        width = max(len(cell) for cell in (name, *(row[i] for row in rows)))
        table.add_column(name, justify="left" if i == 0 else "right", no_wrap=True, min_width=width if i else None)
    for row in rows:
        table.add_row(*row)
    return table
