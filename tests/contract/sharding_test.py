"""Every public op, layer and model on meshes and in ``shard_map``: the values and gradients of one device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.contract import items
from tests.contract.compare import close
from tests.support.selection import daily, daily_cases


def mesh(kind):
    """Builds a mesh of two of the fake devices."""
    return jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])


def specs(item):
    """Shards batched arguments along the batch, replicates the others."""
    return tuple(P("data") if batched else P() for batched in item.batched)


def total(item, weights, *arrays):
    """Computes a number that depends on every output."""
    return jnp.sum(item.function(*arrays) * weights)


def cotangent(item):
    """Draws the weights of that number."""
    shape = jax.eval_shape(item.function, *item.arrays).shape
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def slopes(item, weights, *arrays):
    """Computes the gradients of that number in all differentiable arguments."""
    positions = tuple(i + 1 for i in item.differentiable)
    return jax.grad(functools.partial(total, item), argnums=positions)(weights, *arrays)


@functools.cache
def unsharded(name):
    """Computes value and gradients on one device."""
    item = items.get(name)
    return jax.tree.map(np.asarray, jax.jit(functools.partial(both, item))(cotangent(item), *item.arrays))


def placed(item, here):
    """Places the weights and arguments on a mesh."""
    arrays = [cotangent(item), *item.arrays]
    places = [NamedSharding(here, spec) for spec in (P("data"), *specs(item))]
    return [jax.device_put(array, place) for array, place in zip(arrays, places, strict=True)]


def both(item, weights, *arrays):
    """Returns the values and the gradients."""
    return item.function(*arrays), slopes(item, weights, *arrays)


AUTO = ("ops.warp_affine[0]", "ops.weighted_average_pool[0]", "losses.cross_entropy", "layers.Conv[0]")


def modes(chosen):
    """Returns every item with every kind of mesh, marked ``nightly`` unless chosen for that kind."""
    return [
        pytest.param(
            name,
            kind,
            id=f"{name}-{kind.name.lower()}",
            marks=[] if name in wanted else pytest.mark.nightly,
        )
        for name in items.FIRST
        for kind, wanted in chosen.items()
    ]


@pytest.mark.parametrize(("name", "kind"), modes({AxisType.Auto: AUTO, AxisType.Explicit: items.OWN}))
def test_sharded_batch(name, kind):
    """Jit with a sharded batch returns the values and gradients of one device, and keeps the output sharded."""
    item = items.get(name)
    with item.strict():
        want = unsharded(name)
        here = mesh(kind)
        with jax.set_mesh(here):
            got = jax.jit(functools.partial(both, item))(*placed(item, here))
    close(got, want)
    if kind is AxisType.Explicit:
        assert got[0].sharding.spec[0] == "data", "the output lost the sharding of the batch"


@pytest.mark.parametrize("name", daily(items.FIRST, items.OTHERS))
def test_explicit_sharding_is_kept(name):
    """An explicit mesh has a rule for every operation of value and gradients; the output is sharded as the batch."""
    item = items.get(name)
    here = mesh(AxisType.Explicit)
    with item.strict(), jax.set_mesh(here):
        value, gradients = jax.eval_shape(functools.partial(both, item), *placed(item, here))
    assert value.sharding.spec[0] == "data"
    assert len(gradients) == len(item.differentiable)


@pytest.mark.parametrize(
    ("name", "check_vma"),
    daily_cases(
        [(name, check) for name in items.FIRST if name in items.ALONE for check in (True, False)],
        [*((name, True) for name in items.OWN[::2]), ("ops.depthwise_conv[0]", False), ("ops.grid_sample[0]", False)],
    ),
)
def test_shard_map(name, check_vma):
    """Takes the gradient inside with ``check_vma`` (a replicated argument sums over the shards), else outside."""
    item = items.get(name)
    with item.strict():
        want = unsharded(name)
        here = mesh(AxisType.Auto)
        shard_map = functools.partial(jax.shard_map, mesh=here, check_vma=check_vma)
        mapped = shard_map(item.function, in_specs=specs(item), out_specs=P("data"))

        if check_vma:
            inside = functools.partial(both, item)
            out = (P("data"), tuple(specs(item)[i] for i in item.differentiable))
            sharded = shard_map(inside, in_specs=(P("data"), *specs(item)), out_specs=out)
        else:
            sharded = functools.partial(both, item._replace(function=mapped))
        got = jax.jit(sharded)(cotangent(item), *item.arrays)
    close(got, want)
