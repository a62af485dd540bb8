"""The Inception networks, shrunken, against torchvision and Keras in process."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models, zoo
from jaxcnn.zoo.families import build_filled, find_model, find_preprocessing
from tests.support.keras_parity import build_keras, compare_with_keras
from tests.support.parity import compare_with_torch, randomize_torch
from tests.support.torchvision_cpu import import_torchvision
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
    torch, inception = pytest.importorskip("torch"), import_torchvision().models.inception
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
    for got, expected in ((logits, want[0]), (moved["intermediates"]["auxiliary"][0], want[1])):
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
        found = untyped(find_preprocessing(record, one))
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
