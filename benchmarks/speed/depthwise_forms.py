"""Implementations of the kernel gradient of a depthwise convolution in XLA, compared with PyTorch's.

Command: ``python -m benchmarks.speed.depthwise_forms``; ``--quick`` only checks that it runs. Every implementation
computes (k, k, c) from x and the output's gradient g, both n x h x w x c; float32, stride 1. The first is that of
``ops.depthwise_conv``.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax import lax

from benchmarks import _harness, _tasks
from jaxcnn import ops

SHAPES = [((8, 56, 56, 128), 3), ((8, 14, 14, 728), 3), ((8, 28, 28, 256), 5)]
QUICK = [((2, 8, 8, 4), 3)]


def shift_by_taps(x: jax.Array, k: int) -> list[jax.Array]:
    """Returns one copy of the padded x per tap, shifted by it."""
    n, h, w, c = x.shape
    padded = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    return [lax.slice(padded, (0, i, j, 0), (n, i + h, j + w, c)) for i in range(k) for j in range(k)]


def transpose_convolution(x: jax.Array, g: jax.Array, k: int, *, implementation: Literal["auto", "xla"]) -> jax.Array:
    """Transposes jaxcnn's convolution: its stencil adds bands, works in blocks, and multiplies the rest by ones."""
    convolve = functools.partial(ops.depthwise_conv, x, implementation=implementation)
    return jax.linear_transpose(convolve, jnp.zeros((k, k, x.shape[-1], 1)))(g)[0]


def reductions(x: jax.Array, g: jax.Array, k: int) -> jax.Array:
    """Sums the product of g and every shifted x."""
    return jnp.stack([jnp.sum(part * g, (0, 1, 2)) for part in shift_by_taps(x, k)])


def einsum(x: jax.Array, g: jax.Array, k: int) -> jax.Array:
    """Contracts all shifted x at once."""
    return jnp.einsum("tnhwc,nhwc->tc", jnp.stack(shift_by_taps(x, k)), g)


def ones(x: jax.Array, g: jax.Array, k: int) -> jax.Array:
    """Sums by a matrix product with a row of ones."""
    c = x.shape[-1]
    return jnp.stack([(jnp.ones((1, g.size // c)) @ (part * g).reshape(-1, c))[0] for part in shift_by_taps(x, k)])


def channels_first(x: jax.Array, g: jax.Array, k: int) -> jax.Array:
    """Transposes first, so that sums run along contiguous rows."""
    planes = jnp.moveaxis(g, -1, 1)
    return jnp.stack([jnp.sum(jnp.moveaxis(part, -1, 1) * planes, (0, 2, 3)) for part in shift_by_taps(x, k)])


def images(x: jax.Array, g: jax.Array, k: int) -> jax.Array:
    """Loops over images and adds the products of all rows of one."""
    n, h = x.shape[:2]
    padded = jnp.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    w = g.shape[2]

    def add_image(i: jax.Array, sums: list[jax.Array]) -> list[jax.Array]:
        x_image, g_image = padded[i], g[i]
        taps = [(a, b) for a in range(k) for b in range(k)]
        return [
            s + sum(x_image[a + row, b : b + w] * g_image[row] for row in range(h))
            for s, (a, b) in zip(sums, taps, strict=True)
        ]

    sums = lax.fori_loop(0, n, add_image, [jnp.zeros(g.shape[2:])] * (k * k))
    return jnp.stack([jnp.sum(s, 0) for s in sums])


def bands(x: jax.Array, g: jax.Array, k: int) -> jax.Array:
    """Adds the products of up to 7 bands of rows, then sums by one reduction over all taps."""
    n, h, w, c = x.shape
    count = 7 if h % 7 == 0 else 4
    rows = g.reshape(n, count, h // count, w, c)
    sums = [
        functools.reduce(jnp.add, [part.reshape(rows.shape)[:, i] * rows[:, i] for i in range(count)])
        for part in shift_by_taps(x, k)
    ]
    return jnp.sum(jnp.stack(sums, 1), (0, 2, 3))


IMPLEMENTATIONS: dict[str, Callable[..., jax.Array]] = {
    "jaxcnn": functools.partial(transpose_convolution, implementation="auto"),
    "grouped convolution": functools.partial(transpose_convolution, implementation="xla"),
    "a reduction per tap": reductions,
    "einsum over taps": einsum,
    "product with ones": ones,
    "channels first": channels_first,
    "loop over images": images,
    "bands, stacked, one reduction": bands,
}


def with_torch(x: np.ndarray, g: np.ndarray, k: int) -> _harness.Run:
    """Prepares PyTorch's kernel gradient, channels last."""
    torch, place = _tasks.torch_device()
    c = x.shape[-1]
    images, cotangent = (
        torch.from_numpy(a).to(place).movedim(-1, 1).contiguous(memory_format=torch.channels_last) for a in (x, g)
    )
    kernel = torch.zeros((c, 1, k, k), device=place, requires_grad=True)
    value = torch.nn.functional.conv2d(images, kernel, padding=k // 2, groups=c)
    return lambda: torch.autograd.grad(value, kernel, cotangent, retain_graph=True)[0]


def cases(shapes: Sequence[tuple[tuple[int, ...], int]]) -> list[_harness.Case]:
    """Lists the shapes."""
    found = []
    for shape, k in shapes:
        random = np.random.default_rng(0)
        x, g = (random.standard_normal(shape, np.float32) for _ in range(2))
        contenders = []
        for name, implementation in IMPLEMENTATIONS.items():
            build = functools.partial(_tasks.with_jax, functools.partial(implementation, k=k), (x, g, g), ())
            values = lambda result, k=k: [np.asarray(result[0]).reshape(k, k, -1)]  # noqa: E731
            contenders.append(_harness.Contender(name, build, values))
        build = functools.partial(with_torch, x, g, k)
        values = lambda result: [result.numpy()[:, 0].transpose(1, 2, 0)]  # noqa: E731
        contenders.append(_harness.Contender("torch, channels last", build, values))
        name = f"{'x'.join(map(str, shape))} k{k} kernel gradient"
        found.append(_harness.Case(name, {"shape": list(shape), "kernel": k, "dtype": "float32"}, contenders, 1e-4))
    return found


def main(options: _harness.Options) -> None:
    """Runs the benchmark."""
    _harness.limit_threads(options.threads)
    _harness.run("depthwise_forms", cases(QUICK if options.quick else SHAPES), options)


if __name__ == "__main__":
    main(tyro.cli(_harness.Options, description=__doc__))
