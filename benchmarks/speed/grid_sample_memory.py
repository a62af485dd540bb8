"""Temporary memory of compiled ``ops.grid_sample`` programs, not counting inputs and outputs.

Command: ``python -m benchmarks.speed.grid_sample_memory``, with ``--quick`` for small arrays. Programs are compiled and
not run. The bound is 8 times the memory of images and output, or 64 MB: larger work is done in pieces. PyTorch
does not report such a number.
"""

import functools
from typing import Any

import numpy as np
import tyro

from benchmarks import _harness, _tasks
from benchmarks.speed.grid_sample import TASKS
from jaxcnn import ops

CASES: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((16, 1024, 1024, 3), {}),
    ((16, 1024, 1024, 1), {}),
    ((16, 1024, 1024, 3), {"mode": "bicubic"}),
    ((16, 1024, 1024, 1), {"mode": "bicubic"}),
    ((16, 1024, 1024, 3), {"antialias": True}),
    ((16, 1024, 1024, 3), {"padding_mode": "fill", "fill_value": 0.5}),
    ((2, 128, 128, 128, 4), {}),
    ((2, 128, 128, 128, 1), {}),
    ((2, 128, 128, 128, 1), {"mode": "bicubic"}),
]


def measure(shape: tuple[int, ...], options: dict[str, Any], wanted: tuple[int, ...]) -> tuple[float, float]:
    """Returns the temporary memory of a program and its bound, in MB."""
    image, grid = np.zeros(shape, np.float32), np.zeros((*shape[:-1], len(shape) - 2), np.float32)
    run = _tasks.with_jax(functools.partial(ops.grid_sample, **options), (image, grid, image), wanted)
    if run.temporary_bytes is None:
        raise SystemExit("This backend does not report the memory that a program takes.")
    return run.temporary_bytes / 1e6, max(8 * 2 * image.nbytes, 64_000_000) / 1e6


def main(options: _harness.Options) -> None:
    """Compiles all and writes the table."""
    rows: list[list[Any]] = [["images", "options", *TASKS, "bound, MB"]]
    entries = []
    for shape, arguments in CASES:
        if options.quick:
            shape = (2, *(n // 16 for n in shape[1:-1]), shape[-1])
        found = [measure(shape, arguments, wanted) for wanted in TASKS.values()]
        rows.append([" x ".join(map(str, shape)), ", ".join(f"{k}={v}" for k, v in arguments.items())])
        rows[-1] += [*(f"{megabytes:.0f}" for megabytes, _ in found), f"{found[0][1]:.0f}"]
        entries.append(
            {"shape": list(shape), "options": arguments, "megabytes": [m for m, _ in found], "bound": found[0][1]}
        )
        print(rows[-1], flush=True)
        assert all(m <= limit for m, limit in found), "above the bound"
    results = _harness.document("grid_sample_memory", [], options)
    results |= {"memory": entries, "tables": {"temporary memory, MB": rows}}
    _harness.write(results, options)


if __name__ == "__main__":
    main(tyro.cli(_harness.Options, description=__doc__))
