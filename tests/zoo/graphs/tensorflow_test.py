"""Networks of TensorFlow against what TensorFlow itself computes, in ``fixtures/graphs/tensorflow_*``."""

import dataclasses
import functools
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest

from jaxcnn import zoo
from jaxcnn.graphs import find_shapes
from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.graphs.tensorflow.importing import import_tensorflow
from jaxcnn.zoo.graphs.tensorflow.naming import PathRegister, name_parameter
from jaxcnn.zoo.graphs.tensorflow.sizes import BATCH, SymbolicSize, divide_exactly, round_up
from tests.support import hostile_graphs
from tests.support.paths import ROOT
from tests.support.real_data import DATA, needs_data
from tests.support.selection import daily
from tests.support.untyped import untyped

FOLDER = ROOT / "tests" / "fixtures" / "graphs"
FROZEN = ("arithmetic", "channels_first", "conditions", "convolutions", "detector", "fixed_batch", "normalizations")
FROZEN += ("rare", "resizing", "retrained", "shapes", "transposed")
MODELS = ("keras_model", "module", "v1_model")


@functools.cache
def reference(name: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the inputs, and what TensorFlow computes."""
    with np.load(FOLDER / f"tensorflow_{name}.npz") as arrays:
        parts = [{key[n:]: arrays[key] for key in arrays if key[:n] == kind} for kind, n in (("in:", 3), ("out:", 4))]
    return parts[0], parts[1]


@functools.cache
def network(name: str) -> zoo.Pretrained:
    """Loads a fixture; of frozen graphs all outputs of the reference are chosen by TensorFlow's names."""
    if name in MODELS:
        return zoo.load(FOLDER / f"tensorflow_{name}")
    return zoo.load(FOLDER / f"tensorflow_{name}.pb", outputs=tuple(reference(name)[1]))


@functools.cache
def run(name: str) -> dict[str, np.ndarray]:
    """Runs a fixture as one program."""
    inputs, expected = reference(name)
    pretrained = network(name)
    y = jax.jit(pretrained.model.apply)(pretrained.variables, inputs)
    return jax.tree.map(np.asarray, y if isinstance(y, dict) else {next(iter(expected)): y})


def assert_close(found: Any, expected: Any, tolerance: float = 1e-5) -> None:
    scale = max(float(np.max(np.abs(expected))), 1e-6)
    np.testing.assert_allclose(np.asarray(found), expected, atol=tolerance * scale, rtol=0)


@pytest.mark.parametrize("name", [*FROZEN, *MODELS])
def test_equals_tensorflow(name):
    expected, found = reference(name)[1], run(name)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert_close(found[key].reshape(value.shape), value)


@pytest.mark.parametrize("name", daily(FROZEN, ("shapes", "resizing", "conditions")))
def test_shapes_while_importing_are_those_of_the_network(name):
    """The importer computes shapes by its own rules, for Shape and Reshape; they must be what is computed."""
    from jaxcnn.zoo.graphs.tensorflow import context

    seen: list[context.Context] = []
    original = context.Context.__init__

    def record(self: context.Context, *args: Any) -> None:
        original(self, *args)
        seen.append(self)

    path = FOLDER / f"tensorflow_{name}.pb"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(context.Context, "__init__", record)
        graph = import_tensorflow(path, zoo.read(path)).graph
    sizes = {one.name: tuple(n or 11 for n in one.shape) for one in graph.inputs}
    shapes = find_shapes(graph, inputs=sizes)
    compared = 0
    for value in seen[0].values.values():
        if value.name in shapes and value.blocks is None and all(isinstance(n, int) for n in value.held):
            assert shapes[value.name] == value.held, value
            compared += 1
    assert compared > 0


def test_batch_is_free_where_the_file_fixes_it():
    pretrained = network("fixed_batch")
    x = reference("fixed_batch")[0]["x"]
    found = untyped(pretrained.model.apply(pretrained.variables, np.concatenate([x, 2 * x, -x])))
    for key, value in run("fixed_batch").items():
        assert found[key].shape == (3, *value.shape[1:])
        assert_close(found[key][:1], value)
    single = untyped(pretrained.model.apply(pretrained.variables, x[0]))
    assert single["boxes"].shape == (32, 4)


def test_batch_normalization_is_read_in_every_spelling():
    graph = network("normalizations").model.graph
    ops = [node.op for node in graph.nodes]
    assert ops.count("batch_norm") == 6 and "rsqrt" in ops and "lrn" in ops
    node = next(node for node in graph.nodes if node.parameters.get("mean") == "spelled/mean")
    assert dict(node.parameters) == {role: f"spelled/{role}" for role in ("mean", "var", "scale", "bias")}
    assert node.options["epsilon"] == pytest.approx(0.001)
    variables = network("normalizations").variables
    assert set(variables["batch_stats"]["spelled"]) == {"mean", "var"}
    assert set(variables["params"]["spelled"]) == {"scale", "bias"}
    paths = [one.path for one in graph.parameters if one.collection == "constants"]
    assert len(paths) == 2  # the normalization whose numbers were multiplied out


def test_parameters_have_the_names_of_layers():
    params = network("convolutions").variables["params"]
    assert params["plain"].keys() == {"kernel", "bias"} and params["dw"].keys() == {"kernel"}
    assert params["separable"].keys() == {"depthwise_kernel", "pointwise_kernel"}
    assert params["each"]["kernel"].shape == (3, 3, 4, 2)  # as many groups as channels: depthwise
    keras = network("keras_model").variables
    assert {"stem", "separable", "bn", "prelu", "up", "dw", "ln", "fc", "box"} <= keras["params"].keys()
    assert keras["batch_stats"]["bn"].keys() == {"mean", "var"}
    assert network("v1_model").variables["params"]["fc"].keys() == {"kernel", "bias"}


def test_names_of_parameters_do_not_contain_each_other():
    register = PathRegister()
    assert [register.take(path) for path in ("a/kernel", "a/kernel", "a/kernel/bias", "b/c/bias", "b/c")] == [
        *("a/kernel", "a_1/kernel", "a/kernel_1/bias", "b/c/bias", "b_1/c"),
    ]
    assert name_parameter("", "fc/MatMul", "kernel") == "fc/kernel"
    assert name_parameter("Variable_3", "add_1", "bias") == "Variable_3/bias"
    assert name_parameter("model/conv/Conv2D/ReadVariableOp/resource", "x", "kernel") == "model/conv/kernel"


def test_channels_first_is_held_channels_last():
    pretrained = network("channels_first")
    assert pretrained.model.graph.inputs[0].shape == (8, 10, 3)
    assert [node.op for node in pretrained.model.graph.nodes].count("permute") == 1  # before the flattening


def test_dilation_is_recognized_between_blocks():
    nodes = {node.name: node for node in network("convolutions").model.graph.nodes}
    assert nodes["Conv2D_1"].options.get("dilation") is None or nodes["Conv2D_1"].op == "conv"
    dilated = [node for node in nodes.values() if set(node.options.get("dilation", ())) == {2}]
    assert len(dilated) == 2 and not any("batch" in node.op and "norm" not in node.op for node in nodes.values())


def test_detector_ends_before_it_suppresses_boxes():
    path = FOLDER / "tensorflow_detector.pb"
    pretrained = zoo.load(path)
    assert pretrained.model.graph.outputs == ("raw_boxes", "raw_scores")
    assert any("NonMaxSuppression" in note and "left off" in note for note in pretrained.provenance["notes"])


def test_graph_that_decodes_images_begins_behind_the_decoder():
    pretrained = zoo.load(FOLDER / "tensorflow_retrained.pb")
    assert [(one.name, one.shape) for one in pretrained.model.graph.inputs] == [("Cast", (None, None, 3))]
    assert pretrained.activation == "probabilities"
    image = np.full((5, 7, 3), 0.5, np.float32)
    assert_close(pretrained.preprocess(image), 127.5 * np.ones((5, 7, 3)))
    logits = pretrained.with_head(jax.random.key(0), 4)
    assert untyped(logits.model.apply(logits.variables, jnp.ones((2, 12, 12, 3)))).shape == (2, 4)


def test_switches_of_training_are_off():
    ops = [node.op for node in network("conditions").model.graph.nodes]
    assert ops == ["dense", "add", "relu", "add", "dense", "add", "softmax"]


def test_signature_chooses_inputs_and_outputs():
    pretrained = network("v1_model")
    assert [one.name for one in pretrained.model.graph.inputs] == ["pixels"]
    assert pretrained.model.graph.outputs == ("logits", "probs")
    assert network("module").model.graph.inputs[0].shape == (None, None, 2)
    # A condition on a constant, and a function that is called twice with the same kernel.
    kernels = [node.parameters["kernel"] for node in network("module").model.graph.nodes if node.op == "conv"]
    assert kernels == ["conv/kernel"] * 2


def test_layers_are_found_by_names_of_nodes():
    pretrained = zoo.load(FOLDER / "tensorflow_conditions.pb", outputs=("logits:0", "Relu"))
    found = untyped(pretrained.model.apply(pretrained.variables, reference("conditions")[0]["x"]))
    assert found.keys() == {"logits:0", "Relu"} and found["Relu"].shape == (2, 8)
    assert_close(jax.nn.softmax(found["logits:0"]), reference("conditions")[1]["prob"])


def test_trains_with_batch_statistics():
    pretrained = network("v1_model")
    variables, x = pretrained.variables, reference("v1_model")[0]["pixels"]

    def loss(params):
        y, updated = pretrained.model.apply({**variables, "params": params}, x, train=True, mutable=["batch_stats"])
        return jnp.mean(y["logits"] ** 2), updated

    gradient, updated = jax.grad(loss, has_aux=True)(variables["params"])
    assert all(float(jnp.max(jnp.abs(leaf))) > 0 for leaf in jax.tree.leaves(gradient))
    before, after = (tree["batch_stats"]["conv"]["BatchNorm"]["mean"] for tree in (variables, updated))
    assert not np.allclose(before, after)


# What is refused, and how.


def node(op: str, name: str, *inputs: str, **attributes: Any) -> dict[str, Any]:
    return {"op": op, "name": name, "inputs": list(inputs), "attributes": attributes}


X = node("Placeholder", "x", dtype="float32", shape=(-1, 4, 4, 2))


def imported(*nodes: dict[str, Any], **tensors: Any) -> Any:
    arrays = {name: np.asarray(value) for name, value in tensors.items()}
    constants = [node("Const", name) for name in arrays]
    return import_tensorflow(Path("net.pb"), Checkpoint(arrays, {"format": "tensorflow-graph"}, [*constants, *nodes]))


def test_unknown_operations_error_lists_all():
    with pytest.raises(zoo.FormatError, match=r"net\.pb: .* supported: Magic \(node 1, 'a'\); Other \(node 3, 'c'\)"):
        imported(X, node("Magic", "a", "x"), node("Relu", "b", "a"), node("Other", "c", "b"))
    imported(X, node("Relu", "a", "x"), node("HistogramSummary", "s", "tag", "a"), tag=0)


@pytest.mark.parametrize(
    ("nodes", "tensors", "message"),
    [
        ([X, node("Relu", "a", "b"), node("Relu", "b", "a"), node("Relu", "c", "a")], {}, "has a cycle: node '[ab]'"),
        ([X, node("Add", "a", "x", "gone")], {}, "has no node 'gone'"),
        ([X, node("Relu", "x", "x")], {}, "has two nodes named 'x'"),
        ([X, node("Relu", "a", "x:3")], {}, "node 'x' has 1 outputs; node 'a' reads number 3"),
        ([X, node("Reshape", "a", "x", "s")], {"s": [-1, 7]}, r"inconsistent node 'a' \(Reshape\): a value of shape"),
        ([X, node("Conv2D", "a", "x", "k")], {"k": np.ones((3, 3, 3, 4), "f4")}, "does not fit 2 channels"),
        (
            [X, node("Conv2D", "a", "x", "k", strides=[1, -2, 1, 1])],
            {"k": np.ones((3, 3, 2, 4), "f4")},
            "strides must be 4 positive numbers",
        ),
        (
            [X, node("Conv2D", "a", "x", "k", padding="VALID")],
            {"k": np.ones((5, 5, 2, 4), "f4")},
            "a window of 5 pixels does not fit into 4",
        ),
        ([X, node("MaxPool", "a", "x", ksize=[1, 2, 2], strides=[1, 1, 1, 1])], {}, "ksize must be 4 positive numbers"),
        ([X, node("Transpose", "a", "x", "s")], {"s": [0, 1, 1, 2]}, "the order"),
        ([X, node("Pad", "a", "x", "s")], {"s": [[0, 0]] * 3}, "its padding has the shape"),
        (
            [X, node("Fill", "f", "s", "v"), node("Add", "a", "x", "f")],
            {"s": [1 << 20] * 3, "v": 1.0},
            "a constant would",
        ),
        ([X, node("Tile", "a", "x", "s")], {"s": [1, 1 << 30, 1, 1]}, "node 'a'|would have the shape"),
        ([node("Const", "c")], {}, "has no output|not supported"),
        ([X, node("Relu", "a", "x", untyped(3))], {}, "a node that is damaged: number 1"),
    ],
)
def test_inconsistent_graph_error_names_the_node(nodes, tensors, message):
    with pytest.raises(zoo.FormatError, match=message):
        imported(*nodes, **tensors)


def test_functions_that_call_themselves_error():
    call = node("PartitionedCall", "call", "x", f="loop")
    checkpoint = Checkpoint(
        {},
        {
            "format": "tensorflow-graph",
            "functions": {"loop": [node("PartitionedCall", "again", "x", f="loop")]},
            "arguments": {"loop": ["x"]},
            "results": {"loop": [("y", "again:output:0")]},
        },
        [X, call],
    )
    with pytest.raises(zoo.FormatError, match="call each other"):
        import_tensorflow(Path("net.pb"), checkpoint)


@pytest.mark.parametrize("name", ["shapes", "convolutions", "keras_model", "conditions"])
def test_damaged_descriptions_are_refused(name):
    path = FOLDER / (f"tensorflow_{name}" if name in MODELS else f"tensorflow_{name}.pb")
    hostile_graphs.fuzz_graph(import_tensorflow, path, zoo.read(path), cases=25)


def test_a_million_nodes_error():
    path = FOLDER / "tensorflow_conditions.pb"
    hostile_graphs.refuse_many_nodes(import_tensorflow, path, zoo.read(path))


def test_sizes_are_polynomials():
    height = SymbolicSize.symbol("height")
    assert (BATCH * 12) // (BATCH * 4) == 3 and (height * 2 + 4) // 2 == height + 2 and height - height == 0
    assert divide_exactly(height, 2) is None and round_up(7, 2) == 4 and round_up(height, 2) == round_up(height, 2)
    assert (height * 6) % 3 == 0 and isinstance(height % 3, SymbolicSize) and 5 - height == -(height - 5)


# Real files.


@pytest.mark.nightly
@needs_data
def test_mobilenet_recognizes_photographs():
    """Of 96 photographs it recognizes 93.8 %; six of them are seen here."""
    folder = DATA / "imagenet_samples"
    rows = [line.split("\t") for line in (folder / "classes.txt").read_text().splitlines()]
    files = {file.name.partition("_")[0]: file for file in (folder / "images").iterdir()}
    path = DATA / "tensorflow" / "mobilenet_v1_1.0_224_retrained_frozen.pb"
    pretrained = dataclasses.replace(
        zoo.load(path, outputs=("MobilenetV1/Logits/SpatialSqueeze:0",)),
        preprocessing=zoo.Preprocessing(
            size=224, crop_fraction=0.875, value_range=(0, 255), mean=(128.0,), std=(128.0,), color_order="RGB"
        ),
    )
    assert pretrained.activation == "logits" and pretrained.input_shape == (224, 224, 3)
    chosen = [(int(index), files[word]) for index, word, _ in rows if word in files][:96:16]
    images = np.stack([pretrained.preprocess(np.asarray(PIL.Image.open(file).convert("RGB"))) for _, file in chosen])
    logits = jax.jit(pretrained.model.apply)(pretrained.variables, images)
    assert logits.shape == (6, 1001)  # 0 is the background
    right = np.asarray(logits).argmax(-1) == np.array([index + 1 for index, _ in chosen])
    assert right.sum() >= 5
