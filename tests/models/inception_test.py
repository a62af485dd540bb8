"""The Inception networks, shrunken, against torchvision and Keras in process."""

import importlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models, zoo
from jaxcnn.models.googlenet import GoogLeNet
from jaxcnn.zoo.families import find_model, fit_preprocessing
from jaxcnn.zoo.family_filling import build_filled
from tests.support.keras_parity import build_keras, compare_with_keras
from tests.support.parity import compare_with_torch, randomize_torch
from tests.support.selection import daily
from tests.support.slim_fixtures import compare_with_fixture
from tests.support.torchvision_cpu import require_torchvision
from tests.support.untyped import untyped

NARROW = 16
"""Divisor of all widths; 1 / 16 of them are whole numbers."""

SMALL: dict[str, Any] = {"alpha": 1 / NARROW, "min_filters": 1, "dropout": 0.0}


def narrow_unit(convolution):
    """Returns a constructor of narrower units of torchvision, but for the channels of the images."""

    def build(inputs, filters, **options):
        return convolution(inputs if inputs == 3 else inputs // NARROW, filters // NARROW, **options)

    return build


def make_torch_v3(*, auxiliary=False):
    """Builds torchvision's network of 7 classes, narrow and with six of its eleven modules."""
    torch, inception = pytest.importorskip("torch"), require_torchvision().models.inception
    unit = narrow_unit(inception.BasicConv2d)
    kinds = (getattr(inception, f"Inception{letter}") for letter in "ABCDE")
    blocks = [unit, *(lambda *a, kind=kind, **o: kind(*a, **o, conv_block=unit) for kind in kinds)]
    torch.manual_seed(0)
    head = lambda inputs, classes: inception.InceptionAux(inputs, classes, conv_block=unit)
    net = inception.Inception3(
        7, aux_logits=auxiliary, inception_blocks=[*blocks, head], init_weights=False, dropout=0.0
    )
    net.Mixed_5d = net.Mixed_6c = net.Mixed_6d = net.Mixed_6e = net.Mixed_7c = torch.nn.Identity()
    net.fc = torch.nn.Linear(2048 // NARROW, 7)
    if auxiliary:
        net.AuxLogits.fc = torch.nn.Linear(768 // NARROW, 7)
    return net


@pytest.fixture
def shrink_keras(monkeypatch):
    """Returns a function that narrows an application and leaves out modules, whose input takes their place."""
    keras = pytest.importorskip("keras")

    def shrink(name, left_out):
        module = getattr(keras.src.applications, name)
        convolve, concatenate, last = module.conv2d_bn, module.layers.concatenate, []

        def join(maps, name=None, **options):
            if name in left_out:
                return last[-1]
            joined = concatenate(maps, name=name, **options)
            if re.fullmatch(r"mixed\d+", name or ""):
                last.append(joined)
            return joined

        narrow = lambda x, filters, *rest, **options: convolve(x, filters // NARROW, *rest, **options)
        monkeypatch.setattr(module, "conv2d_bn", narrow)
        monkeypatch.setattr(module.layers, "concatenate", join)

    return shrink


def test_inception_v3_equals_torchvision(tmp_path):
    options = SMALL | {"blocks": (2, 2, 2)}
    compare_with_torch(make_torch_v3(), "inception_v3", tmp_path, options=options, sizes=((139, 123),))


@pytest.mark.nightly
def test_inception_v3_equals_keras(tmp_path, shrink_keras):
    """With gaps in the numbers of Keras's layers, which begin anywhere."""
    shrink_keras("inception_v3", ("mixed1", "mixed2", "mixed5", "mixed6", "mixed7", "mixed10"))
    compare_with_keras(
        lambda size: build_keras("InceptionV3", size),
        "keras/inception_v3",
        tmp_path,
        options=SMALL | {"blocks": (1, 2, 2)},
        sizes=((139, 123),),
    )


ROWS = (((64, 96, 128, 16, 32, 32),), ((192, 96, 208, 16, 48, 64), (160, 112, 224, 32, 64, 64)), ())
"""Filters of three of GoogLeNet's modules."""


def narrow_rows(rows, divisor=NARROW):
    return tuple(tuple(tuple(n // divisor for n in row) for row in stage) for stage in rows)


def import_googlenet():
    """Returns torchvision's module, whose name in the package is a function."""
    require_torchvision()
    return importlib.import_module("torchvision.models.googlenet")


def test_googlenet_equals_torchvision(tmp_path):
    torch, googlenet = pytest.importorskip("torch"), import_googlenet()
    unit = narrow_unit(googlenet.BasicConv2d)
    torch.manual_seed(0)
    rows, inputs = dict(zip(["3a", "4a", "4b"], (ROWS[0][0], *ROWS[1]), strict=True)), {"3a": 192, "4a": 256, "4b": 512}
    net = googlenet.GoogLeNet(7, aux_logits=False, init_weights=False, dropout=0.0)
    for name in ("3b", "4c", "4d", "4e", "5a", "5b"):
        setattr(net, f"inception{name}", torch.nn.Identity())
    for name, row in rows.items():
        setattr(net, f"inception{name}", googlenet.Inception(inputs[name], *row, conv_block=unit))
    net.conv1 = unit(3, 64, kernel_size=7, stride=2, padding=3)
    net.conv2 = unit(64, 64, kernel_size=1)
    net.conv3 = unit(64, 192, kernel_size=3, padding=1)
    net.fc = torch.nn.Linear(512 // NARROW, 7)
    options = {"stem": (4, 4, 12), "modules": narrow_rows(ROWS), "dropout": 0.0}
    compare_with_torch(net, "googlenet", tmp_path, options=options, sizes=((64, 90), (95, 117)))


@pytest.mark.nightly
def test_auxiliary_classifiers_of_googlenet_equal_torchvision(tmp_path):
    torch, googlenet = pytest.importorskip("torch"), import_googlenet()
    torch.manual_seed(0)
    net = googlenet.GoogLeNet(7, aux_logits=True, init_weights=False, dropout=0.0, dropout_aux=0.0)
    randomize_torch(net)
    path = tmp_path / "net.pth"
    torch.save(net.state_dict(), path)
    options: dict[str, Any] = {"auxiliary": True, "dropout": 0.0, "auxiliary_dropout": 0.0}
    model, variables, notes = build_filled(path, zoo.read(path), "googlenet", options=options)
    assert not notes
    x = np.random.default_rng(0).uniform(-1, 1, (4, 171, 153, 3)).astype(np.float32)
    with torch.no_grad():
        want = net.train()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    apply = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats", "intermediates"]))
    logits, moved = untyped(apply(variables, x))
    sown = [moved["intermediates"][f"auxiliary{i}_logits"][0] for i in (1, 2)]
    for got, expected in zip((logits, *sown), (want[0], want.aux_logits1, want.aux_logits2), strict=True):
        np.testing.assert_allclose(got, expected.numpy(), atol=1e-4 * float(expected.abs().max()))


SLIM = {
    # narrow as the fixtures, of which the first has no multiplier
    "inception_v1": {"stem": (8, 8, 24), "modules": narrow_rows(GoogLeNet().modules, 8), "dropout": 0.0},
    "inception_v2": SMALL,
    "inception_v3": SMALL,
}


@pytest.mark.parametrize("name", daily(SLIM, ("inception_v2",)))
def test_inception_equals_slim(name):
    # In training the last batch norms see 4 images of 2 x 2 pixels, and amplify rounding.
    found = compare_with_fixture(name, f"tensorflow/{name}", options=SLIM[name], tolerance=1e-3)
    assert all(value < 1e-5 for what, value in found.items() if "x" in what), found


@pytest.mark.nightly
def test_inception_resnet_v2_equals_keras(tmp_path, monkeypatch):
    """With one block of each kind, and the last one."""
    module = pytest.importorskip("keras").src.applications.inception_resnet_v2
    convolve, add = module.conv2d_bn, module.inception_resnet_block

    def narrow(x, filters, *rest, use_bias=False, **options):
        return convolve(x, filters if use_bias else filters // NARROW, *rest, use_bias=use_bias, **options)

    def add_block(x, scale, block_type, block_idx, **options):
        return add(x, scale, block_type, min(block_idx, 2), **options)

    monkeypatch.setattr(module, "conv2d_bn", narrow)
    monkeypatch.setattr(module, "inception_resnet_block", add_block)
    monkeypatch.setattr(module, "range", lambda start, stop: range(1, 2), raising=False)
    compare_with_keras(
        lambda size: build_keras("InceptionResNetV2", size),
        "inception_resnet_v2",
        tmp_path,
        options=SMALL | {"blocks": (1, 1, 2)},
        sizes=((139, 123),),
    )


@pytest.mark.nightly
def test_auxiliary_classifier_equals_torchvision(tmp_path):
    torch = pytest.importorskip("torch")
    net, path = make_torch_v3(auxiliary=True), tmp_path / "net.pth"
    randomize_torch(net)
    torch.save(net.state_dict(), path)
    options = SMALL | {"blocks": (2, 2, 2)}
    _, without, notes = build_filled(path, zoo.read(path), "inception_v3", options=options)
    assert "auxiliary" not in without["params"] and len(notes) == 1 and "AuxLogits" in notes[0]
    model, variables, notes = build_filled(path, zoo.read(path), "inception_v3", options=options | {"auxiliary": True})
    assert not notes
    x = np.random.default_rng(0).uniform(-1, 1, (2, 299, 300, 3)).astype(np.float32)
    with torch.no_grad():
        want = net.train()(torch.from_numpy(x.transpose(0, 3, 1, 2).copy()))
    apply = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats", "intermediates"]))
    logits, moved = untyped(apply(variables, x))
    for got, expected in ((logits, want[0]), (moved["intermediates"]["auxiliary_logits"][0], want[1])):
        np.testing.assert_allclose(got, expected.numpy(), atol=1e-4 * float(expected.abs().max()))


def test_inputs_of_pretrained_networks_of_torchvision():
    """The network undoes ImageNet's normalization, or images are not normalized by it."""
    name = "pytorch/inception_v3_imagenet1k_v1"
    record = zoo.record(name)
    assert find_model(record) == ("inception_v3", {"transform_input": True})
    model = models.create("inception_v3", transform_input=True, blocks=(1, 1, 1), **untyped(SMALL))
    plain = models.create("inception_v3", blocks=(1, 1, 1), **untyped(SMALL))
    images = np.random.default_rng(0).uniform(0, 1, (1, 75, 80, 3)).astype(np.float32)
    variables = jax.jit(plain.init)(jax.random.key(0), images)
    logits = []
    for one in (model, plain):
        found = untyped(fit_preprocessing(record, one))
        logits.append(jax.jit(one.apply)(variables, (images - np.float32(found.mean)) / np.float32(found.std)))
    np.testing.assert_allclose(*logits, atol=1e-5)


def test_errors_of_options():
    x = jnp.ones((1, 80, 80, 1))
    for options, message in (
        ({"blocks": (3, 6, 3)}, r"inception_v3: blocks must be three numbers, .* got \(3, 6, 3\)"),
        ({"alpha": 0.0}, "inception_v3: alpha must be above 0, got 0.0"),
        ({"transform_input": True}, "inception_v3: x must be of 3 channels, as transform_input is set"),
        ({"variant": "caffe"}, "inception_v3: variant must be one of .*got 'caffe'"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(models.create("inception_v3", **untyped(options)).init, jax.random.key(0), x)
