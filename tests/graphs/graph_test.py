"""Graphs as data: what is checked, sorted, selected, printed, saved and compared."""

import copy
import dataclasses
import pickle
import time

import pytest

from jaxcnn.graphs import Graph, GraphError, Input, Node, Parameter, operation_names
from tests.support.selection import daily

X = (Input("x", (4, 4, 2)),)
KERNEL = Parameter("conv1/kernel", (3, 3, 2, 2))


def small(**changes):
    """Builds a graph of two branches, with some fields changed."""
    fields = {
        "inputs": X,
        "nodes": (
            Node("sum", "add", ("conv1", "relu2")),
            Node("conv1", "conv", ("x",), options={"padding": [[1, 1], [1, 1]]}, parameters={"kernel": KERNEL.path}),
            Node("relu2", "relu", ("x",), source="ReLU"),
        ),
        "outputs": ("sum",),
        "parameters": (KERNEL,),
        "taps": {"layer 1": "conv1", "layer 2": "relu2"},
        "name": "small",
    }
    return Graph(**(fields | changes))


def chain(count, op="relu"):
    """Builds nodes that each read the one before, the last first."""
    return tuple(Node(f"n{i}", op, (f"n{i - 1}" if i else "x",)) for i in reversed(range(count)))


def test_nodes_are_sorted_and_keep_their_order_otherwise():
    assert [node.name for node in small().nodes] == ["conv1", "relu2", "sum"]
    assert small().values == ("x", "conv1", "relu2", "sum")


def test_sequences_become_tuples():
    node = Node("a", "slice", ("x",), options={"begin": [[1], 2], "end": [3]})
    assert node.inputs == ("x",)
    assert node.outputs == ("a",)
    assert node.options == {"begin": ((1,), 2), "end": (3,)}


def test_print():
    assert str(small()) == (
        "x = input (4, 4, 2)\n"
        "conv1 = conv(x, kernel=conv1/kernel (3, 3, 2, 2), padding=((1, 1), (1, 1)))\n"
        "relu2 = relu(x)\n"
        "sum = add(conv1, relu2)\n"
        "return sum"
    )
    assert repr(small()) == "Graph('small', 3 nodes, 1 parameters, inputs=['x'], outputs=['sum'])"
    assert str(Graph((Input("x", (None,)),), (), ("x",))) == "x = input (any,)\nreturn x"


def test_json_pickle_and_copy_are_equal():
    graph = small()
    for other in (Graph.from_json(graph.to_json()), pickle.loads(pickle.dumps(graph)), copy.deepcopy(graph), small()):
        assert other == graph
        assert hash(other) == hash(graph)
        assert other.to_json() == graph.to_json()
        assert str(other) == str(graph)
    assert graph != "small"


@pytest.mark.parametrize(
    "changes",
    [
        {"name": "other"},
        {"outputs": ("relu2",)},
        {"taps": {}},
        {"inputs": (Input("x", (4, None, 2)),)},
        {"parameters": (dataclasses.replace(KERNEL, collection="constants"),)},
        {"nodes": (*small().nodes[1:], dataclasses.replace(small().nodes[0], options={}))},
    ],
)
def test_any_difference_makes_them_unequal(changes):
    assert small(**changes) != small()
    assert hash(small(**changes)) != hash(small())


def test_select_drops_what_is_not_needed():
    part = small().select(["layer 2"])
    assert [node.name for node in part.nodes] == ["relu2"]
    assert part.outputs == ("relu2",)
    assert part.parameters == ()
    assert part.taps == {"layer 2": "relu2"}
    assert part.inputs == X
    assert small().select(["relu2", "x"]).outputs == ("relu2", "x")
    graph = small()
    assert graph.select(["sum"]) is graph.select(("sum",)), "a module selects at every call"


def test_several_outputs_are_pruned_together():
    nodes = (Node("cut", "split", ("x",), ("a", "b"), {"sizes": (1, 1)}), Node("relu", "relu", ("b",)))
    assert [node.name for node in Graph(X, nodes, ("relu",)).prune(("a",)).nodes] == ["cut"]


FAULTS = {
    "a cycle": (
        {"nodes": (Node("a", "add", ("x", "b")), Node("b", "relu", ("a",))), "outputs": ("b",)},
        "node 'a' (add): it reads 'b', which depends on it: the nodes form a cycle.",
    ),
    "itself": (
        {"nodes": (Node("a", "relu", ("a",)),), "outputs": ("a",)},
        "node 'a' (relu): it reads 'a', which depends on it: the nodes form a cycle.",
    ),
    "a dangling input": (
        {"nodes": (Node("a", "relu", ("conv_1",)), Node("conv1", "relu", ("x",))), "outputs": ("a",)},
        "node 'a' (relu): the input 'conv_1' is no value of the graph (did you mean 'conv1'?).",
    ),
    "a dangling output": (
        {"outputs": ("cnov1",)},
        "the output 'cnov1' is no value of the graph (did you mean 'conv1'?).",
    ),
    "a dangling tap": ({"taps": {"layer": "nothing"}}, "the output 'nothing' is no value of the graph."),
    "no output": ({"outputs": ()}, "a graph must have an output."),
    "two nodes of one name": (
        {"nodes": (Node("a", "relu", ("x",), ("b",)), Node("a", "relu", ("x",), ("c",))), "outputs": ("b",)},
        "node 'a' (relu): another node has the same name.",
    ),
    "a value twice": (
        {"nodes": (Node("a", "relu", ("x",)), Node("b", "relu", ("x",), ("a",))), "outputs": ("a",)},
        "node 'b' (relu): the value 'a' is written twice.",
    ),
    "an input written": (
        {"nodes": (Node("a", "relu", ("x",), ("x",)),), "outputs": ("x",)},
        "node 'a' (relu): the value 'x' is written twice.",
    ),
    "two inputs": ({"inputs": (*X, *X)}, "two inputs are named 'x'."),
    "two parameters": ({"parameters": (KERNEL, KERNEL)}, "two parameters are named 'conv1/kernel'."),
    "a collection": (
        {"parameters": (dataclasses.replace(KERNEL, collection="cache"),)},
        "parameter 'conv1/kernel': collection must be one of ('params', 'batch_stats', 'constants').",
    ),
    **{
        f"a path {path!r}": (
            {"parameters": (KERNEL, Parameter(path, (1,)))},
            f"parameter {path!r}: its path must be 'layer/role'.",
        )
        for path in ("kernel", "/kernel", "a/", "a//kernel", "a/" * 64 + "kernel")
    },
    "a path and a level": (
        {"parameters": (KERNEL, Parameter("conv1/kernel/bias", (1,)))},
        "parameter 'conv1/kernel' is also a level of the path 'conv1/kernel/bias'.",
    ),
    "no parameter": (
        {"parameters": ()},
        "node 'conv1' (conv): the kernel 'conv1/kernel' is no parameter of the graph.",
    ),
    "an operation": (
        {"nodes": (Node("a", "konv", ("x",), source="Konv"),), "outputs": ("a",)},
        "node 'a' (konv, Konv): the operation is unknown.",
    ),
    "an option": (
        {"nodes": (Node("a", "softmax", ("x",), options={"axes": 1}),), "outputs": ("a",)},
        "node 'a' (softmax): it has no option 'axes' (did you mean 'axis'?).",
    ),
    "a missing option": (
        {"nodes": (Node("a", "max_pool", ("x",)),), "outputs": ("a",)},
        "node 'a' (max_pool): it lacks window.",
    ),
    "a missing role": (
        {"nodes": (Node("a", "conv", ("x",)),), "outputs": ("a",)},
        "node 'a' (conv): it lacks kernel.",
    ),
    "a role": (
        {"nodes": (Node("a", "relu", ("x",), parameters={"kernel": KERNEL.path}),), "outputs": ("a",)},
        "node 'a' (relu): it takes no parameter 'kernel'.",
    ),
    "inputs": (
        {"nodes": (Node("a", "relu", ("x", "x")),), "outputs": ("a",)},
        "node 'a' (relu): it must have 1 inputs, got 2.",
    ),
    "outputs": (
        {"nodes": (Node("a", "relu", ("x",), ("b", "c")),), "outputs": ("b",)},
        "node 'a' (relu): it must have 1 outputs, got 2.",
    ),
    "an option that is no plain data": (
        {"nodes": (Node("a", "relu", ("x",), options={"threshold": {1}}),), "outputs": ("a",)},
        "node 'a' (relu): the option threshold must be a number, a text or a tuple of them, got set.",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_error_of_inconsistent_graph(fault):
    changes, message = FAULTS[fault]
    with pytest.raises(GraphError) as caught:
        small(**changes)
    assert str(caught.value) == message
    again = pickle.loads(pickle.dumps(caught.value))
    assert str(again) == message
    assert again.node == caught.value.node


def test_errors_of_names_of_outputs():
    with pytest.raises(ValueError, match=r"did you mean 'relu2'\?"):
        small().select(["relu_2"])
    with pytest.raises(ValueError, match="outputs must be at least one name"):
        small().select([])


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"format": "jaxcnn-graph-1"}', "[" * 5000])
def test_errors_of_json(text):
    with pytest.raises(ValueError, match="from_json: text must be a graph in the format 'jaxcnn-graph-1', got"):
        Graph.from_json(text)


def test_error_of_json_with_other_content():
    text = small().to_json().replace('"relu"', '"nothing"')
    with pytest.raises(GraphError, match="the operation is unknown"):
        Graph.from_json(text)
    with pytest.raises(ValueError, match="from_json"):
        Graph.from_json(small().to_json().replace('["x", [4, 4, 2]]', "7"))


@pytest.mark.parametrize("count", daily([10_000, 100_000], [10_000]))
def test_many_nodes_take_bounded_time(count):
    start = time.process_time()
    graph = Graph(X, chain(count), (f"n{count - 1}",), taps={f"layer {i}": f"n{i}" for i in range(count)})
    assert graph.nodes[0].name == "n0"
    assert len(graph.select(["layer 9"]).nodes) == 10
    assert Graph.from_json(graph.to_json()) == graph
    assert time.process_time() - start < 4 * count / 10_000


def test_errors_of_many_nodes_take_bounded_time():
    start = time.process_time()
    with pytest.raises(GraphError, match="a graph may have 100,000 nodes, got 100,001"):
        Graph(X, chain(1) * 100_001, ("n0",))
    nodes = chain(10_000)
    with pytest.raises(GraphError, match="is no value"):
        Graph(X, nodes, ("m9999",))
    with pytest.raises(GraphError, match="form a cycle"):
        Graph(X, (*nodes, Node("a", "add", ("b", "n1")), Node("b", "add", ("a", "n1"))), ("a",))
    twice = Parameter("a/kernel", (1,))
    with pytest.raises(GraphError, match="two parameters"):
        Graph(X, nodes, ("n0",), (*(Parameter(f"p{i}/kernel", (1,)) for i in range(10_000)), twice, twice))
    with pytest.raises(GraphError, match="is no value"):
        Graph(X, (Node("a" * 1_000_000, "relu", ("x",)),), ("b" * 1_000_000,))
    assert time.process_time() - start < 10


def test_operation_names_are_known():
    names = operation_names()
    assert names == tuple(sorted(set(names)))
    assert {"conv", "max_pool", "softmax", "add", "reduce_mean", "prior_box"} <= set(names)
