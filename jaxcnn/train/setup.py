"""What ``fit`` and ``fit_ensemble`` do alike before and after the loop: the start state, the steps, the run folder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import numpy as np
import optax

from jaxcnn._typing import Array, Batch, PRNGKey, PyTree, Variables
from jaxcnn.train.checkpoints import Checkpointer, key_text, tree_text
from jaxcnn.train.data_description import check_classes, describe_data
from jaxcnn.train.evaluation import Evaluator
from jaxcnn.train.freezing import check_prefixes, freeze
from jaxcnn.train.history import LINE_FIELDS, Line
from jaxcnn.train.loop import Outcome, Step, run_loop
from jaxcnn.train.members import Members
from jaxcnn.train.module_description import describe_module
from jaxcnn.train.run_folder import claim_run
from jaxcnn.train.settings import Settings
from jaxcnn.train.sources import Source, TracedSource, TrainingData
from jaxcnn.train.state import State, create_state, strip_weak_types
from jaxcnn.train.step import EvalStep, count_classes, make_eval_step, make_train_step, step_keys

__all__ = ["last_evaluation", "make_steps", "restrict", "start_state", "train_and_record"]


def restrict(
    settings: Settings, tx: optax.GradientTransformation, variables: Variables
) -> optax.GradientTransformation:
    """Restricts a transformation to what is not frozen."""
    frozen = check_prefixes(settings.function, variables, settings.frozen)
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

    return step, make_eval_step(model, metrics=settings.metrics)


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
    training: Mapping[str, Any],
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
        training: What a run must have in common with one that it continues, besides the settings; JSON values.
        members: Of an ensemble, which members are active.

    Returns:
        The outcome of the loop.
    """
    name, batch = settings.function, source.example()
    outputs = count_classes(model, example, batch)
    check_classes(name, settings.classes, outputs)
    evaluator = None
    if settings.evaluate is not None:
        evaluator = Evaluator(name, eval_step, settings.evaluate, settings.evaluate_batch)
    folder = checkpointer = None
    if settings.run is not None:
        folder = Path(settings.run).absolute()
        shared = {option: getattr(settings, option) for option in ("log_every", "evaluate_every", "best", "ema")}
        shared |= {"frozen": list(settings.frozen), "key": key_text(state.key)}
        content = {
            "function": name,
            "members": settings.members,
            "model": describe_module(model),
            "input": {"shape": list(batch["image"].shape[1:]), "dtype": str(batch["image"].dtype)},
            **describe_data(
                data,
                settings.evaluate,
                outputs=outputs,
                classes=settings.classes,
                preprocessing=settings.preprocessing,
                description=settings.description,
            ),
            "training": {**shared, **training, "tree": tree_text(state)},
        }
        claim_run(name, folder, content)
        checkpointer = Checkpointer(name, folder, settings.keep)
    try:
        return run_loop(
            settings,
            state,
            step,
            source,
            evaluator=evaluator,
            checkpointer=checkpointer,
            folder=folder,
            members=members,
            outputs=outputs,
        )
    finally:
        if checkpointer is not None:
            checkpointer.close()


def last_evaluation(lines: Sequence[Line], step: int) -> dict[str, Any]:
    """Returns the metrics of the last evaluation up to a step, empty without one; what was not finite is nan."""
    found = [line for line in lines if line["split"] == "test" and line["step"] <= step]
    if not found:
        return {}
    metrics = {name: value for name, value in found[-1].items() if name not in LINE_FIELDS}
    return {name: np.asarray(value, np.float64).tolist() for name, value in metrics.items()}
