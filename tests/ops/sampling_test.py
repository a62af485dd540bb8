"""grid_sample on its own: identity, padding, slopes, gradients without scatter, leading axes, meshes, bad input."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.test_util import check_grads

from jaxcnn import ops
from jaxcnn.ops._sampling.interpolation import flat_index
from tests.support import released
from tests.support.selection import daily
from tests.support.untyped import untyped

EYE = np.eye(2, 3, dtype=np.float32)
sample = jax.jit(ops.grid_sample, static_argnames=("mode", "padding_mode", "align_corners"))


def images(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def points(*shape, seed=1, reach=1.3):
    return jnp.asarray(np.random.default_rng(seed).uniform(-reach, reach, size=(*shape, 2)), jnp.float32)


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection", "fill"])
@pytest.mark.parametrize("size", daily([(4, 5), (1, 7), (60, 61)], [(60, 61)]))
def test_identity_grid_returns_the_image(align_corners, padding_mode, size):
    image = images(*size, 2)
    grid = ops.affine_grid(EYE, size, align_corners=align_corners)
    result = sample(image, grid, padding_mode=padding_mode, align_corners=align_corners)
    ulp = np.finfo(np.float32).eps
    bound = 4 * ulp * max(size) * float(jnp.max(image) - jnp.min(image))
    np.testing.assert_allclose(result, image, atol=bound)


def test_padding_modes_on_a_row():
    image = jnp.array([[[1.0], [2.0], [3.0]]])
    x = jnp.array([-2.0, -1.0, 3.0, 5.0])  # pixels, the first center being 0
    grid = jnp.stack([(x * 2 + 1) / 3 - 1, jnp.zeros(4)], -1)[None]
    read = lambda **options: np.round(sample(image, grid, **options)[0, :, 0], 4).tolist()
    assert read() == [0, 0, 0, 0]
    assert read(padding_mode="border") == [1, 1, 3, 3]
    assert read(padding_mode="reflection") == [2, 1, 3, 1]
    assert read(padding_mode="fill", fill_value=7.0) == [7, 7, 7, 7]
    half = jnp.array([[[-1.0, 0.0]]])  # the outer edge: half pixel, half outside
    assert sample(image, half).item() == 0.5
    assert sample(image, half, padding_mode="fill", fill_value=3.0).item() == 2.0


def reflected(position, size, align_corners):
    """Where a position in pixels lies once the image is mirrored at its edges, in float64, edge by edge."""
    low, high = (0, size - 1) if align_corners else (-0.5, size - 0.5)
    while np.any((position < low) | (position > high)):
        position = np.where(position < low, 2 * low - position, position)
        position = np.where(position > high, 2 * high - position, position)
    return np.clip(position, 0, size - 1)


# All but the first are sizes whose reciprocal, times an edge, rounds to another number than division.
INEXACT = (2, 41, 42, 47, 49, 50, 56, 83, 99, 104)
SIZES = [
    pytest.param(jax.jit, range(2, 130), id="any", marks=pytest.mark.nightly),
    pytest.param(jax.jit, INEXACT, id="some", marks=pytest.mark.nightly),
    pytest.param(released.jit, INEXACT, id="released"),
]


@pytest.mark.parametrize(("jit", "sizes"), SIZES)
@pytest.mark.parametrize("dtype", daily([np.float32, np.float64], [np.float32]))
@pytest.mark.parametrize("align_corners", [False, True])
def test_reflection_at_the_edges_of_any_size(align_corners, dtype, jit, sizes):
    if dtype == np.float64:
        sizes = sizes[::3]
    # Division by the extent is a multiplication after compilation, and one ulp more or less is another mirror image.
    x = np.concatenate([[-1, 1, -3, 3, -5, 5], np.random.default_rng(0).uniform(-20, 20, 9)]).astype(dtype)
    with jax.enable_x64(True):
        row = lambda n: jnp.arange(n, dtype=dtype)[None, :, None]  # every pixel holds its position
        grid = jnp.stack([jnp.asarray(x), jnp.zeros_like(x)], -1)[None]
        read = lambda g, n: ops.grid_sample(row(n), g, padding_mode="reflection", align_corners=align_corners)[0, :, 0]
        found = jit(lambda g: [read(g, n) for n in sizes])(grid)
    for n, values in zip(sizes, found, strict=True):
        wide = x.astype(np.float64)
        position = (wide + 1) * (n - 1) / 2 if align_corners else ((wide + 1) * n - 1) / 2
        expected = reflected(position, n, align_corners)
        np.testing.assert_array_equal(values[:6], expected[:6], err_msg=f"size {n}")
        np.testing.assert_allclose(values, expected, atol=40 * n * np.finfo(dtype).eps, err_msg=f"size {n}")


@pytest.mark.errors  # violates the annotation
def test_a_zero_of_numpy_is_the_default_fill():
    image, grid = images(3, 3, 2), points(2, 2)
    expected = ops.grid_sample(image, grid)
    for zero in (0, np.float32(0), np.int64(0)):
        np.testing.assert_array_equal(ops.grid_sample(image, grid, fill_value=untyped(zero)), expected)


def test_a_fill_may_be_numbers_in_anything():
    image, outside = images(3, 3, 2), jnp.full((1, 1, 2), 9.0)
    read = jax.jit(lambda fill: ops.grid_sample(image, outside, padding_mode="fill", fill_value=fill))
    for fill in ([1, 2], np.array([1, 2]), [jnp.float32(1), 2.0]):
        for result in (read(fill), ops.grid_sample(image, outside, padding_mode="fill", fill_value=fill)):
            np.testing.assert_array_equal(result.ravel(), [1, 2])
    for zero in ([0, 0], (0.0, 0.0), np.zeros(2), jnp.zeros(())):  # what zeros are
        np.testing.assert_array_equal(ops.grid_sample(image, outside, fill_value=zero).ravel(), [0, 0])


def test_fill_per_channel_and_its_gradient():
    image = images(3, 3, 2)
    outside = jnp.full((1, 1, 2), 9.0)
    f = lambda fill: sample(image, outside, padding_mode="fill", fill_value=fill)[0, 0]
    np.testing.assert_array_equal(f(jnp.array([1.0, -2.0])), [1, -2])
    np.testing.assert_array_equal(jax.jacobian(f)(jnp.array([1.0, -2.0])), np.eye(2))


def test_slope_on_a_pixel_center_is_the_right_hand_one():
    row = jnp.array([1.0, 4.0, 9.0, 16.0, 25.0])[None, :, None]  # five pixels: centers are exact coordinates
    to_grid = lambda x: jnp.stack([x / 2 - 1, jnp.zeros(())])[None, None]
    slope = jax.jit(jax.grad(lambda x: ops.grid_sample(row, to_grid(x), align_corners=True)[0, 0, 0]))
    assert [float(slope(x)) for x in (1.0, 2.0, 3.0)] == [5, 7, 9]


@pytest.mark.parametrize("align_corners", [False, True])
def test_slope_near_a_pixel_center_is_one_of_the_two(align_corners):
    n = 11
    row = jnp.asarray(np.arange(n) ** 2, jnp.float32)[None, :, None]
    f = lambda x: ops.grid_sample(row, jnp.stack([x, jnp.zeros(())])[None, None], align_corners=align_corners)[0, 0, 0]
    slope = jax.jit(jax.vmap(jax.grad(f)))
    centers = ops.affine_grid(EYE, (1, n), align_corners=align_corners)[0, 1:-1, 0]
    k, per_pixel = np.arange(1, n - 1), (n - 1) / 2 if align_corners else n / 2
    for step in (-2, -1, 0, 1, 2):
        x = np.asarray(centers)
        for _ in range(abs(step)):
            x = np.nextafter(x, np.float32(np.sign(step) * 2))
        found = np.asarray(slope(jnp.asarray(x))) / per_pixel
        left, right = 2 * k - 1, 2 * k + 1
        assert np.all(np.isclose(found, left, rtol=1e-4) | np.isclose(found, right, rtol=1e-4)), found


def test_nan_and_infinite_coordinates():
    image = jnp.ones((3, 3, 1))
    grid = jnp.array([[[jnp.nan, 0.0], [0.0, jnp.nan], [jnp.inf, 0.0], [0.0, -jnp.inf]]])
    for mode in ("bilinear", "nearest"):
        read = lambda padding, mode=mode: sample(image, grid, mode=mode, padding_mode=padding)[0, :, 0]
        np.testing.assert_array_equal(read("zeros"), [np.nan, np.nan, 0, 0])
        np.testing.assert_array_equal(read("border"), [np.nan, np.nan, 1, 1])
        np.testing.assert_array_equal(read("reflection"), [np.nan] * 4)


def test_values_outside_never_leak_in():
    image = jnp.array([[[jnp.inf], [1.0]]])
    assert ops.grid_sample(image, jnp.array([[[3.0, 0.0]]])).item() == 0
    assert ops.grid_sample(image, jnp.array([[[-5.0, 0.0]]])).item() == 0


def test_huge_coordinates_are_finite():
    grid = jnp.full((1, 1, 2), 3e38)
    for padding_mode in ("zeros", "border", "reflection", "fill"):
        f = lambda g, p=padding_mode: ops.grid_sample(jnp.ones((3, 3, 1)), g, padding_mode=untyped(p)).sum()
        value, gradient = jax.jit(jax.value_and_grad(f))(grid * 1e-10)
        assert np.isfinite(value.item()) and np.all(np.isfinite(gradient))


def gradient_program(argument, platform):
    loss = lambda image, grid: jnp.sum(ops.grid_sample(image, grid) ** 2)
    gradient = jax.jit(jax.grad(loss, argument))
    return jax.export.export(gradient, platforms=[platform])(images(2, 8, 8, 3), points(2, 5, 5)).mlir_module()


def test_no_scatter_unless_the_image_is_differentiated():
    scatter = "stablehlo.scatter"
    assert scatter not in gradient_program(1, "cuda")
    assert scatter in gradient_program(0, "cuda")  # else the line above would prove nothing
    # On CPU a loop over points takes the scatter's place; its updates show, and need not be there for the grid.
    assert scatter not in gradient_program(0, "cpu")
    image = "tensor<128x3xf32>"
    updates = [bool(re.search(f"dynamic_update_slice.*{image}", gradient_program(i, "cpu"))) for i in (0, 1)]
    assert updates == [True, False]


@pytest.mark.nightly  # the contract of every item has the same for one padding after another
def test_forward_and_reverse_mode_agree_with_finite_differences():
    with jax.enable_x64(True):
        rng = np.random.default_rng(3)
        image, grid = jnp.asarray(rng.normal(size=(4, 5, 2))), jnp.asarray(rng.uniform(-1.4, 1.4, size=(3, 3, 2)))
        for padding_mode, align_corners in itertools.product(("zeros", "border", "reflection"), (False, True)):
            f = lambda i, g, p=padding_mode, a=align_corners: ops.grid_sample(
                i, g, padding_mode=untyped(p), align_corners=a
            )
            check_grads(jax.jit(f), (image, grid), order=1, modes=("fwd", "rev"), eps=1e-6)


@pytest.mark.nightly
@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_derivatives_of_any_order(mode):
    with jax.enable_x64(True):
        rng = np.random.default_rng(4)
        image, grid = jnp.asarray(rng.normal(size=(4, 5, 2))), jnp.asarray(rng.uniform(-0.7, 0.7, size=(2, 2, 2)))
        f = lambda i, g: ops.grid_sample(i, g, mode=mode, padding_mode="border")
        for argument in (0, 1):
            forward, reverse = (jax.jit(jac(f, argument))(image, grid) for jac in (jax.jacfwd, jax.jacrev))
            np.testing.assert_allclose(forward, reverse, atol=1e-12)
        loss = lambda i, g: jnp.sum(f(i, g) ** 3)
        order = 2 if mode == "bilinear" else 1  # of the third one there is a Hessian below
        check_grads(jax.jit(loss), (image, grid), order=order, modes=("fwd", "rev"), eps=1e-6)
        both = [jax.jit(outer(jax.grad(loss, 1), 0))(image, grid) for outer in (jax.jacfwd, jax.jacrev)]
        np.testing.assert_allclose(*both, atol=1e-12)
        hessian = jax.jit(jax.hessian(loss, 1))(image, grid).reshape(8, 8)
        np.testing.assert_allclose(hessian, hessian.T, atol=1e-12)
        assert np.count_nonzero(hessian) > 8


@pytest.mark.parametrize("mode", daily(["bilinear", "bicubic"], ["bilinear"]))
def test_points_may_be_sharded_over_an_explicit_axis(mode):
    image, grid = images(6, 5, 4), points(8, 4)
    value = lambda i, g: ops.grid_sample(i, g, mode=mode)
    slopes = jax.grad(lambda i, g: jnp.sum(value(i, g) ** 2), (0, 1))
    both = lambda i, g: (value(i, g), *slopes(i, g))
    expected = jax.jit(both)(image, grid)
    mesh = jax.make_mesh((2,), ("rows",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2])
    with jax.set_mesh(mesh):
        arrays = (jax.device_put(a, NamedSharding(mesh, spec)) for a, spec in ((image, P()), (grid, P("rows"))))
        found = jax.jit(both)(*arrays)
    assert found[0].sharding.spec[0] == found[2].sharding.spec[0] == "rows"
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4)


@pytest.mark.parametrize("jit", [jax.jit, released.jit])
def test_flat_index_is_exact_beyond_the_integers_of_float32(jit):
    for h, w in ((3, 5), (2048, 4096), (2049, 4097), (8200, 8100)):  # the second one has 2^23 pixels
        y, x = (np.random.default_rng(0).integers(0, n, 200) for n in (h, w))
        y[:3], x[:3] = (0, h - 1, h - 1), (0, w - 1, 0)
        found = jit(lambda *whole, h=h, w=w: flat_index(whole, (w, 1), h * w))(y.astype("f"), x.astype("f"))
        np.testing.assert_array_equal(found, y * w + x)


@pytest.mark.parametrize(
    "c", daily([13, 1040, 1100], [1040])
)  # one, several and wider slices of lanes, and a remainder
def test_gradients_of_many_channels_are_the_sum_over_single_channels(c):
    image, grid = images(4, 5, c), points(3, 2)
    g = np.random.default_rng(3).normal(size=(3, 2, c)).astype("f")
    slope = lambda image, g: jax.vjp(lambda grid: ops.grid_sample(image, grid), grid)[1](g)[0]
    parts = jax.jit(jax.vmap(lambda image, g: slope(image[..., None], g[..., None]), -1))(image, jnp.asarray(g))
    found = jax.jit(slope)(image, g)
    np.testing.assert_allclose(found, jnp.sum(parts, 0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("of", daily(["images", "grids"], ["grids"]))
@pytest.mark.parametrize("volume", daily([False, True], [False]))
def test_vmap_over_the_image_or_the_grid(of, volume):
    size, out = ((3, 4, 5), (2, 3, 3)) if volume else ((4, 5), (3, 6))
    image, grid = images(*size, 2), jnp.asarray(np.random.default_rng(1).uniform(-1.2, 1.2, (*out, len(size))), "f")
    many = (
        images(3, 2, *size, 2)
        if of == "images"
        else jnp.stack([grid, grid * 0.9, -grid] * 2).reshape(3, 2, *grid.shape)
    )
    loss = lambda i, g: jnp.sum(ops.grid_sample(i, g, mode="bilinear") ** 2)
    both = jax.value_and_grad(loss, (0, 1))
    twice = lambda f, axes: jax.jit(jax.vmap(jax.vmap(f, axes), axes))
    if of == "images":
        results, single = twice(both, (0, None))(many, grid), lambda j: both(many[j], grid)
        summed = jax.grad(lambda g: jnp.sum(twice(loss, (0, None))(many, g)))(grid)
        position = 1
    else:
        results, single = twice(both, (None, 0))(image, many), lambda j: both(image, many[j])
        summed = jax.grad(lambda i: jnp.sum(twice(loss, (None, 0))(i, many)))(image)
        position = 0
    flat = jax.tree.map(lambda a: a.reshape(6, *a.shape[2:]), results)
    expected = jax.tree.map(lambda *a: jnp.stack(a), *(single(j) for j in np.ndindex(3, 2)))
    for a, b in zip(jax.tree.leaves(flat), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)
    np.testing.assert_allclose(summed, flat[1][position].sum(0), atol=1e-4)


@pytest.mark.nightly
def test_runs_with_jit_disabled():
    image, grid = images(2, 4, 5, 2), points(2, 3, 6)
    loss = lambda i, g: jnp.sum(ops.conv(ops.grid_sample(i, g), jnp.ones((2, 2, 2, 1))) ** 2)
    expected = jax.grad(loss, (0, 1))(image, grid)
    with jax.disable_jit():
        found = jax.grad(loss, (0, 1))(image, grid)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_programs_for_several_devices_use_the_scatter_that_can_be_partitioned():
    image, grid = images(8, 4, 5, 2), points(8, 3, 6)
    gradient = jax.jit(jax.grad(lambda i, g: jnp.sum(ops.grid_sample(i, g) ** 2), (0, 1)))
    mesh = jax.make_mesh((4,), ("b",), axis_types=(AxisType.Auto,))
    sharded = [jax.device_put(a, NamedSharding(mesh, P("b"))) for a in (image, grid)]
    assert "stablehlo.scatter" in gradient.lower(*sharded).as_text()
    assert all(a.sharding.spec[0] == "b" for a in gradient(*sharded))
    local = jax.jit(jax.shard_map(gradient, mesh=mesh, in_specs=P("b"), out_specs=P("b")))
    assert "stablehlo.scatter" not in local.lower(*sharded).as_text()
    for a, b, c in zip(gradient(image, grid), gradient(*sharded), local(*sharded), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
        np.testing.assert_allclose(a, c, atol=1e-5)


@pytest.mark.parametrize("leading", daily([(), (2,), (2, 3), (0,)], [(), (2, 3)]))
def test_any_leading_axes(leading):
    image, grid = images(*leading, 4, 5, 2), points(*leading, 3, 6)
    result = sample(image, grid)
    assert result.shape == (*leading, 3, 6, 2)
    for index in np.ndindex(*leading):
        np.testing.assert_allclose(result[index], sample(image[index], grid[index]), atol=1e-6)


def test_leading_axes_broadcast():
    image, grid = images(2, 1, 4, 5, 2), points(3, 3, 6)
    result = sample(image, grid)
    assert result.shape == (2, 3, 3, 6, 2)
    np.testing.assert_allclose(result[1, 2], sample(image[1, 0], grid[2]), atol=1e-6)
    np.testing.assert_allclose(sample(image[0, 0], grid)[1], sample(image[0, 0], grid[1]), atol=1e-6)


def test_narrow_images_are_read_at_wide_coordinates():
    image = images(20, 224, 1)
    grid = ops.affine_grid(EYE, (20, 224))
    for dtype in (jnp.bfloat16, jnp.float16):
        narrow = image.astype(dtype)
        result = sample(narrow, grid)
        assert result.dtype == dtype
        np.testing.assert_allclose(result.astype(jnp.float32), narrow.astype(jnp.float32), atol=2e-2)
        expected = sample(narrow.astype(jnp.float32), points(9, 9)).astype(dtype)
        np.testing.assert_array_equal(sample(narrow, points(9, 9)), expected)
    assert ops.affine_grid(EYE.astype(jnp.bfloat16), (2, 2)).dtype == jnp.float32


@pytest.mark.nightly  # a contract of every item
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_sharded_batches(kind):
    image, grid = images(8, 4, 5, 2), points(8, 3, 6)
    loss = lambda i, g: jnp.sum(ops.grid_sample(i, g) ** 2)
    expected, gradients = ops.grid_sample(image, grid), jax.jit(jax.grad(loss, (0, 1)))(image, grid)
    mesh = jax.make_mesh((4,), ("b",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        sharded = [jax.device_put(a, NamedSharding(mesh, P("b"))) for a in (image, grid)]
        result = jax.jit(ops.grid_sample)(*sharded)
        np.testing.assert_allclose(result, expected, atol=1e-6)
        assert result.sharding.spec[0] == "b"
        for a, b in zip(jax.jit(jax.grad(loss, (0, 1)))(*sharded), gradients, strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(mode="cubic"), r"grid_sample: mode must be one of \('bilinear', 'nearest', 'bicubic'\), got 'cubic'\."),
        (dict(padding_mode="wrap"), "padding_mode must be one of"),
        (dict(fill_value=1.0), "fill_value must be left at 0 unless"),
        (dict(padding_mode="fill", fill_value=jnp.ones(3)), r"fill_value must be one value or 2.*float32\(3,\)"),
        (dict(image=jnp.ones((4, 4))), r"image must be of shape \(..., h, w, c\), got float32\(4, 4\)"),
        (dict(image=jnp.ones((4, 4, 2), jnp.uint8)), "image must be of a floating dtype, got uint8"),
        (dict(image=jnp.ones((0, 4, 2))), "image must be at least 1 x 1 pixels"),
        (dict(grid=jnp.ones((3, 3, 3))), r"grid must be of shape \(..., h, w, 2\) or .*, got float32\(3, 3, 3\)"),
        (dict(grid=jnp.ones((3, 3, 2), jnp.int32)), "grid must be of a floating dtype"),
        (dict(grid=jnp.ones((3, 2))), "grid must be of shape"),
        (dict(grid=jnp.ones((0, 3, 2))), "grid must be at least 1 x 1 points"),
        (dict(image=jnp.ones((2, 4, 4, 2)), grid=jnp.ones((3, 3, 3, 2))), r"broadcast, got float32\(2, 4, 4, 2\) and"),
    ],
)
def test_errors(arguments, message):
    image, grid = arguments.pop("image", jnp.ones((4, 4, 2))), arguments.pop("grid", jnp.ones((3, 3, 2)))
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda i, g: ops.grid_sample(i, g, **arguments), image, grid)


@pytest.mark.errors
def test_errors_of_arguments_that_are_not_arrays():
    image, grid = jnp.ones((4, 4, 2)), jnp.ones((3, 3, 2))
    for call, message in (
        (lambda: ops.grid_sample(untyped(None), grid), "grid_sample: image must be an array of numbers, got None"),
        (lambda: ops.grid_sample(image, untyped("grid")), "grid_sample: grid must be an array of numbers, got 'grid'"),
        (lambda: ops.grid_sample(image, grid, fill_value=untyped("a")), "fill_value must be left at 0"),
        (
            lambda: ops.grid_sample(image, grid, padding_mode="fill", fill_value=untyped("a")),
            "grid_sample: fill_value must be an array of numbers, got 'a'",
        ),
        (lambda: ops.warp_flow(image, untyped(None)), "warp_flow: flow must be an array of numbers"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
