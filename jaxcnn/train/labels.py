"""The labels behind a loss that is not finite."""

import jax
import jax.numpy as jnp

from jaxcnn._typing import Batch
from jaxcnn.train.batches import LabelCheck
from jaxcnn.train.sources import Source, TracedSource
from jaxcnn.train.state import State
from jaxcnn.train.step import step_keys

__all__ = ["WatchedLabels"]


class WatchedLabels:
    """Checks the labels of batches as they come, and again those of a step whose loss is not finite."""

    def __init__(self, check: LabelCheck, source: Source, state: State):
        """Takes what the batches of any step are drawn from: the source, and the keys of the state."""
        self._check, self._source = check, source
        self._keys = jnp.array(state.key, copy=True)  # the step may donate those of the state
        self._recent: dict[int, Batch] = {}

    def look(self, batch: Batch | None, step: int) -> None:
        """Checks the labels of a step if they are on the host; keeps others until ``forget``."""
        if batch is None:
            return
        self._check.check_host_batch("data", batch, f" in the batch of step {step}")
        self._recent[step] = {"label": batch["label"]}

    def forget(self) -> None:
        """Drops the labels of steps whose loss is known to be finite."""
        self._recent.clear()

    def explain(self, step: int) -> None:
        """Raises an error if the labels of a step are the reason for its loss."""
        for batch in self._draw(step):
            self._check.check_labels("data", batch["label"], f" in the batch of step {step}")

    def _draw(self, step: int) -> list[Batch]:
        if step in self._recent:
            return [self._recent[step]]
        if not isinstance(self._source, TracedSource):
            return []
        keys = self._keys if self._keys.ndim else self._keys[None]
        states = [State(jnp.int32(step - 1), key, {}, {}, ()) for key in keys]
        draw = jax.jit(self._source.draw)
        return [draw(self._source.argument, step_keys(state).data) for state in states]
