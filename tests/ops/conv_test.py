"""``ops.conv`` against ``lax.conv_general_dilated``: values, derivatives, batching, sharding, programs, errors."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn import ops
from tests.support.selection import daily, times
from tests.support.untyped import untyped

SPACE = {1: "W", 2: "HW", 3: "DHW"}


def normal(*shape, seed=0, dtype=jnp.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def lax_conv(x, kernel, *, strides=1, padding="SAME", dilation=1, input_dilation=1, groups=1):
    """Convolves one batch of images by JAX itself."""
    rank = kernel.ndim - 2
    each = lambda value: (value,) * rank if isinstance(value, int) else value
    padding = padding if isinstance(padding, str) else [each(pair) if rank == 2 else pair for pair in untyped(padding)]
    return jax.lax.conv_general_dilated(
        x,
        kernel,
        each(strides),
        padding,
        lhs_dilation=each(input_dilation),
        rhs_dilation=each(dilation),
        dimension_numbers=(f"N{SPACE[rank]}C", f"{SPACE[rank]}IO", f"N{SPACE[rank]}C"),
        feature_group_count=groups,
    )


def close(got, wanted, tolerance=1e-5):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance * (1 + np.abs(b).max(initial=0)))


def derivatives(function, x, kernel):
    """Computes the output, both gradients, the tangent, and the gradients of the squared gradients."""
    y, pull = jax.vjp(function, x, kernel)
    g = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape).astype(y.dtype)
    tangent = jax.jvp(function, (x, kernel), (jnp.sin(x), jnp.cos(kernel)))[1]
    inner = lambda x, kernel: sum(jnp.sum(d.astype(jnp.float32) ** 2) for d in jax.vjp(function, x, kernel)[1](g))
    return y, pull(g), tangent, jax.grad(inner, (0, 1))(x, kernel)


CASES = {
    "plane": ((2, 6, 7, 3), (3, 2, 3, 4), {}),
    "many channels": ((2, 6, 7, 9), (3, 2, 9, 5), {}),
    "many channels and all options": (
        (2, 5, 6, 9),
        (3, 2, 9, 4),
        {"strides": (2, 3), "dilation": (1, 2), "input_dilation": (3, 2), "padding": [(2, 1), (0, 3)]},
    ),
    "two channels": ((2, 6, 7, 2), (3, 2, 2, 4), {"strides": (2, 1), "padding": [(2, 0), (1, 1)]}),
    "more taps than are unrolled": ((2, 12, 13, 2), (11, 10, 2, 3), {}),
    "valid": ((2, 6, 7, 3), (3, 2, 3, 4), {"padding": "VALID"}),
    "strides": ((2, 7, 8, 3), (3, 3, 3, 4), {"strides": (2, 3)}),
    "strides that leave pixels over": ((2, 8, 8, 3), (3, 3, 3, 4), {"strides": 3, "padding": "VALID"}),
    "dilation": ((2, 7, 8, 3), (3, 3, 3, 4), {"dilation": (2, 1)}),
    "all dilations and strides": (
        (2, 5, 6, 3),
        (3, 2, 3, 4),
        {"strides": (2, 3), "dilation": (1, 2), "input_dilation": (3, 2), "padding": [(2, 1), (0, 3)]},
    ),
    "groups": ((2, 6, 7, 4), (3, 2, 2, 6), {"groups": 2, "strides": 2}),
    "blocks of groups, and a rest": ((2, 5, 6, 21 * 3), (3, 2, 3, 42), {"groups": 21, "strides": (2, 1)}),
    "blocks in a loop": ((1, 4, 5, 17 * 32), (2, 2, 32, 17), {"groups": 17}),
    "a group per channel, depthwise": ((2, 6, 7, 3), (3, 2, 1, 6), {"groups": 3, "strides": 2, "dilation": 2}),
    "a group per channel": (
        (2, 6, 7, 3),
        (3, 2, 1, 6),
        {"groups": 3, "input_dilation": 2, "padding": [(1, 1), (0, 1)]},
    ),
    "line": ((2, 9, 3), (4, 3, 2), {"strides": 2, "dilation": 2}),
    "volume with all dilations and strides": (
        (2, 4, 5, 3, 2),
        (2, 3, 2, 2, 3),
        {"strides": (2, 1, 2), "dilation": (2, 1, 1), "input_dilation": (3, 1, 2), "padding": [(1, 2), (0, 1), (1, 0)]},
    ),
    "a large volume": ((1, 9, 9, 9, 2), (5, 5, 5, 2, 3), {"groups": 1}),
    "volume in groups": ((2, 4, 5, 3, 4), (2, 3, 2, 2, 4), {"groups": 2, "strides": 2}),
    "volume": ((2, 4, 5, 3, 2), (2, 3, 2, 2, 3), {"strides": (1, 2, 1)}),
    "pointwise": ((2, 6, 7, 3), (1, 1, 3, 4), {"strides": (2, 3)}),
    "pointwise with zeros": ((2, 3, 4, 3), (1, 1, 3, 4), {"input_dilation": 2, "padding": [(1, 0), (0, 2)]}),
    "kernel as large as x": ((2, 5, 5, 3), (5, 5, 3, 4), {"padding": "VALID"}),
    "no image": ((0, 5, 5, 3), (3, 3, 3, 4), {}),
}


PARTS_OF_OTHERS = ("many channels", "valid", "strides", "dilation", "volume", "volume in groups", "pointwise")
"""Cases whose options others have along with more."""


@pytest.mark.parametrize("case", daily(CASES, set(CASES) - set(PARTS_OF_OTHERS)))
def test_equals_lax_in_all_derivatives(case):
    shape, kernel, options = CASES[case]
    arrays = normal(*shape), normal(*kernel, seed=1)
    got, wanted = (
        jax.jit(functools.partial(derivatives, functools.partial(f, **options)))(*arrays) for f in (ops.conv, lax_conv)
    )
    close(got, wanted)


@pytest.mark.parametrize("dtype", daily(["bfloat16", "float16", "float64"], ["bfloat16"]))
def test_dtypes(dtype):
    with jax.enable_x64(dtype == "float64"):
        arrays = normal(2, 6, 7, 3, dtype=dtype), normal(3, 3, 3, 4, seed=1, dtype=dtype)
        both = [jax.vjp(f, *arrays) for f in (ops.conv, lax_conv)]
        got, wanted = ((y, pull(jnp.ones_like(y))) for y, pull in both)
        close(got, wanted, {"bfloat16": 2e-2, "float16": 3e-3, "float64": 1e-13}[dtype])


def test_dtypes_are_promoted():
    assert ops.conv(normal(4, 4, 1, dtype=jnp.bfloat16), normal(3, 3, 1, 1)).dtype == jnp.float32


def test_any_number_of_leading_axes():
    x, kernel = normal(2, 1, 3, 6, 7, 3), normal(3, 3, 3, 4, seed=1)
    flat = jax.jit(functools.partial(derivatives, lax_conv))(x.reshape(6, 6, 7, 3), kernel)
    y, (dx, dk), tangent, (ddx, ddk) = jax.jit(functools.partial(derivatives, ops.conv))(x, kernel)
    unflat = lambda a: a.reshape(6, *a.shape[3:])
    close((unflat(y), (unflat(dx), dk), unflat(tangent), (unflat(ddx), ddk)), flat)
    close(ops.conv(x[0, 0, 0], kernel), y[0, 0, 0])


MAPS = {
    "images and kernels": (0, 0),
    "kernels": (None, 0),
    "images": (0, None),
    "kernels along other axes": (2, -1),
}
GROUPS = {"strides": 2, "groups": 2, "padding": "VALID"}


@pytest.mark.parametrize("axes", daily(MAPS.values(), [(0, 0), (2, -1)]), ids=MAPS)
@pytest.mark.parametrize("options", daily([{}, GROUPS], [GROUPS]), ids=["plain", "groups"])
def test_vmap_equals_a_loop(axes, options):
    groups = options.get("groups", 1)
    x, kernel = normal(2, 6, 7, 4), normal(3, 2, 4 // groups, 6, seed=1)
    more = lambda a, axis, seed: a if axis is None else normal(*np.insert(a.shape, axis % (a.ndim + 1), 3), seed=seed)
    x, kernel = more(x, axes[0], 2), more(kernel, axes[1], 3)
    conv = functools.partial(ops.conv, **options)
    got = jax.jit(jax.vmap(functools.partial(derivatives, conv), axes))(x, kernel)
    reference = functools.partial(derivatives, functools.partial(lax_conv, **options))
    at = lambda a, axis, i: a if axis is None else jnp.take(a, i, axis)
    loop = [jax.jit(reference)(at(x, axes[0], i), at(kernel, axes[1], i)) for i in range(3)]
    close(got, jax.tree.map(lambda *leaves: jnp.stack(leaves), *loop))


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("axes", [(0, 0), (None, 0)], ids=["own images", "shared images"])
def test_gradient_of_a_map_over_kernels(axes, groups):
    """The gradient to a shared image sums over members by one convolution."""
    x, kernels = normal(*(3,) * (axes[0] == 0), 2, 6, 7, 4), normal(3, 3, 2, 4 // groups, 6, seed=1)

    def mapped(convolve):
        return jax.vmap(functools.partial(convolve, groups=groups, strides=2), axes)

    got, wanted = (jax.jit(functools.partial(derivatives, mapped(f)))(x, kernels) for f in (ops.conv, lax_conv))
    close(got, wanted)


@pytest.mark.parametrize("inner", daily(MAPS.values(), [(None, 0), (2, -1)]), ids=MAPS)
@pytest.mark.parametrize(
    "outer", daily([(0, 0), (None, 0), (0, None)], [(0, 0), (0, None)]), ids=["both", "kernels", "images"]
)
def test_nested_vmap(outer, inner):
    def shape(core, *mapped):
        for axis, n in mapped:
            if axis is not None:
                core = tuple(np.insert(core, axis % (len(core) + 1), n))
        return core

    x = normal(*shape((2, 5, 6, 4), (inner[0], 2), (outer[0], 3)))
    kernel = normal(*shape((3, 2, 4, 3), (inner[1], 2), (outer[1], 3)), seed=1)
    got, wanted = (
        jax.jit(jax.vmap(jax.vmap(functools.partial(derivatives, f), inner), outer))(x, kernel)
        for f in (ops.conv, lax_conv)
    )
    close(got, wanted)


@settings(deadline=None, max_examples=times(4))
@given(data=st.data())
def test_any_shape_and_options(data):
    rank = data.draw(st.integers(1, 3))
    number = lambda low, high: data.draw(st.integers(low, high))
    every = lambda low, high: tuple(number(low, high) for _ in range(rank))
    groups, size, taps = number(1, 2), every(1, 6), every(1, 4)
    options = {
        "strides": every(1, 3),
        "dilation": every(1, 3),
        "input_dilation": every(1, 3),
        "padding": [(number(0, 4), number(0, 4)) for _ in range(rank)],
        "groups": groups,
    }
    x, kernel = normal(number(1, 2), *size, 2 * groups), normal(*taps, 2, number(1, 2) * groups, seed=1)
    assume(min(jax.eval_shape(functools.partial(lax_conv, **options), x, kernel).shape) > 0)
    both = [jax.vjp(functools.partial(f, **options), x, kernel) for f in (ops.conv, lax_conv)]
    got, wanted = ((y, pull(jnp.sin(y))) for y, pull in both)
    close(got, wanted)


PADDINGS = {"CIRCULAR": "wrap", "REFLECT": "reflect"}


@pytest.mark.parametrize("padding", PADDINGS)
def test_reflect_and_circular_padding(padding):
    x, kernel = normal(2, 6, 7, 3), normal(3, 3, 3, 4, seed=1)
    wide = jnp.pad(x, [(0, 0), (2, 2), (2, 2), (0, 0)], mode=PADDINGS[padding])
    close(ops.conv(x, kernel, padding=padding, dilation=2), lax_conv(wide, kernel, padding="VALID", dilation=2))


def test_causal_and_integer_padding():
    x, kernel = normal(2, 6, 3), normal(3, 3, 4, seed=1)
    close(ops.conv(x, kernel, padding="CAUSAL", dilation=2), lax_conv(x, kernel, padding=untyped([(4, 0)]), dilation=2))
    close(ops.conv(x, kernel, padding=1), lax_conv(x, kernel, padding=untyped([(1, 1)])))


def program_text(function, *arrays):
    return jax.jit(function).lower(*arrays).as_text()


@pytest.mark.parametrize("wanted", [(), (0,), (1,)], ids=["forward", "input gradient", "kernel gradient"])
def test_no_grouped_convolution_is_made_of_members_on_cpu(wanted):
    loss = lambda x, kernel: jnp.sum(ops.conv(x, kernel) ** 2)
    function = jax.vmap(jax.grad(loss, wanted) if wanted else loss)
    program = lambda n: program_text(function, normal(n, 2, 6, 7, 9), normal(n, 3, 3, 9, 6))
    groups = [int(n) for n in re.findall(r"(?:feature|batch)_group_count = (\d+)", program(3))]
    assert groups and set(groups) == {1}
    assert len(program(64)) < 1.02 * len(program(24))  # one loop for any number of members


@pytest.mark.parametrize("n", daily([1, 3, 19], [19]))
def test_any_number_of_members(n):
    x, kernels = normal(n, 2, 6, 7, 9), normal(n, 3, 2, 9, 4, seed=1)
    got = jax.jit(jax.vmap(functools.partial(derivatives, ops.conv)))(x, kernels)
    one = jax.jit(functools.partial(derivatives, lax_conv))
    loop = [one(x[i], kernels[i]) for i in range(n)]
    close(got, jax.tree.map(lambda *leaves: jnp.stack(leaves), *loop))


@pytest.mark.parametrize("groups", daily([1, 2, 16, 19, 57], [19]))
def test_empty_batches(groups):
    x = jnp.zeros((0, 5, 4, 32 if groups in (2, 16) else 57))
    kernel = normal(3, 3, x.shape[-1] // groups, 2 * groups)
    y, pull = jax.vjp(lambda x, kernel: ops.conv(x, kernel, groups=groups), x, kernel)
    of_x, of_kernel = pull(y)
    assert y.shape == (0, 5, 4, 2 * groups) and of_x.shape == x.shape
    np.testing.assert_array_equal(of_kernel, jnp.zeros(kernel.shape))


def test_other_platforms_keep_the_batched_convolution():
    exported = jax.export.export(jax.jit(jax.vmap(ops.conv)), platforms=["cuda"])(
        normal(3, 2, 6, 7, 4), normal(3, 3, 3, 4, 6)
    )
    text = exported.mlir_module()
    assert "feature_group_count = 3" in text and "stablehlo.while" not in text


@pytest.mark.parametrize("channels", [2, 9])
def test_precision_reaches_the_program(channels):
    arrays = normal(2, 6, 7, channels), normal(3, 3, channels, 6)
    loss = lambda x, kernel: jnp.sum(ops.conv(x, kernel, precision="highest") ** 2)
    text = program_text(jax.grad(loss, (0, 1)), *arrays)
    found = re.findall(r"stablehlo\.(?:convolution|dot_general).*", text)
    assert len(found) >= 3 and all("DEFAULT" not in line and "HIGHEST" in line for line in found)


X, K = jnp.ones((2, 5, 5, 4)), jnp.ones((3, 3, 4, 6))
BOTH = r"x float32\(2, 5, 5, 4\)"
ERRORS = [
    (
        (X, jnp.ones((3, 3, 3, 6))),
        {},
        rf"kernel must be of c // groups channels .*, got {BOTH}, kernel float32\(3, 3, 3",
    ),
    ((X, K), {"groups": 3}, rf"groups must be a divisor of the channels of x and kernel, got {BOTH}.* and 3 groups"),
    ((X, jnp.ones((3, 3, 2, 5))), {"groups": 2}, "groups must be a divisor"),
    ((X, K), {"groups": 0}, "groups must be an integer of at least 1, got 0"),
    ((X, K), {"groups": 2.0}, "groups must be an integer of at least 1, got 2.0"),
    ((X, jnp.ones((4, 6))), {}, r"kernel must be of shape \(\*spatial, c // groups, f\) with 1 to 3 spatial axes"),
    ((X, K), {"dilation": 0}, r"dilation must be \(h, w\) of positive integers"),
    ((X, K), {"input_dilation": (1, 0)}, r"input_dilation must be \(h, w\) of positive integers"),
    ((X, K), {"input_dilation": 2}, "padding must be given in numbers if input_dilation is not 1, got 'SAME'"),
    ((X, K), {"strides": (1, 2, 3)}, r"strides must be \(h, w\) of positive integers"),
    ((X, K), {"padding": "FULL"}, 'padding must be "SAME"'),
    ((X, K), {"padding": -1}, 'padding must be "SAME"'),
    ((X, K), {"padding": "VALID", "dilation": 3}, rf"kernel must be no larger than the padded x.*{BOTH}"),
    ((X, K), {"padding": "REFLECT", "dilation": 5}, rf"padding must be smaller than x .*{BOTH}"),
    ((jnp.ones((2, 5, 5, 4), int), K), {}, "x must be of a floating dtype"),
    (("x", K), {}, "x must be"),
]


@pytest.mark.errors
@pytest.mark.parametrize(("arrays", "options", "message"), ERRORS, ids=[m[:40] for _, _, m in ERRORS])
def test_errors(arrays, options, message):
    with pytest.raises(ValueError, match=f"^conv: {message}"):
        ops.conv(*arrays, **options)


@pytest.mark.parametrize("kind", daily(["auto", "explicit", "shard_map", "pmap"], ["explicit", "shard_map"]))
def test_members_on_several_devices(kind):
    arrays = normal(4, 2, 6, 7, 9), normal(4, 3, 2, 9, 4, seed=1)
    loss = lambda x, kernel: jnp.sum(ops.conv(x, kernel, strides=2) ** 2)
    function = jax.vmap(jax.value_and_grad(loss, (0, 1)))
    wanted = jax.jit(function)(*arrays)
    types = {"explicit": AxisType.Explicit}.get(kind, AxisType.Auto)
    mesh = jax.make_mesh((2,), ("members",), axis_types=(types,), devices=jax.devices()[:2])
    if kind == "pmap":
        split = [a.reshape(2, 2, *a.shape[1:]) for a in arrays]
        got = jax.tree.map(lambda a: a.reshape(4, *a.shape[2:]), jax.pmap(function, devices=jax.devices()[:2])(*split))
    else:
        with jax.set_mesh(mesh):
            arrays = [jax.device_put(a, NamedSharding(mesh, P("members"))) for a in arrays]
            if kind == "shard_map":
                function = jax.shard_map(function, in_specs=P("members"), out_specs=P("members"))
            got = jax.jit(function)(*arrays)
    close(jax.device_get(got), jax.device_get(wanted))


def test_explicit_meshes_may_shard_leading_axes_only():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2])
    with jax.set_mesh(mesh):
        x = jax.device_put(normal(2, 6, 8, 4), NamedSharding(mesh, P(None, None, None, "data")))
        with pytest.raises(ValueError, match="conv: only leading axes may be sharded, got .*'data'"):
            jax.jit(ops.conv)(x, normal(3, 3, 4, 4))
        x = jax.device_put(x, NamedSharding(mesh, P(None, "data")))
        with pytest.raises(ValueError, match="conv: the spatial axes of x must not be sharded, got .*'data'"):
            jax.jit(ops.conv)(x, normal(3, 3, 4, 4))


def test_exported_programs_can_be_serialized():
    function = jax.jit(jax.vmap(jax.grad(lambda x, kernel: jnp.sum(ops.conv(x, kernel) ** 2), (0, 1))))
    arrays = normal(2, 2, 5, 6, 9), normal(2, 3, 3, 9, 4, seed=1)
    serialized = jax.export.export(function, platforms=["cpu", "cuda", "tpu"])(*arrays).serialize()
    close(jax.export.deserialize(serialized).call(*arrays), function(*arrays))
