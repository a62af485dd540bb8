import functools
from typing import Any

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import losses, train
from tests.support.compilations import counted_compilations
from tests.support.selection import daily
from tests.support.training_models import Net, assert_same, draw

BATCH = draw(jax.random.key(7))


def state_of(model, tx, **options):
    return train.create_state(jax.random.key(0), model, tx, BATCH, **options)


def jitted_step(model, tx, **options):
    return jax.jit(train.make_train_step(model, tx, **options))


def advance(state, step, count=3):
    step, metrics = jax.jit(step), {}
    for i in range(count):
        state, metrics = step(state, draw(jax.random.key(i)))
    return state, metrics


def test_step_learns_and_moves_statistics():
    model, tx = Net(), optax.adam(0.02)
    before = state_of(model, tx)
    assert sorted(before.model_state) == ["batch_stats"]
    after, metrics = advance(before, train.make_train_step(model, tx), 40)
    assert sorted(metrics) == ["accuracy", "gradient_norm", "loss"]
    chex.assert_shape(list(metrics.values()), ())
    assert metrics["accuracy"] > 0.8 and int(after.step) == 40
    stats = after.model_state["batch_stats"]["block1"]["norm"]
    assert not np.allclose(stats["mean"], before.model_state["batch_stats"]["block1"]["norm"]["mean"])


def test_step_is_the_textbook_formula():
    model, tx = Net(rate=0.0), optax.sgd(0.1)
    state = state_of(model, tx)

    def objective(params):
        logits, _ = model.apply(
            {"params": params, **state.model_state}, BATCH["image"], train=True, mutable=["batch_stats"]
        )
        return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(logits, BATCH["label"]))

    value, gradient = jax.jit(jax.value_and_grad(objective))(state.params)
    after, metrics = jitted_step(model, tx)(state, BATCH)
    np.testing.assert_allclose(metrics["loss"], value, rtol=1e-5)
    np.testing.assert_allclose(metrics["gradient_norm"], optax.tree.norm(gradient), rtol=1e-4)
    expected = jax.tree.map(lambda p, g: p - 0.1 * g, state.params, gradient)
    chex.assert_trees_all_close(after.params, expected, rtol=1e-5, atol=1e-6)


def test_step_is_traced_once():
    make = optax.inject_hyperparams(lambda rate: optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(rate)))
    tx = make(rate=optax.cosine_decay_schedule(0.1, 10))
    model = Net()
    state = state_of(model, tx, ema=True)
    chex.clear_trace_counter()
    step = jax.jit(chex.assert_max_traces(train.make_train_step(model, tx, ema=0.9), n=1))
    for _ in range(3):
        state, _ = step(state, BATCH)


def test_dropout_depends_on_key_and_step_only():
    model, tx = Net(rate=0.5), optax.set_to_zero()
    step = jitted_step(model, tx)
    state = state_of(model, tx)
    frozen_statistics = lambda s: s.replace(model_state=state.model_state)
    again, first = step(state, BATCH)
    _, same = step(state, BATCH)
    _, second = step(frozen_statistics(again), BATCH)
    _, other = step(state.replace(key=jax.random.key(5)), BATCH)
    assert first["loss"] == same["loss"]
    assert first["loss"] != second["loss"] and first["loss"] != other["loss"]


def test_label_smoothing_and_weights():
    model, tx = Net(rate=0.0), optax.sgd(0.1)
    state = state_of(model, tx)
    smooth = jitted_step(model, tx, loss=functools.partial(losses.cross_entropy, label_smoothing=0.3))
    plain = jitted_step(model, tx)
    assert smooth(state, BATCH)[1]["loss"] != plain(state, BATCH)[1]["loss"]
    ones = {**BATCH, "weight": jnp.ones(12)}
    chex.assert_trees_all_close(plain(state, ones)[1], plain(state, BATCH)[1], rtol=1e-6)
    logits, _ = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(
        state.variables, BATCH["image"]
    )
    each = losses.cross_entropy(logits, BATCH["label"])
    halved = {**BATCH, "weight": jnp.where(jnp.arange(12) < 3, 1.0, 0.0)}
    np.testing.assert_allclose(plain(state, halved)[1]["loss"], each[:3].mean(), rtol=1e-5)


def test_augment_gets_the_images_and_a_key_per_step():
    model, tx = Net(rate=0.0), optax.set_to_zero()
    state = state_of(model, tx)
    noisy = jitted_step(model, tx, augment=lambda key, x: x + jax.random.normal(key, x.shape))
    plain = jitted_step(model, tx)
    a, b = noisy(state, BATCH)[1]["loss"], noisy(state.replace(step=state.step + 1), BATCH)[1]["loss"]
    assert len({float(a), float(b), float(plain(state, BATCH)[1]["loss"])}) == 3
    still = jitted_step(model, tx, augment=lambda key, x: x)
    assert_same(still(state, BATCH), plain(state, BATCH))


def test_moving_average():
    model, tx = Net(), optax.sgd(0.5)
    step = jax.jit(train.make_train_step(model, tx, ema=0.75))
    # The decay grows with the steps, (1 + t) / (10 + t), up to the one that is given.
    for done, decay in ((0, 0.1), (2, 0.25), (1000, 0.75)):
        before = state_of(model, tx, ema=True)
        after, _ = step(before.replace(step=before.step + done), BATCH)
        expected = jax.tree.map(lambda e, p, d=decay: d * e + (1 - d) * p, before.ema, after.params)
        chex.assert_trees_all_close(after.ema, expected, rtol=1e-6)
    assert_same(after.eval_variables["params"], after.ema)
    sums = train.make_eval_step(model)(after, BATCH)
    other = train.make_eval_step(model)(after.replace(ema=None), BATCH)
    assert sums["loss"] != other["loss"]


def test_moving_average_of_narrow_parameters_is_wide():
    model = nn.Dense(2, param_dtype=jnp.bfloat16)
    batch = {"image": jnp.ones((1, 3)), "label": jnp.zeros(1, int)}
    state = train.create_state(jax.random.key(0), model, optax.sgd(0.1), batch, ema=True)
    assert state.ema["kernel"].dtype == jnp.float32
    assert state.eval_variables["params"]["kernel"].dtype == jnp.bfloat16


@pytest.mark.parametrize("frozen", daily([(), ("block1",)], [("block1",)]))
def test_moving_average_starts_in_the_step_where_there_is_none(frozen):
    model, tx = Net(), optax.sgd(0.5)
    step = jax.jit(train.make_train_step(model, tx, ema=0.75, frozen=frozen), donate_argnums=0)
    late, early = state_of(model, tx), state_of(model, tx, ema=True)
    for i in range(2):
        (late, of_late), (early, of_early) = (step(state, draw(jax.random.key(i))) for state in (late, early))
        assert_same((late, of_late), (early, of_early))
    plain = jitted_step(model, tx)
    assert plain(state_of(model, tx), BATCH)[0].ema is None
    assert_same(plain(late, BATCH)[0].ema, late.ema)


@pytest.mark.errors
def test_decay_of_the_moving_average_is_refused():
    model, tx = Net(), optax.sgd(0.1)
    with pytest.raises(ValueError, match="ema must be None or a decay in"):
        train.make_train_step(model, tx, ema=1.0)


@pytest.mark.errors
def test_empty_batch_is_refused():
    model, tx = Net(), optax.sgd(0.1)
    empty = jax.tree.map(lambda leaf: leaf[:0], BATCH)
    step = jax.jit(train.make_train_step(model, tx))
    with pytest.raises(
        ValueError, match=r"train step: batch must hold at least one example, got float32\(0, 9, 9, 1\)"
    ):
        step(state_of(model, tx), empty)
    sums = train.make_eval_step(model)(state_of(model, tx), empty)
    assert sums["count"] == 0 and sums["loss"] == 0


@pytest.mark.parametrize("switch", daily(["argument", "position", "field"], ["argument"]))
def test_frozen_part_stands_still(switch):
    model, tx = Net(switch=switch), optax.adamw(0.05, weight_decay=0.1)
    before = state_of(model, tx, ema=True)
    away = jax.tree.map(lambda leaf: leaf + 0.25, before.model_state)
    before = before.replace(model_state=away)
    after, _ = advance(before, train.make_train_step(model, tx, frozen=("block1",), ema=0.9))
    assert_same(after.params["block1"], before.params["block1"])
    assert_same(after.ema["block1"], before.ema["block1"])
    assert_same(after.model_state["batch_stats"]["block1"], before.model_state["batch_stats"]["block1"])
    for moved in ("block10", "head"):
        for a, b in zip(jax.tree.leaves(after.params[moved]), jax.tree.leaves(before.params[moved]), strict=True):
            assert not np.array_equal(a, b)
    norm = after.model_state["batch_stats"]["block10"]["norm"]
    assert not np.array_equal(norm["mean"], before.model_state["batch_stats"]["block10"]["norm"]["mean"])


@pytest.mark.parametrize("switch", daily(["argument", "position", "field"], ["field"]))
def test_frozen_norm_uses_running_statistics(switch):
    model, tx = Net(rate=0.0, switch=switch), optax.sgd(0.1)
    state = state_of(model, tx)
    state = state.replace(model_state=jax.tree.map(lambda leaf: leaf + 2.0, state.model_state))
    _, frozen = jitted_step(model, tx, frozen=("block1", "block10"))(state, BATCH)
    logits = jax.jit(model.apply)(state.variables, BATCH["image"])
    np.testing.assert_allclose(frozen["loss"], losses.cross_entropy(logits, BATCH["label"]).mean(), rtol=1e-5)
    _, free = jitted_step(model, tx)(state, BATCH)
    assert abs(free["loss"] - frozen["loss"]) > 1e-3
    jitted_step(model, tx, frozen=("block1",))(state, BATCH)  # the model itself was not changed
    _, again = jitted_step(model, tx)(state, BATCH)
    assert again["loss"] == free["loss"]


def test_frozen_norm_under_remat():
    class Deep(nn.Module):
        @nn.compact
        def __call__(self, x, *, train=False):
            norm = nn.remat(nn.BatchNorm, static_argnums=(2,))(name="norm")
            return nn.Dense(3, name="head")(norm(x.mean((1, 2)), not train))

    model, tx = Deep(), optax.sgd(0.1)
    before = state_of(model, tx)
    after, _ = advance(before, train.make_train_step(model, tx, frozen=("norm",)))
    assert_same(after.model_state, before.model_state)
    free, _ = advance(before, train.make_train_step(model, tx))
    assert not np.array_equal(free.model_state["batch_stats"]["norm"]["mean"], np.zeros(1))


def test_freeze_keeps_no_state_and_joins_with_the_step():
    model = Net()
    variables = jax.jit(model.init)(jax.random.key(0), BATCH["image"])
    tx = train.freeze(optax.adam(0.05), variables, ["block1", "block10/conv"])
    before = state_of(model, tx)
    count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
    trained = count(before.params["block10"]["norm"]) + count(before.params["head"])
    assert count(before.opt_state) == 2 * trained + 1
    after, _ = advance(before, train.make_train_step(model, tx, frozen=("block1", "block10/conv")))
    assert_same(after.params["block10"]["conv"], before.params["block10"]["conv"])
    assert not np.array_equal(after.params["head"]["kernel"], before.params["head"]["kernel"])
    alone, _ = advance(before, train.make_train_step(model, tx))
    assert_same(alone.params["block1"], before.params["block1"])


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("block", "'block' matches nothing; at the top there are block1, block10, head"),
        ("block1/dense", "'block1/dense' matches nothing; under 'block1' there are conv, norm"),
    ],
)
def test_unknown_prefix(prefix, message):
    model, tx = Net(), optax.sgd(0.1)
    state = state_of(model, tx)
    with pytest.raises(ValueError, match=f"make_train_step: frozen prefix {message}"):
        train.make_train_step(model, tx, frozen=(prefix,))(state, BATCH)
    with pytest.raises(ValueError, match=f"freeze: frozen prefix {message}"):
        train.freeze(tx, state.variables, (prefix,))
    with pytest.raises(ValueError, match="freeze: frozen must be a sequence of paths"):
        train.freeze(tx, state.variables, prefix)


def test_eval_sums_add_and_padding_counts_nothing():
    model = Net()
    state = state_of(model, optax.sgd(0.1))
    metrics = {"loss": losses.cross_entropy, "pairs": lambda logits, labels: logits[:, :2]}
    step = jax.jit(train.make_eval_step(model, metrics=metrics))
    whole = step(state, BATCH)
    assert whole["count"] == 12 and whole["pairs"].shape == (2,)
    front = step(state, jax.tree.map(lambda x: x[:8], BATCH))
    bad = jnp.concatenate([BATCH["image"][8:], jnp.full((4, 9, 9, 1), jnp.nan)])
    back = {"image": bad, "label": jnp.tile(BATCH["label"][8:], 2), "weight": jnp.array([1.0] * 4 + [0.0] * 4)}
    chex.assert_trees_all_close(jax.tree.map(jnp.add, front, step(state, back)), whole, rtol=1e-5)


def test_eval_metric_must_be_per_example():
    model = Net()
    state = state_of(model, optax.sgd(0.1))
    with pytest.raises(ValueError, match=r"metrics\['mean'\] must be \(12, ...\), got \(\)"):
        train.make_eval_step(model, metrics={"mean": lambda logits, labels: logits.mean()})(state, BATCH)
    with pytest.raises(ValueError, match='without the name "count"'):
        train.make_eval_step(model, metrics={"count": losses.cross_entropy})


def test_create_state_copies_given_variables():
    model, tx = Net(), optax.sgd(0.1)
    variables: Any = model.init(jax.random.key(3), BATCH["image"])
    state = state_of(model, tx, variables=variables, ema=True)
    assert_same(state.variables, variables)
    jax.jit(train.make_train_step(model, tx, ema=0.9), donate_argnums=0)(state, BATCH)
    assert np.isfinite(np.asarray(variables["params"]["head"]["kernel"])).all()
    assert not variables["params"]["head"]["kernel"].is_deleted()


@pytest.mark.errors
def test_create_state_refuses():
    model, tx = Net(), optax.sgd(0.1)
    with pytest.raises(ValueError, match=r"create_state: key must be one typed key .*, got uint32"):
        train.create_state(jax.random.PRNGKey(0), model, tx, BATCH)
    with pytest.raises(ValueError, match=r"create_state: key must be one typed key .*, got shape \(2,\)"):
        train.create_state(jax.random.split(jax.random.key(0)), model, tx, BATCH)
    with pytest.raises(ValueError, match='variables must be a mapping with "params"'):
        state_of(model, tx, variables={"batch_stats": {}})


def test_equal_models_are_initialized_by_one_program():
    """Outside of ``jax.jit`` a state is created by a program that is found again."""
    batch = {"image": jnp.ones((2, 8, 8, 3)), "label": jnp.arange(2)}
    tx = optax.sgd(0.1)
    states, compiled = [], []
    for _ in range(2):
        with counted_compilations() as names:
            states.append(train.create_state(jax.random.key(0), nn.Dense(3), tx, batch))
        compiled.append(names)
    assert not compiled[1]
    np.testing.assert_array_equal(states[0].params["kernel"], states[1].params["kernel"])
