"""Augmentation of batches against kornia, torchvision, augmax, dm_pix and Keras's layers, all of them optional.

Command: ``python -m benchmarks.speed.augment``, with ``--quick`` to see that it runs. Tasks: a flip, an affine
transform (15 degrees, 0.1 of translation, 0.9 to 1.1 in scale) and a color jitter (0.4, 0.4, 0.4, 0.1); the same with
normal noise (0.05); RandAugment(2, 9); TrivialAugmentWide. Sampling is bilinear. Every call uses new draws, and
every image has its own unless the table of omissions says otherwise. The result of a contender is examined before it is
timed (shape, range, changed, new draws, equal images made different), as random results have no error. Batches are on
the device in the layout that the library requires; if it takes only floating images, a contender converts levels of
uint8 inside the measured time, and returns floating ones.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tyro

from benchmarks import _harness
from benchmarks.speed import _augment_peers as peers
from jaxcnn import augment

SHAPES = [(128, 32, 32, 3), (32, 224, 224, 3)]
QUICK = [(4, 12, 12, 3)]
TASKS = (peers.PLAIN, peers.NOISY, peers.RANDOM, peers.TRIVIAL)
LIBRARIES = ("kornia", "torchvision", "augmax", "dm_pix", "keras")
PEERS: dict[str, Callable[[str, np.ndarray], _harness.Run]] = {
    "kornia": peers.kornia,
    "torchvision, per example": functools.partial(peers.torchvision, per_example=True),
    "torchvision, per batch": functools.partial(peers.torchvision, per_example=False),
    "augmax": peers.augmax,
    "dm_pix": peers.dm_pix,
    "keras": peers.keras,
}


def inputs(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Makes smooth colored images with some grain, the second half equal to the first, the same in every run."""
    random = np.random.default_rng(0)
    n, h, w, c = shape
    y, x = np.meshgrid(np.linspace(0, 1, h), np.linspace(0, 1, w), indexing="ij")
    rate, phase = random.uniform(2, 12, (2, n // 2, c)), random.uniform(0, 6, (n // 2, c))
    waves = np.sin(np.einsum("nc,hw->nhwc", rate[0], y) + np.einsum("nc,hw->nhwc", rate[1], x) + phase[:, None, None])
    images = np.clip(0.5 + 0.4 * waves + random.normal(0, 0.05, (n // 2, h, w, c)), 0, 1)
    images = np.concatenate([images, images])
    return np.round(images * 255).astype(np.uint8) if dtype == "uint8" else images.astype(np.float32)


def ours(task: str, images: np.ndarray) -> _harness.Run:
    """Compiles this library's augmentation of a batch."""
    if task in (peers.RANDOM, peers.TRIVIAL):
        name = "rand_augment" if task == peers.RANDOM else "trivial_augment"
        change = getattr(augment, name, None)
        if change is None:
            raise _harness.Skipped(f"there is no augment.{name}")
    else:
        affine = functools.partial(
            augment.random_affine, degrees=peers.DEGREES, translate=peers.TRANSLATE, scale=peers.SCALE
        )
        steps = [augment.random_flip_left_right, affine, functools.partial(augment.random_color_jitter, **peers.JITTER)]
        noise = functools.partial(augment.random_gaussian_noise, sigma=peers.SIGMA)
        change = augment.sequence([*steps, noise] if task == peers.NOISY else steps)
    return peers.with_jax(augment.batched(change), images)


def build_and_examine(
    name: str, task: str, images: np.ndarray, build: Callable[[str, np.ndarray], _harness.Run]
) -> Any:
    """Builds a contender and examines its result."""
    run = build(task, images)
    per_example = task not in peers.LESS.get(name, {}) or name in ("augmax", "dm_pix")
    peers.examine(f"{name}, {task}", run, images, per_example=per_example, tries=range(2 if per_example else 12))
    return run


def sizes(result: Any) -> list[np.ndarray]:
    """Returns what the results of all contenders have in common."""
    return [np.array(result.shape, np.float64)]


def cases(shapes: Sequence[tuple[int, ...]], dtypes: Sequence[str] = ("float32", "uint8")) -> list[_harness.Case]:
    """Lists every shape and dtype with every task."""
    found = []
    for shape in shapes:
        for dtype in dtypes:
            images = inputs(shape, dtype)
            for task in TASKS:
                contenders = [
                    _harness.Contender(name, functools.partial(build_and_examine, name, task, images, build), sizes)
                    for name, build in ({"jaxcnn": ours} | PEERS).items()
                ]
                parameters = {"shape": list(shape), "dtype": dtype, "task": task}
                name = f"{'x'.join(map(str, shape))} {dtype} {task}"
                found.append(_harness.Case(name, parameters, contenders, 0.0))
    return found


def summary(results: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the time of the fastest other over ours, among those that do all of the work, and among all."""
    found: dict[str, dict[str, Any]] = {}
    for case in results["cases"]:
        task, entries = case["parameters"]["task"], dict(case["contenders"])
        if entries.pop("jaxcnn", None) is None or not entries:
            continue
        fastest = sorted((entry["ratio"]["median"], name) for name, entry in entries.items())
        whole = [(ratio, name) for ratio, name in fastest if task not in peers.LESS.get(name, {})]
        for title, order in (("that do all of the work", whole), ("that there are", fastest)):
            if order:
                value = f"{order[0][0]:.2f} ({order[0][1]})"
                found.setdefault(f"time of the fastest of the others {title}, over ours", {})[case["name"]] = value
    return found


def tables(results: Mapping[str, Any]) -> dict[str, list[list[Any]]]:
    """Returns images per second, and what contenders leave out."""
    names = ["jaxcnn", *PEERS]
    speeds: list[list[Any]] = [["case", *names]]
    for case in results["cases"]:
        row: list[Any] = [case["name"]]
        for name in names:
            entry = case["contenders"].get(name)
            less = "*" if case["parameters"]["task"] in peers.LESS.get(name, {}) else ""
            speed = entry and 1000 * case["parameters"]["shape"][0] / entry["milliseconds"]["median"]
            row.append(f"{float(f'{speed:.3g}'):,.0f}{less}" if speed else "")
        speeds.append(row)
    left = [[name, task, why] for name, tasks in peers.LESS.items() for task, why in tasks.items()]
    return {
        "Images per second, by the median (* less work, see below)": speeds,
        "Less work": [["contender", "task", "left out"], *left],
    }


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(_harness.Options):
    """Options of this benchmark."""

    only: str = ""
    """Measures only the cases whose names contain this."""


def main(options: Options) -> None:
    """Runs the benchmark."""
    _harness.limit_threads(options.threads)
    every = cases(QUICK, ["uint8"]) if options.quick else cases(SHAPES)
    chosen = [case for case in every if options.only in case.name]
    _harness.run("augment", chosen, options, summary=summary, tables=tables, libraries=LIBRARIES)


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
