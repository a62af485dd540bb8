"""Timing of contenders side by side, and one JSON document for every benchmark.

The contenders of a case take turns in every round, in an order drawn anew, so that whatever else the machine does
hits all of them alike; ratios are formed inside a round and only then summarised. Between turns the caller keeps
its core busy for a moment: threads of an OpenMP runtime spin on after their work, and would take a core from
whoever comes next. A sample is the mean over as many calls
as fill ``Options.sample_seconds``, the device is waited for inside the timed region, and building
(tracing, compiling, the first call) is timed apart.
"""

import dataclasses
import datetime
import importlib
import importlib.metadata
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
SCHEMA = 1

Run = Callable[[], Any]
"""Does the work once and returns when the device has finished it."""


@dataclasses.dataclass(frozen=True)
class CompiledRun:
    """Runs a compiled program whose memory is known."""

    function: Run
    temporary_bytes: int | None
    """Memory that the program allocates besides its arguments and results."""

    def __call__(self) -> Any:
        """Runs the program and waits for the device."""
        return self.function()


class Skipped(Exception):
    """A contender cannot run here; the message says why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What every benchmark can be told."""

    rounds: int = 15
    """How often every contender has its turn."""
    warmup: int = 3
    """Calls before the first round."""
    sample_seconds: float = 0.02
    """Calls are repeated until one sample has taken this long."""
    quick: bool = False
    """Three rounds of the smallest cases: shows that it runs, measures little."""
    threads: int = 2
    """Cores used by XLA and by PyTorch alike."""
    out: Path = RESULTS
    """Folder of the JSON document and the table."""


@dataclasses.dataclass(frozen=True)
class Contender:
    """One way to do the work of a case.

    ``build`` prepares it, compilation included, and gives the function that is timed; it may raise
    ``Skipped``. ``values`` turns the result into NumPy arrays for the comparison.
    """

    name: str
    build: Callable[[], Run]
    values: Callable[[Any], Sequence[Any]]


@dataclasses.dataclass(frozen=True)
class Case:
    """One piece of work, its contenders (the first is the one the others are compared with) and the error allowed."""

    name: str
    parameters: Mapping[str, Any]
    contenders: Sequence[Contender]
    tolerance: float


def limit_threads(threads: int) -> None:
    """Gives XLA and PyTorch the same cores; call it before JAX starts its backend."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores[:threads])
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch = optional("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def optional(name: str) -> Any:
    """Gives a library, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def measure(case: Case, options: Options) -> dict[str, Any]:
    """Runs all contenders of a case in turns and gives its entry of the document."""
    runs, entries, skipped, reference = {}, {}, {}, None
    for contender in case.contenders:
        start = time.perf_counter()
        try:
            run = contender.build()
        except Skipped as reason:
            skipped[contender.name] = str(reason)
            continue
        result = run()
        entries[contender.name] = {"build_seconds": round(time.perf_counter() - start, 3)}
        if (temporary := getattr(run, "temporary_bytes", None)) is not None:
            entries[contender.name]["temporary_bytes"] = temporary
        values = contender.values(result)
        reference = values if reference is None else reference
        error = max(_error(value, true) for value, true in zip(values, reference, strict=True))
        entries[contender.name]["error"] = float(f"{error:.3g}")
        if not error <= case.tolerance:
            raise AssertionError(f"{case.name}: {contender.name} computes something else: {error} > {case.tolerance}")
        runs[contender.name] = run

    samples = _take_turns(runs, options)
    first = next(iter(samples), "")
    for name, entry in entries.items():
        entry["milliseconds"] = _summary([1000 * sample for sample in samples[name]])
        entry["ratio"] = _summary([own / other for own, other in zip(samples[name], samples[first], strict=True)])
    return {"name": case.name, "parameters": dict(case.parameters), "contenders": entries, "skipped": skipped}


def _take_turns(runs: Mapping[str, Run], options: Options) -> dict[str, list[float]]:
    calls = {}
    for name, run in runs.items():
        seconds = [_timed(run, 1) for _ in range(options.warmup)]
        calls[name] = max(1, round(options.sample_seconds / min(seconds)))
    samples: dict[str, list[float]] = {name: [] for name in runs}
    order, shuffle = list(runs), random.Random(0).shuffle
    for _ in range(3 if options.quick else options.rounds):
        shuffle(order)
        for name in order:
            _settle()
            samples[name].append(_timed(runs[name], calls[name]))
    return samples


def _settle(seconds: float = 0.005) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def _timed(run: Run, calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def _summary(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": float(f"{middle:.4g}"), "q1": float(f"{low:.4g}"), "q3": float(f"{high:.4g}")}


def _error(value: Any, true: Any) -> float:
    """Gives the norm of the difference over the norm of the reference."""
    import numpy as np

    true = np.asarray(true, np.float64)
    norm = float(np.linalg.norm(true.ravel()))
    return float(np.linalg.norm((np.asarray(value, np.float64) - true).ravel())) / (norm or 1.0)


def document(
    name: str, cases: Sequence[Mapping[str, Any]], options: Options, *, libraries: Sequence[str] = ()
) -> dict[str, Any]:
    """Puts the cases together with everything needed to read them later."""
    return {
        "schema": SCHEMA,
        "benchmark": name,
        "command": " ".join(["python -m", _module(), *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "device": device(),
        "versions": versions(libraries),
        "settings": {
            "rounds": 3 if options.quick else options.rounds,
            "warmup": options.warmup,
            "sample_seconds": options.sample_seconds,
            "threads": options.threads,
            "load": [round(load, 2) for load in os.getloadavg()],
        },
        "cases": list(cases),
    }


def device() -> dict[str, Any]:
    """Describes what JAX runs on."""
    import jax

    kind = jax.devices()[0]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"platform": kind.platform, "kind": kind.device_kind, "processor": _processor(), "cores": cores}


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def versions(libraries: Sequence[str] = ()) -> dict[str, str | None]:
    """Gives the versions of everything that is measured, and of further libraries."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in ("jax", "jaxlib", "flax", "numpy", "torch", *libraries):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _module() -> str:
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec else Path(sys.argv[0]).stem


def _commit() -> str | None:
    """Gives the commit of the checkout, with a + where files differ from it."""
    try:
        call = ["git", "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        return subprocess.run(
            call, capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def slug() -> str:
    """Names the device in a file name, such as ``cpu-2`` or ``nvidia-h200``."""
    here = device()
    text = f"cpu-{here['cores']}" if here["platform"] == "cpu" else here["kind"]
    return "-".join("".join(c if c.isalnum() else " " for c in text.lower()).split())


def table(results: Mapping[str, Any]) -> str:
    """Writes a document as a Markdown table."""
    here = results["device"]
    named = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if version)
    lines = [
        f"# {results['benchmark']}",
        "",
        f"`{results['command']}`, {results['date'][:10]}, commit {results['commit'] or 'unknown'}, {named};",
        f"{here['kind']} ({here['processor']}, {here['cores']} cores).",
    ]
    if results["cases"]:
        lines[-1] += " Milliseconds: median and quartiles of"
        lines += [
            f"{results['settings']['rounds']} rounds; the ratio is to the first contender of the case, "
            "in the same round:",
            "above 1 it is slower.",
            "",
            "| case | contender | ms | quartiles | ratio | quartiles | build s | error |",
            "|---|---|---|---|---|---|---|---|",
        ]
    for case in results["cases"]:
        for name, entry in case["contenders"].items():
            time_, ratio = entry["milliseconds"], entry["ratio"]
            lines.append(
                f"| {case['name']} | {name} | {time_['median']:.3g} | {time_['q1']:.3g} to {time_['q3']:.3g} | "
                f"{ratio['median']:.2f} | {ratio['q1']:.2f} to {ratio['q3']:.2f} | {entry['build_seconds']:.1f} | "
                f"{entry['error']:.0e} |"
            )
        lines += [f"| {case['name']} | {name} | skipped: {why} | | | | | |" for name, why in case["skipped"].items()]
    for task, ratios in results.get("summary", {}).items():
        lines += ["", f"{task}:", *(f"- {title}: {value}" for title, value in ratios.items())]
    for title, rows in results.get("tables", {}).items():
        lines += ["", f"{title}:", "", *_markdown(rows)]
    return "\n".join(lines) + "\n"


def _markdown(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Writes rows, the first of them the titles of the columns."""
    first, *rest = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return [first, "|" + "---|" * len(rows[0]), *rest]


def write(results: Mapping[str, Any], options: Options) -> Path:
    """Writes ``<name>-<device>.json`` and the table beside it, and gives the path of the former."""
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{results['benchmark']}-{slug()}{'-quick' if options.quick else ''}.json"
    path.write_text(json.dumps(results, indent=1) + "\n")
    path.with_suffix(".md").write_text(table(results))
    return path


def run(
    name: str,
    cases: Sequence[Case],
    options: Options,
    *,
    summary: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
    tables: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
    libraries: Sequence[str] = (),
) -> dict[str, Any]:
    """Measures all cases, shows each as it is done, and writes ``<name>-<device>.json`` and ``.md``.

    What ``summary`` and ``tables`` make of the document is added to it; ``libraries`` are those besides the usual
    whose versions it holds.
    """
    from rich.console import Console

    console = Console(width=120)
    measured = []
    for case in cases:
        entry = measure(case, options)
        measured.append(entry)
        console.print(rich_table(entry))
    results = document(name, measured, options, libraries=libraries)
    check(results)
    if summary is not None:
        results["summary"] = summary(results)
        console.print(results["summary"])
    if tables is not None:
        results["tables"] = tables(results)
    path = write(results, options)
    console.print(f"wrote {path.name} and {path.with_suffix('.md').name}")
    return results


def rich_table(entry: Mapping[str, Any]) -> Any:
    """Shows the entry of a case on the console."""
    from rich.table import Table

    shown = Table(title=entry["name"], title_justify="left")
    for title in ("contender", "ms", "quartiles", "ratio", "quartiles", "build s", "error"):
        shown.add_column(title, justify="left" if title == "contender" else "right")
    for name, values in entry["contenders"].items():
        time_, ratio = values["milliseconds"], values["ratio"]
        shown.add_row(
            name,
            f"{time_['median']:.3g}",
            f"{time_['q1']:.3g} to {time_['q3']:.3g}",
            f"{ratio['median']:.2f}",
            f"{ratio['q1']:.2f} to {ratio['q3']:.2f}",
            f"{values['build_seconds']:.1f}",
            f"{values['error']:.0e}",
        )
    for name, reason in entry["skipped"].items():
        shown.add_row(name, f"skipped: {reason}")
    return shown


def check(results: Mapping[str, Any]) -> None:
    """Refuses a document that is not of the schema."""
    kinds = {"schema": int, "benchmark": str, "command": str, "date": str, "device": dict, "versions": dict}
    kinds |= {"settings": dict, "cases": list}
    for key, kind in kinds.items():
        if not isinstance(results.get(key), kind):
            raise ValueError(f"check: {key} must be of type {kind.__name__}, got {results.get(key)!r}.")
    for case in results["cases"]:
        for name, entry in case["contenders"].items():
            missing = {"build_seconds", "error", "milliseconds", "ratio"} - set(entry)
            if missing:
                raise ValueError(f"check: {case['name']}, {name} must have {sorted(missing)}.")
