"""Heads of classifiers, shapes and costs of graphs."""

import dataclasses

import jax
import numpy as np
import pytest

from jaxcnn.graphs import (
    Graph,
    GraphError,
    GraphNetwork,
    Input,
    Node,
    Parameter,
    find_activation,
    find_shapes,
    measure_cost,
    replace_head,
)
from jaxcnn.graphs.heads import find_head
from tests.support.small_graph import GRAPH


def build(*nodes, outputs=None, shape=(6, 6, 3), **kernels):
    """Builds a graph of nodes in a row; each reads the one before unless it says otherwise."""
    linked, before = [], "x"
    for name, op, options in nodes:
        inputs = options.pop("inputs", (before,))
        parameters = {"kernel": f"{name}/kernel"} if name in kernels else {}
        linked.append(Node(name, op, inputs, options=options, parameters=parameters))
        before = name
    parameters = tuple(Parameter(f"{name}/kernel", kernel) for name, kernel in kernels.items())
    return Graph((Input("x", shape),), tuple(linked), outputs or (before,), parameters)


def squeezenet():
    """Ends like SqueezeNet: a convolution to classes, rectified, then averaged."""
    return build(
        ("fire", "conv", {}),
        ("drop", "dropout", {}),
        ("conv10", "conv", {}),
        ("relu10", "relu", {}),
        ("pool10", "global_avg_pool", {}),
        ("prob", "softmax", {}),
        fire=(3, 3, 3, 8),
        conv10=(1, 1, 8, 5),
    )


def lenet():
    """Ends in dense layers behind a flatten in the source's order."""
    return build(
        ("conv1", "conv", {}),
        ("order", "permute", {"axes": (2, 0, 1)}),
        ("flat", "flatten", {}),
        ("fc6", "dense", {}),
        ("relu6", "relu", {}),
        ("fc7", "dense", {}),
        conv1=(3, 3, 3, 4),
        fc6=(64, 10),
        fc7=(10, 5),
    )


def convolutional():
    """Ends like a net of MatConvNet: a convolution whose kernel is as large as the map."""
    return build(
        ("conv1", "conv", {}), ("fc", "conv", {}), ("prob", "softmax", {}), conv1=(3, 3, 3, 4), fc=(4, 4, 4, 5)
    )


def segmenter():
    """Predicts every pixel."""
    return build(("conv1", "conv", {}), ("score", "conv", {}), conv1=(3, 3, 3, 4), score=(1, 1, 4, 5))


def two_heads():
    """Has a tower and a second output."""
    graph = lenet()
    return dataclasses.replace(graph, outputs=("relu6", "fc7"))


CASES = {
    "squeezenet": (squeezenet, "probabilities", "conv10", (8,)),
    "lenet": (lenet, "logits", "fc7", (10,)),
    "two heads": (two_heads, "logits", "fc7", (10,)),
    "a kernel as large as the map": (convolutional, "probabilities", "fc", (4,)),
    "small": (lambda: GRAPH, "probabilities", "fc", (504,)),
}


@pytest.mark.parametrize("case", CASES)
def test_head_is_found_and_replaced(case):
    make, activation, name, features = CASES[case]
    graph = make()
    assert find_activation(graph) == activation
    head = find_head(graph)
    assert head is not None
    assert head.node.name == name
    new, bare = replace_head(graph, 7), replace_head(graph, None)
    assert find_activation(new) == "logits"
    assert new.outputs == ("head",)
    shapes = find_shapes(new)
    assert shapes["head"] == (7,)
    assert shapes["features"] == features == find_shapes(bare)["features"]
    assert bare.outputs == ("features",)
    assert name not in [node.name for node in new.nodes]
    assert {one.path for one in new.parameters} - {one.path for one in graph.parameters} == {"head/kernel", "head/bias"}
    again = replace_head(new, 3)
    assert again.outputs == ("head",)
    assert find_shapes(again)["head"] == (3,)


def test_features_are_what_the_head_read():
    graph = squeezenet()
    x = np.random.default_rng(0).uniform(-1, 1, (2, 6, 6, 3)).astype(np.float32)
    variables = jax.jit(GraphNetwork(graph).init)(jax.random.key(0), x)
    got = jax.jit(GraphNetwork(replace_head(graph, None)).apply)(variables, x)
    maps = jax.jit(GraphNetwork(graph, outputs=("drop",)).apply)(variables, x)
    np.testing.assert_allclose(got, maps.mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_what_is_no_classifier():
    assert find_activation(segmenter()) == "values"
    assert find_activation(GRAPH, output="conv1") == "values"
    assert find_activation(GRAPH, output="fc") == "logits"
    assert find_activation(build(("a", "relu", {}))) == "values"
    pooled = dataclasses.replace(
        segmenter(),
        nodes=(*segmenter().nodes, Node("pool", "max_pool", ("score",), options={"window": 2})),
        outputs=("pool",),
    )
    assert find_activation(pooled) == "values"
    for graph in (segmenter(), pooled, build(("a", "relu", {}))):
        with pytest.raises(ValueError, match="with_head: graph must be a classifier"):
            replace_head(graph, 3)


def test_activation_where_the_size_is_free():
    graph = dataclasses.replace(squeezenet(), inputs=(Input("x", (None, None, 3)),))
    assert find_activation(graph) == "probabilities"
    new = replace_head(graph, 7)
    assert find_shapes(new, inputs={"x": (6, 7, 3)})[new.outputs[0]] == (7,)
    segmenting = dataclasses.replace(segmenter(), inputs=(Input("x", (None, None, 3)),))
    assert find_activation(segmenting) == "values"


def test_new_layers_avoid_names_that_are_taken():
    graph = build(("features", "dense", {}), ("head", "dense", {}), shape=(4,), features=(4, 3), head=(3, 2))
    new = replace_head(graph, 5)
    assert new.outputs == ("head",)
    assert find_shapes(new)["features_"] == (3,)
    below = dataclasses.replace(
        graph,
        nodes=(*graph.nodes, Node("last", "dense", ("head",), parameters={"kernel": "last/kernel"})),
        outputs=("last",),
        parameters=(*graph.parameters, Parameter("last/kernel", (2, 2))),
    )
    assert replace_head(below, 5).outputs == ("head_",)


def test_shapes_and_costs_of_every_node():
    costs = {cost.node.name: cost for cost in measure_cost(GRAPH)}
    assert costs["conv1"].shapes == ((6, 3, 4),)
    assert costs["conv1"].parameters == 3 * 2 * 3 * 4 + 4
    assert costs["conv1"].flops == 2 * 6 * 3 * 4 * (3 * 2 * 3) + 6 * 3 * 4
    assert costs["dw2"].flops == 2 * 6 * 3 * 4 * 9
    assert costs["cut"].shapes == ((6, 3, 1), (6, 3, 3))
    assert costs["fc"].flops == 2 * 504 * 5 + 5
    assert costs["flat"].flops == costs["drop"].flops == 0
    assert sum(cost.parameters for cost in costs.values()) == sum(np.prod(one.shape) for one in GRAPH.parameters)
    wide = {cost.node.name: cost for cost in measure_cost(GRAPH.prune(("norm",)), inputs={"image": (12, 12, 3)})}
    assert wide["conv1"].flops == 4 * costs["conv1"].flops


def test_shared_parameters_are_counted_once():
    kernel = {"kernel": "fc/kernel"}
    nodes = (Node("a", "dense", ("x",), parameters=kernel), Node("b", "dense", ("a",), parameters=kernel))
    graph = Graph((Input("x", (3,)),), nodes, ("b",), (Parameter("fc/kernel", (3, 3)),))
    assert [cost.parameters for cost in measure_cost(graph)] == [9, 0]


def test_errors_of_shapes():
    free = Graph((Input("x", (None, 2)),), (), ("x",))
    with pytest.raises(ValueError, match="find_shapes: inputs must be the shape of 'x' with all sizes"):
        find_shapes(free)
    assert find_shapes(free, inputs={"x": (3, 2)}) == {"x": (3, 2)}
    with pytest.raises(GraphError, match=r"node 'big' \(pad\): its output 'big' would have the shape"):
        find_shapes(build(("big", "pad", {"padding": ((0, 2**30), (0, 2**30), (0, 2**30))}), ("next", "relu", {})))
    with pytest.raises(GraphError, match=r"node 'gone' \(pad\)"):
        find_shapes(build(("gone", "pad", {"padding": ((0, -6), (0, 0), (0, 0))})))
