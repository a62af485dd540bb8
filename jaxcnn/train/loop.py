"""The training loop, shared by one run and by an ensemble of runs."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import check
from jaxcnn._typing import Array, Batch, PyTree
from jaxcnn.train.batches import LabelCheck
from jaxcnn.train.checkpoints import Checkpointer
from jaxcnn.train.evaluation import Evaluator
from jaxcnn.train.history import Line
from jaxcnn.train.interrupts import Interrupted, Interrupts
from jaxcnn.train.labels import WatchedLabels
from jaxcnn.train.members import Members
from jaxcnn.train.progress import Progress
from jaxcnn.train.recorder import Recorder
from jaxcnn.train.settings import Settings
from jaxcnn.train.sources import Source
from jaxcnn.train.state import State, evaluation_variables
from jaxcnn.train.stopping import EarlyStopping, FiniteCheck, StuckLossWatch

__all__ = ["Measure", "Outcome", "Step", "run_loop"]

Step = Callable[[State, PyTree, Batch | None], tuple[State, dict[str, Array]]]
"""``(state, argument of the source, host batch) -> (state, figures)``"""

Measure = Callable[[State], State]
"""Adds the batch statistics to evaluate with."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Where a run ended."""

    state: State
    lines: list[Line]
    step: int
    seconds: float
    compile_seconds: float
    best_step: int | None
    stopped_early: bool
    best_variables: dict[str, Any] | None


def run_loop(
    settings: Settings,
    state: State,
    step: Step,
    source: Source,
    *,
    evaluator: Evaluator | None,
    measure: Measure,
    checkpointer: Checkpointer | None,
    folder: Path | None,
    members: Members | None,
    outputs: int | None,
    labels: LabelCheck,
) -> Outcome:
    """Trains from a fresh state, or from the last checkpoint of the run folder.

    Order within a step, which makes a killed run end as an uninterrupted one: train; look at the loss;
    evaluate; write the lines of metrics; write the checkpoint. A checkpoint holds the figures that no
    line covers yet, and a resumed run drops the lines that are newer than its checkpoint. After Ctrl-C or SIGTERM a
    checkpoint is written at the end of the step.

    Args:
        settings: The options.
        state: The state at step 0.
        step: The jitted step.
        source: The training data.
        evaluator: Evaluates a state, or None.
        measure: Measures the batch statistics of averaged parameters.
        checkpointer: Writes and restores checkpoints, or None.
        folder: The run folder, or None.
        members: Of an ensemble, which members are active; those that are not write no lines and are not checked.
        outputs: Number of logits, if known, for the warning about a stuck loss.
        labels: Checks the labels of host batches, and those behind a loss that is not finite.

    Returns:
        The outcome.
    """
    watched = WatchedLabels(labels, source, state)
    finite = FiniteCheck(settings.function, state, checkpointer, members, watched.explain)
    stopping = EarlyStopping(settings.best, settings.early_stopping)
    watch = StuckLossWatch(settings.function, settings.steps, outputs, members)

    # Resume: state, figures without a line, active members; the history drops what came after the checkpoint.
    start, progress, best_variables = 0, {}, None
    if checkpointer is not None and (restored := checkpointer.restore_last(state)) is not None:
        state, progress, start = restored
        expected = f"at least {start}, the step of the run's last checkpoint"
        check(start <= settings.steps, settings.function, "steps", expected, settings.steps)
        if members is not None:
            members.active = np.array(progress["active"])
    recorder = Recorder(folder, members, start, progress)
    shown = state  # with the statistics to evaluate with, where they are measured

    def save(now: State) -> None:
        assert checkpointer is not None
        progress = recorder.progress()
        if members is not None:
            progress["active"] = members.active.tolist()
        checkpointer.save(now, progress, stopping.best_step(recorder.history.lines))

    done, stopped, saved = start, stopping.is_due(recorder.history.lines), start
    with (
        Progress(settings.progress, settings.steps, start) as bar,
        Interrupts(settings.function, active=checkpointer is not None) as interrupts,
    ):
        while done < settings.steps and not stopped and interrupts.requested is None:
            # Train. The device works behind the host; only tracing and compilation happen before a call returns.
            try:
                with interrupts.at_once():
                    batch = source.at(done)
                watched.look(batch, done + 1)
                with (
                    interrupts.at_once() if done == start else contextlib.nullcontext(),
                    recorder.compiling(first=done == start),
                ):
                    state, figures = step(state.replace(eval_state=None), source.argument, batch)
            except Interrupted:
                break
            done += 1
            if done == start + 1:
                recorder.start_clock(done)
            recorder.take(figures)

            last = done == settings.steps
            evaluating = evaluator is not None and (last or _is_due(done, settings.evaluate_every))
            saving = checkpointer is not None and (last or _is_due(done, settings.checkpoint_every))
            logging = last or _is_due(done, settings.log_every)
            if evaluating or saving or logging:
                # Look at the losses; this waits for the device.
                finite.check_figures(recorder.fetch(), done)
                watched.forget()
                bar.measured(done, **recorder.latest())
                rate = recorder.rate(done)
                if evaluating or saving or last:
                    shown = measure(state)

                # Evaluate.
                tests: list[Line] = []
                if evaluating and evaluator is not None:
                    with recorder.compiling(first=evaluator.fresh):
                        measured = evaluator(shown)
                    tests = recorder.lines(done, "test", measured)
                    stopped = stopping.is_due([*recorder.history.lines, *tests])

                # Write the lines of metrics.
                if logging or stopped:
                    means, count = recorder.means()
                    watch.look(means["loss"], done, count)
                    recorder.write_means(done, rate)
                recorder.write(tests)
                if evaluating and members is not None:
                    members.halve(done, tests)

                # Write a checkpoint, never of a state that is not finite.
                best = evaluating and stopping.best_step(recorder.history.lines) == done
                if last or stopped or saving or best:
                    finite.check_state(shown, done)
                if checkpointer is not None and (saving or stopped or best):
                    save(shown)
                    saved = done
                elif best:
                    best_variables = jax.tree.map(jnp.copy, evaluation_variables(shown, settings.eval_params))
                recorder.start_clock(done)
            bar.update(done)
        if interrupts.requested is not None:
            if done > saved:
                finite.check_figures(recorder.fetch(), done)
                shown = measure(state)
                finite.check_state(shown, done)
                save(shown)
            text = f"{settings.function}: stopped after step {done} of {settings.steps}"
            interrupts.end(f"{text}; the same call with run={str(folder)!r} continues")
    return Outcome(
        state=shown,
        lines=recorder.history.lines,
        step=done,
        seconds=recorder.seconds(),
        compile_seconds=recorder.compile_seconds,
        best_step=stopping.best_step(recorder.history.lines),
        stopped_early=stopped and done < settings.steps,
        best_variables=best_variables,
    )


def _is_due(done: int, every: int | None) -> bool:
    return every is not None and done % every == 0
