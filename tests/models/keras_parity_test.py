"""Models against ``keras.applications`` with the same random weights, and mini-Xception with real ones."""

import json
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from tests.support.real_data import DATA
from tests.support.selection import daily
from tests.support.untyped import untyped

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras")

FACES = DATA / "keras" / "fer2013_mini_XCEPTION.102-0.66.hdf5"
FACES_SIZES = [((64, 64), False), ((49, 54), False), ((33, 30), True)]  # and whether to train

LEAVES = {"scale": "gamma", "mean": "moving_mean", "var": "moving_variance"}
NAMES = {
    # patterns of our modules -> the layer of Keras
    "xception": [
        (r"conv(\d)(_bn)?", r"block1_conv\1\2"),
        (r"block(\d+)/(sepconv\d)(_bn)?", r"block\1_\2\3"),
        (r"head", "predictions"),
    ],
}


MIDDLE_BLOCKS = 2  # of Xception's 8, all alike, and most of the time of compilation


def layer_name(name: str, module: str, left_out: int) -> str:
    """Returns the name of Keras's layer for one of our modules; the middle blocks left out keep their numbers there."""
    if name == "xception" and (match := re.match(r"block(\d+)", module)) and int(match[1]) > 12 - left_out:
        module = f"block{int(match[1]) + left_out}{module[match.end() :]}"
    for pattern, replacement in NAMES[name]:
        if match := re.fullmatch(pattern, module):
            return match.expand(replacement)
    raise KeyError(module)


def randomise(net, seed: int) -> None:
    """Assigns every variable values under which signals neither die nor explode, and no two channels are alike."""
    rng = np.random.default_rng(seed)
    for variable in net.variables:
        kind, shape = variable.path.rpartition("/")[2], tuple(variable.shape)
        if kind in ("gamma", "moving_variance"):
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) == 1:
            value = rng.uniform(-0.3, 0.3, shape)
        else:
            depthwise = "depthwise" in variable.path or "_dw_" in variable.path
            fan = np.prod(shape[:2]) if depthwise else np.prod(shape[:-1])
            value = rng.standard_normal(shape, np.float32) * np.sqrt(2 / fan)
        variable.assign(value.astype(np.float32))


def values_of(net) -> dict[tuple[str, str], np.ndarray]:
    """Returns Keras's variables by layer and kind."""
    found = {}
    for layer in net.layers:
        for variable in layer.variables:
            kind = variable.path.rpartition("/")[2]
            found[layer.name, kind] = np.asarray(variable.value)
    return found


def shortcuts(net) -> list[str]:
    """Lists the layers of the projections, which Keras only numbers, in order."""
    return [layer.name for layer in net.layers if re.fullmatch(r"(conv2d|batch_normalization)(_\d+)?", layer.name)]


def copied(name: str, net, model, shape):
    """Returns our variables with Keras's values; each of these is used once."""
    tree = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
    values, unnamed = values_of(net), {}
    left_out = 8 - getattr(model, "middle_blocks", 8)
    convolutions = [layer for layer in shortcuts(net) if layer.startswith("conv")]
    norms = [layer for layer in shortcuts(net) if layer.startswith("batch")]
    blocks = [module for module in tree["params"] if "shortcut" in tree["params"][module]]
    blocks.sort(key=lambda module: int(module.removeprefix("block")))
    for block, convolution, norm in zip(blocks, convolutions, norms, strict=True):
        unnamed |= {f"{block}/shortcut": convolution, f"{block}/shortcut_bn": norm}

    def fill(path, leaf):
        _, *modules, kind = (step.key for step in path)
        module = "/".join(modules)
        kind = "beta" if kind == "bias" and module.endswith("_bn") else LEAVES.get(kind, kind)
        value = values.pop((unnamed.get(module) or layer_name(name, module, left_out), kind))
        assert value.shape == leaf.shape, (module, kind)
        return jnp.asarray(value)

    filled = jax.tree_util.tree_map_with_path(fill, tree)
    assert not [key for key in values if "seed_generator_state" not in key], "values of Keras that have no place"
    return filled


def close(got, want, tolerance=1e-4):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape
    assert float(np.abs(got - want).max()) < tolerance * float(np.abs(want).max())


def run(net, x, *, train: bool):
    """Returns the output of Keras's network and its other variables afterwards."""
    arrays = ([v.value for v in part] for part in (net.trainable_variables, net.non_trainable_variables))
    with jax.numpy_rank_promotion("allow"):
        return jax.jit(lambda *arguments: net.stateless_call(*arguments, training=train))(*arrays, x)


def build(name: str, shape, classes: int, **options):
    """Builds Keras's network; ``randomise`` gives its variables their first values."""
    keras.backend.clear_session()
    known = {"xception": "Xception"}
    with keras.StatelessScope(initialize_variables=False):  # to draw values that are not used takes long
        net = getattr(keras.applications, known[name])(
            weights=None, input_shape=shape, classes=classes, classifier_activation=None, **options
        )
    keras.backend.clear_session()  # else it would draw them later
    return net


CASES = [
    # name, sizes, options of Keras and of ours
    ("xception", [(71, 74)], {}, {"middle_blocks": MIDDLE_BLOCKS}),
]


DAILY = (("xception", (71, 74)),)  # the other one equals torchvision's daily


@pytest.mark.parametrize(
    ("name", "size", "theirs", "ours"),
    [
        *[
            pytest.param(name, size, *options, marks=[] if (name, size) in DAILY else pytest.mark.nightly)
            for name, sizes, *options in CASES
            for size in sizes
        ],
        pytest.param("xception", (71, 74), {}, {}, marks=pytest.mark.nightly),
    ],
)
def test_equals_keras(name, size, theirs, ours, monkeypatch):
    """Logits in evaluation and in training, and the statistics after one step of training."""
    if blocks := ours.get("middle_blocks"):  # Keras has no such option; the loop over these is the only one
        monkeypatch.setattr("keras.src.applications.xception.range", lambda _: range(blocks), raising=False)
    shape = (*size, 3)
    net = build(name, shape, 11, **theirs)
    randomise(net, 1)
    model = models.create(name, num_classes=11, **ours)
    # Of few values, such as 3 images of one pixel in the last blocks, batch norm amplifies rounding.
    n = 3 if name == "xception" else 12
    x = np.random.default_rng(2).uniform(-1, 1, (n, *shape)).astype(np.float32)
    variables = copied(name, net, model, x.shape)
    close(jax.jit(model.apply)(variables, x), run(net, x, train=False)[0])
    expected, updated = run(net, x, train=True)
    logits, moved = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(variables, x)
    close(logits, expected)
    for variable, value in zip(net.non_trainable_variables, updated, strict=True):
        variable.assign(value)
    old, statistics = variables["batch_stats"], copied(name, net, model, x.shape)["batch_stats"]
    # Of the statistics only what was added says something: at a momentum of 0.999 the old ones hide the new.
    added, expected = (jax.tree.map(jnp.subtract, new, old) for new in (moved["batch_stats"], statistics))
    jax.tree.map(lambda got, want: close(got, want, 1e-3), added, expected)


@pytest.mark.nightly  # the numbers themselves are compared daily, see registry_test.py
def test_parameters():
    net = build("xception", (96, 96, 3), 1000)
    model = models.create("xception", num_classes=1000)
    tree = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 96, 96, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(tree)) == net.count_params()
    trainable = sum(int(np.prod(v.shape)) for v in net.trainable_variables)
    assert sum(leaf.size for leaf in jax.tree.leaves(tree["params"])) == trainable


def faces_layers(path: str) -> tuple[str, str]:
    """Returns layer and variable of the file for the path of one of our leaves."""
    *modules, kind = path.split("/")
    module = "/".join(modules)
    if match := re.fullmatch(r"block(\d)/(sepconv|shortcut)(\d?)(_bn)?", module):
        block, part, number, norm = int(match[1]), match[2], int(match[3] or 0), match[4]
        # The projection's layers were made before the module's.
        layers = {"shortcut": f"conv2d_{block + 2}", "sepconv": f"separable_conv2d_{2 * block - 2 + number}"}
        layer = f"batch_normalization_{3 * block + number}" if norm else layers[part]
    elif match := re.fullmatch(r"conv(\d)(_bn)?", module):
        layer = f"{'batch_normalization' if match[2] else 'conv2d'}_{match[1]}"
    else:
        layer = {"head": "conv2d_7"}[module]
    return layer, "beta" if kind == "bias" and module != "head" else LEAVES.get(kind, kind)


@pytest.mark.skipif(not FACES.is_file(), reason="real weights: set JAXCNN_TEST_DATA to the folder of the data")
@pytest.mark.parametrize("sizes", daily([FACES_SIZES, FACES_SIZES[1:]], [FACES_SIZES[1:]]), ids=len)
def test_mini_xception_with_real_weights(sizes):
    import h5py

    with h5py.File(FACES) as opened:
        file = untyped(opened)
        config = json.loads(file.attrs["model_config"])
        stored = {}
        file["model_weights"].visititems(
            lambda path, item: stored.update({path: np.asarray(item)}) if isinstance(item, h5py.Dataset) else None
        )
    values = {(path.split("/")[0], path.split("/")[-1].removesuffix(":0")): value for path, value in stored.items()}

    net = rebuilt(config["config"]["layers"])
    for layer in net.layers:
        for variable in layer.variables:
            variable.assign(values[layer.name, variable.path.rpartition("/")[2]])

    model = models.create("mini_xception", num_classes=7)
    tree = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 64, 64, 1)))
    unused = dict(values)

    def fill(path, leaf):
        value = unused.pop(faces_layers("/".join(step.key for step in path[1:])))
        assert value.shape == leaf.shape, path
        return jnp.asarray(value)

    variables = jax.tree_util.tree_map_with_path(fill, tree)
    assert not unused
    for size, train in sizes:
        x = np.random.default_rng(3).uniform(-1, 1, (2, *size, 1)).astype(np.float32)
        apply = jax.jit(lambda v, x, train=train: model.apply(v, x, train=train, mutable=["batch_stats"])[0])
        close(apply(variables, x), run(net, x, train=train)[0])


def rebuilt(layers):
    """Builds the network of a stored configuration up to its softmax, for images of any size."""
    known = {"Conv2D", "SeparableConv2D", "BatchNormalization", "Activation", "MaxPooling2D", "Add"}
    fields = ("filters", "kernel_size", "strides", "padding", "use_bias", "activation", "epsilon", "momentum")
    fields += ("pool_size", "depth_multiplier", "axis", "name")
    tensors, start = {}, None
    for layer in layers:
        kind, config, name = layer["class_name"], layer["config"], layer["name"]
        if kind == "InputLayer":
            start = tensors[name] = keras.Input((None, None, config["batch_input_shape"][-1]))
            continue
        sources = [tensors[node[0]] for node in layer["inbound_nodes"][0]]
        if kind == "GlobalAveragePooling2D":
            return keras.Model(start, keras.layers.GlobalAveragePooling2D(name=name)(sources[0]))
        assert kind in known
        made = getattr(keras.layers, kind)(**{field: config[field] for field in fields if field in config})
        tensors[name] = made(sources if kind == "Add" else sources[0])
    raise AssertionError("the network has no global pooling")
