"""Models of TensorFlow Lite."""

import dataclasses
import math
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.containers.flatbuffer import Flatbuffer, FlatbufferTable
from jaxcnn.zoo.containers.mapped_file import map_file
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.formats.tensorflow.tensor_proto import decode
from jaxcnn.zoo.formats.tensorflow.tflite_operators import OPERATORS, operator_options

__all__ = ["is_tflite", "read_tflite"]

_DTYPES: dict[int, np.dtype] = {
    0: np.dtype("float32"),
    1: np.dtype("float16"),
    2: np.dtype("int32"),
    3: np.dtype("uint8"),
    4: np.dtype("int64"),
    6: np.dtype("bool"),
    7: np.dtype("int16"),
    8: np.dtype("complex64"),
    9: np.dtype("int8"),
    10: np.dtype("float64"),
    11: np.dtype("complex128"),
    12: np.dtype("uint64"),
    15: np.dtype("uint32"),
    16: np.dtype("uint16"),
    18: np.dtype(ml_dtypes.bfloat16),
}
_INT4 = 17
_OTHER_TYPES = {5: "string", 13: "resource", 14: "variant", _INT4: "int4", 19: "int2", 20: "uint4"}
_MAX_PADDING = 3  # bytes by which a buffer may be longer than its tensor
_PIECE = 1 << 20  # values that are dequantized at a time, in double precision
_KERNELS = {
    "CONV_2D": ("OHWI", (1, 2, 3, 0)),
    "TRANSPOSE_CONV": ("OHWI", (1, 2, 3, 0)),
    "FULLY_CONNECTED": ("OI", (1, 0)),
    "DEPTHWISE_CONV_2D": ("1HW(C*M)", (0, 1, 2, 3)),
}


@dataclasses.dataclass
class _Tensor:
    """What the file states about one tensor."""

    name: str
    shape: tuple[int, ...]
    kind: int
    buffer: int
    quantization: dict[str, Any]
    sparse: bool
    signature: tuple[int, ...]

    @property
    def type_name(self) -> str:
        """The name of its dtype."""
        return _DTYPES[self.kind].name if self.kind in _DTYPES else _OTHER_TYPES.get(self.kind, str(self.kind))


def is_tflite(path: Path, head: bytes) -> bool:
    """Tests by its identifier whether a file is a model of TensorFlow Lite.

    Args:
        path: The file; it is not opened.
        head: Its first bytes.

    Returns:
        Whether it is.
    """
    return head[4:8] == b"TFL3"


def read_tflite(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the constant tensors and the operators of a model of TensorFlow Lite.

    Convention:
        Kernels that are used only by convolutions become (kh, kw, in, out), depthwise ones (kh, kw, c, m) and weights
        of fully connected layers (in, out). Quantized tensors, including biases of quantized layers, become float32,
        ``scale * (stored - zero_point)``. Where the axis that the file states for several scales does not have as many
        entries, but one other axis does, they are along that one, with a note.

    Args:
        path: The file.
        max_bytes: What all tensors may take.

    Returns:
        Tensors, writable; a name that occurs twice gets ``:<number of the tensor>``, and those of further subgraphs
        begin with the subgraph's name. The graph is a list of subgraphs, dictionaries with ``"name"``, ``"inputs"``,
        ``"outputs"``, ``"operators"`` and ``"tensors"`` (name to shape, dtype and quantization, of all of them, and
        ``"signature"``: the shape with -1 for sizes that vary, empty where the file does not state them); an operator
        has ``"op"``, ``"options"``, ``"inputs"`` and ``"outputs"``, names, None for an omitted input. The metadata has
        ``"signatures"``: dictionaries with ``"name"``, ``"subgraph"``, ``"inputs"`` and ``"outputs"``, public name to
        tensor.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is truncated, damaged, or holds more than ``max_bytes``.

    Example:
        >>> from jaxcnn.zoo.formats.tensorflow.tflite_file import read_tflite
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.tflite"
        >>> _ = path.write_bytes(b"no model of this kind")
        >>> read_tflite(path, max_bytes=1 << 20)
        Traceback (most recent call last):
        jaxcnn.zoo.checkpoint.FormatError: ...: has the identifier b'odel', expected b'TFL3'.

    Parity:
        Values equal those of ``tf.lite.Interpreter.get_tensor``, quantized ones after applying scale and zero point.

    References:
        ``schema.fbs`` of TensorFlow Lite.
    """
    source = SourceFile(path, max_bytes)
    buffer = Flatbuffer(source, map_file(path))
    if bytes(buffer.data[4:8]) != b"TFL3":
        raise source.error(f"has the identifier {bytes(buffer.data[4:8])!r}, expected b'TFL3'.")
    model = buffer.root()
    codes = [_operator_name(table) for table in model.tables(1)]
    buffers = model.tables(4)
    tensors: dict[str, np.ndarray] = {}
    layouts: dict[str, str] = {}
    changed: dict[str, list[str]] = {"dequantized": [], "scaled": [], "left out": []}
    quantization: dict[str, Any] = {}
    graph: list[dict[str, Any]] = []
    for number, subgraph in enumerate(model.tables(2)):
        described = [_parse_tensor(table) for table in subgraph.tables(0)]
        prefix = f"{subgraph.text(4) or f'subgraph{number}'}/" if number else ""
        source.spend_objects(sum(len(prefix) + len(tensor.name) for tensor in described))
        names = _make_unique([prefix + tensor.name for tensor in described])
        operators = [_parse_operator(source, table, codes, names) for table in subgraph.tables(3)]
        uses = _find_uses(operators, {name: tensor.shape for name, tensor in zip(names, described, strict=True)})
        for name, tensor in zip(names, described, strict=True):
            content = _find_content(buffer, buffers, tensor, name)
            if content is None:
                continue
            if (tensor.kind not in _DTYPES and tensor.kind != _INT4) or tensor.sparse:
                changed["left out"].append(name)
                continue
            copy = _unpack_tensor if tensor.kind == _INT4 else _copy_tensor
            array = copy(source, tensor, name, content)
            if tensor.quantization and tensor.kind in (2, 3, 4, 7, 9, _INT4):
                axis = tensor.quantization["axis"]
                array = _dequantize(source, tensor, name, array)
                if tensor.quantization["axis"] != axis:
                    changed["scaled"].append(name)
                changed["dequantized"].append(name)
                quantization[name] = {"dtype": tensor.type_name, **tensor.quantization}
            tensors[name] = _move_axes(array, name, uses.get(name, set()), layouts)
        graph.append(
            {
                "name": subgraph.text(4),
                "inputs": [_find_name(source, names, index) for index in subgraph.numbers(1, "<i4").tolist()],
                "outputs": [_find_name(source, names, index) for index in subgraph.numbers(2, "<i4").tolist()],
                "operators": [{key: op[key] for key in ("op", "options", "inputs", "outputs")} for op in operators],
                "tensors": {
                    name: {
                        "shape": tensor.shape,
                        "dtype": tensor.type_name,
                        "quantization": tensor.quantization,
                        "signature": tensor.signature,
                    }
                    for name, tensor in zip(names, described, strict=True)
                },
            }
        )
    if len(set(tensors)) != sum(len(entry["tensors"].keys() & tensors.keys()) for entry in graph):
        raise source.error("has tensors of the same name in several subgraphs.")
    metadata = {
        "format": "tflite",
        "framework": "tensorflow",
        "layouts": layouts,
        "notes": _write_notes(changed),
        "version": model.number(0, "<I"),
        "description": model.text(3),
        "quantization": quantization,
        "signatures": [_parse_signature(source, table, graph) for table in model.tables(7)],
    }
    return Checkpoint(tensors, metadata, graph)


def _write_notes(changed: dict[str, list[str]]) -> list[str]:
    notes = []
    if changed["dequantized"]:
        count, first = len(changed["dequantized"]), changed["dequantized"][0]
        notes.append(f"{count} quantized tensors are dequantized to float32, such as {first!r}; see the quantization.")
    if changed["scaled"]:
        count, first = len(changed["scaled"]), changed["scaled"][0]
        notes.append(
            f"{count} quantized tensors, such as {first!r}, have a scale for each entry of another axis than the file "
            "states: the only axis of that size was used."
        )
    if changed["left out"]:
        count, first = len(changed["left out"]), changed["left out"][0]
        notes.append(f"{count} tensors of text, packed or sparse values are left out, such as {first!r}.")
    return notes


def _operator_name(table: FlatbufferTable) -> str:
    """Returns an operator's name; small numbers are in the older field."""
    number = max(table.number(0, "<b"), table.number(3, "<i"))
    name = OPERATORS[number] if 0 <= number < len(OPERATORS) else f"OPERATOR_{number}"
    return table.text(1) or name if name == "CUSTOM" else name


def _parse_tensor(table: FlatbufferTable) -> _Tensor:
    quantization: dict[str, Any] = {}
    entry = table.table(4)
    if entry is not None and entry.numbers(2, "<f4").size:
        quantization = {
            "scale": entry.numbers(2, "<f4").copy(),
            "zero_point": entry.numbers(3, "<i8").copy(),
            "axis": entry.number(6, "<i"),
        }
    shape = tuple(table.numbers(0, "<i4").tolist())
    signature = tuple(table.numbers(7, "<i4").tolist())
    kind = table.number(1, "<b")
    return _Tensor(
        table.text(3), shape, kind, table.number(2, "<I"), quantization, table.find(6) is not None, signature
    )


def _make_unique(names: list[str]) -> list[str]:
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return [f"{name}:{index}" if counts[name] > 1 or not name else name for index, name in enumerate(names)]


def _find_name(source: SourceFile, names: list[str], index: int) -> str | None:
    if index == -1:
        return None
    if not 0 <= index < len(names):
        raise source.error(f"names tensor {index} of {len(names)}.")
    return names[index]


def _parse_operator(source: SourceFile, table: FlatbufferTable, codes: list[str], names: list[str]) -> dict[str, Any]:
    number = table.number(0, "<I")
    if number >= len(codes):
        raise source.error(f"names operator {number} of {len(codes)}.")
    return {
        "op": codes[number],
        "options": operator_options(codes[number], table.table(4)),
        "inputs": [_find_name(source, names, index) for index in table.numbers(1, "<i4").tolist()],
        "outputs": [_find_name(source, names, index) for index in table.numbers(2, "<i4").tolist()],
    }


def _parse_signature(source: SourceFile, table: FlatbufferTable, graph: list[dict[str, Any]]) -> dict[str, Any]:
    """Reads the public names of a subgraph's inputs and outputs."""
    number = table.number(4, "<I")
    if number >= len(graph):
        raise source.error(f"has a signature of subgraph {number} of {len(graph)}.")
    names = list(graph[number]["tensors"])
    inputs, outputs = (
        {one.text(0): _find_name(source, names, one.number(1, "<I")) for one in table.tables(field)} for field in (0, 1)
    )
    return {"name": table.text(2), "subgraph": number, "inputs": inputs, "outputs": outputs}


def _find_uses(
    operators: list[dict[str, Any]], shapes: dict[str, tuple[int, ...]]
) -> dict[str, set[tuple[str, int, int]]]:
    """Finds for each tensor which operators use it, as which input, and with how many channels if depthwise.

    Operators that only widen a tensor are skipped.
    """
    result: dict[str, set[tuple[str, int, int]]] = {}
    for operator in reversed(operators):  # those that use a widened tensor come after what widens it
        inputs = operator["inputs"]
        channels = 0
        if operator["op"] == "DEPTHWISE_CONV_2D" and inputs and inputs[0] is not None:
            channels = (shapes[inputs[0]] or (0,))[-1]
        for place, name in enumerate(inputs):
            if operator["op"] == "DEQUANTIZE" and operator["outputs"]:
                use = result.get(operator["outputs"][0], set())
            else:
                use = {(operator["op"], place, channels)}
            result.setdefault(name, set()).update(use)
    return result


def _find_content(buffer: Flatbuffer, buffers: list[FlatbufferTable], tensor: _Tensor, name: str) -> memoryview | None:
    """Returns a tensor's bytes, or None if it is computed."""
    if tensor.buffer >= len(buffers):
        raise buffer.source.error(f"{name!r} is in buffer {tensor.buffer} of {len(buffers)}.")
    entry = buffers[tensor.buffer]
    begin, size = entry.number(1, "<Q"), entry.number(2, "<Q")
    if begin > 1:  # a large file holds its tensors behind the flatbuffer
        if begin + size > len(buffer.data):
            raise buffer.source.error(f"{name!r} is {size} bytes at byte {begin}, beyond the end.")
        return buffer.data[begin : begin + size]
    data = entry.numbers(0, "<u1")
    return data.data if data.size else None


def _copy_tensor(source: SourceFile, tensor: _Tensor, name: str, content: memoryview) -> np.ndarray:
    dtype = _DTYPES[tensor.kind]
    needed = math.prod(tensor.shape) * dtype.itemsize
    stored = needed if 0 <= needed <= len(content) <= needed + _MAX_PADDING else len(content)
    source.spend_tensor(tensor.shape, dtype, name, stored=stored)
    return decode(content[:needed], dtype).reshape(tensor.shape).astype(dtype)


def _unpack_tensor(source: SourceFile, tensor: _Tensor, name: str, content: memoryview) -> np.ndarray:
    """Copies numbers of 4 bits, two per byte, the first one in the lower half."""
    count = math.prod(tensor.shape)
    source.spend_tensor(tensor.shape, np.int8, name)
    if not 0 <= (count + 1) // 2 <= len(content) <= (count + 1) // 2 + _MAX_PADDING:
        raise source.error(f"{name!r} declares shape {tensor.shape} of 4 bits each, but holds {len(content)} bytes.")
    packed = np.frombuffer(content, np.uint8, (count + 1) // 2)
    numbers = np.stack([packed & 15, packed >> 4], -1).reshape(-1)[:count].astype(np.int8)
    return np.where(numbers > 7, numbers - 16, numbers).astype(np.int8).reshape(tensor.shape)


def _dequantize(source: SourceFile, tensor: _Tensor, name: str, array: np.ndarray) -> np.ndarray:
    scale, zero, axis = (tensor.quantization[key] for key in ("scale", "zero_point", "axis"))
    shape: tuple[int, ...] = ()
    if scale.size > 1:
        fitting = [place for place in range(array.ndim) if array.shape[place] == scale.size]
        if not 0 <= axis < array.ndim or (axis not in fitting and len(fitting) != 1):
            raise source.error(f"{name!r} of shape {array.shape} has {scale.size} scales along axis {axis}.")
        if axis not in fitting:
            tensor.quantization["axis"] = axis = fitting[0]
        shape = tuple(scale.size if place == axis else 1 for place in range(array.ndim))
    if zero.size not in (0, 1, scale.size) or not np.isfinite(scale).all():
        raise source.error(f"{name!r} has {zero.size} zero points for {scale.size} scales, or infinite scales.")
    source.spend(array.size * 4, name)
    steps = np.broadcast_to(scale.astype(np.float64).reshape(shape), array.shape)
    offsets = zero.astype(np.float64) if zero.size else np.zeros(1)
    offsets = np.broadcast_to(offsets.reshape(shape if zero.size == scale.size else ()), array.shape)
    result = np.empty(array.shape, np.float32)
    rows = max(1, _PIECE // max(1, math.prod(array.shape[1:])))
    with np.errstate(over="ignore"):  # damaged scales may be too large
        for begin in range(0, len(array) if array.ndim else 1, rows):
            part = slice(begin, begin + rows) if array.ndim else ()
            result[part] = (array[part].astype(np.float64) - offsets[part]) * steps[part]
    return result


def _move_axes(array: np.ndarray, name: str, uses: set[tuple[str, int, int]], layouts: dict[str, str]) -> np.ndarray:
    """Moves the axes of a kernel if all operators that use it use it in the same way."""
    if len(uses) != 1:
        return array
    op, place, channels = next(iter(uses))
    if op not in _KERNELS or place != 1 or array.ndim != len(_KERNELS[op][1]):
        return array
    layout, axes = _KERNELS[op]
    if op == "DEPTHWISE_CONV_2D":
        _, height, width, outputs = array.shape
        if array.shape[0] != 1 or channels < 1 or outputs % channels:
            return array
        layouts[name] = layout
        return array.reshape(height, width, channels, outputs // channels)
    layouts[name] = layout
    return np.ascontiguousarray(array.transpose(axes))
