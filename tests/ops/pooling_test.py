"""Pooling ops: transforms, dtypes, meshes, limits and errors."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec
from numpy.typing import DTypeLike

from jaxcnn.ops import pooling
from tests.support.selection import daily, daily_cases
from tests.support.untyped import untyped

SHAPE = (2, 9, 8, 3)


def image(shape=SHAPE, dtype: DTypeLike = np.float32) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def weights(shape=(*SHAPE[:-1], 1), dtype=np.float32) -> np.ndarray:
    return np.random.default_rng(1).uniform(0.1, 1.0, size=shape).astype(dtype)


# Not reached by the contract tests over all ops: the other implementations of the maximum, large windows, ...
POOLS = {
    "max_3_2": functools.partial(pooling.max_pool, window=3, strides=2, padding=1, ceil_mode=True),
    "max_5": functools.partial(pooling.max_pool, window=5, padding=2),
    "max_7_1": functools.partial(pooling.max_pool, window=7, strides=1, padding="SAME"),
    "avg_7_1": functools.partial(pooling.avg_pool, window=7, strides=1, padding="SAME", count_include_pad=True),
    "weighted_per_channel": lambda x: pooling.weighted_average_pool(x, jnp.exp(-x)),
}

EACH_POOL = pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
FEW_POOLS = pytest.mark.parametrize(
    "pool", daily(POOLS.values(), (POOLS["max_3_2"], POOLS["weighted_per_channel"])), ids=POOLS
)


@FEW_POOLS
def test_jit_and_vmap(pool):
    x = image()
    expected = pool(x)  # eagerly
    forms = (
        pool,
        jax.vmap(pool),
        lambda x: jnp.stack([pool(one) for one in x]),
        lambda x: pool(x[None, :, None])[0, :, 0],
    )
    for value in jax.jit(lambda x: [form(x) for form in forms])(x):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)


@EACH_POOL
def test_derivatives_agree_with_differences(pool):
    with jax.enable_x64(True):
        x = jnp.asarray(image(dtype=np.float64))
        rng = np.random.default_rng(2)
        direction = jnp.asarray(rng.normal(size=x.shape))
        value, slope = jax.jit(lambda x, d: jax.jvp(pool, (x,), (d,)))(x, direction)
        step, pool = 1e-6, jax.jit(pool)
        difference = (pool(x + step * direction) - pool(x - step * direction)) / (2 * step)
        np.testing.assert_allclose(slope, difference, rtol=1e-6, atol=1e-7)
        cotangent = jnp.asarray(rng.normal(size=value.shape))
        (gradient,) = jax.jit(lambda x, c: jax.vjp(pool, x)[1](c))(x, cotangent)
        np.testing.assert_allclose(np.vdot(gradient, direction), np.vdot(cotangent, slope), rtol=1e-9)


@pytest.mark.parametrize("pool", [POOLS["max_3_2"], POOLS["max_7_1"]], ids=["max_3_2", "max_7_1"])
@pytest.mark.nightly
def test_second_derivative(pool):
    x = image((1, 9, 8, 3))

    def directional(x):
        return jax.jvp(lambda x: jnp.sum(pool(x) ** 2), (x,), (jnp.ones_like(x),))[1]

    def forward_over_reverse(x):
        return jax.jvp(jax.grad(lambda x: jnp.sum(pool(x) ** 2)), (x,), (jnp.ones_like(x),))[1]

    found, expected = jax.jit(jax.grad(directional))(x), jax.jit(forward_over_reverse)(x)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


@FEW_POOLS
def test_bfloat16(pool):
    x, pool = jnp.asarray(image(), jnp.bfloat16), jax.jit(pool)
    y = pool(x)
    assert y.dtype == jnp.bfloat16
    np.testing.assert_allclose(y.astype(jnp.float32), pool(x.astype(jnp.float32)), rtol=2e-2, atol=2e-2)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(pool(x).astype(jnp.float32))))(x)
    assert gradient.dtype == jnp.bfloat16 and bool(jnp.isfinite(gradient).all())


def test_means_accumulate_in_float32():
    x = jnp.full((1, 64, 64, 1), 1.0, jnp.bfloat16)  # a bfloat16 sum of ones saturates at 256
    assert jax.jit(pooling.global_average_pool)(x).item() == 1.0
    assert jax.jit(lambda x: pooling.avg_pool(x, 63, strides=1))(x)[0, 0, 0, 0] == 1.0
    assert jax.jit(pooling.weighted_average_pool)(x, x).item() == 1.0


@pytest.mark.parametrize("kind", daily([AxisType.Auto, AxisType.Explicit], [AxisType.Explicit]), ids=str)
@FEW_POOLS
def test_sharded_batch(pool, kind):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])
    x = image()

    def both(x):
        return pool(x), jax.grad(lambda x: jnp.sum(pool(x) ** 2))(x)

    expected = jax.jit(both)(x)
    with jax.set_mesh(mesh):
        placed = jax.device_put(x, NamedSharding(mesh, PartitionSpec("data")))
        value, gradient = jax.jit(both)(placed)
        nested = jax.jit(both)(jax.device_put(x[None], NamedSharding(mesh, PartitionSpec(None, "data"))))
    np.testing.assert_allclose(value, expected[0], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient, expected[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(nested[1][0], expected[1], rtol=1e-5, atol=1e-6)
    assert value.sharding.spec[0] == "data"


@pytest.mark.parametrize(("window", "stride"), [(2, 1), (2, None), (3, 2), (5, 3), ((2, 7), None)], ids=str)
@jax.numpy_dtype_promotion("standard")  # for Flax's own
def test_same_padding_equals_flax(window, stride):
    x = image()
    shape = (window, window) if isinstance(window, int) else window
    strides = shape if stride is None else (stride, stride)
    ours = lambda pool, **options: functools.partial(pool, window=window, strides=stride, padding="SAME", **options)
    theirs = lambda pool, **options: pool(x, shape, strides, "SAME", **options)
    np.testing.assert_array_equal(jax.jit(ours(pooling.max_pool))(x), theirs(nn.max_pool))
    for include in (False, True):
        got = jax.jit(ours(pooling.avg_pool, count_include_pad=include))(x)
        np.testing.assert_allclose(got, theirs(nn.avg_pool, count_include_pad=include), rtol=1e-5, atol=1e-6)


def test_uneven_padding_equals_flax():
    x, pads = image(), ((0, 2), (1, 0))
    np.testing.assert_array_equal(
        pooling.max_pool(x, 3, strides=2, padding=untyped(pads)), nn.max_pool(x, (3, 3), (2, 2), untyped(pads))
    )
    np.testing.assert_array_equal(
        pooling.max_pool(x, 3, padding=(1, 2)), pooling.max_pool(x, 3, padding=((1, 1), (2, 2)))
    )


@pytest.mark.parametrize("window", [2, 5, 9])
def test_first_maximum_receives_the_gradient(window):
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(pooling.max_pool(x, window))))(jnp.ones((window, window, 1)))
    expected = np.zeros((window, window, 1))
    expected[0, 0] = 1
    np.testing.assert_array_equal(gradient, expected)


def test_global_max_pool_is_the_maximum():
    x = image((2, 11, 7, 3))
    np.testing.assert_array_equal(pooling.global_max_pool(x), x.max((1, 2)))


def test_lse_pool_lies_between_mean_and_maximum():
    x = image()
    np.testing.assert_allclose(pooling.lse_pool(x, r=1e-3), x.mean((1, 2)), atol=2e-3)
    np.testing.assert_allclose(pooling.lse_pool(x, r=1e4), x.max((1, 2)), atol=1e-3)
    big = pooling.lse_pool(1e6 * x, r=10.0)
    np.testing.assert_allclose(big, 1e6 * x.max((1, 2)), rtol=1e-5)


def test_parameter_per_channel():
    x, parameters = np.abs(image()), np.array([1.0, 3.0, 6.0], np.float32)
    for pool, name in ((pooling.lse_pool, "r"), (pooling.gem_pool, "p")):
        apply = lambda x, v, pool=pool, name=name: pool(x, **{name: v})
        each = [jax.jit(apply, static_argnums=1)(x[..., i : i + 1], float(v)) for i, v in enumerate(parameters)]
        found, gradient = jax.jit(
            lambda v, apply=apply: (apply(x, v), jax.grad(lambda v: jnp.sum(apply(x, v)))(v)),
        )(parameters)
        np.testing.assert_allclose(found, np.concatenate(each, -1), rtol=1e-5)
        assert bool((gradient > 0).all())  # both grow with their parameter


def test_gem_pool_of_extreme_values():
    x = jnp.concatenate([jnp.zeros((1, 2, 2, 1)), jnp.full((1, 2, 2, 1), 1e5)], -1)
    value, gradient = jax.jit(jax.value_and_grad(lambda p: jnp.sum(pooling.gem_pool(x, p=p))))(jnp.float32(30.0))
    np.testing.assert_allclose(value, 1e5 + 1e-6, rtol=1e-4)  # neither power is a float32
    assert bool(jnp.isfinite(gradient))
    np.testing.assert_array_equal(jax.jit(jax.grad(lambda x: jnp.sum(pooling.gem_pool(x, p=30.0))))(x)[..., 0], 0)


def test_weights_that_sum_to_zero():
    x, w = image((2, 3, 3, 2)), weights((2, 3, 3, 2))
    w[0, :, :, 0] = 0
    value = np.asarray(jax.jit(pooling.weighted_average_pool)(x, w))
    assert value[0, 0] == 0 and bool((value[1] != 0).all())
    gradients = jax.jit(jax.grad(lambda x, w: jnp.sum(pooling.weighted_average_pool(x, w) ** 2), (0, 1)))(x, w)
    assert all(bool(jnp.isfinite(g).all()) for g in gradients)
    np.testing.assert_array_equal(gradients[0][0, :, :, 0], 0)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_scale_of_weights_does_not_matter(scale):
    x, w = image(), weights()
    f = jax.jit(pooling.weighted_average_pool)
    slope = jax.jit(jax.grad(lambda w: jnp.sum(pooling.weighted_average_pool(x, w))))
    np.testing.assert_allclose(f(x, w * np.float32(scale)), f(x, w), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(slope(w * np.float32(scale)) * scale, slope(w), rtol=1e-4, atol=1e-6)


def test_equal_weights_give_the_mean():
    x = image()
    mean = pooling.global_average_pool(x)
    np.testing.assert_allclose(
        pooling.weighted_average_pool(x, np.full((2, 9, 8, 1), 0.3, np.float32)), mean, atol=1e-6
    )


def test_class_activation_map_averages_to_the_logits():
    x, kernel = image(), image((3, 4))
    logits = jnp.matmul(pooling.global_average_pool(x), kernel)
    np.testing.assert_allclose(pooling.class_activation_map(x, kernel).mean((1, 2)), logits, rtol=1e-4, atol=1e-6)


def test_empty_batch():
    assert pooling.max_pool(jnp.zeros((0, 4, 4, 1)), 2).shape == (0, 2, 2, 1)
    assert pooling.global_max_pool(jnp.zeros((0, 9, 9, 1))).shape == (0, 1)


X = np.zeros((2, 4, 4, 3), np.float32)
WINDOWED_ERRORS = [
    ((X[0, 0], 2), {}, "x must be of shape"),
    ((X.astype(np.int32), 2), {}, "x must be of a floating dtype"),
    ((X[:, :0], 2), {}, "x must be at least one pixel"),
    ((X, 0), {}, "window must be"),
    ((X, (2, 2.5)), {}, "window must be"),
    ((X, (2, 2, 2, 2)), {}, "window must be an integer or 1 to 3"),
    ((X, "2"), {}, "window must be"),
    ((X, 2.0), {}, "window must be"),
    ((X, 5), {}, "window must be no larger than the padded x, got window .5, 5. on the padded size .4, 4."),
    ((X, 2), {"strides": 0}, "strides must be"),
    ((X, 2), {"strides": (1, 1, 1)}, "strides must be"),
    ((X, 2), {"padding": "same"}, "padding must be"),
    ((X, 2), {"padding": 2}, "padding must be"),
    ((X, 2), {"padding": -1}, "padding must be"),
    ((X, 2), {"padding": 0.5}, "padding must be"),
    ((X, 2), {"padding": ((0, 1),)}, "padding must be"),
    ((X, 2), {"padding": ((0, 1), (0, 1, 1))}, "padding must be"),
    ((X, 2), {"padding": None}, "padding must be"),
]


@pytest.mark.parametrize("pool", [pooling.max_pool, pooling.avg_pool])
@pytest.mark.parametrize("case", WINDOWED_ERRORS, ids=lambda case: f"{case[0][1]} {case[1]} {case[0][0].shape}")
def test_windowed_errors(pool, case):
    arguments, options, message = case
    with pytest.raises(ValueError, match=rf"^{pool.__name__}: {message}"):
        pool(*arguments, **options)


GLOBAL = {
    "global_average_pool": pooling.global_average_pool,
    "global_max_pool": pooling.global_max_pool,
    "lse_pool": functools.partial(pooling.lse_pool, r=1.0),
    "gem_pool": functools.partial(pooling.gem_pool, p=1.0),
    "weighted_average_pool": lambda x: pooling.weighted_average_pool(x, X[..., :1]),
    "class_activation_map": lambda x: pooling.class_activation_map(x, X[0, 0]),
}


@pytest.mark.parametrize("name", GLOBAL)
@pytest.mark.parametrize("x", [X[0, 0], X.astype(np.int32), X[:, :, :0]], ids=["rank", "dtype", "empty"])
def test_global_errors(name, x):
    with pytest.raises(ValueError, match=f"^{name}: (x|features) must be"):
        GLOBAL[name](x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pooling.lse_pool(X, r=0.0), "lse_pool: r must be above 0, got 0.0"),
        (lambda: pooling.lse_pool(X, r=np.ones(4)), "lse_pool: r must be one number or 3"),
        (lambda: pooling.gem_pool(X, p=-1.0), "gem_pool: p must be above 0"),
        (lambda: pooling.gem_pool(X, p=np.ones((1, 3))), "gem_pool: p must be one number or 3"),
        (lambda: pooling.weighted_average_pool(X, X[..., :2]), r"weights must be of shape \(2, 4, 4, 1\) or .*, 2\)"),
        (lambda: pooling.weighted_average_pool(X, X[:1]), "weights must be of shape"),
        (lambda: pooling.weighted_average_pool(X, X.astype(np.int32)), "weights must be of a floating dtype"),
        (lambda: pooling.class_activation_map(X, np.zeros((4, 3), np.float32)), "kernel must be of shape"),
        (lambda: pooling.class_activation_map(X, np.zeros((3,), np.float32)), "kernel must be of shape"),
        (lambda: pooling.class_activation_map(X, np.zeros((3, 2), np.int32)), "kernel must be of a floating"),
    ],
)
def test_other_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    ("window", "strides"),
    daily_cases([(w, s) for w in (2, 3, (3, 2)) for s in (1, 2, (2, 3))], [(3, 1), (2, 2), ((3, 2), (2, 3))]),
)
def test_the_implementation_for_large_arrays_equals_that_for_small_ones(window, strides, monkeypatch):
    rng = np.random.default_rng(3)
    x = rng.integers(0, 4, (2, 9, 8, 3)).astype(np.float32)  # few values: ties are common
    x[rng.random(x.shape) < 0.02] = np.nan
    direction = rng.normal(size=x.shape).astype(np.float32)

    def with_derivatives(x):
        pool = functools.partial(pooling.max_pool, window=window, strides=strides, padding=1, ceil_mode=True)
        y, slope = jax.jvp(pool, (x,), (direction,))
        g = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
        (gradient,) = jax.vjp(pool, x)[1](g)
        return y, slope, gradient, jax.vmap(jax.grad(lambda x: jnp.sum(jnp.sin(jnp.nan_to_num(pool(x))))))(x)

    small = jax.jit(with_derivatives)(x)
    monkeypatch.setattr("jaxcnn.ops._pool_windows._CACHE_BYTES", 0)

    large = jax.jit(lambda x: with_derivatives(x))(x)
    for a, b in zip(large, small, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
