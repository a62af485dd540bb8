"""The loop: it learns, measures what it says, stops when it should, and takes every kind of data."""

import functools
import warnings
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxcnn import data, losses, metrics, train
from jaxcnn.train.progress import Progress
from jaxcnn.train.step import step_keys
from tests.support.training_models import Linear, Net, assert_same, draw, host_batch
from tests.support.untyped import untyped

TEST = host_batch(99, 50)


def fit(batches=draw, *, key=0, model=None, tx=None, steps=6, **options):
    return train.fit(jax.random.key(key), model or Net(), tx or optax.adam(1e-2), batches, steps=steps, **options)


def test_it_learns_and_measures():
    result = fit(steps=60, evaluate=TEST, evaluate_every=20, evaluate_batch=16, log_every=30)
    assert [(line["step"], line["split"]) for line in result.history] == [
        (20, "test"),
        (30, "train"),
        (40, "test"),
        (60, "train"),
        (60, "test"),
    ]
    assert result.evaluation["accuracy"] > 0.8
    assert result.history[3]["loss"] < result.history[1]["loss"]
    logits: Any = jax.jit(Net().apply)(result.variables, TEST["image"])
    assert result.evaluation["accuracy"] == pytest.approx(float(metrics.accuracy(logits, TEST["label"]).mean()))
    loss = float(jax.jit(losses.cross_entropy)(logits, TEST["label"]).mean())
    assert result.evaluation["loss"] == pytest.approx(loss, rel=1e-5)
    assert result.seconds > result.compile_seconds > 0


def test_the_same_key_gives_the_same_run():
    first = fit(model=Linear()).state
    assert_same(first, fit(model=Linear()).state)
    other = fit(key=1, model=Linear()).state.params["head"]["kernel"]
    assert not np.allclose(first.params["head"]["kernel"], other)


def test_fit_is_a_loop_over_the_pure_step():
    tx = optax.sgd(0.1)
    result = fit(tx=tx, steps=3)
    state = train.create_state(jax.random.key(0), Net(), tx, draw(jax.random.key(0)))
    step = jax.jit(train.make_train_step(Net(), tx))
    for _ in range(3):
        state, _ = step(state, draw(step_keys(state).data))
    for a, b in zip(jax.tree.leaves(result.state.params), jax.tree.leaves(state.params), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


def test_every_kind_of_data():
    batches = [host_batch(i) for i in range(4)]
    whole = {name: np.concatenate([b[name] for b in batches]) for name in ("image", "label")}
    loader = data.Loader((whole["image"], whole["label"]), 12, seed=0, shuffle=False)
    linear = functools.partial(fit, model=Linear())
    expected = linear(batches, steps=4).state
    assert_same(linear(iter(batches), steps=4).state, expected)
    assert_same(linear(loader, steps=4).state, expected)
    again = linear(batches, steps=6).state  # a list goes in circles
    assert_same(linear([*batches, *batches[:2]], steps=6).state, again)
    with pytest.raises(ValueError, match="data must last until step 5, got an end after 4 batches"):
        fit(iter(batches), steps=6)
    with pytest.raises(ValueError, match="fit: data must be a callable"):
        fit([], steps=6)
    with pytest.raises(ValueError, match="fit: data must be a callable"):
        fit(whole, steps=6)


def test_sources_that_are_pytrees_are_no_constants_of_the_program():
    images = np.random.default_rng(0).random((500, 12, 12, 1), np.float32)
    stream = data.distorted(images, np.arange(500) % 3, kind="RTS", canvas=9).stream(4)
    result = fit(stream, model=Linear(), steps=2)
    assert int(result.state.step) == 2


def test_evaluation_takes_batches_loaders_and_callables():
    parts = [{name: values[i : i + 20] for name, values in TEST.items()} for i in (0, 20, 40)]
    loader = data.Loader((TEST["image"], TEST["label"]), 15, seed=0)
    found = [fit(model=Linear(), steps=2, evaluate=e).evaluation for e in (TEST, parts, loader, lambda: iter(parts))]
    for other in found[1:]:
        assert other == pytest.approx(found[0], rel=1e-5)


def test_early_stopping():
    wrong = dict(TEST, label=(TEST["label"] + 1) % 3)  # training on right labels makes this only worse
    result = fit(steps=400, evaluate=wrong, evaluate_every=10, early_stopping=3, tx=optax.adam(3e-2))
    assert result.stopped_early and int(result.state.step) < 400
    assert int(result.state.step) - untyped(result.best_step) == 30


def test_loss_that_is_not_finite_stops_and_names_the_place(tmp_path):
    bad = dict(host_batch(3), image=np.full((12, 9, 9, 1), np.nan, np.float32))
    batches = [host_batch(i) for i in range(5)] + [bad]
    with pytest.raises(train.NonFiniteLossError, match="loss must be finite, got nan at step 6") as caught:
        fit(batches, model=Linear(), steps=20, log_every=10, checkpoint_every=2, run=tmp_path)
    assert caught.value.step == 6
    assert caught.value.checkpoint == str(tmp_path / "checkpoints" / "4")
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["2", "4"]
    for leaf in jax.tree.leaves(train.load_variables(tmp_path)):
        assert np.all(np.isfinite(leaf))


def test_parameters_that_are_not_finite_are_never_kept(tmp_path):
    with pytest.raises(train.NonFiniteLossError, match="parameters must be finite"):
        fit(model=Linear(), steps=1, tx=optax.sgd(float("inf")), run=tmp_path)
    assert not list(tmp_path.glob("checkpoints/*"))


def test_gradients_and_the_state_of_the_optimizer_must_be_finite(tmp_path):
    """Infinities in second moments freeze weights for good, while loss and parameters stay finite."""
    huge = dict(host_batch(3), image=1e21 * host_batch(3)["image"])
    batches = [host_batch(0), host_batch(1), huge, *(host_batch(i) for i in range(5))]
    with pytest.raises(train.NonFiniteLossError, match="gradient_norm must be finite, got inf at step 3"):
        fit(batches, model=Linear(), steps=8)
    skipping = optax.apply_if_finite(optax.adam(1e-2), 3)  # such gradients change nothing
    assert int(fit(batches, model=Linear(), tx=skipping, steps=2).state.step) == 2

    def update(updates, state, params=None):
        return updates, {"moment": state["moment"] * 1e20, "best": state["best"]}

    start = lambda params: {"moment": jnp.ones(3), "best": jnp.inf}  # infinite from the start, as a best value may be
    growing = optax.GradientTransformation(start, update)
    with pytest.raises(
        train.NonFiniteLossError, match="optimizer state must be finite, got inf or nan in opt_state/mo"
    ):
        fit(model=Linear(), tx=growing, steps=5, run=tmp_path, checkpoint_every=1)
    assert sorted(p.name for p in (tmp_path / "checkpoints").iterdir()) == ["1"]


class Dead(nn.Module):
    """Says nothing about anything: its loss is ln(classes)."""

    @nn.compact
    def __call__(self, x, *, train=False):
        return 0.0 * nn.Dense(3, name="head")(x.mean((1, 2)))


def test_a_dead_network_is_noticed_once():
    with pytest.warns(RuntimeWarning, match=r"loss has stayed at ln\(classes\) = 1.099 up to step 2\d\d") as caught:
        fit(model=Dead(), steps=300)
    assert len(caught) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit(model=Dead(), steps=100)  # too short to say


def test_options_reach_the_step():
    frozen = fit(steps=3, frozen=("block1",), variables=(start := fit(steps=1).variables)).state
    assert_same(frozen.params["block1"], start["params"]["block1"])
    assert_same(frozen.model_state["batch_stats"]["block1"], start["batch_stats"]["block1"])
    assert not np.allclose(frozen.params["head"]["kernel"], start["params"]["head"]["kernel"])
    linear = functools.partial(fit, model=Linear())
    averaged = linear(steps=3, ema=0.5).state
    assert averaged.ema is not None
    smooth = linear(steps=1, loss=functools.partial(losses.cross_entropy, label_smoothing=0.5)).history[-1]
    assert smooth["loss"] != linear(steps=1).history[-1]["loss"]
    dark = linear(steps=3, augment=lambda key, images: 0.0 * images).history[-1]
    assert dark["accuracy"] < 0.7


def test_the_progress_line_without_a_terminal(capsys):
    fit(model=Linear(), steps=20, log_every=1, progress="net")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[-1].startswith("net: 20/20") and "steps/s" in lines[-1] and "0 s to go" in lines[-1]
    assert "loss" in lines[-1] and "accuracy" in lines[-1]


def test_the_rate_is_of_steps_that_are_done(capsys):
    now = 0.0
    progress = Progress("net", 40, clock=lambda: now)
    for done in range(1, 41):
        now += 0.001  # to hand a step to the device takes no time
        if done % 10 == 0:
            now += 5.0  # to wait for ten steps does
            progress.measured(done, loss=1.0)
        progress.update(done)
    progress.__exit__()
    lines = capsys.readouterr().err.splitlines()
    assert not any("steps/s" in line for line in lines[:4])  # nothing is known before a second measurement
    assert "2.0 steps/s" in lines[-1] and "20 s elapsed" in lines[-1]
    assert "10 s to go" in lines[4]


@pytest.mark.errors  # annotations say int
def test_counts_may_be_numpys(tmp_path):
    two = untyped(np.int64(2))
    result = fit(
        model=Linear(),
        steps=two,
        evaluate=TEST,
        evaluate_every=two,
        log_every=two,
        keep=two,
        checkpoint_every=two,
        run=tmp_path,
    )
    assert [line["step"] for line in result.history] == [2, 2]
    assert (
        fit(model=Linear(), steps=2, evaluate=TEST, evaluate_every=2, log_every=2, run=tmp_path).history
        == result.history
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(steps=0), "fit: steps must be a positive integer, got 0"),
        (dict(steps=True), "fit: steps must be a positive integer, got True"),
        (dict(steps=2.0), "fit: steps must be a positive integer, got 2.0"),
        (dict(evaluate=TEST, evaluate_batch=0), "fit: evaluate_batch must be a positive integer, got 0"),
        (dict(evaluate=5), "fit: evaluate must be one batch, a list of batches"),
        (dict(evaluate=TEST, best="accurcy"), "accurcy"),
        (dict(frozen=("blokc",)), "frozen prefix 'blokc' matches nothing; at the top there are block1"),
        (dict(ema=1.5), "ema must be None or a decay"),
        (dict(keep=0), "keep must be a positive integer"),
    ],
)
def test_errors(options, message):
    with pytest.raises(ValueError, match=message):
        fit(**options)


def test_errors_of_the_key():
    with pytest.raises(ValueError, match="fit: key must be one typed key"):
        train.fit(jnp.zeros(2, jnp.uint32), Net(), optax.sgd(0.1), draw, steps=1)
