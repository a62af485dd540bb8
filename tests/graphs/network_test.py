"""The Linen module that runs a graph: what the tests in ``tests/contract`` do not show of it."""

import dataclasses
import functools
import pickle

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.graphs import Graph, GraphError, GraphNetwork, Input, Node, Parameter
from tests.support.small_graph import GRAPH
from tests.support.untyped import untyped

X = np.random.default_rng(0).uniform(-1, 1, (2, 6, 5, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def variables():
    """Variables of the small graph."""
    return jax.jit(GraphNetwork(GRAPH).init)(jax.random.key(0), X)


def test_variables_are_a_tree_of_layers(variables):
    shapes = jax.tree.map(jnp.shape, variables)
    assert shapes == {
        "params": {
            "conv1": {"kernel": (3, 2, 3, 4), "bias": (4,)},
            "bn1": {"scale": (4,)},
            "dw2": {"kernel": (3, 3, 4, 1)},
            "fc": {"kernel": (504, 5), "bias": (5,)},
        },
        "batch_stats": {"bn1": {"mean": (4,), "var": (4,)}},
    }
    assert variables["params"]["conv1"]["bias"].tolist() == [0] * 4
    assert variables["params"]["bn1"]["scale"].tolist() == [1] * 4
    assert np.std(variables["params"]["fc"]["kernel"]) > 0.01


def test_taps_by_any_name_run_only_what_they_need(variables):
    graph = dataclasses.replace(GRAPH, taps={"Layer/One": "relu1"})
    found = jax.jit(GraphNetwork(graph, outputs=("Layer/One", "left", "prob")).apply)(variables, X)
    assert isinstance(found, dict)
    assert {name: value.shape for name, value in found.items()} == {
        "Layer/One": (2, 6, 3, 4),
        "left": (2, 6, 3, 1),
        "prob": (2, 5),
    }
    first = GraphNetwork(graph, outputs=("relu1",))
    np.testing.assert_allclose(jax.jit(first.apply)(variables, X), found["Layer/One"], atol=1e-6)
    assert set(jax.eval_shape(first.init, jax.random.key(0), X)["params"]) == {"conv1", "bn1"}
    assert jax.eval_shape(first.apply, variables, X[0, :4]).shape == (4, 3, 4), "other sizes, no batch"


def test_errors_of_outputs_and_inputs(variables):
    for outputs in ((), ("relu1", "relu1"), ("rellu1",)):
        with pytest.raises(ValueError, match="outputs must be"):
            GraphNetwork(GRAPH, outputs=outputs).apply(variables, X)
    model = GraphNetwork(GRAPH)
    with pytest.raises(ValueError, match=r"graph: image must be an array \(\*b, 6, 5, 3\), got float32\(2, 6, 5, 2\)"):
        model.apply(variables, X[..., :2])
    with pytest.raises(ValueError, match="graph: image must be an array"):
        model.apply(variables, X[0, 0])
    with pytest.raises(ValueError, match=r"graph: inputs must be one array, got \['picture'\]"):
        model.apply(variables, {"picture": X})
    with pytest.raises(GraphError, match=r"^node 'fc' \(dense\): .*Its inputs are float32\(2, 1008\)"):
        jax.eval_shape(model.apply, variables, np.concatenate([X, X], 1))


def pair():
    """Builds a graph of two inputs and two outputs, with a layer that is called twice and a constant."""
    nodes = (
        Node("one", "conv", ("a",), parameters={"kernel": "shared/conv/kernel"}),
        Node("two", "conv", ("b",), parameters={"kernel": "shared/conv/kernel"}),
        Node("sum", "add", ("one", "two")),
        Node("far", "subtract", ("sum",), parameters={"constant": "center/constant"}),
    )
    parameters = (Parameter("shared/conv/kernel", (2, 2, 1, 3)), Parameter("center/constant", (3,), "constants"))
    return Graph((Input("a", (None, None, 1)), Input("b", (None, None, 1))), nodes, ("far", "one"), parameters)


def test_several_inputs_and_outputs():
    model = GraphNetwork(pair())
    a, b = X[..., :1], X[..., 1:2]
    variables = model.init(jax.random.key(0), {"a": a, "b": b})
    assert jax.tree.map(jnp.shape, variables) == {
        "params": {"shared": {"conv": {"kernel": (2, 2, 1, 3)}}},
        "constants": {"center": {"constant": (3,)}},
    }
    moved = {**variables, "constants": {"center": {"constant": jnp.arange(3.0)}}}
    found = untyped(model.apply(moved, {"a": a, "b": b}))
    assert list(found) == ["far", "one"]
    both = found["one"] + untyped(model.apply(variables, {"a": b, "b": a}))["one"]
    np.testing.assert_allclose(found["far"], np.asarray(both) - np.arange(3.0), atol=1e-6)
    with pytest.raises(ValueError, match=r"b must be an array with the batch axes \(2,\)"):
        model.apply(variables, {"a": a, "b": b[:1]})
    with pytest.raises(ValueError, match="inputs must be one array for each of"):
        model.apply(variables, a)


def test_one_trace_per_shape(variables):
    traces = []

    def run(model, x):
        traces.append(x.shape)
        return model.apply(variables, x)

    jitted = jax.jit(run, static_argnums=0)
    first = jitted(GraphNetwork(GRAPH), X)
    again = Graph.from_json(GRAPH.to_json())
    np.testing.assert_array_equal(jitted(GraphNetwork(again), X), first)
    np.testing.assert_array_equal(jitted(pickle.loads(pickle.dumps(GraphNetwork(GRAPH))), X), first)
    assert len(traces) == 1, "equal networks share one program"
    jitted(GraphNetwork(GRAPH), X[:1])
    assert len(traces) == 2


def test_training_reaches_every_parameter_and_statistic(variables):
    model = GraphNetwork(GRAPH, outputs=("fc",))
    labels = jnp.array([1, 3])
    optimizer = optax.sgd(0.1)

    @jax.jit
    def step(params, statistics, state, key):
        def loss(params):
            logits, new = model.apply(
                {"params": params, "batch_stats": statistics},
                X,
                train=True,
                rngs={"dropout": key},
                mutable="batch_stats",
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), new["batch_stats"]

        (value, statistics), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimizer.update(gradients, state)
        return optax.apply_updates(params, updates), statistics, state, value, gradients

    params, statistics = variables["params"], variables["batch_stats"]
    state, losses = optimizer.init(params), []
    for i in range(15):
        params, statistics, state, value, gradients = step(params, statistics, state, jax.random.key(i))
        losses.append(float(value))
        if i == 0:
            named = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(gradients)}
            dead = [name for name, leaf in named.items() if not np.abs(leaf).max() > 1e-7]
            assert dead == ["['conv1']['bias']"], "only what batch norm subtracts again has no gradient"
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])
    conv1 = untyped(GraphNetwork(GRAPH, outputs=("conv1",)).apply({"params": variables["params"]}, X))
    keys = {"dropout": jax.random.key(0)}
    once = untyped(model.apply(variables, X, train=True, rngs=keys, mutable="batch_stats")[1])
    np.testing.assert_allclose(once["batch_stats"]["bn1"]["mean"], 0.01 * conv1.mean((0, 1, 2)), rtol=1e-4, atol=1e-7)
    assert jax.tree.map(jnp.shape, statistics) == jax.tree.map(jnp.shape, variables["batch_stats"])


def test_dropout_draws_from_the_rng(variables):
    model = GraphNetwork(GRAPH, outputs=("drop",))
    run = functools.partial(model.apply, variables, X, train=True, mutable="batch_stats")
    one, other, same = (run(rngs={"dropout": jax.random.key(seed)})[0] for seed in (0, 1, 0))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    assert 0.3 < (one == 0).mean() < 0.7


def test_two_dropouts_differ():
    graph = Graph((Input("x", (100,)),), tuple(Node(n, "dropout", ("x",)) for n in "ab"), ("a", "b"))
    found = untyped(GraphNetwork(graph).apply({}, jnp.ones(100), train=True, rngs={"dropout": jax.random.key(0)}))
    assert (found["a"] != found["b"]).any()


def test_dtypes(variables):
    narrow = GraphNetwork(GRAPH, dtype=jnp.bfloat16)
    assert jax.eval_shape(narrow.apply, variables, X).dtype == jnp.bfloat16
    made = jax.eval_shape(GraphNetwork(GRAPH, param_dtype=jnp.bfloat16).init, jax.random.key(0), X)
    assert {leaf.dtype for leaf in jax.tree.leaves(made["params"])} == {jnp.dtype(jnp.bfloat16)}
    assert {leaf.dtype for leaf in jax.tree.leaves(made["batch_stats"])} == {jnp.dtype(jnp.float32)}


def test_tabulate():
    table = GraphNetwork(GRAPH).tabulate(jax.random.key(0), X, console_kwargs={"width": 200, "no_color": True})
    assert "conv1" in table
    assert "Total Parameters: 2,649" in table


@pytest.mark.parametrize("name", ["outputs", "graph", "init", "scope", "name", "a.b", "a/apply/name", "1"])
def test_layers_may_have_any_name(name):
    path = f"{name}/kernel"
    nodes = (Node(name, "dense", ("x",), parameters={"kernel": path}),)
    model = GraphNetwork(Graph((Input("x", (2,)),), nodes, (name,), (Parameter(path, (2, 3)),)))

    class Twice(nn.Module):
        @nn.compact
        def __call__(self, x):
            net = GraphNetwork(model.graph, name="net")
            return untyped(net(x)) + net(2 * x)

    variables = Twice().init(jax.random.key(0), jnp.ones(2))
    assert jax.tree.leaves(variables)[0].shape == (2, 3)
    np.testing.assert_allclose(
        untyped(Twice().apply(variables, jnp.ones(2))), 3 * jax.tree.leaves(variables)[0].sum(0), rtol=1e-5
    )
