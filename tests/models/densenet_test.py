"""DenseNets against torchvision's and Keras's, shrunken."""

import functools
import os
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models, zoo
from jaxcnn.zoo.family_filling import build_filled
from jaxcnn.zoo.mappings.keras import KERAS, TABLES
from jaxcnn.zoo.mappings.matching import NameTable, find_names
from tests.support.keras_parity import compare_with_keras
from tests.support.parity import compare_with_torch
from tests.support.selection import daily
from tests.support.torchvision_cpu import require_torchvision
from tests.support.untyped import untyped

os.environ.setdefault("KERAS_BACKEND", "jax")

SMALL = {"layers": (2, 1, 3), "growth": 3, "stem": 8, "expansion": 2}


@pytest.fixture(scope="module")
def original():
    """A small one of torchvision, where that is installed."""
    torchvision = require_torchvision()
    return torchvision.models.DenseNet(
        growth_rate=3, block_config=(2, 1, 3), num_init_features=8, bn_size=2, num_classes=7
    )


def test_equals_torchvision(original, tmp_path):
    compare_with_torch(original, "densenet121", tmp_path, options=SMALL, sizes=((33, 47),))


def test_files_of_before_2019_have_other_names(original, tmp_path):
    import torch

    state = original.state_dict()
    renamed = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): state[name] for name in state}
    assert "features.denseblock1.denselayer2.norm.1.weight" in renamed
    filled = []
    for number, tensors in enumerate((state, renamed)):
        torch.save(tensors, tmp_path / f"{number}.pth")
        path = tmp_path / f"{number}.pth"
        filled.append(build_filled(path, zoo.read(path), "densenet121", options=SMALL)[1])
    jax.tree.map(np.testing.assert_array_equal, *filled)


@pytest.mark.parametrize("train", daily((False, True), (False,)))
def test_equals_keras(train, tmp_path):
    densenet = untyped(pytest.importorskip("keras").src.applications.densenet)
    build = functools.partial(densenet.DenseNet, (1, 1, 1, 1), weights=None, classes=5, classifier_activation=None)
    compare_with_keras(
        lambda size: build(input_shape=(*size, 3)),
        "keras/densenet121",
        tmp_path,
        options={"layers": (1, 1, 1, 1)},
        sizes=((33, 47),),
        images=8,
        train=train,
    )


def test_older_files_of_keras_have_other_names():
    table = NameTable(KERAS, untyped(TABLES["DenseNet"]))
    assert "conv1/conv/kernel" in find_names("conv1", "kernel", table)
    assert "conv1/bn/gamma" in find_names("bn1", "scale", table)
    assert "fc1000/bias" in find_names("head", "bias", table)


def test_dropout_and_recomputation():
    x = np.random.default_rng(0).uniform(-1, 1, (2, 33, 32, 3)).astype(np.float32)
    small = {"layers": (2,), "growth": 3, "stem": 4}
    plain, again, dropped = (
        models.create("densenet121", **untyped(small | options)) for options in ({}, {"remat": True}, {"dropout": 0.5})
    )
    variables = jax.jit(plain.init)(jax.random.key(0), x)

    def run(model):
        rngs = {"dropout": jax.random.key(4)}
        apply = functools.partial(model.apply, train=True, mutable=["batch_stats", "intermediates"], rngs=rngs)
        return jax.jit(lambda v: apply(v, x, capture_intermediates=True))(variables)

    logits, _ = run(plain)
    np.testing.assert_allclose(run(again)[0], logits, rtol=1e-5, atol=1e-6)
    _, sown = run(dropped)
    maps = np.asarray(sown["intermediates"]["stage1"]["layer2"]["__call__"][0])
    zeros = (maps == 0).mean((1, 2))  # of single values, as torchvision does, not of whole maps
    assert maps.shape == (2, 9, 8, 3) and (zeros > 0.1).all() and (zeros < 0.9).all()


def test_errors_of_options_and_small_images():
    model = models.create("densenet121")
    jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 29, 29, 3)))
    with pytest.raises(ValueError, match="densenet: x must be at least 29 x 29 pixels"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 40, 28, 3)))
    with pytest.raises(ValueError, match="densenet: variant must be one of .*got 'slim'"):
        model = models.create("densenet121", variant=untyped("slim"))
        jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
