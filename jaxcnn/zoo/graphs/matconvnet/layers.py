"""The layers of a network of MatConvNet, in the same form whether it is a SimpleNN or a DagNN."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxcnn.graphs.graph import MAX_NODES
from jaxcnn.zoo.graphs.builder import GraphBuilder

__all__ = ["MatLayer", "list_layers", "sort_layers"]

_DAG_KINDS = {
    "BatchNorm": "bnorm",
    "Concat": "concat",
    "Conv": "conv",
    "ConvTranspose": "convt",
    "Crop": "crop",
    "DropOut": "dropout",
    "Flatten": "flatten",
    "LRN": "normalize",
    "NormalizeLp": "normalizelp",
    "Permute": "permute",
    "Pooling": "pool",
    "ReLU": "relu",
    "Scale": "scale",
    "Sigmoid": "sigmoid",
    "SoftMax": "softmax",
    "Sum": "sum",
    "Tanh": "tanh",
}
"""Classes of a DagNN, to the names of the same layers of a SimpleNN."""

_ROLES = {
    "conv": ("filters", "biases"),
    "convt": ("filters", "biases"),
    "bnorm": ("multipliers", "biases", "moments"),
    "scale": ("multipliers", "biases"),
}


@dataclasses.dataclass(frozen=True)
class MatLayer:
    """One layer.

    Attributes:
        name: Its name.
        kind: The name of its type in a SimpleNN, or of its class.
        source: Its type as the file states it.
        position: Its place in the file, from 1.
        fields: Its options.
        inputs: Names of the variables that it reads.
        outputs: Names of the variables that it writes.
        tensors: Role to the name of a tensor.
        learning_rates: Role to the learning rate of the tensor, where it is stated.
    """

    name: str
    kind: str
    source: str
    position: int
    fields: Mapping[str, Any]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: Mapping[str, str]
    learning_rates: Mapping[str, Any]

    @property
    def is_of_training(self) -> bool:
        """Whether it compares predictions with labels."""
        return self.kind in ("loss", "softmaxloss", "pdist", "PDist") or self.kind.endswith(("Loss", "Accuracy"))


def list_layers(builder: GraphBuilder, graph: object, *, is_dag: bool) -> list[MatLayer]:
    """Lists the layers in the order of the file.

    Args:
        builder: Builds the errors.
        graph: The description of the reader.
        is_dag: Whether the network is a DagNN.

    Returns:
        The layers. The variables of a SimpleNN are ``"x0"``, the image, and ``"x<k>"``, what layer k writes.

    Raises:
        FormatError: If there are too many, one is no dictionary, has no type, or shares its name in a DagNN.
    """
    layers = graph.get("layers") if isinstance(graph, Mapping) else None
    if not isinstance(graph, Mapping) or not isinstance(layers, list):
        raise builder.error("describes no list of layers.")
    if len(layers) > MAX_NODES:
        raise builder.error(f"has {len(layers):,} layers; {MAX_NODES:,} are supported.")
    params = graph.get("params")
    params = params if is_dag and isinstance(params, list) else []
    rates = {
        one["name"]: one.get("learningRate")
        for one in params
        if isinstance(one, Mapping) and isinstance(one.get("name"), str)
    }
    found: list[MatLayer] = []
    names: set[str] = set()
    for position, layer in enumerate(layers, 1):
        name, source = (layer.get(key) if isinstance(layer, Mapping) else None for key in ("name", "type"))
        if not isinstance(source, str) or not source or len(source) > 200:
            raise builder.error(f"layer {position} has no type.")
        if not isinstance(name, str) or not name:
            name = f"layer{position}"
        if is_dag and name in names:
            raise builder.error(f"has two layers named {name!r:.80}.")
        names.add(name)
        make = _make_dag_layer if is_dag else _make_simple_layer
        found.append(make(layer, name, source, position, rates))
    return found


def _make_simple_layer(
    layer: Mapping[str, Any], name: str, source: str, position: int, rates: Mapping[str, Any]
) -> MatLayer:
    del rates
    params = _list_texts(layer.get("params"))
    tensors = {text.rpartition("/")[2]: text for text in params}
    given = layer.get("learningRate")
    given = given if isinstance(given, list) else [given]
    learning = dict(zip(_ROLES.get(source, ()), given, strict=False))
    inputs, outputs = (f"x{position - 1}",), (f"x{position}",)
    kind = "normalize" if source == "lrn" else source
    return MatLayer(name, kind, source, position, layer, inputs, outputs, tensors, learning)


def _make_dag_layer(
    layer: Mapping[str, Any], name: str, source: str, position: int, rates: Mapping[str, Any]
) -> MatLayer:
    short = source.removeprefix("dagnn.")
    kind = _DAG_KINDS.get(short, short)
    block = layer.get("block")
    fields = dict(block) if isinstance(block, Mapping) else {}
    if kind == "pool" and "poolSize" in fields:
        fields["pool"] = fields["poolSize"]
    params = _list_texts(layer.get("params"))
    tensors = dict(zip(_ROLES.get(kind, ()), params, strict=False))
    learning = {role: rates.get(text) for role, text in tensors.items()}
    inputs, outputs = (tuple(_list_texts(layer.get(key))) for key in ("inputs", "outputs"))
    return MatLayer(name, kind, source, position, fields, inputs, outputs, tensors, learning)


def _list_texts(value: object) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list | tuple) else []


def sort_layers(builder: GraphBuilder, layers: list[MatLayer]) -> list[MatLayer]:
    """Sorts layers so that each comes after those whose variables it reads.

    Args:
        builder: Builds the errors.
        layers: The layers in any order.

    Returns:
        The sorted layers.

    Raises:
        FormatError: If a variable is written twice or by no one layer of several outputs, or layers form a cycle.
    """
    writers: dict[str, MatLayer] = {}
    for layer in layers:
        if len(layer.outputs) != 1:
            raise builder.error(f"layer {layer.name!r:.80} ({layer.source}) must have one output.")
        if layer.outputs[0] in writers:
            raise builder.error(f"layer {layer.name!r:.80} writes {layer.outputs[0]!r:.80}, as another layer does.")
        writers[layer.outputs[0]] = layer
    readers: dict[str, list[MatLayer]] = {}
    missing: dict[str, int] = {}
    for layer in layers:
        needed = {name for name in layer.inputs if name in writers}
        missing[layer.outputs[0]] = len(needed)
        for name in needed:
            readers.setdefault(name, []).append(layer)
    ready = [layer for layer in reversed(layers) if not missing[layer.outputs[0]]]
    found: list[MatLayer] = []
    while ready:
        layer = ready.pop()
        found.append(layer)
        for reader in reversed(readers.get(layer.outputs[0], [])):
            missing[reader.outputs[0]] -= 1
            if not missing[reader.outputs[0]]:
                ready.append(reader)
    if len(found) < len(layers):
        stuck = next(layer for layer in layers if missing[layer.outputs[0]])
        raise builder.error(f"layer {stuck.name!r:.80} ({stuck.source}) is part of a cycle of layers, or behind one.")
    return found
