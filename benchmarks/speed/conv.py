"""``ops.conv`` against XLA's convolution and PyTorch: alone, mapped over kernels, and inside of a loop.

Command: ``python -m benchmarks.speed.conv``; ``--quick`` only checks that it runs. PyTorch is optional. Float32.
"forward+backward" computes the output and the gradients of input and kernel for one fixed cotangent. Every member has
its own images and kernel: "jaxcnn" and "lax" map over members with ``vmap``, "lax, unrolled" and PyTorch run one
convolution after another. "in a loop" is ``lax.map`` over members. The build seconds show how compilation time grows
with the number of members.
"""

import dataclasses
import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from benchmarks import _harness, _tasks
from jaxcnn import ops

TASKS = {"forward": (), "forward+backward": (0, 1)}
SPACE = {1: "W", 2: "HW", 3: "DHW"}


@dataclasses.dataclass(frozen=True)
class Work:
    """One convolution of x of ``shape`` (b, *spatial, c) to ``filters`` channels, ``kernel`` taps along every axis."""

    shape: tuple[int, ...]
    filters: int
    kernel: int = 3
    strides: int = 1
    padding: str = "SAME"
    members: tuple[int, ...] = ()  # lengths of the axes that are mapped over
    loop: bool = False  # by lax.map instead of vmap
    groups: int = 1

    @property
    def name(self) -> str:
        """Name such as ``64x20x20x16 to 32 k5 members 4``."""
        parts = ["x".join(map(str, self.shape)), "to", str(self.filters), f"k{self.kernel}"]
        parts += [f"stride {self.strides}"] * (self.strides != 1) + ["valid"] * (self.padding == "VALID")
        parts += [f"groups {self.groups}"] * (self.groups > 1)
        parts += [f"members {'x'.join(map(str, self.members))}"] * bool(self.members)
        return " ".join(parts + ["in a loop"] * self.loop)

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.shape) - 2

    def arrays(self) -> list[np.ndarray]:
        """Creates input, kernel and cotangent, the same in every run."""
        random = np.random.default_rng(0)
        reach = 0 if self.padding == "SAME" else self.kernel - 1
        outputs = [-(-(n - reach) // self.strides) for n in self.shape[1:-1]]
        shapes = (
            self.shape,
            (*(self.kernel,) * self.rank, self.shape[-1] // self.groups, self.filters),
            (self.shape[0], *outputs, self.filters),
        )
        return [random.standard_normal((*self.members, *shape), np.float32) for shape in shapes]


def _members(*lengths: int, **rest: Any) -> Work:
    return Work((64, 20, 20, 16), 32, kernel=5, members=lengths, **rest)


EVERY = [
    Work((64, 20, 20, 16), 32, kernel=5),
    Work((64, 42, 42, 1), 32, kernel=9, padding="VALID"),
    Work((64, 8, 8, 20), 40, kernel=5, padding="VALID"),
    Work((32, 32, 32, 3), 32),
    Work((32, 14, 14, 64), 64),
    Work((16, 56, 56, 64), 64),
    Work((16, 56, 56, 64), 128, strides=2),
    Work((16, 112, 112, 3), 64, kernel=7, strides=2),
    Work((16, 14, 14, 256), 256, kernel=1),
    Work((32, 256, 32), 64, kernel=5),
    Work((4, 16, 16, 16, 8), 16),
    _members(2),
    _members(4),
    _members(8),
    _members(16),
    _members(32),
    _members(2, 2),
    Work((32, 14, 14, 64), 64, members=(4,)),
    Work((32, 14, 14, 64), 64, members=(16,)),
    Work((64, 10, 10, 16), 32, kernel=5, padding="VALID", members=(16,)),
    Work((64, 42, 42, 1), 32, kernel=9, padding="VALID", members=(4,)),
    _members(4, loop=True),
    Work((8, 28, 28, 256), 256, groups=32),  # ResNeXt
    Work((8, 56, 56, 128), 128, groups=32),
    Work((8, 14, 14, 512), 512, groups=16),
    Work((8, 28, 28, 104), 104, groups=13),  # RegNet: a prime number of groups
    Work((8, 27, 27, 96), 256, kernel=5, groups=2),  # AlexNet
    Work((8, 28, 28, 240), 240, kernel=1, groups=3),  # ShuffleNet
    Work((8, 28, 28, 64), 128, groups=64),  # a depth multiplier
    Work((8, 14, 14, 512), 512, groups=16, members=(2,)),
]
QUICK = [Work((2, 8, 8, 3), 4), Work((2, 8, 8, 6), 4, members=(2,)), Work((2, 8, 8, 6), 4, members=(2,), loop=True)]
QUICK += [Work((2, 8, 8, 6), 4, groups=2)]


Convolution = Callable[[jax.Array, jax.Array], jax.Array]


def jaxcnn_convolution(work: Work) -> Convolution:
    """Returns jaxcnn's convolution of one member."""
    return lambda x, kernel: ops.conv(x, kernel, strides=work.strides, padding=work.padding, groups=work.groups)


def xla_convolution(work: Work) -> Convolution:
    """Returns XLA's convolution of one member."""
    axes = (f"N{SPACE[work.rank]}C", f"{SPACE[work.rank]}IO", f"N{SPACE[work.rank]}C")
    steps = (work.strides,) * work.rank
    convolve = functools.partial(jax.lax.conv_general_dilated, feature_group_count=work.groups, dimension_numbers=axes)
    return lambda x, kernel: convolve(x, kernel, steps, work.padding)


def with_members(function: Convolution, work: Work, wanted: Sequence[int]) -> _harness.Run:
    """Compiles a convolution for all members."""
    arrays = work.arrays()
    if work.loop:
        return _with_loop(function, arrays, wanted)
    for _ in work.members:
        function = jax.vmap(function)
    return _tasks.with_jax(function, arrays, wanted)


def _with_loop(function: Convolution, arrays: Sequence[np.ndarray], wanted: Sequence[int]) -> _harness.Run:
    """Computes the gradients inside the loop, as in a loop over training steps."""

    def one_member(arrays: Sequence[jax.Array]) -> list[jax.Array]:
        x, kernel, g = arrays
        if not wanted:
            return [function(x, kernel)]
        value, pullback = jax.vjp(function, x, kernel)
        return [value, *pullback(g)]

    here = tuple(map(jnp.asarray, arrays))
    compiled = jax.jit(lambda arrays: jax.lax.map(one_member, arrays)).lower(here).compile()
    return lambda: jax.block_until_ready(compiled(here))


def with_xla(work: Work, wanted: Sequence[int]) -> _harness.Run:
    """Compiles XLA's convolution, with ``vmap`` over members."""
    if math.prod(work.members) > 4:
        raise _harness.Skipped("takes minutes")
    return with_members(xla_convolution(work), work, wanted)


def with_xla_unrolled(work: Work, wanted: Sequence[int]) -> _harness.Run:
    """Compiles XLA's convolution once per member."""
    if not work.members or work.loop:
        raise _harness.Skipped("there is one convolution")
    convolve, axes = xla_convolution(work), len(work.members)

    def function(x: jax.Array, kernel: jax.Array) -> jax.Array:
        x, kernel = (a.reshape(-1, *a.shape[axes:]) for a in (x, kernel))
        y = jnp.stack([convolve(x[i], kernel[i]) for i in range(x.shape[0])])
        return y.reshape(*work.members, *y.shape[1:])

    return _tasks.with_jax(function, work.arrays(), wanted)


def with_torch(work: Work, wanted: Sequence[int], *, channels_last: bool) -> _harness.Run:
    """Prepares PyTorch's convolution in one of its memory formats; members run one after another."""
    torch, place = _tasks.torch_device()
    if work.rank != 2 and channels_last:
        raise _harness.Skipped("not timed")
    convolve = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}[work.rank]
    memory = torch.channels_last if channels_last else torch.contiguous_format
    low = high = 0
    if work.padding == "SAME":
        total = max((-(-work.shape[1] // work.strides) - 1) * work.strides + work.kernel - work.shape[1], 0)
        low, high = total // 2, total - total // 2

    def to_images(array: np.ndarray) -> Any:
        return torch.from_numpy(np.moveaxis(array, -1, 1).copy()).to(place).contiguous(memory_format=memory)

    def to_kernels(array: np.ndarray) -> Any:
        array = np.moveaxis(array, (-1, -2), (0, 1)).copy()
        return torch.from_numpy(array).to(place).contiguous(memory_format=memory)

    flat = [array.reshape(-1, *array.shape[len(work.members) :]) for array in work.arrays()]
    members = [(to_images(x), to_kernels(kernel), to_images(g)) for x, kernel, g in zip(*flat, strict=True)]
    members = [(x.requires_grad_(bool(wanted)), k.requires_grad_(bool(wanted)), g) for x, k, g in members]

    def convolved(x: Any, kernel: Any) -> Any:
        if low != high:
            x = torch.nn.functional.pad(x, (low, high) * work.rank)
        return convolve(x, kernel, stride=work.strides, padding=low if low == high else 0, groups=work.groups)

    def run() -> Any:
        found = []
        for x, kernel, g in members:
            y = convolved(x, kernel)
            found.append((y, *(torch.autograd.grad(y, [x, kernel], g) if wanted else ())))
        if place == "cuda":
            torch.cuda.synchronize()
        return found

    return run


def from_torch(result: Any, work: Work) -> list[np.ndarray]:
    """Converts PyTorch's results to jaxcnn's layout."""

    def image(array: Any) -> np.ndarray:
        return np.moveaxis(array.detach().cpu().numpy(), 1, -1)

    def kernel(array: Any) -> np.ndarray:
        return np.moveaxis(array.cpu().numpy(), (0, 1), (-1, -2))

    back = (image, image, kernel)
    every = [[np.asarray(f(a)) for f, a in zip(back, member, strict=False)] for member in result]
    return [np.stack(part).reshape(*work.members, *part[0].shape) for part in zip(*every, strict=True)]


def cases(every: Sequence[Work]) -> list[_harness.Case]:
    """Lists every convolution, forward and with gradients."""
    found = []
    for work in every:
        for task, wanted in TASKS.items():
            back = functools.partial(from_torch, work=work)
            torch = functools.partial(with_torch, work, wanted)
            contenders = [
                _harness.Contender(
                    "jaxcnn", functools.partial(with_members, jaxcnn_convolution(work), work, wanted), list
                ),
                _harness.Contender("lax", functools.partial(with_xla, work, wanted), list),
                _harness.Contender("lax, unrolled", functools.partial(with_xla_unrolled, work, wanted), list),
                _harness.Contender("torch, channels last", functools.partial(torch, channels_last=True), back),
                _harness.Contender("torch, channels first", functools.partial(torch, channels_last=False), back),
            ]
            parameters = {**dataclasses.asdict(work), "task": task}
            found.append(_harness.Case(f"{work.name} {task}", parameters, contenders, 1e-4))
    return found


def summary(results: Any) -> dict[str, Any]:
    """Summarizes the time of the others over jaxcnn's: minima and geometric means."""
    found: dict[str, Any] = {}
    for task in TASKS:
        chosen = [case for case in results["cases"] if case["parameters"]["task"] == task]
        alone = [case for case in chosen if not case["parameters"]["members"]]
        many = [case for case in chosen if case["parameters"]["members"] and not case["parameters"]["loop"]]
        loop = [case for case in chosen if case["parameters"]["loop"]]
        found[task] = {
            "alone, lax": _ratios(alone, ["lax"]),
            "alone, torch": _ratios(alone, ["torch, channels last", "torch, channels first"]),
            "members, lax": _ratios(many, ["lax"]),
            "members, lax unrolled": _ratios(many, ["lax, unrolled"]),
            "members, torch": _ratios(many, ["torch, channels last", "torch, channels first"]),
            "in a loop, lax": _ratios(loop, ["lax"]),
        }
    return found


def _ratios(cases: Sequence[Any], names: Sequence[str]) -> dict[str, float]:
    values = []
    for case in cases:
        there = [case["contenders"][name]["ratio"]["median"] for name in names if name in case["contenders"]]
        values += [min(there)] if there else []
    if not values:
        return {}
    mean = math.exp(sum(map(math.log, values)) / len(values))
    return {"least": float(f"{min(values):.3g}"), "geometric mean": float(f"{mean:.3g}")}


def main(options: _harness.Options) -> None:
    """Runs the benchmark."""
    _harness.limit_threads(options.threads)
    _harness.run("conv", cases(QUICK if options.quick else EVERY), options, summary=summary)


if __name__ == "__main__":
    main(tyro.cli(_harness.Options, description=__doc__))
