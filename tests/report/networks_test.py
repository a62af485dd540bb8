"""What networks answer to images, and how inputs are brought back to what a person sees."""

import flax.linen as nn
import jax
import numpy as np
import pytest

from jaxcnn.report.networks import Answers, LabeledImages, classify, measure
from jaxcnn.report.run_page import to_displayable


def answers(logits):
    return Answers(np.asarray(logits, np.float32), None, None, None)


def test_metrics_of_few_and_of_many_classes():
    found = measure(answers([[2.0, 0.0], [2.0, 0.0], [np.nan, 0.0], [0.0, 2.0]]), np.array([0, 1, 1, 1]))
    assert found["error"] == 50 and set(found) == {"error", "loss"}  # what is not a number is wrong
    found = measure(answers(np.arange(12.0)[None]), np.array([7]))
    assert found["error"] == 100 and found["top-5 error"] == 0


def test_models_that_cannot_be_hashed_are_classified_too():
    class Scaled(nn.Module):
        options: dict

        @nn.compact
        def __call__(self, x):
            return x.reshape(len(x), -1) * self.options["scale"]

    images = LabeledImages.of({"image": np.ones((3, 1, 2, 1), np.float32), "label": np.zeros(3, int)})
    found = classify(Scaled({"scale": 4.0}), {}, images)
    np.testing.assert_array_equal(found.logits, np.full((3, 2), 4.0))
    assert found.frame is None and found.probabilities.tolist() == [[0.5, 0.5]] * 3


def test_inputs_are_shown_without_their_preprocessing():
    pixels = np.random.default_rng(0).random((2, 3, 3, 3), np.float32)
    known = {"value_range": [0, 255], "mean": [100.0, 110.0, 120.0], "std": [50.0, 60.0, 70.0]}
    inputs = (pixels * 255 - known["mean"]) / known["std"]
    np.testing.assert_allclose(to_displayable(inputs.astype(np.float32), known), pixels, atol=1e-6)
    np.testing.assert_allclose(to_displayable(pixels, None), pixels)
    assert to_displayable(np.full((1, 2, 2, 2), -3.0, np.float32), {}).shape == (1, 2, 2, 1)
    assert to_displayable(np.zeros((1, 2, 2, 5), np.float32), {}).shape == (1, 2, 2, 3)


@pytest.mark.parametrize("n", [1, 5])
def test_any_number_of_images_is_read_once(n):
    read = []

    def images(indices):
        read.extend(indices.tolist())
        return np.ones((len(indices), 2), np.float32)

    variables = nn.Dense(2).init(jax.random.key(0), np.ones((1, 2)))
    assert classify(nn.Dense(2), variables, LabeledImages(np.zeros(n, int), images)).logits.shape[0] == n
    assert read == list(range(n))
