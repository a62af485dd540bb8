"""Training one model: ``fit``."""

import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np
import optax

from jaxcnn import losses
from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import Array, Batch, PRNGKey, Variables
from jaxcnn.train.data_description import check_classes, check_json, describe_data
from jaxcnn.train.evaluation import Evaluator
from jaxcnn.train.freezing import check_prefixes, freeze
from jaxcnn.train.loop import LINE_FIELDS, Settings, Step, run_loop
from jaxcnn.train.module_description import describe_module
from jaxcnn.train.sources import Drawn, Source, make_source
from jaxcnn.train.state import State, check_key, create_state, strong
from jaxcnn.train.step import (
    Augment,
    Loss,
    Metrics,
    TrainStep,
    count_classes,
    default_metrics,
    make_eval_step,
    make_train_step,
    step_keys,
)

__all__ = ["Result", "evaluation_at", "fit", "with_source"]


@dataclasses.dataclass(frozen=True)
class Result:
    """What training gives back.

    Attributes:
        state: The state after the last step; of an ensemble every leaf has a leading axis of members.
        history: The lines of ``metrics.jsonl`` as ``read_history`` gives them; of an ensemble one list per member.
        evaluation: Test metrics of the last state, floats; of an ensemble arrays with a leading axis of members.
        seconds: Wall-clock time, compilation and evaluation included, over all parts of a resumed run.
        compile_seconds: Time of the first training step and the first evaluation in this call, which is nearly all
            tracing and compilation.
        best_step: Step of the best evaluation, None without one.
        stopped_early: Whether early stopping ended the run.
        run: The run folder, or None.
        best_member: Of an ensemble, the member whose last evaluation is best among those that trained to the end;
            None without evaluation, and for one model.

    Example:
        >>> import flax.linen as nn, jax.numpy as jnp, optax
        >>> batch = {"image": jnp.eye(3), "label": jnp.arange(3)}
        >>> result = fit(jax.random.key(0), nn.Dense(3), optax.sgd(1.0), [batch], steps=4, evaluate=batch)
        >>> isinstance(result, Result), int(result.state.step), sorted(result.evaluation)
        (True, 4, ['accuracy', 'loss'])
    """

    state: State
    history: list[Any]
    evaluation: dict[str, Any]
    seconds: float
    compile_seconds: float
    best_step: int | None
    stopped_early: bool
    run: Path | None
    best_member: int | None = None

    @property
    def variables(self) -> dict[str, Any]:
        """Flax variables to evaluate with."""
        return self.state.eval_variables

    def member(self, i: int) -> "Result":
        """Gives one member of an ensemble as a result of its own, without the step of the ensemble's best evaluation.

        Raises:
            ValueError: If this is no ensemble, or it has no such member.

        Example:
            >>> import flax.linen as nn, jax.numpy as jnp, optax
            >>> from jaxcnn.train import fit_ensemble
            >>> batch = {"image": jnp.eye(3), "label": jnp.arange(3)}
            >>> keys = jax.random.split(jax.random.key(0), 2)
            >>> result = fit_ensemble(keys, nn.Dense(3), lambda: optax.sgd(1.0), [batch], steps=4, evaluate=batch)
            >>> result.member(result.best_member).state.params["kernel"].shape
            (3, 3)
        """
        count = self.state.step.size if self.state.step.ndim else 0
        check(is_integer_at_least(i, 0) and i < count, "member", "i", f"one of the {count} members, from 0", repr(i))
        return dataclasses.replace(
            self,
            state=jax.tree.map(lambda leaf: leaf[i], self.state),
            history=self.history[i],
            evaluation={name: value[i] for name, value in self.evaluation.items()},
            best_step=None,
            best_member=None,
        )


def fit(
    key: PRNGKey,
    model: nn.Module,
    tx: optax.GradientTransformation,
    data: Any,
    *,
    steps: int,
    evaluate: Any = None,
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
    variables: Variables | None = None,
    checkpoint_every: int | None = None,
    keep: int = 2,
    best: str | None = "accuracy",
    early_stopping: int | None = None,
    log_every: int = 20,
    progress: str | None = None,
    donate: bool = True,
) -> Result:
    """Trains a model for a number of steps.

    With a run folder the run can be killed at any moment: the same call goes on from the last
    checkpoint and ends bit for bit where an uninterrupted run ends (same machine, versions and number
    of threads). ``steps`` may be larger than before, everything else must be the same. The folder holds
    ``run.json``, ``metrics.jsonl`` and ``checkpoints/``; read it with ``read_history`` and ``load_variables``.

    The host waits for the device every ``log_every`` steps, not at each; so an error about a loss
    that is not finite may come so much later than the step it names. Nothing that is not finite is ever
    kept in a checkpoint. A ``RuntimeWarning`` is given once when the loss stays within 2 % of
    ln(classes) for 200 steps and a fifth of the run.

    Convention:
        - A batch is ``{"image": (n, h, w, c), "label": (n,)}``, with ``"weight"`` (n,) where examples count unequally.
        - Steps count from 1 in metrics and names of checkpoints: N is the state after N steps.

    Args:
        key: Everything random comes from it: initial values, drawn data, augmentation, dropout.
        model: Linen module, ``model(image, train=...) -> logits``.
        tx: Optax transformation.
        data: A callable ``key -> batch`` is traced into the jitted step and draws there (if it is a registered pytree
            of arrays these are arguments of the step, else constants). An object with ``__getitem__`` is asked for
            ``data[step]``, a list goes in circles. Any other iterable is gone through pass after pass; to resume, the
            batches before are taken and thrown away, and a run-out iterator is an error.
        steps: Number of steps in all.
        evaluate: Test data: one batch, a list of batches, an object with ``epoch()``, or a callable that gives an
            iterable of batches. Evaluated at the end and every ``evaluate_every`` steps.
        evaluate_every: Steps between evaluations.
        evaluate_batch: Largest number of examples evaluated at once.
        run: Folder to write to, and to resume from.
        classes: Names of the classes, for the run folder; None asks the data, see ``docs/training.md``.
        preprocessing: What makes an input of a picture, for the run folder, as plain JSON; None asks the data.
        description: What the data are, for the run folder, as plain JSON; None asks the data.
        loss: One loss per example, ``(logits, labels) -> (n,)``.
        metrics: What evaluation measures, name -> ``(logits, labels) -> (n, ...)``; None for loss and accuracy.
        augment: ``(key, images) -> images``, applied to the images of every training batch.
        frozen: Prefixes of what does not train, see ``make_train_step``; the optimiser keeps no state for it.
        ema: Decay of a moving average of the parameters, which evaluation then uses.
        variables: Start from copies of these instead of fresh ones.
        checkpoint_every: Steps between checkpoints; None for a tenth of the run. One is also written at
            the end and at an evaluation that is the best so far.
        keep: How many of the last checkpoints stay, besides the best.
        best: The test metric that says which evaluation is best; a leading minus, as in ``"-loss"``, where less is
            better. None for none.
        early_stopping: Stop after so many evaluations without a better one.
        log_every: Steps between lines of training metrics, which are means over those steps.
        progress: Label of a progress bar on standard error (plain lines where that is no terminal), or None.
        donate: Let the step reuse the memory of the state.

    Returns:
        The result, see ``Result``.

    Raises:
        ValueError: If an argument is not as described, or ``run`` holds a run of another format or configuration.
        NonFiniteLossError: If the loss or a parameter is not finite.

    Example:
        >>> import flax.linen as nn, optax
        >>> def draw(key):
        ...     image = jax.random.uniform(key, (8, 2))
        ...     return {"image": image, "label": (image[:, 0] > image[:, 1]).astype(int)}
        >>> test = draw(jax.random.key(1))
        >>> result = fit(jax.random.key(0), nn.Dense(2), optax.adam(0.1), draw, steps=60, evaluate=test)
        >>> result.evaluation["accuracy"] > 0.7
        True
        >>> [line["step"] for line in result.history if line["split"] == "train"]
        [20, 40, 60]
    """
    check_key("fit", key)
    settings = Settings(
        function="fit",
        steps=steps,
        evaluate_every=evaluate_every,
        run=run,
        checkpoint_every=checkpoint_every,
        keep=keep,
        best=None if evaluate is None else best,
        early_stopping=early_stopping,
        log_every=log_every,
        progress=progress,
        members=None,
    )
    measures = default_metrics(loss) if metrics is None else metrics
    settings.check_measures(measures)
    source = make_source("fit", data)
    batch = source.example()
    state = create_state(key, model, optax.identity(), batch, variables=variables, ema=ema is not None)
    if check_prefixes("fit", state.variables, frozen):
        tx = freeze(tx, state.variables, frozen)
    state = state.replace(opt_state=strong(tx.init(state.params)))
    train_step = make_train_step(model, tx, loss=loss, augment=augment, frozen=frozen, ema=ema)
    step = jax.jit(with_source(train_step, source), donate_argnums=(0,) if donate else ())
    eval_step = jax.jit(make_eval_step(model, metrics=measures))
    evaluator = None if evaluate is None else Evaluator("fit", eval_step, evaluate, evaluate_batch)
    outputs = count_classes(model, state, batch)
    check_classes("fit", classes, outputs)
    check_json("fit", "preprocessing", preprocessing)
    check_json("fit", "description", description)
    about = {
        "model": describe_module(model),
        "input": {"shape": list(batch["image"].shape[1:]), "dtype": str(batch["image"].dtype)},
        **describe_data(
            data,
            evaluate,
            outputs=outputs,
            classes=classes,
            preprocessing=preprocessing,
            description=description,
        ),
    }
    config = {"frozen": list(frozen), "ema": ema}
    outcome = run_loop(settings, state, step, source, evaluator, classes=outputs, about=about, config=config)
    return Result(
        state=outcome.state,
        history=outcome.lines,
        evaluation=evaluation_at(outcome.lines, outcome.step),
        seconds=outcome.seconds,
        compile_seconds=outcome.compile_seconds,
        best_step=outcome.best_step,
        stopped_early=outcome.stopped_early,
        run=None if run is None else Path(run),
    )


def with_source(train_step: TrainStep, source: Source) -> Step:
    """Joins a step with what draws its batches on the device; a host batch passes through."""

    def step(state: State, argument: Any, batch: Batch | None) -> tuple[State, dict[str, Array]]:
        if isinstance(source, Drawn):
            batch = source.draw(argument, step_keys(state).data)
        assert batch is not None
        return train_step(state, batch)

    return step


def evaluation_at(lines: Sequence[dict[str, Any]], step: int) -> dict[str, Any]:
    """Gives the metrics of the last evaluation up to a step, empty if there was none; what was not finite is nan."""
    found = [line for line in lines if line["split"] == "test" and line["step"] <= step]
    if not found:
        return {}
    metrics = {name: value for name, value in found[-1].items() if name not in LINE_FIELDS}
    return {name: np.asarray(value, np.float64).tolist() for name, value in metrics.items()}
