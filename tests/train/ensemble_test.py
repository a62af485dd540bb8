"""An ensemble is the same runs at once: seeds and hyper-parameters, over devices, halved, resumed and evaluated."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn import train
from tests.support.selection import daily
from tests.support.training_models import Linear, Net, assert_same, draw, host_batch
from tests.support.untyped import untyped

TEST = host_batch(99, 30)
KEYS = jax.random.split(jax.random.key(0), 2)
RATES = jnp.array([1e-3, 3e-3])


def member(state, i):
    return jax.tree.map(lambda leaf: leaf[i], state)


def close(a, b, tolerance):
    """Relative to the largest entry of each array; a bias before a batch norm is rounding noise, hence the floor."""
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * max(float(jnp.abs(y).max()), 1e-3))


def test_members_equal_separate_runs():
    options: dict[str, Any] = dict(steps=40, evaluate=TEST)
    together = train.fit_ensemble(KEYS, Net(), optax.sgd, draw, hparams={"learning_rate": RATES}, **options)
    alone = train.fit(KEYS[1], Net(), optax.sgd(float(RATES[1])), draw, **options)
    one = together.member(1)
    close(one.state.params, alone.state.params, 1e-5)
    close(one.state.model_state, alone.state.model_state, 1e-5)
    assert one.evaluation["loss"] == pytest.approx(alone.evaluation["loss"], rel=1e-4)
    assert [line["step"] for line in one.history] == [line["step"] for line in alone.history]


def test_hyperparameters_are_arrays_in_the_state():
    result = train.fit_ensemble(KEYS, Linear(), optax.adam, draw, hparams={"learning_rate": RATES}, steps=2)
    np.testing.assert_array_equal(untyped(result.state.opt_state).hyperparams["learning_rate"], RATES)
    assert result.state.params["head"]["kernel"].shape[0] == 2


@pytest.mark.parametrize("count", daily([6, 16], [6]))
def test_members_are_spread_over_devices(count):
    """As many of the eight devices as divide the members; the numbers are those of one device."""
    keys = jax.random.split(jax.random.key(1), count)
    options: dict[str, Any] = dict(hparams={"learning_rate": jnp.linspace(1e-3, 1e-1, count)}, steps=3, evaluate=TEST)
    one = train.fit_ensemble(keys, Linear(), optax.sgd, draw, devices=jax.devices()[:1], **options)
    many = train.fit_ensemble(keys, Linear(), optax.sgd, draw, **options)
    assert len(one.state.step.sharding.device_set) == 1
    assert len(many.state.step.sharding.device_set) == {6: 6, 16: 8}[count]
    close(jax.device_get(many.state.params), jax.device_get(one.state.params), 1e-4)
    np.testing.assert_allclose(many.evaluation["loss"], one.evaluation["loss"], rtol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.nightly
def test_pmap_shard_map_and_sharded_jit_take_the_same_step():
    """The plain step under vmap, in any way of using eight devices."""
    tx, batch = optax.sgd(0.1), draw(jax.random.key(1), 8)
    states = jax.vmap(lambda key: train.create_state(key, Net(), tx, batch))(jax.random.split(jax.random.key(0), 16))
    step = jax.vmap(train.make_train_step(Net(), tx), (0, None))
    wanted, figures = jax.jit(step)(states, batch)
    mesh = jax.make_mesh((8,), ("members",), axis_types=(AxisType.Auto,))
    own = NamedSharding(mesh, P("members"))
    mapped = jax.shard_map(step, mesh=mesh, in_specs=(P("members"), P()), out_specs=P("members"))
    split = jax.tree.map(lambda leaf: leaf.reshape(8, 2, *leaf.shape[1:]), states)
    pmapped = jax.pmap(step, in_axes=(0, None))(split, batch)
    found = {
        "shard_map": jax.jit(mapped)(states, batch),
        "jit": jax.jit(step)(jax.device_put(states, own), batch),
        "pmap": jax.tree.map(lambda leaf: leaf.reshape(16, *leaf.shape[2:]), pmapped),
    }
    for after, measured in found.values():
        close(jax.device_get(after.params), jax.device_get(wanted.params), 1e-4)
        np.testing.assert_allclose(measured["loss"], figures["loss"], rtol=1e-5)


HALVING = dict(evaluate=TEST, evaluate_every=2, halve_every=4, log_every=2, best="-loss")
MANY = jax.random.split(jax.random.key(3), 5)
LADDER = {"learning_rate": jnp.array([1e-4, 1e-1, 1e-3, 3e-2, 1e-2])}


@pytest.fixture(scope="module")
def halved(tmp_path_factory):
    """An ensemble of five of which one is left."""
    options: dict[str, Any] = dict(hparams=LADDER, checkpoint_every=2, **HALVING)
    run = tmp_path_factory.mktemp("halved") / "run"
    return train.fit_ensemble(MANY, Linear(), optax.sgd, draw, steps=12, run=run, **options)


def test_successive_halving(halved):
    result = halved
    ends = [lines[-1]["step"] for lines in result.history]
    assert sorted(ends) == [4, 4, 8, 12, 12]  # 5 members, 3 after step 4, 2 after step 8, 1 after the last
    assert result.state.step.tolist() == ends
    losses = [{line["step"]: line["loss"] for line in lines if line["split"] == "test"} for lines in result.history]
    for rung, survivors in ((4, 3), (8, 2)):
        there = sorted((one[rung], i) for i, one in enumerate(losses) if rung in one)
        assert all(ends[i] > rung for _, i in there[:survivors]) and all(ends[i] == rung for _, i in there[survivors:])
    last = [i for i, end in enumerate(ends) if end == 12]
    assert result.best_member == min(last, key=lambda i: losses[i][12])
    # A member that was stopped is what a shorter run of it is; evaluation is its last.
    stopped = ends.index(4)
    rate = float(LADDER["learning_rate"][stopped])
    alone = train.fit(MANY[stopped], Linear(), optax.sgd(rate), draw, steps=4, evaluate=TEST)
    close(result.member(stopped).state.params, alone.state.params, 1e-5)
    assert result.evaluation["loss"][stopped] == pytest.approx(alone.evaluation["loss"], rel=1e-4)


def test_halving_resumes_and_the_best_member_is_exported(tmp_path, halved):
    options: dict[str, Any] = dict(hparams=LADDER, checkpoint_every=2, **HALVING)
    for steps in (2, 12):
        resumed = train.fit_ensemble(MANY, Linear(), optax.sgd, draw, steps=steps, run=tmp_path / "a", **options)
    whole = halved
    assert_same(resumed.state, whole.state)
    untimed = lambda lines: [{k: v for k, v in line.items() if k not in ("seconds", "rate")} for line in lines]
    assert [untimed(lines) for lines in resumed.history] == [untimed(lines) for lines in whole.history]
    assert resumed.best_member == whole.best_member
    best = train.load_variables(tmp_path / "a", member="best")
    assert_same(best["params"], whole.member(untyped(whole.best_member)).state.params)
    assert_same(train.load_variables(tmp_path / "a", member=1)["params"], whole.member(1).state.params)
    with pytest.raises(ValueError, match="load_variables: member must be 'best' or one of the 5 members, from 0"):
        train.load_variables(tmp_path / "a", member=5)


@pytest.mark.nightly
def test_a_member_that_was_stopped_may_be_anything():
    rates = {"learning_rate": jnp.array([1e-2, 1e-2, 1e-2, 1e6])}
    options = {**HALVING, "halve_every": 2}
    result = train.fit_ensemble(MANY[:4], Net(), optax.sgd, draw, hparams=rates, steps=8, **options)
    assert result.history[3][-1]["step"] == 2 and result.best_member != 3


@pytest.mark.nightly  # a halved one does so daily
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
    ensemble = lambda **options: train.fit_ensemble(KEYS, Linear(), lambda: optax.sgd(0.1), draw, steps=1, **options)
    with pytest.raises(ValueError, match="halve_every must be used with evaluate and best"):
        ensemble(halve_every=2)
    with pytest.raises(ValueError, match="halve_every must be a multiple of evaluate_every=2, got 3"):
        ensemble(halve_every=3, evaluate=TEST, evaluate_every=2)
    with pytest.raises(ValueError, match="halve_every must be a positive integer, got 0"):
        ensemble(halve_every=0)
    with pytest.raises(ValueError, match="devices must be at least one device, got none"):
        ensemble(devices=[])
    with pytest.raises(ValueError, match="member: i must be one of the 2 members, from 0, got 2"):
        ensemble().member(2)
    with pytest.raises(ValueError, match="member: i must be one of the 0 members"):
        train.fit(KEYS[0], Linear(), optax.sgd(0.1), draw, steps=1).member(0)


def test_errors_name_the_members_that_are_not_finite():
    rates = jnp.array([1e-3, jnp.inf])
    with pytest.raises(train.NonFiniteLossError, match=r"of members \[1\] must be finite"):
        train.fit_ensemble(KEYS, Linear(), optax.sgd, draw, hparams={"learning_rate": rates}, steps=5)
