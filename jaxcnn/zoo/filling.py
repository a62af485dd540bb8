"""Fills variables with the tensors of a file, all of them or none."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn._check import check, shape_text
from jaxcnn._typing import AnyArray, Variables

__all__ = ["fill"]


def fill(variables: Variables, tensors: Mapping[str, AnyArray]) -> dict[str, Any]:
    """Returns variables of the same structure with the values of the tensors that have their names.

    Convention: A variable's name is its keys joined by ``/``, as ``save`` writes them. Floating tensors are
    converted to the variable's floating dtype, integers to its integer dtype; the kind never changes.

    Args:
        variables: Nested Flax variables, or their ``jax.ShapeDtypeStruct``; not changed.
        tensors: Name to array: one for every variable, and no other.

    Returns:
        New variables.

    Raises:
        ValueError: If names are missing or unexpected, or shapes or kinds of dtype differ; all are listed together.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn.zoo import fill
        >>> variables = {"params": {"dense": {"kernel": jnp.zeros((2, 1)), "bias": jnp.zeros(1)}}}
        >>> tensors = {"params/dense/kernel": jnp.ones((2, 1)), "params/dense/bias": jnp.ones(1)}
        >>> fill(variables, tensors)["params"]["dense"]["bias"]
        Array([1.], dtype=float32)
        >>> fill(variables, {"params/dense/bias": jnp.ones(2), "step": jnp.ones(())})
        Traceback (most recent call last):
            ...
        ValueError: fill: tensors must be one per variable and of its shape, got missing 'params/dense/kernel';
            unexpected 'step'; 'params/dense/bias' float32(2,) in place of float32(1,).
    """
    check(isinstance(variables, Mapping), "fill", "variables", "a mapping", type(variables).__name__)
    check(isinstance(tensors, Mapping), "fill", "tensors", "a mapping of names to arrays", type(tensors).__name__)
    leaves, structure = jax.tree_util.tree_flatten_with_path(variables)
    wanted = {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}
    faults = [f"missing {name!r}" for name in wanted if name not in tensors]
    faults += [f"unexpected {name!r}" for name in tensors if name not in wanted]
    for name, leaf in wanted.items():
        if name in tensors and not _fits(tensors[name], leaf):
            faults.append(f"{name!r} {shape_text(tensors[name])} in place of {shape_text(leaf)}")
    check(not faults, "fill", "tensors", "one per variable and of its shape", "; ".join(faults))
    return jax.tree_util.tree_unflatten(
        structure, [jnp.asarray(tensors[name], dtype=leaf.dtype) for name, leaf in wanted.items()]
    )


def _fits(tensor: AnyArray, leaf: AnyArray | jax.ShapeDtypeStruct) -> bool:
    kinds: tuple[Any, ...] = (jnp.floating, jnp.complexfloating, jnp.integer, jnp.bool_)
    same = any(jnp.issubdtype(tensor.dtype, kind) and jnp.issubdtype(leaf.dtype, kind) for kind in kinds)
    return tuple(tensor.shape) == tuple(leaf.shape) and same
