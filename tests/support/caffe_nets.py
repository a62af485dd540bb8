"""Small networks of Caffe as data, written as prototxts and as caffemodels of both ages."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo.containers.protobuf_schema import BOOL, DOUBLE, FLOAT, TEXT, Enumeration, Message, Repeated
from jaxcnn.zoo.formats.caffe.messages import LAYER, NET, OLD_LAYER
from tests.support import protobufs as pb

Layers = list[dict[str, Any]]


def layer(kind: str, name: str, bottom: str | Sequence[str] = "data", top: Any = None, **params: Any) -> dict[str, Any]:
    """Describes a layer: ``relu={"negative_slope": 0.1}`` are its parameters, ``blobs`` its weights, as in Caffe."""
    bottoms = bottom.split() if isinstance(bottom, str) else list(bottom)
    tops = (top or name).split() if isinstance(top or name, str) else list(top)
    found: dict[str, Any] = {"name": name, "type": kind, "bottom": bottoms, "top": tops}
    for key, value in params.items():
        found[key if key in ("blobs", "param", "include", "exclude") else f"{key}_param"] = value
    return found


def data_layer(*shape: int, name: str = "data") -> dict[str, Any]:
    """Describes an input."""
    return layer("Input", name, (), name, input={"shape": [{"dim": list(shape)}]})


def draw_blob(*shape: int, seed: int = 0, low: float = -1.0, high: float = 1.0) -> np.ndarray:
    """Draws weights."""
    return np.random.default_rng((seed, *shape)).uniform(low, high, shape).astype(np.float32)


def write_text(fields: Mapping[str, Any], schema: Message | None = NET, indent: str = "") -> str:
    """Writes a message in the text format."""
    kinds = dict(schema.fields.values()) if schema is not None else {}
    lines = []
    for name, values in fields.items():
        if name == "blobs":
            continue
        kind = kinds.get(name)
        kind = kind.kind if isinstance(kind, Repeated) else kind
        for value in values if isinstance(values, list | tuple) else [values]:
            if isinstance(value, Mapping):
                inner = write_text(value, kind if isinstance(kind, Message) else None, f"{indent}  ")
                lines.append(f"{indent}{name} {{\n{inner}{indent}}}\n")
            elif isinstance(value, bool):
                lines.append(f"{indent}{name}: {str(value).lower()}\n")
            elif isinstance(value, str) and (kind == TEXT or kind is None):
                lines.append(f'{indent}{name}: "{value}"\n')
            else:
                lines.append(f"{indent}{name}: {value}\n")
    return "".join(lines)


def write_message(fields: Mapping[str, Any], schema: Message) -> bytes:
    """Writes a message in the binary format; fields of forks, which have no number, are left out."""
    content = b""
    for number, (name, kind) in schema.fields.items():
        if name not in fields or name == "blobs":
            continue
        values = fields[name] if isinstance(kind, Repeated) else [fields[name]]
        inner = kind.kind if isinstance(kind, Repeated) else kind
        for value in values if isinstance(values, list | tuple) else [values]:
            if isinstance(inner, Message):
                content += pb.block(number, write_message(value, inner))
            elif isinstance(inner, Enumeration):
                content += pb.number(number, inner.names.index(value))
            elif inner == TEXT:
                content += pb.block(number, value)
            elif inner == FLOAT:
                content += pb.single(number, value)
            elif inner == DOUBLE:
                content += pb.double(number, value)
            else:
                content += pb.number(number, int(value) if inner == BOOL else value)
    return content


def write_blob(array: np.ndarray, *, old: bool) -> bytes:
    """Writes weights; the shape of old ones has four sizes."""
    if old:
        sizes = (1,) * (4 - array.ndim) + array.shape
        shape = b"".join(pb.number(field, size) for field, size in enumerate(sizes, 1))
    else:
        shape = pb.block(7, pb.packed(1, array.shape))
    return shape + pb.array(8 if array.dtype == np.float64 else 5, array)


def write_weights(layers: Iterable[Mapping[str, Any]], *, old: bool = False, described: bool = True) -> bytes:
    """Writes a caffemodel: all of the layers, or only what tells how weights are laid out; ``old`` as before 2014."""
    content = pb.block(1, "net")
    for one in layers:
        schema, number, blobs = (OLD_LAYER, 2, 6) if old else (LAYER, 100, 7)
        kept = ("name", "type", "bottom", "convolution_param", "inner_product_param")
        fields = one if described else {key: value for key, value in one.items() if key in kept}
        parts = [pb.block(blobs, write_blob(array, old=old)) for array in one.get("blobs", [])]
        content += pb.block(number, write_message(fields, schema), *parts)
    return content


def write_net(folder: Path, name: str, layers: Layers, **fields: Any) -> Path:
    """Writes a prototxt and a caffemodel, which does not describe the network, and returns the path of the latter."""
    (folder / f"{name}.prototxt").write_text(write_text({"name": name, **fields, "layer": layers}))
    path = folder / f"{name}.caffemodel"
    path.write_bytes(write_weights(layers, described=False))
    return path
