"""The command ``jaxcnn eval``."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from jaxcnn.cli.options import table

__all__ = ["Eval", "run_eval"]


@dataclasses.dataclass(frozen=True)
class Eval:
    """Measure the test error of a run's networks again, from their checkpoints."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run folder."""


def run_eval(command: Eval) -> None:
    """Prints the test error of every network of a run."""
    from rich.console import Console

    from jaxcnn.recipes import _experiment as experiment

    folder = Path(command.run)
    config = experiment.read_folder(folder)
    rows = []
    for arm, errors in experiment.evaluate(config, folder).items():
        mean, std = experiment.spread(errors)
        spread = "" if std != std else f" ± {std:.2f}"
        rows.append((arm, f"{mean:.2f}{spread}", "  ".join(f"{error:.2f}" for error in errors)))
    Console().print(table(("network", "test error, %", "per seed"), rows))
