"""Networks of MatConvNet, SimpleNN and DagNN, in MATLAB's files of versions 5 to 7.3."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.containers.hdf5 import signature_offset
from jaxcnn.zoo.containers.matlab_v5 import read_variables_v5
from jaxcnn.zoo.containers.matlab_v73 import read_variables_v73
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.formats.layer_notes import LayerNotes
from jaxcnn.zoo.formats.matconvnet.channels import Channels

__all__ = ["is_matconvnet", "read_matconvnet"]

_FIELDS = ("layers", "params", "vars", "meta", "classes", "normalization")
_IGNORED = ("momentum", "filtersMomentum", "biasesMomentum", "der")
_MAX_LIST = 64  # elements of vectors of options that become lists

_TENSOR_NAMES = {
    "conv": ("filters", "biases"),
    "convt": ("filters", "biases"),
    "bnorm": ("multipliers", "biases", "moments"),
}
"""What the weights of a layer are, by its type."""

_DAG_TYPES = {"dagnn.Conv": "conv", "dagnn.ConvTranspose": "convt", "dagnn.BatchNorm": "bnorm"}


def is_matconvnet(path: Path, head: bytes) -> bool:
    """Tests whether a file begins like MATLAB's files of versions 5 to 7.3.

    Args:
        path: The file.
        head: Its first 4096 bytes.

    Returns:
        Whether ``read_matconvnet`` should read it.
    """
    return head.startswith(b"MATLAB ") and (head[126:128] in (b"IM", b"MI") or signature_offset(path, head) is not None)


def read_matconvnet(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the parameters and the description of a network of MatConvNet.

    Convention:
        The network is the variable ``net``, or the only struct with ``layers``, or its fields, saved one by one at the
        top of the file. Tensors of a SimpleNN are named ``"<layer>/filters"`` and ``"<layer>/biases"``, of batch
        normalization ``"multipliers"``, ``"biases"`` and ``"moments"``, of other layers ``"weights1"`` and so on; a
        layer without a name, or with the name of an earlier one, is ``"layer<k>"``, counted from 1. Those of a DagNN
        have the names of its parameters. Kernels are (kh, kw, in, out) also where MATLAB dropped trailing axes of size
        1; those of fully connected layers stay kernels; those with one input channel per group, in layers with more
        channels, are depthwise, (kh, kw, c, m). Vectors have one axis; moments are (c, 2), mean and
        ``sqrt(variance + epsilon)``.

    Args:
        path: The file.
        max_bytes: What its arrays may take together.

    Returns:
        Writable tensors; ``metadata`` also has ``"network"``, ``"SimpleNN"`` or ``"DagNN"``, ``"groups"``, name of a
        kernel to the number of its groups where there are several, ``"version"`` of the file and ``"meta"``, such as
        classes and normalization. ``graph`` has ``"layers"``, dictionaries of options in which ``"params"`` names the
        tensors, ``"meta"``, and of a DagNN ``"vars"`` and ``"params"``. In ``metadata["layouts"]`` ``"2C"`` stands
        for moments and ``"reversed"`` for arrays of unknown use.

    Raises:
        FormatError: For a file that is truncated, corrupt, hostile or holds no network of MatConvNet.
        FileNotFoundError: If there is no such file.

    Example:
        >>> import numpy as np
        >>> import pathlib, scipy.io, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = pathlib.Path(folder.name) / "net.mat"
        >>> weights = np.empty(2, object)
        >>> weights[:] = [np.zeros((3, 3, 1, 8), np.float32), np.zeros((8, 1), np.float32)]
        >>> layers = np.empty(1, object)
        >>> layers[0] = {"type": "conv", "name": "conv1", "weights": weights, "stride": 1.0}
        >>> scipy.io.savemat(path, {"net": {"layers": layers}})
        >>> from jaxcnn.zoo.formats.matconvnet.mat_file import read_matconvnet
        >>> {name: array.shape for name, array in read_matconvnet(path, max_bytes=1 << 20).tensors.items()}
        {'conv1/filters': (3, 3, 1, 8), 'conv1/biases': (8,)}
        >>> folder.cleanup()

    Parity:
        ``vl_nnconv`` does not mirror kernels, despite its name.
    """
    with open(path, "rb") as file:
        head = file.read(4096)
    source = SourceFile(path, max_bytes)
    with source.translate_errors():
        if signature_offset(path, head) is not None:
            found, names = read_variables_v73(source, choose=_choose, marker="layers", ignored=_IGNORED)
            version = "7.3"
        else:
            found, names = read_variables_v5(source, choose=_choose, marker="layers", ignored=_IGNORED)
            version = "5"
        net = found if "layers" in found else next(iter(found.values()), None)
        if not isinstance(net, dict) or "layers" not in net:
            kind = f" of class {net['MATLAB_class']}" if isinstance(net, dict) and "MATLAB_class" in net else ""
            raise source.error(f"It has no struct with layers{kind}, only the variables {names[:8]}.")
        network = _Network(source, reverse=version == "7.3")
        network.read(net)
    metadata = {**network.metadata(), "version": version}
    if left := [name for name in names if name not in found]:
        metadata["notes"].append(f"The variables {left[:8]} were left out.")
    return Checkpoint(network.tensors, metadata, network.graph)


def _choose(names: list[str], struct: str | None) -> list[str]:
    """Chooses the variables that are the network, given the names of all and of the first struct with layers."""
    if "net" in names:
        return ["net"]
    if "layers" in names:
        return [name for name in names if name in _FIELDS]
    return [struct] if struct else []


class _Network:
    """The tensors and the description of one network, extracted from MATLAB's values."""

    def __init__(self, source: SourceFile, *, reverse: bool):
        self.source, self.reverse = source, reverse
        self.tensors: dict[str, np.ndarray] = {}
        self.layouts: dict[str, str] = {}
        self.groups: dict[str, int] = {}
        self.notes = LayerNotes()
        self.graph: dict[str, Any] = {}
        self.kind = "SimpleNN"

    def metadata(self) -> dict[str, Any]:
        """Returns what is known of the network beside its tensors."""
        metadata = {"format": "matconvnet", "framework": "matconvnet", "network": self.kind, "layouts": self.layouts}
        return {**metadata, "notes": self.notes.lines(), "groups": self.groups, "meta": self.graph["meta"]}

    def read(self, net: dict[str, Any]) -> None:
        """Extracts tensors and description from a network."""
        meta = net.get("meta")
        meta = dict(meta) if isinstance(meta, dict) else {}
        meta |= {key: net[key] for key in ("classes", "normalization") if key in net}
        self.graph["meta"] = _to_plain(meta)
        layers = net["layers"] if isinstance(net["layers"], list) else [net["layers"]]
        if not all(isinstance(layer, dict) and "MATLAB_class" not in layer for layer in layers):
            raise self.source.error("One of its layers is not a struct.")
        channels = Channels(self.graph["meta"])
        if "params" in net:
            self.kind = "DagNN"
            self._read_dag(net, layers, channels)
        else:
            self.graph["layers"] = self._read_simple(layers, channels)

    def _read_simple(self, layers: list[dict[str, Any]], channels: Channels) -> list[dict[str, Any]]:
        """Moves the tensors out of the layers of a SimpleNN and returns the rest of the layers."""
        described, taken = [], set()
        for place, layer in enumerate(layers, 1):
            name = layer.get("name")
            if not isinstance(name, str) or not name or name in taken:
                name = f"layer{place}"
            taken.add(name)
            kind = layer.get("type")
            parts = _TENSOR_NAMES.get(kind if isinstance(kind, str) else "", ())
            weights = layer.pop("weights", None)
            weights = weights if isinstance(weights, list) else [] if weights is None else [weights]
            named = [(parts[at] if at < len(parts) else f"weights{at + 1}", value) for at, value in enumerate(weights)]
            named += [(key, layer.pop(key)) for key in ("filters", "biases") if isinstance(layer.get(key), np.ndarray)]
            weights.clear()
            own, kernel = [], None
            for role, value in named:
                if not isinstance(value, np.ndarray):
                    raise self.source.error(f"{name}/{role} is not an array.")
                if value.size:
                    own.append(f"{name}/{role}")
                    kernel = self._add(own[-1], value, role, kind, channels.before(place)) or kernel
            channels.add_simple_layer(place, kind, kernel)
            described.append({**_to_plain(layer), "name": name, "params": own})
        return described

    def _read_dag(self, net: dict[str, Any], layers: list[dict[str, Any]], channels: Channels) -> None:
        """Moves the tensors out of the parameters of a DagNN, and describes its layers, variables and parameters."""
        described = []
        for layer in layers:
            text = {key: _list_texts(layer.get(key)) for key in ("inputs", "outputs", "params")}
            block = _to_plain(layer.get("block", {}))
            described.append(
                {**_to_plain({k: v for k, v in layer.items() if k not in (*text, "block")}), **text, "block": block}
            )
        params = net["params"] if isinstance(net["params"], list) else [net["params"]]
        values: dict[str, Any] = {}
        for param in params:
            name = param.get("name") if isinstance(param, dict) else None
            if not isinstance(name, str) or not isinstance(param.get("value"), np.ndarray) or name in values:
                raise self.source.error(f"The parameter {name!r} has no name of its own or no value.")
            values[name] = param.pop("value")
        roles = {}
        for layer in described:
            kind = _DAG_TYPES.get(str(layer.get("type")))
            for role, name in zip(_TENSOR_NAMES.get(kind or "", ()), layer["params"], strict=False):
                roles.setdefault(name, (role, kind, layer))
        for layer in described:  # in the order in which numbers of channels become known
            shape = values[layer["params"][0]].shape if layer["params"] and layer["params"][0] in values else None
            channels.add_dag_layer(layer, _DAG_TYPES.get(str(layer.get("type"))), shape)
        for name in list(values):
            role, kind, layer = roles.get(name, ("", None, None))
            value = values.pop(name)
            if value.size:
                self._add(name, value, role, kind, channels.of(layer["inputs"]) if layer else None)
        self.graph |= {
            "layers": described,
            "params": [_to_plain(param) for param in params],
            "vars": _to_plain(net.get("vars", [])),
        }

    def _add(
        self, name: str, value: np.ndarray, role: str, kind: object, channels: int | None
    ) -> tuple[int, ...] | None:
        """Adds one tensor in this library's order of axes, and returns the shape if it is a kernel."""
        if name in self.tensors:
            raise self.source.error(f"It has two tensors named {name!r}.")
        source = value
        if role == "filters" and kind in ("conv", "convt"):
            if value.ndim > 4:
                raise self.source.error(f"{name} is a kernel of the shape {value.shape}.")
            value = value.reshape(value.shape + (1,) * (4 - value.ndim))  # MATLAB drops trailing axes of size 1
            layout = "OIWH" if self.reverse else None
            if kind == "convt":
                value, layout = value.swapaxes(2, 3), "IOWH" if self.reverse else "HWOI"
                self.notes.add(name, "a kernel of a transposed convolution: (kh, kw, out, in) became (kh, kw, in, out)")
            groups = channels // value.shape[2] if channels and kind == "conv" and not channels % value.shape[2] else 1
            if groups > 1 and not value.shape[3] % groups:
                self.groups[name] = groups
                if value.shape[2] == 1:
                    value = np.ascontiguousarray(value).reshape(*value.shape[:2], groups, -1)
                    self.notes.add(name, "a depthwise kernel: (kh, kw, 1, c * m) became (kh, kw, c, m)")
            if layout:
                self.layouts[name] = layout
        elif max(value.shape, default=0) == value.size:
            value = value.reshape(-1)
        elif self.reverse:
            self.layouts[name] = "2C" if role == "moments" else "reversed"
        self.tensors[name] = _own(value)
        return source.shape if role == "filters" else None


def _own(value: np.ndarray) -> np.ndarray:
    """Returns a C-contiguous, writable array that owns its memory."""
    contiguous = value.flags.c_contiguous and value.flags.writeable
    alone = value.base is None or (isinstance(value.base, np.ndarray) and value.base.nbytes == value.nbytes)
    return value if contiguous and alone else np.array(value, order="C")


def _list_texts(value: object) -> list[str]:
    """Lists the names in a cell, in a text or in nothing."""
    if isinstance(value, str):
        return [value] if value else []
    return [text for text in value if isinstance(text, str)] if isinstance(value, Sequence) else []


def _to_plain(value: Any) -> Any:
    """Converts options of MATLAB to plain values: numbers and short lists instead of small arrays."""
    if isinstance(value, dict):
        return {key: _to_plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_to_plain(part) for part in value]
    if not isinstance(value, np.ndarray):
        return value
    if value.size == 1:
        return _to_number(value.item())
    if value.size <= _MAX_LIST and max(value.shape) == value.size:
        return [_to_number(item) for item in value.ravel().tolist()]
    return [] if not value.size else np.ascontiguousarray(value)


def _to_number(item: object) -> object:
    """Converts whole numbers to int: MATLAB has doubles only."""
    return int(item) if isinstance(item, float) and item.is_integer() and abs(item) < 2**53 else item
