"""The recipe behind ``jaxcnn train``, and its result as a committed document.

Command: ``python -m benchmarks.experiments.rts_digits``. Runs ``recipes.rts_digits`` as the command line does
(a CNN and a CNN behind a spatial transformer, three seeds each) and writes ``results/rts_digits-<device>.json`` and
the picture of the README. Takes about two minutes on two CPU cores.
"""

import dataclasses
import json
import shutil
import tempfile
from pathlib import Path

import tyro

from benchmarks import _harness
from jaxcnn.recipes._results import comparison_sentence
from jaxcnn.recipes._runner import open_experiment, run_experiment
from jaxcnn.recipes.rts_digits import RECIPE, Config

DOCS = Path(__file__).parents[2] / "docs" / "images"


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the experiment."""

    out: Path = _harness.Options.out
    """Folder for the document."""
    steps: int = Config.steps
    """Training steps of each network; nothing is written unless this is the recipe's number."""


def main(options: Options) -> None:
    """Trains and tests all networks, and writes the document and the picture."""
    config = Config(steps=options.steps)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        results, _ = run_experiment(open_experiment(RECIPE, config, folder))
        print(json.dumps(results, indent=1))
        print(comparison_sentence(results))
        if config != Config():
            return
        document = _harness.document("rts_digits", [], _harness.Options()) | {"results": results}
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / f"rts_digits-{_harness.slug()}.json"
        path.write_text(json.dumps(document, indent=1) + "\n")
        DOCS.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(folder / "plots" / "frames.png", DOCS / "frames.png")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
