"""Batches: parts of large ones, policies one by one, training steps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import augment, models, train
from jaxcnn.augment import _programs, batching
from tests.augment.functions import IMAGE, KEY, P, function
from tests.support.selection import daily, daily_cases


@pytest.mark.parametrize(("count", "cached", "at_once"), daily_cases([(6, 0.5, 1), (6, 5, 3), (7, 3, 3)], [(7, 3, 3)]))
def test_a_large_batch_is_processed_in_parts_to_the_same_result(monkeypatch, count, cached, at_once):
    f = augment.batched(augment.sequence([function("random_scale"), function("random_brightness")]))
    batch = jnp.stack([IMAGE] * count)
    whole = jax.jit(lambda key, images: f(key, images, start=2))(KEY, batch)
    monkeypatch.setattr(batching, "_LARGE", batch.size)
    monkeypatch.setattr(batching, "_CACHED", int(cached * IMAGE.size))
    assert batching._at_once(count, batch.size, batching._LARGE, batching._CACHED) == at_once
    parts = jax.jit(lambda key, images: f(key, images, start=2))(KEY, batch)
    np.testing.assert_allclose(parts, whole, atol=1e-5)


@pytest.mark.parametrize(("n", "values", "at_once"), [(6, 100, 6), (6, 2**20, 3), (6, 2**22, 1), (7, 2**20, 3)])
def test_as_many_examples_are_processed_at_once_as_fit_in_the_caches(n, values, at_once):
    assert batching._at_once(n, values, batching._LARGE, batching._CACHED) == at_once


@pytest.mark.parametrize(
    ("count", "jit"),
    daily_cases([(count, jit) for count in (0, 1, 2) for jit in (False, True)], [(0, False), (1, True), (2, False)]),
)
def test_policies_process_one_example_after_another_whatever_their_number(monkeypatch, count, jit):
    """In a batch all branches would be computed, and one selected."""
    policy = jax.jit(augment.trivial_augment) if jit else augment.trivial_augment
    _programs._find_program.cache_clear()  # also what other tests traced
    calls, of_jax = [], jax.lax.map
    monkeypatch.setattr(jax.lax, "map", lambda *args, **options: calls.append(args) or of_jax(*args, **options))
    batch = jnp.stack([IMAGE] * count) if count else jnp.zeros((0, *IMAGE.shape))
    assert jax.eval_shape(augment.batched(policy), KEY, batch).shape == batch.shape
    assert len(calls) == (count > 0)


@pytest.mark.nightly
def test_a_training_step_augments():

    chain = augment.sequence([function("random_flip_left_right"), function("random_pad_and_crop")])
    batch = {"image": jnp.stack([IMAGE] * 4), "label": jnp.arange(4)}
    model, tx = models.create("gwap_cnn", num_classes=4), optax.sgd(0.1)
    state = train.create_state(KEY, model, tx, batch)
    step = train.make_train_step(model, tx, augment=augment.batched(chain))
    _, metrics = jax.jit(step)(state, batch)
    assert np.isfinite(metrics["loss"])


@pytest.mark.parametrize("policy", daily([augment.trivial_augment, augment.rand_augment], [augment.trivial_augment]))
def test_a_training_step_with_a_policy_repeats_bit_for_bit(policy):

    batch = {"image": jnp.stack([IMAGE] * 4), "label": jnp.arange(4)}
    model, tx = models.create("gwap_cnn", num_classes=4), optax.sgd(0.1)
    state = train.create_state(KEY, model, tx, batch)
    step = jax.jit(train.make_train_step(model, tx, augment=augment.batched(policy)))
    first, *others = [jax.tree.leaves(step(state, batch)[0].params) for _ in range(4)]
    for other in others:
        for a, b in zip(first, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("impl", daily(["rbg", "unsafe_rbg"], ["rbg"]))
def test_draws_do_not_depend_on_the_batch_for_keys_of_any_implementation(impl):
    """Random bits of such keys under ``vmap`` are drawn for the batch as a whole."""
    f, key = augment.batched(P(augment.random_rotation, degrees=90.0)), jax.random.key(7, impl=impl)
    batch = jnp.stack([IMAGE] * 4)
    whole = f(key, batch)
    np.testing.assert_allclose(whole[2:], f(key, batch[2:], start=2), atol=1e-6)
    assert float(jnp.abs(whole[0] - whole[1]).max()) > 0.01
    keys = jax.random.split(key, 3)
    mapped = jax.vmap(P(augment.random_rotation, degrees=90.0))(keys, batch[:3])
    np.testing.assert_allclose(mapped[2], augment.random_rotation(keys[2], IMAGE, degrees=90.0), atol=1e-6)
