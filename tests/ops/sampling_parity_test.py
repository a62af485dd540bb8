"""grid_sample and affine_grid against PyTorch: live, and from a committed file where it is not installed."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxcnn import ops
from tests.support.paths import FIXTURES
from tests.support.selection import daily, daily_cases, times

PADDING = ("zeros", "border", "reflection")
MODES = list(itertools.product(("bilinear", "nearest", "bicubic"), PADDING, (False, True)))
VOLUME_MODES = list(itertools.product(("bilinear", "nearest"), PADDING, (False, True)))
TOLERANCE = {np.float32: 1e-4, np.float64: 1e-11}
FIXTURE = FIXTURES / "grid_sample.npz"

SIZES = ((5, 7), (1, 4), (2, 3), (1, 1))
VOLUME_SIZES = ((3, 4, 5), (1, 1, 2))


def by_day(modes, sizes):
    """Every mode at the first size in float32, half of them at one alignment; some other sizes; the rest is nightly."""
    few = {(*how, sizes[1 + i % (len(sizes) - 1)], np.float32) for i, how in enumerate(modes[2::8])}
    few |= {(*how, sizes[0], np.float64) for how in modes[1::12]}
    chosen = [how for i, how in enumerate(modes) if i % 4 in (0, 3)]  # either alignment in turn
    every = [(*how, size, np.float32) for how in modes for size in sizes]
    every += [(*how, sizes[0], np.float64) for how in modes]
    return daily_cases(every, few | {(*how, sizes[0], np.float32) for how in chosen})


@functools.partial(jax.jit, static_argnames=("mode", "padding_mode", "align_corners"))
def ours(image, grid, cotangent, **options):
    """Value and both gradients."""
    value, pullback = jax.vjp(lambda i, g: ops.grid_sample(i, g, **options), image, grid)
    return (value, *pullback(cotangent))


sample = jax.jit(ops.grid_sample, static_argnames=("mode", "padding_mode", "align_corners"))


def theirs(torch, image, grid, cotangent, **options):
    first, last = (0, grid.ndim - 1, *range(1, grid.ndim - 1)), (0, *range(2, grid.ndim), 1)
    images = torch.tensor(image).permute(first).contiguous().requires_grad_()
    grids = torch.tensor(grid, requires_grad=True)
    value = torch.nn.functional.grid_sample(images, grids, **options)
    value.backward(torch.tensor(cotangent).permute(first))
    return tuple(v.detach().numpy() for v in (value.permute(last), images.grad.permute(last), grids.grad))


def example(dtype, *size, seed=0):
    """Points far outside, on the corners and edges, at the center, and anywhere."""
    rng, d = np.random.default_rng(seed), len(size)
    out = (6, 9) if d == 2 else (2, 6, 9)
    image = rng.normal(size=(2, *size, 3)).astype(dtype)
    grid = rng.uniform(-3, 3, size=(2, *out, d)).astype(dtype)
    special = np.array([-1, 1, 0, -1.5, 1.5, -3, 3, 1 / 3, 100], dtype)
    plane = grid[0].reshape(-1, 9, d)
    plane[0] = special[:, None]
    for i in range(d):
        plane[1 + i, :, i] = special
    return image, grid, rng.normal(size=(2, *out, 3)).astype(dtype)


@pytest.mark.parametrize(
    ("mode", "padding_mode", "align_corners", "size", "dtype"),
    by_day(MODES, SIZES) + by_day(VOLUME_MODES, VOLUME_SIZES),
)
def test_equals_pytorch(mode, padding_mode, align_corners, size, dtype):
    torch = pytest.importorskip("torch")
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    arrays = example(dtype, *size)
    with jax.enable_x64(dtype == np.float64 or size not in (SIZES[0], VOLUME_SIZES[0])):  # where float32 stays float32
        for a, b in zip(ours(*arrays, **options), theirs(torch, *arrays, **options), strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a, b, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])


@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize(("mode", "order", "atol"), [("bilinear", 1, 1e-12), ("nearest", 0, 0)])
def test_volumes_equal_scipy(mode, order, atol, padding_mode):
    rng = np.random.default_rng(0)
    volume, points = rng.normal(size=(4, 5, 6)), rng.uniform(-8, 13, size=(4, 4, 10, 3))
    outside = {"zeros": "grid-constant", "border": "nearest", "reflection": "mirror"}[padding_mode]
    expected = scipy.ndimage.map_coordinates(volume, np.moveaxis(points[..., ::-1], -1, 0), order=order, mode=outside)
    grid = 2 * points / (np.array(volume.shape[::-1]) - 1) - 1
    with jax.enable_x64(True):
        found = sample(volume[..., None], grid, mode=mode, padding_mode=padding_mode, align_corners=True)
    np.testing.assert_allclose(found[..., 0], expected, atol=atol)


OUTSIDE = [("zeros", False), ("border", True), ("reflection", False), ("reflection", True), ("fill", False)]


@pytest.mark.parametrize(
    ("padding_mode", "align_corners", "axis"),
    daily_cases([(*outside, axis) for outside in OUTSIDE for axis in (0, 2)], [("reflection", True, 0)]),
)
def test_bicubic_volumes_are_bicubic_along_every_axis(padding_mode, align_corners, axis):
    # Along z first: a volume that is constant along two axes is read as an image of one row.
    rng = np.random.default_rng(0)
    row, z = rng.normal(size=7), rng.uniform(-1.5, 1.5, size=11)
    options = {"mode": "bicubic", "padding_mode": padding_mode, "align_corners": align_corners}
    options |= {"fill_value": 2.0} if padding_mode == "fill" else {}
    volume = np.broadcast_to(row.reshape([-1 if i == axis else 1 for i in range(3)]), [7, 7, 7])[..., None]
    grid = np.zeros((1, 1, 11, 3))
    grid[..., 2 - axis] = z
    with jax.enable_x64(True):
        found = sample(volume, grid, **options)
        flat = np.stack([z, np.zeros(11)], -1)[None]
        expected = sample(np.broadcast_to(row, (7, 7))[..., None], flat, **options)
    np.testing.assert_allclose(found[0, 0], expected[0], atol=1e-12)


@pytest.mark.parametrize("padding_mode", daily(["zeros", "border", "reflection"], ["reflection"]))
def test_equals_pytorch_exactly_on_pixel_centers(padding_mode):
    torch = pytest.importorskip("torch")
    # Sides of 2^n + 1 pixels put every center on a coordinate that floating point hits exactly.
    image = np.random.default_rng(1).normal(size=(1, 9, 17, 2)).astype(np.float32)
    y, x = np.meshgrid(np.linspace(-1.5, 1.5, 13), np.linspace(-1.5, 1.5, 25), indexing="ij")
    grid = np.stack([x, y], -1)[None].astype(np.float32)
    cotangent = np.random.default_rng(2).normal(size=(1, 13, 25, 2)).astype(np.float32)
    options = {"mode": "bilinear", "padding_mode": padding_mode, "align_corners": True}
    arrays = image, grid, cotangent
    for a, b in zip(ours(*arrays, **options), theirs(torch, *arrays, **options), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


@pytest.mark.parametrize("dtype", daily([np.float32, np.float64], [np.float32]))
@pytest.mark.parametrize("align_corners", daily([False, True], [False]))
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


# Sizes at which pixel centers and edges, with and without align_corners, are coordinates that floating point hits.
EXACT = {False: ((4, 8, 2), (1, 2, 1)), True: ((3, 5, 2), (2, 1, 3))}
POINTS = 96


@st.composite
def cases(draw, modes, dimensions):
    """Options, and points anywhere, on centers and borders, half-way, far outside."""
    mode, padding_mode, align_corners = draw(st.sampled_from(modes))
    size = draw(st.sampled_from(EXACT[align_corners]))[:dimensions]
    extent = lambda n: max(n - 1, 1) if align_corners else n
    special = lambda n: st.integers(-6, 22).map(lambda i: (i / 2 * 2 + (0 if align_corners else 1)) / extent(n) - 1)
    anywhere = st.floats(-4, 4, width=32)
    far = st.sampled_from([-1.0, 1.0, -3.0, 3.0, -50.0, 50.0, 1000.0])
    along = [st.one_of(anywhere, special(n), far) for n in reversed(size)]
    points = draw(st.lists(st.tuples(*along), min_size=POINTS, max_size=POINTS))
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    return options, size, np.array(points, np.float32)


def agree(torch, options, size, points):
    rng = np.random.default_rng(len(size))
    image = rng.normal(size=(1, *size, 2)).astype(np.float32)
    grid = points.reshape(1, *(1,) * (len(size) - 1), POINTS, len(size))
    cotangent = rng.normal(size=(*grid.shape[:-1], 2)).astype(np.float32)
    results = ours(image, grid, cotangent, **options), theirs(torch, image, grid, cotangent, **options)
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3, rtol=1e-4)


@given(cases(MODES, 2))
@settings(max_examples=times(5))
def test_any_points_equal_pytorch(case):
    agree(pytest.importorskip("torch"), *case)


@given(cases(VOLUME_MODES, 3))
@settings(max_examples=times(3))
def test_any_points_of_volumes_equal_pytorch(case):
    agree(pytest.importorskip("torch"), *case)


@pytest.mark.parametrize(
    ("dtype", "mode", "padding_mode", "align_corners"),
    daily_cases(
        [("float16", *options) for options in MODES[::2]] + [("bfloat16", *options) for options in MODES[1::2]],
        [("bfloat16", "bilinear", "zeros", True)],
    ),
)
def test_narrow_images_equal_wide_ones_of_the_same_values(dtype, mode, padding_mode, align_corners):
    image, grid, cotangent = example(np.float32, 5, 7)
    narrow = jnp.asarray(image, dtype)
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    g = jnp.asarray(cotangent, dtype)
    found = ours(narrow, grid, g, **options)
    expected = ours(narrow.astype(jnp.float32), grid, g.astype(jnp.float32), **options)
    for a, b in zip(found, expected, strict=True):  # rounded once, at the end
        step = float(jnp.finfo(a.dtype).eps)
        np.testing.assert_allclose(a.astype(jnp.float32), b, rtol=step, atol=1e-4)


@pytest.mark.parametrize("dimensions", daily([2, 3], [2]))
def test_empty_batches_equal_pytorch(dimensions):
    torch = pytest.importorskip("torch")
    image, grid = np.zeros((0, *(3,) * dimensions, 2), np.float32), np.zeros((0, *(4,) * dimensions, dimensions), "f")
    images = torch.tensor(image).permute(0, -1, *range(1, dimensions + 1))
    expected = torch.nn.functional.grid_sample(images, torch.tensor(grid), align_corners=False)
    result = sample(image, grid)
    assert result.shape == (0, *expected.shape[2:], 2)
    gradients = jax.grad(lambda i, g: jnp.sum(sample(i, g)), (0, 1))(image, grid)
    assert [g.shape for g in gradients] == [image.shape, grid.shape]


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("shape", [(5, 8), (1, 3), (1, 1), (2, 3, 4), (1, 1, 1)])
@pytest.mark.filterwarnings("ignore:Since version 1.3.0, affine_grid")  # of torch, at a single pixel
def test_affine_grid_equals_pytorch(align_corners, shape):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    d = len(shape)
    theta, cotangent = rng.normal(size=(2, d, d + 1)), rng.normal(size=(2, *shape, d))
    with jax.enable_x64(True):
        f = lambda t: ops.affine_grid(t, shape, align_corners=align_corners)
        value, (gradient,) = jax.jit(lambda t, c: (f(t), jax.vjp(f, t)[1](c)))(theta, cotangent)
    t = torch.tensor(theta, requires_grad=True)
    expected = torch.nn.functional.affine_grid(t, (2, 1, *shape), align_corners=align_corners)
    expected.backward(torch.tensor(cotangent))
    np.testing.assert_allclose(value, expected.detach(), atol=1e-14)
    np.testing.assert_allclose(gradient, t.grad, atol=1e-12)


STORED = [(2, *how) for how in MODES] + [(3, *how) for how in VOLUME_MODES]


@pytest.mark.parametrize(
    ("d", "mode", "padding_mode", "align_corners"), daily_cases(STORED, STORED[::7])
)  # the live ones are compared daily
def test_equals_the_committed_results_of_pytorch(d, mode, padding_mode, align_corners):
    stored = np.load(FIXTURE)
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    results = ours(*(stored[f"{d}-{k}"] for k in ("image", "grid", "cotangent")), **options)
    name = f"{d}-{mode}-{padding_mode}-{align_corners}"
    for part, result in zip(("value", "image_gradient", "grid_gradient"), results, strict=True):
        np.testing.assert_allclose(result, stored[f"{name}-{part}"], atol=1e-4, rtol=1e-4)


def write_fixture():
    """Writes the committed file; run ``python -m tests.ops.sampling_parity_test`` where torch is installed."""
    import torch

    arrays = {2: example(np.float32, 5, 7), 3: example(np.float32, 3, 4, 5)}
    stored = {f"{d}-{k}": a for d in arrays for k, a in zip(("image", "grid", "cotangent"), arrays[d], strict=True)}
    stored["torch"] = torch.__version__
    for d, mode, padding_mode, align_corners in STORED:
        options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
        results = theirs(torch, *arrays[d], **options)
        for part, result in zip(("value", "image_gradient", "grid_gradient"), results, strict=True):
            stored[f"{d}-{mode}-{padding_mode}-{align_corners}-{part}"] = result
    FIXTURE.parent.mkdir(exist_ok=True)
    np.savez_compressed(FIXTURE, **stored)


if __name__ == "__main__":
    write_fixture()
