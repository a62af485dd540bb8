"""Networks of TensorFlow Lite."""

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.graphs.graph import MAX_NODES
from jaxcnn.zoo.checkpoint import Checkpoint, FormatError
from jaxcnn.zoo.graphs.builder import GraphBuilder, ImportedNetwork
from jaxcnn.zoo.graphs.tflite.folding import fold
from jaxcnn.zoo.graphs.tflite.layers import LAYERS
from jaxcnn.zoo.graphs.tflite.metadata import read_labels
from jaxcnn.zoo.graphs.tflite.names import find_layer_name, find_prefix
from jaxcnn.zoo.graphs.tflite.numbers import NUMBERS
from jaxcnn.zoo.graphs.tflite.operators import Handler, Held, NetworkState, Operator
from jaxcnn.zoo.graphs.tflite.shapes import SHAPES
from jaxcnn.zoo.graphs.tflite.slices import SLICES
from jaxcnn.zoo.graphs.tflite.values import Constant, Value
from jaxcnn.zoo.records.weight_records import Preprocessing

__all__ = ["import_tflite"]

_HANDLERS: Mapping[str, Handler] = {**LAYERS, **NUMBERS, **SHAPES, **SLICES}
_ENDS = ("TFLite_Detection_PostProcess", "NON_MAX_SUPPRESSION_V4", "NON_MAX_SUPPRESSION_V5")
_CONSTANT_ONLY = ("BROADCAST_TO", "FILL", "RANGE")
_WITH_KERNEL = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
_IN_BLOCKS = {"CONV_2D", "DEPTHWISE_CONV_2D", "BATCH_TO_SPACE_ND", "DEQUANTIZE", "QUANTIZE", "PRELU", "LEAKY_RELU"}
_IN_BLOCKS |= {"ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "RELU", "RELU6", "RELU_N1_TO_1", "ELU", "TANH"}
_IN_BLOCKS |= {"LOGISTIC", "HARD_SWISH", "GELU"}
_FREE_SIZE = 224  # of an input whose size the file leaves open, while its shapes are computed
_MISTAKES = (KeyError, TypeError, ValueError, IndexError, ArithmeticError, AttributeError)


def import_tflite(path: Path, checkpoint: Checkpoint) -> ImportedNetwork:
    """Imports the first network of a model of TensorFlow Lite.

    Quantized models become floating ones: weights are dequantized, values are no longer rounded, and the input is in
    real numbers, ``scale * (stored - zero_point)``.

    Args:
        path: The file.
        checkpoint: Its content.

    Returns:
        The network.

    Raises:
        FormatError: If it is inconsistent or has unknown operations.
    """
    try:
        return _Importer(path, checkpoint).run()
    except FormatError:
        raise
    except (*_MISTAKES, RecursionError) as error:
        raise FormatError(path, f"has an inconsistent description ({error!r:.200}).") from error


class _Importer:
    """Reads the operators of a subgraph in their order, each into nodes of the graph."""

    def __init__(self, path: Path, checkpoint: Checkpoint):
        self.path, self.checkpoint = path, checkpoint
        graphs = checkpoint.graph or []
        if not graphs:
            raise FormatError(path, "has no network.")
        self.subgraph: dict[str, Any] = graphs[0]
        self.operators: list[dict[str, Any]] = self.subgraph["operators"]
        if len(self.operators) > MAX_NODES:
            raise FormatError(path, f"has {len(self.operators):,} operators; a graph may have {MAX_NODES:,} nodes.")
        self.builder = GraphBuilder(path, checkpoint.tensors, name=self.subgraph["name"])
        if len(graphs) > 1:
            self.builder.note(f"Of {len(graphs)} networks in the file the first is imported.")
        self.public = self._find_public_names()
        self.left_off: set[str] = set()  # what the end of a detector computes
        self.missing: set[str] = set()  # what unknown operators compute, and those behind them
        self.ends: list[str] = []

    def _find_public_names(self) -> dict[str, str]:
        """Returns tensor to name of the inputs and outputs: as the signature calls them, if there is one."""
        names: dict[str, str] = {}
        for signature in self.checkpoint.metadata.get("signatures", ()):
            if signature["subgraph"] == 0 and not names:
                pairs = [*signature["inputs"].items(), *signature["outputs"].items()]
                names = {tensor: name for name, tensor in pairs if tensor is not None and name}
        return names

    def run(self) -> ImportedNetwork:
        state = self._start()
        for position, operator in enumerate(self.operators):
            self._import_operator(state, position, operator)
        self.builder.check_known()
        computed = [one for name, one in self.subgraph["tensors"].items() if name not in self.checkpoint.tensors]
        if any(one["quantization"] and one["dtype"] in ("int8", "uint8", "int16") for one in computed):
            self.builder.note("Quantized values are computed in floating point, without rounding.")
        outputs = self._find_outputs(state)
        labels = read_labels(self.path, state.values[outputs[-1]].shape[-1:] if outputs else ())
        return self.builder.finish(outputs, preprocessing=self._find_preprocessing(), labels=labels)

    def _start(self) -> NetworkState:
        """Adds the inputs."""
        sizes = {}
        for name in dict.fromkeys(self.subgraph["inputs"]):
            if name is None:
                raise FormatError(self.path, "has an input without a tensor.")
            tensor = self.subgraph["tensors"][name]
            shape, signature = tensor["shape"], tensor["signature"]
            signature = signature if len(signature) == len(shape) else shape
            if min(shape, default=1) < 0 or len(shape) > 6:
                raise FormatError(self.path, f"has an input {name!r} of shape {shape}.")
            sizes[name] = (shape, signature)
        firsts = {shape[0] for shape, signature in sizes.values() if len(shape) == 4 and signature[0] > 1}
        batch = firsts.pop() if len(firsts) == 1 else 1
        state = NetworkState(self.builder, batch, find_prefix(self._layer_names()))
        for name, (shape, signature) in sizes.items():
            self._add_input(state, name, shape, signature)
        return state

    def _layer_names(self) -> list[str]:
        found = []
        for operator in self.operators:
            if operator["op"] in _WITH_KERNEL:
                kernels = [name for name in operator["inputs"] if name in self.checkpoint.tensors]
                name = find_layer_name([one for one in (*kernels, *operator["outputs"]) if one])
                found += [name] if name else []
        return found

    def _add_input(self, state: NetworkState, name: str, shape: tuple[int, ...], signature: tuple[int, ...]) -> None:
        has_batch = bool(shape) and (shape[0] == state.batch or signature[0] < 1)
        at = 0 if has_batch else None
        free = [size < 1 for size in signature][has_batch:]
        stated = shape[has_batch:]
        spatial = len(stated) == 3
        known = tuple(
            _FREE_SIZE if one and spatial and axis < 2 else size
            for axis, (one, size) in enumerate(zip(free, stated, strict=True))
        )
        public = self.public.get(name, name)
        added = self.builder.add_input(public, [None if one else size for one, size in zip(free, stated, strict=True)])
        self.builder.tap(name, added)
        value = Value(added, known, "float32", at)
        state.values[added] = state.held[name] = value

    def _import_operator(self, state: NetworkState, position: int, operator: Mapping[str, Any]) -> None:
        kind, names = operator["op"], operator["inputs"]
        label = next((name for name in operator["outputs"] if name), "")
        missing = self.missing.intersection(names)
        if self.left_off.intersection(names) and not missing:
            self.left_off.update(one for one in operator["outputs"] if one)
            return
        if kind in _ENDS:
            self._leave_off(state, kind, operator)
            return
        known = kind in _HANDLERS or kind in _CONSTANT_ONLY
        if not known:
            self.builder.add_unknown(kind, label, position)
        if missing or not known:
            self.missing.update(one for one in operator["outputs"] if one)
            return
        try:
            results = self._apply(state, operator)
        except FormatError as error:
            raise FormatError(self.path, f"node {position} ({kind}, {label!r}): {error.reason}") from error
        except _MISTAKES as error:
            text = str(error) if isinstance(error, ValueError) else f"its inputs or options do not fit ({error!r})."
            raise FormatError(self.path, f"node {position} ({kind}, {label!r}): {text}") from error
        if results is None:
            self.builder.add_unknown(f"{kind} of constants", label, position)
            self.missing.update(one for one in operator["outputs"] if one)
            return
        for name, one in zip(operator["outputs"], results, strict=True):
            if name is None:
                continue
            if name in state.held:
                raise FormatError(self.path, f"node {position} ({kind}): {name!r} is written twice.")
            state.held[name] = one
            if isinstance(one, Value):
                self.builder.tap(name, one.name)

    def _apply(self, state: NetworkState, operator: Mapping[str, Any]) -> list[Held] | None:
        kind, names = operator["op"], operator["inputs"]
        inputs = [self._find(state, name) for name in names]
        tensors = self.subgraph["tensors"]
        dtypes = [tensors[name]["dtype"] if name else "float32" for name in operator["outputs"]]
        step = Operator(state, kind, operator["options"], inputs, operator["outputs"], dtypes, names)
        if kind in (*_WITH_KERNEL, "ADD") and operator["outputs"]:
            step.limit = _find_limit(tensors[operator["outputs"][0]])
        handler = _HANDLERS.get(kind)
        values = [one for one in inputs if isinstance(one, Value)]
        if not values:
            found = fold(step, handler)
            return None if found is None else list(found)
        if handler is None:
            raise ValueError("it is supported for constants only.")
        if kind not in _IN_BLOCKS and any(one.block is not None for one in values):
            raise ValueError("between SPACE_TO_BATCH_ND and BATCH_TO_SPACE_ND it is not supported.")
        result = handler(step)
        results = [result] if isinstance(result, Value | Constant) else list(result)
        if len(results) != len(operator["outputs"]):
            raise ValueError(f"it computes {len(results)} values for {len(operator['outputs'])} outputs.")
        for name, one in zip(operator["outputs"], results, strict=True):
            if isinstance(one, Value) and one.block is not None and name in self.subgraph["outputs"]:
                raise ValueError("its output is held in blocks of pixels.")
        return results

    def _find(self, state: NetworkState, name: str | None) -> Held | None:
        if name is None:
            return None
        if name in state.held:
            return state.held[name]
        tensors = self.checkpoint.tensors
        if name in tensors:
            layout = self.checkpoint.metadata["layouts"].get(name)
            return Constant(tensors[name], name, layout)
        shape = self.subgraph["tensors"][name]["shape"]
        if shape and math.prod(shape) == 0:
            dtype = self.subgraph["tensors"][name]["dtype"]
            return Constant(np.zeros(shape, dtype if dtype in ("int32", "int64") else "float32"), name)
        raise ValueError(f"it reads {name!r}, which is neither computed before it nor stored in a dense dtype.")

    def _leave_off(self, state: NetworkState, kind: str, operator: Mapping[str, Any]) -> None:
        """Leaves off the end of a detector; what it reads becomes the output."""
        read = [name for name in operator["inputs"] if isinstance(state.held.get(name), Value)]
        self.ends += [name for name in read if name not in self.ends]
        self.left_off.update(one for one in operator["outputs"] if one)
        self.builder.note(f"{kind} is left off: what it reads are outputs.")

    def _find_outputs(self, state: NetworkState) -> list[str]:
        """Chooses the outputs, and names their nodes as the source names them."""
        names: list[str] = [name for name in self.subgraph["outputs"] if name not in self.left_off]
        names = list(dict.fromkeys([*names, *self.ends]))
        writers = {node.outputs[0]: at for at, node in enumerate(self.builder.nodes) if len(node.outputs) == 1}
        renamed: dict[str, str] = {}
        outputs: list[str] = []
        for name in names:
            held = state.held.get(name)
            if not isinstance(held, Value):
                raise FormatError(self.path, f"has an output {name!r} that no operator computes from the input.")
            public = self.public.get(name, str(name))
            if held.name in writers and held.name not in renamed:
                renamed[held.name] = public if public == held.name else self.builder.unique(public)
                value = renamed[held.name]
            else:  # an input, one of several values of a node, or an output twice
                value = self.builder.add("identity", public, [renamed.get(held.name, held.name)], source="output")
            outputs.append(value)
            state.values[value] = held
        self._rename({old: new for old, new in renamed.items() if old != new})
        return outputs

    def _rename(self, renamed: Mapping[str, str]) -> None:
        """Changes names of values, also where they are read."""
        for at, node in enumerate(self.builder.nodes):
            inputs, outputs = (tuple(renamed.get(one, one) for one in names) for names in (node.inputs, node.outputs))
            if (inputs, outputs) != (node.inputs, node.outputs):
                name = outputs[0] if node.outputs == (node.name,) else node.name
                self.builder.nodes[at] = dataclasses.replace(node, name=name, inputs=inputs, outputs=outputs)
        for name, value in list(self.builder.taps.items()):
            self.builder.taps[name] = renamed.get(value, value)
        for old, new in renamed.items():
            self.builder.tap(old, new)

    def _find_preprocessing(self) -> Preprocessing | None:
        """Reads how pixels become the input, from the quantization of an image that is the only input."""
        if len(self.subgraph["inputs"]) != 1:
            return None
        tensor = self.subgraph["tensors"][self.subgraph["inputs"][0]]
        quantization, shape = tensor["quantization"], tensor["shape"]
        if len(shape) != 4 or not quantization or quantization["scale"].size != 1 or shape[-1] not in (1, 3):
            return None
        scale = float(quantization["scale"][0])
        zero = int(quantization["zero_point"][0]) if quantization["zero_point"].size else 0
        first = {"uint8": 0, "int8": -128}.get(tensor["dtype"])
        if first is None or not scale > 0 or not math.isfinite(scale):
            return None
        size = shape[1] if shape[1] == shape[2] and shape[1] > 1 else None
        return Preprocessing(
            size=size,
            color_order="RGB",
            value_range=(0, 255),
            mean=(float(zero - first),),
            std=(1 / scale,),
        )


def _find_limit(tensor: Mapping[str, Any]) -> float | None:
    """Returns the largest number that a quantized tensor can hold if its smallest is 0, else None."""
    quantization, dtype = tensor["quantization"], tensor["dtype"]
    if dtype not in ("uint8", "int8") or not quantization or quantization["scale"].size != 1:
        return None
    zero = int(quantization["zero_point"][0]) if quantization["zero_point"].size == 1 else 0
    scale, info = float(quantization["scale"][0]), np.iinfo(dtype)
    return scale * (info.max - zero) if zero == info.min and 0 < scale < math.inf else None
