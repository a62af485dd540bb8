"""Shapes of the values of a graph, and what it costs to compute them."""

import collections
import dataclasses
import functools
import math
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from jaxcnn._check import check
from jaxcnn.graphs.execution import run_node
from jaxcnn.graphs.graph import Graph
from jaxcnn.graphs.nodes import GraphError, Node

__all__ = ["NodeCost", "find_shapes", "infer_outputs", "measure_cost"]

LARGEST_VALUE = 2**31
"""Numbers in one value of one example; a layer that makes more is a fault of the file."""


@dataclasses.dataclass(frozen=True)
class NodeCost:
    """What one node costs for one example.

    Attributes:
        node: The node.
        shapes: Shapes of its outputs, without the batch.
        parameters: Number of values of its parameters; those of an earlier node that it shares are not counted again.
        flops: Floating-point operations; a multiplication and an addition are two.
    """

    node: Node
    shapes: tuple[tuple[int, ...], ...]
    parameters: int
    flops: int


def find_shapes(graph: Graph, *, inputs: Mapping[str, tuple[int, ...]] | None = None) -> dict[str, tuple[int, ...]]:
    """Computes the shape of every value of one example, without computing values.

    Args:
        graph: The graph.
        inputs: Name of input to the shape of an example; by default what the inputs state.

    Returns:
        Name of value to shape.

    Raises:
        ValueError: If a shape that is not stated is not passed.
        GraphError: If an operation does not fit its arrays, or computes an absurdly large value.

    Example:
        >>> from jaxcnn.graphs import Graph, Input, Node, find_shapes
        >>> nodes = (Node("pool", "max_pool", ("x",), options={"window": 2}),)
        >>> graph = Graph((Input("x", (8, 8, 2)),), nodes, ("pool",))
        >>> find_shapes(graph)
        {'x': (8, 8, 2), 'pool': (4, 4, 2)}
    """
    shapes = {one.name: (inputs or {}).get(one.name, one.shape) for one in graph.inputs}
    found: dict[str, tuple[int, ...]] = {}
    for name, shape in shapes.items():
        sizes = tuple(size for size in shape if size is not None)
        check(len(sizes) == len(shape), "find_shapes", "inputs", f"the shape of {name!r} with all sizes", shape)
        found[name] = sizes
    arrays = {one.path: jax.ShapeDtypeStruct(one.shape, jnp.dtype(one.dtype)) for one in graph.parameters}
    values = {name: jax.ShapeDtypeStruct((1, *shape), jnp.float32) for name, shape in found.items()}
    for node in graph.nodes:  # one at a time, so that no absurdly large value is passed on
        read = [values[name] for name in node.inputs]
        parameters = {role: arrays[path] for role, path in node.parameters.items()}
        for name, value in zip(node.outputs, infer_outputs(node, read, parameters), strict=True):
            values[name], found[name] = value, value.shape[1:]
    return found


_INFERRED: collections.OrderedDict[str, list[jax.ShapeDtypeStruct]] = collections.OrderedDict()
_MAX_INFERRED = 8192


def infer_outputs(
    node: Node, inputs: Sequence[jax.ShapeDtypeStruct], parameters: Mapping[str, jax.ShapeDtypeStruct]
) -> list[jax.ShapeDtypeStruct]:
    """Computes the shapes of the outputs of one node without computing values.

    What was computed for an equal node is remembered, as networks repeat their layers.

    Args:
        node: The node.
        inputs: Shape of each input, with one batch axis of size 1.
        parameters: Role to shape.

    Returns:
        Shape of each output, with the batch axis.

    Raises:
        GraphError: If the operation does not fit its arrays, or computes an absurdly large value.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn.graphs import Node
        >>> from jaxcnn.graphs.cost import infer_outputs
        >>> image = jax.ShapeDtypeStruct((1, 8, 8, 2), jnp.float32)
        >>> infer_outputs(Node("pool", "max_pool", ("x",), options={"window": 2}), [image], {})[0].shape
        (1, 4, 4, 2)
    """
    shapes = [(one.shape, one.dtype.name) for one in inputs]
    roles = sorted((role, one.shape, one.dtype.name) for role, one in parameters.items())
    key = repr((node.op, sorted(node.options.items()), len(node.outputs), shapes, roles))
    if key in _INFERRED:
        return _INFERRED[key]
    results, _ = jax.eval_shape(functools.partial(run_node, node, batch=(1,)), list(inputs), dict(parameters))
    for name, value in zip(node.outputs, results, strict=True):
        if not 0 < math.prod(value.shape) < LARGEST_VALUE:
            raise GraphError(f"its output {name!r} would have the shape {value.shape[1:]}.", node)
    _INFERRED[key] = results
    while len(_INFERRED) > _MAX_INFERRED:
        _INFERRED.popitem(last=False)
    return results


def measure_cost(graph: Graph, *, inputs: Mapping[str, tuple[int, ...]] | None = None) -> list[NodeCost]:
    """Computes shapes, parameters and floating-point operations of every node.

    Args:
        graph: The graph.
        inputs: As for ``find_shapes``.

    Returns:
        One entry per node, in order.

    Raises:
        ValueError: As for ``find_shapes``.
        GraphError: As for ``find_shapes``.

    Example:
        >>> from jaxcnn.graphs import Graph, Input, Node, Parameter, measure_cost
        >>> nodes = (Node("fc", "dense", ("x",), parameters={"kernel": "fc/kernel"}),)
        >>> graph = Graph((Input("x", (10,)),), nodes, ("fc",), (Parameter("fc/kernel", (10, 4)),))
        >>> [(cost.shapes, cost.parameters, cost.flops) for cost in measure_cost(graph)]
        [(((4,),), 40, 80)]
    """
    shapes = find_shapes(graph, inputs=inputs)
    sizes = {one.path: math.prod(one.shape) for one in graph.parameters}
    kernels = {one.path: one.shape for one in graph.parameters}
    counted: set[str] = set()
    result = []
    for node in graph.nodes:
        own = set(node.parameters.values()) - counted
        counted |= own
        outputs = tuple(shapes[name] for name in node.outputs)
        flops = _count_flops(node, [shapes[name] for name in node.inputs], outputs[0], kernels)
        result.append(NodeCost(node, outputs, sum(sizes[path] for path in own), flops))
    return result


def _count_flops(
    node: Node, inputs: list[tuple[int, ...]], output: tuple[int, ...], kernels: Mapping[str, tuple[int, ...]]
) -> int:
    """Counts the operations of a node for one example."""
    values = math.prod(output)
    shape = kernels.get(node.parameters.get("kernel", ""), ())
    bias = values * ("bias" in node.parameters)
    if node.op == "dense":
        return 2 * values * shape[0] + bias
    if node.op == "conv":
        return 2 * values * math.prod(shape[:-1]) + bias
    if node.op == "depthwise_conv":
        return 2 * values * math.prod(shape[:-2]) + bias
    if node.op == "conv_transpose":
        return 2 * math.prod(inputs[0]) * math.prod(shape[:-2]) * shape[-1] + bias
    if node.op == "separable_conv":
        depthwise, pointwise = (kernels[node.parameters[f"{one}_kernel"]] for one in ("depthwise", "pointwise"))
        pixels = math.prod(output[:-1])
        return 2 * pixels * (math.prod(depthwise) + math.prod(pointwise)) + bias
    if node.op == "matmul":
        return 2 * values * inputs[0][-2 if node.options.get("transpose_a") else -1]
    if node.op in ("max_pool", "avg_pool"):
        window = node.options["window"]
        return values * (window**2 if isinstance(window, int) else math.prod(window))
    if node.op in _FREE:
        return 0
    return max(values, *(math.prod(one) for one in inputs), 0) * _PER_VALUE.get(node.op, 1)


_FREE = {
    "alpha_dropout",
    "cast",
    "center_crop",
    "concat",
    "constant",
    "crop_like",
    "crop_to_proportions",
    "depth_to_space",
    "dropout",
    "expand_dims",
    "flatten",
    "gather",
    "gaussian_dropout",
    "gaussian_noise",
    "identity",
    "pad",
    "permute",
    "repeat",
    "reshape",
    "reverse",
    "shuffle_channels",
    "slice",
    "space_to_depth",
    "spatial_dropout",
    "split",
    "squeeze",
    "stack",
    "tile",
}
"""Operations that compute nothing."""

_PER_VALUE = {"batch_norm": 2, "scale": 2, "rescale": 2, "softmax": 3, "lrn": 6, "lrn_within_channel": 6, "resize": 4}
"""Operations per value, where it is not one."""
