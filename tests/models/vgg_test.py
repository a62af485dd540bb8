"""VGG against torchvision, Keras and TensorFlow slim: thin layers and random weights that are written to files."""

import os

import pytest

from jaxcnn import zoo
from tests.support.keras_parity import build_keras, compare_with_keras
from tests.support.parity import compare_with_torch
from tests.support.selection import daily, daily_cases
from tests.support.slim_fixtures import compare_with_fixture
from tests.support.untyped import untyped

os.environ.setdefault("KERAS_BACKEND", "jax")


def build_torch(batch_norm: bool):
    """Builds torchvision's VGG with one convolution of 8 channels per stage, and smaller layers behind them."""
    torch = pytest.importorskip("torch")
    from tests.support.torchvision_cpu import require_torchvision

    vgg = require_torchvision().models.vgg
    with torch.device("meta"):  # its fully connected layers have 120 million values
        net = vgg.VGG(torch.nn.Identity(), num_classes=7, init_weights=False, dropout=0.0)
    net.features = vgg.make_layers([8, "M", 8, "M", 8, 8, "M"], batch_norm)
    for place, sizes in ((0, (8 * 49, 12)), (3, (12, 10)), (6, (10, 7))):
        net.classifier[place] = torch.nn.Linear(*sizes)
    return net


THIN = {"convolutions": (1, 1, 2), "filters": (8, 8, 8), "hidden": (12, 10), "dropout": 0.0}


@pytest.mark.parametrize("batch_norm", daily([False, True], [True]))
def test_equals_torchvision(batch_norm, tmp_path):
    net = build_torch(batch_norm)
    name = "vgg11_bn" if batch_norm else "vgg11"
    compare_with_torch(net, name, tmp_path, options=THIN, sizes=((33, 47),))


def thin_keras(monkeypatch, divisor: int):
    """Makes Keras build its VGG with a fraction of the filters and units; the number of classes stays."""
    layers = pytest.importorskip("keras").layers

    class ThinLayers:
        Input, MaxPooling2D, Flatten = layers.Input, layers.MaxPooling2D, layers.Flatten
        GlobalAveragePooling2D = layers.GlobalAveragePooling2D

        @staticmethod
        def Conv2D(filters, *arguments, **options):
            return layers.Conv2D(filters // divisor, *arguments, **options)

        @staticmethod
        def Dense(units, **options):
            return layers.Dense(units if options["name"] == "predictions" else units // divisor, **options)

    monkeypatch.setattr("keras.src.applications.vgg16.layers", ThinLayers)


THIN_KERAS = {"filters": (4, 8, 16, 32, 32), "hidden": (256, 256)}
SIZES = [((37, 66), ".weights.h5"), ((224, 224), ".h5")]


@pytest.mark.parametrize(("size", "suffix"), daily_cases(SIZES, SIZES[:1]))
def test_equals_keras(size, suffix, tmp_path, monkeypatch):
    """The first dense layer belongs to one size of images, which the file shows."""
    thin_keras(monkeypatch, 16)
    compare_with_keras(
        lambda size: build_keras("VGG16", size),
        "keras/vgg16",
        tmp_path,
        options=THIN_KERAS,
        sizes=[size],
        suffix=suffix,
        train=False,
    )


def test_features_of_keras(tmp_path, monkeypatch):
    """A file without top fills a network that returns the means of the last maps."""
    thin_keras(monkeypatch, 16)
    compare_with_keras(
        lambda size: build_keras("VGG16", size, include_top=False, pooling="avg"),
        "vgg16",
        tmp_path,
        options=THIN_KERAS,
        sizes=((37, 66),),
        train=False,
    )


def test_equals_slim():
    """At a size of images at which the fully connected layers, which are convolutions there, see two places."""
    options = {"filters": (4, 8, 16, 32, 32), "hidden": (256, 256), "dropout": 0.0}
    compare_with_fixture("vgg_a", "tensorflow/vgg_a", options=options)


def test_classifier_without_values_is_left_out(tmp_path):
    """torchvision's file of features holds a classifier of NaN."""
    torch = pytest.importorskip("torch")
    state = build_torch(False).state_dict()
    torch.save(
        {name: value * float("nan") if "classifier" in name else value for name, value in state.items()},
        tmp_path / "f.pth",
    )
    loaded = zoo.load(tmp_path / "f.pth", model="vgg11", **untyped(THIN))
    assert loaded.activation == "features" and sorted(loaded.variables["params"]) == ["stage1", "stage2", "stage3"]
    assert any("NaN" in note for note in loaded.provenance["notes"])
