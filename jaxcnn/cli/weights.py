"""The commands about weight files: ``jaxcnn records | download | convert``."""

import dataclasses
from pathlib import Path
from typing import Annotated

from jaxcnn.cli.options import CommandOptions, option, positional
from jaxcnn.cli.output import write, write_table
from jaxcnn.cli.paths import check_output, check_output_folder
from jaxcnn.zoo.records.weight_records import Record, find, suggest_record

__all__ = [
    "Convert",
    "Download",
    "Records",
    "run_convert",
    "run_download",
    "run_records",
]


@dataclasses.dataclass(frozen=True)
class Records(CommandOptions):
    """List the known weight files, or show one record in full; nothing is downloaded."""

    text: Annotated[str, positional("TEXT", "all")] = ""
    """Only names that contain this; a complete name shows its record."""


@dataclasses.dataclass(frozen=True)
class Download(CommandOptions):
    """Download a file, such as weights, verify it, cache it and print its path; a cached file is only verified."""

    url: Annotated[str, positional("NAME|URL")]
    """A name of jaxcnn records, or an address, http or https."""
    checksum: Annotated[str | None, option("CHECKSUM", "the record's, or none: the file stays unverified")] = None
    """As the source publishes it, sha256:... (8 digits or more), sha1:... or md5:..."""
    folder: Annotated[str | None, option("FOLDER", "JAXCNN_CACHE, or jaxcnn in the user's cache")] = None
    """Where to keep it."""
    name: Annotated[str | None, option("NAME", "the last part of the address")] = None
    """Its name there."""
    progress: bool = True
    """Show a progress bar."""


@dataclasses.dataclass(frozen=True)
class Convert(CommandOptions):
    """Convert a weight file that `jaxcnn inspect` reads to safetensors or npz."""

    source: Annotated[str, positional("SOURCE")]
    """What to read, as for inspect."""
    target: Annotated[str, positional("TARGET")]
    """The file to write, ending in .safetensors or .npz."""
    force: bool = False
    """Replace the target if it exists."""


def run_records(command: Records) -> None:
    """Prints a table of weight files, or one record in full."""
    from jaxcnn import zoo

    text = command.text.lower()
    if (one := find(text)) is not None:
        _show(one)
        return
    found = [one for one in zoo.records() if text in one.name]
    if not found:
        raise ValueError(f"records: text must be part of a record's name, got {command.text!r}{suggest_record(text)}.")
    rows = []
    for one in found:
        figures = [one.accuracy(measure) for measure in ("top-1", "top-5")]
        first, fifth = ("" if figure is None else f"{figure:.1f}" for figure in figures)
        rows.append((one.name, first, fifth, (one.checksum or "none").partition(":")[0], one.license or "not stated"))
    write_table(("name", "top-1", "top-5", "checksum", "license"), rows, rule=False)


def _show(one: Record) -> None:
    """Prints the fields of a record, and those that its source does not state."""
    for field in dataclasses.fields(one):
        value = getattr(one, field.name)
        title = field.name.replace("_", " ")
        if field.name == "accuracies":
            value = tuple(f"{figure.measure} {figure.percent} %, {figure.data_set}" for figure in value)
        if field.name == "preprocessing" and one.preprocessing is not None:
            parts = dataclasses.asdict(one.preprocessing).items()
            value = tuple(f"{key.replace('_', ' ')} {part}" for key, part in parts if part is not None)
        for text in value if isinstance(value, tuple) else (value,):
            write(f"{title}: {'not stated' if text is None else text}")


def run_download(command: Download) -> None:
    """Downloads a file, with a progress bar, and prints its path."""
    from rich import progress
    from rich.console import Console

    from jaxcnn.zoo.download.downloads import download

    if command.folder is not None:
        check_output_folder("download", "--folder", command.folder)
    columns = (progress.BarColumn(), progress.DownloadColumn(), progress.TransferSpeedColumn())
    options = {"console": Console(stderr=True), "transient": True, "disable": not command.progress}
    bar = progress.Progress(*columns, **options)
    task = bar.add_task("", total=None)

    def show(done: int, total: int | None) -> None:
        bar.start()  # with the first bytes: earlier failures have nothing to show
        bar.update(task, completed=done, total=total)

    try:
        path = download(command.url, checksum=command.checksum, folder=command.folder, name=command.name, progress=show)
    finally:
        if bar.live.is_started:
            bar.stop()
    write(str(path))


def run_convert(command: Convert) -> None:
    """Converts a weight file."""
    from jaxcnn import zoo

    check_output("convert", "target", command.target)
    if Path(command.target).exists() and not command.force:
        raise ValueError(f"convert: target must be new unless --force is given, got {command.target!r}.")
    checkpoint = zoo.convert(command.source, command.target)
    for note in checkpoint.metadata["notes"]:
        write(f"note: {note}")
    write(f"{len(checkpoint.tensors):,} tensors: {command.target}")
