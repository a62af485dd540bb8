"""Networks of Keras run as Keras runs them: every layer, both orders of axes, all versions, damaged ones."""

import io
import json
import zipfile

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import zoo
from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.graphs.keras.importing import import_keras
from tests.support import hostile_graphs
from tests.support.paths import FIXTURES
from tests.support.real_data import DATA, needs_data
from tests.support.untyped import untyped

FOLDER = FIXTURES / "graphs" / "keras"
NIGHTLY = [f"{name}_first" for name in ("operations", "merging", "noise", "rectifiers", "normalization", "volume")]
NAMES = [
    pytest.param(path.stem, marks=[pytest.mark.nightly] * (path.stem in NIGHTLY))
    for path in sorted(FOLDER.glob("*.zip"))
]


def unpack(name, folder):
    """Returns the path of a stored model, its inputs and its outputs."""
    with zipfile.ZipFile(FOLDER / f"{name}.zip") as archive:
        member = next(one for one in archive.namelist() if one.startswith("model"))
        path = folder / f"{name}{member.removeprefix('model')}"
        path.write_bytes(archive.read(member))
        arrays = np.load(io.BytesIO(archive.read("arrays.npz")))
        arrays = {key: arrays[key] for key in arrays.files}
    return path, [[arrays[f"{kind}{i}"] for i in range(len(arrays)) if f"{kind}{i}" in arrays] for kind in "xy"]


def to_last(array, first):
    return np.moveaxis(array, 1, -1) if first and array.ndim > 2 else array


def run(pretrained, inputs):
    """Computes the outputs in the order of the file."""
    graph = pretrained.model.graph
    x = {one.name: array for one, array in zip(graph.inputs, inputs, strict=True)}
    found = jax.jit(pretrained.model.apply)(pretrained.variables, x)
    return [found[name] for name in graph.outputs] if isinstance(found, dict) else [found]


def close(got, wanted, tolerance=1e-5):
    assert got.shape == wanted.shape
    assert np.abs(np.asarray(got) - wanted).max() <= tolerance * max(np.abs(wanted).max(), 1e-6)


UNORDERED = ("normalization_first", "rectifiers_first", "preprocessing_first")
"""Models whose first layers state no order of axes, or channels last."""


@pytest.mark.parametrize("name", NAMES)
def test_stored_models_compute_what_keras_computes(name, tmp_path):
    path, (inputs, outputs) = unpack(name, tmp_path)
    pretrained = zoo.load(path)
    first = name.endswith("_first")
    shapes = [one.shape for one in pretrained.model.graph.inputs]
    moved = [first and x.shape[1:] != shape for x, shape in zip(inputs, shapes, strict=True)]
    assert all(moved) or not first or name in UNORDERED
    got = run(pretrained, [to_last(x, one) for x, one in zip(inputs, moved, strict=True)])
    assert len(got) == len(outputs)
    if name.startswith("nested"):  # outputs that Keras orders by their keys
        got, outputs = (sorted(one, key=lambda array: array.ndim) for one in (got, outputs))
    for a, b in zip(got, outputs, strict=True):
        close(a if a.shape == b.shape else np.moveaxis(a, -1, 1), b)


def test_parameters_taps_and_shared_layers(tmp_path):
    path, (inputs, _) = unpack("nested", tmp_path)
    pretrained = zoo.load(path)
    params = pretrained.variables["params"]
    assert params["inner"]["shared"]["kernel"].shape == (3, 3, 4, 4), "once, though called four times"
    deep = next(name for name in params["inner"] if name.startswith("sequential"))
    assert set(params["inner"][deep]) == {"c", "bn"} and set(params["c"]) == {"kernel", "bias"}
    assert set(pretrained.variables["batch_stats"]["inner"][deep]["bn"]) == {"mean", "var"}
    tapped = pretrained.model.clone(outputs=("sum", "inner/shared", "shared", "c"))
    found = untyped(tapped.apply(pretrained.variables, inputs[0]))
    assert found["sum"].shape == (2, 9, 11, 4) and found["c"].shape == (2, 3)
    np.testing.assert_array_equal(found["inner/shared"], found["shared"])


def test_one_example_bfloat16_gradients_and_training(tmp_path):
    path, (inputs, outputs) = unpack("classic", tmp_path)
    pretrained = zoo.load(path)
    model, variables = pretrained.model, pretrained.variables
    assert pretrained.activation == "probabilities" and pretrained.preprocessing is None
    narrow = model.clone(dtype=jnp.bfloat16)
    one, half = jax.jit(lambda v, x: (model.apply(v, x[0]), narrow.apply(v, x)))(variables, inputs[0])
    close(one, outputs[0][0])
    assert half.dtype == jnp.bfloat16
    close(half.astype(jnp.float32), outputs[0], 0.05)

    def loss(params):
        y, new = model.apply({**variables, "params": params}, inputs[0], train=True, mutable=["batch_stats"])
        return (y**2).sum(), new

    gradients, new = jax.jit(jax.grad(loss, has_aux=True))(variables["params"])
    assert all(np.abs(leaf).max() > 0 for leaf in jax.tree.leaves(gradients["conv"]))
    conv = untyped(jax.jit(model.clone(outputs=("conv",)).apply)(variables, inputs[0]))
    old = variables["batch_stats"]["norm"]["mean"]
    close(new["batch_stats"]["norm"]["mean"], np.asarray(0.99 * old + 0.01 * conv.mean((0, 1, 2))), 1e-4)
    head = pretrained.with_head(jax.random.key(0), 7)
    assert jax.eval_shape(head.model.apply, head.variables, inputs[0]).shape == (2, 7)


# Keras 1 and 2: the stored model "classic" as these versions describe it.


def layer(kind, name, *inbound, **config):
    nodes = [[[one, 0, 0] for one in inbound]] if inbound else []
    return {"class_name": kind, "name": name, "config": {"name": name, **config}, "inbound_nodes": nodes}


def classic_1(order):
    axis = 1 if order == "th" else -1
    shape = [None, 4, 9, 11] if order == "th" else [None, 9, 11, 4]
    dims = {"dim_ordering": order}
    conv = {"nb_filter": 5, "bias": True, **dims}
    layers = [
        layer("InputLayer", "image", batch_input_shape=shape, input_dtype="float32"),
        layer("ZeroPadding2D", "pad", "image", padding=[1, 1], **dims),
        layer("Convolution2D", "conv", "pad", nb_row=3, nb_col=3, subsample=[2, 2], activation="relu", **conv),
        layer("BatchNormalization", "norm", "conv", axis=axis, mode=0, epsilon=0.001, momentum=0.99),
        layer("Convolution2D", "side", "norm", nb_row=1, nb_col=3, border_mode="same", activation="linear", **conv),
        layer("Activation", "gate", "side", activation="hard_sigmoid"),
        layer("Merge", "sum", "norm", "gate", mode="sum", mode_type="raw", concat_axis=-1, dot_axes=-1),
        layer("Merge", "both", "sum", "gate", mode="concat", mode_type="raw", concat_axis=axis, dot_axes=-1),
        layer("MaxPooling2D", "pool", "both", pool_size=[2, 2], strides=[2, 2], border_mode="valid", **dims),
        layer("Flatten", "flat", "pool"),
        layer("Dense", "dense", "flat", output_dim=3, activation="softmax", bias=True),
    ]
    ends = {"input_layers": [["image", 0, 0]], "output_layers": [["dense", 0, 0]]}
    return {"class_name": "Model", "config": {"name": "classic", "layers": layers, **ends}}


def write(path, config, layers, version, backend="tensorflow"):
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        file.attrs["keras_version"], file.attrs["backend"] = version, backend
        holder = file.create_group("model_weights")
        holder.attrs["layer_names"] = list(layers)
        for name, weights in layers.items():
            group = holder.create_group(name)
            group.attrs["weight_names"] = list(weights)
            for key, array in weights.items():
                group[key] = array
    return path


OLD = {"kernel": "W", "bias": "b", "gamma": "gamma", "beta": "beta", "moving_mean": "running_mean"}
OLD |= {"moving_variance": "running_std"}


@pytest.mark.parametrize("order", ["th", "tf"])
def test_keras_1(order, tmp_path):
    stored, (inputs, outputs) = unpack("classic_first" if order == "th" else "classic", tmp_path)
    tensors = zoo.read(stored).tensors
    layers: dict = {}
    for name, array in tensors.items():
        owner, role = name.split("/")
        if order == "th" and array.ndim == 4:
            array = array.transpose(3, 2, 0, 1)
        if order == "th" and name == "dense/kernel":  # Keras 1 flattens (c, h, w)
            array = array.reshape(2, 3, 10, 3).transpose(2, 0, 1, 3).reshape(60, 3)
        layers.setdefault(owner, {})[f"{owner}_{OLD[role]}:0"] = array
    path = write(tmp_path / "old.h5", classic_1(order), layers, "1.2.2")
    pretrained = zoo.load(path)
    if order == "tf":  # the slope of hard_sigmoid differs in Keras 3
        assert next(n for n in pretrained.model.graph.nodes if n.op == "hard_sigmoid").options["slope"] == 0.2
    graph = json.loads(pretrained.model.graph.to_json().replace('"slope": 0.2', f'"slope": {1 / 6}'))
    model = pretrained.model.clone(graph=type(pretrained.model.graph).from_json(json.dumps(graph)))
    x = to_last(inputs[0], order == "th")
    close(jax.jit(model.apply)(pretrained.variables, x), outputs[0])


def chain_1():
    """A sequential model of Keras 1 that begins with two branches; its configuration is a bare list."""
    conv = {"nb_row": 1, "nb_col": 1, "nb_filter": 3, "dim_ordering": "tf", "bias": True, "activation": "linear"}
    branches = [
        {
            "class_name": "Sequential",
            "config": [layer("Convolution2D", name, batch_input_shape=[None, 4, 4, 2], **conv)],
        }
        for name in ("left", "right")
    ]
    merge = {"class_name": "Merge", "config": {"layers": branches, "mode": "mul", "name": "merge"}}
    rest = [layer("Flatten", "flat"), layer("Dense", "dense", output_dim=2, activation="linear", bias=False)]
    return {"class_name": "Sequential", "config": [merge, *rest]}


def test_branches_of_keras_1(tmp_path):
    random = np.random.default_rng(0)
    k1, k2 = random.normal(size=(2, 1, 1, 2, 3)).astype(np.float32)
    b1, b2 = random.normal(size=(2, 3)).astype(np.float32)
    w = random.normal(size=(48, 2)).astype(np.float32)
    layers = {"left": {"left_W": k1, "left_b": b1}, "right": {"right_W": k2, "right_b": b2}, "dense": {"dense_W": w}}
    pretrained = zoo.load(write(tmp_path / "m.h5", chain_1(), layers, "1.0.8"))
    x, y = random.normal(size=(2, 5, 4, 4, 2)).astype(np.float32)
    wanted = ((x @ k1[0, 0] + b1) * (y @ k2[0, 0] + b2)).reshape(5, -1) @ w
    (got,) = run(pretrained, [x, y])
    close(got, wanted)


def nested_2(name, trainable=True):
    """A nested model of Keras 2 whose tensors are only known by their order."""
    layers = [
        layer("Conv2D", f"{name}_c", filters=2, kernel_size=[1, 1], trainable=trainable, use_bias=True),
        layer("BatchNormalization", f"{name}_n", axis=[3], epsilon=0.001, trainable=trainable),
        layer("Conv2D", f"{name}_d", filters=2, kernel_size=[1, 1], trainable=trainable, use_bias=False),
    ]
    return {"class_name": "Sequential", "config": {"name": name, "layers": layers}}


@pytest.mark.parametrize("trainable", [True, False])
def test_tensors_of_nested_models_by_order(tmp_path, trainable):
    random = np.random.default_rng(0)
    kernel, bias, last = (random.normal(size=s).astype(np.float32) for s in ((1, 1, 2, 2), (2,), (1, 1, 2, 2)))
    gamma, beta, mean, variance = random.uniform(0.5, 1, (4, 2)).astype(np.float32)
    arrays = [kernel, bias, gamma, beta, last, mean, variance]
    if not trainable:
        arrays = [kernel, bias, gamma, beta, mean, variance, last]
    call = [[["inner", 1, 0, {}]]]
    nodes = {**nested_2("inner", trainable), "name": "inner", "inbound_nodes": [[["x", 0, 0, {}]], *call]}
    layers = [layer("InputLayer", "x", batch_input_shape=[None, 3, 3, 2]), nodes]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["inner", 2, 0]]}
    config = {"class_name": "Functional", "config": {"name": "m", "layers": layers, **ends}}
    weights = {"inner": {f"variable_{i}:0": array for i, array in enumerate(arrays)}}
    pretrained = zoo.load(write(tmp_path / "m.h5", config, weights, "2.4.0"))
    x = random.normal(size=(2, 3, 3, 2)).astype(np.float32)
    wanted = x
    for _ in range(2):
        y = (wanted @ kernel[0, 0] + bias - mean) / np.sqrt(variance + 0.001) * gamma + beta
        wanted = y @ last[0, 0]
    close(run(pretrained, [x])[0], wanted)
    assert set(pretrained.variables["params"]["inner"]) == {"inner_c", "inner_n", "inner_d"}


def test_functions_of_tensorflow_in_layers(tmp_path):
    def function(kind, title, reads, what, **kwargs):
        node = layer(kind, title, function=what)
        return {**node, "inbound_nodes": [[reads, 0, 0, kwargs]]}

    whole = {"start": None, "stop": None, "step": None}
    key = [whole, {**whole, "start": 1}, 0]
    layers = [
        layer("InputLayer", "x", batch_input_shape=[None, 4, 4, 3]),
        function("TFOpLambda", "scale", "x", "math.truediv", y=127.5, name=None),
        function("TFOpLambda", "shift", "scale", "__operators__.sub", y=1.0),
        function("TFOpLambda", "twice", "shift", "math.multiply", y=["scale", 0, 0], name=None),
        function("TFOpLambda", "relu", "twice", "nn.relu6"),
        function("SlicingOpLambda", "cut", "relu", "__operators__.getitem", slice_spec=key),
        function("TFOpLambda", "mean", "cut", "math.reduce_mean", axis=[1], keepdims=False),
        {**layer("Dense", "dense", units=2), "inbound_nodes": [[["mean", 0, 0, {}]]]},
    ]
    ends = {"input_layers": [["x", 0, 0]], "output_layers": [["dense", 0, 0]]}
    config = {"class_name": "Functional", "config": {"name": "m", "layers": layers, **ends}}
    kernel, bias = np.arange(6, dtype=np.float32).reshape(3, 2), np.ones(2, np.float32)
    weights = {"dense": {"dense/kernel:0": kernel, "dense/bias:0": bias}}
    pretrained = zoo.load(write(tmp_path / "m.h5", config, weights, "2.8.0"))
    x = np.random.default_rng(0).uniform(0, 255, (2, 4, 4, 3)).astype(np.float32)
    relu = np.clip((x / 127.5 - 1) * (x / 127.5), 0, 6)
    close(run(pretrained, [x])[0], relu[:, 1:, 0].mean(1) @ kernel + bias)


# What is refused.


def changed(name, tmp_path, change):
    """The stored model with a changed configuration."""
    path, _ = unpack(name, tmp_path)
    checkpoint = zoo.read(path)
    graph = json.loads(json.dumps(checkpoint.graph))
    tensors = dict(checkpoint.tensors)
    change({one["config"]["name"]: one for one in graph["config"]["layers"]}, tensors, graph)
    return lambda: import_keras(path, Checkpoint(tensors, checkpoint.metadata, graph))


def unknown(layers, tensors, graph):
    layers["sum"]["class_name"], layers["pool"]["class_name"] = "Lambda", "Mystery"


def cycle(layers, tensors, graph):
    layers["norm"]["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["pool", 0, 0]


def missing_layer(layers, tensors, graph):
    layers["norm"]["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["nothing", 0, 0]


def missing_call(layers, tensors, graph):
    layers["norm"]["inbound_nodes"][0]["args"][0]["config"]["keras_history"] = ["conv", 7, 0]


def twice(layers, tensors, graph):
    graph["config"]["layers"].append(layers["norm"])


def no_weights(layers, tensors, graph):
    del tensors["conv/kernel"]
    tensors["dense/kernel"] = tensors["dense/kernel"][:, :2]


def wrong_option(layers, tensors, graph):
    layers["conv"]["config"]["strides"] = [2, -1]


def misfit(layers, tensors, graph):
    tensors["side/kernel"] = tensors["side/kernel"][:, :, :3]


REFUSED = {
    "unknown": (unknown, r"'sum'.*Lambda|Lambda.*'sum'"),
    "cycle": (cycle, "has layers that form a cycle, of which '"),
    "missing layer": (missing_layer, "'norm' that reads the layer 'nothing'"),
    "missing call": (missing_call, "call 7 of the layer 'conv'"),
    "twice": (twice, "two layers named 'norm'"),
    "weights": (no_weights, r"'conv/kernel' .3, 3, any, 5. is missing; 'dense/kernel' must be .any, 3. and is .60"),
    "option": (wrong_option, r"'conv' \(Conv2D\) of which strides must be 2 integers of at least 1"),
    "misfit": (misfit, "node 'side/conv'"),
}


@pytest.mark.errors
@pytest.mark.parametrize("what", REFUSED)
def test_error_of_inconsistent_models(what, tmp_path):
    change, message = REFUSED[what]
    with pytest.raises(zoo.FormatError, match=message) as caught:
        changed("classic", tmp_path, change)()
    assert what != "unknown" or "Mystery" in str(caught.value)


@pytest.mark.errors
def test_error_of_models_in_models_without_end(tmp_path):
    path, _ = unpack("classic", tmp_path)
    inner = layer("InputLayer", "x", batch_input_shape=[None, 2])
    inner = {"class_name": "Functional", "config": {"name": "m0", "layers": [inner, layer("ReLU", "r", "x")]}}
    inner["config"] |= {"input_layers": [["x", 0, 0]], "output_layers": [["r", 0, 0]]}
    for level in range(1, 40):  # each calls the one in it twice
        name = f"m{level - 1}"
        nodes = [[["x", 0, 0]], [[name, 1, 0]]]
        layers = [
            layer("InputLayer", "x", batch_input_shape=[None, 2]),
            {**inner, "name": name, "inbound_nodes": nodes},
        ]
        ends = {"input_layers": [["x", 0, 0]], "output_layers": [[name, 2, 0]]}
        inner = {"class_name": "Functional", "config": {"name": f"m{level}", "layers": layers, **ends}}
    with pytest.raises(zoo.FormatError, match="calls more than 100,000 layers"):
        import_keras(path, Checkpoint({}, {"format": "keras-h5"}, inner))


@pytest.mark.errors
@pytest.mark.parametrize("name", ["classic", "nested_first", "operations"])
def test_error_of_changed_descriptions(name, tmp_path):
    path, _ = unpack(name, tmp_path)
    outcome = hostile_graphs.fuzz_graph(import_keras, path, zoo.read(path), cases=25)
    assert outcome.imported and outcome.refused


@pytest.mark.errors
def test_error_of_a_million_layers(tmp_path):
    path, _ = unpack("classic", tmp_path)
    hostile_graphs.refuse_many_nodes(import_keras, path, zoo.read(path))


# Real files.


@pytest.mark.nightly
@needs_data
def test_mobilenet_of_keras_applications():
    pretrained = zoo.load(DATA / "keras" / "mobilenet_v1_0.25_224_imagenet.h5")
    assert pretrained.activation == "probabilities"
    assert sum(leaf.size for leaf in jax.tree.leaves(pretrained.variables)) == 475_544
    x = np.random.default_rng(0).uniform(-1, 1, (1, 128, 128, 3)).astype(np.float32)
    (y,) = run(pretrained, [x])
    assert y.shape == (1, 1000) and abs(y.sum() - 1) < 1e-5


@needs_data
@pytest.mark.nightly
@pytest.mark.parametrize("name", ["fer2013_mini_XCEPTION.102-0.66.hdf5", "mlperftiny_cifar10_resnet8.h5"])
def test_real_models_equal_keras(name):
    keras = pytest.importorskip("keras")
    pretrained = zoo.load(DATA / "keras" / name)
    x = np.random.default_rng(0).uniform(-1, 1, (2, *untyped(pretrained.input_shape))).astype(np.float32)
    with jax.numpy_rank_promotion("allow"):
        wanted = keras.models.load_model(DATA / "keras" / name, compile=False).predict_on_batch(x)
    close(run(pretrained, [x])[0], np.asarray(wanted), 1e-4)
