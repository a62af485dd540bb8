"""Implementations of the image gradient of bilinear ``grid_sample`` in XLA, side by side.

Command: ``python -m benchmarks.speed.grid_sample_forms``; ``--quick`` only checks that it runs. Every implementation
computes the gradient to the images from that of the output (n, h, w, c) and the grids of
``benchmarks.speed.grid_sample`` (rotations and scales); float32, zeros outside. The first is ``ops.grid_sample``.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import tyro
from jax import lax

from benchmarks import _harness
from benchmarks.speed.grid_sample import inputs
from jaxcnn import ops

SHAPES = [(256, 40, 40, 1), (16, 224, 224, 3), (16, 56, 56, 64), (16, 14, 14, 256)]
QUICK = [(2, 9, 8, 3)]
LARGEST_PRODUCT = 40 * 40  # pixels of an image up to which products with hat matrices are tried

Shape = tuple[int, int, int]


def ours(grid: jax.Array, g: jax.Array) -> jax.Array:
    """Transposes the library's function."""
    return jax.linear_transpose(lambda image: ops.grid_sample(image, grid), jnp.zeros_like(g))(g)[0]


def bilinear_taps(grid: jax.Array, h: int, w: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns row and column of the first tap, in an image padded by two pixels on every side, and 2 x 2 weights."""
    x, y = ((grid[..., i] + 1) * n / 2 - 0.5 for i, n in ((0, w), (1, h)))
    x, y = (jnp.clip(v, -2, n + 0.5).ravel() for v, n in ((x, w), (y, h)))
    left, top = jnp.floor(x), jnp.floor(y)
    across, down = jnp.stack([1 - (x - left), x - left], -1), jnp.stack([1 - (y - top), y - top], -1)
    return top.astype(jnp.int32) + 2, left.astype(jnp.int32) + 2, down[:, :, None] * across[:, None, :]


def over_batch(one: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    """Maps an implementation for one image, which returns it padded by two pixels on every side, over the batch."""

    def compute(grid: jax.Array, g: jax.Array) -> jax.Array:
        _, h, w, c = g.shape

        def crop_one(grid: jax.Array, g: jax.Array) -> jax.Array:
            return one(*bilinear_taps(grid, h, w), g.reshape(-1, c), (h + 4, w + 4, c))[2 : h + 2, 2 : w + 2]

        return jax.vmap(crop_one)(grid, g)

    return compute


def per_tap(top: jax.Array, left: jax.Array, weights: jax.Array, g: jax.Array, shape: Shape) -> jax.Array:
    """Scatters four times, as autodiff does for four gathers."""
    h, w, c = shape
    image = jnp.zeros((h * w, c))
    for i in (0, 1):
        for j in (0, 1):
            index = (top + i) * w + left + j
            image = image.at[index].add(weights[:, i, j, None] * g, mode="promise_in_bounds")
    return image.reshape(shape)


def windows(top: jax.Array, left: jax.Array, weights: jax.Array, g: jax.Array, shape: Shape) -> jax.Array:
    """Scatters once, 2 x 2 pixels at a time."""
    numbers = lax.ScatterDimensionNumbers((1, 2, 3), (), (0, 1))
    updates = weights[..., None] * g[:, None, None, :]
    index = jnp.stack([top, left], -1)
    return lax.scatter_add(jnp.zeros(shape), index, updates, numbers, mode="promise_in_bounds")


def sorted_segments(top: jax.Array, left: jax.Array, weights: jax.Array, g: jax.Array, shape: Shape) -> jax.Array:
    """Sorts all taps by pixel and sums segments."""
    h, w = shape[:2]
    offsets = jnp.array([[0, 1], [w, w + 1]])
    index = ((top * w + left)[:, None, None] + offsets).ravel()
    order = jnp.argsort(index)
    values = (weights.reshape(-1, 4, 1) * g[:, None]).reshape(-1, shape[2])[order]
    return jax.ops.segment_sum(values, index[order], h * w, indices_are_sorted=True).reshape(shape)


def products(top: jax.Array, left: jax.Array, weights: jax.Array, g: jax.Array, shape: Shape) -> jax.Array:
    """Multiplies matrices of hats, rows by points and points by columns, for every channel."""
    h, w = shape[:2]
    if h * w > 2 * LARGEST_PRODUCT:
        raise _harness.Skipped("hundreds of times the arithmetic")
    down, across = weights.sum(2), weights.sum(1)
    rows = [jnp.where(jnp.arange(h)[:, None] == top + i, down[:, i], 0) for i in (0, 1)]
    columns = [jnp.where(jnp.arange(w) == left[:, None] + i, across[:, i, None], 0) for i in (0, 1)]
    per_channel = ((rows[0] + rows[1])[None] * g.T[:, None]) @ (columns[0] + columns[1])
    return jnp.moveaxis(per_channel, 0, -1)


def unrolled(top: jax.Array, left: jax.Array, weights: jax.Array, g: jax.Array, shape: Shape) -> jax.Array:
    """Loops over points, four at a time."""
    h, w = shape[:2]
    first, count = top * w + left, g.shape[0]

    def add_points(q: jax.Array, image: jax.Array) -> jax.Array:
        for k in range(4):
            value = lax.dynamic_slice_in_dim(g, 4 * q + k, 1)
            for i in (0, 1):
                at = first[4 * q + k] + i * w
                there = lax.dynamic_slice_in_dim(image, at, 2)
                update = lax.dynamic_slice_in_dim(weights, 4 * q + k, 1)[0, i][:, None] * value
                image = lax.dynamic_update_slice_in_dim(image, there + update, at, 0)
        return image

    return lax.fori_loop(0, count // 4, add_points, jnp.zeros((h * w, shape[2]))).reshape(shape)


def footprints(grid: jax.Array, g: jax.Array) -> jax.Array:
    """Gathers for every pixel the outputs around its inverse image: for affine grids only, scales down to 0.7."""
    h, w, c = g.shape[1:]
    if c > 64:
        raise _harness.Skipped("25 gathers of every pixel")
    corners = jnp.array([[0, 0], [0, w - 1], [h - 1, 0]])
    frame = grid[:, corners[:, 0], corners[:, 1]]  # (n, 3, 2)
    pixels = (frame + 1) * jnp.array([w, h]) / 2 - 0.5
    step_x, step_y = (pixels[:, 1] - pixels[:, 0]) / (w - 1), (pixels[:, 2] - pixels[:, 0]) / (h - 1)
    jacobian = jnp.stack([step_x, step_y], -1)  # output steps to input steps
    inverse = jnp.linalg.inv(jacobian)
    y, x = jnp.meshgrid(jnp.arange(h, dtype=jnp.float32), jnp.arange(w, dtype=jnp.float32), indexing="ij")

    def gather_one(inverse: jax.Array, jacobian: jax.Array, origin: jax.Array, g: jax.Array) -> jax.Array:
        offset = jnp.stack([x, y], -1) - origin
        around = jnp.round(jnp.einsum("ij,hwj->hwi", inverse, offset, precision="highest"))
        flat, total = g.reshape(h * w, c), jnp.zeros((h, w, c))
        for i in range(-2, 3):
            for j in range(-2, 3):
                q = around + jnp.array([j, i])
                distance = offset - jnp.einsum("ij,hwj->hwi", jacobian, q, precision="highest")
                weight = jnp.prod(jnp.maximum(1 - jnp.abs(distance), 0), -1)
                inside = jnp.all((q >= 0) & (q < jnp.array([w, h])), -1)
                index = jnp.clip(q[..., 1] * w + q[..., 0], 0, h * w - 1).astype(jnp.int32)
                total += jnp.where(inside, weight, 0)[..., None] * flat.at[index].get(mode="promise_in_bounds")
        return total

    return jax.vmap(gather_one)(inverse, jacobian, pixels[:, 0], g)


IMPLEMENTATIONS: dict[str, Callable[..., jax.Array]] = {
    "loop over points (ours)": ours,
    "loop, four at a time": over_batch(unrolled),
    "scatter per tap": over_batch(per_tap),
    "scatter of 2 x 2 windows": over_batch(windows),
    "sorted segments": over_batch(sorted_segments),
    "products of hat matrices": over_batch(products),
    "gather of inverse footprints": footprints,
}


def prepare(implementation: Callable[..., jax.Array], data: tuple[jax.Array, jax.Array]) -> _harness.Run:
    """Compiles an implementation."""
    work = jax.jit(implementation).lower(*data).compile()
    return lambda: jax.block_until_ready(work(*data))


def cases(shapes: list[tuple[int, int, int, int]]) -> list[_harness.Case]:
    """Lists every shape."""
    found = []
    for shape in shapes:
        _, grid, cotangent = map(jnp.asarray, inputs(shape))
        contenders = [
            _harness.Contender(
                name, functools.partial(prepare, implementation, (grid, cotangent)), lambda result: [result]
            )
            for name, implementation in IMPLEMENTATIONS.items()
        ]
        found.append(_harness.Case("x".join(map(str, shape)), {"shape": list(shape)}, contenders, 1e-3))
    return found


def main(options: _harness.Options) -> None:
    """Runs the benchmark."""
    _harness.limit_threads(options.threads)
    _harness.run("grid_sample_forms", cases(QUICK if options.quick else SHAPES), options)


if __name__ == "__main__":
    main(tyro.cli(_harness.Options, description=__doc__))
