"""Real networks of Caffe: their published numbers, and their twins in other formats."""

import gzip

import jax
import numpy as np
import PIL.Image
import pytest

from jaxcnn import zoo
from tests.support.real_data import DATA, needs_data

pytestmark = needs_data
CAFFE = DATA / "caffe"


def run(pretrained, x):
    return jax.jit(pretrained.model.apply)(pretrained.variables, x)


@pytest.mark.parametrize("graph", [None, CAFFE / "lenet_train_test.prototxt"], ids=["of the weights", "prototxt"])
def test_lenet_on_digits(graph):
    """The file says 1 / 256 as the scale; the size of the input follows from the weights."""
    lenet = zoo.load(CAFFE / "lenet_iter_10000.caffemodel", graph=graph)
    assert lenet.input_shape == (28, 28, 1) and lenet.activation == "logits"
    images, labels = (
        np.frombuffer(gzip.decompress((DATA / "mnist" / f"t10k-{name}-ubyte.gz").read_bytes()), np.uint8, offset=skip)
        for name, skip in (("images-idx3", 16), ("labels-idx1", 8))
    )
    images = images.reshape(-1, 28, 28)[:500]
    x = np.stack([lenet.preprocess(image) for image in images])
    np.testing.assert_array_equal(x[..., 0], images / np.float32(256))
    right = np.asarray(run(lenet, x)).argmax(-1) == labels[:500]
    assert right.sum() == 496


def test_half_resnet_on_photographs():
    """The second output is the share of what none of these photographs shows."""
    resnet = zoo.load(CAFFE / "resnet_50_1by2.caffemodel", mean=(104, 117, 123))
    assert resnet.activation == "probabilities" and resnet.model.graph.outputs == ("prob",)
    files = sorted((DATA / "imagenet_samples" / "images").iterdir())[::40]
    x = np.stack([resnet.preprocess(np.asarray(PIL.Image.open(file).convert("RGB"))) for file in files])
    assert x.shape[1:] == (224, 224, 3)
    second = np.asarray(run(resnet, x))[:, 1]
    assert second.max() <= 0.06, second
