"""Error and cost of shrinking an image: plain, antialiased, and by brute force.

Command: ``python -m benchmarks.speed.antialias``, ``--quick`` only checks that it runs; ``--images DIR`` uses the
photographs of a folder instead of scikit-learn's two. Every photograph (a square of it, float32 in [0, 1]) is rotated
and shrunk by ``warp_affine``. The error is the root mean square difference to the mean of 16 x 16 bilinear samples per
output pixel, over the pixels that lie inside, all rotations and all photographs. Time is that of two photographs:
"fitted" onto an output as many times smaller, and on a "canvas" of the input's size. Draws
``docs/images/antialias.png`` from scikit-learn's photographs.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks import _harness
from jaxcnn import ops
from jaxcnn._typing import AnyArray
from jaxcnn.report import png
from jaxcnn.report.style import figure

DOCS = Path(__file__).parents[2] / "docs" / "images"

SCALES = (1.2, 1.5, 2.0, 3.0, 4.0, 5.0, 6.5, 8.0)
ANGLES = (0.0, 10.0, 25.0, 45.0, 70.0)
SIDE = 416


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(_harness.Options):
    """Options of this benchmark."""

    images: Path | None = None
    """Folder of photographs of at least 416 x 416 pixels."""
    plots: Path = DOCS
    """Folder of the picture."""


def photographs(folder: Path | None) -> np.ndarray:
    """Loads the squares in the middle of photographs, (n, 416, 416, 3)."""
    if folder is None:
        from sklearn.datasets import load_sample_images

        pictures = load_sample_images().images
    else:
        from PIL import Image

        found = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(folder.iterdir())]
        pictures = [picture for picture in found if min(picture.shape[:2]) >= SIDE]
    corners = [[(n - SIDE) // 2 for n in picture.shape[:2]] for picture in pictures]
    squares = [p[i : i + SIDE, j : j + SIDE] for p, (i, j) in zip(pictures, corners, strict=True)]
    return np.stack(squares).astype(np.float32) / 255


def matrix(scale: float, degrees: float) -> np.ndarray:
    """Builds the transform of output to input points; at equal sizes an output pixel spans ``scale`` input pixels."""
    angle = np.deg2rad(degrees)
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0]], np.float32) * scale


def plain(images: AnyArray, theta: AnyArray, shape: tuple[int, int]) -> jax.Array:
    """Reads one point per pixel."""
    return ops.warp_affine(images, theta, shape=shape)


def antialiased(images: AnyArray, theta: AnyArray, shape: tuple[int, int]) -> jax.Array:
    """Averages over what a pixel covers."""
    return ops.warp_affine(images, theta, shape=shape, antialias=True)


def supersampled(images: AnyArray, theta: AnyArray, shape: tuple[int, int], *, n: int) -> jax.Array:
    """Reads n x n points per pixel and takes their mean."""
    h, w = shape
    return ops.avg_pool(ops.warp_affine(images, theta, shape=(n * h, n * w)), n)


Method = Callable[[AnyArray, AnyArray, tuple[int, int]], jax.Array]

METHODS: dict[str, Method] = {
    "plain": plain,
    "antialias": antialiased,
    **{f"{n} x {n} samples": functools.partial(supersampled, n=n) for n in (2, 3, 4)},
}


def errors(images: np.ndarray, scale: float) -> dict[str, float]:
    """Returns the root mean square error of every method over the pixels that lie inside."""
    # Inside at every rotation, and an output pixel is exactly ``scale`` input pixels wide.
    side = int(SIDE / scale / np.sqrt(2)) - 2
    zoom = side * scale / SIDE
    totals = dict.fromkeys(METHODS, 0.0)
    for degrees in ANGLES:
        theta = matrix(zoom, degrees)
        reference = supersampled(images, theta, (side, side), n=16)
        for name, method in METHODS.items():
            totals[name] += float(
                jnp.mean((jax.jit(method, static_argnums=2)(images, theta, (side, side)) - reference) ** 2)
            )
    return {name: (total / len(ANGLES)) ** 0.5 for name, total in totals.items()}


def cases(images: np.ndarray, scales: Sequence[float]) -> list[_harness.Case]:
    """Lists every scale, fitted and on a canvas."""
    found, pair = [], jnp.asarray(images[:2])
    for scale in scales:
        fitted = (round(SIDE / scale),) * 2
        settings = {"fitted": (matrix(1.0, 25.0), fitted), "canvas": (matrix(scale, 25.0), (SIDE, SIDE))}
        for setting, (theta, shape) in settings.items():
            contenders = []
            for name, method in METHODS.items():
                build = functools.partial(prepare, method, pair, jnp.asarray(theta), shape)
                contenders.append(_harness.Contender(name, build, lambda result: [result]))
            parameters = {"scale": scale, "setting": setting, "images": list(pair.shape), "output": list(shape)}
            found.append(_harness.Case(f"{scale:g} times smaller, {setting}", parameters, contenders, 1.0))
    return found


def prepare(method: Method, images: jax.Array, theta: jax.Array, shape: tuple[int, int]) -> _harness.Run:
    """Compiles one method."""
    work = jax.jit(lambda images, theta: method(images, theta, shape))
    return lambda: jax.block_until_ready(work(images, theta))


def tables(images: np.ndarray, results: Mapping[str, Any]) -> dict[str, list[list[Any]]]:
    """Tabulates errors and times."""
    title = f"error over that of plain reading (photographs: {len(images)}; rotations: {len(ANGLES)}), and time over it"
    rows: list[list[Any]] = [
        ["times smaller", "method", "RMSE", "plain's error over it", "time, fitted", "time, canvas"]
    ]
    for fitted, canvas in zip(results["cases"][::2], results["cases"][1::2], strict=True):
        scale = fitted["parameters"]["scale"]
        error = errors(images, scale)
        for name in METHODS:
            cost = [case["contenders"][name]["milliseconds"]["median"] for case in (fitted, canvas)]
            base = [case["contenders"]["plain"]["milliseconds"]["median"] for case in (fitted, canvas)]
            ratios = [f"{a / b:.2f}" for a, b in zip(cost, base, strict=True)]
            rows.append([f"{scale:g}", name, f"{error[name]:.4f}", f"{error['plain'] / error[name]:.2f}", *ratios])
    return {title: rows}


def plot(images: np.ndarray) -> Any:
    """Draws a photograph, rotated by 10 degrees and shrunk 5 times, sampled by three methods."""
    side = int(SIDE / 5 / np.sqrt(2)) - 2
    theta = matrix(side * 5 / SIDE, 10.0)
    methods = {"plain": plain, "antialias=True": antialiased, "16 x 16 samples": functools.partial(supersampled, n=16)}
    canvas, axes = figure(1, 3, width=8.4, height=3.1)
    for axis, (name, method) in zip(axes[0], methods.items(), strict=True):
        axis.imshow(np.clip(method(images[:1], theta, (side, side))[0], 0, 1), interpolation="nearest")
        axis.set_title(name, size=10)
        axis.set_axis_off()
    return canvas


def main(options: Options) -> None:
    """Runs the benchmark."""
    _harness.limit_threads(options.threads)
    images = photographs(options.images)
    scales = SCALES[3:4] if options.quick else SCALES
    options.plots.mkdir(parents=True, exist_ok=True)
    name = "antialias-quick.png" if options.quick else "antialias.png"
    (options.plots / name).write_bytes(png(plot(photographs(None))))
    _harness.run("antialias", cases(images, scales), options, tables=functools.partial(tables, images))


if __name__ == "__main__":
    main(tyro.cli(Options, description=__doc__))
