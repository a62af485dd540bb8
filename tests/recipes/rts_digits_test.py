"""The recipe: equal budgets, a slower localizer, a fixed test set, results that add up."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.recipes import rts_digits
from jaxcnn.report.networks import LabeledImages, classify
from tests.support.untyped import untyped


def test_arms_have_equal_budgets():
    config = rts_digits.Config()
    counts = {}
    for arm in rts_digits.ARMS:
        shapes = jax.eval_shape(rts_digits.build(config, arm).init, jax.random.key(0), jnp.zeros((1, 42, 42, 1)))
        counts[arm] = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes["params"]))
    assert counts == {"cnn": 20_112, "st_cnn": 20_240}


def test_the_rate_falls_along_a_cosine_and_is_lower_for_the_transformer():
    config = rts_digits.Config(steps=10, learning_rate=0.1, localizer_scale=0.5)
    tx = rts_digits.optimizer(config)
    params = {"transformer": {"w": jnp.zeros(2)}, "classifier": {"w": jnp.zeros(2)}}
    state, sizes = tx.init(params), []
    for _ in range(11):
        updates, state = untyped(tx.update(jax.tree.map(jnp.ones_like, params), state, params))
        np.testing.assert_allclose(2 * updates["transformer"]["w"], updates["classifier"]["w"], rtol=1e-6)
        sizes.append(-float(updates["classifier"]["w"][0]))
    cosine = optax.cosine_decay_schedule(0.1, 10, 0.01)
    np.testing.assert_allclose(sizes, [float(untyped(cosine)(i)) for i in range(11)], rtol=1e-4)


def test_the_test_set_is_fixed_and_apart_from_training():
    config = rts_digits.Config(test_repeats=2)
    one, two = rts_digits.test_set(config), rts_digits.test_set(config)
    assert one["image"].shape == (720, 42, 42, 1)
    np.testing.assert_array_equal(one["image"], two["image"])
    train, test = (rts_digits.generator(config, split=s).images for s in ("train", "test"))
    known = {np.asarray(image).tobytes() for image in train}
    assert len(train) + len(test) == 1797
    assert sum(np.asarray(image).tobytes() in known for image in test) < 5  # scikit-learn's set holds few doubles


def test_classify_pads_the_last_chunk():
    model = rts_digits.build(rts_digits.Config(), "st_cnn")
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 42, 42, 1)))
    images = np.random.default_rng(0).random((362, 42, 42, 1), np.float32)
    answers = untyped(classify(model, variables, LabeledImages.of({"image": images, "label": np.zeros(362, int)})))
    assert answers.logits.shape == (362, 10) and answers.frame.shape == (362, 4, 2)
    np.testing.assert_array_equal(answers.seen, images)  # an untrained transformer changes nothing
    expected = untyped(jax.jit(model.apply)(variables, images[-2:]))
    np.testing.assert_allclose(answers.logits[-2:], expected, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a positive integer, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be a positive number"),
        ({"canvas": 5}, "canvas must be 28 to 512 pixels"),
        ({"canvas": (42,)}, "canvas must be 28 to 512 pixels"),
        ({"arms": ("cnn", "cnn")}, "arms must be distinct"),
        ({"arms": ("mlp",)}, "arms must be one of"),
    ],
)
def test_errors_of_the_configuration(options, message):
    with pytest.raises(ValueError, match=message):
        rts_digits.Config(**options)
