"""``ops.max_pool`` and ``ops.avg_pool`` against Flax's (XLA's windowed reductions) and PyTorch's (both memory formats).

Command: ``python -m benchmarks.speed.pooling``; ``--quick`` only checks that it runs. PyTorch is optional. Float32.
"forward+backward" computes the output and the gradient for one fixed cotangent.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import tyro

from benchmarks import _harness, _tasks
from jaxcnn import ops

TASKS = {"forward": (), "forward+backward": (0,)}


@dataclasses.dataclass(frozen=True)
class Work:
    """One pooling of x of ``shape`` (b, h, w, c)."""

    kind: str  # max or avg
    shape: tuple[int, ...]
    window: int
    strides: int
    padding: int = 0
    ceil_mode: bool = False

    @property
    def name(self) -> str:
        """Name such as ``max 64x20x20x32 w2 s2``."""
        parts = [self.kind, "x".join(map(str, self.shape)), f"w{self.window}", f"s{self.strides}"]
        return " ".join(parts + [f"p{self.padding}"] * bool(self.padding) + ["ceil"] * self.ceil_mode)

    def pool_by_jaxcnn(self, x: jax.Array) -> jax.Array:
        """Pools by jaxcnn."""
        pool = ops.max_pool if self.kind == "max" else ops.avg_pool
        count = {} if self.kind == "max" else {"count_include_pad": True}
        return pool(x, self.window, strides=self.strides, padding=self.padding, ceil_mode=self.ceil_mode, **count)

    def pool_by_flax(self, x: jax.Array) -> jax.Array:
        """Pools by Flax."""
        pool = nn.max_pool if self.kind == "max" else nn.avg_pool
        pads: Any = [(self.padding, self.padding)] * 2
        return pool(x, (self.window,) * 2, strides=(self.strides,) * 2, padding=pads)

    def arrays(self) -> list[np.ndarray]:
        """Creates input and cotangent, the same in every run."""
        random = np.random.default_rng(0)
        x = random.standard_normal(self.shape, np.float32)
        return [x, random.standard_normal(jax.eval_shape(self.pool_by_jaxcnn, x).shape, np.float32)]


_SHAPES = ((64, 20, 20, 32), (16, 56, 56, 64), (8, 14, 14, 512), (4, 112, 112, 64))
_WINDOWS = ((2, 2, 0), (3, 2, 1), (3, 1, 1))
EVERY = [Work(kind, shape, *window) for kind in ("max", "avg") for shape in _SHAPES for window in _WINDOWS]
EVERY += [
    Work("max", (16, 56, 56, 64), 3, 2, 0, ceil_mode=True),
    Work("max", (16, 56, 56, 64), 3, 3),
    Work("max", (16, 28, 28, 64), 5, 1, 2),
    Work("max", (16, 13, 13, 256), 13, 1, 6),
    Work("max", (16, 28, 28, 64), 4, 4),
    Work("max", (16, 28, 28, 64), 7, 7),
    Work("max", (16, 28, 28, 64), 28, 1),
    Work("avg", (16, 28, 28, 64), 5, 1, 2),
    Work("avg", (16, 28, 28, 64), 7, 7),
    Work("avg", (16, 28, 28, 64), 28, 1),
]
QUICK = [Work("max", (2, 8, 8, 3), 2, 2), Work("avg", (2, 8, 8, 3), 3, 2, 1)]


def with_flax(work: Work, wanted: Sequence[int]) -> _harness.Run:
    """Compiles Flax's pooling."""
    if work.ceil_mode:
        raise _harness.Skipped("Flax has no ceil mode")
    return _tasks.with_jax(work.pool_by_flax, work.arrays(), wanted)


def with_torch(work: Work, wanted: Sequence[int], *, channels_last: bool) -> _harness.Run:
    """Prepares PyTorch's pooling in one of its memory formats."""
    torch, place = _tasks.torch_device()
    if work.padding > work.window // 2:
        raise _harness.Skipped("PyTorch limits the padding to half of the window")
    pool = torch.nn.functional.max_pool2d if work.kind == "max" else torch.nn.functional.avg_pool2d
    memory = torch.channels_last if channels_last else torch.contiguous_format
    x, g = (
        torch.from_numpy(np.moveaxis(a, -1, 1).copy()).to(place).contiguous(memory_format=memory) for a in work.arrays()
    )
    x = x.requires_grad_(bool(wanted))

    def run() -> Any:
        y = pool(x, work.window, stride=work.strides, padding=work.padding, ceil_mode=work.ceil_mode)
        found = (y, *(torch.autograd.grad(y, [x], g) if wanted else ()))
        if place == "cuda":
            torch.cuda.synchronize()
        return found

    return run


def from_torch(result: Any) -> list[np.ndarray]:
    """Converts PyTorch's results to jaxcnn's layout."""
    return [np.moveaxis(array.detach().cpu().numpy(), 1, -1) for array in result]


def cases(every: Sequence[Work]) -> list[_harness.Case]:
    """Lists every pooling, forward and with gradients."""
    found = []
    for work in every:
        for task, wanted in TASKS.items():
            torch = functools.partial(with_torch, work, wanted)
            ours = functools.partial(_tasks.with_jax, work.pool_by_jaxcnn, work.arrays(), wanted)
            contenders = [
                _harness.Contender("jaxcnn", ours, list),
                _harness.Contender("flax", functools.partial(with_flax, work, wanted), list),
                _harness.Contender("torch, channels last", functools.partial(torch, channels_last=True), from_torch),
                _harness.Contender("torch, channels first", functools.partial(torch, channels_last=False), from_torch),
            ]
            parameters = {**dataclasses.asdict(work), "task": task}
            found.append(_harness.Case(f"{work.name} {task}", parameters, contenders, 1e-5))
    return found


def summary(results: Any) -> dict[str, Any]:
    """Summarizes the time of the others over jaxcnn's by window and task, with PyTorch's faster memory format."""
    found: dict[str, Any] = {}
    for case in results["cases"]:
        given = case["parameters"]
        small = f"{given['window']}x{given['window']}" if given["window"] in (2, 3) else "larger"
        for other, names in {"flax": ["flax"], "torch": ["torch, channels last", "torch, channels first"]}.items():
            times = [case["contenders"][name]["ratio"]["median"] for name in names if name in case["contenders"]]
            if times:
                found.setdefault(f"{given['kind']} {small} {given['task']}, {other}", []).append(min(times))
    return {key: _spread(values) for key, values in sorted(found.items())}


def _spread(values: Sequence[float]) -> dict[str, float]:
    mean = math.exp(sum(map(math.log, values)) / len(values))
    return {"least": float(f"{min(values):.3g}"), "geometric mean": float(f"{mean:.3g}")}


def main(options: _harness.Options) -> None:
    """Runs the benchmark."""
    _harness.limit_threads(options.threads)
    _harness.run("pooling", cases(QUICK if options.quick else EVERY), options, summary=summary)


if __name__ == "__main__":
    main(tyro.cli(_harness.Options, description=__doc__))
