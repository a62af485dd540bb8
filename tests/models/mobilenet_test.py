"""MobileNet v1 against Keras and TensorFlow slim, with random weights and with real ones."""

import os

import h5py
import jax
import numpy as np
import pytest

from jaxcnn import models, zoo
from jaxcnn.zoo.records import weight_records
from tests.support.keras_parity import build_keras, compare_with_keras
from tests.support.real_data import DATA, needs_data
from tests.support.selection import daily_cases
from tests.support.slim_parity import compare_with_slim
from tests.support.untyped import untyped

os.environ.setdefault("KERAS_BACKEND", "jax")

KERAS_FILE = DATA / "keras" / "mobilenet_v1_0.25_224_imagenet.h5"
SLIM_FILE = DATA / "tensorflow" / "mobilenet_v1_1.0_224_retrained_frozen.pb"
CASES = [
    # sizes, options of both, whether to train
    (((57, 43),), {"alpha": 0.25}, False),
    (((64, 64), (45, 32)), {"alpha": 0.3, "depth_multiplier": 2}, True),
    (((224, 224), (193, 161)), {}, True),
]


@pytest.mark.parametrize(("sizes", "options", "train"), daily_cases(CASES, CASES[:1]))
def test_equals_keras(sizes, options, train, tmp_path):
    pytest.importorskip("keras")
    compare_with_keras(
        lambda size: build_keras("MobileNet", size, dropout=0.0, **options),
        "mobilenet",
        tmp_path,
        # alpha follows from the file
        options={"dropout": 0.0} | {key: value for key, value in options.items() if key != "alpha"},
        sizes=sizes,
        images=12 if train else 2,
        train=train,
    )


def test_equals_slim(tmp_path):
    blocks = ((8, 1), (16, 2), (16, 1), (16, 2), (24, 1), (24, 2), (16, 1))
    compare_with_slim(
        "slim_mobilenet_v1",
        "tensorflow/mobilenet_v1",
        tmp_path,
        np.random.default_rng(1).uniform(-1, 1, (2, 33, 47, 3)).astype(np.float32),
        options={"stem": 8, "blocks": blocks},
    )


def draw_images(size=224):
    return np.random.default_rng(0).uniform(-1, 1, (2, size, size, 3)).astype(np.float32)


@needs_data
def test_real_keras_file_as_a_family_equals_the_network_that_it_describes(tmp_path, monkeypatch):
    own = zoo.load(KERAS_FILE)
    images = draw_images()
    want = np.asarray(jax.jit(own.model.apply)(own.variables, images)).reshape(2, 1000)
    named = zoo.load(KERAS_FILE, model="mobilenet", alpha=0.25)
    assert zoo.load(KERAS_FILE, model="mobilenet").model == named.model  # alpha follows from the shapes
    got = jax.nn.softmax(jax.jit(named.model.apply)(named.variables, images))
    np.testing.assert_allclose(got, want, atol=1e-5 * want.max())
    # Keras publishes these weights without the network: the record's name says which it is.
    record = weight_records.record("keras/mobilenet_v1_0.25_224")
    monkeypatch.setenv("JAXCNN_CACHE", str(tmp_path))
    with h5py.File(KERAS_FILE) as source, h5py.File(tmp_path / record.file_name, "w") as target:
        weights = untyped(source["model_weights"])
        target.attrs.update(weights.attrs)
        for layer in weights:
            source.copy(f"model_weights/{layer}", target)
    recorded = zoo.load(record.name)
    assert recorded.model == named.model
    jax.tree.map(np.testing.assert_array_equal, recorded.variables, named.variables)
    assert recorded.labels is not None and recorded.labels[0] == "tench"
    assert recorded.preprocessing is not None and recorded.preprocessing.size == 224
    assert named.preprocessing is not None and named.preprocessing.size == 224


@needs_data
@pytest.mark.nightly  # a small checkpoint of slim is compared daily
def test_real_frozen_graph_as_a_family_equals_the_graph():
    logits = "MobilenetV1/Logits/SpatialSqueeze"
    own, family = zoo.load(SLIM_FILE, outputs=(logits,)), zoo.load(SLIM_FILE, model="tensorflow/mobilenet_v1")
    images = draw_images()
    want = np.asarray(jax.jit(own.model.apply)(own.variables, images)).reshape(2, 1001)
    got = jax.jit(family.model.apply)(family.variables, images)
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


@pytest.mark.nightly
def test_recomputed_activations_change_nothing():
    options = {"stem": 8, "blocks": ((8, 1), (16, 2)), "num_classes": 3, "dropout": 0.0}
    plain, remat = (models.create("mobilenet", remat=one, **options) for one in (False, True))
    images = draw_images(16)
    variables = jax.jit(plain.init)(jax.random.key(0), images)

    def loss(parameters, model):
        return (model.apply(variables | {"params": parameters}, images) ** 2).sum()

    gradients = [jax.jit(jax.grad(loss), static_argnums=1)(variables["params"], one) for one in (plain, remat)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), *gradients)
