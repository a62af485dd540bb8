"""Maps of where a classifier saw evidence for its classes."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import as_array, check, shape_text
from jaxcnn._typing import AnyArray, Array, Float, Int, Variables
from jaxcnn.graphs.cost import find_shapes
from jaxcnn.graphs.evidence import Evidence, differentiate_image, trace_module
from jaxcnn.graphs.graph import Graph
from jaxcnn.graphs.heads import PASSING, find_activation, find_head
from jaxcnn.graphs.network import GraphNetwork
from jaxcnn.graphs.nodes import Input, Node

__all__ = ["find_class_output", "compute_heat_maps"]

_NAME = "compute_heat_maps"
_PERTURBATION = "perturbation of the maps"  # name of the input that gradients are taken for


def compute_heat_maps(
    model: nn.Module,
    variables: Variables,
    x: Float[AnyArray, "*b h w c"],
    *,
    classes: Int[AnyArray, "*b k"] | None = None,
    layer: str | None = None,
    **options: Any,
) -> Float[Array, "*b h_map w_map k"]:
    """Computes for each class a map of the evidence that a classifier saw for it.

    A network that ends in global average pooling and a dense layer or 1x1 convolution has class activation maps: the
    classifier applied to every position. Their mean is the logit less the bias. Where 1x1 convolutions come before
    the pooling, the maps are what is pooled, and their mean is the logit. For other networks the last maps before the
    classifier are summed over their channels, each weighted by the sum of the logit's gradient (Grad-CAM); where
    both exist they are equal. A network without maps has the absolute gradient of the logit, summed over the image's
    channels.

    Convention:
        Maps are as large as the network's last maps, not as the image, and cover all of it. Positive values speak for
        a class, negative ones against it; they have the scale of logits. Softmax and sigmoid at the end of the network
        are passed over.

    Args:
        model: A classifier: a network of a file, or any module that computes one number per class.
        variables: Its variables.
        x: Images, as its inputs.
        classes: Numbers of the classes to explain; None takes the most probable class of each image (k = 1).
        layer: Of a network of a file: the layer whose maps are weighted by gradients, by the source's name.
        **options: Further arguments of the model's call, such as ``train=False`` where it has no default.

    Returns:
        The maps, the most recent axis numbering the classes asked for.

    Raises:
        ValueError: If the network does not end in one number per class, or an argument does not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import graphs, models
        >>> model = models.create("mobilenet", num_classes=5, alpha=0.25)
        >>> x = jax.random.uniform(jax.random.key(0), (2, 64, 64, 3))
        >>> variables = model.init(jax.random.key(1), x)
        >>> maps = graphs.compute_heat_maps(model, variables, x, classes=jnp.array([[0, 4], [1, 2]]))
        >>> maps.shape
        (2, 2, 2, 2)
        >>> logits = model.apply(variables, x)  # the head's bias is 0
        >>> bool(jnp.allclose(maps.mean((1, 2))[0], logits[0, jnp.array([0, 4])], atol=1e-4))
        True

    References:
        Zhou et al. 2016, "Learning deep features for discriminative localization", arXiv:1512.04150; Selvaraju et al.
        2017, "Grad-CAM: visual explanations from deep networks via gradient-based localization", arXiv:1610.02391.
    """
    x = as_array(_NAME, "x", x)
    good = x.ndim >= 3 and jnp.issubdtype(x.dtype, jnp.floating)
    check(good, _NAME, "x", "images (*b, h, w, c), floating", shape_text(x))
    if classes is not None:
        classes = as_array(_NAME, "classes", classes)
        fits = jnp.issubdtype(classes.dtype, jnp.integer) and classes.shape[:-1] == x.shape[:-3] and classes.ndim > 0
        expected = f"integers ({', '.join([*map(str, x.shape[:-3]), 'k'])})"
        check(fits, _NAME, "classes", expected, shape_text(classes))
    if isinstance(model, GraphNetwork):
        found = _activate(model, variables, x) if layer is None else None
        if found is not None:
            logits, maps = found
            return _take_classes(maps, _choose(logits, classes))
        return _weigh(_trace_graph(model, variables, x, layer), classes)
    check(layer is None, _NAME, "layer", "None, except for networks of files", repr(layer))
    return _weigh(trace_module(model, variables, x, options), classes)


def _choose(logits: jax.Array, classes: jax.Array | None) -> jax.Array:
    return jnp.argmax(logits, -1)[..., None] if classes is None else classes


def _take_classes(maps: jax.Array, classes: jax.Array) -> jax.Array:
    return jnp.take_along_axis(maps, classes[..., None, None, :], axis=-1)


def _weigh(evidence: Evidence, classes: jax.Array | None) -> jax.Array:
    """Sums the maps over their channels, weighted by the gradients of the logits."""
    maps, pullback, logits = evidence
    chosen = _choose(logits, classes)
    one_hot = jax.nn.one_hot(chosen, logits.shape[-1], dtype=logits.dtype)  # (*b, k, classes)
    gradients = jax.vmap(pullback, in_axes=-2, out_axes=0)(one_hot).astype(jnp.float32)
    if maps.shape[-1] == 0:  # gradients for the image itself
        return jnp.moveaxis(jnp.sum(jnp.abs(gradients), -1), 0, -1)
    weights = jnp.sum(gradients, (-3, -2))  # (k, *b, c)
    return jnp.einsum("...hwc,k...c->...hwk", maps.astype(jnp.float32), weights, precision="highest")


def find_class_output(model: GraphNetwork) -> str:
    """Finds the output of a network that has one number per class: probabilities before logits, the last first.

    Args:
        model: The network.

    Returns:
        The name of the value.

    Raises:
        ValueError: If there is none; the message lists the outputs and their shapes.
    """
    graph = model.selected()
    kinds = {name: find_activation(graph, output=name) for name in graph.outputs}
    for wanted in ("probabilities", "logits"):
        for name in reversed(graph.outputs):
            if kinds[name] == wanted and _is_vector(graph, name):
                return name
    raise ValueError(
        f"{_NAME}: model must be a classifier with one number per class; its outputs are {_describe_outputs(graph)}."
    )


def _is_vector(graph: Graph, name: str) -> bool:
    shape = _known_shapes(graph).get(name)
    return shape is None or (len(shape) > 0 and math.prod(shape) == shape[-1])


def _known_shapes(graph: Graph) -> dict[str, tuple[int, ...]]:
    """Computes the shapes of values where the inputs state theirs."""
    stated = all(size is not None for one in graph.inputs for size in one.shape)
    return find_shapes(graph) if stated else {}


def _describe_outputs(graph: Graph) -> str:
    shapes = _known_shapes(graph)
    return ", ".join(f"{name} {shapes[name]}" if name in shapes else name for name in graph.outputs)


def _find_logits(graph: Graph, output: str) -> str:
    """Walks back over softmax and sigmoid."""
    writers = {name: node for node in graph.nodes for name in node.outputs}
    name, passed = output, output
    while name in writers and writers[name].op in (*PASSING, "softmax", "log_softmax", "sigmoid"):
        node, name = writers[name], writers[name].inputs[0]
        if node.op not in PASSING:
            passed = name
    return passed


def _single_input(graph: Graph, x: jax.Array) -> str:
    check(len(graph.inputs) == 1, _NAME, "model", "a network of one image", [one.name for one in graph.inputs])
    one = next(iter(graph.inputs))
    check(len(one.shape) == 3, _NAME, "model", "a network of images", one.shape)
    return one.name


def _activate(model: GraphNetwork, variables: Variables, x: jax.Array) -> tuple[jax.Array, jax.Array] | None:
    """Computes logits and class activation maps; None where the network does not end as these need."""
    graph = model.selected()
    output = find_class_output(model)
    logits = _find_logits(graph, output)
    head = find_head(graph, output=output)
    if head is None:
        return None
    graph = graph.prune((logits,))
    shapes = find_shapes(graph, inputs={_single_input(graph, x): x.shape[-3:]})
    writers = {name: node for node in graph.nodes for name in node.outputs}
    pooled = _find_pooled(writers, shapes, logits)  # convolutions before the pooling
    if pooled is not None:
        values = _run(model, variables, x, (logits, pooled))
        return values[logits].reshape(*x.shape[:-3], -1), values[pooled]
    features = _find_pooled(writers, shapes, head.features)
    kernels = {one.path: one.shape for one in graph.parameters}
    path = head.node.parameters["kernel"]
    straight = _follows(writers, logits, head.node)
    one_pixel = math.prod(kernels[path][:-2]) == 1 and head.node.options.get("groups", 1) == 1
    if features is None or not straight or not one_pixel:
        return None
    kernel = _look_up(variables, path)
    values = _run(model, variables, x, (logits, features))
    maps = ops.class_activation_map(values[features].astype(jnp.float32), kernel.reshape(kernel.shape[-2:]))
    return values[logits].reshape(*x.shape[:-3], -1), maps


def _follows(writers: Mapping[str, Node], name: str, node: Node) -> bool:
    """Tests whether nothing but a bias stands between a node and a value."""
    while name in writers and writers[name] is not node:
        one = writers[name]
        if one.op not in PASSING and not (one.op == "add" and len(one.inputs) == 1):  # a bias
            return False
        name = one.inputs[0]
    return name in writers


def _find_pooled(writers: Mapping[str, Node], shapes: Mapping[str, tuple[int, ...]], name: str) -> str | None:
    """Finds the maps whose mean a value is, channel by channel."""
    while name in writers:
        node, shape = writers[name], shapes[name]
        if math.prod(shape) != max(shape, default=0):
            return None
        before = shapes[node.inputs[0]] if node.inputs else ()
        if node.op in PASSING:
            name = node.inputs[0]
            continue
        if len(before) != 3 or before[-1] != math.prod(shape):
            return None
        return node.inputs[0] if _averages_all(node, before) else None
    return None


def _averages_all(node: Node, shape: tuple[int, ...]) -> bool:
    """Tests whether a node computes the mean over all pixels of maps of this shape."""
    if node.op == "reduce_mean":
        axes = node.options.get("axes")
        return axes is not None and sorted(axis % 3 for axis in axes) == [0, 1]
    if node.op == "avg_pool":
        window, padding = node.options["window"], node.options.get("padding", "VALID")
        sides = (window, window) if isinstance(window, int) else tuple(window)
        unpadded = padding in ("VALID", 0) or (not isinstance(padding, int | str) and not any(map(any, padding)))
        return unpadded and len(sides) == 2 and all(side >= n for side, n in zip(sides, shape, strict=False))
    return node.op == "global_avg_pool"


def _look_up(variables: Variables, path: str) -> jax.Array:
    found: Any = variables["params"]
    for key in path.split("/"):
        found = found[key]
    return jnp.asarray(found, jnp.float32)


def _run(model: GraphNetwork, variables: Variables, x: jax.Array, outputs: tuple[str, ...]) -> Mapping[str, jax.Array]:
    found: Any = model.clone(graph=model.selected(), outputs=outputs).apply(variables, x)
    return found if isinstance(found, Mapping) else {outputs[0]: found}


def _trace_graph(model: GraphNetwork, variables: Variables, x: jax.Array, layer: str | None) -> Evidence:
    """Adds a perturbation to the maps of a layer, and differentiates the logits with respect to it."""
    selected = model.selected()
    logits = _find_logits(selected, find_class_output(model))
    graph = selected.prune((logits,))
    name = _single_input(graph, x)
    shapes = find_shapes(graph, inputs={name: x.shape[-3:]})
    count = math.prod(shapes[logits])
    check(shapes[logits][-1:] == (count,), _NAME, "x", "images of one size for the classifier", shapes[logits])
    value = _find_maps(graph, shapes, logits) if layer is None else graph.find_value(layer)
    is_map = len(shapes[value]) == 3
    check(is_map, _NAME, "layer", "a layer of maps (h, w, c)", f"{layer!r} of shape {shapes[value]}")
    if value == name:
        return differentiate_image(
            lambda image: _run(model, variables, image, (logits,))[logits].reshape(*x.shape[:-3], -1), x
        )
    perturbed = _perturb(graph, value, shapes[value])
    network = GraphNetwork(perturbed, outputs=(logits, value), dtype=model.dtype, param_dtype=model.param_dtype)

    def apply(change: jax.Array) -> tuple[jax.Array, jax.Array]:
        found: Any = network.apply(variables, {name: x, _PERTURBATION: change})
        return found[logits].reshape(*x.shape[:-3], -1), found[value]

    zero = jnp.zeros((*x.shape[:-3], *shapes[value]), x.dtype)
    result, pullback, maps = jax.vjp(apply, zero, has_aux=True)
    return Evidence(maps, lambda g: pullback(g)[0], result)


_MAKING_MAPS = ("conv", "depthwise_conv", "separable_conv", "conv_transpose", "max_pool", "avg_pool", "resize")
_REORDERING = ("permute", "reshape", "expand_dims", "stack", "matmul", "dense", "constant")


def _list_maps(graph: Graph, shapes: Mapping[str, tuple[int, ...]]) -> set[str]:
    """Lists values of more than one pixel that are held channels last, and not in an order of the source's own."""
    found = {one.name for one in graph.inputs}
    for node in graph.nodes:
        follows = node.op not in _REORDERING and bool(found.intersection(node.inputs))
        if node.op in _MAKING_MAPS or follows:
            found.update(name for name in node.outputs if len(shapes[name]) == 3 and math.prod(shapes[name][:2]) > 1)
    return found


def _find_maps(graph: Graph, shapes: Mapping[str, tuple[int, ...]], output: str) -> str:
    """Finds the last maps that all of an output depends on through nothing else.

    Where only the image is such a value, these are the last maps of all, and the image where there are none.
    """
    needed, last, maps = {output}, None, _list_maps(graph, shapes)
    for node in reversed(graph.nodes):
        if not needed.intersection(node.outputs):
            continue
        for name in node.outputs:
            if name in needed and name in maps:
                last = last or name
                if len(needed) == 1:
                    return name
        needed.difference_update(node.outputs)
        needed.update(node.inputs)
    return last or graph.inputs[0].name


def _perturb(graph: Graph, value: str, shape: tuple[int, ...]) -> Graph:
    """Adds an input to a value, before all nodes that read it."""
    inner = f"{value} before the change"
    nodes = [
        dataclasses.replace(node, outputs=tuple(inner if name == value else name for name in node.outputs))
        for node in graph.nodes
    ]
    changed = Node(f"{value} with the change", "add", (inner, _PERTURBATION), (value,))
    return dataclasses.replace(
        graph, inputs=(*graph.inputs, Input(_PERTURBATION, shape)), nodes=(*nodes, changed), taps={}
    )
