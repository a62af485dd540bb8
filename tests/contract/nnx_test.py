"""Layers and models work under Flax NNX through ``nnx.bridge.ToNNX``."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxcnn import models
from jaxcnn.graphs import GraphNetwork
from tests.contract import items
from tests.contract.compare import close
from tests.support.selection import daily
from tests.support.small_graph import GRAPH

USES = {name: (build, items.IMAGE) for name, [(build, _), *_] in items.LAYERS.items()}
USES["graphs.GraphNetwork"] = (functools.partial(GraphNetwork, GRAPH), items.IMAGE)
for name in ("fcn", "gwap_cnn", "mini_xception", "st_cnn"):  # all collections of variables that there are
    options, shape = items.MODELS[name]
    build = functools.partial(models.create, name, num_classes=3, **options)
    USES[f"models.{name}"] = (build, items.uniform(2, *shape))


DAILY = ("layers.DropPath", "models.gwap_cnn")
"""Without parameters, and with parameters and batch statistics."""


@pytest.mark.parametrize("name", daily(USES, DAILY))
def test_to_nnx(name):
    build, x = USES[name]
    x = jnp.asarray(x)
    bridged = nnx.bridge.ToNNX(build(), rngs=nnx.Rngs(params=0, dropout=1))
    nnx.jit(nnx.bridge.lazy_init)(bridged, x)
    first = nnx.Rngs(params=0, dropout=1).fork()  # as ToNNX does
    variables = jax.jit(build().init)({"params": first.params(), "dropout": first.dropout()}, x)

    got = nnx.jit(lambda module, x: module(x, train=False))(bridged, x)
    close(got, jax.jit(functools.partial(build().apply, train=False))(variables, x))
    if not jax.tree.leaves(variables):
        dropped = bridged(x, train=True, rngs=nnx.Rngs(dropout=2))
        assert np.any(dropped != got)
        return

    @nnx.jit
    def gradients(module, x):
        return nnx.grad(lambda module: (module(x, train=False) ** 2).sum())(module)

    found = jax.tree.leaves(gradients(bridged, x))
    assert len(found) == len(jax.tree.leaves(variables["params"]))
    assert any(np.any(gradient) for gradient in found)
