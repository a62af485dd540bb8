"""SqueezeNet against torchvision with random weights, and of Keras with real ones."""

import dataclasses

import jax
import numpy as np
import PIL.Image
import pytest

from jaxcnn import zoo
from tests.support.parity import compare_with_torch
from tests.support.real_data import DATA, needs_data
from tests.support.selection import daily


@pytest.mark.parametrize("version", daily(["1_0", "1_1"], ["1_0"]))
def test_equals_torchvision(version, tmp_path):
    pytest.importorskip("torch")
    from tests.support.torchvision_cpu import require_torchvision

    net = require_torchvision().models.SqueezeNet(version, num_classes=7, dropout=0.0)
    compare_with_torch(net, f"squeezenet{version}", tmp_path, options={"dropout": 0.0}, sizes=((33, 46),))


KERAS = DATA / "keras"
TOP = KERAS / "squeezenet_v1.1_weights_tf_dim_ordering_tf_kernels_top.h5"


@needs_data
def test_keras_weights_without_top_are_equal_in_both_orders():
    """Files of Keras 1 in TensorFlow's and in Theano's order, and the convolutions of the file with top."""
    order, other = (
        zoo.load(KERAS / f"squeezenet_weights_{order}_dim_ordering_{order}_kernels_notop.h5", model="squeezenet1_1")
        for order in ("tf", "th")
    )
    assert order.activation == other.activation == "features"
    jax.tree.map(np.testing.assert_array_equal, order.variables, other.variables)
    features = zoo.load(TOP, model="squeezenet1_1", head=None)
    jax.tree.map(np.testing.assert_array_equal, order.variables, features.variables)


@needs_data
def test_keras_weights_recognize_photographs():
    """Of all 309 photographs it recognizes 206, and has 271 among its first five; a twelfth of them is seen here."""
    folder = DATA / "imagenet_samples"
    rows = [line.split("\t") for line in (folder / "classes.txt").read_text().splitlines()]
    files = {file.name.partition("_")[0]: file for file in (folder / "images").iterdir()}
    chosen = [(int(index), files[word]) for index, word, _ in rows if word in files][::12]
    expected = zoo.Preprocessing(
        size=227, color_order="BGR", value_range=(0, 255), mean=(103.939, 116.779, 123.68), std=(1.0,)
    )
    net = dataclasses.replace(zoo.load(TOP, model="squeezenet1_1"), preprocessing=expected)
    assert net.provenance["model"] == "keras/squeezenet1_1" and net.activation == "logits"
    images = np.stack([net.preprocess(np.asarray(PIL.Image.open(file).convert("RGB"))) for _, file in chosen])
    order = np.argsort(-np.asarray(jax.jit(net.model.apply)(net.variables, images)), axis=-1)
    right = order == np.array([index for index, _ in chosen])[:, None]
    assert (right[:, 0].sum(), right[:, :5].sum(), len(chosen)) == (22, 25, 26)
