"""Batch statistics of averaged parameters, which are not those of the parameters that train."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn._check import check
from jaxcnn._typing import Array, Batch, PRNGKey, PyTree
from jaxcnn.train.batches import check_batch
from jaxcnn.train.freezing import keep_frozen, norm_behavior
from jaxcnn.train.optimizers import EvalParams
from jaxcnn.train.state import State, evaluation_variables
from jaxcnn.train.step import train_flag

__all__ = ["STATISTICS_BATCHES", "make_statistics_step", "mean_statistics", "statistics_key", "update_batch_stats"]

STATISTICS_BATCHES = 16
"""Batches over which ``fit`` measures the statistics of averaged parameters."""


def update_batch_stats(
    state: State, batches: Iterable[Batch], *, model: nn.Module, eval_params: EvalParams | None = None
) -> State:
    """Measures the statistics of a model's batch norms for the parameters that the state evaluates with.

    Moving averages of parameters (``fit(ema=...)``, ``optax.contrib.schedule_free``, ``optax.lookahead``) belong to
    another network than the one that trains: evaluated with the running statistics of that one, they may answer no
    better than chance. ``fit`` calls this by itself.

    Convention:
        The statistics are the plain mean of those of the batches, as the training mode computes them; dropout is on.
        The state keeps them beside the running ones: evaluation uses them, training goes on with its own.

    Args:
        state: A state; of one model, not of an ensemble.
        batches: Batches of training data, with the augmentation of the training.
        model: The module.
        eval_params: As for ``fit``.

    Returns:
        The state with statistics to evaluate with, unchanged where the model has no batch norms.

    Raises:
        ValueError: If there are no batches.

    Example:
        >>> import jax
        >>> from jaxcnn.train import create_state, update_batch_stats
        >>> import flax.linen as nn, jax.numpy as jnp, optax
        >>> batch = {"image": jnp.array([[1.0], [3.0]]), "label": jnp.arange(2)}
        >>> norm = nn.BatchNorm(use_running_average=False)
        >>> state = create_state(jax.random.key(0), norm, optax.sgd(0.1), batch)
        >>> state = update_batch_stats(state, [batch], model=norm)
        >>> state.eval_variables["batch_stats"]["mean"].tolist()
        [2.0]

    Parity:
        ``torch.optim.swa_utils.update_bn``; Flax's variances are not corrected by n / (n - 1).
    """
    step = jax.jit(make_statistics_step(model, eval_params=eval_params))
    total, count = None, 0
    for batch in batches:
        check_batch("update_batch_stats", "batches", batch)
        found = step(state, {"image": jnp.asarray(batch["image"])}, jax.random.fold_in(state.key, count))
        total, count = found if total is None else jax.tree.map(jnp.add, total, found), count + 1
    check(count > 0, "update_batch_stats", "batches", "at least one batch", "none")
    return mean_statistics(state, total, count)


def make_statistics_step(
    model: nn.Module, *, frozen: Sequence[str] = (), eval_params: EvalParams | None = None
) -> Callable[[State, Batch, PRNGKey], PyTree]:
    """Makes the function ``(state, batch, key) -> statistics of the batch``, of the parameters to evaluate with.

    It returns the collection ``"batch_stats"``, an empty dict where the model has none. Frozen batch norms keep theirs.
    """

    def step(state: State, batch: Batch, key: PRNGKey) -> PyTree:
        if "batch_stats" not in state.model_state:
            return {}
        with norm_behavior(frozen, measuring=True):
            _, updated = model.apply(
                {**evaluation_variables(state, eval_params), **state.model_state},
                batch["image"],
                rngs={"dropout": key},
                mutable=list(state.model_state),
                **train_flag(model, True),
            )
        found: Any = updated
        return keep_frozen(found["batch_stats"], state.model_state["batch_stats"], frozen)

    return step


def mean_statistics(state: State, total: PyTree, count: int, frozen: Sequence[str] = ()) -> State:
    """Returns a state that evaluates with the mean of the statistics of ``count`` batches, given their sum."""
    if not total:
        return state
    mean = jax.tree.map(lambda leaf, old: (leaf / count).astype(old.dtype), total, state.model_state["batch_stats"])
    mean = keep_frozen(mean, state.model_state["batch_stats"], frozen)
    return state.replace(eval_state={**state.model_state, "batch_stats": mean})


def statistics_key(state: State, number: int | Array) -> PRNGKey:
    """Returns the key for the batch of a number that statistics are measured on: the same at every step of a run."""
    return jax.random.fold_in(jax.random.fold_in(state.key, 2**31), number)
