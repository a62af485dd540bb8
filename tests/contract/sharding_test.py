"""Every public op, layer and model on meshes and in ``shard_map``: the values and gradients of one device."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from tests.contract import items
from tests.contract.transforms_test import close


def mesh(kind):
    """Makes a mesh of two of the fake devices."""
    return jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])


def specs(item):
    """Cuts batched arguments along the batch, replicates the others."""
    return tuple(P("data") if batched else P() for batched in item.batched)


def total(item, weights, *arrays):
    """Gives a number that every output takes part in."""
    return jnp.sum(item.function(*arrays) * weights)


def cotangent(item):
    """Draws the weights of that number."""
    shape = jax.eval_shape(item.function, *item.arrays).shape
    return np.random.default_rng(7).standard_normal(shape).astype(np.float32)


def slopes(item, weights, *arrays):
    """Gives the gradients of that number in all differentiable arguments."""
    positions = tuple(i + 1 for i in item.differentiable)
    return jax.grad(functools.partial(total, item), argnums=positions)(weights, *arrays)


@functools.cache
def unsharded(name):
    """Gives value and gradients on one device."""
    item = items.get(name)
    both = jax.jit(lambda weights, *arrays: (item.function(*arrays), slopes(item, weights, *arrays)))
    return jax.tree.map(np.asarray, both(cotangent(item), *item.arrays))


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])
@pytest.mark.parametrize("name", items.FIRST)
def test_sharded_batch(name, kind):
    """Jit with a sharded batch gives the values and the gradients of one device, and keeps the output sharded."""
    item = items.get(name)
    with item.strict():
        value, gradients = unsharded(name)
        here = mesh(kind)
        with jax.set_mesh(here):
            place = [NamedSharding(here, spec) for spec in specs(item)]
            arrays = [jax.device_put(a, p) for a, p in zip(item.arrays, place, strict=True)]
            weights = jax.device_put(cotangent(item), NamedSharding(here, P("data")))

            @jax.jit
            def both(weights, *arrays):
                return item.function(*arrays), slopes(item, weights, *arrays)

            got, got_gradients = both(weights, *arrays)
    close(got, value)
    close(got_gradients, gradients)
    if kind is AxisType.Explicit:
        assert got.sharding.spec[0] == "data", "the output lost the sharding of the batch"


@pytest.mark.parametrize("check_vma", [True, False], ids=["check_vma", "no_check_vma"])
@pytest.mark.parametrize("name", [name for name in items.FIRST if name in items.ALONE])
def test_shard_map(name, check_vma):
    """Takes the gradient inside with ``check_vma`` (a replicated argument sums over the shards), else outside."""
    item = items.get(name)
    with item.strict():
        value, gradients = unsharded(name)
        here = mesh(AxisType.Auto)
        shard_map = functools.partial(jax.shard_map, mesh=here, check_vma=check_vma)
        mapped = shard_map(item.function, in_specs=specs(item), out_specs=P("data"))

        if check_vma:

            def inside(weights, *arrays):
                return item.function(*arrays), slopes(item, weights, *arrays)

            out = (P("data"), tuple(specs(item)[i] for i in item.differentiable))
            both = shard_map(inside, in_specs=(P("data"), *specs(item)), out_specs=out)
        else:

            def both(weights, *arrays):
                return mapped(*arrays), slopes(item._replace(function=mapped), weights, *arrays)

        got, got_gradients = jax.jit(both)(cotangent(item), *item.arrays)
    close(got, value)
    close(got_gradients, gradients)
