"""``grid_sample`` against PyTorch (both memory formats) and ``jax.scipy.ndimage.map_coordinates``.

Command: ``python -m benchmarks.speed.grid_sample``, ``--quick`` only checks that it runs. PyTorch is optional.
Every case reads ``n`` images of h x w x c (or volumes of d x h x w x c) at ``n`` grids of the same size (random
rotations and scales; of volumes in their planes), bilinear, zeros outside, pixel edges at -1 and 1, float32. Gradients
are of the output against one fixed cotangent and include the forward pass, whose result is kept. If the package
jaxcnn-native is installed, its kernels are a contender.
"""

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
import tyro

from benchmarks import _harness, _tasks
from jaxcnn import ops

SHAPES = [(256, 40, 40, 1), (64, 60, 60, 1), (16, 224, 224, 3), (16, 56, 56, 64), (16, 14, 14, 256), (2, 64, 64, 64, 4)]
TASKS = {"forward": (), "gradient to grid": (1,), "gradient to image and grid": (0, 1)}
THEIRS = {"torch": ("torch, channels last", "torch, channels first"), "map_coordinates": ("map_coordinates",)}
TOLERANCE = 1e-3  # norm of the difference over norm; a point that rounds across a pixel changes its slope


def inputs(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Makes images, grids and a cotangent, the same in every run."""
    random = np.random.default_rng(0)
    n, *depth, h, w, _ = shape
    angle, scale = random.uniform(-0.8, 0.8, n), random.uniform(0.7, 1.2, n)
    move = random.uniform(-0.2, 0.2, (n, 2))
    rows = [[np.cos(angle) * scale, -np.sin(angle) * scale, move[:, 0]]]
    rows += [[np.sin(angle) * scale, np.cos(angle) * scale, move[:, 1]]]
    theta = np.stack([np.stack(row, -1) for row in rows], -2)
    x, y = np.meshgrid((2 * np.arange(w) + 1) / w - 1, (2 * np.arange(h) + 1) / h - 1)
    grid = np.einsum("nij,hwj->nhwi", theta, np.stack([x, y, np.ones_like(x)], -1))
    if depth:
        z = (2 * np.arange(depth[0]) + 1) / depth[0] - 1 + 0.01
        grid = np.broadcast_to(grid[:, None], (n, *depth, h, w, 2))
        grid = np.concatenate([grid, np.broadcast_to(z[None, :, None, None, None], (*grid.shape[:-1], 1))], -1)
    image, cotangent = random.random(shape), random.standard_normal(shape)
    return image.astype(np.float32), grid.astype(np.float32), cotangent.astype(np.float32)


def map_coordinates(image: jax.Array, grid: jax.Array) -> jax.Array:
    """Samples with ``jax.scipy.ndimage.map_coordinates``."""
    size = image.shape[1:-1]
    points = [((grid[..., i] + 1) * n - 1) / 2 for i, n in enumerate(reversed(size))]
    read = functools.partial(jax.scipy.ndimage.map_coordinates, order=1, mode="constant")
    over_channels = jax.vmap(lambda channel, points: read(channel, points), in_axes=(-1, None), out_axes=-1)
    return jax.vmap(over_channels)(image, points[::-1])


def native(data: Sequence[np.ndarray], wanted: tuple[int, ...]) -> _harness.Run:
    """Compiles ``ops.grid_sample`` with the kernels of jaxcnn-native."""
    if jax.default_backend() != "cpu" or _harness.optional("jaxcnn_native") is None:
        raise _harness.Skipped("no native kernels are installed")
    os.environ["JAXCNN_NATIVE"] = "1"
    try:
        return _tasks.with_jax(ops.grid_sample, data, wanted)
    finally:
        del os.environ["JAXCNN_NATIVE"]


def with_torch(data: Sequence[np.ndarray], wanted: tuple[int, ...], *, channels_last: bool) -> _harness.Run:
    """Prepares PyTorch's function in one of its memory formats, on the same kind of device."""
    torch, place = _tasks.torch_device()
    image, grid, cotangent = (torch.from_numpy(array).to(place) for array in data)
    last = torch.channels_last if image.ndim == 4 else torch.channels_last_3d
    memory = last if channels_last else torch.contiguous_format
    first = (0, image.ndim - 1, *range(1, image.ndim - 1))
    image, cotangent = (array.permute(first).contiguous(memory_format=memory) for array in (image, cotangent))
    variables = [(image, grid)[position].requires_grad_() for position in wanted]

    def work() -> Any:
        value = torch.nn.functional.grid_sample(image, grid, mode="bilinear", align_corners=False)
        gradients = torch.autograd.grad(value, variables, cotangent) if variables else ()
        if place == "cuda":
            torch.cuda.synchronize()
        return [value, *gradients]

    return work


def to_numpy(result: Sequence[Any], wanted: tuple[int, ...]) -> list[np.ndarray]:
    """Moves the channels of PyTorch's results last."""
    images = [True, *(position == 0 for position in wanted)]
    arrays = [array.detach().cpu().numpy() for array in result]
    return [np.moveaxis(array, 1, -1) if image else array for array, image in zip(arrays, images, strict=True)]


def cases(shapes: Sequence[tuple[int, ...]]) -> list[_harness.Case]:
    """Lists every shape with every task."""
    found = []
    for shape in shapes:
        data = inputs(shape)
        for task, wanted in TASKS.items():
            from_torch = functools.partial(to_numpy, wanted=wanted)
            torch = functools.partial(with_torch, data, wanted)
            contenders = [
                _harness.Contender("jaxcnn", functools.partial(_tasks.with_jax, ops.grid_sample, data, wanted), list),
                _harness.Contender("jaxcnn, native", functools.partial(native, data, wanted), list),
                _harness.Contender("torch, channels last", functools.partial(torch, channels_last=True), from_torch),
                _harness.Contender("torch, channels first", functools.partial(torch, channels_last=False), from_torch),
                _harness.Contender(
                    "map_coordinates", functools.partial(_tasks.with_jax, map_coordinates, data, wanted), list
                ),
            ]
            name = f"{'x'.join(map(str, shape))} {task}"
            parameters = {
                "shape": list(shape),
                "task": task,
                "dtype": "float32",
                "mode": "bilinear",
                "padding": "zeros",
            }
            found.append(_harness.Case(name, parameters, contenders, TOLERANCE))
    return found


def summary(results: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Returns geometric means over the cases, per task; for PyTorch the faster memory format counts."""
    found: dict[str, dict[str, float]] = {}
    for task in TASKS:
        entries = [case["contenders"] for case in results["cases"] if case["parameters"]["task"] == task]
        for ours in ("jaxcnn", "jaxcnn, native"):
            for title, names in THEIRS.items():
                ratios = [
                    min(entry[n]["milliseconds"]["median"] for n in names) / entry[ours]["milliseconds"]["median"]
                    for entry in entries
                    if all(n in entry for n in (ours, *names))
                ]
                if ratios:
                    mean = float(np.exp(np.mean(np.log(ratios))))
                    found.setdefault(f"{task}: time over that of {ours}, geometric mean", {})[title] = round(mean, 2)
    return found


def main(options: _harness.Options) -> None:
    """Runs the benchmark."""
    _harness.limit_threads(options.threads)
    _harness.run("grid_sample", cases(SHAPES[:1] if options.quick else SHAPES), options, summary=summary)


if __name__ == "__main__":
    main(tyro.cli(_harness.Options, description=__doc__))
