"""``depthwise_conv`` against XLA's grouped convolution and PyTorch (both memory formats).

Command: ``python -m benchmarks.speed.depthwise``; ``--quick`` only checks that it runs. PyTorch and the compiled
kernels of jaxcnn-native are optional. Float32, padding that keeps the size at stride 1. "forward+backward" computes the
output and the gradients of input and kernel for one fixed cotangent. The document also contains the minimum memory
traffic of every case in bytes and, on an accelerator, cases in bfloat16.
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks import _harness, _tasks
from jaxcnn import ops

TASKS = {"forward": (), "forward+backward": (0, 1)}
Implementation = Literal["auto", "stencil", "native"]
OURS = ("jaxcnn", "jaxcnn, native", "jaxcnn, stencil")
TOLERANCE = {"float32": 1e-4, "bfloat16": 2e-2}  # norm of the difference over norm


@dataclasses.dataclass(frozen=True)
class Work:
    """One convolution: x of ``shape``, ``kernel`` taps along every spatial axis."""

    shape: tuple[int, ...]
    kernel: int = 3
    strides: int = 1
    dilation: int = 1
    multiplier: int = 1
    members: int = 0  # number of kernels under vmap, all on the same x
    dtype: str = "float32"

    @property
    def name(self) -> str:
        """Name such as ``8x56x56x128 k3 stride 2``."""
        parts = ["x".join(map(str, self.shape)), f"k{self.kernel}"]
        for word, value, usual in (
            ("stride", self.strides, 1),
            ("dilation", self.dilation, 1),
            ("multiplier", self.multiplier, 1),
            ("members", self.members, 0),
        ):
            parts += [f"{word} {value}"] * (value != usual)
        return " ".join(parts + [self.dtype] * (self.dtype != "float32"))

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.shape) - 2

    @property
    def padding(self) -> int:
        """Zeros at either end of every spatial axis."""
        return (self.kernel - 1) * self.dilation // 2

    def arrays(self) -> list[np.ndarray]:
        """Creates input, kernel and cotangent, the same in every run."""
        random = np.random.default_rng(0)
        c, member = self.shape[-1], (self.members,) * bool(self.members)
        reach = (self.kernel - 1) * self.dilation
        outputs = [(n + 2 * self.padding - reach - 1) // self.strides + 1 for n in self.shape[1:-1]]
        x = random.standard_normal(self.shape, np.float32)
        kernel = random.standard_normal((*member, *(self.kernel,) * self.rank, c, self.multiplier), np.float32)
        g = random.standard_normal((*member, self.shape[0], *outputs, c * self.multiplier), np.float32)
        return [np.asarray(a, jnp.dtype(self.dtype)) for a in (x, kernel, g)]

    def bytes_moved(self, task: str) -> int:
        """Computes the minimum memory traffic: forward reads x and writes y; backward reads x and dy and writes dx."""
        x, kernel, g = (a.nbytes for a in self.arrays())
        return x + kernel + g + (2 * x + g + kernel if task == "forward+backward" else 0)


EVERY = [
    Work((8, 56, 56, 128)),
    Work((8, 112, 112, 64)),
    Work((8, 14, 14, 728)),
    Work((1, 124, 124, 256)),
    Work((32, 32, 32, 64)),
    Work((8, 28, 28, 256), kernel=5),
    Work((8, 28, 28, 96), kernel=7),
    Work((8, 56, 56, 128), strides=2),
    Work((8, 56, 56, 128), dilation=2),
    Work((8, 32, 32, 64), multiplier=2),
    Work((32, 1024, 512), kernel=5),
    Work((8, 32, 32, 64), members=4),
]
LARGE = [Work((128, 124, 124, 256), dtype=dtype) for dtype in ("float32", "bfloat16")]
QUICK = [Work((2, 8, 8, 16)), Work((2, 16, 8), kernel=5), Work((2, 8, 8, 4), members=2)]


def with_jax(work: Work, wanted: Sequence[int], implementation: Implementation) -> _harness.Run:
    """Compiles one of jaxcnn's implementations."""

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return ops.depthwise_conv(
            x,
            kernel,
            strides=work.strides,
            padding=work.padding,
            dilation=work.dilation,
            implementation=implementation,
        )

    if implementation == "native" and _harness.optional("jaxcnn_native") is None:
        raise _harness.Skipped("jaxcnn-native is not installed")
    function = jax.vmap(convolve, (None, 0)) if work.members else convolve
    return _tasks.with_jax(function, work.arrays(), wanted)


def with_lax(work: Work, wanted: Sequence[int]) -> _harness.Run:
    """Compiles the grouped convolution that JAX and Flax use."""
    space = {1: "W", 2: "HW"}[work.rank]

    def convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x,
            kernel.reshape(*kernel.shape[:-2], 1, -1),
            (work.strides,) * work.rank,
            [(work.padding, work.padding)] * work.rank,
            rhs_dilation=(work.dilation,) * work.rank,
            dimension_numbers=(f"N{space}C", f"{space}IO", f"N{space}C"),
            feature_group_count=x.shape[-1],
        )

    function = jax.vmap(convolve, (None, 0)) if work.members else convolve
    return _tasks.with_jax(function, work.arrays(), wanted)


def with_torch(work: Work, wanted: Sequence[int], *, channels_last: bool) -> _harness.Run:
    """Prepares PyTorch's convolution in one of its memory formats; members run one after another."""
    torch, place = _tasks.torch_device()
    if work.rank == 1 and channels_last:
        raise _harness.Skipped("PyTorch has no such format for one spatial axis")
    convolve = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d}[work.rank]
    memory = torch.channels_last if channels_last else torch.contiguous_format
    c = work.shape[-1]
    x, kernel, g = (torch.from_numpy(a.astype(np.float32)).to(place, getattr(torch, work.dtype)) for a in work.arrays())

    def images(array: Any) -> Any:
        return torch.movedim(array, -1, 1).contiguous(memory_format=memory)

    kernels = list(kernel) if work.members else [kernel]
    cotangents = [images(one) for one in (g if work.members else [g])]
    kernels = [one.reshape(*one.shape[:-2], -1).movedim(-1, 0)[:, None].contiguous() for one in kernels]
    x = images(x).requires_grad_(bool(wanted))
    kernels = [one.requires_grad_(bool(wanted)) for one in kernels]
    options = {"stride": work.strides, "padding": work.padding, "dilation": work.dilation, "groups": c}

    def run() -> Any:
        values = [convolve(x, one, **options) for one in kernels]
        gradients = torch.autograd.grad(values, [x, *kernels], cotangents) if wanted else ()
        if place == "cuda":
            torch.cuda.synchronize()
        return values, gradients

    return run


def from_torch(result: Any, work: Work) -> list[np.ndarray]:
    """Converts PyTorch's results to jaxcnn's layout."""
    values, gradients = result

    def image(array: Any) -> np.ndarray:
        return np.moveaxis(array.detach().float().cpu().numpy(), 1, -1)

    def kernel(array: Any) -> np.ndarray:
        taps = np.moveaxis(array.float().cpu().numpy()[:, 0], 0, -1)
        return taps.reshape(*taps.shape[:-1], work.shape[-1], work.multiplier)

    found = [np.stack([image(v) for v in values]) if work.members else image(values[0])]
    if gradients:
        kernels = [kernel(one) for one in gradients[1:]]
        found += [image(gradients[0]), np.stack(kernels) if work.members else kernels[0]]
    return found


def cases(every: Sequence[Work]) -> list[_harness.Case]:
    """Lists every convolution, forward and with gradients."""
    found = []
    for work in every:
        for task, wanted in TASKS.items():
            back = functools.partial(from_torch, work=work)
            torch = functools.partial(with_torch, work, wanted)
            contenders = [
                _harness.Contender("jaxcnn", functools.partial(with_jax, work, wanted, "auto"), list),
                _harness.Contender("lax", functools.partial(with_lax, work, wanted), list),
                _harness.Contender("torch, channels last", functools.partial(torch, channels_last=True), back),
                _harness.Contender("torch, channels first", functools.partial(torch, channels_last=False), back),
            ]
            other = "native" if jax.default_backend() == "cpu" else "stencil"
            build = functools.partial(with_jax, work, wanted, other)
            contenders.append(_harness.Contender(f"jaxcnn, {other}", build, list))
            parameters = {**dataclasses.asdict(work), "task": task, "bytes_moved": work.bytes_moved(task)}
            found.append(_harness.Case(f"{work.name} {task}", parameters, contenders, TOLERANCE[work.dtype]))
    return found


def summary(results: Any) -> dict[str, Any]:
    """Summarizes the time of the others over that of each of jaxcnn's implementations; of PyTorch's faster format."""
    return {task: {own: _against(results, task, own) for own in OURS if _has(results, own)} for task in TASKS}


def _has(results: Any, name: str) -> bool:
    return any(name in case["contenders"] for case in results["cases"])


def _against(results: Any, task: str, own: str) -> dict[str, float]:
    def ratio(case: Any, names: Sequence[str]) -> float:
        there = [case["contenders"][name]["ratio"]["median"] for name in names if name in case["contenders"]]
        return min(there, default=math.nan) / case["contenders"][own]["ratio"]["median"]

    def memory(case: Any) -> float:
        ours, lax = (case["contenders"][name]["temporary_bytes"] + 1e6 for name in (own, "lax"))
        return round(ours / lax, 2)

    def mean(values: Sequence[float]) -> float:
        return float(f"{math.exp(sum(map(math.log, values)) / len(values)):.3g}") if values else math.nan

    chosen = [case for case in results["cases"] if case["parameters"]["task"] == task]
    plain = [case for case in chosen if case["name"].endswith(f" k3 {task}")]
    small = [case for case in chosen if case["parameters"]["kernel"] <= 5]
    torch = ("torch, channels last", "torch, channels first")
    return {
        "lax, least, up to k5": float(f"{min(ratio(case, ['lax']) for case in small):.3g}"),
        "lax, geometric mean": mean([ratio(case, ["lax"]) for case in chosen]),
        "torch, geometric mean of the plain 3x3 shapes": mean([ratio(case, torch) for case in plain]),
        "torch, geometric mean": mean([ratio(case, torch) for case in chosen]),
        "temporary memory over lax's, largest": max(memory(case) for case in chosen),
    }


def main(options: _harness.Options) -> None:
    """Runs the benchmark."""
    _harness.limit_threads(options.threads)
    every = QUICK if options.quick else EVERY if jax.default_backend() == "cpu" else EVERY + LARGE
    _harness.run("depthwise", cases(every), options, summary=summary)


if __name__ == "__main__":
    main(tyro.cli(_harness.Options, description=__doc__))
