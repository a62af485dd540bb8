"""The training loop, shared by one run and by an ensemble of runs."""

import dataclasses
import functools
import math
import os
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import Array, Batch
from jaxcnn.train.checkpoints import Checkpointer, key_text, tree_text
from jaxcnn.train.evaluation import Evaluator
from jaxcnn.train.history import History, best_evaluation
from jaxcnn.train.members import Members
from jaxcnn.train.progress import Progress
from jaxcnn.train.run_folder import claim_run
from jaxcnn.train.sources import Source
from jaxcnn.train.state import State

__all__ = ["LINE_FIELDS", "NonFiniteLossError", "Outcome", "Settings", "Step", "run_loop"]

FIGURES = ("loss", "accuracy", "gradient_norm")

LINE_FIELDS = ("step", "split", "member", "seconds", "rate")
"""What a line of metrics holds besides metrics."""

DEAD_STEPS, DEAD_SHARE, DEAD_WIDTH = 200, 0.2, 0.02
"""The loss counts as stuck when for so many steps, and this share of the run, it is within 2 % of ln(classes)."""


class NonFiniteLossError(RuntimeError):
    """Training gave a loss or a parameter that is not finite.

    Attributes:
        step: Number of the step, the first is 1; its random keys come from ``fold_in(key, step - 1)``.
        key: Base key of the run, as text.
        checkpoint: Path of the last checkpoint, where everything is finite, or None.

    Example:
        >>> import flax.linen as nn, jax.numpy as jnp, optax
        >>> from jaxcnn.train import fit
        >>> batch = {"image": jnp.full((1, 2), jnp.nan), "label": jnp.zeros(1, int)}
        >>> try:
        ...     fit(jax.random.key(0), nn.Dense(2), optax.sgd(1.0), [batch], steps=3)
        ... except NonFiniteLossError as error:
        ...     print(error)
        fit: loss must be finite, got nan at step 1 (base key threefry2x32 [928981903, 3453687069]); no checkpoint yet.
    """

    def __init__(self, function: str, what: str, step: int, key: str, checkpoint: str | None):
        """Composes the message."""
        good = "no checkpoint yet" if checkpoint is None else f"the last good checkpoint is {checkpoint}"
        super().__init__(f"{function}: {what} at step {step} (base key {key}); {good}.")
        self.step, self.key, self.checkpoint = step, key, checkpoint


@dataclasses.dataclass(frozen=True)
class Settings:
    """What the loop is told; the options of ``fit`` of the same names."""

    function: str
    steps: int
    evaluate_every: int | None
    run: str | os.PathLike[str] | None
    checkpoint_every: int | None
    keep: int
    best: str | None
    early_stopping: int | None
    log_every: int
    progress: str | None
    members: int | None

    def __post_init__(self) -> None:
        """Refuses counts that are not positive."""
        optional = ("evaluate_every", "checkpoint_every", "early_stopping")
        given = [name for name in optional if getattr(self, name) is not None]
        for name in ("steps", "keep", "log_every", *given):
            value = getattr(self, name)
            check(is_integer_at_least(value, 1), self.function, name, "a positive integer", value)
            object.__setattr__(self, name, int(value))
        if self.checkpoint_every is None:
            object.__setattr__(self, "checkpoint_every", max(1, self.steps // 10))

    def check_measures(self, measures: Mapping[str, Any]) -> None:
        """Refuses test metrics whose names are taken, and a best metric that is not among them."""
        taken = sorted(set(measures) & set(LINE_FIELDS))
        check(not taken, self.function, "metrics", f"named other than {', '.join(LINE_FIELDS)}", ", ".join(taken))
        if self.best is not None:
            names = ", ".join(measures)
            known = self.best.removeprefix("-") in measures
            check(known, self.function, "best", f"None or a metric among {names}, or one with a minus", repr(self.best))
        possible = self.early_stopping is None or (self.best is not None and self.evaluate_every is not None)
        check(possible, self.function, "early_stopping", "used with evaluate, evaluate_every and best", "one missing")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What the loop gives back."""

    state: State
    lines: list[dict[str, Any]]
    step: int
    seconds: float
    compile_seconds: float
    best_step: int | None
    stopped_early: bool


Step = Callable[[State, Any, Batch | None], tuple[State, dict[str, Array]]]


def run_loop(
    settings: Settings,
    state: State,
    step: Step,
    source: Source,
    evaluator: Evaluator | None,
    *,
    classes: int | None,
    about: dict[str, Any],
    config: dict[str, Any],
    members: Members | None = None,
) -> Outcome:
    """Trains from a fresh state, or from the last checkpoint of the run folder.

    Order within a step, which makes a killed run end as an uninterrupted one: train; look at the loss;
    evaluate; write the lines of metrics; write the checkpoint. A checkpoint holds the figures that no
    line covers yet, and a resumed run drops the lines that are newer than its checkpoint.

    Args:
        settings: The options.
        state: The state at step 0.
        step: Jitted step, ``(state, argument of the source, host batch) -> (state, metrics)``.
        source: The data.
        evaluator: Evaluates a state, or None.
        classes: Number of classes, for the warning about a loss that does not move.
        about: What ``run.json`` says of model, input and data.
        config: What a run must have in common with one that it continues, besides the settings.
        members: Of an ensemble, which members are active; those that are not write no lines and are not looked at.

    Returns:
        The outcome.
    """
    folder = None
    if settings.run is not None:
        shared = {name: getattr(settings, name) for name in ("log_every", "evaluate_every", "best")}
        training = {"key": key_text(state.key), **shared, **config, "tree": tree_text(state)}
        content = {"function": settings.function, "members": settings.members, **about, "training": training}
        path = Path(settings.run).absolute()
        claim_run(settings.function, path, content)
        folder = Checkpointer(settings.function, path, settings.keep)
    try:
        return _Loop(settings, folder, source, evaluator, classes, members).run(state, step)
    finally:
        if folder is not None:
            folder.close()


class _Loop:
    """The moving parts of one call: figures not yet written, clocks, history."""

    def __init__(
        self,
        settings: Settings,
        folder: Checkpointer | None,
        source: Source,
        evaluator: Evaluator | None,
        classes: int | None,
        members: Members | None,
    ):
        self.settings, self.folder, self.source, self.evaluator = settings, folder, source, evaluator
        self.members = members
        self.on_device: list[dict[str, Array]] = []
        self.pending: list[list[Any]] = []  # per step the figures since the last line, on the host
        self.earlier, self.began, self.compile_seconds = 0.0, time.perf_counter(), 0.0
        self.stuck = _Stuck(settings, classes)

    def resume(self, state: State) -> tuple[State, int]:
        """Goes to the last checkpoint where there is one."""
        start = None if self.folder is None else self.folder.last()
        if self.folder is not None and start is not None:
            text = f"at least {start}, the step of the run's last checkpoint"
            check(start <= self.settings.steps, self.settings.function, "steps", text, self.settings.steps)
            state, progress = self.folder.restore(start, state)
            self.pending, self.earlier = progress["pending"], progress["seconds"]
            if self.members is not None:
                self.members.active = np.array(progress["active"])
        self.history = History(None if self.folder is None else Path(self.settings.run or "").absolute(), start or 0)
        return state, start or 0

    def run(self, state: State, step: Step) -> Outcome:
        settings = self.settings
        self.key = key_text(state.key)
        state, start = self.resume(state)
        done, stopped = start, self.stopped()
        bar = Progress(settings.progress, settings.steps, start)
        self.mark, self.marked = time.perf_counter(), start
        try:
            while done < settings.steps and not stopped:
                batch = self.source.at(done)
                before = time.perf_counter()
                state, figures = step(state, self.source.argument, batch)
                if done == start:  # tracing and compilation happen before the first call returns
                    self.compile_seconds += time.perf_counter() - before
                    self.mark, self.marked = time.perf_counter(), done + 1
                done += 1
                self.on_device.append(figures)
                stopped = self.after_step(state, done, bar)
                bar.update(done)
        finally:
            bar.close(done)
        best = None if settings.best is None else best_evaluation(self.history.lines, settings.best)[0]
        early = stopped and done < settings.steps
        return Outcome(state, self.history.lines, done, self.seconds(), self.compile_seconds, best, early)

    def after_step(self, state: State, done: int, bar: Progress) -> bool:
        """Does what is due after a step: look, evaluate, write lines, save. Says whether to stop."""
        settings = self.settings
        last = done == settings.steps
        evaluating = self.evaluator is not None and (last or _due(done, settings.evaluate_every))
        saving = self.folder is not None and (last or _due(done, settings.checkpoint_every))
        logging = last or _due(done, settings.log_every)
        if not (evaluating or saving or logging):
            return False
        self.fetch(done, bar)
        rate = (done - self.marked) / max(time.perf_counter() - self.mark, 1e-9)
        tests = self.lines(done, "test", self.evaluate(state)) if evaluating else []
        stopped = evaluating and self.stopped(tests)
        if logging or stopped:
            means = {name: np.mean([row[i] for row in self.pending], axis=0) for i, name in enumerate(FIGURES)}
            self.stuck.look(np.where(self.active(), means["loss"], 0), done, len(self.pending))
            self.history.add(self.lines(done, "train", means, rate=rate))
            self.pending = []
        self.history.add(tests)
        if evaluating and self.members is not None:
            self.members.look(done, tests)
        best = evaluating and settings.best is not None and self.best_step() == done
        if last or stopped or saving or best:
            self.check_parameters(state, done)
        if self.folder is not None and (saving or stopped or best):
            self.history.sync()
            progress = {"pending": self.pending, "seconds": self.seconds()}
            if self.members is not None:
                progress["active"] = self.members.active.tolist()
            self.folder.save(state, progress, self.best_step())
        self.mark, self.marked = time.perf_counter(), done  # the rate counts neither evaluation nor saving
        return stopped

    def fetch(self, done: int, bar: Progress) -> None:
        """Brings the figures of the last steps to the host, the only wait for the device, and looks at the losses."""
        rows = [[np.asarray(row[name], np.float64) for name in FIGURES] for row in jax.device_get(self.on_device)]
        first = done - len(rows) + 1
        self.on_device = []
        for number, (loss, *_) in enumerate(rows, first):
            self.check_finite("loss", np.isfinite(loss), loss, number)
        self.pending += [[figure.tolist() for figure in row] for row in rows]
        if rows:
            bar.measured(done, loss=float(np.mean(rows[-1][0])), accuracy=float(np.mean([row[1] for row in rows])))

    def check_parameters(self, state: State, done: int) -> None:
        """Stops before parameters or statistics that are not finite are kept, although the loss before was finite."""
        members = self.settings.members is not None
        finite = np.asarray(_all_finite((state.params, state.model_state, state.ema), members))
        self.check_finite("parameters", finite, np.asarray("inf or nan"), done)

    def check_finite(self, what: str, finite: np.ndarray, value: np.ndarray, step: int) -> None:
        """Raises the error about what is not finite."""
        finite = finite | ~self.active()
        if np.all(finite):
            return
        who = "" if self.members is None else f" of members {np.flatnonzero(~finite).tolist()}"
        good = None if self.folder is None or self.folder.saved is None else str(self.folder.path(self.folder.saved))
        text = f"{what}{who} must be finite, got {value}"
        raise NonFiniteLossError(self.settings.function, text, step, self.key, good)

    def evaluate(self, state: State) -> dict[str, np.ndarray]:
        """Measures a state on the test data; the first time counts as compilation."""
        assert self.evaluator is not None
        before = time.perf_counter()
        fresh, result = self.evaluator.fresh, self.evaluator(state)
        if fresh:
            self.compile_seconds += time.perf_counter() - before
        return result

    def lines(self, step: int, split: str, figures: dict[str, np.ndarray], **more: float) -> list[dict[str, Any]]:
        """Makes the lines of metrics of one moment: one, or one per member."""
        timing = {"seconds": self.seconds(), **more}
        if self.settings.members is None:
            return [{"step": step, "split": split, **figures, **timing}]
        return [
            {"step": step, "split": split, "member": i, **{name: value[i] for name, value in figures.items()}, **timing}
            for i in np.flatnonzero(self.active()).tolist()
        ]

    def active(self) -> np.ndarray:
        """Says of every member, or of the only model, whether it trains."""
        return np.array(True) if self.members is None else self.members.active

    def stopped(self, more: Sequence[dict[str, Any]] = ()) -> bool:
        """Says whether the best metric has not improved for too long."""
        settings = self.settings
        if settings.early_stopping is None or settings.best is None:
            return False
        return best_evaluation([*self.history.lines, *more], settings.best)[1] >= settings.early_stopping

    def best_step(self) -> int | None:
        """Gives the step of the best evaluation so far."""
        return None if self.settings.best is None else best_evaluation(self.history.lines, self.settings.best)[0]

    def seconds(self) -> float:
        """Gives the wall-clock time of the run so far, earlier parts included."""
        return self.earlier + time.perf_counter() - self.began


class _Stuck:
    """Warns once when the loss stays at ln(classes), as it does behind a transformer whose frame left the image."""

    def __init__(self, settings: Settings, classes: int | None):
        self.level = math.log(classes) if classes is not None and classes > 1 else math.inf
        self.patience = max(DEAD_STEPS, math.ceil(DEAD_SHARE * settings.steps))
        self.steps: np.ndarray = np.zeros(settings.members or 1, int)
        self.function, self.warned = settings.function, False

    def look(self, loss: np.ndarray, step: int, count: int) -> None:
        near = np.abs(np.atleast_1d(loss) - self.level) < DEAD_WIDTH * self.level
        self.steps = np.where(near, self.steps + count, 0)
        if not self.warned and np.any(self.steps >= self.patience):
            self.warned = True
            who = f" of members {np.flatnonzero(self.steps >= self.patience).tolist()}" if len(self.steps) > 1 else ""
            text = f"{self.function}: the loss{who} has stayed at ln(classes) = {self.level:.3f} up to step {step}"
            text += "; nothing is learned. Behind a spatial transformer a smaller rate of its localizer helps."
            warnings.warn(text, RuntimeWarning, stacklevel=6)


def _due(done: int, every: int | None) -> bool:
    return every is not None and done % every == 0


@functools.partial(jax.jit, static_argnums=1)
def _all_finite(tree: Any, members: bool) -> Array:
    """Says whether all floating leaves are finite, for each member along the leading axis if there are members."""

    def of_leaf(leaf: Array) -> Array:
        return jnp.all(jnp.isfinite(leaf), axis=tuple(range(int(members), leaf.ndim)))

    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return functools.reduce(jnp.logical_and, map(of_leaf, leaves), jnp.asarray(True))
