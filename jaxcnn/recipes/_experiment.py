"""Runs the recipe: trains every arm and seed, measures, and leaves a folder that can be resumed, evaluated and read.

Layout of the folder::

    config.json                 format version, versions of the libraries, the configuration
    metrics.jsonl               all lines of all networks, with "arm" and "seed"
    results.json                test errors, parameters, times
    cnn/seed0/ ...              one run folder of ``train.fit`` per network, with its checkpoints
    plots/*.png  report.html    to look at
"""

import dataclasses
import importlib.metadata
import json
import math
import os
import platform
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcnn import train
from jaxcnn._check import check
from jaxcnn.recipes.rts_digits import Arm, Config, build, generator, optimizer, test_set

__all__ = ["FORMAT", "Network", "classify", "evaluate", "load", "networks", "open_folder", "read_folder", "run"]

FORMAT = 1
"""Version of the folder's layout."""

LIBRARIES = ("jax", "flax", "optax", "orbax-checkpoint", "numpy")


@dataclasses.dataclass(frozen=True)
class Network:
    """One trained network of a run."""

    arm: Arm
    seed: int
    folder: Path


def networks(config: Config, folder: Path) -> list[Network]:
    """Lists the networks of a run in the order of their training."""
    return [Network(arm, seed, folder / arm / f"seed{seed}") for arm in config.arms for seed in range(config.seeds)]


def open_folder(folder: Path, config: Config) -> None:
    """Starts a run in a new or empty folder, and refuses one that holds anything."""
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    check(not taken, "run", "folder", "new or empty (--resume goes on with a run)", str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "format": FORMAT,
        "recipe": "rts_digits",
        "jaxcnn": importlib.metadata.version("jaxcnn"),
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "device": device(),
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "config": dataclasses.asdict(config),
    }
    _write(folder / "config.json", about)


def read_folder(folder: Path) -> Config:
    """Reads the configuration of a run, and refuses what is no run folder of this format."""
    path = folder / "config.json"
    check(path.is_file(), "run", "folder", "a run folder with config.json", repr(str(folder)))
    try:
        about = json.loads(path.read_text())
        version, values = about["format"], about["config"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"run: {path} must be the config.json of a run, got something else.") from None
    other = f"{version!r} (written by jaxcnn {about.get('jaxcnn', 'of an unknown version')})"
    check(version == FORMAT, "run", "folder", f"of format {FORMAT}", f"{folder} of format {other}")
    if not isinstance(values, dict):
        raise ValueError(f"run: {path} must hold the options of a run of this version, got {values!r}.")
    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    try:
        return Config(**given)
    except TypeError:
        raise ValueError(f"run: {path} must hold the options of a run of this version, got {sorted(values)}.") from None


def run(config: Config, folder: Path, *, progress: bool = True, say: Callable[[str], None] = print) -> dict[str, Any]:
    """Trains what is not yet trained, measures, and writes metrics and results.

    Args:
        config: What the run is made of.
        folder: The run folder, as ``open_folder`` made it; a killed run goes on from its checkpoints.
        progress: Whether to show a progress bar per network.
        say: Takes warnings.

    Returns:
        The results, as in ``results.json``.
    """
    test, draw = test_set(config), generator(config)
    began = time.perf_counter()
    lines: list[dict[str, Any]] = []
    outcomes: dict[str, list[train.Result]] = {arm: [] for arm in config.arms}
    for network in networks(config, folder):
        result = train.fit(
            jax.random.key(network.seed),
            build(config, network.arm),
            optimizer(config),
            draw.stream(config.batch),
            steps=config.steps,
            evaluate=test,
            evaluate_every=config.evaluate_every,
            run=network.folder,
            best=None,
            keep=1,
            checkpoint_every=max(1, config.steps // 4),
            progress=f"{network.arm} seed {network.seed}" if progress else None,
        )
        outcomes[network.arm].append(result)
        lines += [{"arm": network.arm, "seed": network.seed, **line} for line in result.history]
        if network.arm == "st_cnn":
            reach = float(np.abs(classify(config, network, result.variables, test["image"])["theta"]).max())
            if reach > 3:
                say(
                    f"{network.arm} seed {network.seed}: the transform reaches {reach:.1f}; its frame leaves the image."
                )
    _write_text(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    results = {
        "format": FORMAT,
        "device": device(),
        "config": dataclasses.asdict(config),
        "test_images": len(test["label"]),
        "arms": {arm: _summary(of_arm) for arm, of_arm in outcomes.items()},
        "seconds": time.perf_counter() - began,
    }
    if set(config.arms) == {"cnn", "st_cnn"}:
        results["comparison"] = _compare(results["arms"]["cnn"], results["arms"]["st_cnn"])
    _write(folder / "results.json", results)
    return results


def load(network: Network) -> dict[str, Any]:
    """Reads the variables of a trained network."""
    check(network.folder.is_dir(), "run", "folder", f"trained as far as {network.arm} seed {network.seed}", "less")
    return train.load_variables(network.folder)


def classify(config: Config, network: Network, variables: Mapping[str, Any], images: np.ndarray) -> dict[str, Any]:
    """Classifies images (n, h, w, 1).

    Returns:
        ``probabilities`` (n, 10); behind a transformer also ``theta``, ``frame`` (n, 4, 2) and ``seen``, its output.
    """
    model = build(config, network.arm)

    @jax.jit
    def apply(variables: Any, x: Any) -> Any:
        kept: Any
        logits, kept = model.apply(
            variables, x, mutable="intermediates", capture_intermediates=lambda m, _: m.name == "transformer"
        )
        parts = {"probabilities": jax.nn.softmax(logits)}
        sown = kept.get("intermediates", {}).get("transformer")
        if sown is not None:
            parts |= {"theta": sown["theta"][0], "frame": sown["frame"][0], "seen": sown["__call__"][0]}
        return parts

    chunk = 360
    chunks = [
        _padded(images[i : i + chunk], chunk if len(images) > chunk else len(images))
        for i in range(0, len(images), chunk)
    ]
    parts = [jax.device_get(apply(dict(variables), x)) for x in chunks]
    return {name: np.concatenate([part[name] for part in parts])[: len(images)] for name in parts[0]}


def evaluate(config: Config, folder: Path) -> dict[str, list[float]]:
    """Measures the test error in percent of every trained network of a run again, from its checkpoints."""
    test, errors = test_set(config), {arm: [] for arm in config.arms}
    for network in networks(config, folder):
        found = classify(config, network, load(network), test["image"])["probabilities"].argmax(1)
        errors[network.arm].append(100 * float(np.mean(found != test["label"])))
    return errors


def device() -> str:
    """Names what the networks are trained on."""
    first = jax.devices()[0]
    return f"{first.device_kind}, {os.cpu_count()} cores" if first.platform == "cpu" else str(first.device_kind)


def spread(errors: list[float]) -> tuple[float, float]:
    """Gives mean and standard deviation over seeds (nan for one seed)."""
    return float(np.mean(errors)), float(np.std(errors, ddof=1)) if len(errors) > 1 else math.nan


def _summary(results: list[train.Result]) -> dict[str, Any]:
    errors = [100 * (1 - result.evaluation["accuracy"]) for result in results]
    mean, std = spread(errors)
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(results[0].state.params)),
        "errors": errors,
        "mean": mean,
        "std": None if math.isnan(std) else std,
        "seconds": sum(result.seconds for result in results),
        "compile_seconds": sum(result.compile_seconds for result in results),
    }


def _compare(cnn: Mapping[str, Any], st_cnn: Mapping[str, Any]) -> dict[str, Any]:
    gap, n = cnn["mean"] - st_cnn["mean"], len(cnn["errors"])
    error = None if n < 2 else math.sqrt((cnn["std"] ** 2 + st_cnn["std"] ** 2) / n)
    return {
        "ratio": st_cnn["mean"] / cnn["mean"] if cnn["mean"] else None,
        "gap": gap,
        "gap_in_standard_errors": gap / error if error else None,
    }


def _padded(images: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([images, np.zeros((size - len(images), *images.shape[1:]), images.dtype)])


def _write(path: Path, value: Any) -> None:
    _write_text(path, json.dumps(value, indent=1) + "\n")


def _write_text(path: Path, text: str) -> None:
    """Replaces a file in one step, so that a killed run never leaves half of one."""
    part = path.with_name(path.name + ".part")
    part.write_text(text)
    part.replace(path)
