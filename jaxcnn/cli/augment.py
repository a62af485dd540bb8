"""The command about augmentation: ``jaxcnn augment``."""

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Annotated

from jaxcnn.cli.options import CommandOptions, given, option, positional
from jaxcnn.cli.output import write
from jaxcnn.cli.paths import check_output_folder, check_pictures

__all__ = ["Augment", "run_augment"]


@dataclasses.dataclass(frozen=True)
class Augment(CommandOptions):
    """Show every augmentation, and samples of a whole policy, on pictures: two plots and a page."""

    images: Annotated[tuple[str, ...], positional("IMAGE", "a photograph of a flower")] = ()
    """Pictures of any size; the single functions are shown on the first."""
    policy: Annotated[str | None, option("NAME", "trivial_augment")] = None
    """Which policy to draw samples from: trivial_augment, rand_augment, auto_augment, aug_mix, or basic (a flip, an
    affine map, a change of colors)."""
    functions: Annotated[tuple[str, ...], option("NAME...", "all")] = ()
    """Which functions to show, such as random_rotation."""
    out: Annotated[str, option("FOLDER")] = "runs/augment"
    """Folder for plots and page: new, empty, or written by an earlier call of this command."""
    size: int = 192
    """Longer side, in pixels, that every picture is resized to first."""
    seed: int = 0
    """Seed of the random draws."""
    samples: int = 24
    """Samples of the policy per picture."""
    overview: bool = False
    """Also write overview.png, one picture per function, small enough for a README."""
    progress: bool = True
    """Show a progress bar."""


def run_augment(command: Augment) -> None:
    """Writes the gallery and prints the paths of its files."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from jaxcnn.report import gallery_folder

    check_pictures("augment", command.images)
    check_output_folder("augment", "--out", command.out)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    hidden = not command.progress or not sys.stderr.isatty()
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=hidden) as bar:
        task = bar.add_task("compiling and drawing", total=None)
        paths = gallery_folder.write_gallery(
            Path(command.out),
            command.images,
            functions=command.functions,
            policy=command.policy,
            size=command.size,
            seed=command.seed,
            samples=command.samples,
            overview=command.overview,
            command=_command_line(command),
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    for path in paths:
        write(str(path))


def _command_line(command: Augment) -> str:
    """Writes the command as it is typed, pictures first."""
    words = ["jaxcnn", "augment", *command.images]
    for flag, value in given(command).items():
        if isinstance(value, bool):
            words.append(flag if value else flag.replace("--", "--no-", 1))
        elif flag != "--images":
            words += [flag, *map(str, value if isinstance(value, tuple) else (value,))]
    return shlex.join(words)
