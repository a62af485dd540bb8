"""Models: the table, architectures by the book, options, input checks, what the spatial ones sow."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from jaxcnn.models._options import find_options
from jaxcnn.models.registry import ARCHITECTURES
from jaxcnn.models.xception import SeparableModule
from tests.contract import items
from tests.support.selection import daily
from tests.support.untyped import untyped

MEMBERS = sorted(items.MODELS)
"""One model of each class."""


def count(model, shape):
    """Number of parameters for input of this shape."""
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros(shape))
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(variables["params"]))


def test_names_are_sorted_and_all_can_be_built():
    small = ("cnn", "fcn", "gwap_cnn", "lenet", "mini_xception", "st_cnn", "st_fcn")
    assert models.names() == tuple(sorted((*small, *ARCHITECTURES)))
    for name in (*small, "mobilenet"):
        model = models.create(name, num_classes=7)
        shape = jax.eval_shape(lambda m=model: m.init_with_output(jax.random.key(0), jnp.zeros((2, 32, 31, 1)))[0])
        assert shape.shape == (2, 7), name


@pytest.mark.parametrize(
    ("name", "side", "parameters"),
    [
        # 64 + 64 filters and 256 + 256 units, counted by hand for MNIST, the 42 px and the 60 px canvas
        ("cnn", 28, 208_586),
        ("cnn", 42, 222_026),
        ("cnn", 60, 270_026),
        ("fcn", 28, 269_322),
        ("fcn", 42, 520_202),
        ("fcn", 60, 990_218),
        ("lenet", 28, 61_706),
    ],
)
def test_parameter_counts(name, side, parameters):
    assert count(models.create(name), (1, side, side, 1)) == parameters


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [
        # trainable ones at 1000 classes, as Keras and torchvision count them (Keras's at all widths of its weights)
        ("xception", {}, 22_855_952),
        pytest.param("mobilenet", {"alpha": 0.25}, 470_072, marks=pytest.mark.nightly),
        pytest.param("mobilenet", {"alpha": 0.5}, 1_331_592, marks=pytest.mark.nightly),
        pytest.param("mobilenet", {"alpha": 0.75}, 2_585_560, marks=pytest.mark.nightly),
        ("mobilenet", {"alpha": 1.0}, 4_231_976),
        pytest.param("mobilenet_v2", {"alpha": 0.35}, 1_677_128, marks=pytest.mark.nightly),
        ("mobilenet_v2", {"alpha": 0.3708}, 1_719_000),  # the frameworks round this width differently
        ("mobilenet_v2", {"alpha": 0.3708, "variant": "keras"}, 1_690_072),
        pytest.param("mobilenet_v2", {"alpha": 0.5}, 1_968_680, marks=pytest.mark.nightly),
        pytest.param("mobilenet_v2", {"alpha": 0.75}, 2_636_424, marks=pytest.mark.nightly),
        pytest.param("mobilenet_v2", {"alpha": 1.0}, 3_504_872, marks=pytest.mark.nightly),
        pytest.param("mobilenet_v2", {"alpha": 1.3}, 5_386_792, marks=pytest.mark.nightly),
        pytest.param("mobilenet_v2", {"alpha": 1.4, "variant": "keras"}, 6_108_776, marks=pytest.mark.nightly),
    ],
)
def test_parameter_counts_of_imagenet_models(name, options, parameters):
    assert count(models.create(name, num_classes=1000, **options), (1, 32, 32, 3)) == parameters


def test_mobilenet_v2_has_one_tree_for_both_frameworks():
    x = jnp.zeros((1, 33, 32, 3))
    one, other = (models.create("mobilenet_v2", variant=variant) for variant in ("torchvision", "keras"))
    shapes = [jax.eval_shape(model.init, jax.random.key(0), x) for model in (one, other)]
    assert shapes[0] == shapes[1]


def test_dropout_of_mobilenet_v2_is_the_frameworks():
    x = jax.random.uniform(jax.random.key(1), (2, 8, 8, 3))
    small: dict[str, Any] = {"stem": 8, "blocks": ((1, 8, 1, 1),), "last": 16}
    for options, drops in (({}, True), ({"variant": "keras"}, False)):
        model = models.create("mobilenet_v2", **small, **untyped(options))
        variables = jax.jit(model.init)(jax.random.key(0), x)
        train = jax.jit(
            lambda v, key, m=model: m.apply(v, x, train=True, mutable=["batch_stats"], rngs={"dropout": key})[0]
        )
        outputs = [train(variables, jax.random.key(i)) for i in (2, 3)]
        assert (outputs[0] != outputs[1]).any() == drops, options


def test_localizers_of_the_paper():
    # 42 px halved to 21, conv 5x5 to 17, pooled to 8, conv 5x5 to 4: 320 features to 20 units to 6 parameters
    plain, behind = models.create("cnn"), models.create("st_cnn")
    localizer = (25 * 20 + 20) + (25 * 20 * 20 + 20) + (4 * 4 * 20 * 20 + 20) + (20 * 6 + 6)
    assert count(behind, (1, 42, 42, 1)) - count(plain, (1, 42, 42, 1)) == localizer
    plain, behind = models.create("fcn"), models.create("st_fcn", transform="tps")
    localizer = (42 * 42 * 32 + 32) + (32 * 32 + 32) + (32 * 32 + 32)
    assert count(behind, (1, 42, 42, 1)) - count(plain, (1, 42, 42, 1)) == localizer


@pytest.mark.parametrize("name", daily(MEMBERS, set(MEMBERS) - set(ARCHITECTURES)))
def test_features_instead_of_logits(name):
    x = jnp.zeros((2, 75, 76, 1))
    features = models.create(name, num_classes=None)
    logits = models.create(name, num_classes=3)
    f = jax.eval_shape(lambda: features.init_with_output(jax.random.key(0), x)[0])
    assert f.ndim == 2 and f.shape[0] == 2 and f.shape[1] > 3
    inputs, taps = f.shape[1], 1
    if name == "mini_xception":
        taps = 9  # its head is a 3x3 convolution
    classifier = (taps * inputs + 1) * 3
    if pixels := {"alexnet": 36, "vgg11_bn": 49}.get(name):  # the classifier has hidden layers
        classifier = (pixels * inputs + 1) * 4096 + 4097 * 4096 + 4097 * 3
    if name == "mobilenet_v3_small":
        classifier = (inputs + 1) * 1024 + 1025 * 3
    assert count(logits, x.shape) - count(features, x.shape) == classifier


@pytest.mark.parametrize("name", daily(["st_cnn", "st_fcn"], ["st_cnn"]))
def test_transformed_classifiers_start_as_the_classifier_alone(name):
    x = jax.random.uniform(jax.random.key(1), (2, 30, 28, 1))
    model = models.create(name, transform="projective")
    variables = jax.jit(model.init)(jax.random.key(0), x)
    logits, sown = jax.jit(lambda v, x: model.apply(v, x, mutable="intermediates"))(variables, x)
    alone = jax.jit(models.create(name[3:]).apply)({"params": variables["params"]["classifier"]}, x)
    np.testing.assert_allclose(logits, alone, atol=1e-6)
    assert sorted(sown["intermediates"]["transformer"]) == ["frame", "grid", "theta"]


def test_weighted_pooling_shows_its_weights():
    x = jax.random.uniform(jax.random.key(1), (2, 16, 12, 3))
    for specific, maps in ((False, 1), (True, 5)):
        model = models.create("gwap_cnn", num_classes=5, features=(4, 8), class_specific=specific)
        logits, sown = jax.jit(lambda x, m=model: m.init_with_output(jax.random.key(0), x, mutable=True))(x)
        assert logits.shape == (2, 5)
        assert sown["intermediates"]["pool"]["weights"][0].shape == (2, 8, 6, maps)


def test_batch_statistics_move_only_in_training():
    x = jax.random.uniform(jax.random.key(1), (4, 8, 8, 1))
    model = models.create("gwap_cnn", features=(4, 4), dropout=0.5)
    variables = jax.jit(model.init)(jax.random.key(0), x)
    apply = jax.jit(functools.partial(model.apply, mutable="batch_stats"), static_argnames="train")
    _, still = apply(variables, x)
    _, moved = apply(variables, x, train=True, rngs={"dropout": jax.random.key(2)})
    jax.tree.map(np.testing.assert_array_equal, still["batch_stats"], variables["batch_stats"])
    assert not np.allclose(moved["batch_stats"]["norm1"]["mean"], variables["batch_stats"]["norm1"]["mean"])


@pytest.mark.parametrize("name", daily(MEMBERS, ("gwap_cnn", "st_cnn", "mobilenet_v2")))
def test_dtypes_are_passed_through(name):
    x = jnp.zeros((1, 75, 76, 1), jnp.bfloat16)
    model = models.create(name, dtype=jnp.bfloat16)
    out, variables = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), x))
    assert out.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("float32")}
    narrow = models.create(name, param_dtype=jnp.bfloat16)
    variables = jax.eval_shape(narrow.init, jax.random.key(0), x)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("bfloat16")}


@pytest.mark.parametrize("name", MEMBERS)
def test_errors_of_the_input(name):
    model = models.create(name)
    for x, message in (
        (jnp.ones((28, 28)), r"x must be of shape \(..., h, w, c\), got float32\(28, 28\)"),
        (jnp.ones((1, 28, 28, 1), jnp.uint8), "x must be of a floating dtype, got uint8"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(model.init, jax.random.key(0), x)


def test_errors_of_too_small_images():
    for name, side in (("cnn", 24), ("lenet", 12), ("gwap_cnn", 4), ("mobilenet", 31)):
        model = models.create(name)
        jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, side, side, 1)))
        with pytest.raises(ValueError, match=f"{name}: x must be at least {side} x {side} pixels"):
            jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, side + 5, side - 1, 1)))
    for name, side in (
        ("vgg16", 32),
        ("alexnet", 63),
        ("squeezenet1_0", 21),
        ("keras/squeezenet1_1", 31),
        ("tensorflow/vgg_16", 224),
        ("tensorflow/alexnet_v2", 195),
    ):
        with pytest.raises(ValueError, match=f"x must be at least {side} x {side} pixels"):
            jax.eval_shape(models.create(name).init, jax.random.key(0), jnp.ones((1, side, side - 1, 1)))
    with pytest.raises(ValueError, match="localizer: x must be at least 28 x 28 pixels"):
        jax.eval_shape(models.create("st_cnn").init, jax.random.key(0), jnp.ones((1, 27, 30, 1)))


def test_errors_of_names_and_options():
    with pytest.raises(
        ValueError, match=r"models.create: name must be one of .*got 'gwap' \(did you mean 'gwap_cnn'\?\)"
    ):
        models.create("gwap")
    with pytest.raises(ValueError, match="options of 'cnn' must be among .*'features'.*got transform"):
        models.create("cnn", transform="affine")
    x = jnp.ones((1, 32, 32, 3))
    for name, options, message in (
        ("mobilenet", {"alpha": 0.03}, "mobilenet: alpha must be at least 1 / 32, got 0.03"),
        ("mobilenet_v2", {"alpha": 0.0}, "mobilenet_v2: alpha must be above 0, got 0.0"),
        ("mobilenet_v2", {"variant": "timm"}, "mobilenet_v2: variant must be one of .*got 'timm'"),
        ("vgg16", {"filters": (8, 8)}, "vgg: filters must be one number per stage, as convolutions is .*got"),
        ("alexnet", {"filters": (8, 8)}, "alexnet: filters must be 5 numbers, got"),
        ("xception", {"dropout": 1.5}, r"rate must be in \[0, 1\], got 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(models.create(name, **untyped(options)).init, jax.random.key(0), x)
    for classes in (0, -1, 2.0, True, "10"):
        with pytest.raises(ValueError, match="models.create: num_classes must be None or a positive integer, got"):
            models.create("lenet", num_classes=untyped(classes))
    with pytest.raises(ValueError, match="gwap_cnn: num_classes must be given if class_specific"):
        model = models.create("gwap_cnn", num_classes=None, class_specific=True)
        model.init(jax.random.key(0), jnp.ones((1, 8, 8, 1)))


@pytest.mark.errors
def test_shortcut_that_would_be_broadcast_is_refused():
    block = SeparableModule(filters=(4, 4), shortcut="identity")
    with pytest.raises(AssertionError, match="shape"):
        jax.eval_shape(block.init, jax.random.key(0), jnp.zeros((1, 8, 8, 1)))


DAILY = (
    "cifar_resnet20",
    "convnext_tiny",
    "densenet121",
    "regnet_y_400mf",
    "resnet18",
    "resnet50_v2",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "vgg11_bn",
)


@pytest.mark.parametrize("name", daily(ARCHITECTURES, DAILY))
def test_parameter_counts_of_families(name):
    """As torchvision's and Keras's documentation state them, or slim counts them (without the moving statistics)."""
    one = ARCHITECTURES[name]
    assert count(models.create(name, num_classes=one.classes), (1, one.size, one.size, 3)) == one.parameters


def test_networks_with_plain_names_are_found_with_their_source_too():
    assert models.create("keras/xception") == models.create("xception")
    assert models.create("pytorch/resnet50") == models.create("resnet50")
    with pytest.raises(ValueError, match="name must be one of"):
        models.create("pytorch/xception")


def test_a_module_of_a_family_is_found_by_its_nearest_name():
    for name in ("resnet34", "resnext50_32x4d", "keras/resnet101", "cifar_resnet56"):
        assert find_options(models.create(name, num_classes=7)) == (name, {"num_classes": 7})
    assert find_options(models.create("resnet50", num_classes=None, output_stride=8)) == (
        "resnet50",
        {"num_classes": None, "output_stride": 8},
    )
