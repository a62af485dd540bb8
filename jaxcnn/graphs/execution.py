"""Runs a graph on arrays."""

import zlib
from collections.abc import Callable, Mapping, Sequence

import jax
import jax.numpy as jnp

from jaxcnn._check import as_array, check, shape_text
from jaxcnn._typing import AnyArray, Dtype
from jaxcnn.graphs.graph import Graph
from jaxcnn.graphs.nodes import GraphError, Node
from jaxcnn.graphs.operations.registry import Step, find_operation

__all__ = ["prepare_inputs", "run_graph", "run_node"]


def prepare_inputs(graph: Graph, x: AnyArray | Mapping[str, AnyArray]) -> tuple[dict[str, jax.Array], tuple[int, ...]]:
    """Matches what a caller passes with the inputs of a graph.

    Args:
        graph: The graph.
        x: The array of its only input, or a mapping of all inputs.

    Returns:
        Name to array, and the sizes of the batch axes.

    Raises:
        ValueError: If inputs are missing or unexpected, their rank or number of channels differs, or their batches do.
    """
    names = [one.name for one in graph.inputs]
    given = dict(x) if isinstance(x, Mapping) else {names[0]: x}
    expected = f"one array for each of {names}" if len(names) > 1 else "one array"
    check(set(given) == set(names), "graph", "inputs", expected, list(map(str, given)))
    arrays: dict[str, jax.Array] = {}
    batch: tuple[int, ...] | None = None
    for one in graph.inputs:
        array = as_array("graph", one.name, given[one.name])
        rank = len(one.shape)
        wanted = f"(*b, {', '.join('any' if size is None else str(size) for size in one.shape)})"
        fits = array.ndim >= rank and (rank == 0 or _fits_channels(array, one.shape))
        check(fits, "graph", one.name, f"an array {wanted}", shape_text(array))
        leading = array.shape[: array.ndim - rank]
        check(batch in (None, leading), "graph", one.name, f"an array with the batch axes {batch}", shape_text(array))
        arrays[one.name], batch = array, leading
    return arrays, batch or ()


def _fits_channels(array: jax.Array, shape: tuple[int | None, ...]) -> bool:
    """Tests the last axis of maps and vectors; heights and widths may differ from what the graph states."""
    return shape[-1] is None or array.shape[-1] == shape[-1]


def run_graph(
    graph: Graph,
    arrays: Mapping[str, jax.Array],
    inputs: Mapping[str, jax.Array],
    batch: tuple[int, ...],
    *,
    train: bool = False,
    key: Callable[[], jax.Array] | None = None,
    dtype: Dtype | None = None,
    update: Callable[[str, jax.Array], None] | None = None,
) -> dict[str, jax.Array]:
    """Computes the outputs of a graph.

    Args:
        graph: The graph.
        arrays: Path of parameter to array.
        inputs: Name of input to array, with the batch axes.
        batch: Sizes of the batch axes.
        train: Whether it runs in training mode.
        key: Returns the key that the random operations of this call share; needed only in training mode.
        dtype: Floating dtype of the computation; None promotes inputs and parameters.
        update: ``update(path, value)`` takes new batch statistics.

    Returns:
        Name of output to array.

    Raises:
        GraphError: If an operation does not fit its arrays; it names the node.
    """
    values = {name: _convert(array, dtype) for name, array in inputs.items()}
    collections = {one.path: one.collection for one in graph.parameters}
    uses: dict[str, int] = dict.fromkeys(graph.outputs, 1)
    for node in graph.nodes:
        for name in node.inputs:
            uses[name] = uses.get(name, 0) + 1
    for node in graph.nodes:
        parameters = {
            role: _convert(jnp.asarray(arrays[path]), None if collections[path] == "batch_stats" else dtype)
            for role, path in node.parameters.items()
        }
        read = [values[name] for name in node.inputs]
        results, statistics = run_node(node, read, parameters, batch, train=train, key=key)
        values.update(zip(node.outputs, results, strict=True))
        if update is not None:
            for role, value in statistics.items():
                update(node.parameters[role], value)
        for name in node.inputs:  # outside of jit what is no longer needed is released
            uses[name] -= 1
            if not uses[name]:
                del values[name]
    return {name: values[name] for name in graph.outputs}


def run_node(
    node: Node,
    inputs: Sequence[jax.Array],
    parameters: Mapping[str, jax.Array],
    batch: tuple[int, ...],
    *,
    train: bool = False,
    key: Callable[[], jax.Array] | None = None,
) -> tuple[list[jax.Array], dict[str, jax.Array]]:
    """Computes the outputs of one node.

    Args:
        node: The node.
        inputs: Its inputs, with the batch axes.
        parameters: Role to array.
        batch: Sizes of the batch axes.
        train: Whether it runs in training mode.
        key: Returns a random key.

    Returns:
        Its outputs, and role to new batch statistics.

    Raises:
        GraphError: If the operation does not fit its arrays.
    """
    operation = find_operation(node.op)
    assert operation is not None  # the graph has checked it

    def draw() -> jax.Array:
        if key is None:
            raise GraphError("it is random in training mode and needs a key.", node)
        return jax.random.fold_in(key(), zlib.crc32(node.name.encode()))

    options = {**operation.options, **node.options}
    step = Step(_promote(inputs), parameters, options, batch, train, draw)
    try:
        with jax.named_scope(node.name):
            results = operation.apply(step)
    except GraphError:
        raise
    except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError, NotImplementedError) as error:
        shapes = ", ".join(shape_text(value) for value in step.inputs)
        raise GraphError(f"{_first_line(error)} Its inputs are {shapes or 'none'}.", node) from error
    found = [results] if isinstance(results, jax.Array) else list(results)
    if len(found) != len(node.outputs):
        raise GraphError(f"it computes {len(found)} values for {len(node.outputs)} outputs.", node)
    return found, step.new_statistics


def _promote(inputs: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """Converts the floating ones among several values to their widest dtype."""
    floating = [x.dtype for x in inputs if jnp.issubdtype(x.dtype, jnp.floating)]
    if len(set(floating)) < 2:
        return tuple(inputs)
    wide = jnp.result_type(*floating)
    return tuple(x.astype(wide) if jnp.issubdtype(x.dtype, jnp.floating) else x for x in inputs)


def _first_line(error: Exception) -> str:
    text = str(error).split("\n")[0].strip()[:300]
    return text if text.endswith(".") else f"{text}."


def _convert(array: jax.Array, dtype: Dtype | None) -> jax.Array:
    return array.astype(dtype) if dtype is not None and jnp.issubdtype(array.dtype, jnp.floating) else array
