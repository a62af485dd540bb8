"""One step over eight devices equals the step on one: jit with sharded batches, pmap, shard_map."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn import train
from tests.support.training_models import Net, draw

NET = Net(rate=0.0)  # dropout would draw other masks per device


@pytest.fixture(scope="module")
def single():
    tx, batch = optax.sgd(0.1), draw(jax.random.key(1), 16)
    state = train.create_state(jax.random.key(0), NET, tx, batch)
    return tx, batch, state, *jax.jit(train.make_train_step(NET, tx))(state, batch)


def equal(after, figures, expected, expected_figures):
    for part in ("params", "model_state"):
        for a, b in zip(jax.tree.leaves(getattr(after, part)), jax.tree.leaves(getattr(expected, part)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    for name in expected_figures:
        np.testing.assert_allclose(figures[name], expected_figures[name], rtol=1e-4)


def test_jit_with_a_sharded_batch(single):
    tx, batch, state, expected, figures = single
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    spread = jax.device_put(batch, NamedSharding(mesh, P("batch")))
    everywhere = jax.device_put(state, NamedSharding(mesh, P()))
    after, found = jax.jit(train.make_train_step(NET, tx))(everywhere, spread)
    equal(after, found, expected, figures)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.nightly
def test_pmap(single):
    tx, batch, state, expected, figures = single
    split = jax.tree.map(lambda leaf: leaf.reshape(8, 2, *leaf.shape[1:]), batch)
    step = jax.pmap(train.make_train_step(NET, tx, axis_name="batch"), "batch", in_axes=(None, 0))
    after, found = jax.tree.map(lambda leaf: leaf[0], step(state, split))
    equal(after, found, expected, figures)


def test_shard_map(single):
    tx, batch, state, expected, figures = single
    mesh = jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
    step = jax.shard_map(
        train.make_train_step(NET, tx, axis_name="batch"),
        mesh=mesh,
        in_specs=(P(), P("batch")),
        out_specs=P(),
        check_vma=False,
    )
    after, found = jax.jit(step)(state, batch)
    equal(after, found, expected, figures)
    assert jnp.isfinite(found["loss"])
