"""Every model against its original: random weights and statistics, written by the original, read by ``zoo.load``.

Command: ``python -m benchmarks.experiments.parity [TEXT]``. The originals are torchvision's, Keras's (on JAX) and those
of TensorFlow slim. Slim's have an environment of their own: ``python -m tests.support.slim_networks FOLDER NAME ...``
writes checkpoints and what the networks compute there, ``--slim FOLDER`` compares. Compared are logits at two sizes of
images, and logits and running statistics after a pass in training mode, dropout off: the largest difference relative to
the largest value. Results are kept piece by piece; models that are there already are left out unless ``--again``.
"""

import dataclasses
import json
import tempfile
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from benchmarks import _harness
from benchmarks._originals import stop_keras_dropout, stop_torch_dropout
from benchmarks.experiments._parity_members import MEMBERS, Member
from jaxcnn.models.registry import ARCHITECTURES
from tests.support.keras_parity import build_keras, compare_with_keras
from tests.support.parity import compare_with_torch
from tests.support.slim_fixtures import compare_with_fixture
from tests.support.torchvision_cpu import import_torchvision

NAME = "parity"
LIMIT = 1e-4
SMALL = ((96, 96), (75, 91))
HEADER = ("model", "source", "compared: largest difference, relative to the largest value", "largest")


@dataclasses.dataclass(frozen=True)
class Options:
    """What to compare."""

    text: Annotated[str, tyro.conf.Positional] = ""
    """Only models whose names contain this."""
    source: Literal["torchvision", "keras", "slim"] | None = None
    """Only models of this source."""
    largest: float = 100.0
    """Only models of at most so many million parameters."""
    slim: Path | None = None
    """Folder with checkpoints of TensorFlow slim and what its networks compute."""
    full_size: bool = False
    """Whether to take images as large as those that the networks were trained with, which takes five times as long."""
    again: bool = False
    """Whether to repeat what has a result."""
    out: Path = _harness.RESULTS
    """Where results are kept."""


Row = tuple[str, ...]


def compare(member: Member, folder: Path, slim: Path | None, *, full_size: bool) -> dict[str, float]:
    """Compares a model with its original.

    Args:
        member: The model and its original.
        folder: Where the original writes its weights.
        slim: Folder with what slim has written.
        full_size: Whether to take images as large as those that the network was trained with.

    Returns:
        What was compared to its largest relative difference.
    """
    options = dict(member.options)
    sizes = SMALL if len(member.sizes) > 1 and not full_size else member.sizes  # one size: the network takes no other
    if member.source == "torchvision":
        net = _build_torch(member)
        return compare_with_torch(net, member.name, folder, options=options, sizes=sizes, tolerance=LIMIT)
    if member.source == "keras":
        low, high = member.pixels
        return compare_with_keras(
            lambda size: _build_keras(member, size),
            member.name,
            folder,
            options=options,
            sizes=sizes,
            low=low,
            high=high,
            images=2,
            tolerance=LIMIT,
        )
    path = slim / f"{member.build.partition('(')[0]}.npz" if slim is not None else None
    if path is None or not path.exists():
        raise _harness.Skipped("TensorFlow slim has written nothing: --slim FOLDER")
    # In training Inception v3's last batch norms see 4 images of few pixels, and amplify rounding.
    return compare_with_fixture(path, member.name, options=options, tolerance=10 * LIMIT)


def _build_torch(member: Member) -> Any:
    """Builds a network of torchvision, dropout off."""
    torchvision = import_torchvision()
    built = member.build if "(" in member.build else f"{member.build}()"
    net = eval(built, {**vars(torchvision.models), "models": torchvision.models})
    stop_torch_dropout(net)
    return net


def _build_keras(member: Member, size: tuple[int, int]) -> Any:
    """Builds a network of Keras, dropout off."""
    name, _, arguments = member.build.partition("(")
    net = build_keras(name, size, **(eval(f"dict({arguments}") if arguments else {}))
    stop_keras_dropout(net)
    return net


def run(options: Options) -> dict[str, Any]:
    """Compares what has no result yet, and writes the results after each model."""
    written = _harness.Options(out=options.out)
    rows = {} if options.again else _read(options.out)
    results: dict[str, Any] = {}
    for name, member in sorted(MEMBERS.items(), key=lambda entry: ARCHITECTURES[entry[1].name].parameters):
        is_meant = options.text in name and options.source in (None, member.source)
        if not is_meant or name in rows or ARCHITECTURES[member.name].parameters > options.largest * 1e6:
            continue
        try:
            with tempfile.TemporaryDirectory() as folder:
                found = compare(member, Path(folder), options.slim, full_size=options.full_size)
            text = ", ".join(f"{what} {value:.0e}" for what, value in found.items())
            row = (name, member.source, text, f"{max(found.values()):.0e}")
        except _harness.Skipped as error:
            print(f"{name}: skipped, {error}", flush=True)
            continue
        except (AssertionError, ValueError) as error:
            row = (name, member.source, f"differs: {str(error)[:200]}", "")
        print(f"{row[0]:40} {row[3]:6} {row[2]}", flush=True)
        rows[name] = row
        results = _harness.document(NAME, [], written, libraries=("keras", "torchvision"))
        results["command"] = "python -m benchmarks.experiments.parity"
        results["tables"] = {"Models": [HEADER, *(rows[one] for one in sorted(rows))]}
        _harness.write(results, written)
    return results


def _read(folder: Path) -> dict[str, Row]:
    """Reads the rows of earlier runs that found no difference."""
    rows: dict[str, Row] = {}
    for path in folder.glob(f"{NAME}-*.json"):
        for row in json.loads(path.read_text())["tables"]["Models"][1:]:
            if row[3]:
                rows[row[0]] = tuple(row)
    return rows


if __name__ == "__main__":
    run(tyro.cli(Options, description=__doc__))
