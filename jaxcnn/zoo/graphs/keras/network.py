"""Runs through a model of Keras, layer by layer, and builds the graph."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.graphs.keras.configuration import Call, LayerSpec, ModelSpec, Reference, list_references
from jaxcnn.zoo.graphs.keras.layer_call import Handler, LayerCall, LayerValue, UnknownLayer
from jaxcnn.zoo.graphs.keras.parts import KerasParts

__all__ = ["NetworkImport"]

_MAX_CALLS = 100_000  # of layers, those in nested models counted each time
_DEPTH = 48

Key = tuple[str, int]  # a layer and the number of the call


class NetworkImport:
    """Runs through the models and layers of a network, and adds what they compute.

    Args:
        parts: What the layers share.
        find_handler: Returns the function of a layer, or None; it is told whether Keras 3 wrote the file.
    """

    def __init__(self, parts: KerasParts, find_handler: Callable[[LayerSpec, bool], Handler | None]):
        self.parts, self.builder, self._find_handler = parts, parts.builder, find_handler
        self._unknown: set[tuple[str, ...]] = set()
        self._orders: dict[int, list[Key]] = {}
        self._short: dict[str, list[str]] = {}
        self._calls = 0

    def error(self, reason: str) -> FormatError:
        """Builds the error to raise for the file."""
        return self.parts.error(reason)

    def tap_short_names(self) -> None:
        """Lets users find layers of nested models by their own names, where these are unique."""
        for name, values in self._short.items():
            if len(values) == 1 and name not in self.builder.taps:
                self.builder.tap(name, values[0])

    def run_model(self, model: ModelSpec, inputs: Sequence[LayerValue], path: tuple[str, ...]) -> list[LayerValue]:
        """Adds the nodes of a model.

        Args:
            model: The model.
            inputs: One value for each of its inputs.
            path: Names of the models that it is in, and its own; empty for the outermost.

        Returns:
            Its outputs in order.

        Raises:
            FormatError: If layers form a cycle, tensors do not exist, or options are wrong.
        """
        if len(path) > _DEPTH:
            raise self.error("has models that are nested too deeply.")
        references = model.input_references
        if len(inputs) != len(references):
            raise self.error(f"has a model {model.name!r} of {len(references)} inputs that reads {len(inputs)}.")
        values: dict[Key, list[LayerValue]] = {
            (one.layer, one.call): [value] for one, value in zip(references, inputs, strict=True)
        }
        if id(model) not in self._orders:
            self._orders[id(model)] = self._sort_calls(model, set(values))
        for key in self._orders[id(model)]:
            layer = model.layers[key[0]]
            values[key] = self._run_layer(layer, key[1], values, path)
        return [self._look_up(one, values, model.name) for one in model.output_references]

    def _sort_calls(self, model: ModelSpec, given: set[Key]) -> list[Key]:
        """Sorts the calls that the outputs need, so that each comes after those whose results it reads."""
        order: list[Key] = []
        state: dict[Key, bool] = dict.fromkeys(given, True)  # False while those before it are visited
        waiting: list[tuple[Key, Iterator[Reference]]] = [(("", 0), iter(model.output_references))]
        while waiting:
            key, references = waiting[-1]
            one = next(references, None)
            if one is None:
                waiting.pop()
                if waiting:
                    state[key] = True
                    order.append(key)
                continue
            inner = (one.layer, one.call)
            if state.get(inner):
                continue
            if inner in state:
                raise self.error(f"has layers that form a cycle, of which {one.layer!r} is one.")
            layer = model.layers[one.layer]
            if one.call >= len(layer.calls):
                raise self.error(f"reads call {one.call} of the layer {one.layer!r}, which has {len(layer.calls)}.")
            if layer.kind == "InputLayer":
                raise self.error(f"reads the input {one.layer!r}, which is no input of the model {model.name!r}.")
            state[inner] = False
            waiting.append((inner, iter(layer.calls[one.call].references)))
        return order

    def _look_up(self, one: Reference, values: Mapping[Key, list[LayerValue]], reader: str) -> LayerValue:
        found = values[one.layer, one.call]
        if one.tensor >= len(found):
            raise self.error(
                f"has {reader!r} read output {one.tensor} of the layer {one.layer!r}: it has {len(found)}."
            )
        return found[one.tensor]

    def _run_layer(
        self, layer: LayerSpec, number: int, values: Mapping[Key, list[LayerValue]], path: tuple[str, ...]
    ) -> list[LayerValue]:
        self._calls += 1
        if self._calls > _MAX_CALLS:
            raise self.error(f"calls more than {_MAX_CALLS:,} layers, of which {layer.name!r} is one.")
        call = layer.calls[number]

        def fill(structure: Any) -> Any:
            if isinstance(structure, Reference):
                return self._look_up(structure, values, layer.name)
            if isinstance(structure, list | tuple):
                return [fill(one) for one in structure]
            if isinstance(structure, Mapping):
                return {key: fill(one) for key, one in structure.items()}
            return structure

        inner = LayerCall(self.parts, layer, (*path, layer.name), fill(call.args), fill(call.kwargs))
        if not inner.inputs:
            raise self.error(f"has a layer {inner.label!r} ({layer.kind}) that reads nothing.")
        if layer.model is not None:
            return self._run_nested(inner, layer.model, call)
        return [self._apply(inner)]

    def _apply(self, call: LayerCall) -> LayerValue:
        """Adds the nodes of one layer; one that is unknown is recorded."""
        broken = any(not one.known for one in call.inputs)
        handler = self._find_handler(call.layer, self.parts.is_keras_3)
        what = None if handler is not None else call.layer.kind
        if handler is not None and not broken:
            try:
                (result,) = call.flush([handler(call)])
            except UnknownLayer as error:
                what = error.what
            else:
                self._tap(call, result)
                return result
        if what is not None and call.path not in self._unknown:
            self._unknown.add(call.path)
            self.builder.add_unknown(what, call.label, call.layer.position)
        return LayerValue("", 1, known=False)

    def _tap(self, call: LayerCall, value: LayerValue) -> None:
        """Lets users find the result of the first call of a layer by the layer's name."""
        name = "/".join(call.path)
        if name not in self.builder.taps:
            self.builder.tap(name, value.name)
            if len(call.path) > 1 and value.name == call.label:
                self._short.setdefault(call.path[-1], []).append(value.name)

    def _run_nested(self, call: LayerCall, model: ModelSpec, source: Call) -> list[LayerValue]:
        """Adds the nodes of a nested model, or of a layer in a wrapper."""
        inputs = _match_inputs(call.args[0] if call.args else call.inputs, model) or call.inputs
        is_wrapper = call.layer.kind == "TimeDistributed"
        if is_wrapper:
            inputs = [self._enter(call, one) for one in inputs]
        results = self.run_model(model, inputs, call.path)
        if not all(one.known for one in results):
            return results
        named = call.flush(results)
        if is_wrapper:
            named = [LayerValue(one.name, one.rank + 1, lead=one.lead - 1) for one in map(self._leave, named)]
        for one in named:
            self._tap(call, one)
        return named

    def _enter(self, call: LayerCall, value: LayerValue) -> LayerValue:
        """Lets a wrapper map over the first axis of an example."""
        if not value.known:
            return value
        if value.rank < 2:
            raise self.error(f"has a layer {call.label!r} (TimeDistributed) whose input has no axis of time.")
        if value.moved:
            value = call.source(value)
            call.flush([value])
        return LayerValue(value.name, value.rank - 1, lead=value.lead + 1)

    def _leave(self, value: LayerValue) -> LayerValue:
        if value.moved:
            raise self.error("has a wrapper around layers whose channels are first, which is not supported.")
        return value


def _match_inputs(argument: Any, model: ModelSpec) -> list[LayerValue]:
    """Orders the values that a nested model is called with like its inputs; those of a dictionary by their names."""
    if isinstance(argument, Mapping):
        names = list(model.inputs) if isinstance(model.inputs, Mapping) else []
        if set(names) != set(argument):
            names = [one.layer for one in list_references(model.inputs)]
        argument = [argument[name] for name in (names if set(names) == set(argument) else argument)]
    listed = argument if isinstance(argument, list) else [argument]
    return listed if all(isinstance(one, LayerValue) for one in listed) else []
