"""Training one model: ``fit``."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import optax

from jaxcnn import losses
from jaxcnn._typing import PRNGKey, Variables
from jaxcnn.train.evaluation import TestData
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
from jaxcnn.train.state import check_key
from jaxcnn.train.statistics import STATISTICS_BATCHES
from jaxcnn.train.step import Augment, Loss, Metrics

__all__ = ["fit"]


def fit(
    key: PRNGKey,
    model: nn.Module,
    tx: optax.GradientTransformation,
    data: TrainingData,
    *,
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
) -> Result:
    """Trains a model for a number of steps.

    With a run folder the run can be killed at any moment: the same call continues from the last
    checkpoint and ends bit for bit where an uninterrupted run ends (same machine, versions and number
    of threads). ``steps`` may be larger than before, everything else must be the same. The folder holds
    ``run.json``, ``metrics.jsonl`` and ``checkpoints/``; read it with ``load_model``, ``load_variables``,
    ``read_history`` and ``read_run``.

    The host waits for the device every ``log_every`` steps, not at each; so the error about a loss
    that is not finite may come up to that many steps after the step it names. A checkpoint never holds a value
    that is not finite. A ``RuntimeWarning`` is given once when the loss stays within 2 % of
    ln(classes) for 200 steps and a fifth of the run.

    Convention:
        - A batch is ``{"image": (n, h, w, c), "label": (n,)}``, with ``"weight"`` (n,) where examples count unequally.
        - Steps count from 1 in metrics and names of checkpoints: N is the state after N steps.

    Args:
        key: Everything random comes from it: initial values, drawn data, augmentation, dropout.
        model: Linen module, ``model(image, train=...) -> logits``.
        tx: Optax transformation.
        data: A callable ``key -> batch`` is traced into the jitted step and draws there (if it is a registered pytree
            of arrays these are arguments of the step, else constants). Of an object with ``__getitem__`` step i
            takes ``data[i]``; a list repeats. Any other iterable is iterated pass after pass; to resume, the batches
            before are drawn and dropped, and an exhausted iterator is an error.
        steps: Number of steps in all.
        evaluate: Test data: one batch, a list of batches, an object with ``epoch()``, or a callable that returns an
            iterable of batches. Evaluated at the end and every ``evaluate_every`` steps.
        evaluate_every: Steps between evaluations.
        evaluate_batch: Largest number of examples evaluated at once.
        run: Folder to write to, and to resume from.
        classes: Names of the classes, for the run folder; None asks the data, see ``docs/training.md``.
        preprocessing: What makes an input of a picture, for the run folder, as plain JSON; None asks the data.
        description: What the data are, for the run folder, as plain JSON; None asks the data.
        loss: One loss per example, ``(logits, labels) -> (n,)``.
        metrics: What evaluation measures, name -> ``(logits, labels) -> (n, ...)``; None for loss and accuracy.
        augment: ``(key, images) -> images``, applied to the images of every training batch; or ``(key, images, labels)
            -> (images, labels)``, such as ``functools.partial(augment.mixup, num_classes=10)``.
        frozen: Prefixes of what does not train, see ``make_train_step``; the optimizer keeps no state for it.
        ema: Decay of a moving average of the parameters, which evaluation then uses, with batch statistics measured for
            it on 16 batches, see ``update_batch_stats``; the decay grows with the steps, see ``make_train_step``.
        eval_params: ``(opt_state, params) -> params`` to evaluate with; None takes the average of ``ema``, the averages
            of ``optax.contrib.schedule_free`` and the slow parameters of ``optax.lookahead`` where they are used.
        variables: Start from copies of these instead of fresh ones.
        checkpoint_every: Steps between checkpoints; None for a tenth of the run. One is also written at
            the end and at an evaluation that is the best so far.
        keep: How many of the last checkpoints stay, besides the best.
        best: The test metric that decides which evaluation is best; with a leading minus, as in ``"-entropy"``, less is
            better. It is less for names with a word for errors, as in ``"loss"`` or ``"top5_error"``. None for none.
        early_stopping: Stop after so many evaluations without a better one.
        log_every: Steps between lines of training metrics, which are means over those steps.
        progress: Label of a progress bar on standard error (plain lines where that is no terminal), or None.
        donate: Let the step reuse the memory of the state.

    Returns:
        The result, see ``Result``.

    Raises:
        ValueError: If an argument is not as described, or ``run`` holds a run of another format or configuration.
        NonFiniteLossError: If a loss, a gradient, a parameter or the state of the optimizer is not finite.
        OSError: If the run folder cannot be written to, as on a full disk; earlier checkpoints are intact.
        KeyboardInterrupt: After Ctrl-C; a run with a folder has written a checkpoint before.

    Example:
        >>> import jax
        >>> from jaxcnn.train import fit
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
        members=None,
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
    source = make_source("fit", data, kept=STATISTICS_BATCHES)
    state = start_state(settings, key, model, lambda variables: restrict(settings, tx, variables), source.example())
    restricted = restrict(settings, tx, state.variables)
    train_step, eval_step = make_steps(settings, model, restricted, source)
    outcome = train_and_record(
        settings,
        model,
        state,
        state,
        data,
        source,
        jax.jit(train_step, donate_argnums=(0,) if donate else ()),
        jax.jit(eval_step),
        tx=restricted,
        measure=make_measure(settings, model, source, state, lambda function: function),
        training={},
    )
    evaluation = last_evaluation(outcome.lines, outcome.step)
    return make_result(settings, outcome, history=outcome.lines, evaluation=evaluation)
