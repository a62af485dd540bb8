"""Runs the tests that damage weight files with many more cases and another seed, and records the outcome.

Command: ``python -m tests.support.fuzz_long``, which takes about a quarter of an hour. It runs the tests with
``pytest``, one after another, and writes ``benchmarks/results/fuzz_zoo.json`` and a table beside it if all of them
pass.
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
    """Options of the command line."""

    cases: int = 100_000
    """How many damaged files, over all tests."""
    seed: int = 1
    """The seed of the damage; the tests themselves use 0."""
    out: Path = ROOT / "benchmarks" / "results"
    """The folder of the results."""


def run(times: float = 1, seed: int = 0) -> list[dict[str, Any]]:
    """Runs the tests with ``times`` as many cases as usual, and returns the outcomes."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.jsonl")
        added = {"JAXCNN_FUZZ_SEED": str(seed), "JAXCNN_FUZZ_REPORT": str(report), "JAXCNN_FUZZ_TIMES": str(times)}
        files = sorted(str(path) for path in (ROOT / "tests" / "zoo").rglob("*_test.py"))
        command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-k", "fuzz or damaged", *files]
        subprocess.run(command, env=os.environ | added, cwd=ROOT, check=True)
        return [json.loads(line) for line in report.read_text().splitlines()]


def table(document: dict[str, Any]) -> str:
    """Formats the outcomes as a page."""
    versions = ", ".join(f"{name} {version}" for name, version in document["versions"].items() if version)
    outcomes = document["outcomes"]
    rows = [f"| {o['test']} | {o['read']:,} | {o['refused']:,} | {o['peak'] / 1e6:.1f} |" for o in outcomes]
    read, refused = (sum(outcome[key] for outcome in outcomes) for key in ("read", "refused"))
    lines = [
        f"# {document['benchmark']}",
        "",
        f"`{document['command']}`, {document['date'][:10]}, commit {document['commit']}, {versions}.",
        "",
        f"{read + refused:,} damaged files were read or refused with `FormatError`; no other error occurred, and none",
        "hung or took more memory than the tests allow.",
        "",
        "| test | read | refused | most memory, MB |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *rows, ""])


def main(options: Options) -> None:
    """Counts how many files the tests damage, then lets them damage as many as requested."""
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
