"""Shapes of the variables of a model, without computing any."""

from typing import Any

import flax.linen as nn
import jax
from flax import traverse_util

__all__ = ["find_variable_shapes"]


def find_variable_shapes(model: nn.Module, example: jax.ShapeDtypeStruct) -> dict[tuple[str, ...], Any]:
    """Computes the shape of every variable of a model.

    Args:
        model: The module.
        example: Shape and dtype of an input.

    Returns:
        Keys of the variable, the collection first, to its ``jax.ShapeDtypeStruct``. What the module only sows is left
        out.
    """
    found: Any = traverse_util.flatten_dict(dict(jax.eval_shape(model.init, jax.random.key(0), example)))
    return {keys: leaf for keys, leaf in found.items() if keys[0] != "intermediates"}
