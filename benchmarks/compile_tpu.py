"""Compiles ops and models for a TPU ahead of time, without a TPU: operations, bytes, memory and time to compile.

Command: ``python -m benchmarks.compile_tpu``. Needs ``pip install libtpu`` (700 MB, Linux); no part of the checks.
The program of every case is its forward pass and its gradient. Numbers are the compiler's own estimates for one chip.
"""

import dataclasses
import functools
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import tyro
from rich.console import Console
from rich.table import Table

from benchmarks import _harness
from jaxcnn import models, ops


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What is compiled, and for what."""

    topology: str = "v5e:2x2"
    """Kind of TPU and its arrangement; one chip of it is used."""
    only: str = ""
    """Compile only cases whose name holds this text."""
    out: Path = _harness.RESULTS
    """Folder of the JSON document."""


class Case(NamedTuple):
    """A function of arrays, and the shapes of these."""

    name: str
    function: Callable[..., Any]
    shapes: tuple[Any, ...]


def cases() -> list[Case]:
    """Lists the ops at the sizes of the speed benchmarks, and every model."""
    found = []
    for n, h, w, c in [(256, 40, 40, 1), (16, 224, 224, 3), (16, 56, 56, 64)]:
        for dtype in (jnp.float32, jnp.bfloat16):
            image = jax.ShapeDtypeStruct((n, h, w, c), dtype)
            grid = jax.ShapeDtypeStruct((n, h, w, 2), jnp.float32)
            title = f"{n}x{h}x{w}x{c} {jnp.dtype(dtype).name}"
            found.append(Case(f"grid_sample {title}", ops.grid_sample, (image, grid)))
            warp = functools.partial(ops.warp_affine, padding_mode="border")
            found.append(Case(f"warp_affine {title}", warp, (image, jax.ShapeDtypeStruct((n, 2, 3), jnp.float32))))
    pooled = jax.ShapeDtypeStruct((64, 56, 56, 64), jnp.float32)
    found.append(Case("max_pool 64x56x56x64", functools.partial(ops.max_pool, window=2), (pooled,)))
    for name in models.names():
        model = models.create(name)
        x = jax.ShapeDtypeStruct((64, 60, 60, 1), jnp.float32)
        variables = jax.eval_shape(model.init, jax.random.key(0), x)
        found.append(Case(f"{name} 64x60x60x1", model.apply, (variables, x)))
    return found


def with_gradients(function: Callable[..., Any], *arrays: Any) -> Any:
    """Gives the value, and its gradient in everything."""
    value, pullback = jax.vjp(function, *arrays)
    return value, pullback(jnp.ones_like(value))


def compile_case(case: Case, sharding: Any) -> dict[str, Any]:
    """Compiles one case and gives the compiler's numbers."""
    place = functools.partial(jax.tree.map, lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding))
    start = time.perf_counter()
    lowered = jax.jit(functools.partial(with_gradients, case.function)).trace(*map(place, case.shapes)).lower()
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    costs, memory = compiled.cost_analysis() or {}, compiled.memory_analysis()
    return {
        "flops": costs.get("flops"),
        "bytes_accessed": costs.get("bytes accessed"),
        "argument_bytes": getattr(memory, "argument_size_in_bytes", None),
        "output_bytes": getattr(memory, "output_size_in_bytes", None),
        "temporary_bytes": getattr(memory, "temp_size_in_bytes", None),
        "compile_seconds": round(seconds, 2),
    }


def chip(topology: str) -> Any:
    """Describes one chip of a TPU that need not be there."""
    if _harness.optional("libtpu") is None:
        raise SystemExit("compile_tpu: libtpu is not installed: pip install libtpu (700 MB, Linux only).")
    from jax.experimental import topologies

    try:
        return topologies.get_topology_desc(topology, platform="tpu").devices[0]
    except (RuntimeError, ValueError, NotImplementedError) as error:
        raise SystemExit(f"compile_tpu: topology {topology!r} cannot be had: {error}") from None


def main(options: Options) -> None:
    """Compiles everything and shows a table."""
    for name, value in {"TPU_SKIP_MDS_QUERY": "1", "TPU_WORKER_HOSTNAMES": "localhost"}.items():
        os.environ.setdefault(name, value)  # there is no TPU machine to ask
    device = chip(options.topology)
    sharding = jax.sharding.SingleDeviceSharding(device)
    console = Console(width=120)
    table = Table(title=f"{device.device_kind} ({options.topology}), one chip, forward and gradient")
    for title in ("case", "GFLOP", "MB accessed", "MB in", "MB out", "MB temporary", "compile s"):
        table.add_column(title, justify="left" if title == "case" else "right")
    entries = []
    for case in cases():
        if options.only not in case.name:
            continue
        compiled = compile_case(case, sharding)
        entries.append({"name": case.name, "parameters": {}, "contenders": {}, "skipped": {}, "compiled": compiled})
        sizes = [compiled[k] for k in ("bytes_accessed", "argument_bytes", "output_bytes", "temporary_bytes")]
        shown = ["?" if size is None else f"{size / 1e6:.2f}" for size in sizes]
        flops = "?" if compiled["flops"] is None else f"{compiled['flops'] / 1e9:.3f}"
        table.add_row(case.name, flops, *shown, f"{compiled['compile_seconds']:.1f}")
    console.print(table)
    results = _harness.document("compile_tpu", entries, _harness.Options())
    results["target"] = {"topology": options.topology, "kind": device.device_kind, "chips": 1}
    _harness.check(results)
    if not options.only:
        options.out.mkdir(parents=True, exist_ok=True)
        path = options.out / f"compile_tpu-{options.topology.partition(':')[0]}.json"
        path.write_text(json.dumps(results, indent=1) + "\n")
        console.print(f"wrote {path.name}")


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
