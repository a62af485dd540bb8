"""Caffe's networks: trained weights, descriptions, mean images."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint, FormatError
from jaxcnn.zoo.containers.mapped_file import map_file
from jaxcnn.zoo.containers.protobuf import ProtobufReader
from jaxcnn.zoo.containers.protobuf_schema import Message, wire_types
from jaxcnn.zoo.containers.protobuf_text import find_first_field, parse_prototxt, read_prototxt
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.formats.caffe.earliest import upgrade_layers
from jaxcnn.zoo.formats.caffe.messages import BLOB, LAYER, NET, OLD_LAYER, from_text
from jaxcnn.zoo.formats.layer_notes import LayerNotes

__all__ = ["is_caffe", "read_caffe"]

_TENSOR_NAMES = {
    "Convolution": ("weights", "biases"),
    "Deconvolution": ("weights", "biases"),
    "InnerProduct": ("weights", "biases"),
    "Embed": ("weights", "biases"),
    "BatchNorm": ("mean", "variance", "factor", "scale", "bias"),  # the last two of NVIDIA's and Intel's forks
    "Scale": ("scale", "bias"),
    "Bias": ("bias",),
    "PReLU": ("slope",),
    "Normalize": ("scale",),
}
_DEPTHWISE = ("DepthwiseConvolution", "ConvolutionDepthwise")  # forks' names of grouped convolutions
_FLATTENED_NOTE = "The inputs of inner products stay in the order of Caffe's flattened images: channel, row, column."
_LAYER_FIELDS = {2: OLD_LAYER, 100: LAYER}
_NET_FIELDS = {name for name, _ in NET.fields.values()}
_RAW_DTYPES = {"DOUBLE": "<f8", "FLOAT": "<f4", "FLOAT16": "<f2", "INT": "<i4", "UINT": "<u4", "BOOL": "?"}
_VALUES = ("data", "double_data", "raw_data")
_MAX_PROBED = 3  # layers; a few suffice to show that they are layers


def is_caffe(path: Path, head: bytes) -> bool:
    """Tests whether a file is one of Caffe's: a network, in binary or as text, or a mean image.

    Args:
        path: The file.
        head: Its first bytes.

    Returns:
        Whether it is.
    """
    return path.is_file() and _find_kind(path, head) is not None


def read_caffe(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads a network of Caffe.

    Convention:
        Tensors are ``layer/weights``, (kh, kw, in / group, out) or, where every channel is a group, (kh, kw, c, m);
        (in, out) of an inner product; ``layer/biases``; ``layer/mean`` and ``layer/variance`` of a batch
        normalization, already divided by the factor stored beside them; ``layer/scale`` and ``layer/bias`` of a scale;
        ``layer/slope``; and ``layer/blobs/0`` and so on of layers of other types. The inputs of an inner
        product that follows an image stay in the order (channel, row, column). The weights of a deconvolution are
        (kh, kw, in, out / group), as it lays them onto its output.

    Args:
        path: A ``.caffemodel`` of any age, a ``.prototxt``, which has no tensors, or a mean image, whose tensor is
            ``"mean"``, (h, w, c).
        max_bytes: What all tensors may take.

    Returns:
        Tensors, writable. The graph is a dictionary with ``"name"``, ``"layers"`` and, where the file has them,
        ``"input"``, ``"input_dim"`` and ``"input_shape"``; a layer has ``"name"``, ``"type"``, ``"bottom"``, ``"top"``
        and its parameters, such as ``"convolution_param"``, under Caffe's names.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is truncated, damaged, or holds more than ``max_bytes``.

    Example:
        >>> from jaxcnn.zoo.formats.caffe.caffemodel import read_caffe
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "net.prototxt"
        >>> _ = path.write_text('layer { name: "relu1" type: "ReLU" bottom: "a" top: "b" }')
        >>> read_caffe(path, max_bytes=1 << 20).graph["layers"]
        [{'name': 'relu1', 'type': 'ReLU', 'bottom': ['a'], 'top': ['b']}]

    Parity:
        Values equal those read by OpenCV, which keeps Caffe's order of axes.

    References:
        ``caffe.proto`` of Caffe.
    """
    source = SourceFile(path, max_bytes)
    data = map_file(path)
    kind = _find_kind(path, bytes(data[:4096]))
    if kind == "text":
        net = _upgrade(from_text(read_prototxt(path), NET, source=source))
        _check_text(source, net)
        notes = ["The file describes a network and holds no weights."]
        metadata = {"format": "caffe-prototxt", "framework": "caffe", "layouts": {}, "notes": notes}
        return Checkpoint({}, metadata, _graph(net))
    reader = ProtobufReader(source)
    weights = _Weights(reader)
    if kind == "mean":
        mean = weights.blob(data, "mean")
        if mean.ndim == 4 and mean.shape[0] == 1:
            mean = mean[0]
        if mean.ndim != 3:
            raise source.error(f"is a blob of shape {mean.shape}, expected an image (1, c, h, w).")
        image = np.ascontiguousarray(mean.transpose(1, 2, 0))
        metadata = {"format": "caffe-mean", "framework": "caffe", "layouts": {"mean": "CHW"}, "notes": []}
        return Checkpoint({"mean": image}, metadata)
    net = _upgrade(reader.message(data, NET))
    layers = net.get("layers", []) + net.get("layer", [])
    if not layers:
        raise source.error("holds no layer of a network.")
    for layer in layers:
        weights.add(layer)
    notes = weights.note_lines() + [
        f"{count} messages {name} are of another kind than Caffe's and were left out."
        for name, count in reader.left_out.items()
    ]
    metadata = {"format": "caffe", "framework": "caffe", "layouts": weights.layouts, "notes": notes}
    return Checkpoint(weights.tensors, metadata, _graph(_to_plain(net)))


def _upgrade(net: dict[str, Any]) -> dict[str, Any]:
    """Converts layers from before 2013."""
    return {**net, "layers": upgrade_layers(net["layers"])} if "layers" in net else net


def _find_kind(path: Path, head: bytes) -> str | None:
    """Finds out which of Caffe's files this is: ``"net"``, ``"mean"``, ``"text"``, or None."""
    try:
        data = map_file(path)
        if b"\0" not in head and (word := find_first_field(data)) is not None:
            if word not in _NET_FIELDS:
                return None
            try:
                tree = parse_prototxt(head, source=SourceFile(path)) if len(head) < 4096 else {}
            except FormatError:
                tree = {}  # truncated or damaged: the reader says where
            return "text" if not tree or tree.keys() & {"layer", "layers", "input"} else None
        return _find_binary_kind(ProtobufReader(SourceFile(path)), data)
    except (FormatError, OSError):
        return None


def _find_binary_kind(reader: ProtobufReader, data: memoryview) -> str | None:
    net, mean, layers, values = True, True, 0, 0
    for number, wire, value in reader.fields(data):
        net = net and _fits(NET, number, wire)
        mean = mean and _fits(BLOB, number, wire)
        if not net and not mean:
            return None
        if net and number in _LAYER_FIELDS and layers < _MAX_PROBED:
            inner, known = _LAYER_FIELDS[number], 0
            for field, stored, _ in reader.fields(value):
                net = net and _fits(inner, field, stored)
                known += field in inner.fields
            layers += known > 0
        values += mean and BLOB.fields.get(number, ("",))[0] in _VALUES
    return "net" if net and layers else "mean" if mean and values else None


def _fits(schema: Message, number: int, wire: int) -> bool:
    """Tests whether a field is stored as the schema states; forks add fields that it does not list."""
    found = schema.fields.get(number)
    return found is None or wire in wire_types(found[1])


def _check_text(source: SourceFile, net: dict[str, Any]) -> None:
    layers = net.get("layer", []) + net.get("layers", [])
    if not layers or not all(isinstance(layer, dict) and isinstance(layer.get("type"), str) for layer in layers):
        raise source.error("describes no layers, or layers without a type.")


def _to_plain(value: object) -> Any:
    """Converts arrays to lists and leaves out the views of the file."""
    if isinstance(value, dict):
        return {key: _to_plain(item) for key, item in value.items() if key != "blobs"}
    if isinstance(value, list):
        return [_to_plain(item) for item in value]
    return value.tolist() if isinstance(value, np.ndarray) else value


def _graph(net: dict[str, Any]) -> dict[str, Any]:
    layers = [
        {"name": "", "type": "", "bottom": [], "top": [], **layer}
        for layer in net.get("layers", []) + net.get("layer", [])
    ]
    rest = {key: net[key] for key in ("input", "input_dim", "input_shape") if key in net}
    return {"name": net.get("name", ""), "layers": layers, **rest}


class _Weights:
    """The tensors of the layers read so far."""

    def __init__(self, reader: ProtobufReader):
        self.reader, self.source = reader, reader.source
        self.tensors: dict[str, np.ndarray] = {}
        self.layouts: dict[str, str] = {}
        self.notes = LayerNotes()
        self.has_inner_products = False

    def note_lines(self) -> list[str]:
        """Returns what was changed, in words."""
        return self.notes.lines() + [_FLATTENED_NOTE] * self.has_inner_products

    def add(self, layer: dict[str, Any]) -> None:
        """Reads the blobs of one layer."""
        name, kind, blobs = layer.get("name", ""), layer.get("type", ""), layer.get("blobs", [])
        kind = "Convolution" if kind in _DEPTHWISE else kind
        names = _TENSOR_NAMES.get(kind, ()) if isinstance(kind, str) else ()
        if kind == "Scale" and len(blobs) == 1 and len(layer.get("bottom", [])) > 1:
            names = ("bias",)  # the scale is the second input
        if len(blobs) > len(names):
            names = tuple(f"blobs/{place}" for place in range(len(blobs)))
        found = {}
        for part, blob in zip(names, blobs, strict=False):
            full = f"{name}/{part}"
            self.source.spend_objects(len(full))
            if full in self.tensors:
                raise self.source.error(f"two layers named {name!r} have weights.")
            array = self.blob(blob, full)
            if part == "weights":
                array = self.kernel(layer, kind, full, array)
            elif not part.startswith("blobs"):
                array = _strip_axes(array)
            found[full] = array
        if kind == "BatchNorm" and "factor" in names[: len(blobs)]:
            factor = found.pop(f"{name}/factor")
            if factor.size != 1:
                raise self.source.error(f"{name}/factor has shape {factor.shape}, expected one value.")
            with np.errstate(all="ignore"):  # damaged values may overflow
                inverse = factor.dtype.type(0 if factor.item() == 0 else 1 / factor.item())
                for full in (f"{name}/mean", f"{name}/variance"):
                    np.multiply(found[full], inverse, out=found[full])
            self.notes.add(name, "mean and variance are divided by the stored factor", factor.item())
        self.tensors |= found

    def blob(self, data: memoryview, name: str) -> np.ndarray:
        """Reads one blob as stored."""
        blob = self.reader.message(data, BLOB)
        values = self.raw_values(blob, name) if "raw_data" in blob else blob.get("double_data", blob.get("data"))
        values = np.zeros(0, np.float32) if values is None else values
        if "shape" in blob:
            shape = tuple(blob["shape"].get("dim", np.zeros(0, np.int64)).tolist())
        else:
            shape = tuple(blob.get(key, 0) for key in ("num", "channels", "height", "width"))
        self.source.spend_tensor(shape, values.dtype, name, stored=values.nbytes)
        return values.reshape(shape).astype(values.dtype.newbyteorder("="))

    def raw_values(self, blob: dict[str, Any], name: str) -> np.ndarray:
        """Returns the values of a blob of NVIDIA's fork."""
        code = _RAW_DTYPES.get(str(blob.get("raw_data_type")))
        content = blob["raw_data"]
        if code is None or len(content) % np.dtype(code).itemsize:
            raise self.source.error(
                f"{name} has {len(content)} raw bytes of type {blob.get('raw_data_type')!r}, expected whole numbers "
                f"of a type among {', '.join(_RAW_DTYPES)}."
            )
        return np.frombuffer(content, np.uint8) != 0 if code == "?" else np.frombuffer(content, code)

    def kernel(self, layer: dict[str, Any], kind: str, name: str, array: np.ndarray) -> np.ndarray:
        """Moves the axes of a kernel or a matrix."""
        if kind in ("InnerProduct", "Embed"):
            array = _as_matrix(self.source, name, array)
            if kind == "Embed" or layer.get("inner_product_param", {}).get("transpose", False):
                return array
            self.layouts[name] = "OI"
            self.has_inner_products = True
            return np.ascontiguousarray(array.T)
        if array.ndim < 3:
            raise self.source.error(f"{name} has shape {array.shape}, expected the shape of a kernel.")
        space = "DHW"[-(array.ndim - 2) :] if array.ndim <= 5 else "X" * (array.ndim - 2)
        group = layer.get("convolution_param", {}).get("group", 1)
        first, second, *sizes = array.shape
        if group < 1 or first % group:
            raise self.source.error(f"{name} of shape {array.shape} has {group} groups.")
        axes = tuple(range(2, array.ndim))
        if group > 1 and (second == 1 and (kind == "Convolution" or first == group)):
            self.layouts[name] = ("OI" if kind == "Convolution" else "IO") + space
            split = array.reshape(group, first // group, *sizes)
            return np.ascontiguousarray(split.transpose(*axes, 0, 1))
        if kind == "Deconvolution":
            self.layouts[name] = "IO" + space
            self.notes.add(name, "a kernel of a deconvolution, (kh, kw, in, out / group); groups:", group)
            return np.ascontiguousarray(array.transpose(*axes, 0, 1))
        self.layouts[name] = "OI" + space
        if group > 1:
            self.notes.add(name, "a grouped kernel, (kh, kw, in / group, out); groups:", group)
        return np.ascontiguousarray(array.transpose(*axes, 1, 0))


def _strip_axes(array: np.ndarray) -> np.ndarray:
    """Drops the leading axes of size 1 that vectors have in older files."""
    return array.reshape(array.shape[3:]) if array.ndim == 4 and array.shape[:3] == (1, 1, 1) else array


def _as_matrix(source: SourceFile, name: str, array: np.ndarray) -> np.ndarray:
    shape: Sequence[int] = array.shape
    if len(shape) > 2 and math.prod(shape[:-2]) == 1:
        array = array.reshape(shape[-2:])
    if array.ndim != 2:
        raise source.error(f"{name} has shape {tuple(shape)}, expected a matrix.")
    return array
