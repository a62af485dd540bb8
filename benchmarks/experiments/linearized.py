"""Where a spatial transformer learns with a linearized gradient and fails with a bilinear one.

Command: ``python -m benchmarks.experiments.linearized``, ``--quick`` only checks that it runs. Writes
``results/linearized-<device>.json``, a table and ``docs/images/linearized.png``.

A bright round spot lies somewhere on a dark image of 64 x 64 pixels, drawn anew for every batch. A transformer
(translation) reads the image at 8 x 8 points, and the loss is the mean square difference to what it would read with
the spot in the middle: the position of the spot is never a label. The smaller the spot, the fewer of the points
see it. Arms: bilinear sampling, bilinear sampling with antialiasing, and ``ops.linearized_grid_sample`` with k samples
around each point. One schedule (Adam, 1e-3, batches of 32) for all, tuned for the third; the result is the
distance from the middle of the frame to the spot, on 256 new images, over seeds. Staying in the middle gives about
0.46, the first row of the table.
"""

import dataclasses
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from benchmarks import _harness
from jaxcnn import layers, ops
from jaxcnn._typing import PyTree
from jaxcnn.report import png
from jaxcnn.report.style import FAINT, PALETTE, figure

DOCS = Path(__file__).parents[2] / "docs" / "images"
WIDTHS = (0.06, 0.08, 0.1, 0.15, 0.2, 0.3)
SIDE, POINTS, SPREAD, REACH, BATCH = 64, 8, 0.6, 0.3, 32
ARMS: dict[str, dict[str, Any]] = {
    "bilinear": {},
    "antialias": {"antialias": True},
    "linearized, k = 8": {"auxiliary_samples": 8},
    "linearized, k = 32": {"auxiliary_samples": 32},
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(_harness.Options):
    """Options of the experiment."""

    seeds: int = 5
    """Transformers per arm and width."""
    steps: int = 2000
    """Training steps of each."""
    images: Path = DOCS
    """Folder of the plot."""


class Localizer(nn.Module):
    """Two dense layers over the image, halved twice."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Returns features."""
        x = ops.avg_pool(x, 4)
        x = x.reshape(*x.shape[:-3], int(np.prod(x.shape[-3:])))
        return nn.relu(nn.Dense(64, name="dense2")(nn.relu(nn.Dense(64, name="dense1")(x))))


def spots(centers: jax.Array, width: float, side: int = SIDE) -> jax.Array:
    """Draws spots at centers (n, 2) in [-1, 1]."""
    position = jnp.asarray((2 * np.arange(side) + 1) / side - 1, jnp.float32)
    x = jnp.exp(-((position[None, :] - centers[:, :1]) ** 2) / (2 * width**2))
    y = jnp.exp(-((position[None, :] - centers[:, 1:]) ** 2) / (2 * width**2))
    return (y[:, :, None] * x[:, None, :])[..., None]


def train_distances(options: Options, width: float, arm: Mapping[str, Any], seeds: int) -> list[float]:
    """Trains one transformer per seed; returns their mean distances from the spots."""
    layer = layers.SpatialTransformer(
        Localizer(), "translation", output_shape=(POINTS, POINTS), auxiliary_reach=REACH, **arm
    )
    middle = spots(jnp.zeros((1, 2)), width)
    target = ops.warp_affine(middle, jnp.eye(2, 3), shape=(POINTS, POINTS), antialias=arm.get("antialias", False))
    optimizer = optax.adam(1e-3)

    def draw_centers(key: jax.Array, n: int) -> jax.Array:
        return jax.random.uniform(key, (n, 2), minval=-SPREAD, maxval=SPREAD)

    def loss(params: PyTree, key: jax.Array) -> jax.Array:
        x = spots(draw_centers(key, BATCH), width)
        y = layer.apply({"params": params}, x, train=True, rngs={"dropout": jax.random.fold_in(key, 1)})
        return jnp.mean((jnp.asarray(y) - target) ** 2)

    def step(carry: tuple[PyTree, optax.OptState], key: jax.Array) -> tuple[tuple[PyTree, optax.OptState], None]:
        params, state = carry
        updates, state = optimizer.update(jax.grad(loss)(params, key), state)
        return (optax.apply_updates(params, updates), state), None

    @jax.jit
    def train_one(key: jax.Array) -> jax.Array:
        params = layer.init(key, spots(draw_centers(key, 1), width))["params"]
        keys = jax.random.split(jax.random.fold_in(key, 2), options.steps)
        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), keys)
        centers = draw_centers(jax.random.key(999), 256)
        _, sown = layer.apply({"params": params}, spots(centers, width), mutable="intermediates")
        theta = jnp.asarray(sown["intermediates"]["theta"][0])
        return jnp.mean(jnp.linalg.norm(theta - centers, axis=-1))

    return [float(train_one(jax.random.key(seed))) for seed in range(seeds)]


def plot(found: Mapping[str, Mapping[float, list[float]]]) -> Any:
    """Draws the distance over the width of the spot, mean and range of the seeds."""
    canvas, axes = figure(1, 1, width=6.4, height=3.8)
    axis = axes[0][0]
    for color, (arm, of_width) in zip(PALETTE, found.items(), strict=False):
        widths = list(of_width)
        values = np.array([of_width[w] for w in widths])
        axis.plot(widths, values.mean(1), color=color, linewidth=2, marker="o", label=arm)
        axis.fill_between(widths, values.min(1), values.max(1), color=color, alpha=0.2, linewidth=0)
    axis.axvline(2 / POINTS, color=FAINT, linewidth=1)
    axis.annotate(" spacing of the points", (2 / POINTS, 0.99), xycoords=("data", "axes fraction"), va="top", size=8)
    axis.set_xlabel("width of the spot (standard deviation, the image spanning 2)")
    axis.set_ylabel("distance from the spot after training")
    axis.grid(axis="y", color=FAINT, linewidth=0.6)
    axis.set_axisbelow(True)
    axis.set_yscale("log")
    axis.legend(frameon=False)
    return canvas


def run(options: Options) -> dict[str, Any]:
    """Trains all arms, writes results and plot."""
    if options.quick:
        options = dataclasses.replace(options, seeds=2, steps=20)
    widths = WIDTHS[2:3] if options.quick else WIDTHS
    centers = np.random.default_rng(0).uniform(-SPREAD, SPREAD, (100_000, 2))
    found: dict[str, dict[float, list[float]]] = {}
    for arm, settings in ARMS.items():
        found[arm] = {}
        for width in widths:
            found[arm][width] = train_distances(options, width, settings, options.seeds)
            print(f"{arm}, width {width}: {statistics.mean(found[arm][width]):.3f}", flush=True)
    results = _harness.document("linearized", [], options)
    results["settings"] |= {"seeds": options.seeds, "steps": options.steps, "spread": SPREAD, "reach": REACH}
    results["distances"] = {arm: {str(w): v for w, v in of.items()} for arm, of in found.items()}
    rows: list[list[Any]] = [["width of the spot", *(f"{w:g}" for w in widths)]]
    centered = f"{np.linalg.norm(centers, axis=1).mean():.3f}"
    rows.append(["staying in the middle", *[centered] * len(widths)])
    for arm, of_width in found.items():
        rows.append([arm, *(f"{statistics.mean(v):.3f} ± {statistics.stdev(v):.3f}" for v in of_width.values())])
    results["tables"] = {f"distance from the spot, mean ± standard deviation of {options.seeds} seeds": rows}
    _harness.write(results, options)
    options.images.mkdir(parents=True, exist_ok=True)
    name = "linearized-quick.png" if options.quick else "linearized.png"
    (options.images / name).write_bytes(png(plot(found)))
    return results


if __name__ == "__main__":
    run(tyro.cli(Options, description=__doc__))
