"""Imports networks of MatConvNet."""

from collections.abc import Mapping
from pathlib import Path

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.graphs.builder import GraphBuilder, ImportedNetwork
from jaxcnn.zoo.graphs.matconvnet.functions import FUNCTION_RULES
from jaxcnn.zoo.graphs.matconvnet.kernels import KERNEL_RULES, count_inputs
from jaxcnn.zoo.graphs.matconvnet.layers import MatLayer, list_layers, sort_layers
from jaxcnn.zoo.graphs.matconvnet.meta import find_input_size, find_labels, find_mean_image, read_preprocessing
from jaxcnn.zoo.graphs.matconvnet.network import MatNetwork, Rule, Variable

__all__ = ["import_matconvnet"]

_RULES: Mapping[str, tuple[int, int | None, Rule]] = {**KERNEL_RULES, **FUNCTION_RULES}


def import_matconvnet(path: Path, checkpoint: Checkpoint) -> ImportedNetwork:
    """Imports a network of MatConvNet, a SimpleNN or a DagNN of any age.

    Convention:
        Values are maps (h, w, c), also of one pixel, named by layers; variables of a DagNN, and ``"x0"`` and so on of
        a SimpleNN, are names of taps. Fully connected layers are convolutions whose kernel is as large as the map.
        Losses are left off, and what they read is returned. Moments of batch normalization become mean and variance
        with the same quotients.

    Args:
        path: The file.
        checkpoint: Its content.

    Returns:
        The network. Parameters are ``layer/kernel``, ``layer/bias``, ``layer/scale``, and in ``"batch_stats"``
        ``layer/mean`` and ``layer/var``.

    Raises:
        FormatError: If it is inconsistent or has unknown operations.

    References:
        ``vl_simplenn.m``, ``+dagnn`` and the functions ``vl_nn*`` of MatConvNet (Vedaldi and Lenc 2015,
        arXiv:1412.4564).
    """
    builder = GraphBuilder(path, checkpoint.tensors)
    is_dag = checkpoint.metadata.get("network") == "DagNN"
    layers = list_layers(builder, checkpoint.graph, is_dag=is_dag)
    meta = checkpoint.graph.get("meta") if isinstance(checkpoint.graph, Mapping) else None
    groups = checkpoint.metadata.get("groups")
    net = MatNetwork(builder, groups if isinstance(groups, Mapping) else {})
    kept = sort_layers(builder, _leave_off(builder, layers))
    variables = _add_inputs(net, kept, meta, is_dag=is_dag)
    read: set[str] = set()
    for layer in kept:
        variables[layer.outputs[0]] = written = _add_layer(net, layer, [variables[name] for name in layer.inputs])
        builder.tap(layer.name, written.value)
        builder.tap(layer.outputs[0], written.value)
        read.update(layer.inputs)
    builder.check_known()
    outputs = [layer.outputs[0] for layer in kept if layer.outputs[0] not in read]
    return builder.finish(
        [variables[name].value for name in outputs],
        preprocessing=read_preprocessing(meta),
        mean_image=find_mean_image(meta),
        labels=find_labels(meta),
    )


def _leave_off(builder: GraphBuilder, layers: list[MatLayer]) -> list[MatLayer]:
    """Drops the layers that only training has, and notes them."""
    kept = [layer for layer in layers if not layer.is_of_training]
    dropped = [layer for layer in layers if layer.is_of_training]
    gone = {name for layer in dropped for name in layer.outputs}
    for layer in kept:
        if lost := gone.intersection(layer.inputs):
            raise builder.error(f"layer {layer.name!r:.80} reads {min(lost)!r:.80}, the output of a loss.")
    for layer in dropped[:20]:
        builder.note(f"Layer {layer.name!r:.80} ({layer.source}) compares with labels and was left off.")
    if not kept:
        raise builder.error("has no layers.")
    return kept


def _add_inputs(net: MatNetwork, layers: list[MatLayer], meta: object, *, is_dag: bool) -> dict[str, Variable]:
    """Adds the variables that no layer writes as inputs, of the sizes that are stated or that kernels have."""
    written = {layer.outputs[0] for layer in layers}
    readers: dict[str, MatLayer] = {}
    for layer in layers:
        for name in layer.inputs:
            if name not in written:
                readers.setdefault(name, layer)
    if not readers:
        raise net.builder.error("has no layer that reads an input.")
    if not is_dag and len(readers) > 1:
        raise net.builder.error("has layers behind a loss.")
    found: dict[str, Variable] = {}
    for name, layer in readers.items():
        stated = find_input_size(meta, name)
        if len(readers) == 1 and stated == (None, None, None):
            stated = find_input_size(meta)
        height, width, channels = stated
        channels = count_inputs(net, layer) if channels is None else channels
        value = net.builder.add_input(name if is_dag else "input", (height, width, channels))
        net.builder.tap(name, value)
        found[name] = Variable(value, channels)
    return found


def _add_layer(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    """Adds the nodes of a layer; of an unknown one, a node that stands for it until all are reported."""
    if layer.kind not in _RULES:
        net.builder.add_unknown(layer.source, layer.name, layer.position)
        return inputs[0] if inputs else Variable("", None)
    least, most, rule = _RULES[layer.kind]
    if len(inputs) < least or (most is not None and len(inputs) > most):
        raise net.error(layer, f"it has {len(inputs)} inputs.")
    return rule(net, layer, inputs)
