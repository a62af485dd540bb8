"""The configuration of a model of any version of Keras as layers and calls."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.graphs.keras.old_names import modernize
from jaxcnn.zoo.graphs.keras.options import is_integer

__all__ = ["Call", "LayerSpec", "ModelSpec", "Reference", "list_references", "read_model"]

_MODELS = ("Model", "Functional", "Sequential", "Graph")
_DEPTH = 48  # of nested models and of lists in configurations


@dataclasses.dataclass(frozen=True)
class Reference:
    """A tensor: the output ``tensor`` of the call number ``call`` of a layer."""

    layer: str
    call: int = 0
    tensor: int = 0


@dataclasses.dataclass(frozen=True)
class Call:
    """One call of a layer: arguments, in which references stand for tensors."""

    args: tuple[Any, ...]
    kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def references(self) -> tuple[Reference, ...]:
        """The tensors that it reads, in order."""
        return tuple(list_references([list(self.args), list(self.kwargs.values())]))


@dataclasses.dataclass
class LayerSpec:
    """A layer.

    Attributes:
        kind: Its class, under the newest name.
        name: Its name.
        config: Its options, under the names of Keras 2.
        calls: Where it is called.
        module: Where Keras 3 defines it.
        model: What it consists of, if it is a model.
        position: Its place in the model's list.
    """

    kind: str
    name: str
    config: Mapping[str, Any]
    calls: tuple[Call, ...] = ()
    module: str = ""
    model: "ModelSpec | None" = None
    position: int = 0


@dataclasses.dataclass
class ModelSpec:
    """A model.

    Attributes:
        name: Its name.
        layers: Its layers by name.
        inputs: References to its inputs: one, or lists or dictionaries of them.
        outputs: Likewise.
        sequential: Whether it is a chain of layers.
        config: Its own options.
    """

    name: str
    layers: dict[str, LayerSpec]
    inputs: Any
    outputs: Any
    sequential: bool = False
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def input_references(self) -> tuple[Reference, ...]:
        """Its inputs in order."""
        return tuple(list_references(self.inputs))

    @functools.cached_property
    def output_references(self) -> tuple[Reference, ...]:
        """Its outputs in order."""
        return tuple(list_references(self.outputs))


def list_references(structure: object) -> Iterator[Reference]:
    """Yields the references in nested lists and dictionaries, in order."""
    if isinstance(structure, Reference):
        yield structure
    elif isinstance(structure, list | tuple):
        for one in structure:
            yield from list_references(one)
    elif isinstance(structure, Mapping):
        for one in structure.values():
            yield from list_references(one)


Error = Callable[[str], FormatError]


def is_model(node: object) -> bool:
    """Tests whether a part of a configuration is a model."""
    if not isinstance(node, Mapping):
        return False
    inner = node.get("config")
    return (isinstance(inner, list) and node.get("class_name") in _MODELS) or (
        isinstance(inner, Mapping) and isinstance(inner.get("layers"), list) and node.get("class_name") != "Merge"
    )


def read_model(node: object, error: Error, depth: int = 0) -> ModelSpec:
    """Reads the configuration of a model.

    Args:
        node: ``{"class_name": ..., "config": ...}``, as files hold it.
        error: Builds the error of the file of a reason.
        depth: How deeply it is nested.

    Returns:
        The model. A sequential one has an input layer and calls like the others.

    Raises:
        FormatError: If it is no description of a sequential or functional model.
    """
    if depth > _DEPTH:
        raise error("has models that are nested too deeply.")
    if not isinstance(node, Mapping):
        raise error("has a configuration that is not that of a model.")
    kind, config = node.get("class_name"), node.get("config")
    if isinstance(config, list):
        config = {"layers": config}
    if not isinstance(kind, str) or not isinstance(config, Mapping) or not isinstance(config.get("layers"), list):
        raise error(
            f"has a model of the class {kind!r} whose configuration does not list its layers: the network of a "
            "subclassed model is Python code, which is never executed."
        )
    name = config.get("name", node.get("name"))
    name = name if isinstance(name, str) and name else "model"
    layers: dict[str, LayerSpec] = {}
    raw: list[Mapping[str, Any]] = []
    for position, one in enumerate(config["layers"]):
        if not isinstance(one, Mapping):
            raise error(f"has a layer {position} of the model {name!r} that is no description.")
        layer = _read_layer(one, position, error, depth)
        if layer.name in layers:
            raise error(f"has two layers named {layer.name!r} in the model {name!r}.")
        layers[layer.name] = layer
        raw.append(one)
    if not layers:
        raise error(f"has a model {name!r} without layers.")
    if "input_layers" not in config and "output_layers" not in config:
        return _chain(name, layers, config, error, depth)
    for layer, one in zip(layers.values(), raw, strict=True):
        nodes = one.get("inbound_nodes", [])
        if not isinstance(nodes, list):
            raise error(f"has a layer {layer.name!r} whose inbound_nodes are no list.")
        layer.calls = tuple(_read_call(item, layers, layer, error) for item in nodes)
        if layer.kind == "InputLayer":
            layer.calls = (Call(()),)
    model = ModelSpec(
        name,
        layers,
        _read_ends(config.get("input_layers"), layers, error, "input_layers"),
        _read_ends(config.get("output_layers"), layers, error, "output_layers"),
        config=config,
    )
    _shift_calls(model)
    return model


def _read_layer(node: Mapping[str, Any], position: int, error: Error, depth: int) -> LayerSpec:
    kind, config = node.get("class_name"), node.get("config")
    if not isinstance(kind, str) or not isinstance(config, Mapping | list):
        raise error(f"has a layer {position} without class or configuration.")
    name = node.get("name")
    name = config.get("name", name) if isinstance(config, Mapping) else name
    name = name if isinstance(name, str) and name.strip("/") else f"{kind.lower()}_{position + 1}"
    module = node.get("module")
    model = read_model({**node, "name": name}, error, depth + 1) if is_model(node) else None
    new, options = modernize(kind, config if isinstance(config, Mapping) else {})
    if new == "TimeDistributed":
        inner = options.get("layer")
        if not isinstance(inner, Mapping) or depth > _DEPTH:
            raise error(f"has a layer {name!r} (TimeDistributed) without a layer in it.")
        layer = _read_layer(inner, 0, error, depth + 1)
        model = _chain(name, {layer.name: layer}, {}, error, depth + 1)
    return LayerSpec(new, name, options, (), module if isinstance(module, str) else "", model, position)


def _chain(name: str, layers: dict[str, LayerSpec], config: Mapping[str, Any], error: Error, depth: int) -> ModelSpec:
    """Joins the layers of a sequential model."""
    chain = list(layers.values())
    first = chain[0]
    if first.kind == "Merge" and isinstance(first.config.get("layers"), list) and first.config["layers"]:
        return _chain_branches(name, layers, config, error, depth)
    if first.kind == "InputLayer":
        first.calls = (Call(()),)
        chain = chain[1:]
    else:
        options = {key: first.config[key] for key in _SHAPES if key in first.config}
        if not options and isinstance(config.get("build_input_shape"), list):
            options = {"batch_input_shape": config["build_input_shape"]}
        first = LayerSpec("InputLayer", _unused(f"{first.name}_input", layers), options, (Call(()),))
        layers = {first.name: first, **layers}
    last = first.name
    for layer in chain:
        layer.calls = (Call((Reference(last),)),)
        last = layer.name
    return ModelSpec(name, layers, Reference(first.name), Reference(last), True, config)


_SHAPES = ("batch_input_shape", "batch_shape", "input_shape", "input_dim", "input_length")


def _chain_branches(
    name: str, layers: dict[str, LayerSpec], config: Mapping[str, Any], error: Error, depth: int
) -> ModelSpec:
    """Joins the layers of a sequential model of Keras 1 that begins with the branches that are merged."""
    merge, *rest = layers.values()
    found: dict[str, LayerSpec] = {}
    inputs, ends = [], []
    for position, node in enumerate(merge.config["layers"]):
        if not isinstance(node, Mapping):
            raise error(f"has a branch {position} of the layer {merge.name!r} that is no description.")
        branch = _read_layer(node, position, error, depth)
        if branch.name in found or branch.name in layers:
            branch.name = _unused(f"{branch.name}_{position}", {**found, **layers})
        options = {key: branch.config[key] for key in _SHAPES if key in branch.config}
        start = LayerSpec("InputLayer", _unused(f"{branch.name}_input", {**found, **layers}), options, (Call(()),))
        branch.calls = (Call((Reference(start.name),)),)
        found |= {start.name: start, branch.name: branch}
        inputs.append(Reference(start.name))
        ends.append(Reference(branch.name))
    merge.calls = (Call((ends,)),)
    last = merge.name
    for layer in rest:
        layer.calls = (Call((Reference(last),)),)
        last = layer.name
    return ModelSpec(name, {**found, **layers}, inputs, Reference(last), True, config)


def _unused(name: str, taken: Mapping[str, object]) -> str:
    while name in taken:
        name = f"{name}_"
    return name


def _is_reference(node: object) -> bool:
    return (
        isinstance(node, list)
        and len(node) in (3, 4)
        and isinstance(node[0], str)
        and is_integer(node[1])
        and is_integer(node[2])
        and (len(node) == 3 or isinstance(node[3], Mapping))
    )


def _read_ends(node: object, layers: Mapping[str, LayerSpec], error: Error, what: str, depth: int = 0) -> Any:
    """Reads the inputs or outputs of a model."""
    if isinstance(node, list) and len(node) in (2, 3) and isinstance(node[0], str):
        if not all(map(is_integer, node[1:])) or min(node[1:]) < 0 or node[0] not in layers:
            raise error(f"names {node!r} among its {what}, which is no tensor of a layer.")
        return Reference(*node)
    if isinstance(node, list | Mapping) and node and depth < _DEPTH:
        if isinstance(node, list):
            return [_read_ends(one, layers, error, what, depth + 1) for one in node]
        return {key: _read_ends(one, layers, error, what, depth + 1) for key, one in node.items()}
    raise error(f"has a model whose {what} are {str(node)[:80]!r}, not tensors of layers.")


def _read_call(node: object, layers: Mapping[str, LayerSpec], layer: LayerSpec, error: Error) -> Call:
    """Reads one entry of ``inbound_nodes``."""
    if isinstance(node, Mapping):  # Keras 3
        args, kwargs = node.get("args", []), node.get("kwargs", {})
        if not isinstance(args, list) or not isinstance(kwargs, Mapping):
            raise error(f"has a layer {layer.name!r} with a call without arguments.")
        values = tuple(_read_argument(one, layers, layer, error) for one in args)
        return Call(values, {key: _read_argument(one, layers, layer, error) for key, one in kwargs.items()})
    if not isinstance(node, list) or not node:
        raise error(f"has a layer {layer.name!r} with a call that is no list.")
    kwargs: dict[str, Any] = {}

    def read(one: object, depth: int = 0) -> Any:
        if isinstance(one, list) and len(one) == 4 and one[0] == "_CONSTANT_VALUE" and isinstance(one[3], Mapping):
            kwargs.update(one[3])
            return one[2]
        if isinstance(one, list) and _is_reference(one):
            if len(one) == 4:
                kwargs.update(one[3])
            return _make_reference(one[:3], layers, layer, error)
        if isinstance(one, list) and depth < _DEPTH:
            return [read(part, depth + 1) for part in one]
        if isinstance(one, Mapping) and depth < _DEPTH:
            return {key: read(part, depth + 1) for key, part in one.items()}
        raise error(f"has a layer {layer.name!r} with a call of {str(one)[:80]!r}, which is no tensor of a layer.")

    constant = len(node) == 4 and node[0] == "_CONSTANT_VALUE"
    first = read(node) if constant or _is_reference(node) else [read(one) for one in node]
    first = first[0] if isinstance(first, list) and len(first) == 1 and not constant else first
    return Call((first,), {key: _read_argument(one, layers, layer, error) for key, one in kwargs.items()})


def _read_argument(
    node: object, layers: Mapping[str, LayerSpec], layer: LayerSpec, error: Error, depth: int = 0
) -> Any:
    """Reads an argument of a call: references and slices in it are converted, everything else stays."""
    if depth > _DEPTH:
        raise error(f"has a layer {layer.name!r} whose arguments are nested too deeply.")
    if isinstance(node, Mapping):
        kind, config = node.get("class_name"), node.get("config")
        if kind == "__keras_tensor__":
            history = config.get("keras_history") if isinstance(config, Mapping) else None
            return _make_reference(history, layers, layer, error)
        if kind == "__ellipsis__":
            return Ellipsis
        if kind == "__tuple__" and isinstance(node.get("items"), list):
            return [_read_argument(one, layers, layer, error, depth + 1) for one in node["items"]]
        parts = config if kind == "__slice__" else node
        if isinstance(parts, Mapping) and {"start", "stop", "step"} <= set(parts):
            return _read_slice(parts, layer, error)
        if isinstance(kind, str):
            return node
        return {key: _read_argument(one, layers, layer, error, depth + 1) for key, one in node.items()}
    if isinstance(node, list):
        if _is_reference(node) and node[0] in layers:
            return _make_reference(node[:3], layers, layer, error)
        return [_read_argument(one, layers, layer, error, depth + 1) for one in node]
    return node


def _read_slice(parts: Mapping[str, Any], layer: LayerSpec, error: Error) -> slice:
    bounds = [parts[key] for key in ("start", "stop", "step")]
    if not all(one is None or is_integer(one) for one in bounds) or bounds[2] == 0:
        raise error(f"has a layer {layer.name!r} with a slice {bounds} that is not of integers.")
    return slice(*bounds)


def _make_reference(history: Any, layers: Mapping[str, LayerSpec], layer: LayerSpec, error: Error) -> Reference:
    good = isinstance(history, list) and len(history) == 3 and isinstance(history[0], str)
    if not good or not all(is_integer(one) and one >= 0 for one in history[1:]):
        raise error(f"has a layer {layer.name!r} that reads {str(history)[:80]}, which is no tensor of a layer.")
    if history[0] not in layers:
        raise error(f"has a layer {layer.name!r} that reads the layer {history[0]!r}, which does not exist.")
    return Reference(*history)


def _shift_calls(model: ModelSpec) -> None:
    """Numbers the calls of nested models from 0: files number them from 1, as a model counts as called once."""
    used: dict[str, set[int]] = {}
    references = [*model.input_references, *model.output_references]
    references += [one for layer in model.layers.values() for call in layer.calls for one in call.references]
    for one in references:
        used.setdefault(one.layer, set()).add(one.call)
    shifted = {
        name
        for name, layer in model.layers.items()
        if layer.model is not None and used.get(name) and max(used[name]) == len(layer.calls) and 0 not in used[name]
    }
    if not shifted:
        return
    for layer in model.layers.values():
        layer.calls = tuple(Call(_shift(one.args, shifted), _shift(one.kwargs, shifted)) for one in layer.calls)
    model.outputs = _shift(model.outputs, shifted)
    vars(model).pop("output_references", None)


def _shift(structure: Any, names: set[str]) -> Any:
    if isinstance(structure, Reference):
        return dataclasses.replace(structure, call=structure.call - 1) if structure.layer in names else structure
    if isinstance(structure, list | tuple):
        return type(structure)(_shift(one, names) for one in structure)
    if isinstance(structure, Mapping):
        return {key: _shift(one, names) for key, one in structure.items()}
    return structure
