"""MobileNet v3 against torchvision and Keras, with random weights."""

import os

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models, zoo
from tests.support.keras_parity import build_keras, compare_with_keras
from tests.support.parity import compare_with_torch
from tests.support.selection import daily
from tests.support.torchvision_cpu import require_torchvision
from tests.support.untyped import untyped

os.environ.setdefault("KERAS_BACKEND", "jax")

BLOCKS = (
    (3, 16, 16, True, "relu", 2),
    (5, 72, 24, False, "hard_swish", 2),
    (5, 96, 24, True, "hard_swish", 1),
)


def build_torch(module, blocks, hidden, *, alpha=1.0, first_dilated=None):
    """Builds torchvision's network of a table; blocks from one on are dilated."""
    settings, before = [], 16
    for i, (kernel, expanded, filters, squeezes, activation, stride) in enumerate(blocks):
        kind = "HS" if activation == "hard_swish" else "RE"
        dilation = 2 if first_dilated is not None and i >= first_dilated else 1
        settings.append(
            module.InvertedResidualConfig(
                before, kernel, expanded, filters, squeezes, kind, stride, dilation, width_mult=alpha
            )
        )
        before = filters
    return module.MobileNetV3(settings, hidden, num_classes=7, dropout=0.0)


@pytest.mark.parametrize("output_stride", [32, 8])
def test_equals_torchvision(output_stride, tmp_path):
    torch = pytest.importorskip("torch")
    module = require_torchvision().models.mobilenetv3
    torch.manual_seed(0)
    # with the stem a stride of 16, of which the last 2 dilates
    blocks = BLOCKS if output_stride == 32 else ((3, 16, 16, False, "relu", 2), *BLOCKS)
    net = build_torch(module, blocks, 24, first_dilated=2 if output_stride == 8 else None)
    options = {"blocks": blocks, "hidden": 24, "dropout": 0.0, "output_stride": output_stride}
    compare_with_torch(
        net, "mobilenet_v3_small", tmp_path, options=options, sizes=((33, 47),), train=output_stride == 32
    )


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
@pytest.mark.parametrize("options", [{}, {"alpha": 0.75}, {"output_stride": 16}], ids=str)
def test_whole_network_equals_torchvision(name, options, tmp_path):
    torch = pytest.importorskip("torch")
    build = getattr(require_torchvision().models, name)
    torch.manual_seed(0)
    kept = {key: value for key, value in options.items() if key != "alpha"}  # which follows from the file
    net = build(num_classes=7, dropout=0.0, dilated="output_stride" in options, width_mult=options.get("alpha", 1.0))
    compare_with_torch(net, name, tmp_path, options={"dropout": 0.0, **kept}, sizes=((224, 224), (193, 161)))


KERAS = {
    # the class, its options, sizes, whether to train
    "keras/mobilenet_v3_small": ("MobileNetV3Small", {}, ((224, 224), (75, 91)), True),
    "keras/mobilenet_v3_large": ("MobileNetV3Large", {"alpha": 0.75}, ((64, 64), (75, 91)), True),
    "keras/mobilenet_v3_large_minimalistic": ("MobileNetV3Large", {"minimalistic": True}, ((65, 93),), True),
    "keras/mobilenet_v3_small_minimalistic": ("MobileNetV3Small", {"minimalistic": True}, ((33, 47),), False),
}


@pytest.mark.parametrize("name", daily(KERAS, ("keras/mobilenet_v3_small_minimalistic",)))
def test_equals_keras(name, tmp_path):
    pytest.importorskip("keras")
    application, options, sizes, train = KERAS[name]
    net = build_keras(application, (None, None), dropout_rate=0.0, **options)
    compare_with_keras(
        lambda size: net,
        name,
        tmp_path,
        options={"dropout": 0.0},
        sizes=sizes,
        images=8 if train else 2,
        low=0.0,
        high=255.0,
        train=train,
    )


@pytest.mark.nightly
def test_equals_keras_built_for_one_size(tmp_path):
    pytest.importorskip("keras")
    compare_with_keras(
        lambda size: build_keras("MobileNetV3Small", size, dropout_rate=0.0, include_preprocessing=False),
        "keras/mobilenet_v3_small",
        tmp_path,
        options={"dropout": 0.0, "any_size": False, "rescale": False},
        sizes=((65, 91),),
        images=8,
    )


def test_published_names_and_files_without_classifier(tmp_path):
    """Older versions of Keras, which wrote the published files, put slashes into the names of layers."""
    model = models.create("keras/mobilenet_v3_small", num_classes=None, blocks=BLOCKS)
    x = jnp.zeros((1, 32, 32, 3))
    variables = jax.jit(model.init)(jax.random.key(0), x)
    roles = {"kernel": "kernel", "scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        layers: dict[str, list[str]] = {}
        for keys, leaf in jax.tree_util.tree_leaves_with_path(variables):
            _, *modules, role = (str(key.key) for key in keys)
            layer = name_published(modules)
            role = "bias" if role == "bias" and "squeeze_excite" in layer else roles[role]
            role = "depthwise_kernel" if role == "kernel" and layer.endswith("/depthwise") else role
            file[f"{layer}/{layer}/{role}:0"] = np.asarray(leaf)
            layers.setdefault(layer, []).append(f"{layer}/{role}:0")
        file.attrs["layer_names"] = list(layers)
        for layer, names in layers.items():
            file[layer].attrs["weight_names"] = names
    loaded = zoo.load(tmp_path / "weights.h5", model="mobilenet_v3_small", blocks=BLOCKS)
    assert loaded.activation == "features" and loaded.model == model
    jax.tree.map(np.testing.assert_array_equal, loaded.variables, variables)


def name_published(modules):
    """Returns the name of a layer in the published files."""
    known = {"conv1": "Conv", "conv_last": "Conv_1", "reduce": "Conv", "expand": "expand"}
    *blocks, last = (module.removesuffix("_bn") for module in modules)
    names = [f"expanded_conv_{one[5:]}".removesuffix("_0") if one.startswith("block") else one for one in blocks]
    last = "Conv_1" if last == "expand" and "squeeze_excite" in blocks else known.get(last, last)
    return "/".join((*names, last, *(["BatchNorm"] if modules[-1].endswith("_bn") else [])))


def test_features_have_no_hidden_layer():
    x = jax.ShapeDtypeStruct((2, 33, 47, 3), jnp.float32)
    model = models.create("mobilenet_v3_small", num_classes=None, blocks=BLOCKS)
    features, variables = jax.eval_shape(model.init_with_output, jax.random.key(0), x)
    assert features.shape == (2, 6 * 24)
    assert not {"hidden", "head"} & set(variables["params"])


def test_errors_of_options():
    x = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    for options, message in (
        ({"alpha": 0.0}, "mobilenet_v3: alpha must be above 0, got 0.0"),
        ({"any_size": True}, "mobilenet_v3: any_size must be False, except of Keras, got True"),
        ({"output_stride": 4}, "mobilenet_v3: output_stride must be one of .*got 4"),
        ({"blocks": ((3, 16, 16, True, "swish", 1),)}, "activation of blocks must be one of .*got 'swish'"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(models.create("mobilenet_v3_small", **untyped(options)).init, jax.random.key(0), x)
