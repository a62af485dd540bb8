"""Imports networks of Caffe."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxcnn.zoo.checkpoint import Checkpoint, FormatError
from jaxcnn.zoo.containers.source_file import PARSER_ERRORS
from jaxcnn.zoo.formats.caffe.caffemodel import is_caffe, read_caffe
from jaxcnn.zoo.graphs.builder import GraphBuilder, ImportedNetwork
from jaxcnn.zoo.graphs.caffe.data_layers import fill_blob, find_preprocessing, is_data_layer, read_declared_shapes
from jaxcnn.zoo.graphs.caffe.functions import FUNCTION_LAYERS
from jaxcnn.zoo.graphs.caffe.image_size import find_size
from jaxcnn.zoo.graphs.caffe.kernels import KERNEL_LAYERS
from jaxcnn.zoo.graphs.caffe.network import Blob, CaffeNetwork, Layer, LayerRule, Unsupported
from jaxcnn.zoo.graphs.caffe.normalizers import NORMALIZING_LAYERS
from jaxcnn.zoo.graphs.caffe.plan import Plan
from jaxcnn.zoo.graphs.caffe.pools import POOLING_LAYERS
from jaxcnn.zoo.graphs.caffe.readouts import READING_LAYERS
from jaxcnn.zoo.graphs.caffe.reshaping import MOVING_LAYERS
from jaxcnn.zoo.graphs.caffe.wiring import WiredLayer, choose_layers, wire_layers

__all__ = ["import_caffe"]

_LAYERS: Mapping[str, LayerRule] = {
    **KERNEL_LAYERS,
    **POOLING_LAYERS,
    **NORMALIZING_LAYERS,
    **FUNCTION_LAYERS,
    **MOVING_LAYERS,
    **READING_LAYERS,
    "DummyData": fill_blob,
}
_SHOWN = 12  # missing weights in one message


def import_caffe(path: Path, checkpoint: Checkpoint, *, graph: str | os.PathLike[str] | None = None) -> ImportedNetwork:
    """Imports a network of Caffe, of any age and of common forks.

    The network is what ``graph`` describes; else the file of the same stem beside the weights, or with ``_deploy``
    behind it; else what the caffemodel itself says. Of a prototxt for training and testing the layers that test run.

    Convention:
        Blobs of images are held channels last. What the file has flattened, permuted or reshaped keeps its order.
        Values are named by blobs, those written in place by layers. Data layers become inputs. Losses and accuracies
        are left off, and so are the ends of detectors that choose boxes; what they would read is returned.

    Args:
        path: The caffemodel, or a prototxt beside it.
        checkpoint: Its content.
        graph: The prototxt of the network.

    Returns:
        The network. Parameters are ``layer/kernel``, ``layer/bias``, ``layer/scale``, ``layer/slope``, and in
        ``"batch_stats"`` ``layer/mean`` and ``layer/var``.

    Raises:
        FileNotFoundError: If there is no file ``graph``.
        FormatError: If the network is inconsistent, has unknown operations, or weights are missing or of other shapes.

    References:
        ``caffe.proto`` and the layers of Caffe (Jia et al. 2014, arXiv:1408.5093); of SSD, ENet, DeepLab, PSPNet and
        SENet the layers that they add.
    """
    weights = checkpoint
    if checkpoint.metadata.get("format") == "caffe-prototxt":
        described, net, weights_path = path, checkpoint.graph, path.with_suffix(".caffemodel")
        if weights_path.is_file():
            weights, path = _read(weights_path), weights_path
    else:
        found = Path(graph) if graph is not None else _find_prototxt(path)
        described, net = (path, checkpoint.graph) if found is None else (found, _read(found).graph)
    with _translate_errors(described):
        return _import(path, described, weights, net)


def _read(path: Path) -> Checkpoint:
    if not path.exists():
        raise FileNotFoundError(f"load: graph must be an existing file, got {os.fspath(path)!r}.")
    head = b""
    if path.is_file():
        with open(path, "rb") as file:
            head = file.read(4096)
    if not is_caffe(path, head):
        raise FormatError(path, "is no network of Caffe.")
    found = read_caffe(path, max_bytes=1 << 32)
    if found.graph is None:
        raise FormatError(path, "describes no network.")
    return found


def _find_prototxt(path: Path) -> Path | None:
    """Finds the description beside a file of weights."""
    names = [f"{path.stem}{end}" for end in (".prototxt", "_deploy.prototxt", "-deploy.prototxt", ".deploy.prototxt")]
    places = [path.with_name(name) for name in (*names, f"deploy_{path.stem}.prototxt")]
    return next((place for place in places if place.is_file()), None)


@contextlib.contextmanager
def _translate_errors(path: Path) -> Iterator[None]:
    """Converts what damaged descriptions raise where no check finds it."""
    try:
        yield
    except FormatError:
        raise
    except (*PARSER_ERRORS, RecursionError) as error:
        raise FormatError(path, f"has an inconsistent network ({type(error).__name__}: {str(error)[:200]}).") from error


def _import(path: Path, described: Path, weights: Checkpoint, net: object) -> ImportedNetwork:
    if not isinstance(net, Mapping):
        raise FormatError(described, "describes no network.")
    plan, network = _build(described, weights, net, None)
    builder = network.builder
    builder.check_known()
    image = next((one for one in plan.inputs if len(plan.shapes[one]) == 4), None)
    if image is not None and None in network.blobs[image].shape[1:] and network.fan_ins:
        size = find_size(lambda size: _build(described, weights, net, size)[1])
        if size is not None:
            plan, network = _build(described, weights, net, size)
            image = next(one for one in plan.inputs if len(plan.shapes[one]) == 4)
            builder = network.builder
            builder.note(f"The size of the input is not stated; {size} x {size} fits the weights.")
    if network.missing:
        if path == described and not weights.tensors:
            reason = "describes a network and holds no weights; load its caffemodel, with this file as graph=."
            raise FormatError(path, reason)
        shown = "; ".join(network.missing[:_SHOWN])
        more = f"; and {len(network.missing) - _SHOWN} more" if len(network.missing) > _SHOWN else ""
        raise FormatError(path, f"lacks weights of the network in {os.fspath(described)!r}: {shown}{more}.")
    if not plan.outputs:
        raise builder.error("has no layer whose result could be returned.")
    preprocessing = None
    if image is not None:
        own = weights.graph.get("layers", []) if isinstance(weights.graph, Mapping) else []
        data = [one for one in plan.layers if is_data_layer(one)] + _training_data(own)
        preprocessing = find_preprocessing(data, network.blobs[image].shape, builder)
    plan.add_taps(network)
    outputs = list(dict.fromkeys(network.blobs[top].value for top in plan.outputs))
    return builder.finish(outputs, preprocessing=preprocessing)


def _build(path: Path, weights: Checkpoint, net: Mapping[str, Any], size: int | None) -> tuple[Plan, CaffeNetwork]:
    """Builds the network, of images of a size where the file states none."""
    name = net.get("name", "")
    builder = GraphBuilder(path, weights.tensors, name=name if isinstance(name, str) else "")
    chosen = choose_layers(net, builder, phase="TEST")
    inputs = net.get("input", [])
    names = inputs if isinstance(inputs, list | tuple) else [inputs]
    if not all(isinstance(one, str) for one in names):
        raise builder.error(f"declares inputs that are no names: {names!r:.60}.")
    declared, wired = wire_layers(chosen, names, builder)
    plan = Plan(builder, declared, wired, read_declared_shapes(net, declared, builder))
    network = CaffeNetwork(builder, batch=plan.batch)
    plan.add_inputs(network, size)
    for layer in plan.kept:
        _add_layer(network, layer)
    return plan, network


def _training_data(layers: Any) -> list[WiredLayer]:
    """Lists the data layers of the net that wrote the weights, which a description for use does not repeat."""
    listed = layers if isinstance(layers, list) else []
    found = [one for one in listed if isinstance(one, Mapping) and not one.get("bottom")]
    return [WiredLayer(-1, str(one.get("name")), str(one.get("type")), one) for one in found]


def _add_layer(network: CaffeNetwork, wired: WiredLayer) -> None:
    rule = _LAYERS.get(wired.kind)
    if rule is None:
        network.builder.add_unknown(wired.kind, wired.name, wired.position)
    if rule is None or any(bottom not in network.blobs for bottom in wired.bottoms):
        return  # an unknown operation, or one that reads what such a one writes
    layer = Layer(network, wired)
    try:
        result = rule(layer)
    except Unsupported as error:
        network.builder.add_unknown(f"{wired.kind} {error}", wired.name, wired.position)
        return
    found = [result] if isinstance(result, Blob) else result
    if len(found) != len(wired.tops):
        raise layer.error(f"it must have {len(found)} tops, got {len(wired.tops)}.")
    network.blobs.update(zip(wired.tops, found, strict=True))
