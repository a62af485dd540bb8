"""Arithmetic of graphs: of several values, of a value and a constant, and along axes."""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from jaxcnn.graphs.operations.registry import Step, operation
from jaxcnn.ops._batching import working_dtype

__all__ = ["BINARY", "REDUCTIONS", "align"]


def align(values: Sequence[jax.Array], leading: int) -> list[jax.Array]:
    """Adds axes of size 1 behind the batch axes to values of lower rank, so that all broadcast."""
    rank = max(value.ndim for value in values)
    return [
        value.reshape(value.shape[:leading] + (1,) * (rank - value.ndim) + value.shape[leading:]) for value in values
    ]


def _operands(step: Step) -> list[jax.Array]:
    """Lists the inputs and the constant, if there is one, in order."""
    values = align(step.inputs, step.leading)
    constant = step.parameters.get("constant")
    if constant is None and step["value"] is not None:
        constant = jnp.asarray(step["value"], values[0].dtype)
    if constant is None:
        return values
    extra = constant.ndim + step.leading - values[0].ndim
    if extra > 0:  # a constant of higher rank than the values
        rank = (1,) * extra
        values = [x.reshape(x.shape[: step.leading] + rank + x.shape[step.leading :]) for x in values]
    constant = step.spread(constant.astype(values[0].dtype), values[0])
    return [constant, *values] if step["constant_first"] else [*values, constant]


def _comparison(function: Callable[..., jax.Array]) -> Callable[..., jax.Array]:
    return lambda a, b: function(a, b).astype(a.dtype)


BINARY: dict[str, Callable[..., jax.Array]] = {
    "add": jnp.add,
    "subtract": jnp.subtract,
    "multiply": jnp.multiply,
    "divide": jnp.divide,
    "maximum": jnp.maximum,
    "minimum": jnp.minimum,
    "pow": jnp.power,
    "floor_divide": jnp.floor_divide,
    "floor_mod": jnp.mod,
    "squared_difference": lambda a, b: jnp.square(a - b),
    "greater": _comparison(jnp.greater),
    "greater_equal": _comparison(jnp.greater_equal),
    "less": _comparison(jnp.less),
    "less_equal": _comparison(jnp.less_equal),
}
"""Functions of two or more values, from left to right; comparisons are 1 where they hold, else 0."""


def _register_binary(name: str, function: Callable[..., jax.Array]) -> None:
    def apply(step: Step) -> jax.Array:
        values = _operands(step)
        if len(values) < 2:
            raise ValueError("it must have two operands, inputs or a constant.")
        return functools.reduce(function, jnp.broadcast_arrays(*values) if len(values) > 2 else values)

    operation(name, inputs=(1, None), optional=("constant",), value=None, constant_first=False)(apply)


for _name, _function in BINARY.items():
    _register_binary(_name, _function)


@operation("select", inputs=(1, 3), numbers=(None, None))
def _select(step: Step) -> jax.Array:
    """Returns the second value where the first one is not 0, else the third.

    ``numbers`` has the second and the third where they are numbers and no inputs.
    """
    condition, *values = align(step.inputs, step.leading)
    left = iter(values)
    first, second = (next(left) if number is None else number for number in step["numbers"])
    return jnp.where(condition != 0, first, second).astype(values[0].dtype if values else condition.dtype)


@operation("average", inputs=(1, None))
def _average_values(step: Step) -> jax.Array:
    """Computes the mean of several values."""
    values = align(step.inputs, step.leading)
    return functools.reduce(jnp.add, values) / len(values)


@operation("weighted_sum", inputs=(1, None), coefficients=())
def _sum_weighted(step: Step) -> jax.Array:
    """Computes the sum of values times coefficients."""
    if len(step["coefficients"]) != len(step.inputs):
        raise ValueError(f"it has {len(step['coefficients'])} coefficients for {len(step.inputs)} inputs.")
    values = align(step.inputs, step.leading)
    return functools.reduce(jnp.add, [c * value for c, value in zip(step["coefficients"], values, strict=True)])


REDUCTIONS: dict[str, Callable[..., jax.Array]] = {
    "reduce_mean": jnp.mean,
    "reduce_sum": jnp.sum,
    "reduce_max": jnp.max,
    "reduce_min": jnp.min,
    "reduce_prod": jnp.prod,
    "reduce_variance": jnp.var,
}
"""Functions along axes."""


def _register_reduction(name: str, function: Callable[..., jax.Array]) -> None:
    def apply(step: Step) -> jax.Array:
        wide = working_dtype(step.x) if name not in ("reduce_max", "reduce_min") else None
        axes = tuple(range(-(step.x.ndim - step.leading), 0)) if step["axes"] is None else step.axes(step["axes"])
        x = step.x if wide is None else step.x.astype(wide)
        return function(x, axis=axes, keepdims=step["keepdims"]).astype(step.x.dtype)

    operation(name, axes=None, keepdims=False)(apply)


for _name, _function in REDUCTIONS.items():
    _register_reduction(_name, _function)


@operation("argmax", axis=-1, keepdims=False)
def _find_largest(step: Step) -> jax.Array:
    """Returns the index of the largest value along an axis."""
    return jnp.argmax(step.x, step.axis(step["axis"]), keepdims=step["keepdims"])


@operation("top_k", axis=-1, count=1, indices=False, ties="first")
def _find_largest_ones(step: Step) -> jax.Array:
    """Returns the largest values along an axis, the largest first, or their indices as floating numbers.

    ``ties``: which of equal values comes first, the ``"first"`` or the ``"last"``.
    """
    axis, count, last = step.axis(step["axis"]), step["count"], step.choose("ties", "first", "last") == "last"
    x = jnp.moveaxis(step.x, axis, -1)
    if not 1 <= count <= x.shape[-1]:
        raise ValueError(f"count must be in [1, {x.shape[-1]}], got {count}.")
    x = jnp.where(x == 0, 0, x)  # the order below has -0 before 0
    values, places = jax.lax.top_k(x[..., ::-1] if last else x, count)
    places = x.shape[-1] - 1 - places if last else places
    return jnp.moveaxis(places.astype(x.dtype) if step["indices"] else values, -1, axis)


@operation("constant", inputs=0, parameters=("constant",))
def _hold(step: Step) -> jax.Array:
    """Returns an array, the same for every example."""
    value = step.parameters["constant"]
    return jnp.broadcast_to(value, (*step.batch, *value.shape))
