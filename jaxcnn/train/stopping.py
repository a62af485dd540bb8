"""What looks at a run while it trains and stops it, or warns: no improvement, a stuck loss, values not finite."""

import functools
import math
import warnings
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._typing import Array, PyTree
from jaxcnn.train.checkpoints import Checkpointer
from jaxcnn.train.history import Line, best_evaluation
from jaxcnn.train.members import Members
from jaxcnn.train.state import State

__all__ = ["EarlyStopping", "FiniteCheck", "NonFiniteLossError", "StuckLossWatch"]

STUCK_STEPS, STUCK_SHARE, STUCK_WIDTH = 200, 0.2, 0.02
"""The loss counts as stuck when for so many steps, and this share of the run, it is within 2 % of ln(classes)."""


class NonFiniteLossError(RuntimeError):
    """Raised when a loss or a parameter is not finite.

    Attributes:
        step: Number of the step, the first is 1; its random keys come from ``fold_in(key, step - 1)``.
        key: Base key of the run, as text.
        checkpoint: Path of the last checkpoint, where everything is finite, or None.

    Example:
        >>> import jax
        >>> from jaxcnn.train import NonFiniteLossError
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


class EarlyStopping:
    """Ends a run when its best metric has not improved for too many evaluations."""

    def __init__(self, metric: str | None, patience: int | None):
        """Takes the metric and the patience; without one of them it never stops a run."""
        self._metric, self._patience = metric, patience

    def best_step(self, lines: Sequence[Line]) -> int | None:
        """Returns the step of the best evaluation, None without one."""
        return None if self._metric is None else best_evaluation(lines, self._metric)[0]

    def is_due(self, lines: Sequence[Line]) -> bool:
        """Returns whether the run should end, by its lines of metrics so far."""
        if self._metric is None or self._patience is None:
            return False
        return best_evaluation(lines, self._metric)[1] >= self._patience


class StuckLossWatch:
    """Warns once when the loss stays at ln(classes), as it does behind a transformer whose frame left the image."""

    def __init__(self, function: str, steps: int, outputs: int | None, members: Members | None):
        """Watches nothing where the number of classes is unknown."""
        self._level = math.log(outputs) if outputs is not None and outputs > 1 else math.inf
        self._patience = max(STUCK_STEPS, math.ceil(STUCK_SHARE * steps))
        self._members, self._function, self._warned = members, function, False
        self._steps: np.ndarray = np.zeros(1 if members is None else len(members.active), int)

    def look(self, loss: np.ndarray, step: int, count: int) -> None:
        """Takes the mean loss of the last ``count`` steps, one per member of an ensemble."""
        loss = np.atleast_1d(loss) if self._members is None else np.where(self._members.active, loss, 0)
        near = np.abs(loss - self._level) < STUCK_WIDTH * self._level
        self._steps = np.where(near, self._steps + count, 0)
        stuck = np.flatnonzero(self._steps >= self._patience)
        if self._warned or not len(stuck):
            return
        self._warned = True
        who = "" if self._members is None else f" of members {stuck.tolist()}"
        text = f"{self._function}: the loss{who} has stayed at ln(classes) = {self._level:.3f} up to step {step}"
        text += "; nothing is learned. Behind a spatial transformer a smaller rate of its localizer helps."
        warnings.warn(text, RuntimeWarning, stacklevel=5)


class FiniteCheck:
    """Raises ``NonFiniteLossError`` for losses, parameters and statistics that are not finite."""

    def __init__(self, function: str, key: str, checkpointer: Checkpointer | None, members: Members | None):
        """Takes what the message names; members that no longer train may be anything."""
        self._function, self._key, self._checkpointer, self._members = function, key, checkpointer, members

    def check_losses(self, losses: np.ndarray, last: int) -> None:
        """Checks the losses of the steps up to ``last``, (steps,) or (steps, members)."""
        for step, loss in enumerate(losses, last - len(losses) + 1):
            self._check("loss", np.asarray(np.isfinite(loss)), str(loss), step)

    def check_state(self, state: State, step: int) -> None:
        """Checks parameters and statistics before they are kept: the loss before the last update was finite."""
        finite = _all_finite((state.params, state.model_state, state.ema), self._members is not None)
        self._check("parameters", np.asarray(finite), "inf or nan", step)

    def _check(self, what: str, finite: np.ndarray, value: str, step: int) -> None:
        if self._members is not None:
            finite = finite | ~self._members.active
        if np.all(finite):
            return
        who = "" if self._members is None else f" of members {np.flatnonzero(~finite).tolist()}"
        last = None if self._checkpointer is None else self._checkpointer.saved_path()
        text = f"{what}{who} must be finite, got {value}"
        raise NonFiniteLossError(self._function, text, step, self._key, None if last is None else str(last))


@functools.partial(jax.jit, static_argnums=1)
def _all_finite(tree: PyTree, members: bool) -> Array:
    """Returns whether all floating leaves are finite; with members one boolean for each, along the leading axis."""

    def is_finite(leaf: Array) -> Array:
        return jnp.all(jnp.isfinite(leaf), axis=tuple(range(int(members), leaf.ndim)))

    leaves = [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return functools.reduce(jnp.logical_and, map(is_finite, leaves), jnp.asarray(True))
