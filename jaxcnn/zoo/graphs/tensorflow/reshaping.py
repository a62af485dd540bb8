"""Reshape with any batch."""

import dataclasses
from collections.abc import Sequence

from jaxcnn.zoo.graphs.tensorflow.context import Context, print_dims
from jaxcnn.zoo.graphs.tensorflow.sizes import BATCH, Dimension, SymbolicSize, divide_exactly
from jaxcnn.zoo.graphs.tensorflow.table import SourceNode
from jaxcnn.zoo.graphs.tensorflow.values import GraphValue, UnsupportedNode, product

__all__ = ["held_shape", "reshape", "resolve_shape"]


def resolve_shape(x: GraphValue, target: Sequence[Dimension], fixed_batch: int | None) -> tuple[Dimension, ...]:
    """Computes the shape that a reshape asks for, with the batch as a symbol.

    Args:
        x: What is reshaped.
        target: The shape; one size may be -1.
        fixed_batch: The batch that the file fixes, which may be part of the first size.

    Returns:
        All sizes.

    Raises:
        ValueError: If the numbers of values differ.
        Unsupported: If they cannot be compared.
    """
    total = product(x.dims)
    if any(isinstance(size, int) and (size < -1 or size >= 1 << 40) for size in target):
        raise ValueError(f"a value of shape {print_dims(x.dims)} cannot become {print_dims(target)}.")
    missing = [at for at, size in enumerate(target) if isinstance(size, int) and size == -1]
    if len(missing) > 1:
        raise ValueError(f"the shape {print_dims(target)} has several unknown sizes.")
    candidates = [list(target)]
    first = target[0] if target else None
    if x.batch != "none" and isinstance(first, int) and first > 0 and fixed_batch and first % fixed_batch == 0:
        candidates.insert(0, [BATCH * (first // fixed_batch), *target[1:]])
    for sizes in candidates:
        if missing:
            rest = divide_exactly(total, product(tuple(size for at, size in enumerate(sizes) if at != missing[0])))
            if rest is None:
                continue
            found = (*sizes[: missing[0]], rest, *sizes[missing[0] + 1 :])
        else:
            found = tuple(sizes)
            if product(found) != total:
                continue
        if x.batch == "none" or not found or _has_batch(found[0]):
            return found
    if isinstance(total, int) or all(isinstance(size, int) for size in target):
        raise _refuse(x, target)
    raise UnsupportedNode(f"a reshape of {print_dims(x.dims)} to {print_dims(target)}")


def _has_batch(size: Dimension) -> bool:
    return isinstance(size, SymbolicSize) and divide_exactly(size, BATCH) is not None


def _refuse(x: GraphValue, target: Sequence[Dimension]) -> Exception:
    if any(isinstance(size, SymbolicSize) for size in x.dims[1:]):
        return UnsupportedNode(f"a reshape of {print_dims(x.dims)} to {print_dims(target)}")
    return ValueError(f"a value of shape {print_dims(x.dims)} cannot become {print_dims(target)}.")


def held_shape(dims: Sequence[Dimension], batch: str) -> tuple[Dimension, ...]:
    """Returns the shape of an example that has these sizes with the batch."""
    if batch == "leading":
        return tuple(dims[1:])
    if batch == "merged":
        share = divide_exactly(dims[0], BATCH)
        return (share if share is not None else -1, *dims[1:])
    return tuple(dims)


def reshape(ctx: Context, node: SourceNode, x: GraphValue, dims: Sequence[Dimension]) -> GraphValue:
    """Adds a node that reshapes each example, unless the batch alone moves.

    Args:
        ctx: The context.
        node: The node.
        x: What is reshaped.
        dims: All sizes of the result.

    Returns:
        The result.
    """
    dims = tuple(dims)
    if dims == x.dims:
        return x
    x = ctx.to_source(x, node)
    batch = x.batch
    if x.batch != "none":
        batch = "leading" if dims and dims[0] == BATCH else "merged"
        if not dims or not _has_batch(dims[0]):
            raise UnsupportedNode("a reshape that moves the batch")
    elif len(dims) > 1 and dims[0] == 1 and x.rank < len(dims):
        batch, dims = "leading", (BATCH, *dims[1:])
        ctx.fixed_batch = 1
    new, old = held_shape(dims, batch), held_shape(x.dims, x.batch)
    if new == old:
        return dataclasses.replace(x, dims=dims, batch=batch)
    unknown = [at for at, size in enumerate(new) if isinstance(size, SymbolicSize)]
    shape: list[int | None] = [size if isinstance(size, int) else -1 for size in new]
    if len(unknown) > 1:
        for at in unknown[:-1]:
            if at >= len(old) or old[at] != new[at]:
                raise UnsupportedNode("a reshape with several sizes that are not known")
            shape[at] = None
    return ctx.emit("reshape", node, [x], dims, options={"shape": shape}, batch=batch)
