"""Damages a file in many ways and checks that its reader reads or refuses it, without other errors, hangs or excess."""

import contextlib
import dataclasses
import itertools
import json
import os
import signal
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jaxcnn.zoo import FormatError
from tests.support.selection import times

SLACK = 16 << 20
"""Bytes that modules, decoders and messages may take beside the tensors."""

PATIENCE = 300
"""Seconds after which a reader counts as hanging; damaged files take milliseconds."""


@dataclasses.dataclass
class Outcome:
    """Counts the damaged files that were read and those that were refused."""

    read: int = 0
    refused: int = 0
    peak: int = 0  # bytes of memory that the most demanding of them took


def damages(content: bytes, *, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Yields the file truncated at every sixteenth of its length, then endlessly the file with some bytes changed.

    Half of the changes affect the first and the last 1024 bytes, where most formats describe themselves.
    """
    for sixteenth in range(16):
        yield f"cut to {sixteenth}/16", content[: len(content) * sixteenth // 16]
    yield "without its last byte", content[:-1]
    rng = np.random.default_rng(seed)
    for number in range(1 << 62):
        damaged = bytearray(content)
        count = int(rng.integers(1, 5))
        for _ in range(count):
            edge = min(1024, len(content))
            place = int(rng.integers(len(content)))
            if number % 2:
                place = int(rng.integers(edge)) if number % 4 == 1 else len(content) - 1 - int(rng.integers(edge))
            damaged[place] = int(rng.integers(256)) if number % 3 else int(rng.choice([0, 1, 127, 128, 255]))
        yield f"change {number} of seed {seed}", bytes(damaged)


def fuzz(
    read: Callable[..., Any],
    content: bytes,
    path: Path,
    *,
    cases: int = 80,
    seed: int = 0,
    max_bytes: int | None = None,
    argument: Callable[[Path], Path] | None = None,
) -> Outcome:
    """Reads one file in many damaged forms.

    ``tests/support/fuzz_long.py`` requests more cases, and the outcome in a file, through the environment.

    Args:
        read: ``read(path, max_bytes=...)``, a reader.
        content: The intact file, which it must read.
        path: Where the damaged files are written, one after another.
        cases: How many damaged files; the first 17 are truncated.
        seed: Of the changes.
        max_bytes: What the reader may allocate, by default four times the file and a MiB.
        argument: Converts ``path`` to the argument of ``read``, for formats of several files.

    Returns:
        The counts of those read and refused.
    """
    max_bytes = 4 * len(content) + (1 << 20) if max_bytes is None else max_bytes
    target = argument(path) if argument else path
    path.write_bytes(content)
    read(target, max_bytes=max_bytes)
    outcome = Outcome()
    cases = times(cases)
    seed = int(os.environ.get("JAXCNN_FUZZ_SEED", seed))
    running = tracemalloc.is_tracing()
    tracemalloc.start()
    try:
        for damage, damaged in itertools.islice(damages(content, seed=seed), cases):
            path.write_bytes(damaged)
            tracemalloc.reset_peak()
            before = tracemalloc.get_traced_memory()[0]
            try:
                with limit_time(damage, PATIENCE):
                    read(target, max_bytes=max_bytes)
                outcome.read += 1
            except FormatError as error:
                assert error.reason and error.path, damage
                outcome.refused += 1
            except Exception as error:
                raise AssertionError(f"{damage}: {type(error).__name__} instead of FormatError: {error}") from error
            peak = tracemalloc.get_traced_memory()[1] - before
            assert peak <= 3 * max_bytes + SLACK, f"{damage}: took {peak} bytes of memory for max_bytes={max_bytes}"
            outcome.peak = max(outcome.peak, peak)
    finally:
        if not running:
            tracemalloc.stop()
    _report(outcome)
    return outcome


@contextlib.contextmanager
def limit_time(damage: str, seconds: int) -> Iterator[None]:
    """Fails a test that would otherwise never end, or takes longer than it may."""

    def give_up(*_: object) -> None:
        pytest.fail(f"{damage}: it takes more than {seconds} s")  # raises an exception that no reader catches

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _report(outcome: Outcome) -> None:
    """Appends the outcome, under the name of the test, to the file that the environment names."""
    if path := os.environ.get("JAXCNN_FUZZ_REPORT"):
        test = os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0].removeprefix("tests/")
        with open(path, "a") as file:
            file.write(json.dumps({"test": test, **dataclasses.asdict(outcome)}) + "\n")
