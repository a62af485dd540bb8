"""Xception against Keras with random weights, and mini-Xception with real ones against the network of their file."""

import jax
import numpy as np
import pytest

from jaxcnn import zoo
from tests.support.keras_parity import build_keras, compare_with_keras, measure_difference
from tests.support.real_data import DATA
from tests.support.selection import daily
from tests.support.untyped import untyped

FACES = DATA / "keras" / "fer2013_mini_XCEPTION.102-0.66.hdf5"


@pytest.mark.parametrize("middle_blocks", daily([2, 8], [2]))
def test_xception_equals_keras(middle_blocks, tmp_path, monkeypatch):
    """With two of the middle blocks, which are all alike and most of the time of compilation."""
    module = pytest.importorskip("keras").src.applications.xception
    monkeypatch.setattr(module, "range", lambda _: range(middle_blocks), raising=False)
    compare_with_keras(
        lambda size: build_keras("Xception", size),
        "xception",
        tmp_path,
        options={"middle_blocks": middle_blocks},
        sizes=((71, 74),),
        images=3,
    )


@pytest.mark.skipif(not FACES.is_file(), reason="real weights: set JAXCNN_TEST_DATA to the folder of the data")
def test_mini_xception_equals_the_network_of_its_file():
    ours, theirs = zoo.load(FACES, model="mini_xception"), zoo.load(FACES)
    for (height, width), train in (((49, 54), False), ((65, 66), True)):
        x = np.random.default_rng(3).uniform(-1, 1, (2, height, width, 1)).astype(np.float32)
        logits, probabilities = (_run(one, x, train) for one in (ours, theirs))
        assert measure_difference(jax.nn.softmax(logits), probabilities) < 1e-5


def _run(pretrained, x, train):
    """Computes the outputs of a network in one of its modes."""
    apply = jax.jit(lambda v, x: pretrained.model.apply(v, x, train=train, mutable=["batch_stats"])[0])
    return untyped(apply(pretrained.variables, x))
