"""Imports networks of Keras."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxcnn.zoo.checkpoint import Checkpoint, FormatError
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.graphs.builder import GraphBuilder, ImportedNetwork
from jaxcnn.zoo.graphs.keras.configuration import Call, LayerSpec, ModelSpec, Reference, read_model
from jaxcnn.zoo.graphs.keras.input_order import is_channels_first
from jaxcnn.zoo.graphs.keras.layer_call import LayerValue
from jaxcnn.zoo.graphs.keras.layer_table import find_handler
from jaxcnn.zoo.graphs.keras.network import NetworkImport
from jaxcnn.zoo.graphs.keras.options import LARGEST, is_integer
from jaxcnn.zoo.graphs.keras.parts import KerasParts
from jaxcnn.zoo.graphs.keras.weights import WeightFinder
from jaxcnn.zoo.records.weight_records import Preprocessing

__all__ = ["import_keras"]


def import_keras(path: Path, checkpoint: Checkpoint) -> ImportedNetwork:
    """Imports a network of Keras 1, 2 or 3: sequential, functional, and models in models.

    Convention:
        Images are channels last also where the model's are channels first. Parameters are under the names of layers,
        those of nested models under ``model/layer``; a layer or model that is called several times has them once.
        The result of a layer is named like the layer; what it computes before its activation is ``layer/conv`` or
        ``layer/dense``. Code in the file is never executed.

    Args:
        path: The file.
        checkpoint: Its content.

    Returns:
        The network.

    Raises:
        FormatError: If it is inconsistent, lacks weights or has unknown operations.
    """
    with SourceFile(path).translate_errors():
        return _import(path, checkpoint)


def _import(path: Path, checkpoint: Checkpoint) -> ImportedNetwork:
    def error(reason: str) -> FormatError:
        return FormatError(path, reason)

    model = read_model(checkpoint.graph, error)
    builder = GraphBuilder(path, checkpoint.tensors, name=model.name)
    backend = str(checkpoint.metadata.get("backend", ""))
    parts = KerasParts(builder, WeightFinder(checkpoint, model), _find_version(checkpoint), backend)
    network = NetworkImport(parts, find_handler)
    inputs = [_add_input(parts, model, one) for one in model.input_references]
    results = network.run_model(model, inputs, ())
    builder.check_known()
    parts.check_weights()
    network.tap_short_names()
    return builder.finish([one.name for one in results], preprocessing=_find_preprocessing(model))


def _find_version(checkpoint: Checkpoint) -> str:
    version = checkpoint.metadata.get("keras_version")
    if isinstance(version, str):
        return version
    return "3" if checkpoint.metadata.get("format") == "keras" else ""


def _add_input(parts: KerasParts, model: ModelSpec, reference: Reference) -> LayerValue:
    """Adds an input; images whose channels are first in the source become channels last."""
    layer = model.layers[reference.layer]
    shape = _find_shape(parts, model, reference)
    moved = len(shape) in (2, 3, 4) and is_channels_first(model, reference)
    shape = (*shape[1:], shape[0]) if moved else shape
    return LayerValue(parts.builder.add_input(layer.name, shape), len(shape), moved)


def _find_shape(parts: KerasParts, model: ModelSpec, reference: Reference) -> tuple[int | None, ...]:
    """Finds the shape of an example of an input: its own, or that of the model or layer that reads it first."""
    layer = model.layers[reference.layer]
    for _ in range(100):
        shape = _read_shape(parts, layer)
        if shape is not None:
            return shape
        reader = next((one for one in model.layers.values() if _reads(one.calls, reference)), None)
        if reader is None:
            break
        if reader.model is None:
            shape = _read_shape(parts, reader) or _guess_shape(parts, reader)
            if shape is not None:
                return shape
            break
        model, reference = reader.model, reader.model.input_references[0]
        layer = model.layers[reference.layer]
    raise parts.error(f"does not state the shape of its input {layer.name!r}.")


def _reads(calls: tuple[Call, ...], reference: Reference) -> bool:
    return any(reference in call.references for call in calls)


def _read_shape(parts: KerasParts, layer: LayerSpec) -> tuple[int | None, ...] | None:
    config = layer.config
    shape: Any = None
    for key in ("batch_input_shape", "batch_shape", "input_shape"):
        shape = config.get(key)
        if isinstance(shape, dict) and isinstance(shape.get("items"), list):  # a serialized tuple
            shape = shape["items"]
        if shape is not None:
            shape = shape if key == "input_shape" else shape[1:] if isinstance(shape, list | tuple) else "nothing"
            break
    if shape is None and is_integer(config.get("input_dim")) and layer.kind == "Dense":
        shape = [config["input_dim"]]
    if shape is None:
        return None
    good = isinstance(shape, list | tuple) and 0 < len(shape) < 8
    if not good or not all(one is None or (is_integer(one) and 0 < one <= LARGEST) for one in shape):
        raise parts.error(f"has a layer {layer.name!r} whose shape {str(shape)[:80]} is none of an example.")
    return tuple(shape)


def _guess_shape(parts: KerasParts, layer: LayerSpec) -> tuple[int | None, ...] | None:
    """Finds the shape that the first layer of a sequential model without an input needs, from its kernel."""
    kernel = parts.weights.find((layer.name,), layer, "kernel")
    if kernel is None:
        return None
    if layer.kind == "Dense" and kernel.ndim == 2:
        return (kernel.shape[0],)
    if layer.kind in ("Conv1D", "Conv2D", "Conv3D") and kernel.ndim > 2:
        groups = layer.config.get("groups", 1)
        channels = kernel.shape[-2] * (groups if is_integer(groups) and 0 < groups < 1 << 16 else 1)
        spatial = (None,) * (kernel.ndim - 2)
        return (channels, *spatial) if layer.config.get("data_format") == "channels_first" else (*spatial, channels)
    return None


def _find_preprocessing(model: ModelSpec) -> Preprocessing | None:
    """Finds out what a model expects whose first layers bring images to a range themselves: values up to 255, RGB."""
    layer, depth = next(_first_layers(model), None), 0
    while layer is not None and layer.model is not None and depth < 48:
        layer, depth = next(_first_layers(layer.model), None), depth + 1
    if layer is None or layer.kind not in ("Rescaling", "Normalization"):
        return None
    return Preprocessing(color_order="RGB", value_range=(0, 255))


_SIZES = ("Resizing", "CenterCrop", "Identity")


def _first_layers(model: ModelSpec) -> Iterator[LayerSpec]:
    """Yields the layer that reads the only input, or, if it only changes the size, what follows it."""
    if len(model.input_references) != 1:
        return
    reference = model.input_references[0]
    for _ in range(16):
        readers = [one for one in model.layers.values() if _reads(one.calls, reference)]
        if len(readers) != 1:
            return
        if readers[0].kind not in _SIZES and not readers[0].kind.startswith("Random"):
            yield readers[0]
            return
        reference = Reference(readers[0].name)
