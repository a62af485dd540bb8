"""The state of training: one tree of arrays that a step maps to the next."""

import functools
import typing
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import core, struct
from jax.typing import ArrayLike

from jaxcnn._check import check, describe_wrong_key
from jaxcnn._representation import short_repr
from jaxcnn._typing import AnyArray, Array, Batch, Int, Key, PRNGKey, PyTree, Variables
from jaxcnn.train.batches import describe_kind
from jaxcnn.train.optimizers import EvalParams, adapt_optimizer, find_eval_params

__all__ = [
    "State",
    "averaged",
    "check_key",
    "create_state",
    "evaluation_variables",
    "init_variables",
    "is_key",
    "strip_weak_types",
]


@typing.no_type_check  # at run time: JAX rebuilds a tree with anything as leaves, such as shardings and axes
class State(struct.PyTreeNode):
    """Everything that a training run carries from one step to the next.

    Attributes:
        step: Number of steps done; of an ensemble one per member, as all leaves have a leading axis of members.
        key: Base key of the run; the key of a step is ``fold_in(key, step)``.
        params: Parameters.
        model_state: The model's other collections, such as ``{"batch_stats": ...}``.
        opt_state: State of the Optax transformation.
        ema: Moving average of the parameters in at least float32, or None.
        eval_state: Collections to evaluate with in place of ``model_state``, see ``update_batch_stats``, or None.

    Example:
        >>> from jaxcnn.train import State, create_state
        >>> import flax.linen as nn, jax, jax.numpy as jnp, optax
        >>> batch = {"image": jnp.ones((1, 2)), "label": jnp.zeros(1, int)}
        >>> state = create_state(jax.random.key(0), nn.Dense(3), optax.sgd(0.1), batch)
        >>> isinstance(state, State), int(state.step), sorted(state.variables["params"])
        (True, 0, ['bias', 'kernel'])
    """

    step: Int[Array, "*members"]
    key: Key[Array, "*members"]
    params: PyTree
    model_state: dict[str, Any]
    opt_state: optax.OptState
    ema: PyTree = None
    eval_state: PyTree = None

    def __repr__(self) -> str:
        """Describes it in one line; arrays by their shapes."""
        return short_repr(self)

    @property
    def variables(self) -> dict[str, Any]:
        """Flax variables to train with."""
        return {"params": self.params, **self.model_state}

    @property
    def eval_variables(self) -> dict[str, Any]:
        """Flax variables to evaluate with.

        Averaged parameters where the run keeps them; else those that the optimizer evaluates with, if it is
        ``optax.contrib.schedule_free`` or ``optax.lookahead``; else the parameters.
        """
        return evaluation_variables(self)


def evaluation_variables(state: State, eval_params: EvalParams | None = None) -> dict[str, Any]:
    """Returns the variables to evaluate with, by a function of optimizer state and parameters where one is given."""
    if eval_params is not None:
        choose = jax.vmap(eval_params) if state.step.ndim else eval_params
        params = choose(state.opt_state, state.params)
    elif state.ema is not None:
        params = jax.tree.map(lambda average, param: average.astype(param.dtype), state.ema, state.params)
    else:
        params = find_eval_params(state.opt_state, state.params)
    collections = state.model_state if state.eval_state is None else state.eval_state
    return {"params": state.params if params is None else params, **collections}


def strip_weak_types(tree: PyTree) -> PyTree:
    """Copies a tree with dtypes made explicit: with a weak type in a state the step would be traced a second time."""

    def copy(leaf: ArrayLike) -> jax.Array:
        return jnp.array(leaf, copy=True) if is_key(leaf) else jnp.array(leaf, dtype=jnp.asarray(leaf).dtype, copy=True)

    return jax.tree.map(copy, tree)


def is_key(leaf: object) -> bool:
    """Returns whether a leaf is an array of typed keys."""
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def averaged(params: PyTree) -> PyTree:
    """Copies parameters into the dtype of their moving average."""

    def copy(param: AnyArray) -> jax.Array:
        narrow = jnp.issubdtype(param.dtype, jnp.floating) and jnp.finfo(param.dtype).bits < 32
        return jnp.array(param, dtype=jnp.float32 if narrow else param.dtype, copy=True)

    return jax.tree.map(copy, params)


def create_state(
    key: PRNGKey,
    model: nn.Module,
    tx: optax.GradientTransformation,
    batch: Batch,
    *,
    variables: Variables | None = None,
    ema: bool = False,
) -> State:
    """Initializes model and optimizer.

    The model is initialized as ``model.init(keys, image[:1])``, or takes copies of ``variables``:
    a step may donate the buffers of the state, and donated arrays are gone.

    Args:
        key: Split into the key that initializes and the base key of the run.
        model: A Linen module, called as ``model(image, train=...)``; one without ``train`` works too.
        tx: Optax transformation.
        batch: Any batch of the data; shapes and dtypes count, values do not.
        variables: Start from these instead of fresh ones.
        ema: Keep a moving average of the parameters.

    Returns:
        The state at step 0.

    Raises:
        ValueError: If ``key`` is not a single typed key, or batch or variables lack a part.

    Example:
        >>> from jaxcnn.train import create_state
        >>> import flax.linen as nn, jax, jax.numpy as jnp, optax
        >>> batch = {"image": jnp.ones((4, 8)), "label": jnp.zeros(4, int)}
        >>> state = create_state(jax.random.key(0), nn.Dense(3), optax.adam(1e-3), batch)
        >>> state.params["kernel"].shape
        (8, 3)
    """
    check_key("create_state", key)
    known = isinstance(batch, Mapping) and "image" in batch
    got = f"the names {', '.join(map(repr, batch))}" if isinstance(batch, Mapping) else describe_kind(batch)
    check(known, "create_state", "batch", 'a mapping with "image"', got)
    shaped = isinstance(batch["image"], np.ndarray | jax.Array | jax.ShapeDtypeStruct)
    check(shaped, "create_state", "batch", "made of NumPy or JAX arrays", describe_kind(batch["image"]))
    init_key, base_key = jax.random.split(key)
    if variables is None:
        variables = _init(init_key, model, batch["image"])
    check("params" in variables, "create_state", "variables", 'a mapping with "params"', sorted(variables))
    collections = {
        name: strip_weak_types(core.unfreeze(tree)) for name, tree in variables.items() if name != "intermediates"
    }
    params = collections.pop("params")
    return State(
        step=jnp.zeros((), jnp.int32),
        key=base_key,
        params=params,
        model_state=collections,
        opt_state=strip_weak_types(adapt_optimizer(tx).init(params)),
        ema=averaged(params) if ema else None,
    )


def _init(key: PRNGKey, model: nn.Module, image: AnyArray | jax.ShapeDtypeStruct) -> Variables:
    example = jnp.zeros((1, *image.shape[1:]), image.dtype)
    try:
        program = _compile_init(model)
    except TypeError:  # a model whose fields cannot be hashed
        program = jax.jit(init_variables(model))
    return program(key, example)


@functools.lru_cache(maxsize=16)
def _compile_init(model: nn.Module) -> Callable[[PRNGKey, Array], Variables]:
    return jax.jit(init_variables(model))


def init_variables(model: nn.Module) -> Callable[[PRNGKey, Array], Variables]:
    """Returns the function ``(key, image) -> variables`` that initializes a model."""

    def init(key: PRNGKey, image: Array) -> Variables:
        params_key, dropout_key = jax.random.split(key)
        return model.init({"params": params_key, "dropout": dropout_key}, image)

    return init


def check_key(function: str, key: object, *, rank: int = 0) -> None:
    """Refuses anything that is not a typed key, or a stack of keys of the rank."""
    expected = "one typed key (jax.random.key(seed))" if rank == 0 else "a stack of typed keys, shape (members,)"
    argument = "key" if rank == 0 else "keys"
    if not isinstance(key, jax.Array) or not is_key(key):
        raise ValueError(f"{function}: {argument} must be {expected}, got {describe_wrong_key(key)}.")
    check(key.ndim == rank, function, argument, expected, f"shape {key.shape}")
