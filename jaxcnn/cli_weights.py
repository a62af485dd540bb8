"""The commands about weight files: ``jaxcnn download | inspect | convert``."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

__all__ = ["Convert", "Download", "Inspect", "run_convert", "run_download", "run_inspect"]


@dataclasses.dataclass(frozen=True)
class Download:
    """Download a file, such as weights, check it, keep it and print where it is; one that is there is only checked."""

    url: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="URL")]
    """Its address, http or https."""
    checksum: Annotated[str | None, tyro.conf.arg(metavar="CHECKSUM")] = None
    """As the source publishes it, sha256:... (8 digits or more) or md5:...; without it the file is unverified."""
    folder: Annotated[str | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Where to keep it [default: JAXCNN_CACHE, or jaxcnn in the user's cache]."""
    name: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """What to call it [default: the last part of the address]."""
    progress: bool = True
    """Show a progress bar."""


@dataclasses.dataclass(frozen=True)
class Inspect:
    """Show what a weight file of PyTorch, Keras, TensorFlow, Caffe, MatConvNet, NumPy or safetensors holds."""

    file: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="FILE")]
    """The file; of TensorFlow also a folder, or the common beginning of a checkpoint's files."""
    tensors: int = 20
    """How many tensors to list."""


@dataclasses.dataclass(frozen=True)
class Convert:
    """Convert a weight file that `jaxcnn inspect` reads to safetensors."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """What to read, as for inspect."""
    target: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="TARGET")]
    """The file of safetensors to write."""
    force: bool = False
    """Replace the target where it exists."""


def run_download(command: Download) -> None:
    """Downloads a file, with a bar of progress, and prints where it is."""
    from rich import progress
    from rich.console import Console

    from jaxcnn.zoo.downloads import download

    columns = (progress.BarColumn(), progress.DownloadColumn(), progress.TransferSpeedColumn())
    options = {"console": Console(stderr=True), "transient": True, "disable": not command.progress}
    with progress.Progress(*columns, **options) as bar:
        task = bar.add_task("", total=None)
        path = download(
            command.url,
            checksum=command.checksum,
            folder=command.folder,
            name=command.name,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    print(path)


def run_inspect(command: Inspect) -> None:
    """Prints what a weight file holds."""
    from jaxcnn import zoo
    from jaxcnn.zoo.summary import summarize

    for line in summarize(zoo.read(command.file), tensors=command.tensors):
        print(line)


def run_convert(command: Convert) -> None:
    """Writes a weight file anew, as safetensors."""
    from jaxcnn import zoo

    if Path(command.target).exists() and not command.force:
        raise ValueError(f"convert: target must be new unless --force is given, got {command.target!r}.")
    checkpoint = zoo.convert(command.source, command.target)
    for note in checkpoint.metadata["notes"]:
        print(f"note: {note}")
    print(f"{len(checkpoint.tensors):,} tensors: {command.target}")
