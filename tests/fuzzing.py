"""Damages a file in many ways and checks that its reader either reads or refuses it: no other error, hang or hunger."""

import dataclasses
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo import FormatError

SLACK = 16 << 20
"""What modules, decoders and messages may take beside the tensors."""

LONGEST = 20.0
"""Seconds for one damaged file, far above what any takes: a reader that exceeds them hangs."""


@dataclasses.dataclass
class Outcome:
    """How many damaged files were read and how many refused."""

    read: int = 0
    refused: int = 0


def damages(content: bytes, *, seed: int = 0) -> Iterator[tuple[str, bytes]]:
    """Gives the file cut at every sixteenth of its length, then without end the file with some bytes changed.

    Half of the changes fall on the first and the last 1024 bytes, where most formats keep what they say of themselves.
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
    seconds: float = 5.0,
    cases: int = 2000,
    seed: int = 0,
    max_bytes: int | None = None,
    within: Callable[[Path], Any] | None = None,
) -> Outcome:
    """Reads one file in many damaged forms.

    Args:
        read: ``read(path, max_bytes=...)``, a reader.
        content: The intact file, which it must read.
        path: Where the damaged files are written, one after the other.
        seconds: After this time no further case begins; the cuts are always made.
        cases: How many cases at most.
        seed: Of the changes.
        max_bytes: What the reader may allocate, by default four times the file and a MiB.
        within: Makes what ``read`` is given of ``path``, for formats of several files.

    Returns:
        How many were read and how many refused.
    """
    max_bytes = 4 * len(content) + (1 << 20) if max_bytes is None else max_bytes
    argument = within(path) if within else path
    path.write_bytes(content)
    read(argument, max_bytes=max_bytes)
    outcome = Outcome()
    running = tracemalloc.is_tracing()
    tracemalloc.start()
    begin = time.monotonic()
    try:
        for number, (damage, damaged) in enumerate(damages(content, seed=seed)):
            if number >= 17 and (number >= cases or time.monotonic() - begin > seconds):
                break
            path.write_bytes(damaged)
            tracemalloc.reset_peak()
            before, start = tracemalloc.get_traced_memory()[0], time.monotonic()
            try:
                read(argument, max_bytes=max_bytes)
                outcome.read += 1
            except FormatError as error:
                assert error.reason and error.path, damage
                outcome.refused += 1
            except Exception as error:
                raise AssertionError(f"{damage}: {type(error).__name__} in place of FormatError: {error}") from error
            peak, took = tracemalloc.get_traced_memory()[1] - before, time.monotonic() - start
            assert peak <= 3 * max_bytes + SLACK, f"{damage}: took {peak} bytes of memory for max_bytes={max_bytes}"
            assert took <= LONGEST, f"{damage}: took {took:.0f} seconds"
    finally:
        if not running:
            tracemalloc.stop()
    return outcome
