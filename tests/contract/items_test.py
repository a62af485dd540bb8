"""Nothing public escapes the contract tests."""

import flax.linen as nn
import jax
import pytest

from jaxcnn import models
from jaxcnn.models.registry import ARCHITECTURES
from tests.contract import items
from tests.support.public import classes, functions
from tests.support.selection import daily


def test_every_op_and_loss_is_listed():
    assert {item.address for item in functions("ops", "losses")} == set(items.OPS)


def test_every_layer_is_listed():
    assert {item.address for item in classes("layers")} == set(items.LAYERS)


def test_every_module_of_graphs_is_listed():
    modules = {item.address for item in classes("graphs") if issubclass(item.value, nn.Module)}
    assert modules == {name for name in items.NAMES if name.startswith("graphs.")}


def test_every_model_is_listed():
    """Of a family one shrunken member; what the others are made of is the same."""
    kinds = {name: type(models.create(name)) for name in models.names()}
    assert set(items.MODELS) <= set(kinds)
    assert set(kinds.values()) == {kinds[name] for name in items.MODELS}
    assert {name for name in kinds if name not in ARCHITECTURES} <= set(items.MODELS)


@pytest.mark.parametrize("name", daily(items.NAMES, items.DAILY))
def test_item_is_batched(name):
    """The tests of sharding cut the first axis of batched inputs and of the output in two."""
    item = items.get(name)
    sizes = {leaf.shape[0] for a, b in zip(item.arrays, item.batched, strict=True) if b for leaf in jax.tree.leaves(a)}
    assert sizes == {2}
    assert all(leaf.shape[0] == 2 for leaf in jax.tree.leaves(jax.eval_shape(item.function, *item.arrays)))
