"""Optax transformations that ask for more than gradients, and the parameters that they evaluate with."""

import inspect
import logging
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import optax

from jaxcnn._check import check
from jaxcnn._typing import Array, PyTree

__all__ = ["EvalParams", "adapt_optimizer", "find_eval_params", "update_optimizer"]

EvalParams = Callable[[Any, Any], Any]
"""``(opt_state, params) -> params`` to evaluate with, such as ``optax.contrib.schedule_free_eval_params``."""


class _WithSlow(NamedTuple):
    """State of an optimizer with ``optax.lookahead`` in it, which keeps a second set of parameters."""

    inner: Any
    slow: Any


def adapt_optimizer(tx: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Lets a transformation work on plain parameters, also where it holds ``optax.lookahead``.

    Lookahead asks for pairs of fast and slow parameters; the slow ones are kept in the state of the optimizer.

    Raises:
        ValueError: If it is not a transformation, but a learning rate, for example.
    """
    known = isinstance(tx, optax.GradientTransformation)
    check(known, "train", "tx", "an optax transformation, such as optax.adam(1e-3)", type(tx).__name__)
    tx = optax.with_extra_args_support(tx)
    parameters = inspect.signature(tx.update).parameters
    takes_all = any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())

    def init(params: PyTree) -> Any:
        log = logging.getLogger("absl")
        log.addFilter(_is_not_about_lookahead)
        try:
            state = tx.init(params)
        finally:
            log.removeFilter(_is_not_about_lookahead)
        return _WithSlow(state, params) if _find(state, optax.LookaheadState, _WithSlow) is not None else state

    def update(updates: PyTree, state: Any, params: PyTree = None, **extra_args: Any) -> tuple[PyTree, Any]:
        if not takes_all:
            extra_args = {name: argument for name, argument in extra_args.items() if name in parameters}
        if not isinstance(state, _WithSlow) or _find(state.inner, optax.LookaheadState, _WithSlow) is None:
            return tx.update(updates, state, params, **extra_args)
        pair: Any = optax.LookaheadParams(fast=params, slow=state.slow)
        both: Any
        both, inner = tx.update(updates, state.inner, pair, **extra_args)
        return both.fast, _WithSlow(inner, optax.apply_updates(state.slow, both.slow))

    return optax.GradientTransformationExtraArgs(init, update)


def update_optimizer(
    tx: optax.GradientTransformationExtraArgs,
    gradients: PyTree,
    opt_state: Any,
    params: PyTree,
    *,
    value: Array,
    value_fn: Callable[[PyTree], Array],
) -> tuple[PyTree, Any]:
    """Computes the updates; passes the loss and the function that computes it to those transformations that take them.

    ``optax.contrib.reduce_on_plateau`` takes ``value``; ``optax.lbfgs`` and line searches ``value``, ``grad`` and
    ``value_fn``; ``optax.contrib.sophia`` takes ``obj_fn``.
    """

    def full(given: PyTree) -> PyTree:
        # Of a part that trains, as under freeze(), the rest is filled in.
        return jax.tree.map(lambda g, own: own if _is_masked(g) else g, given, params, is_leaf=_is_masked)

    def objective(given: PyTree, obj_fn: object = None) -> Array:
        del obj_fn  # line searches refuse arguments that their value_fn does not take
        return value_fn(full(given))

    return tx.update(gradients, opt_state, params, value=value, grad=gradients, value_fn=objective, obj_fn=objective)


def find_eval_params(opt_state: Any, params: PyTree) -> PyTree | None:
    """Returns the parameters that an optimizer evaluates with, None where these are simply the parameters.

    They are the slow ones of ``optax.lookahead`` and the averages of ``optax.contrib.schedule_free``; arrays may have a
    leading axis of members.
    """
    found = _find(opt_state, _WithSlow, optax.contrib.ScheduleFreeState)
    if found is None:
        return None
    if isinstance(found, _WithSlow):
        return jax.tree.map(lambda slow, p: p if _is_masked(slow) else slow, found.slow, params, is_leaf=_is_masked)

    def average(z: Any, y: Array) -> Array:
        if _is_masked(z):
            return y
        b1 = found.b1.reshape(found.b1.shape + (1,) * (y.ndim - found.b1.ndim))
        return ((y - (1.0 - b1) * z) / b1).astype(y.dtype)

    return jax.tree.map(average, found.z, params, is_leaf=_is_masked)


def _is_masked(leaf: object) -> bool:
    """Returns whether a leaf stands for one that a partial transformation does not see."""
    return isinstance(leaf, optax.MaskedNode)


def _find(state: Any, *kinds: type) -> Any:
    """Returns the first part of a state that is of one of the kinds, looking into none of them."""
    parts = jax.tree.leaves(state, is_leaf=lambda part: isinstance(part, kinds))
    return next((part for part in parts if isinstance(part, kinds)), None)


def _is_not_about_lookahead(record: logging.LogRecord) -> bool:
    return "has no attribute `fast`" not in record.getMessage()
