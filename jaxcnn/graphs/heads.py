"""The end of a classifier: what its output means, and another one in its place."""

import dataclasses
from typing import Literal

from jaxcnn._check import check
from jaxcnn.graphs.cost import find_shapes
from jaxcnn.graphs.graph import Graph
from jaxcnn.graphs.nodes import Node, Parameter

__all__ = ["Activation", "Head", "find_activation", "find_head", "replace_head"]

Activation = Literal["logits", "probabilities", "features", "values"]
"""What an output is: of a classifier logits or probabilities; else features, or values of another meaning."""

_TO_PROBABILITIES = ("softmax", "sigmoid")
_PASSING = ("identity", "reshape", "flatten", "squeeze", "expand_dims", "permute", "dropout", "cast", "spatial_dropout")
_POOLING = ("global_avg_pool", "global_max_pool", "avg_pool", "max_pool", "reduce_mean")
_CLASSIFYING = ("dense", "conv")


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
    while name in writers and writers[name].op in _PASSING:
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
    pooled = False
    name = output
    while name in writers:
        node = writers[name]
        if node.op in _CLASSIFYING:
            is_vector = pooled or _is_vector(graph, output, node, after)
            return Head(node, tuple(after), node.inputs[0]) if is_vector else None
        biased = node.op == "add" and len(node.inputs) == 1
        rectified = node.op == "relu" and any(one.op in _POOLING for one in after)  # as in SqueezeNet
        if node.op not in (*_PASSING, *_TO_PROBABILITIES, *_POOLING, "log_softmax") and not biased and not rectified:
            return None
        pooled = pooled or node.op in _POOLING
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
    shape = _find_shape(graph, head.features)
    if shape is None:  # no size is stated: a dense layer of a classifier reads a vector, a convolution maps
        maps = (0, 0, kernel[-2] * head.node.options.get("groups", 1))
        shape = kernel[:1] if head.node.op == "dense" else maps
    taken = {*graph.values, *graph.taps, *(node.name for node in graph.nodes)}
    features, head_name = (_unused(one, taken) for one in ("features", name))
    if len(shape) == 1:
        reduce = Node(features, "identity", (head.features,))
    elif head.node.op == "dense" or all(size == 1 for size in shape[:-1]):
        reduce = Node(features, "flatten", (head.features,))
    else:
        reduce = Node(features, "global_avg_pool", (head.features,))
    base = graph.prune((head.features,))
    if num_classes is None:
        return dataclasses.replace(base, nodes=(*base.nodes, reduce), outputs=(features,))
    channels = shape[-1] if reduce.op != "flatten" else _product(shape)
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


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _is_vector(graph: Graph, output: str, head: Node, after: list[Node]) -> bool:
    """Returns whether an output is one vector for each example."""
    shape = _find_shape(graph, output)
    if shape is None:
        return head.op == "dense" or any(node.op == "flatten" for node in after)
    return len(shape) == 1


def _find_shape(graph: Graph, value: str) -> tuple[int, ...] | None:
    """Computes the shape of a value, or None where the inputs do not state all their sizes."""
    part = graph.prune((value,))
    if any(size is None for one in part.inputs for size in one.shape):
        return None
    return find_shapes(part)[value]
