"""Training several models at once: ``fit_ensemble``."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn import losses
from jaxcnn._check import check, choice
from jaxcnn._typing import Array, Key, Variables
from jaxcnn.train.evaluation import Evaluator
from jaxcnn.train.fitting import Result, evaluation_at, with_source
from jaxcnn.train.freezing import check_prefixes, freeze
from jaxcnn.train.loop import Settings, run_loop
from jaxcnn.train.sources import make_source
from jaxcnn.train.state import check_key, create_state, strong
from jaxcnn.train.step import Augment, Loss, Metrics, count_classes, default_metrics, make_eval_step, make_train_step

__all__ = ["fit_ensemble"]


def fit_ensemble(
    keys: Key[Array, " members"],
    model: nn.Module,
    make_tx: Callable[..., optax.GradientTransformation],
    data: Any,
    *,
    hparams: Mapping[str, Any] | None = None,
    steps: int,
    evaluate: Any = None,
    evaluate_every: int | None = None,
    evaluate_batch: int = 256,
    run: str | os.PathLike[str] | None = None,
    loss: Loss = losses.cross_entropy,
    metrics: Metrics | None = None,
    augment: Augment | None = None,
    frozen: Sequence[str] = (),
    ema: float | None = None,
    variables: Variables | None = None,
    checkpoint_every: int | None = None,
    keep: int = 2,
    best: str | None = "accuracy",
    early_stopping: int | None = None,
    log_every: int = 20,
    progress: str | None = None,
    donate: bool = True,
    members: Literal["auto", "unroll", "vmap"] = "auto",
) -> Result:
    """Trains one model per key, each with its own hyper-parameters, in one jitted step.

    Member ``i`` becomes what ``fit(keys[i], model, make_tx(**hparams of i), data, ...)`` gives, up to
    rounding. A callable ``data`` draws for every member from its own key, as ``fit`` does; batches
    that come from the host are shared by all members.

    Hyper-parameters go through ``optax.inject_hyperparams``: they are arrays in the state of the
    optimiser, and ``make_tx`` is called with traced values, so it must not branch on them.

    On CPU the members are unrolled inside the step, because a convolution that is vmapped over
    kernels is about fifteen times slower there; compilation then takes as many times as long. On
    other platforms the step is vmapped.

    Args:
        keys: One typed key per member, e.g. ``jax.random.split(key, 3)``.
        model: Linen module.
        make_tx: Makes the Optax transformation from the hyper-parameters of one member, given by name.
        data: As for ``fit``.
        hparams: Name -> array with a leading axis of members.
        steps: Number of steps of each member.
        evaluate: As for ``fit``.
        evaluate_every: As for ``fit``.
        evaluate_batch: As for ``fit``.
        run: As for ``fit``; one folder for all members.
        loss: As for ``fit``.
        metrics: As for ``fit``.
        augment: As for ``fit``.
        frozen: As for ``fit``.
        ema: As for ``fit``.
        variables: Start every member from copies of these.
        checkpoint_every: As for ``fit``.
        keep: As for ``fit``.
        best: As for ``fit``; the mean over members counts.
        early_stopping: As for ``fit``; all members stop together, by the mean.
        log_every: As for ``fit``.
        progress: As for ``fit``; means over members are shown.
        donate: As for ``fit``.
        members: ``"unroll"``, ``"vmap"``, or ``"auto"`` to choose by platform.

    Returns:
        The result with a leading axis of members: in every leaf of the state, in every evaluation
        metric; the history is one list per member.

    Raises:
        ValueError: If an argument is not as described.
        NonFiniteLossError: If the loss or a parameter of any member is not finite; the message names the members.

    Example:
        >>> import flax.linen as nn, optax
        >>> batch = {"image": jnp.eye(3), "label": jnp.arange(3)}
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> rates = {"learning_rate": jnp.array([0.0, 1.0])}
        >>> result = fit_ensemble(keys, nn.Dense(3), optax.sgd, [batch], hparams=rates, steps=9, evaluate=batch)
        >>> result.state.params["kernel"].shape, bool(result.evaluation["loss"][0] > result.evaluation["loss"][1])
        ((2, 3, 3), True)
    """
    name = "fit_ensemble"
    check_key(name, keys, rank=1)
    choice(name, "members", members, ("auto", "unroll", "vmap"))
    count = keys.shape[0]
    check(count > 0, name, "keys", "at least one key", f"shape {keys.shape}")
    settings = Settings(
        function=name,
        steps=steps,
        evaluate_every=evaluate_every,
        run=run,
        checkpoint_every=checkpoint_every,
        keep=keep,
        best=None if evaluate is None else best,
        early_stopping=early_stopping,
        log_every=log_every,
        progress=progress,
        members=count,
    )
    measures = default_metrics(loss) if metrics is None else metrics
    settings.check_measures(measures)
    source = make_source(name, data)
    batch = source.example()
    values = _of_members(hparams or {}, count)
    states, txs = [], []
    for i in range(count):
        state = create_state(keys[i], model, optax.identity(), batch, variables=variables, ema=ema is not None)
        tx = _injected(make_tx, {argument: array[i] for argument, array in values.items()})
        if check_prefixes(name, state.variables, frozen):
            tx = freeze(tx, state.variables, frozen)
        txs.append(tx)
        states.append(state.replace(opt_state=strong(tx.init(state.params))))
    classes = count_classes(model, states[0], batch)
    state = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    # The injected hyper-parameters live in the state, so that the transformation of one member serves for all.
    train_step = make_train_step(model, txs[0], loss=loss, augment=augment, frozen=frozen, ema=ema)
    unroll = members == "unroll" or (members == "auto" and jax.default_backend() == "cpu")
    step = _over_members(with_source(train_step, source), count, unroll=unroll)
    eval_step = jax.jit(_over_members(make_eval_step(model, metrics=measures), count, unroll=unroll))
    outcome = run_loop(
        settings,
        state,
        jax.jit(step, donate_argnums=(0,) if donate else ()),
        source,
        None if evaluate is None else Evaluator(name, eval_step, evaluate, evaluate_batch),
        classes=classes,
        config={"frozen": list(frozen), "ema": ema, "hparams": {k: np.asarray(v).tolist() for k, v in values.items()}},
    )
    history = [[line for line in outcome.lines if line["member"] == i] for i in range(count)]
    evaluations = [evaluation_at(lines, outcome.step) for lines in history]
    return Result(
        state=outcome.state,
        history=history,
        evaluation={metric: np.asarray([e[metric] for e in evaluations]) for metric in evaluations[0]},
        seconds=outcome.seconds,
        compile_seconds=outcome.compile_seconds,
        best_step=outcome.best_step,
        stopped_early=outcome.stopped_early,
        run=None if run is None else Path(run),
    )


def _of_members(hparams: Mapping[str, Any], count: int) -> dict[str, Array]:
    """Gives the hyper-parameters as arrays, and refuses those without a value per member."""
    values = {name: jnp.asarray(value) for name, value in hparams.items()}
    for name, value in values.items():
        check(value.shape[:1] == (count,), "fit_ensemble", f"hparams[{name!r}]", f"({count}, ...)", value.shape)
    return {name: value.astype(value.dtype) for name, value in values.items()}


def _injected(make_tx: Callable[..., optax.GradientTransformation], values: Mapping[str, Array]) -> Any:
    """Makes the transformation of one member with its hyper-parameters in the state of the optimiser.

    Only the given arguments are injected: ``optax.inject_hyperparams`` alone would take the defaults of
    ``make_tx`` too, and a number of steps must stay a number.
    """
    if not values:
        return make_tx()

    def factory(**given: Any) -> optax.GradientTransformation:
        return make_tx(**given)

    kind = inspect.Parameter.KEYWORD_ONLY
    vars(factory)["__signature__"] = inspect.Signature([inspect.Parameter(name, kind) for name in values])
    return optax.inject_hyperparams(factory)(**values)


def _over_members(function: Callable[..., Any], count: int, *, unroll: bool) -> Callable[..., Any]:
    """Maps a function over the members of its first argument; the other arguments are shared."""

    def mapped(state: Any, *shared: Any) -> Any:
        return jax.vmap(lambda one: function(one, *shared))(state)

    def unrolled(state: Any, *shared: Any) -> Any:
        outputs = [function(jax.tree.map(lambda leaf, i=i: leaf[i], state), *shared) for i in range(count)]
        return jax.tree.map(lambda *leaves: jnp.stack(leaves), *outputs)

    return unrolled if unroll else mapped
