"""An ensemble is the same runs at once: seeds and hyper-parameters, unrolled and vmapped, resumed and evaluated."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import train
from tests.train_models import Net, assert_same, draw, host_batch

TEST = host_batch(99, 30)
KEYS = jax.random.split(jax.random.key(0), 2)
RATES = jnp.array([1e-3, 3e-3])


def member(state, i):
    return jax.tree.map(lambda leaf: leaf[i], state)


def close(a, b, tolerance):
    """Relative to the largest entry of each array; a bias before a batch norm is rounding noise, hence the floor."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * max(float(jnp.abs(y).max()), 1e-3))


@pytest.mark.parametrize("members", ["unroll", "vmap"])
def test_members_equal_separate_runs(members):
    options = dict(steps=100 if members == "unroll" else 10, evaluate=TEST)
    together = train.fit_ensemble(
        KEYS, Net(), optax.sgd, draw, hparams={"learning_rate": RATES}, members=members, **options
    )
    for i in range(2):
        alone = train.fit(KEYS[i], Net(), optax.sgd(float(RATES[i])), draw, **options)
        close(member(together.state.params, i), alone.state.params, 1e-5)
        close(member(together.state.model_state, i), alone.state.model_state, 1e-5)
        assert together.evaluation["loss"][i] == pytest.approx(alone.evaluation["loss"], rel=1e-4)
        assert [line["step"] for line in together.history[i]] == [line["step"] for line in alone.history]


def test_hyperparameters_are_arrays_in_the_state():
    result = train.fit_ensemble(KEYS, Net(), optax.adam, draw, hparams={"learning_rate": RATES}, steps=2)
    np.testing.assert_array_equal(result.state.opt_state.hyperparams["learning_rate"], RATES)
    assert result.state.params["head"]["kernel"].shape[0] == 2


def test_platform_decides_how_members_run():
    text = []
    for members in ("auto", "unroll"):
        result = train.fit_ensemble(KEYS, Net(), lambda: optax.sgd(0.1), draw, steps=2, members=members)
        text.append(result.state)
    assert_same(*text)  # on CPU they are unrolled


def test_ensembles_resume(tmp_path):
    options = dict(evaluate=TEST, evaluate_every=2, checkpoint_every=2, log_every=2)
    make = lambda: optax.adam(1e-2)
    train.fit_ensemble(KEYS, Net(), make, draw, steps=2, run=tmp_path / "a", **options)
    resumed = train.fit_ensemble(KEYS, Net(), make, draw, steps=4, run=tmp_path / "a", **options)
    whole = train.fit_ensemble(KEYS, Net(), make, draw, steps=4, run=tmp_path / "b", **options)
    assert_same(resumed.state, whole.state)
    assert train.load_variables(tmp_path / "a")["params"]["head"]["kernel"].shape[0] == 2


def test_errors():
    with pytest.raises(ValueError, match=r"keys must be a stack of typed keys, shape \(members,\)"):
        train.fit_ensemble(KEYS[0], Net(), optax.sgd, draw, hparams={"learning_rate": RATES}, steps=1)
    with pytest.raises(ValueError, match=r"hparams\['learning_rate'\] must be \(2, ...\), got \(3,\)"):
        train.fit_ensemble(KEYS, Net(), optax.sgd, draw, hparams={"learning_rate": jnp.ones(3)}, steps=1)
    with pytest.raises(ValueError, match="members must be one of"):
        train.fit_ensemble(KEYS, Net(), lambda: optax.sgd(0.1), draw, steps=1, members="loop")


def test_errors_name_the_members_that_are_not_finite():
    rates = jnp.array([1e-3, jnp.inf])
    with pytest.raises(train.NonFiniteLossError, match=r"of members \[1\] must be finite"):
        train.fit_ensemble(KEYS, Net(), optax.sgd, draw, hparams={"learning_rate": rates}, steps=5)
