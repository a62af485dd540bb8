"""The end of a classifier: what its output means, and another one in its place."""

import contextlib
import dataclasses
import math
from typing import Literal

from jaxcnn._check import check
from jaxcnn.graphs.cost import find_shapes
from jaxcnn.graphs.graph import Graph
from jaxcnn.graphs.nodes import GraphError, Node, Parameter

__all__ = ["PASSING", "Activation", "Head", "find_activation", "find_head", "replace_head"]

Activation = Literal["logits", "probabilities", "features", "values"]
"""What an output is: of a classifier logits or probabilities; else features, or values of another meaning."""

_TO_PROBABILITIES = ("softmax", "sigmoid")
PASSING = ("identity", "reshape", "flatten", "squeeze", "expand_dims", "permute", "dropout", "cast", "spatial_dropout")
"""Operations that change no number of a prediction."""

_POOLING = ("global_avg_pool", "global_max_pool", "avg_pool", "max_pool", "reduce_mean")
_CLASSIFYING = ("dense", "conv")
_COMMON_SIZES = (224, 32, 299, 64, 512)


@dataclasses.dataclass(frozen=True)
class Head:
    """The classifying layer of a graph.

    Attributes:
        node: The layer, dense or a convolution.
        after: The nodes from it to the output, the last first.
        features: The value that it reads.
    """

    node: Node
    after: tuple[Node, ...]
    features: str


def find_activation(graph: Graph, *, output: str | None = None) -> Activation:
    """Finds out what an output of a graph is, from the nodes that lead to it.

    Args:
        graph: The graph.
        output: Name of the value; None is the last output.

    Returns:
        ``"probabilities"`` behind a softmax or sigmoid; ``"logits"`` behind a classifying layer, with one number per
        class; ``"values"`` otherwise, as for maps.

    Example:
        >>> from jaxcnn.graphs import Graph, Input, Node, find_activation
        >>> graph = Graph((Input("x", (10,)),), (Node("prob", "softmax", ("x",)),), ("prob",))
        >>> find_activation(graph)
        'probabilities'
    """
    output = graph.outputs[-1] if output is None else output
    writers = {name: node for node in graph.nodes for name in node.outputs}
    name = output
    while name in writers and writers[name].op in PASSING:
        name = writers[name].inputs[0]
    if name in writers and writers[name].op in _TO_PROBABILITIES:
        return "probabilities"
    return "logits" if find_head(graph, output=output) is not None else "values"


def find_head(graph: Graph, *, output: str | None = None) -> Head | None:
    """Finds the classifying layer: the last dense layer or convolution, if nothing but pooling and the like follows it.

    Args:
        graph: The graph.
        output: Name of the value that it leads to; None is the last output.

    Returns:
        The head, or None where the output is not that of a classifier.
    """
    output = graph.outputs[-1] if output is None else output
    writers = {name: node for node in graph.nodes for name in node.outputs}
    after: list[Node] = []
    name = output
    while name in writers:
        node = writers[name]
        if node.op in _CLASSIFYING:
            is_vector = _is_vector(graph, output, node, after)
            return Head(node, tuple(after), node.inputs[0]) if is_vector else None
        biased = node.op == "add" and len(node.inputs) == 1
        rectified = node.op == "relu" and any(one.op in _POOLING for one in after)  # as in SqueezeNet
        if node.op not in (*PASSING, *_TO_PROBABILITIES, *_POOLING, "log_softmax") and not biased and not rectified:
            return None
        after.append(node)
        name = node.inputs[0]
    return None


def replace_head(graph: Graph, num_classes: int | None, *, name: str = "head") -> Graph:
    """Puts a dense layer in the place of the classifier, or removes it.

    What the classifier read is flattened if it is one pixel, else averaged over its pixels.

    Args:
        graph: The graph of a classifier.
        num_classes: Number of logits of the new layer; None returns the features.
        name: Name of the new layer.

    Returns:
        The new graph, with one output, ``"head"``, or ``"features"``.

    Raises:
        ValueError: If the graph does not end in a classifier.

    Example:
        >>> from jaxcnn.graphs import Graph, Input, Node, Parameter, replace_head
        >>> nodes = (Node("fc", "dense", ("x",), parameters={"kernel": "fc/kernel"}), Node("prob", "softmax", ("fc",)))
        >>> graph = Graph((Input("x", (10,)),), nodes, ("prob",), (Parameter("fc/kernel", (10, 4)),))
        >>> print(replace_head(graph, 3))
        x = input (10,)
        features = identity(x)
        head = dense(features, kernel=head/kernel (10, 3), bias=head/bias (3,))
        return head
    """
    head = find_head(graph)
    check(head is not None, "with_head", "graph", "a classifier: a dense layer or convolution at its end", repr(graph))
    assert head is not None
    kernel = next(one.shape for one in graph.parameters if one.path == head.node.parameters["kernel"])
    shape, _ = _find_value_shape(graph, head.features)
    if shape is None:  # a dense layer of a classifier reads a vector, a convolution maps
        maps = (0, 0, kernel[-2] * head.node.options.get("groups", 1))
        shape = kernel[:1] if head.node.op == "dense" else maps
    base = graph.prune((head.features,))
    taken = {*base.values, *base.taps, *(node.name for node in base.nodes)}
    taken |= {one.path.split("/")[0] for one in base.parameters}
    features, head_name = (_unused(one, taken) for one in ("features", name))
    if len(shape) == 1:
        reduce = Node(features, "identity", (head.features,))
    elif head.node.op == "dense" or all(size == 1 for size in shape[:-1]):
        reduce = Node(features, "flatten", (head.features,))
    else:
        reduce = Node(features, "global_avg_pool", (head.features,))
    if num_classes is None:
        return dataclasses.replace(base, nodes=(*base.nodes, reduce), outputs=(features,))
    channels = shape[-1] if reduce.op != "flatten" else math.prod(shape)
    parameters = (
        Parameter(f"{head_name}/kernel", (channels, num_classes)),
        Parameter(f"{head_name}/bias", (num_classes,)),
    )
    paths = {"kernel": parameters[0].path, "bias": parameters[1].path}
    dense = Node(head_name, "dense", (features,), parameters=paths)
    return dataclasses.replace(
        base, nodes=(*base.nodes, reduce, dense), outputs=(head_name,), parameters=(*base.parameters, *parameters)
    )


def _unused(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"{name}_"
    return name


def _is_vector(graph: Graph, output: str, head: Node, after: list[Node]) -> bool:
    """Returns whether an output is one vector for each example, also as a map of one pixel."""
    shape, stated = _find_value_shape(graph, output)
    if shape is None:
        return head.op == "dense" or any(node.op == "flatten" for node in after)
    pooled = any(node.op in _POOLING for node in after)
    return all(size == 1 for size in shape[:-1]) or (pooled and not stated)


def _find_value_shape(graph: Graph, value: str) -> tuple[tuple[int, ...] | None, bool]:
    """Computes the shape of a value, and returns whether the graph states the sizes of its inputs.

    Sizes that it leaves free are chosen among common ones, until one suits the graph; ranks and channels hold for all.
    The shape is None where no size suits.
    """
    part = graph.prune((value,))
    if all(size is not None for one in graph.inputs for size in one.shape):
        return find_shapes(part)[value], True
    for size in _COMMON_SIZES:
        shapes = {one.name: tuple(size if n is None else n for n in one.shape) for one in graph.inputs}
        with contextlib.suppress(GraphError):
            return find_shapes(part, inputs=shapes)[value], False
    return None, False
