"""What looks at a run while it trains and stops it, or warns: no improvement, a stuck loss, values not finite."""

import functools
import math
import warnings
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn._typing import Array
from jaxcnn.train.checkpoints import Checkpointer, key_text
from jaxcnn.train.history import Line, best_evaluation
from jaxcnn.train.members import Members
from jaxcnn.train.state import State

__all__ = ["EarlyStopping", "FiniteCheck", "NonFiniteLossError", "StuckLossWatch"]

STUCK_STEPS, STUCK_SHARE, STUCK_WIDTH = 200, 0.2, 0.02
"""The loss counts as stuck when for so many steps, and this share of the run, it is within 2 % of ln(classes)."""


_WHAT = {
    "params": "parameters",
    "model_state": "statistics",
    "ema": "averaged parameters",
    "opt_state": "optimizer state",
    "eval_state": "statistics",
}
"""What the parts of a state are called."""


class NonFiniteLossError(RuntimeError):
    """Raised when a loss, a gradient, a parameter or the state of the optimizer is not finite.

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
    """Raises ``NonFiniteLossError`` for losses, gradients and states that are not finite."""

    def __init__(
        self,
        function: str,
        state: State,
        checkpointer: Checkpointer | None,
        members: Members | None,
        explain: Callable[[int], None],
    ):
        """Takes what the message names.

        Args:
            function: Name for messages.
            state: The state at step 0. What an optimizer holds that is not finite there, such as the best loss so far,
                may be so later.
            checkpointer: Knows the last good checkpoint.
            members: Of an ensemble; members that no longer train may be anything.
            explain: Called with the step of a loss that is not finite; may raise an error that names the reason.
        """
        self._function, self._key, self._checkpointer, self._members = (
            function,
            key_text(state.key),
            checkpointer,
            members,
        )
        self._explain = explain
        self._exempt = {name for name, finite in self._leaves(state).items() if not np.all(finite)}
        parts = jax.tree.leaves(state.opt_state, is_leaf=lambda part: isinstance(part, optax.ApplyIfFiniteState))
        self._skips = any(isinstance(part, optax.ApplyIfFiniteState) for part in parts)

    def check_figures(self, figures: Mapping[str, np.ndarray], last: int) -> None:
        """Checks losses and gradient norms of the steps up to ``last``, (steps,) or (steps, members)."""
        losses, norms = figures["loss"], figures["gradient_norm"]
        for step, (loss, norm) in enumerate(zip(losses, norms, strict=True), last - len(losses) + 1):
            finite = np.asarray(np.isfinite(loss))
            if not np.all(self._counts(finite)):
                self._explain(step)
            self._check("loss", finite, str(loss), step)
            if not self._skips:  # with apply_if_finite such gradients change nothing
                self._check("gradient_norm", np.asarray(np.isfinite(norm)), str(norm), step)

    def check_state(self, state: State, step: int) -> None:
        """Checks all that a checkpoint keeps: the loss before the last update was finite."""
        for name, finite in self._leaves(state).items():
            if name not in self._exempt:
                self._check(_WHAT[name.partition("/")[0]], finite, f"inf or nan in {name}", step)

    def _leaves(self, state: State) -> dict[str, np.ndarray]:
        """Returns for every floating leaf whether it is finite, by its path."""
        tree = {name: getattr(state, name) for name in _WHAT}
        paths, _ = jax.tree_util.tree_flatten_with_path(tree)
        named = {
            jax.tree_util.keystr(path, simple=True, separator="/"): leaf
            for path, leaf in paths
            if jnp.issubdtype(leaf.dtype, jnp.inexact)
        }
        found = jax.device_get(_are_finite(list(named.values()), self._members is not None))
        return dict(zip(named, found, strict=True))

    def _counts(self, finite: np.ndarray) -> np.ndarray:
        return finite if self._members is None else np.asarray(finite | ~self._members.active)

    def _check(self, what: str, finite: np.ndarray, value: str, step: int) -> None:
        finite = self._counts(finite)
        if np.all(finite):
            return
        who = "" if self._members is None else f" of members {np.flatnonzero(~finite).tolist()}"
        last = None if self._checkpointer is None else self._checkpointer.saved_path()
        text = f"{what}{who} must be finite, got {value}"
        raise NonFiniteLossError(self._function, text, step, self._key, None if last is None else str(last))


@functools.partial(jax.jit, static_argnums=1)
def _are_finite(leaves: list[Array], members: bool) -> list[Array]:
    """Returns for each leaf whether it is finite; with members one boolean for each, along the leading axis."""
    return [jnp.all(jnp.isfinite(leaf), axis=tuple(range(int(members), leaf.ndim))) for leaf in leaves]
