"""The recipe: equal budgets, a slower localizer, a fixed test set, results that add up."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn.recipes import _experiment as experiment
from jaxcnn.recipes import _report as rts_report
from jaxcnn.recipes import rts_digits
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


def test_comparison_counts_standard_errors():
    arms = {
        "cnn": {"mean": 20.0, "std": 2.0, "errors": [18.0, 20.0, 22.0]},
        "st_cnn": {"mean": 5.0, "std": 1.0, "errors": [4.0, 5.0, 6.0]},
    }
    found = experiment._compare(arms["cnn"], arms["st_cnn"])
    assert found["ratio"] == 0.25 and found["gap"] == 15
    assert found["gap_in_standard_errors"] == pytest.approx(15 / np.sqrt((4 + 1) / 3))
    said = rts_report.verdict({"comparison": found, "config": {"steps": 7, "batch": 8}})
    assert "0.25 times" in said and "11.6 standard errors" in said and "not at convergence" in said


def test_classify_pads_the_last_chunk():
    config = rts_digits.Config()
    network = experiment.Network("st_cnn", 0, experiment.Path("unused"))
    variables = jax.jit(rts_digits.build(config, "st_cnn").init)(jax.random.key(0), jnp.zeros((1, 42, 42, 1)))
    images = np.random.default_rng(0).random((362, 42, 42, 1), np.float32)
    parts = experiment.classify(config, network, variables, images)
    assert parts["probabilities"].shape == (362, 10) and parts["frame"].shape == (362, 4, 2)
    np.testing.assert_array_equal(parts["seen"], images)  # an untrained transformer changes nothing
    few = experiment.classify(config, network, variables, images[-2:])
    np.testing.assert_allclose(few["probabilities"], parts["probabilities"][-2:], atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be a positive integer, got 0"),
        ({"learning_rate": -1.0}, "learning_rate must be a positive number"),
        ({"canvas": 5}, "canvas must be 28 to 512 pixels"),
        ({"arms": ("cnn", "cnn")}, "arms must be distinct"),
        ({"arms": ("mlp",)}, "arms must be one of"),
    ],
)
def test_errors_of_the_configuration(options, message):
    with pytest.raises(ValueError, match=message):
        rts_digits.Config(**options)
