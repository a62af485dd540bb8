"""The command ``jaxcnn train``."""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Annotated

from jaxcnn.cli.options import given, option, table
from jaxcnn.recipes.rts_digits import Config

__all__ = ["Train", "run_train"]


@dataclasses.dataclass(frozen=True)
class Train(Config):
    """Train a CNN, and a CNN behind a spatial transformer, on distorted digits; compare them and write a report."""

    run: Annotated[str | None, option("FOLDER", "runs/rts_digits-DATE-TIME")] = None
    """Folder for metrics, checkpoints, plots and report."""
    resume: Annotated[str | None, option("FOLDER", "start a new run")] = None
    """Continue the run in this folder, with the options it was started with."""
    progress: bool = True
    """Show a progress bar per network."""


def run_train(command: Train) -> None:
    """Trains, or continues, all networks of a run and writes its report.

    Raises:
        KeyboardInterrupt: After Ctrl-C, with the command that continues the run.
    """
    folder = Path(command.resume or command.run or time.strftime("runs/rts_digits-%Y%m%d-%H%M%S"))
    try:
        _train(command, folder)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"jaxcnn train --resume {folder} continues") from None


def _train(command: Train, folder: Path) -> None:
    from rich.console import Console

    from jaxcnn.recipes import _experiment as experiment
    from jaxcnn.recipes import _report as rts_report

    began = time.perf_counter()
    console = Console()
    if command.resume is not None:
        others = [flag for flag in given(command) if flag not in ("--resume", "--progress")]
        if others:
            raise ValueError(f"train: --resume takes all options from the run, got also {', '.join(others)}.")
        config = experiment.read_folder(folder)
    else:
        config = Config(**{f.name: getattr(command, f.name) for f in dataclasses.fields(Config)})
        experiment.open_folder(folder, config)
    console.print(f"Run folder: {folder}", highlight=False)
    results = experiment.run(
        config, folder, progress=command.progress, say=lambda text: print(f"warning: {text}", file=sys.stderr)
    )
    page = rts_report.write(config, folder, results)
    console.print(table(rts_report.HEADER, rts_report.table(results)))
    console.print(rts_report.verdict(results), highlight=False)
    console.print(f"Report: {page} ({time.perf_counter() - began:.0f} s in all)", highlight=False, soft_wrap=True)
