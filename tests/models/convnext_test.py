"""ConvNeXt against torchvision and Keras, with random weights that these write to files."""

import os

import jax
import numpy as np
import pytest

from jaxcnn import models, zoo
from jaxcnn.zoo.family_filling import build_filled
from tests.support.keras_parity import (
    build_keras,
    compare_with_keras,
    measure_difference,
    randomize_keras,
    run_keras,
    save_keras,
)
from tests.support.parity import compare_with_torch
from tests.support.selection import daily
from tests.support.torchvision_cpu import require_torchvision
from tests.support.untyped import untyped

os.environ.setdefault("KERAS_BACKEND", "jax")

SMALL = {"blocks": (1, 2, 1, 1), "filters": (8, 16, 16, 24)}


def build_small_keras(size, **options):
    keras_convnext = pytest.importorskip("keras.src.applications.convnext")
    settings = {"weights": None, "classes": 11, "classifier_activation": None, "input_shape": (*size, 3)} | options
    with jax.numpy_rank_promotion("allow"):
        return keras_convnext.ConvNeXt(list(SMALL["blocks"]), list(SMALL["filters"]), name="small", **settings)


@pytest.mark.parametrize("name", daily(["small", "convnext_tiny"], ["small"]))
def test_equals_torchvision(name, tmp_path):
    pytest.importorskip("torch")
    family = require_torchvision().models.convnext
    if name == "small":
        ends = [*SMALL["filters"][1:], None]
        rows = zip(SMALL["filters"], ends, SMALL["blocks"], strict=True)
        net = family.ConvNeXt([family.CNBlockConfig(*row) for row in rows], num_classes=7)
        options, sizes = SMALL, ((75, 91),)
    else:
        net, options, sizes = family.convnext_tiny(), {}, ((224, 224), (193, 161))
    compare_with_torch(net, "convnext_tiny", tmp_path, options=options, sizes=sizes, train=False)


@pytest.mark.parametrize("suffix", daily([".weights.h5", ".h5", ".keras"], [".h5"]))
def test_equals_keras(suffix, tmp_path):
    """A whole file and one of weights; the images are normalized inside."""
    compare_with_keras(
        build_small_keras,
        "keras/convnext_tiny",
        tmp_path,
        options=SMALL,
        sizes=((67, 75),),
        suffix=suffix,
        images=2,
        low=0.0,
        high=255.0,
        train=False,  # the same without batch norm
    )


@pytest.mark.nightly
def test_real_size_equals_keras(tmp_path):
    pytest.importorskip("keras")
    compare_with_keras(
        lambda size: build_keras("ConvNeXtTiny", size),
        "keras/convnext_tiny",
        tmp_path,
        sizes=((224, 224), (193, 161)),
        low=0.0,
        high=255.0,
        train=False,  # the same without batch norm
    )


def test_features_of_keras_without_its_head(tmp_path):
    """Its last layer norm, behind the pooling, has another name there."""
    net = build_small_keras((67, 75), include_top=False, pooling="avg")
    randomize_keras(net)
    path = tmp_path / "features.weights.h5"
    save_keras(net, path)
    model, variables, _ = build_filled(path, zoo.read(path), "keras/convnext_tiny", options=SMALL)
    x = np.random.default_rng(0).uniform(0, 255, (2, 67, 75, 3)).astype(np.float32)
    features = jax.jit(model.apply)(variables, x)
    assert features.shape == (2, 24)
    assert measure_difference(features, run_keras(net, x, train=False)[0]) < 1e-5


def test_stochastic_depth_grows_to_the_last_block():
    rates = [block["drop_path"] for stage in models.create("convnext_tiny").table() for block in stage]
    np.testing.assert_allclose(rates, np.linspace(0, 0.1, 18))


def test_checkpointed_blocks_have_the_same_tree():
    x = jax.ShapeDtypeStruct((1, 33, 32, 3), np.float32)
    small = {"blocks": (1, 1), "filters": (4, 6)}
    inits = (models.create("convnext_tiny", **untyped(small | {"remat": remat})).init for remat in (False, True))
    one, other = (jax.eval_shape(init, jax.random.key(0), x) for init in inits)
    assert one == other


def test_errors_of_options():
    for side, options, message in (
        (64, {"variant": "timm"}, "convnext: variant must be one of .*got 'timm'"),
        (64, {"blocks": (1, 2)}, r"blocks must be a positive integer for each number of filters, got \(1, 2\)"),
        (31, {}, "convnext: x must be at least 32 x 32 pixels"),
    ):
        init = models.create("convnext_tiny", **untyped(options)).init
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(init, jax.random.key(0), np.ones((1, 64, side, 3), np.float32))
