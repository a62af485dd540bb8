"""The tests that damage weight files, with many more cases, other ones each time, and the outcome on record.

Command: ``python -m tests.support.fuzz_long``, which takes about a quarter of an hour. It runs the tests as
``pytest`` does, one after another, and writes ``benchmarks/results/fuzz_zoo.json`` and a table beside it if all of
them pass.
"""

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tyro

from benchmarks import _harness
from tests.support.paths import ROOT


@dataclasses.dataclass(frozen=True)
class Options:
    """How much to damage."""

    cases: int = 100_000
    """Damaged files, over all tests."""
    seed: int = 1
    """Of the damages; the tests themselves use 0."""
    out: Path = ROOT / "benchmarks" / "results"
    """Folder of the outcome."""


def run(times: float = 1, seed: int = 0) -> list[dict[str, Any]]:
    """Runs the tests with so many times as many cases as they have, and gives the outcomes."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.jsonl")
        added = {"JAXCNN_FUZZ_SEED": str(seed), "JAXCNN_FUZZ_REPORT": str(report), "JAXCNN_FUZZ_TIMES": str(times)}
        files = sorted(str(path) for path in (ROOT / "tests" / "zoo").rglob("*_test.py"))
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-k", "fuzz or damaged", *files]
        subprocess.run(command, env=os.environ | added, cwd=ROOT, check=True)
        return [json.loads(line) for line in report.read_text().splitlines()]


def table(document: dict[str, Any]) -> str:
    """Writes the outcomes for people."""
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items() if version)
    outcomes = document["outcomes"]
    rows = [f"| {o['test']} | {o['read']:,} | {o['refused']:,} | {o['peak'] / 1e6:.1f} |" for o in outcomes]
    read, refused = (sum(outcome[key] for outcome in outcomes) for key in ("read", "refused"))
    lines = [
        f"# {document['benchmark']}",
        "",
        f"`{document['command']}`, {document['date'][:10]}, commit {document['commit']}, {versions}.",
        "",
        f"{read + refused:,} damaged files were read or refused with `FormatError`; there was no other error, and none",
        "that hung or took more memory than the tests allow.",
        "",
        "| test | read | refused | most memory, MB |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *rows, ""])


def main(options: Options) -> None:
    """Finds out how many files the tests damage, and has them damage as many as asked for."""
    usual = sum(outcome["read"] + outcome["refused"] for outcome in run())
    outcomes = run(1.01 * options.cases / usual, options.seed)
    libraries = ("h5py", "safetensors", "cramjam", "ml_dtypes")
    document = _harness.document("fuzz_zoo", [], _harness.Options(out=options.out), libraries=libraries)
    document |= {"outcomes": outcomes}
    path = options.out / "fuzz_zoo.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(document))
    print(path)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
