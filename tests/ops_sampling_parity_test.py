"""grid_sample and affine_grid against PyTorch: live, and from a committed file where it is not installed."""

import functools
import itertools
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxcnn import ops

MODES = list(itertools.product(("bilinear", "nearest"), ("zeros", "border", "reflection"), (False, True)))
TOLERANCE = {np.float32: 1e-4, np.float64: 1e-11}
FIXTURE = Path(__file__).parent / "fixtures" / "grid_sample.npz"


@functools.partial(jax.jit, static_argnames=("mode", "padding_mode", "align_corners"))
def ours(image, grid, cotangent, **options):
    """Value and both gradients."""
    value, pullback = jax.vjp(lambda i, g: ops.grid_sample(i, g, **options), image, grid)
    return (value, *pullback(cotangent))


sample = jax.jit(ops.grid_sample, static_argnames=("mode", "padding_mode", "align_corners"))


def theirs(torch, image, grid, cotangent, **options):
    images = torch.tensor(image).permute(0, 3, 1, 2).contiguous().requires_grad_()
    grids = torch.tensor(grid, requires_grad=True)
    value = torch.nn.functional.grid_sample(images, grids, **options)
    value.backward(torch.tensor(cotangent).permute(0, 3, 1, 2))
    last = (0, 2, 3, 1)
    return tuple(v.detach().numpy() for v in (value.permute(last), images.grad.permute(last), grids.grad))


def example(dtype, h, w, seed=0):
    """Points far outside, on the corners and edges, at the centre, and anywhere."""
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(2, h, w, 3)).astype(dtype)
    grid = rng.uniform(-3, 3, size=(2, 6, 9, 2)).astype(dtype)
    special = np.array([-1, 1, 0, -1.5, 1.5, -3, 3, 1 / 3, 100], dtype)
    grid[0, 0], grid[0, 1, :, 0], grid[0, 2, :, 1] = special[:, None], special, special
    return image, grid, rng.normal(size=(2, 6, 9, 3)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("mode", "padding_mode", "align_corners"), MODES)
def test_equals_pytorch(dtype, mode, padding_mode, align_corners):
    torch = pytest.importorskip("torch")
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    with jax.enable_x64(True):
        for size in ((5, 7), (1, 4), (1, 1)):
            arrays = example(dtype, *size)
            for a, b in zip(ours(*arrays, **options), theirs(torch, *arrays, **options), strict=True):
                assert a.dtype == dtype
                np.testing.assert_allclose(a, b, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
def test_equals_pytorch_exactly_on_pixel_centres(padding_mode):
    torch = pytest.importorskip("torch")
    # Sides of 2^n + 1 pixels put every centre on a coordinate that floating point hits exactly.
    image = np.random.default_rng(1).normal(size=(1, 9, 17, 2)).astype(np.float32)
    y, x = np.meshgrid(np.linspace(-1.5, 1.5, 13), np.linspace(-1.5, 1.5, 25), indexing="ij")
    grid = np.stack([x, y], -1)[None].astype(np.float32)
    cotangent = np.random.default_rng(2).normal(size=(1, 13, 25, 2)).astype(np.float32)
    options = {"mode": "bilinear", "padding_mode": padding_mode, "align_corners": True}
    arrays = image, grid, cotangent
    for a, b in zip(ours(*arrays, **options), theirs(torch, *arrays, **options), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("align_corners", [False, True])
def test_reflection_equals_pytorch_where_division_is_inexact(dtype, align_corners):
    torch = pytest.importorskip("torch")
    options = {"mode": "bilinear", "padding_mode": "reflection", "align_corners": align_corners}
    # At these, division by the extent, once it is a multiplication, is off by one ulp at an edge.
    sizes, rng = (2, 41, 42, 47, 49, 50, 56, 83, 99, 104), np.random.default_rng(4)
    x = np.concatenate([[-1, 1, -3, 3, -5, 5], rng.uniform(-3, 3, 10), rng.uniform(-50, 50, 10)]).astype(dtype)
    grid = np.stack([x, np.zeros_like(x)], -1)[None, None]
    rows = [rng.normal(size=(1, 1, n, 1)).astype(dtype) for n in sizes]
    cotangent = rng.normal(size=(1, 1, len(x), 1)).astype(dtype)
    with jax.enable_x64(True):
        found = jax.jit(lambda rows, *rest: [ours(row, *rest, **options) for row in rows])(rows, grid, cotangent)
    for row, results in zip(rows, found, strict=True):
        for a, b in zip(results, theirs(torch, row, grid, cotangent, **options), strict=True):
            scale = row.shape[2]  # pixels per unit of a coordinate, and of its rounding
            np.testing.assert_allclose(
                np.asarray(a) / scale, b / scale, atol=TOLERANCE[dtype] / 10, err_msg=f"size {scale}"
            )


@given(
    st.sampled_from(MODES),
    st.tuples(st.integers(1, 5), st.integers(1, 5)),
    st.lists(st.tuples(*[st.floats(-4, 4, width=32)] * 2), min_size=4, max_size=4),
)
def test_values_equal_pytorch_for_any_points(how, size, points):
    torch = pytest.importorskip("torch")
    mode, padding_mode, align_corners = how
    image = np.arange(1, size[0] * size[1] + 1, dtype=np.float32).reshape(1, *size, 1)
    grid = np.array(points, np.float32).reshape(1, 2, 2, 2)
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    expected = torch.nn.functional.grid_sample(torch.tensor(image).permute(0, 3, 1, 2), torch.tensor(grid), **options)
    np.testing.assert_allclose(sample(image, grid, **options), expected.permute(0, 2, 3, 1), atol=1e-3)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("shape", [(5, 8), (1, 3), (1, 1)])
@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid")  # of torch, at a single pixel
def test_affine_grid_equals_pytorch(align_corners, shape):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    theta, cotangent = rng.normal(size=(2, 2, 3)), rng.normal(size=(2, *shape, 2))
    with jax.enable_x64(True):
        f = lambda t: ops.affine_grid(t, shape, align_corners=align_corners)
        value, (gradient,) = jax.jit(lambda t, c: (f(t), jax.vjp(f, t)[1](c)))(theta, cotangent)
    t = torch.tensor(theta, requires_grad=True)
    expected = torch.nn.functional.affine_grid(t, (2, 1, *shape), align_corners=align_corners)
    expected.backward(torch.tensor(cotangent))
    np.testing.assert_allclose(value, expected.detach(), atol=1e-14)
    np.testing.assert_allclose(gradient, t.grad, atol=1e-12)


@pytest.mark.parametrize(("mode", "padding_mode", "align_corners"), MODES)
def test_equals_the_committed_results_of_pytorch(mode, padding_mode, align_corners):
    stored = np.load(FIXTURE)
    name = f"{mode}-{padding_mode}-{align_corners}"
    results = ours(
        *(stored[k] for k in ("image", "grid", "cotangent")),
        mode=mode,
        padding_mode=padding_mode,
        align_corners=align_corners,
    )
    for part, result in zip(("value", "image_gradient", "grid_gradient"), results, strict=True):
        np.testing.assert_allclose(result, stored[f"{name}-{part}"], atol=1e-4, rtol=1e-4)


def write_fixture():
    """Writes the committed file; run ``python -m tests.ops_sampling_parity_test`` where torch is installed."""
    import torch

    arrays = example(np.float32, 5, 7)
    stored = dict(zip(("image", "grid", "cotangent"), arrays, strict=True), torch=torch.__version__)
    for mode, padding_mode, align_corners in MODES:
        options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
        for part, result in zip(
            ("value", "image_gradient", "grid_gradient"), theirs(torch, *arrays, **options), strict=True
        ):
            stored[f"{mode}-{padding_mode}-{align_corners}-{part}"] = result
    FIXTURE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FIXTURE, **stored)


if __name__ == "__main__":
    write_fixture()
