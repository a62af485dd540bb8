"""What ``fit`` and ``fit_ensemble`` do alike before and after the loop: the start state, the steps, the run folder."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn._typing import Array, Batch, PRNGKey, PyTree, Variables
from jaxcnn.train.batches import LabelCheck
from jaxcnn.train.checkpoints import Checkpointer, key_text, tree_text
from jaxcnn.train.data_description import ask_data, check_classes, check_labels_agree, describe_data
from jaxcnn.train.evaluation import Evaluator
from jaxcnn.train.freezing import check_prefixes, freeze
from jaxcnn.train.history import LINE_FIELDS, Line
from jaxcnn.train.identity import describe_identity
from jaxcnn.train.loop import Measure, Outcome, Step, run_loop
from jaxcnn.train.members import Members
from jaxcnn.train.module_description import describe_module
from jaxcnn.train.optimizers import adapt_optimizer, find_eval_params
from jaxcnn.train.result import Result
from jaxcnn.train.run_folder import open_run
from jaxcnn.train.settings import Settings
from jaxcnn.train.sources import Source, TracedSource, TrainingData
from jaxcnn.train.state import State, create_state, strip_weak_types
from jaxcnn.train.statistics import STATISTICS_BATCHES, make_statistics_step, mean_statistics, statistics_key
from jaxcnn.train.step import (
    EvalStep,
    augment_batch,
    count_classes,
    logits_shape,
    make_eval_step,
    make_train_step,
    step_keys,
)

__all__ = [
    "last_evaluation",
    "make_measure",
    "make_result",
    "make_steps",
    "restrict",
    "start_state",
    "train_and_record",
]


def restrict(
    settings: Settings, tx: optax.GradientTransformation, variables: Variables
) -> optax.GradientTransformationExtraArgs:
    """Restricts a transformation to what is not frozen."""
    frozen = check_prefixes(settings.function, variables, settings.frozen)
    tx = adapt_optimizer(tx)
    return freeze(tx, variables, frozen) if frozen else tx


def start_state(
    settings: Settings,
    key: PRNGKey,
    model: nn.Module,
    make_tx: Callable[[Variables], optax.GradientTransformation],
    batch: Batch,
) -> State:
    """Creates the state at step 0; the transformation is made when the variables are known."""
    ema = settings.ema is not None
    state = create_state(key, model, optax.identity(), batch, variables=settings.variables, ema=ema)
    return state.replace(opt_state=strip_weak_types(make_tx(state.variables).init(state.params)))


def make_steps(
    settings: Settings, model: nn.Module, tx: optax.GradientTransformation, source: Source
) -> tuple[Step, EvalStep]:
    """Makes the training step, joined with what draws its batches on the device, and the evaluation step."""
    train_step = make_train_step(
        model, tx, loss=settings.loss, augment=settings.augment, frozen=settings.frozen, ema=settings.ema
    )

    def step(state: State, argument: PyTree, batch: Batch | None) -> tuple[State, dict[str, Array]]:
        if isinstance(source, TracedSource):
            batch = source.draw(argument, step_keys(state).data)
        assert batch is not None
        return train_step(state, batch)

    return step, make_eval_step(model, metrics=settings.metrics, eval_params=settings.eval_params)


def make_measure(
    settings: Settings, model: nn.Module, source: Source, state: State, over: Callable[[Callable[..., Any]], Any]
) -> Measure:
    """Makes the function that measures the batch statistics of averaged parameters; it changes nothing without any.

    Args:
        settings: The options.
        model: The module.
        source: The training data, whose first batches are used, or batches drawn from keys of their own.
        state: The state of one model at step 0.
        over: Maps a function over the members of an ensemble; identity for a single model.
    """
    optimizer = find_eval_params(state.opt_state, state.params) is not None
    averages = settings.ema is not None or settings.eval_params is not None or optimizer
    if not averages or "batch_stats" not in state.model_state:
        return lambda state: state
    of_batch = make_statistics_step(model, frozen=settings.frozen, eval_params=settings.eval_params)

    def start(state: State) -> tuple[State, PyTree]:
        return state, jax.tree.map(jnp.zeros_like, state.model_state["batch_stats"])

    def add(pair: tuple[State, PyTree], number: Array, argument: PyTree, batch: Batch | None) -> tuple[State, PyTree]:
        state, total = pair
        data_key, augment_key, dropout_key = jax.random.split(statistics_key(state, number), 3)
        if isinstance(source, TracedSource):
            batch = source.draw(argument, data_key)
        assert batch is not None
        batch = augment_batch(settings.augment, augment_key, batch)
        return state, jax.tree.map(jnp.add, total, of_batch(state, batch, dropout_key))

    def finish(pair: tuple[State, PyTree]) -> State:
        return mean_statistics(*pair, STATISTICS_BATCHES, settings.frozen)

    start_all, add_one, finish_all = (jax.jit(over(function)) for function in (start, add, finish))

    def measure(state: State) -> State:
        pair = start_all(state.replace(eval_state=None))
        for number in range(STATISTICS_BATCHES):
            pair = add_one(pair, jnp.int32(number), source.argument, source.first(number))
        return finish_all(pair)

    return measure


def train_and_record(
    settings: Settings,
    model: nn.Module,
    state: State,
    example: State,
    data: TrainingData,
    source: Source,
    step: Step,
    eval_step: EvalStep,
    *,
    tx: optax.GradientTransformationExtraArgs,
    training: Mapping[str, Any],
    measure: Measure,
    members: Members | None = None,
) -> Outcome:
    """Opens the run folder, where there is one, and runs the loop.

    Args:
        settings: The options.
        model: The module.
        state: The state at step 0.
        example: That of one member.
        data: The training data as given, asked what they are.
        source: The source made of them.
        step: The jitted training step.
        eval_step: The jitted evaluation step.
        tx: The optimizer of one member, for what a run is recognized by.
        training: What a run must have in common with one that it continues, besides the settings; JSON values.
        measure: Measures the batch statistics of averaged parameters.
        members: Of an ensemble, which members are active.

    Returns:
        The outcome of the loop.
    """
    name, batch = settings.function, source.example()
    logits = logits_shape(model, example, batch)
    outputs = count_classes(logits)
    check_classes(name, settings.classes, outputs)
    labels = LabelCheck(name, settings.loss, outputs)
    found = [ask_data(part) for part in (data, settings.evaluate)]
    check_labels_agree(name, found, labels)
    labels.check_labels("data", batch["label"], " in the first batch")
    evaluator = None
    if settings.evaluate is not None:
        plain = make_eval_step(model, metrics=settings.metrics, eval_params=settings.eval_params)
        evaluator = Evaluator(name, eval_step, settings.evaluate, settings.evaluate_batch, labels, plain)
        evaluator.check_metric(example, settings.best)
    loop = functools.partial(
        run_loop,
        settings,
        state,
        step,
        source,
        evaluator=evaluator,
        measure=measure,
        members=members,
        outputs=outputs,
        labels=labels,
    )
    if settings.run is None:
        return loop(folder=None, checkpointer=None)
    folder = Path(settings.run).absolute()
    shared = {option: getattr(settings, option) for option in ("log_every", "evaluate_every", "best", "ema")}
    shared |= {"frozen": list(settings.frozen), "key": key_text(state.key)}
    identity = describe_identity(settings, example, data, source, logits, tx)
    content = {
        "function": name,
        "members": settings.members,
        "model": describe_module(model),
        "input": {"shape": list(batch["image"].shape[1:]), "dtype": str(batch["image"].dtype)},
        **describe_data(
            found,
            outputs=outputs,
            classes=settings.classes,
            preprocessing=settings.preprocessing,
            description=settings.description,
        ),
        "training": {**shared, **training, "tree": tree_text(state), **identity},
    }
    with open_run(name, folder, content, settings.steps):
        checkpointer = Checkpointer(name, folder, settings.keep, settings.eval_params)
        try:
            return loop(folder=folder, checkpointer=checkpointer)
        finally:
            checkpointer.close()


def make_result(
    settings: Settings,
    outcome: Outcome,
    *,
    history: list[Any],
    evaluation: dict[str, Any],
    best_member: int | None = None,
) -> Result:
    """Returns what ``fit`` and ``fit_ensemble`` return.

    Args:
        settings: The options.
        outcome: The outcome of the loop.
        history: Its lines; of an ensemble one list per member.
        evaluation: The metrics of the last evaluation.
        best_member: Of an ensemble, the number of the best member.
    """
    return Result(
        state=outcome.state,
        history=history,
        evaluation=evaluation,
        seconds=outcome.seconds,
        compile_seconds=outcome.compile_seconds,
        best_step=outcome.best_step,
        stopped_early=outcome.stopped_early,
        run=None if settings.run is None else Path(settings.run),
        eval_params=settings.eval_params,
        kept_variables=outcome.best_variables,
        best_member=best_member,
    )


def last_evaluation(lines: Sequence[Line], step: int) -> dict[str, Any]:
    """Returns the metrics of the last evaluation up to a step, empty without one; what was not finite is nan."""
    found = [line for line in lines if line["split"] == "test" and line["step"] <= step]
    if not found:
        return {}
    metrics = {name: value for name, value in found[-1].items() if name not in LINE_FIELDS}
    return {name: np.asarray(value, np.float64).tolist() for name, value in metrics.items()}
