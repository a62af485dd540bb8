"""Training several models at once: ``fit_ensemble``."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

from jaxcnn import losses
from jaxcnn._check import check
from jaxcnn._typing import Array, Key, PRNGKey, Variables
from jaxcnn.train.evaluation import TestData
from jaxcnn.train.members import Members, best_member, member_mesh, over_members, shard_members
from jaxcnn.train.optimizers import EvalParams
from jaxcnn.train.result import Result
from jaxcnn.train.settings import Settings
from jaxcnn.train.setup import (
    last_evaluation,
    make_measure,
    make_result,
    make_steps,
    restrict,
    start_state,
    train_and_record,
)
from jaxcnn.train.sources import TrainingData, make_source
from jaxcnn.train.state import State, check_key
from jaxcnn.train.statistics import STATISTICS_BATCHES
from jaxcnn.train.step import Augment, Loss, Metrics

__all__ = ["fit_ensemble"]


def fit_ensemble(
    keys: Key[Array, " members"],
    model: nn.Module,
    make_tx: Callable[..., optax.GradientTransformation],
    data: TrainingData,
    *,
    hparams: Mapping[str, ArrayLike] | None = None,
    steps: int,
    evaluate: TestData | None = None,
    evaluate_every: int | None = None,
    evaluate_batch: int = 256,
    run: str | os.PathLike[str] | None = None,
    classes: Sequence[str] | None = None,
    preprocessing: Mapping[str, Any] | None = None,
    description: Mapping[str, Any] | None = None,
    loss: Loss = losses.cross_entropy,
    metrics: Metrics | None = None,
    augment: Augment | None = None,
    frozen: Sequence[str] = (),
    ema: float | None = None,
    eval_params: EvalParams | None = None,
    variables: Variables | None = None,
    checkpoint_every: int | None = None,
    keep: int = 2,
    best: str | None = "accuracy",
    early_stopping: int | None = None,
    log_every: int = 20,
    progress: str | None = None,
    donate: bool = True,
    halve_every: int | None = None,
    devices: Sequence[Any] | None = None,
) -> Result:
    """Trains one model per key, each with its own hyper-parameters, in one jitted step.

    Member ``i`` becomes what ``fit(keys[i], model, make_tx(**hparams of i), data, ...)`` returns, up to
    rounding. A callable ``data`` draws for every member from its own key, as ``fit`` does; batches
    that come from the host are shared by all members.

    Hyper-parameters go through ``optax.inject_hyperparams``: they are arrays in the state of the
    optimizer, and ``make_tx`` is called with traced values, so it must not branch on them.

    The step is one step under ``vmap``. On several devices each has members of its own (``shard_map``): as many
    devices take part as divide the number of members evenly. On CPU that needs convolutions that stay fast
    under ``vmap`` over kernels: ``layers.Conv``, of which all models here are made, in place of ``flax.linen.Conv``.

    With ``halve_every`` the members compete (successive halving): the worse half stops, by the metric ``best``, and
    keeps the state it has; its curve ends there. Members are masked, so a step takes as long as before.

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
        classes: As for ``fit``.
        preprocessing: As for ``fit``.
        description: As for ``fit``.
        loss: As for ``fit``.
        metrics: As for ``fit``.
        augment: As for ``fit``.
        frozen: As for ``fit``.
        ema: As for ``fit``.
        eval_params: As for ``fit``.
        variables: Start every member from copies of these.
        checkpoint_every: As for ``fit``.
        keep: As for ``fit``.
        best: As for ``fit``; the mean over members counts.
        early_stopping: As for ``fit``; all members stop together, by the mean.
        log_every: As for ``fit``.
        progress: As for ``fit``; means over members are shown.
        donate: As for ``fit``.
        halve_every: Steps after which, again and again, the worse half of the members that still train stops; a
            multiple of ``evaluate_every``.
        devices: Devices to spread the members over; None for all of this process.

    Returns:
        The result with a leading axis of members: in every leaf of the state, in every evaluation
        metric (the last of each member); the history is one list per member. ``result.best_member`` is the number of
        the best member, ``result.member(i)`` the result of one.

    Raises:
        ValueError: If an argument is not as described.
        NonFiniteLossError: If the loss or a parameter of a member that trains is not finite; the message names them.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn.train import fit_ensemble
        >>> import flax.linen as nn, optax
        >>> batch = {"image": jnp.eye(3), "label": jnp.arange(3)}
        >>> keys = jax.random.split(jax.random.key(0), 2)
        >>> rates = {"learning_rate": jnp.array([0.0, 1.0])}
        >>> result = fit_ensemble(keys, nn.Dense(3), optax.sgd, [batch], hparams=rates, steps=9, evaluate=batch)
        >>> result.state.params["kernel"].shape, bool(result.evaluation["loss"][0] > result.evaluation["loss"][1])
        ((2, 3, 3), True)

    References:
        Successive halving: Jamieson and Talwalkar 2016, arXiv:1502.07943.
    """
    name = "fit_ensemble"
    check_key(name, keys, rank=1)
    count = keys.shape[0]
    check(count > 0, name, "keys", "at least one key", f"shape {keys.shape}")
    settings = Settings(
        function=name,
        members=count,
        steps=steps,
        evaluate=evaluate,
        evaluate_every=evaluate_every,
        evaluate_batch=evaluate_batch,
        run=run,
        classes=classes,
        preprocessing=preprocessing,
        description=description,
        loss=loss,
        metrics=metrics,
        augment=augment,
        frozen=frozen,
        ema=ema,
        eval_params=eval_params,
        variables=variables,
        checkpoint_every=checkpoint_every,
        keep=keep,
        best=best,
        early_stopping=early_stopping,
        log_every=log_every,
        progress=progress,
        donate=donate,
    )
    source = make_source(name, data, kept=STATISTICS_BATCHES)
    batch = source.example()
    values = _stack_hparams(hparams or {}, count)
    members = Members(name, count, halve_every, settings.evaluate_every, settings.best)
    mesh = member_mesh(name, count, devices)

    def make_member_tx(values: Mapping[str, Array], variables: Variables) -> optax.GradientTransformationExtraArgs:
        return restrict(settings, _inject(make_tx, values), variables)

    def start_member(key: PRNGKey, values: Mapping[str, Array]) -> State:
        return start_state(settings, key, model, lambda variables: make_member_tx(values, variables), batch)

    state = shard_members(jax.jit(jax.vmap(start_member))(keys, values), mesh)
    first = jax.tree.map(lambda leaf: leaf[0], state)
    # The injected hyper-parameters live in the state, so that the transformation of one member serves for all.
    tx = make_member_tx({argument: array[0] for argument, array in values.items()}, first.variables)
    train_step, eval_step = make_steps(settings, model, tx, source)
    step = jax.jit(
        over_members(train_step, mesh, masked=halve_every is not None), donate_argnums=(0,) if donate else ()
    )
    outcome = train_and_record(
        settings,
        model,
        state,
        first,
        data,
        source,
        step if halve_every is None else lambda *arguments: step(*arguments, members.active),
        jax.jit(over_members(eval_step, mesh)),
        tx=tx,
        measure=make_measure(settings, model, source, first, lambda function: over_members(function, mesh)),
        training={
            "halve_every": halve_every,
            "hparams": {name: np.asarray(value).tolist() for name, value in values.items()},
        },
        members=members,
    )
    history = [[line for line in outcome.lines if line["member"] == i] for i in range(count)]
    evaluations = [last_evaluation(lines, outcome.step) for lines in history]
    evaluation = {metric: np.asarray([e[metric] for e in evaluations]) for metric in evaluations[0]}
    chosen = None
    if settings.best is not None:
        chosen = best_member(evaluation[settings.best.removeprefix("-")], settings.best, members.active)
    return make_result(settings, outcome, history=history, evaluation=evaluation, best_member=chosen)


def _stack_hparams(hparams: Mapping[str, ArrayLike], count: int) -> dict[str, Array]:
    """Returns the hyper-parameters as arrays, and refuses those without a value per member."""
    values = {name: jnp.asarray(value) for name, value in hparams.items()}
    for name, value in values.items():
        check(value.shape[:1] == (count,), "fit_ensemble", f"hparams[{name!r}]", f"({count}, ...)", value.shape)
    return {name: value.astype(value.dtype) for name, value in values.items()}


def _inject(
    make_tx: Callable[..., optax.GradientTransformation], values: Mapping[str, Array]
) -> optax.GradientTransformation:
    """Makes the transformation of one member with its hyper-parameters in the state of the optimizer.

    Only the given arguments are injected: ``optax.inject_hyperparams`` alone would take the defaults of
    ``make_tx`` too, and a number of steps must stay a number.
    """
    if not values:
        return make_tx()

    def factory(**given: Array) -> optax.GradientTransformation:
        return make_tx(**given)

    kind = inspect.Parameter.KEYWORD_ONLY
    vars(factory)["__signature__"] = inspect.Signature([inspect.Parameter(name, kind) for name in values])
    return optax.inject_hyperparams(factory)(**values)
