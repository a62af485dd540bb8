"""Optimizers that ask for more than gradients train, and are evaluated with the parameters that they mean."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import augment, train
from tests.support.selection import daily
from tests.support.training_models import Linear, Net, assert_same, host_batch
from tests.support.untyped import untyped

TRAIN, TEST = [host_batch(i, 24) for i in range(4)], host_batch(99, 30)


def fit(tx, *, steps=8, model=None, **options):
    options = {"evaluate": TEST} | options
    return train.fit(jax.random.key(0), model or Linear(), tx, TRAIN, steps=steps, **options)


def kernel(variables):
    return variables["params"]["head"]["kernel"]


def test_a_plateau_lowers_the_rate():
    tx = optax.chain(optax.sgd(0.0), optax.contrib.reduce_on_plateau(patience=2, factor=0.5))
    result = train.fit(jax.random.key(0), Linear(), tx, TRAIN[:1], steps=8)
    assert float(untyped(result.state.opt_state)[1].scale) < 1


@pytest.mark.parametrize("frozen", daily([(), ("head/bias",)], [("head/bias",)]))
def test_line_searches_get_the_loss_as_a_function(frozen):
    result = train.fit(jax.random.key(0), Linear(), optax.lbfgs(), TRAIN[:1], steps=12, evaluate=TEST, frozen=frozen)
    assert result.history[-2]["loss"] < 0.5  # of the mean over the steps; gradient descent needs far more of them
    assert result.evaluation["accuracy"] > 0.9
    if frozen:
        assert not np.any(untyped(result.state.params)["head"]["bias"])


def test_optimizers_may_take_less():
    """A transformation of one's own with a narrow signature gets what it names."""
    seen = []

    def update(updates, state, params=None, *, value):
        seen.append(value.shape)
        return updates, state

    fit(optax.GradientTransformationExtraArgs(lambda params: optax.EmptyState(), untyped(update)), steps=1)
    assert seen[0] == ()


def by_hand_lookahead(gradient_of, params, rate, period, share, steps):
    fast = slow = params
    for i in range(steps):
        fast = jax.tree.map(lambda p, g: p - rate * g, fast, gradient_of(fast, i))
        if (i + 1) % period == 0:
            slow = jax.tree.map(lambda s, f: s + share * (f - s), slow, fast)
            fast = slow
    return fast, slow


def test_lookahead_is_evaluated_with_its_slow_parameters(tmp_path):
    tx = optax.chain(optax.clip(1e9), optax.lookahead(optax.sgd(0.5), 3, 0.5))
    result = fit(tx, steps=8, run=tmp_path)
    start = train.create_state(jax.random.key(0), Linear(), tx, TEST).params

    def gradient_of(params, i):
        def loss(params):
            logits = untyped(Linear().apply({"params": params}, TRAIN[i % 4]["image"]))
            return optax.softmax_cross_entropy_with_integer_labels(logits, TRAIN[i % 4]["label"]).mean()

        return jax.jit(jax.grad(loss))(params)

    fast, slow = by_hand_lookahead(gradient_of, start, 0.5, 3, 0.5, 8)
    np.testing.assert_allclose(kernel(result.state.variables), fast["head"]["kernel"], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(kernel(result.variables), slow["head"]["kernel"], rtol=1e-4, atol=1e-6)
    assert_same(train.load_variables(tmp_path), result.variables)


def test_schedule_free_is_evaluated_with_its_averages(tmp_path):
    tx = optax.contrib.schedule_free_sgd(0.5)
    result = fit(tx, run=tmp_path)
    expected = optax.contrib.schedule_free_eval_params(untyped(result.state.opt_state), result.state.params)
    np.testing.assert_allclose(kernel(result.variables), untyped(expected)["head"]["kernel"], rtol=1e-6)
    assert not np.allclose(kernel(result.variables), kernel(result.state.variables))
    logits = untyped(jax.jit(Linear().apply)(result.variables, TEST["image"]))
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, TEST["label"]).mean()
    assert result.evaluation["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert_same(train.load_variables(tmp_path), result.variables)


def test_eval_params_decide(tmp_path):
    zero = lambda opt_state, params: jax.tree.map(jnp.zeros_like, params)
    result = fit(optax.sgd(0.5), eval_params=zero, run=tmp_path)
    assert not np.any(kernel(result.variables)) and not np.any(kernel(train.load_variables(tmp_path)))
    assert result.evaluation["loss"] == pytest.approx(np.log(3), rel=1e-6)


@pytest.mark.nightly
def test_eval_params_of_an_ensemble():
    keys = jax.random.split(jax.random.key(0), 2)
    ensemble = train.fit_ensemble(
        keys, Linear(), lambda: optax.contrib.schedule_free_sgd(0.5), TRAIN, steps=8, evaluate=TEST
    )
    alone = train.fit(keys[1], Linear(), optax.contrib.schedule_free_sgd(0.5), TRAIN, steps=8, evaluate=TEST)
    np.testing.assert_allclose(kernel(ensemble.variables)[1], kernel(alone.variables), rtol=1e-4, atol=1e-6)


def test_augmentation_may_change_labels():
    mix = functools.partial(augment.mixup, num_classes=3)
    result = fit(optax.adam(1e-2), augment=mix, steps=60)
    assert result.evaluation["accuracy"] > 0.8
    seen = []

    def wrong_way(key, images, labels):
        seen.append(labels.dtype)
        return images, (labels + 1) % 3

    assert fit(optax.adam(1e-2), augment=wrong_way, steps=60).evaluation["accuracy"] < 0.3
    assert seen[0] == jnp.int32


def test_augmentation_errors():
    for function, message in (
        (lambda key, images: (images, images), r"a function \(key, images\) -> images, got one that returns a tuple"),
        (lambda key, images, labels: images, r"\(key, images, labels\) -> \(images, labels\), got one that returns a"),
        (lambda key, images: images[:3], "of one length, got image float32"),
    ):
        with pytest.raises(ValueError, match=f"train step: augment must be .*{message}"):
            fit(optax.sgd(0.1), augment=function)


def test_less_is_better_of_losses():
    wrong = [dict(batch, label=(batch["label"] + 1) % 3) for batch in TRAIN]
    options = {"evaluate": TEST, "evaluate_every": 10, "steps": 40}
    results = [
        train.fit(jax.random.key(0), Linear(), optax.sgd(0.5), TRAIN * 5 + wrong * 5, best=best, **options)
        for best in ("loss", "-loss")
    ]
    losses = {line["step"]: line["loss"] for line in results[0].history if line["split"] == "test"}
    assert results[0].best_step == results[1].best_step == min(losses, key=losses.__getitem__) == 20


def test_the_best_variables_are_kept(tmp_path):
    """Without a run folder too, where early stopping would return what had become worse."""
    wrong = [dict(batch, label=(batch["label"] + 1) % 3) for batch in TRAIN]
    options = {"evaluate": TEST, "evaluate_every": 10, "steps": 40, "best": "loss"}
    plain, kept = (
        train.fit(jax.random.key(0), Linear(), optax.sgd(0.5), TRAIN * 5 + wrong * 5, run=run, **options)
        for run in (None, tmp_path)
    )
    short = train.fit(jax.random.key(0), Linear(), optax.sgd(0.5), TRAIN * 5, steps=20, evaluate=TEST)
    for result in (plain, kept):
        assert_same(jax.tree.map(np.asarray, result.best_variables), jax.tree.map(np.asarray, short.variables))
    assert_same(short.best_variables, short.variables)
    with pytest.raises(ValueError, match="best_variables: result must be that of a run with evaluations"):
        _ = train.fit(jax.random.key(0), Linear(), optax.sgd(0.5), TRAIN, steps=1).best_variables


def test_names_of_errors_are_minimized():
    """Also within longer names; a negated error is maximized."""
    for name, less in (("val_loss", True), ("top5_error", True), ("Cross_Entropy", True), ("neg_mse", False)):
        steps = {"steps": 4, "evaluate_every": 2, "metrics": {name: lambda logits, labels: jnp.abs(logits).sum(-1)}}
        result = fit(optax.sgd(0.5), best=name, **steps)
        values = {line["step"]: line[name] for line in result.history if line["split"] == "test"}
        assert values[2] != values[4]
        assert result.best_step == (min if less else max)(values, key=lambda step: values[step])


def test_errors_of_what_is_no_optimizer():
    with pytest.raises(ValueError, match="tx must be an optax transformation, such as .*, got float"):
        fit(untyped(0.1))


def test_best_errors():
    wide = {"loss": lambda logits, labels: logits}
    with pytest.raises(
        ValueError, match=r"best must be a metric with one value per example, got '-loss' with shape \(3,"
    ):
        fit(optax.sgd(0.1), metrics=wide, best="loss")
    with pytest.raises(
        ValueError, match="best must be None or a metric among loss, accuracy, or one with a minus, got 3"
    ):
        fit(optax.sgd(0.1), best=untyped(3))


def test_averages_come_with_statistics_of_their_own(tmp_path):
    """Running statistics of the parameters that train belong to another network than their average."""
    options: Any = {"model": Net(rate=0.0), "ema": 0.999, "steps": 12, "run": tmp_path, "evaluate_every": 6}
    result = fit(optax.adam(0.3), **options)
    state = train.update_batch_stats(result.state.replace(eval_state=None), TRAIN * 4, model=Net(rate=0.0))
    for name in ("block1", "block10"):
        own, expected, running = (
            untyped(collection)[name]["norm"]["mean"]
            for collection in (
                result.variables["batch_stats"],
                state.eval_variables["batch_stats"],
                result.state.model_state["batch_stats"],
            )
        )
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-6)
        assert not np.allclose(own, running, rtol=1e-2)
    assert_same(train.load_variables(tmp_path), result.variables)
    assert_same(fit(optax.adam(0.3), **options).variables, result.variables)  # only read


def test_measured_statistics_are_the_mean_of_the_batches():
    """Not a moving average of them, which would depend on their order and on what was there before."""
    batches = [
        {"image": np.array([[low], [low + 2.0]], np.float32), "label": np.zeros(2, np.int32)} for low in (0.0, 6.0, 9.0)
    ]
    model = nn.BatchNorm(use_running_average=False, momentum=0.99)
    state = train.create_state(jax.random.key(0), model, optax.sgd(0.1), batches[0])
    state = train.update_batch_stats(state, batches, model=model)
    np.testing.assert_allclose(state.eval_variables["batch_stats"]["mean"], [6.0])
    np.testing.assert_allclose(state.eval_variables["batch_stats"]["var"], [1.0])
    assert not np.any(untyped(state.variables)["batch_stats"]["mean"])  # training goes on with its own
    with pytest.raises(ValueError, match="batches must be at least one batch, got none"):
        train.update_batch_stats(state, [], model=model)
