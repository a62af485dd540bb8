"""The training loop, shared by one run and by an ensemble of runs."""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from jaxcnn._check import check
from jaxcnn._typing import Array, Batch, PyTree
from jaxcnn.train.checkpoints import Checkpointer, key_text
from jaxcnn.train.evaluation import Evaluator
from jaxcnn.train.history import Line
from jaxcnn.train.members import Members
from jaxcnn.train.progress import Progress
from jaxcnn.train.recorder import Recorder
from jaxcnn.train.settings import Settings
from jaxcnn.train.sources import Source
from jaxcnn.train.state import State
from jaxcnn.train.stopping import EarlyStopping, FiniteCheck, StuckLossWatch

__all__ = ["Outcome", "Step", "run_loop"]

Step = Callable[[State, PyTree, Batch | None], tuple[State, dict[str, Array]]]
"""``(state, argument of the source, host batch) -> (state, figures)``"""


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


def run_loop(
    settings: Settings,
    state: State,
    step: Step,
    source: Source,
    *,
    evaluator: Evaluator | None,
    checkpointer: Checkpointer | None,
    folder: Path | None,
    members: Members | None,
    outputs: int | None,
) -> Outcome:
    """Trains from a fresh state, or from the last checkpoint of the run folder.

    Order within a step, which makes a killed run end as an uninterrupted one: train; look at the loss;
    evaluate; write the lines of metrics; write the checkpoint. A checkpoint holds the figures that no
    line covers yet, and a resumed run drops the lines that are newer than its checkpoint.

    Args:
        settings: The options.
        state: The state at step 0.
        step: The jitted step.
        source: The training data.
        evaluator: Evaluates a state, or None.
        checkpointer: Writes and restores checkpoints, or None.
        folder: The run folder, or None.
        members: Of an ensemble, which members are active; those that are not write no lines and are not checked.
        outputs: Number of logits, if known, for the warning about a stuck loss.

    Returns:
        The outcome.
    """
    finite = FiniteCheck(settings.function, key_text(state.key), checkpointer, members)
    stopping = EarlyStopping(settings.best, settings.early_stopping)
    watch = StuckLossWatch(settings.function, settings.steps, outputs, members)

    # Resume: state, figures without a line, active members; the history drops what came after the checkpoint.
    start, progress = 0, {}
    if checkpointer is not None and (last := checkpointer.last()) is not None:
        expected = f"at least {last}, the step of the run's last checkpoint"
        check(last <= settings.steps, settings.function, "steps", expected, settings.steps)
        start = last
        state, progress = checkpointer.restore(start, state)
        if members is not None:
            members.active = np.array(progress["active"])
    recorder = Recorder(folder, members, start, progress)

    done, stopped = start, stopping.is_due(recorder.history.lines)
    with Progress(settings.progress, settings.steps, start) as bar:
        while done < settings.steps and not stopped:
            # Train. The device works behind the host; only tracing and compilation happen before a call returns.
            batch = source.at(done)
            with recorder.compiling(first=done == start):
                state, figures = step(state, source.argument, batch)
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
                finite.check_losses(recorder.fetch(), done)
                bar.measured(done, **recorder.latest())
                rate = recorder.rate(done)

                # Evaluate.
                tests: list[Line] = []
                if evaluating and evaluator is not None:
                    with recorder.compiling(first=evaluator.fresh):
                        measured = evaluator(state)
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
                best_step = stopping.best_step(recorder.history.lines)
                best = evaluating and best_step == done
                if last or stopped or saving or best:
                    finite.check_state(state, done)
                if checkpointer is not None and (saving or stopped or best):
                    progress = recorder.progress()
                    if members is not None:
                        progress["active"] = members.active.tolist()
                    checkpointer.save(state, progress, best_step)
                recorder.start_clock(done)
            bar.update(done)
    return Outcome(
        state=state,
        lines=recorder.history.lines,
        step=done,
        seconds=recorder.seconds(),
        compile_seconds=recorder.compile_seconds,
        best_step=stopping.best_step(recorder.history.lines),
        stopped_early=stopped and done < settings.steps,
    )


def _is_due(done: int, every: int | None) -> bool:
    return every is not None and done % every == 0
