"""Pure functions for one step of training and one batch of evaluation."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from jaxcnn import losses
from jaxcnn import metrics as metrics_lib
from jaxcnn._check import check, shape_text
from jaxcnn._typing import AnyArray, Array, Batch, Float, PRNGKey, PyTree, Variables
from jaxcnn.train.batches import check_batch, describe_kind
from jaxcnn.train.freezing import check_prefixes, frozen_mask, keep_frozen, norm_behavior
from jaxcnn.train.optimizers import EvalParams, adapt_optimizer, update_optimizer
from jaxcnn.train.state import State, averaged, evaluation_variables, is_key

__all__ = [
    "Augment",
    "EvalStep",
    "Loss",
    "Metrics",
    "StepKeys",
    "TrainStep",
    "augment_batch",
    "count_classes",
    "default_metrics",
    "logits_shape",
    "make_eval_step",
    "make_train_step",
    "step_keys",
    "train_flag",
]

Loss = Callable[[Any, Any], Float[Array, " n"]]
"""``(logits, labels) -> (n,)``, one loss per example."""

Metrics = Mapping[str, Callable[[Any, Any], Array]]
"""Name -> ``(logits, labels) -> (n, ...)``, one value per example."""

Augment = Callable[..., Any]
"""``(key, images) -> images`` or ``(key, images, labels) -> (images, labels)``, batched."""

TrainStep = Callable[[State, Batch], tuple[State, dict[str, Array]]]
EvalStep = Callable[[State, Batch], dict[str, Array]]


class StepKeys(NamedTuple):
    """The random keys of one step, one per purpose."""

    dropout: PRNGKey
    augment: PRNGKey
    data: PRNGKey


def step_keys(state: State) -> StepKeys:
    """Returns the keys of the step that a state is about to take: they depend on base key and step number only."""
    key = jax.random.fold_in(state.key, state.step)
    return StepKeys(*(jax.random.fold_in(key, purpose) for purpose in range(3)))


def make_train_step(
    model: nn.Module,
    tx: optax.GradientTransformation,
    *,
    loss: Loss = losses.cross_entropy,
    augment: Augment | None = None,
    frozen: Sequence[str] = (),
    ema: float | None = None,
    axis_name: str | None = None,
) -> TrainStep:
    """Makes the function that does one step of training.

    The function is pure and not yet jitted: ``jax.jit(step, donate_argnums=0)``. It calls the model
    with ``train=True``, all collections of the state mutable, and a dropout key folded from the base
    key and the step number. A batch is ``{"image", "label"}`` and may hold ``"weight"`` (n,).

    Frozen prefixes name parts of the model that do not move at all while the rest trains: parameters
    stay bit for bit what they were, and batch norms there normalize with their running statistics
    and leave them alone. Dropout in a frozen part stays on. Give ``freeze(tx, variables, frozen)`` as
    ``tx`` to spare the optimizer's memory too.

    Args:
        model: Linen module, ``model(image, train=...) -> logits``.
        tx: Optax transformation.
        loss: One loss per example; label smoothing is ``functools.partial(losses.cross_entropy, label_smoothing=0.1)``.
        augment: Random change of the images of a batch, ``(key, images) -> images``; or of images and labels,
            ``(key, images, labels) -> (images, labels)``, such as ``partial(augment.mixup, num_classes=10)``.
        frozen: Prefixes of paths such as ``"block1"`` or ``"block1/conv"``.
        ema: Decay of the moving average of the parameters, e.g. 0.999; after t steps at most (1 + t) / (10 + t), so
            that the initial values are soon forgotten. Where the state keeps no average yet, it starts
            from the parameters that the step is given, and the jitted step is traced a second time for the next
            state; ``create_state(..., ema=True)`` spares that.
        axis_name: Mapped axis of ``pmap`` or ``shard_map`` that the batch is spread over: gradients, metrics and the
            statistics of batch norms are averaged over it. Not needed under jit with sharded arrays.

    Returns:
        ``(state, batch) -> (state, metrics)`` with the scalars ``loss``, ``accuracy`` and ``gradient_norm``.

    Raises:
        ValueError: If ``ema`` is outside [0, 1); when traced, if a frozen prefix matches nothing or a batch is empty.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn.train import make_train_step
        >>> import flax.linen as nn, optax
        >>> batch = {"image": jnp.eye(3), "label": jnp.arange(3)}
        >>> model, tx = nn.Dense(3), optax.sgd(1.0)
        >>> from jaxcnn.train import create_state
        >>> state = create_state(jax.random.key(0), model, tx, batch)
        >>> step = jax.jit(make_train_step(model, tx), donate_argnums=0)
        >>> state, first = step(state, batch)
        >>> state, second = step(state, batch)
        >>> bool(second["loss"] < first["loss"]), int(state.step)
        (True, 2)
    """
    check(ema is None or 0.0 <= ema < 1.0, "make_train_step", "ema", "None or a decay in [0, 1)", ema)
    tx = adapt_optimizer(tx)

    def objective(params: PyTree, state: State, batch: Batch, dropout: PRNGKey) -> tuple[Array, tuple[Any, PyTree]]:
        params = jax.tree.map(
            lambda fixed, p: jax.lax.stop_gradient(p) if fixed else p, frozen_mask(params, frozen), params
        )
        with norm_behavior(frozen, axis_name):
            logits, updated = model.apply(
                {"params": params, **state.model_state},
                batch["image"],
                rngs={"dropout": dropout},
                mutable=list(state.model_state),
                **train_flag(model, True),
            )
        return _mean(loss(logits, batch["label"]), batch, axis_name), (logits, updated)

    def step(state: State, batch: Batch) -> tuple[State, dict[str, Array]]:
        check_prefixes("make_train_step", state.variables, frozen)
        check_batch("train step", "batch", batch)
        if batch["image"].shape[0] == 0:
            got = shape_text(batch["image"])
            raise ValueError(f"train step: batch must hold at least one example, got {got}.")
        state = state.replace(eval_state=None)  # measured for the parameters that are about to change
        if ema is not None and state.ema is None:
            state = state.replace(ema=averaged(state.params))
        keys = step_keys(state)
        if axis_name is not None:
            shard = jax.lax.axis_index(axis_name)
            keys = StepKeys(*(jax.random.fold_in(key, shard) for key in keys))
        batch = augment_batch(augment, keys.augment, batch)
        gradient_of = jax.value_and_grad(objective, has_aux=True)
        (value, (logits, updated)), gradients = gradient_of(state.params, state, batch, keys.dropout)
        accuracy = _mean(metrics_lib.accuracy(logits, batch["label"]), batch, axis_name)
        if axis_name is not None:
            gradients, value, accuracy = jax.lax.psum((gradients, value, accuracy), axis_name)
            updated = jax.lax.pmean(updated, axis_name)

        def value_fn(params: PyTree) -> Array:
            share = objective(params, state, batch, keys.dropout)[0]
            return share if axis_name is None else jax.lax.psum(share, axis_name)

        updates, opt_state = update_optimizer(
            tx, gradients, state.opt_state, state.params, value=value, value_fn=value_fn
        )
        params = keep_frozen(optax.apply_updates(state.params, updates), state.params, frozen)
        after = state.replace(
            step=state.step + 1,
            params=params,
            model_state=keep_frozen(updated, state.model_state, frozen),
            opt_state=opt_state,
            ema=state.ema if ema is None else keep_frozen(_average(state, params, ema), state.ema, frozen),
        )
        # One dtype from step to step, weak types included, so that the step is traced once.
        after = jax.tree.map(lambda new, old: new if is_key(old) else jnp.asarray(new, dtype=old.dtype), after, state)
        return after, {"loss": value, "accuracy": accuracy, "gradient_norm": optax.tree.norm(gradients)}

    return step


def make_eval_step(
    model: nn.Module, *, metrics: Metrics | None = None, eval_params: EvalParams | None = None
) -> EvalStep:
    """Makes the function that evaluates one batch.

    The model is called with ``train=False`` and the averaged parameters where the state keeps them.
    Sums add over batches; ``metrics.mean(sums)`` divides them by the count. Examples of weight 0, the
    padding of a last batch, count nothing, whatever values they give.

    Args:
        model: Linen module, ``model(image, train=...) -> logits``.
        metrics: Name -> function of ``(logits, labels)`` with one value (or array) per example; None stands for
            ``{"loss": losses.cross_entropy, "accuracy": metrics.accuracy}``.
        eval_params: ``(opt_state, params) -> params`` to evaluate with; None takes averaged parameters where the state
            or the optimizer keeps them, see ``State.eval_variables``.

    Returns:
        ``(state, batch) -> sums``: the weighted sum of each metric, and of the weights as ``"count"``.

    Raises:
        ValueError: If a metric is named ``"count"``; when traced, if one gives no value per example.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn.train import make_eval_step
        >>> import flax.linen as nn, optax
        >>> batch = {"image": jnp.eye(3), "label": jnp.arange(3), "weight": jnp.array([1.0, 1.0, 0.0])}
        >>> from jaxcnn.train import create_state
        >>> state = create_state(jax.random.key(0), nn.Dense(3), optax.sgd(1.0), batch)
        >>> sums = make_eval_step(nn.Dense(3))(state, batch)
        >>> sorted(sums), float(sums["count"])
        (['accuracy', 'count', 'loss'], 2.0)
    """
    functions: Metrics = default_metrics() if metrics is None else metrics
    check("count" not in functions, "make_eval_step", "metrics", 'without the name "count"', sorted(functions))

    def step(state: State, batch: Batch) -> dict[str, Array]:
        check_batch("evaluation step", "batch", batch)
        logits = model.apply(evaluation_variables(state, eval_params), batch["image"], **train_flag(model, False))
        n = batch["image"].shape[0]
        weight = batch["weight"] if "weight" in batch else jnp.ones(n, jnp.float32)
        sums = {"count": jnp.sum(weight)}
        for name, function in functions.items():
            values = function(logits, batch["label"])
            check(values.shape[:1] == (n,), "make_eval_step", f"metrics[{name!r}]", f"({n}, ...)", values.shape)
            sums[name] = _weighted_sum(values, weight)
        return sums

    return step


def default_metrics(loss: Loss = losses.cross_entropy) -> dict[str, Callable[[Any, Any], Array]]:
    """Returns what evaluation measures by default."""
    return {"loss": loss, "accuracy": metrics_lib.accuracy}


def logits_shape(model: nn.Module, state: State, batch: Batch) -> PyTree:
    """Returns shape and dtype of what a model returns for a batch."""

    def logits(variables: Variables, image: AnyArray) -> PyTree:
        return model.apply(variables, image, **train_flag(model, False))

    return jax.eval_shape(logits, state.variables, batch["image"])


def count_classes(logits: PyTree) -> int | None:
    """Returns the number of classes of a model by the shape of its logits, None if it does not return plain ones."""
    plain = isinstance(logits, jax.ShapeDtypeStruct) and logits.ndim == 2
    return logits.shape[-1] if plain else None


def train_flag(model: nn.Module, train: bool) -> dict[str, Any]:
    """Returns the argument ``train`` for models that take it; a bare Linen layer such as ``nn.Dense`` does not."""
    parameters = inspect.signature(type(model).__call__).parameters.values()
    takes = any(p.name == "train" or p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters)
    return {"train": train} if takes else {}


def _weighted_sum(values: Array, weight: Array) -> Array:
    """Sums over examples; a weight of 0 hides its value even where that is not finite."""
    dtype = jnp.float64 if values.dtype == jnp.float64 else jnp.float32
    weight = weight.astype(dtype).reshape(weight.shape + (1,) * (values.ndim - 1))
    return jnp.sum(jnp.where(weight == 0, 0.0, values.astype(dtype) * weight), axis=0)


def _mean(values: Array, batch: Batch, axis_name: str | None) -> Array:
    """Averages over the examples of a batch; of one that is spread over an axis, returns the share of this device."""
    weight = batch["weight"] if "weight" in batch else jnp.ones(values.shape[:1], jnp.float32)
    share = _weighted_sum(values, weight)
    total = jnp.sum(weight).astype(share.dtype)
    return share / (total if axis_name is None else jax.lax.psum(total, axis_name))


def _average(state: State, params: PyTree, decay: float) -> PyTree:
    done = state.step.astype(jnp.float32)
    decay_now = jnp.minimum(jnp.float32(decay), (1.0 + done) / (10.0 + done))

    def mix(average: Array, p: Array) -> Array:
        share = decay_now.astype(average.dtype)
        return share * average + (1 - share) * p.astype(average.dtype)

    return jax.tree.map(mix, state.ema, params)


def _takes_labels(augment: Augment) -> bool:
    """Returns whether a function must be given labels too, by the number of arguments without a default."""
    try:
        parameters = inspect.signature(augment).parameters.values()
    except (TypeError, ValueError):  # not known of some callables
        return False
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return sum(p.kind in positional and p.default is inspect.Parameter.empty for p in parameters) >= 3


def augment_batch(augment: Augment | None, key: PRNGKey, batch: Batch) -> Batch:
    """Changes the images of a batch, and its labels where the function takes them."""
    if augment is None:
        return batch
    with_labels = _takes_labels(augment)
    kind = "(key, images, labels) -> (images, labels)" if with_labels else "(key, images) -> images"
    changed = augment(key, batch["image"], batch["label"]) if with_labels else augment(key, batch["image"])
    pair = isinstance(changed, tuple) and len(changed) == 2
    fits = pair if with_labels else hasattr(changed, "shape")
    check(fits, "train step", "augment", f"a function {kind}", f"one that returns {describe_kind(changed)}")
    image, label = changed if with_labels else (changed, batch["label"])
    batch = {**batch, "image": image, "label": label}
    check_batch("train step", "augment", batch)
    return batch
