"""Networks of Caffe: every layer against OpenCV and against Caffe's rules in NumPy; descriptions of all kinds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import zoo
from jaxcnn.zoo.graphs.caffe.importer import import_caffe
from tests.support import hostile_graphs
from tests.support import protobufs as pb
from tests.support.caffe_fixture_nets import OPENCV, OTHERS, SOURCE_ORDER, draw_inputs
from tests.support.caffe_nets import data_layer, layer, write_blob, write_net, write_text, write_weights
from tests.support.caffe_nets import draw_blob as blob
from tests.support.caffe_rules import run_net
from tests.support.paths import FIXTURES
from tests.support.untyped import untyped

NETS = {**OPENCV, **OTHERS}


def to_caffe(array, last):
    """Converts a value to Caffe's order of axes."""
    array = np.asarray(array)
    return np.moveaxis(array, -1, 1) if last and array.ndim > 2 else array


def held_last(layers):
    """Returns the names of layers and blobs whose channels are held last."""
    held, result = set(), set()
    for one in layers:
        first = one["type"] in ("Input", "DummyData") or one["type"].startswith(("Conv", "Deconv", "Pool", "Interp"))
        source = one["type"] in SOURCE_ORDER or (one["type"] == "ArgMax" and "axis" not in one.get("argmax_param", {}))
        last = first or (not source and any(name in held for name in one["bottom"]))
        if last:
            held |= set(one["top"])
            result |= {one["name"], *one["top"]}
    return result


def load(folder, name, layers, **options):
    return zoo.load(write_net(folder, name, layers), **options)


def run(pretrained, x, **changes):
    """Computes the outputs as one program."""
    return jax.jit(pretrained.model.clone(**changes).apply)(pretrained.variables, x)


def run_all(pretrained, inputs, names):
    """Computes values by the names of layers and blobs as one program; inputs are in Caffe's order."""
    x = {name: np.moveaxis(array, 1, -1) if array.ndim > 3 else array for name, array in inputs.items()}
    model = pretrained.model.clone(outputs=tuple(names))
    return jax.jit(model.apply)(pretrained.variables, x if len(x) > 1 else next(iter(x.values())))


@pytest.fixture(scope="module", params=list(NETS))
def computed(request, tmp_path_factory):
    """What a network computes and what it should, by name, in Caffe's order."""
    layers = NETS[request.param]
    inputs = draw_inputs(layers)
    expected = run_net(layers, inputs)
    pretrained = load(tmp_path_factory.mktemp("net"), request.param, layers)
    last = held_last(layers)
    found = run_all(pretrained, inputs, expected)
    return request.param, {name: to_caffe(array, name in last) for name, array in found.items()}, expected


def test_layers_equal_the_rules(computed):
    name, found, expected = computed
    assert set(found) == set(expected)
    for key, want in expected.items():
        want = np.repeat(want, len(found[key]), 0) if key.startswith("priors") else want  # Caffe has them once
        assert found[key].shape == want.shape, key
        scale = max(abs(want).max(), 1e-3)
        np.testing.assert_allclose(found[key], want, rtol=0, atol=1e-5 * scale, err_msg=f"{name}: {key}")


def test_layers_equal_opencv(computed):
    name, found, _ = computed
    if name not in OPENCV:
        return
    with np.load(FIXTURES / "graphs" / f"caffe_{name}.npz") as stored:
        assert len(stored) > 10
        for key, want in stored.items():
            scale = max(abs(want).max(), 1e-3)
            got = found[key][:1] if key.startswith("priors") else found[key]
            np.testing.assert_allclose(got.reshape(want.shape), want, rtol=0, atol=1e-5 * scale, err_msg=key)


TINY = [
    data_layer(1, 3, 8, 8),
    layer("Convolution", "conv1", convolution={"num_output": 4, "kernel_size": [3]}, blobs=[blob(4, 3, 3, 3), blob(4)]),
    layer("BatchNorm", "bn1", "conv1", "conv1", blobs=[blob(4), blob(4, low=0.5), blob(1, low=1.0, high=1.0)]),
    layer("Scale", "scale1", "conv1", "conv1", scale={"bias_term": True}, blobs=[blob(4), blob(4, seed=1)]),
    layer("ReLU", "relu1", "conv1", "conv1"),
    layer("Pooling", "pool1", "conv1", "pool1", pooling={"pool": "AVE", "kernel_size": 2, "stride": 2}),
    layer("Dropout", "drop1", "pool1", "pool1"),
    layer("InnerProduct", "fc1", "pool1", "fc1", inner_product={"num_output": 5}, blobs=[blob(5, 36), blob(5)]),
    layer("Softmax", "prob", "fc1"),
]
X = blob(2, 8, 8, 3, seed=3)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return load(tmp_path_factory.mktemp("tiny"), "tiny", TINY)


def test_a_network_in_words(tiny):
    assert tiny.activation == "probabilities" and tiny.input_shape == (8, 8, 3)
    assert sorted(tiny.variables) == ["batch_stats", "params"]
    assert set(tiny.variables["params"]) == {"conv1", "scale1", "fc1"}
    assert set(tiny.variables["batch_stats"]["bn1"]) == {"mean", "var"}
    assert tiny.preprocessing.color_order == "BGR" and tiny.preprocessing.value_range == (0, 255)
    assert any("mean" in note for note in tiny.provenance["notes"])
    graph = str(tiny.model.graph)
    assert "fc1 = dense(fc1_flatten, kernel=fc1/kernel (36, 5), bias=fc1/bias (5,))" in graph.splitlines()


def test_names_of_layers_and_blobs(tmp_path):
    """A layer's name is what it computes itself; a blob's what was last written to it."""
    layers = [one if one["name"] != "fc1" else {**one, "top": ["score"]} for one in TINY[:-1]]
    net = load(tmp_path, "names", layers)
    assert net.model.graph.outputs == ("score",)
    find = net.model.graph.find_value
    assert find("conv1") != find("relu1") == find("relu1") and find("fc1") == find("score")
    assert find("pool1") == "pool1" and find("drop1") == "drop1"
    y = run(net, X, outputs=("conv1", "relu1", "fc1"))
    assert set(y) == {"conv1", "relu1", "fc1"} and y["conv1"].min() < 0 <= y["relu1"].min()


def test_the_file_itself_describes_the_network(tmp_path, tiny):
    """A caffemodel says of its layers what a prototxt does, also in the format before 2014."""
    path = tmp_path / "alone.caffemodel"
    path.write_bytes(write_weights(TINY))
    alone = zoo.load(path)
    np.testing.assert_array_equal(run(alone, X), run(tiny, X))


@pytest.mark.parametrize("text", [False, True])
def test_files_before_2014(tmp_path, text):
    layers = [one for one in TINY[1:] if one["name"] not in ("bn1", "scale1")]
    new = load(tmp_path, "new", [TINY[0], *layers])
    path = tmp_path / "old.caffemodel"
    path.write_bytes(
        write_weights(layers, old=True, described=not text)
        + pb.block(3, "data")
        + b"".join(pb.number(4, size) for size in (1, 3, 8, 8))
    )
    if text:
        words = {"Convolution": "CONVOLUTION", "ReLU": "RELU", "Pooling": "POOLING", "Dropout": "DROPOUT"}
        words |= {"InnerProduct": "INNER_PRODUCT", "Softmax": "SOFTMAX"}
        fields = {
            "input": "data",
            "input_dim": [1, 3, 8, 8],
            "layers": [{**one, "type": words[one["type"]]} for one in layers],
        }
        (tmp_path / "old.prototxt").write_text(write_text(fields))
    old = zoo.load(path)
    np.testing.assert_array_equal(run(old, X), run(new, X))


def test_files_before_2013(tmp_path):
    """All parameters are in one message, and padding is a layer of its own."""
    weights, biases, matrix = blob(4, 3, 3, 3), blob(4), blob(5, 64)
    conv = {"num_output": 4, "kernel_size": [3], "pad": [1]}
    new = load(
        tmp_path,
        "new",
        [
            TINY[0],
            layer("Convolution", "conv", convolution=conv, blobs=[weights, biases]),
            layer("Pooling", "pool", "conv", pooling={"pool": "AVE", "kernel_size": 2, "stride": 2}),
            layer("InnerProduct", "ip", "pool", inner_product={"num_output": 5, "bias_term": False}, blobs=[matrix]),
        ],
    )
    text = """input: "data" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8
    layers { layer { name: "pad" type: "padding" pad: 1 } bottom: "data" top: "padded" }
    layers { layer { name: "conv" type: "conv" num_output: 4 kernelsize: 3 } bottom: "padded" top: "conv" }
    layers { layer { name: "pool" type: "pool" pool: AVE kernelsize: 2 stride: 2 } bottom: "conv" top: "pool" }
    layers { layer { name: "ip" type: "innerproduct" num_output: 5 biasterm: false } bottom: "pool" top: "ip" }"""
    (tmp_path / "old.prototxt").write_text(text)
    content = b""
    for name, kind, blobs in (("conv", "conv", [weights, biases]), ("ip", "innerproduct", [matrix])):
        parts = [pb.block(50, write_blob(array, old=True)) for array in blobs]
        content += pb.block(2, pb.block(1, pb.block(1, name), pb.block(2, kind), *parts))
    path = tmp_path / "old.caffemodel"
    path.write_bytes(content)
    np.testing.assert_array_equal(run(zoo.load(path), X), run(new, X))


def test_training_moves_the_statistics_as_caffe_does(tiny):
    """The fraction is 0.999, the running variance the unbiased one; the same key drops the same values."""
    key = jax.random.key(0)
    y, changed = tiny.model.apply(tiny.variables, X, train=True, mutable=["batch_stats"], rngs={"dropout": key})
    conv = run(tiny, X, outputs=("conv1",))
    old, new = (one["batch_stats"]["bn1"] for one in (tiny.variables, changed))
    np.testing.assert_allclose(new["mean"], 0.999 * old["mean"] + 0.001 * conv.mean((0, 1, 2)), rtol=1e-5, atol=1e-6)
    want = 0.999 * old["var"] + 0.001 * np.asarray(conv).reshape(-1, 4).var(0, ddof=1)
    np.testing.assert_allclose(new["var"], want, rtol=1e-5)
    assert y.shape == (2, 5)


def test_gradients_precision_and_heads(tiny):
    def loss(params):
        return tiny.model.apply({**tiny.variables, "params": params}, X)[:, 0].sum()

    gradients = jax.jit(jax.grad(loss))(tiny.variables["params"])
    assert all(abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients))
    half = run(tiny, X, dtype=jnp.bfloat16)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), run(tiny, X), atol=0.02)
    headed = tiny.with_head(jax.random.key(1), 2)
    assert run(headed, X).shape == (2, 2) and headed.activation == "logits"


# Networks for training and testing

DATA = {
    "name": "mnist",
    "type": "Data",
    "bottom": [],
    "top": ["data", "label"],
    "transform_param": {"scale": 0.5, "mean_value": [1.0, 2.0, 3.0], "crop_size": 8},
}
LOSS = layer("SoftmaxWithLoss", "loss", "fc1 label")


def test_networks_for_training_are_those_of_tests(tmp_path, tiny):
    """Data become inputs, losses are left off with a note, and what only training runs is not there."""
    train = {**DATA, "include": [{"phase": "TRAIN"}], "transform_param": {"crop_size": 6}}
    noise = layer("Power", "noise", "conv1", "conv1", power={"scale": 9.0}, include=[{"phase": "TRAIN"}])
    accuracy = layer("Accuracy", "accuracy", "fc1 label", include=[{"phase": "TEST"}])
    layers = [train, {**DATA, "include": [{"phase": "TEST"}]}, *TINY[1:5], noise, *TINY[5:-1], accuracy, LOSS]
    net = load(tmp_path, "train", layers)
    assert net.activation == "logits" and net.model.graph.outputs == ("fc1",) and net.input_shape == (8, 8, 3)
    want = run(tiny, X, outputs=("fc1",))
    np.testing.assert_allclose(run(net, X), want, rtol=1e-6)
    notes = " ".join(net.provenance["notes"])
    assert "accuracy (Accuracy), loss (SoftmaxWithLoss)" in notes and "label" in notes
    assert net.preprocessing is not None
    assert net.preprocessing.mean == (1, 2, 3) and net.preprocessing.std == (2.0,)


def test_stages_of_one_file_for_training_and_use(tmp_path):
    image = {**data_layer(1, 3, 8, 8), "include": [{"stage": ["deploy"]}]}
    layers = [image, {**DATA, "include": [{"stage": ["train"]}]}, *TINY[1:-1]]
    layers += [{**LOSS, "exclude": [{"stage": ["deploy"]}]}, {**TINY[-1], "include": [{"stage": ["deploy"]}]}]
    net = load(tmp_path, "stages", layers)
    assert net.model.graph.outputs == ("prob",) and net.activation == "probabilities"


def test_labels_that_are_cut_and_silenced_are_no_results(tmp_path):
    cut = layer("Slice", "cut", "label", "a b", slice={"slice_point": [1]})
    layers = [DATA, cut, layer("Silence", "quiet", "b", ()), *TINY[1:-1], layer("EuclideanLoss", "loss", "fc1 a")]
    net = load(tmp_path, "labels", layers)
    assert [one.name for one in net.model.graph.inputs] == ["data"] and net.model.graph.outputs == ("fc1",)


def test_size_of_the_input_follows_from_the_weights(tmp_path):
    data = {key: value for key, value in DATA.items() if key != "transform_param"}
    net = load(tmp_path, "size", [data, *TINY[1:-1]])
    assert net.input_shape == (8, 8, 3) and any("8 x 8" in note for note in net.provenance["notes"])
    free = load(tmp_path, "free", [data, *TINY[1:6]])
    assert free.input_shape == (None, None, 3)
    assert untyped(free.model.apply(free.variables, np.zeros((1, 10, 14, 3), np.float32))).shape == (1, 4, 6, 4)


def test_ends_of_detectors_are_left_off(tmp_path):
    detection = layer("DetectionOutput", "boxes", "prob fc1")
    layers = [*TINY, detection, layer("Slice", "after", "boxes", "u v")]
    net = load(tmp_path, "detector", layers)
    assert net.model.graph.outputs == ("prob",)
    assert any("boxes (DetectionOutput)" in note for note in net.provenance["notes"])


def test_parameters_that_layers_share(tmp_path):
    shared = [{"name": "w"}, {"name": "b"}]
    one = {**layer("Convolution", "one", convolution={"num_output": 3, "kernel_size": [1]}), "param": shared}
    one["blobs"] = [blob(3, 3, 1, 1), blob(3)]
    net = load(tmp_path, "shared", [TINY[0], one, {**one, "name": "two", "bottom": ["one"], "top": ["two"]}])
    assert set(net.variables["params"]) == {"one"}
    once = run(net, X, outputs=("one",))
    np.testing.assert_allclose(run(net, X), run(net, once, outputs=("one",)))


def test_a_prototxt_takes_the_weights_beside_it(tmp_path, tiny):
    path = write_net(tmp_path, "pair", TINY)
    net = zoo.load(path.with_suffix(".prototxt"))
    np.testing.assert_array_equal(run(net, X), run(tiny, X))
    other = tmp_path / "other.prototxt"
    path.with_suffix(".prototxt").rename(other)
    assert zoo.load(path, graph=other).model.graph == net.model.graph


# Inconsistent networks


def change(name, **fields):
    """Returns the network with fields of a layer changed."""
    return [{**one, **fields} if one["name"] == name else one for one in TINY]


ERRORS = {
    "dangling": (change("pool1", bottom=["convl"]), r"layer 'pool1' \(Pooling\): it reads the blob 'convl'.*conv1"),
    "cycle": (change("conv1", bottom=["fc1"]), "which no layer before it writes"),
    "written twice": ([*TINY, {**TINY[1], "name": "conv2"}], "writes the blob 'conv1', which"),
    "two of one name": ([*TINY, {**TINY[1], "bottom": ["data"], "top": ["x"]}], "two layers named|same name"),
    "wrong weights": (change("fc1", blobs=[blob(5, 35), blob(5)]), r"lacks weights.*fc1/weights \(of shape \(35, 5\)"),
    "missing weights": (change("bn1", blobs=[]), r"bn1/mean \(missing\); bn1/variance \(missing\)"),
    "no kernel size": (change("conv1", convolution_param={"num_output": 4}), "'conv1'.*kernel_size"),
    "zero stride": (
        change("pool1", pooling_param={"kernel_size": 2, "stride": 0}),
        r"pooling_param.stride must be an integer in \[1",
    ),
    "absurd size": (change("fc1", inner_product_param={"num_output": 2**31 - 1}), "'fc1'|lacks weights"),
    "small image": (change("data", input_param={"shape": [{"dim": [1, 3, 2, 2]}]}), "'conv1'.*shape"),
    "odd axis": (change("prob", softmax_param={"axis": 5}), r"'prob' \(Softmax\): axis must be in"),
}


@pytest.mark.parametrize("kind", list(ERRORS))
def test_error_of_inconsistent_networks(tmp_path, kind):
    layers, reason = ERRORS[kind]
    with pytest.raises(zoo.FormatError, match=reason):
        load(tmp_path, "bad", layers)


def test_error_lists_all_unknown_operations(tmp_path):
    extra = [layer("Magic", "m", "fc1"), layer("Reshape", "r", "fc1", reshape={"shape": {"dim": [-1, 7]}})]
    extra.append(layer("Concat", "c", "fc1 fc1", concat={"axis": 0}))
    with pytest.raises(zoo.FormatError) as caught:
        load(tmp_path, "unknown", [*TINY, *extra, layer("Python", "p", "m")])
    text = str(caught.value)
    assert "Magic (node 9, 'm')" in text and "Python (node 12, 'p')" in text
    assert "Reshape that mixes the examples of a batch (node 10, 'r')" in text
    assert "Concat along the batch (node 11, 'c')" in text


def test_error_of_a_description_without_weights(tmp_path):
    path = write_net(tmp_path, "pair", TINY)
    path.unlink()
    with pytest.raises(zoo.FormatError, match="holds no weights"):
        zoo.load(path.with_suffix(".prototxt"))
    with pytest.raises(FileNotFoundError, match="graph must be an existing file"):
        zoo.load(write_net(tmp_path, "other", TINY), graph=tmp_path / "none.prototxt")


@pytest.mark.errors
def test_fuzz_of_descriptions(tmp_path):
    layers = [*TINY, layer("Permute", "turned", "conv1", permute={"order": [0, 2, 3, 1]})]
    layers += [
        layer("Reshape", "rows", "turned", reshape={"shape": {"dim": [0, -1, 2]}}),
        layer("Slice", "c", "conv1", "u v"),
    ]
    layers += [layer("PriorBox", "p", "conv1 data", prior_box={"min_size": [3.0], "variance": [0.1]})]
    path = tmp_path / "net.caffemodel"
    path.write_bytes(write_weights(layers))
    outcome = hostile_graphs.fuzz_graph(import_caffe, path, zoo.read(path), cases=60)
    assert outcome.imported > 0 and outcome.refused > 40
    hostile_graphs.refuse_many_nodes(import_caffe, path, zoo.read(path))
