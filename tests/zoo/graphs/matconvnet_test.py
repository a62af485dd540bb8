"""Networks of MatConvNet run: every layer equals its formula, real networks remove noise."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import zoo
from jaxcnn.zoo.graphs.matconvnet.importer import import_matconvnet
from jaxcnn.zoo.records import weight_records
from tests.support import hostile_graphs, paths
from tests.support.matlab_files import Records, write
from tests.support.real_data import DATA, needs_data
from tests.support.untyped import untyped

FOLDER = paths.FIXTURES / "graphs"
NETS = ("simple", "old", "dag")
WANTED = dict(np.load(FOLDER / "matconvnet.npz"))


@pytest.fixture(scope="module")
def loaded():
    """The three networks."""
    return {name: zoo.load(FOLDER / f"matconvnet_{name}.mat") for name in NETS}


def layers(name):
    """Lists the layers whose values are known."""
    return [key.partition("/")[2] for key in WANTED if key.startswith(f"{name}/") and not key.endswith("/x")]


@pytest.fixture(scope="module")
def found(loaded):
    """What every layer of the networks computes, as one program each."""
    results = {}
    for name, one in loaded.items():
        model = one.model.clone(outputs=tuple(layers(name)))
        results[name] = jax.jit(model.apply)(one.variables, WANTED[f"{name}/x"])
    return results


@pytest.mark.parametrize(("name", "layer"), [(name, layer) for name in NETS for layer in layers(name)])
def test_layer(found, name, layer):
    got, want = np.asarray(found[name][layer]), WANTED[f"{name}/{layer}"]
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


def test_what_the_networks_say(loaded):
    simple, dag, old = loaded["simple"], loaded["dag"], loaded["old"]
    assert simple.activation == dag.activation == "probabilities"
    assert old.activation == "logits"
    assert simple.labels == ("cat", "dog", "eel", "fox", "gnu")
    assert simple.input_shape == (7, 8, 4)
    assert dag.model.graph.outputs == ("prob",)
    assert simple.model.graph.find_value("x3") == "relu1"
    assert dag.model.graph.find_value("v_cat") == "cat"
    assert "Layer 'loss' (softmaxloss) compares with labels and was left off." in simple.provenance["notes"]
    assert "Layer 'loss' (dagnn.Loss) compares with labels and was left off." in dag.provenance["notes"]
    ops = {node.name: node for node in simple.model.graph.nodes}
    assert ops["dw"].op == "depthwise_conv"
    assert ops["bn1"].options["momentum"] == 0.95
    assert ops["bn1"].options["epsilon"] == 1e-3
    shapes = jax.tree.map(jnp.shape, dag.variables)
    assert shapes["params"]["shared1"] == {"kernel": (3, 3, 4, 4)}
    assert "shared2" not in shapes["params"], "layers that share a parameter share it here too"
    assert shapes["batch_stats"] == {"bn1": {"mean": (4,), "var": (4,)}}


def test_statistics_follow_the_batch(loaded):
    one, x = loaded["simple"], WANTED["simple/x"]
    model = one.model.clone(outputs=("prob",))
    apply = jax.jit(
        lambda variables, key: model.apply(variables, x, train=True, rngs={"dropout": key}, mutable="batch_stats")
    )
    _, new = apply(one.variables, jax.random.key(0))
    conv1 = WANTED["simple/conv1"]
    before = one.variables["batch_stats"]["bn1"]["mean"]
    want = 0.95 * np.asarray(before) + 0.05 * conv1.mean((0, 1, 2))
    np.testing.assert_allclose(new["batch_stats"]["bn1"]["mean"], want, rtol=1e-4, atol=1e-6)


def test_new_head(loaded):
    new = loaded["simple"].with_head(jax.random.key(0), 3)
    assert new.activation == "logits"
    assert jax.eval_shape(new.model.apply, new.variables, WANTED["simple/x"]).shape == (2, 3)


def net(*described, **rest):
    """Describes a SimpleNN."""
    return {"net": {"layers": list(described), **rest}}


def conv(*shape, **options):
    """Describes a convolution of ones."""
    return {"type": "conv", "weights": [np.ones(shape, np.float32), np.zeros((1, shape[3]), np.float32)], **options}


def load(tmp_path, variables, form="v7"):
    return zoo.load(write(tmp_path / "net.mat", form, variables))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            {"imageSize": np.array([4.0, 4, 3]), "averageImage": np.array([1.0, 2, 3]), "border": np.array([2.0, 2])},
            {"size": 4, "resize": 6, "keep_aspect": True, "mean": (1.0, 2.0, 3.0)},
        ),
        (
            {"imageSize": np.array([4.0, 4, 3]), "cropSize": np.float64(0.5), "interpolation": "bicubic"},
            {"size": 4, "resize": 8, "keep_aspect": True, "interpolation": "bicubic"},
        ),
        (
            {"imageSize": np.array([4.0, 4, 3]), "cropSize": np.float64(0.5), "keepAspect": np.bool_(False)},
            {"size": 4, "crop_fraction": 0.5, "keep_aspect": False},
        ),
        (
            {"imageSize": np.array([4.0, 4]), "averageImage": np.ones((1, 1, 3)) * 9, "keepAspect": np.bool_(False)},
            {"size": 4, "resize": 4, "keep_aspect": False, "mean": (9.0, 9.0, 9.0)},
        ),
        ({"imageSize": np.array([4.0, 6, 3])}, {"keep_aspect": True}),
    ],
)
def test_preprocessing(tmp_path, said, expected):
    one = load(tmp_path, net(conv(4, 4, 3, 2), meta={"normalization": said}))
    fixed = {"color_order": "RGB", "value_range": (0, 255), "antialias": True}
    assert one.preprocessing == zoo.Preprocessing(**fixed, **expected)
    assert one.mean_image is None


def test_mean_image_is_subtracted(tmp_path):
    mean = np.arange(48, dtype=np.float32).reshape(4, 4, 3)
    one = load(
        tmp_path,
        net(conv(4, 4, 3, 2), meta={"normalization": {"imageSize": np.array([4.0, 4, 3]), "averageImage": mean}}),
    )
    image = np.full((4, 4, 3), 100, np.uint8)
    np.testing.assert_allclose(one.preprocess(image), 100 - mean)


def test_what_a_record_leaves_open_is_read_from_the_file(tmp_path, monkeypatch):
    record = zoo.record("matconvnet/imagenet-vgg-f")
    assert record.preprocessing is not None
    assert record.preprocessing.mean is None
    monkeypatch.setattr(weight_records, "find", lambda name: record)
    said = {"imageSize": np.array([4.0, 4, 3]), "averageImage": np.array([1.0, 2, 3]), "border": np.array([2.0, 2])}
    one = load(tmp_path, net(conv(4, 4, 3, 2), meta={"normalization": said}))
    assert one.preprocessing is not None
    assert one.preprocessing.mean == (1.0, 2.0, 3.0)
    assert one.preprocessing.resize == 6
    assert one.preprocessing.std == record.preprocessing.std


def test_groups_of_layers_in_no_order(tmp_path):
    described = (
        layer("grouped", "dagnn.Conv", ["four"], ["y"], ["f"]),
        layer("join", "dagnn.Concat", ["two", "two"], ["four"]),
        layer("first", "dagnn.Conv", ["x"], ["two"], ["f"]),
    )
    one = load(tmp_path, dag(*described))
    got = one.model.apply(one.variables, np.array([[[[1.0, 2.0]]]], np.float32))
    assert np.asarray(got).ravel().tolist() == [6, 6], "two groups of two channels"


def test_moments_below_epsilon_keep_the_quotient(tmp_path):
    moments = np.array([[0.5, 1e-3], [1.0, 2.0]], np.float32)
    layer = {"type": "bnorm", "weights": [np.ones((2, 1), np.float32), np.zeros((2, 1), np.float32), moments]}
    one = load(tmp_path, net(conv(1, 1, 2, 2), layer))
    x = np.array([[[[0.25, 3.0]]]], np.float32)
    got = untyped(one.model.apply(one.variables, x))
    np.testing.assert_allclose(got[0, 0, 0], (x.sum() - moments[:, 0]) / moments[:, 1], rtol=1e-5)
    assert (np.asarray(one.variables["batch_stats"]["layer2"]["var"]) >= 0).all()


@needs_data
@pytest.mark.parametrize(
    ("file", "residual", "expected"),
    [
        ("dncnn_sigma25_merged.mat", True, 30.09),
        pytest.param("dncnn_dagnn_epoch50.mat", False, 30.11, marks=pytest.mark.nightly),
    ],
)
def test_real_networks_remove_noise(file, residual, expected):
    """The first of the twelve images; all of them are in the benchmark."""
    image_file = pytest.importorskip("PIL.Image")
    one = zoo.load(DATA / "matconvnet" / file)
    clean = np.asarray(image_file.open(DATA / "matconvnet" / "Set12" / "01.png"), np.float32) / 255
    noisy = clean + np.random.default_rng(0).normal(0, 25 / 255, clean.shape).astype(np.float32)
    out = np.asarray(jax.jit(one.model.apply)(one.variables, noisy[None, ..., None]))[0, ..., 0]
    denoised = noisy - out if residual else out
    assert abs(10 * np.log10(1 / np.mean((denoised - clean) ** 2)) - expected) < 0.05


# What is wrong.


def layer(name, kind, inputs, outputs, params=(), **block):
    """Describes a layer of a DagNN."""
    block = block or {"opts": []}
    described = {"name": name, "type": kind, "inputs": list(inputs), "outputs": list(outputs), "params": list(params)}
    return described | {"block": block}


def dag(*described):
    """Describes a DagNN with one parameter, 'f'."""
    params = Records([{"name": "f", "value": np.ones((1, 1, 2, 2), np.float32)}])
    return {"net": {"layers": Records(described), "params": params, "vars": [], "meta": {}}}


FAULTS = {
    "unknown": (
        net({"type": "custom", "name": "mine"}, conv(1, 1, 2, 2), {"type": "resample"}),
        r"has operations that are not supported: custom \(node 1, 'mine'\); resample \(node 3, 'layer3'\)\.",
    ),
    "unknown of a graph": (
        dag(layer("s", "dagnn.BilinearSampler", ["x", "g"], ["y"])),
        r"dagnn\.BilinearSampler \(node 1, 's'\)",
    ),
    "channels": (
        net(conv(1, 1, 2, 4), conv(1, 1, 3, 2)),
        r"layer 'layer2' \(conv\): it reads 4 channels with a kernel of shape \(1, 1, 3, 2\)",
    ),
    "stride": (
        net(conv(1, 1, 2, 4, stride=np.float64(0))),
        r"layer 'layer1' \(conv\): stride must be 1 or 2 integers in",
    ),
    "pad": (net(conv(1, 1, 2, 4, pad=np.array([0.0, -1, 0, 0]))), r"pad must be 1 or 2 or 4 integers"),
    "text": (net(conv(1, 1, 2, 4, pad="same")), r"pad must be .*, got 'same'"),
    "array": (net(conv(1, 1, 2, 4, pad=np.ones((9, 9)))), r"pad must be"),
    "half": (net(conv(1, 1, 2, 4, stride=np.float64(1.5))), r"stride must be"),
    "method": (
        net(conv(1, 1, 2, 2), {"type": "pool", "pool": np.float64(2), "method": "median"}),
        r"method must be 'max' or 'avg'",
    ),
    "rate": (net(conv(1, 1, 2, 2), {"type": "dropout", "rate": np.float64(2)}), r"rate must be in \[0, 1\], got 2"),
    "too small": (
        net(conv(9, 9, 3, 2), meta={"normalization": {"imageSize": np.array([4.0, 4, 3])}}),
        r"has an inconsistent network: node 'layer1' \(conv\)",
    ),
    "absurd": (
        net(conv(1, 1, 3, 2, pad=np.float64(2**20)), meta={"normalization": {"imageSize": np.array([4.0, 4, 3])}}),
        r"its output 'layer1' would have the shape",
    ),
    "only a loss": (net({"type": "softmaxloss", "weights": [np.ones((2, 2))]}), "has no layers"),
    "behind a loss": (net(conv(1, 1, 2, 2), {"type": "loss"}, conv(1, 1, 2, 2)), r"reads 'x2', the output of a loss"),
    "a cycle": (
        dag(layer("a", "dagnn.Sum", ["x", "w"], ["v"]), layer("b", "dagnn.ReLU", ["v"], ["w"])),
        r"layer 'a' \(dagnn\.Sum\) is part of a cycle",
    ),
    "one name": (
        dag(layer("a", "dagnn.ReLU", ["x"], ["v"]), layer("a", "dagnn.ReLU", ["v"], ["w"])),
        "has two layers named 'a'",
    ),
    "one output": (
        dag(layer("a", "dagnn.ReLU", ["x"], ["v"]), layer("b", "dagnn.ReLU", ["x"], ["v"])),
        "layer 'b' writes 'v', as another layer does",
    ),
    "no parameter": (
        dag(layer("a", "dagnn.Conv", ["x"], ["v"], ["g"])),
        r"layer 'a' \(dagnn\.Conv\): its filters must be an array of 4 axes, got none",
    ),
    "no inputs": (dag(layer("a", "dagnn.Conv", [], ["v"], ["f"])), "has no layer that reads an input"),
    "sums": (
        dag(
            layer("a", "dagnn.Conv", ["x"], ["v"], ["f"]),
            layer("b", "dagnn.Concat", ["v", "v"], ["w"]),
            layer("c", "dagnn.Concat", ["w", "v"], ["y"]),
            layer("d", "dagnn.Sum", ["y", "w"], ["z"]),
        ),
        r"layer 'd' \(dagnn\.Sum\): it adds variables of 6 and 4 channels",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_error_names_the_layer(tmp_path, fault):
    variables, message = FAULTS[fault]
    with pytest.raises(zoo.FormatError, match=message):
        load(tmp_path, variables)


@pytest.mark.parametrize("name", NETS)
def test_damaged_descriptions_are_refused(name):
    path = FOLDER / f"matconvnet_{name}.mat"
    outcome = hostile_graphs.fuzz_graph(import_matconvnet, path, zoo.read(path), cases=40)
    assert outcome.refused > 5


def test_a_million_layers_are_refused():
    for name in ("simple", "dag"):
        path = FOLDER / f"matconvnet_{name}.mat"
        hostile_graphs.refuse_many_nodes(import_matconvnet, path, zoo.read(path))


def test_errors_of_descriptions_that_are_none():
    path = FOLDER / "matconvnet_simple.mat"
    for graph in ({}, {"layers": 3}, {"layers": [3]}, {"layers": []}, {"layers": [{"type": 3}]}):
        with pytest.raises(zoo.FormatError):
            import_matconvnet(path, dataclasses.replace(zoo.read(path), graph=graph))
