"""What heat maps are made of: maps inside a network, and how its logits follow from a change of them."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn._check import check
from jaxcnn._typing import Variables

__all__ = ["Evidence", "differentiate_image", "trace_module"]

_NAME = "compute_heat_maps"


class Evidence(NamedTuple):
    """Maps of a layer, and how the logits follow from a change of them."""

    maps: jax.Array  # (*b, h, w, c), without channels if gradients are for the image
    pullback: Callable[[jax.Array], jax.Array]  # gradient for the logits -> gradient for the maps
    logits: jax.Array  # (*b, classes)


def differentiate_image(function: Callable[[jax.Array], Any], x: jax.Array) -> Evidence:
    """Differentiates the logits with respect to the image; there are no maps."""
    logits, pullback = jax.vjp(function, x)
    return Evidence(x[..., :0], lambda g: pullback(g)[0], logits)


class _Call(NamedTuple):
    """One call of a method of a submodule."""

    path: tuple[str, ...]
    method: str
    number: int  # among the calls of the method


def trace_module(model: nn.Module, variables: Variables, x: jax.Array, options: Mapping[str, Any]) -> Evidence:
    """Finds the last maps that a submodule returns, and differentiates the logits with respect to them."""
    shapes: dict[_Call, tuple[int, ...]] = {}

    def record(call: _Call, value: Any) -> Any:
        if isinstance(value, jax.Array):
            shapes[call] = value.shape
        return value

    result: Any = jax.eval_shape(lambda x: _intercept(model, variables, x, options, record), x)
    fits = isinstance(result, jax.ShapeDtypeStruct) and result.ndim == x.ndim - 2
    got = result.shape if isinstance(result, jax.ShapeDtypeStruct) else type(result).__name__
    check(fits, _NAME, "model", f"a classifier of images, with outputs ({x.ndim - 3} batch axes, classes)", got)
    batch = x.shape[:-3]
    maps = [
        call
        for call, shape in shapes.items()
        if call.path and len(shape) == x.ndim and shape[:-3] == batch and math.prod(shape[-3:-1]) > 1
    ]
    if not maps:
        return differentiate_image(lambda image: model.apply(variables, image, **options), x)

    def perturbed(change: jax.Array) -> tuple[jax.Array, jax.Array]:
        kept: list[jax.Array] = []

        def add(call: _Call, value: Any) -> Any:
            if call != maps[-1]:
                return value
            kept.append(value)
            return value + change.astype(value.dtype)

        return _intercept(model, variables, x, options, add), kept[0]

    logits, pullback, values = jax.vjp(perturbed, jnp.zeros(shapes[maps[-1]], jnp.float32), has_aux=True)
    return Evidence(values, lambda g: pullback(g)[0], logits)


def _intercept(
    model: nn.Module,
    variables: Variables,
    x: jax.Array,
    options: Mapping[str, Any],
    change: Callable[[_Call, Any], Any],
) -> Any:
    """Runs a model and passes what the calls of its submodules return through a function."""
    counts: dict[tuple[tuple[str, ...], str], int] = {}

    def interceptor(
        call: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any], context: Any
    ) -> Any:
        path = (context.module.path, context.method_name)
        counts[path] = number = counts.get(path, 0) + 1
        return change(_Call(*path, number), call(*arguments, **keywords))

    with nn.intercept_methods(interceptor):
        return model.apply(variables, x, **options)
