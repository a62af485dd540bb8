"""What training returns, of one model or of an ensemble."""

import dataclasses
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn._check import check, is_integer_at_least
from jaxcnn._representation import short_repr, shorten, summary_html
from jaxcnn.train.loading import load_variables
from jaxcnn.train.optimizers import EvalParams
from jaxcnn.train.state import State, evaluation_variables

__all__ = ["Result"]


@dataclasses.dataclass(frozen=True)
class Result:
    """What training returns.

    Attributes:
        state: The state after the last step; of an ensemble every leaf has a leading axis of members.
        history: The lines of ``metrics.jsonl`` as of ``read_history``; of an ensemble one list per member.
        evaluation: Test metrics of the last state, floats; of an ensemble arrays with a leading axis of members.
        seconds: Wall-clock time, compilation and evaluation included, over all parts of a resumed run.
        compile_seconds: Time of the first training step and the first evaluation in this call, which is nearly all
            tracing and compilation.
        best_step: Step of the best evaluation, None without one.
        stopped_early: Whether early stopping ended the run.
        run: The run folder, or None.
        eval_params: Chooses the parameters to evaluate with, as given to ``fit``.
        kept_variables: Without a run folder, the variables of the best evaluation; see ``best_variables``.
        best_member: Of an ensemble, the member whose last evaluation is best among those that trained to the end;
            None without evaluation, and for one model.

    Example:
        >>> import jax
        >>> from jaxcnn.train import Result
        >>> import flax.linen as nn, jax.numpy as jnp, optax
        >>> from jaxcnn.train import fit
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
    eval_params: EvalParams | None = None
    kept_variables: dict[str, Any] | None = dataclasses.field(default=None, repr=False)

    def __repr__(self) -> str:
        """Describes it in one line; arrays by their shapes."""
        return short_repr(self)

    def _repr_html_(self) -> str:
        """Builds a table for notebooks."""
        parameters = sum(leaf.size for leaf in jax.tree.leaves(self.state.params))
        rows = [("steps", self.state.step), ("parameters", f"{parameters:,}"), *self.evaluation.items()]
        rows += [
            (name, getattr(self, name)) for name in ("seconds", "best_step", "best_member", "stopped_early", "run")
        ]
        shown = [(name.replace("_", " "), value) for name, value in rows if value is not None]
        return summary_html("Result", [("", ""), *((n, v if isinstance(v, str) else shorten(v)) for n, v in shown)])

    @property
    def variables(self) -> dict[str, Any]:
        """Flax variables to evaluate with: those of the last step."""
        return evaluation_variables(self.state, self.eval_params)

    @property
    def best_variables(self) -> dict[str, Any]:
        """Flax variables of the best evaluation, by the metric ``best``; read from the run folder where there is one.

        Raises:
            ValueError: If there was no evaluation, or the checkpoint cannot be read.

        Example:
            >>> import jax
            >>> import flax.linen as nn, jax.numpy as jnp, optax
            >>> from jaxcnn.train import fit
            >>> batch = {"image": jnp.eye(3), "label": jnp.arange(3)}
            >>> options = {"evaluate": batch, "evaluate_every": 2, "best": "loss"}
            >>> result = fit(jax.random.key(0), nn.Dense(3), optax.sgd(9.0), [batch], steps=4, **options)
            >>> result.best_step, sorted(result.best_variables["params"])
            (4, ['bias', 'kernel'])
        """
        if self.best_step is None:
            raise ValueError("best_variables: result must be that of a run with evaluations and best=, got none.")
        if self.best_step == int(jnp.max(self.state.step)):
            return self.variables
        if self.kept_variables is not None:
            return self.kept_variables
        assert self.run is not None
        return load_variables(self.run, checkpoint=self.best_step)

    def member(self, i: int) -> "Result":
        """Returns one member of an ensemble as a result of its own, without the step of the ensemble's best evaluation.

        Raises:
            ValueError: If this is not the result of an ensemble, or it has no such member.

        Example:
            >>> import jax
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
            kept_variables=None,
        )
