"""TensorFlow's frozen graphs: a file that it wrote, graphs written here, damaged ones."""

import numpy as np
import pytest

from jaxcnn.zoo import FormatError
from jaxcnn.zoo.formats.tensorflow.checkpoint_files import is_tensorflow_checkpoint
from jaxcnn.zoo.formats.tensorflow.graph_def import is_tensorflow_graph, read_tensorflow_graph
from tests.support import fuzzing
from tests.support import protobufs as pb
from tests.zoo.formats.tensorflow_checkpoint_test import FIXTURES, LIMIT, head, shape, values


def test_frozen_graph():
    path = FIXTURES / "frozen.pb"
    assert is_tensorflow_graph(path, head(path)) and not is_tensorflow_checkpoint(path, head(path))
    result = read_tensorflow_graph(path, max_bytes=LIMIT)
    tensors = result.tensors
    np.testing.assert_array_equal(tensors["conv/kernel"], values(21, (3, 3, 1, 2)))
    np.testing.assert_array_equal(tensors["dw/kernel"], values(22, (1, 1, 2, 2)))
    np.testing.assert_array_equal(tensors["dense/kernel"], values(23, (3, 16)).T)  # transposed through an Identity
    np.testing.assert_array_equal(tensors["dense/bias"], values(24, (3,)))
    np.testing.assert_array_equal(tensors["filled"], np.full((2, 3), 0.5, np.float32))
    expected = {
        "small": [1, 2, 3],
        "half": [0.5, 1.5],
        "brain": [0.5, 1.5],
        "truth": [True, False],
        "complex": [1 + 2j],
    }
    kinds = {"small": "int8", "half": "float16", "brain": "bfloat16", "truth": "bool", "complex": "complex64"}
    for name, content in expected.items():
        assert tensors[name].dtype.name == kinds[name] and tensors[name].tolist() == content
    assert "words" not in tensors and result.metadata["layouts"] == {"dense/kernel": "OI"}
    assert all(array.flags.c_contiguous and array.flags.writeable for array in tensors.values())
    conv = next(node for node in result.graph if node["op"] == "Conv2D")
    assert conv["inputs"] == ["image", "conv/kernel"] and conv["attributes"]["T"] == "float32"
    assert result.graph[0]["attributes"]["shape"] == (-1, 4, 4, 1)
    with pytest.raises(FormatError, match="more than is left"):
        read_tensorflow_graph(path, max_bytes=50)


def const(name, *tensor):
    return pb.block(
        1, pb.block(1, name), pb.block(2, "Const"), pb.block(5, pb.block(1, "value"), pb.block(2, pb.block(8, *tensor)))
    )


def graph_of(tmp_path, *nodes):
    path = tmp_path / "graph.pb"
    path.write_bytes(b"".join(nodes))
    return read_tensorflow_graph(path, max_bytes=LIMIT)


@pytest.mark.parametrize(
    ("dtype", "content", "expected"),
    [
        ("float32", pb.single(5, 0.5), [0.5, 0.5, 0.5]),
        ("float32", b"", [0, 0, 0]),
        ("float64", pb.double(6, 1.5) + pb.double(6, 2.5), [1.5, 2.5, 2.5]),
        ("int32", pb.packed(7, [-1, 2]), [-1, 2, 2]),
        ("uint8", pb.packed(7, [255]), [255, 255, 255]),
        ("int64", pb.packed(10, [-(2**63), 5, 6]), [-(2**63), 5, 6]),
        ("bool", pb.packed(11, [1, 0]), [True, False, False]),
        ("float16", pb.packed(13, [0x3C00, 0xC000]), [1, -2, -2]),
        ("bfloat16", pb.packed(13, [0x3F80]), [1, 1, 1]),
        ("uint32", pb.packed(16, [2**32 - 1]), [2**32 - 1] * 3),
        ("uint64", pb.packed(17, [2**64 - 1]), [2**64 - 1] * 3),
        ("complex64", pb.single(9, 1) + pb.single(9, 2), [1 + 2j] * 3),
    ],
)
def test_listed_values_and_the_rule_for_missing_ones(tmp_path, dtype, content, expected):
    numbers = {"float32": 1, "float64": 2, "int32": 3, "uint8": 4, "complex64": 8, "int64": 9, "bool": 10}
    numbers |= {"bfloat16": 14, "float16": 19, "uint32": 22, "uint64": 23}
    result = graph_of(tmp_path, const("a", pb.number(1, numbers[dtype]), shape(3), content)).tensors["a"]
    assert result.dtype.name == dtype and result.tolist() == expected and result.flags.writeable


def node(name, operation, *inputs, function=None):
    parts = [pb.block(1, name), pb.block(2, operation), *(pb.block(3, text) for text in inputs)]
    if function is not None:
        parts.append(pb.block(5, pb.block(1, "f"), pb.block(2, pb.block(10, pb.block(1, function)))))
    return parts


def kernel(name, *sizes):
    return const(name, pb.number(1, 1), shape(*sizes), pb.array(4, values(5, sizes)))


def test_kernels_of_transposed_convolutions(tmp_path):
    """TensorFlow stores (kh, kw, out, in); a gradient of an ordinary convolution uses the same operation."""
    nodes = [kernel("up", 2, 3, 5, 4), kernel("conv", 2, 3, 5, 4), kernel("both", 2, 3, 5, 4)]
    nodes += [kernel("line", 3, 5, 4), kernel("volume", 2, 2, 2, 5, 4), kernel("other", 2, 3, 5, 4)]
    operations = [
        node("read", "Identity", "up"),
        node("a", "Conv2DBackpropInput", "size", "read", "x"),
        node("b", "Conv2D", "x", "conv"),
        node("c", "Conv2D", "x", "both"),
        node("d", "Conv2DBackpropInput", "size", "both", "gradient"),
        node("wide", "ExpandDims", "line", "zero"),
        node("e", "Conv2DBackpropInput", "size", "wide", "x"),
        node("g", "Conv3DBackpropInputV2", "size", "volume", "x"),
        node("h", "Mul", "other", "x"),
    ]
    result = graph_of(tmp_path, *nodes, *(pb.block(1, *parts) for parts in operations))
    assert result.metadata["layouts"] == {"up": "HWOI", "line": "WOI", "volume": "DHWOI"}
    np.testing.assert_array_equal(result.tensors["up"], values(5, (2, 3, 5, 4)).transpose(0, 1, 3, 2))
    np.testing.assert_array_equal(result.tensors["line"], values(5, (3, 5, 4)).transpose(0, 2, 1))
    np.testing.assert_array_equal(result.tensors["conv"], values(5, (2, 3, 5, 4)))
    assert result.metadata["notes"] == [
        "Kernels of transposed convolutions: (kh, kw, out, in) became (kh, kw, in, out); see the layouts."
    ]


def function(name, arguments, *nodes):
    signature = pb.block(1, pb.block(1, name), *(pb.block(2, pb.block(1, argument)) for argument in arguments))
    return pb.block(1, signature, *(pb.block(3, *parts) for parts in nodes))


def test_uses_are_followed_through_functions(tmp_path):
    outer = function("outer", ["x", "w"], node("y", "StatefulPartitionedCall", "w", "x", function="inner"))
    read, up = node("r", "ReadVariableOp", "w"), node("a", "Conv2DBackpropInput", "s", "r:value:0", "x")
    inner = function("inner", ["w", "x"], read, up, node("again", "PartitionedCall", "w", "x", function="inner"))
    call = pb.block(1, *node("call", "PartitionedCall", "image", "up", function="outer"))
    result = graph_of(tmp_path, kernel("up", 2, 3, 5, 4), call, pb.block(2, outer, inner))
    assert result.metadata["layouts"] == {"up": "HWOI"}


def test_many_functions_that_call_each_other(tmp_path):
    """The calls are not followed without end."""
    chain = [
        function(f"f{place}", ["w"], node("y", "PartitionedCall", "w", function=f"f{place + 1}"))
        for place in range(1500)
    ]
    call = pb.block(1, *node("call", "PartitionedCall", "up", function="f0"))
    assert graph_of(tmp_path, kernel("up", 2, 3, 5, 4), call, pb.block(2, *chain)).metadata["layouts"] == {}


@pytest.mark.errors
@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        ([const("a", pb.number(1, 1), shape(2), pb.block(4, bytes(7)))], "8 bytes, but holds 7"),
        ([const("a", pb.number(1, 1), shape(1), pb.single(5, 1), pb.single(5, 1))], "lists 2 values"),
        ([const("a", pb.number(1, 1), shape(1 << 40))], "more than is left"),
        ([const("a", pb.number(1, 1), shape(1 << 62))], "impossible shape"),
        ([const("a", pb.number(1, 1), shape(-1))], "impossible shape"),
        ([const("a", pb.number(1, 1), pb.block(2, pb.number(3, 1)))], "impossible shape"),
        ([const("a", pb.number(1, 4), shape(1), pb.packed(7, [256]))], "does not fit into uint8"),
        ([const("a", pb.number(1, 19), shape(1), pb.packed(13, [1 << 16]))], "more than 16 bits"),
        ([const("a", pb.number(1, 8), shape(1), pb.single(9, 1))], "1 parts of complex"),
        ([const("a", pb.number(1, 1))] * 2, "occurs twice"),
        ([pb.block(1, pb.block(1, "a"), pb.block(2, "Const"))], "no value"),
        ([pb.block(2)], "no node"),
    ],
)
def test_impossible_constants_are_refused(tmp_path, nodes, reason):
    with pytest.raises(FormatError, match=reason):
        graph_of(tmp_path, *nodes)


@pytest.mark.errors
def test_repeated_values_may_not_take_much_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxcnn.zoo.formats.tensorflow.graph_def._MAX_FILLED", 1 << 10)
    with pytest.raises(FormatError, match="not in the file but repeated"):
        graph_of(tmp_path, const("a", pb.number(1, 1), shape(1000)))


def test_circle_of_nodes_ends(tmp_path):
    nodes = [pb.block(1, pb.block(1, a), pb.block(2, "Identity"), pb.block(3, b)) for a, b in ("ab", "ba")]
    nodes.append(pb.block(1, pb.block(1, "c"), pb.block(2, "MatMul"), pb.block(3, "a"), pb.block(3, "b")))
    assert graph_of(tmp_path, *nodes).tensors == {}


@pytest.mark.errors
def test_damaged_frozen_graph(tmp_path):
    content = (FIXTURES / "frozen.pb").read_bytes()
    outcome = fuzzing.fuzz(read_tensorflow_graph, content, tmp_path / "graph.pb", cases=40)
    assert outcome.refused and outcome.read
    for damage, damaged in zip(range(400), fuzzing.damages(content), strict=False):
        (tmp_path / "graph.pb").write_bytes(damaged[1])
        assert is_tensorflow_graph(tmp_path / "graph.pb", damaged[1][:4096]) in (True, False), damage
