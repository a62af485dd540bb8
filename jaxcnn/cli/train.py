"""The command ``jaxcnn train``."""

import dataclasses
import sys
import time
from pathlib import Path
from typing import Annotated

from jaxcnn.cli.options import CommandOptions, given, option
from jaxcnn.cli.output import write, write_table
from jaxcnn.cli.paths import check_output_folder
from jaxcnn.recipes._results import HEADER, comparison_sentence, result_rows
from jaxcnn.recipes._runner import open_experiment, read_experiment, run_experiment
from jaxcnn.recipes.rts_digits import RECIPE, Config

__all__ = ["Train", "run_train"]


@dataclasses.dataclass(frozen=True)
class Train(Config, CommandOptions):
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
    except SystemExit:  # SIGTERM
        print(f"jaxcnn: stopped; jaxcnn train --resume {folder} continues", file=sys.stderr)
        raise


def _train(command: Train, folder: Path) -> None:
    began = time.perf_counter()
    if command.resume is None:
        check_output_folder("train", "--run", folder)
        config = Config(**{f.name: getattr(command, f.name) for f in dataclasses.fields(Config)})
        info = open_experiment(RECIPE, config, folder)
    elif others := [flag for flag in given(command) if flag not in ("--resume", "--progress")]:
        raise ValueError(f"train: --resume takes all options from the run, got also {', '.join(others)}.")
    else:
        info = read_experiment(folder)
    write(f"Run folder: {folder}")
    results, page = run_experiment(info, progress=command.progress, warn=_warn)
    write_table(HEADER, result_rows(results))
    write(comparison_sentence(results))
    write(f"Report: {page} ({time.perf_counter() - began:.0f} s in all)")


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)
