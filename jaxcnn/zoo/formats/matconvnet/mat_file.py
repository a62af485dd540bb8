"""Reads networks of MatConvNet, SimpleNN and DagNN, from MATLAB's files of every version since 5."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint, FormatError
from jaxcnn.zoo.containers.hdf5 import refusing, signature_offset
from jaxcnn.zoo.containers.matlab_hdf5 import read_variables_hdf5
from jaxcnn.zoo.containers.matlab_v5 import read_variables_v5
from jaxcnn.zoo.formats.matconvnet.channels import Channels

__all__ = ["is_matconvnet", "read_matconvnet"]

TOP = ("layers", "params", "vars", "meta", "classes", "normalization")
IGNORED = ("momentum", "filtersMomentum", "biasesMomentum", "der")
SHORT = 64
"""Vectors of options up to this length become lists."""

PARTS = {
    "conv": ("filters", "biases"),
    "convt": ("filters", "biases"),
    "bnorm": ("multipliers", "biases", "moments"),
}
"""What stands in the weights of a layer, by its type."""

TYPES = {"dagnn.Conv": "conv", "dagnn.ConvTranspose": "convt", "dagnn.BatchNorm": "bnorm"}


def is_matconvnet(path: Path, head: bytes) -> bool:
    """Says whether a file begins as MATLAB's files of version 5 to 7.3 do.

    Args:
        path: The file.
        head: Its first 4096 bytes.

    Returns:
        Whether ``read_matconvnet`` is the reader to ask.
    """
    return head.startswith(b"MATLAB ") and (head[126:128] in (b"IM", b"MI") or signature_offset(path, head) is not None)


def read_matconvnet(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the parameters and the description of a network of MatConvNet.

    Convention:
        The network is the variable ``net``, or the only struct with ``layers``, or what was saved of it field by field
        at the top of the file. Tensors of a SimpleNN are named ``"<layer>/filters"`` and ``"<layer>/biases"``, of batch
        normalization ``"multipliers"``, ``"biases"`` and ``"moments"``, of other layers ``"weights1"`` and so on; a
        layer without a name, or with that of an earlier one, is ``"layer<k>"``, counted from 1. Those of a DagNN have
        the names of its parameters. Kernels are (kh, kw, in, out) also where MATLAB dropped trailing axes of size 1;
        those of fully connected layers stay kernels; those with one input channel per group, where the layer has more
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
        for moments and ``"reversed"`` for what is of no known use.

    Raises:
        FormatError: For a file that is truncated, corrupt, hostile or holds no network of MatConvNet.
        FileNotFoundError: If there is no such file.

    Example:
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
        ``vl_nnconv`` does not mirror kernels, whatever its name says.
    """
    with open(path, "rb") as file:
        head = file.read(4096)
    with refusing(path):
        if signature_offset(path, head) is not None:
            found, names = read_variables_hdf5(path, max_bytes=max_bytes, choose=_chosen, ignored=IGNORED)
            version = "7.3"
        else:
            found, names = read_variables_v5(path, max_bytes=max_bytes, choose=_chosen, ignored=IGNORED)
            version = "5"
        net = found if "layers" in found else next(iter(found.values()), None)
        if not isinstance(net, dict) or "layers" not in net:
            kind = f" of class {net['MATLAB_class']}" if isinstance(net, dict) and "MATLAB_class" in net else ""
            raise FormatError(path, f"It has no struct with layers{kind}, only the variables {names[:8]}.")
        network = _Network(path, reverse=version == "7.3")
        network.read(net)
    if left := [name for name in names if name not in found]:
        network.notes.append(f"The variables {left[:8]} were left out.")
    return Checkpoint(network.tensors, {**network.metadata(), "version": version}, network.graph)


def _chosen(names: list[str], struct: str | None) -> list[str]:
    """Chooses the variables that are the network, of the names of all and of the first struct with layers."""
    if "net" in names:
        return ["net"]
    if "layers" in names:
        return [name for name in names if name in TOP]
    return [struct] if struct else []


class _Network:
    """The tensors and the description of one network, taken out of MATLAB's values."""

    def __init__(self, path: Path, *, reverse: bool):
        self.path, self.reverse = path, reverse
        self.tensors: dict[str, np.ndarray] = {}
        self.layouts: dict[str, str] = {}
        self.groups: dict[str, int] = {}
        self.notes: list[str] = []
        self.graph: dict[str, Any] = {}
        self.kind = "SimpleNN"

    def metadata(self) -> dict[str, Any]:
        """Gives what is said of the network beside its tensors."""
        said = {"format": "matconvnet", "framework": "matconvnet", "network": self.kind, "layouts": self.layouts}
        return {**said, "notes": self.notes, "groups": self.groups, "meta": self.graph["meta"]}

    def read(self, net: dict[str, Any]) -> None:
        """Takes a network apart."""
        meta = net.get("meta")
        meta = dict(meta) if isinstance(meta, dict) else {}
        meta |= {key: net[key] for key in ("classes", "normalization") if key in net}
        self.graph["meta"] = _plain(meta)
        layers = net["layers"] if isinstance(net["layers"], list) else [net["layers"]]
        if not all(isinstance(layer, dict) and "MATLAB_class" not in layer for layer in layers):
            raise FormatError(self.path, "One of its layers is no struct.")
        channels = Channels(self.graph["meta"])
        if "params" in net:
            self.kind = "DagNN"
            self._dag(net, layers, channels)
        else:
            self.graph["layers"] = self._simple(layers, channels)

    def _simple(self, layers: list[dict[str, Any]], channels: Channels) -> list[dict[str, Any]]:
        """Takes the tensors out of the layers of a SimpleNN and gives what is left of them."""
        described, taken = [], set()
        for place, layer in enumerate(layers, 1):
            name = layer.get("name")
            if not isinstance(name, str) or not name or name in taken:
                name = f"layer{place}"
            taken.add(name)
            kind = layer.get("type")
            parts = PARTS.get(kind if isinstance(kind, str) else "", ())
            weights = layer.pop("weights", None)
            weights = weights if isinstance(weights, list) else [] if weights is None else [weights]
            named = [(parts[at] if at < len(parts) else f"weights{at + 1}", value) for at, value in enumerate(weights)]
            named += [(key, layer.pop(key)) for key in ("filters", "biases") if isinstance(layer.get(key), np.ndarray)]
            weights.clear()
            own, kernel = [], None
            for role, value in named:
                if not isinstance(value, np.ndarray):
                    raise FormatError(self.path, f"{name}/{role} is no array.")
                if value.size:
                    own.append(f"{name}/{role}")
                    kernel = self._add(own[-1], value, role, kind, channels.before(place)) or kernel
            channels.pass_simple(place, kind, kernel)
            described.append({**_plain(layer), "name": name, "params": own})
        return described

    def _dag(self, net: dict[str, Any], layers: list[dict[str, Any]], channels: Channels) -> None:
        """Takes the tensors out of the parameters of a DagNN, and describes its layers, variables and parameters."""
        described = []
        for layer in layers:
            text = {key: _texts(layer.get(key)) for key in ("inputs", "outputs", "params")}
            block = _plain(layer.get("block", {}))
            described.append(
                {**_plain({k: v for k, v in layer.items() if k not in (*text, "block")}), **text, "block": block}
            )
        params = net["params"] if isinstance(net["params"], list) else [net["params"]]
        values: dict[str, Any] = {}
        for param in params:
            name = param.get("name") if isinstance(param, dict) else None
            if not isinstance(name, str) or not isinstance(param.get("value"), np.ndarray) or name in values:
                raise FormatError(self.path, f"The parameter {name!r} has no name of its own or no value.")
            values[name] = param.pop("value")
        roles = {}
        for layer in described:
            kind = TYPES.get(str(layer.get("type")))
            for role, name in zip(PARTS.get(kind or "", ()), layer["params"], strict=False):
                roles.setdefault(name, (role, kind, layer))
        for layer in described:  # in the order in which a channel's number becomes known
            shape = values[layer["params"][0]].shape if layer["params"] and layer["params"][0] in values else None
            channels.pass_dag(layer, TYPES.get(str(layer.get("type"))), shape)
        for name in list(values):
            role, kind, layer = roles.get(name, ("", None, None))
            value = values.pop(name)
            if value.size:
                self._add(name, value, role, kind, channels.of(layer["inputs"]) if layer else None)
        self.graph |= {
            "layers": described,
            "params": [_plain(param) for param in params],
            "vars": _plain(net.get("vars", [])),
        }

    def _add(self, name: str, value: np.ndarray, role: str, kind: Any, channels: int | None) -> tuple[int, ...] | None:
        """Adds one tensor in the library's order of axes, and gives the shape of a kernel."""
        if name in self.tensors:
            raise FormatError(self.path, f"It has two tensors named {name!r}.")
        source = value
        if role == "filters" and kind in ("conv", "convt"):
            if value.ndim > 4:
                raise FormatError(self.path, f"{name} is a kernel of the shape {value.shape}.")
            value = value.reshape(value.shape + (1,) * (4 - value.ndim))  # MATLAB drops trailing axes of size 1
            layout = "OIWH" if self.reverse else None
            if kind == "convt":
                value, layout = value.swapaxes(2, 3), "IOWH" if self.reverse else "HWOI"
                self.notes.append(f"{name}, of a transposed convolution, was (kh, kw, out, in).")
            groups = channels // value.shape[2] if channels and kind == "conv" and not channels % value.shape[2] else 1
            if groups > 1 and not value.shape[3] % groups:
                self.groups[name] = groups
                if value.shape[2] == 1:
                    value = np.ascontiguousarray(value).reshape(*value.shape[:2], groups, -1)
                    self.notes.append(f"{name} is depthwise: (kh, kw, 1, c * m) became (kh, kw, c, m).")
            if layout:
                self.layouts[name] = layout
        elif max(value.shape, default=0) == value.size:
            value = value.reshape(-1)
        elif self.reverse:
            self.layouts[name] = "2C" if role == "moments" else "reversed"
        self.tensors[name] = _owned(value)
        return source.shape if role == "filters" else None


def _owned(value: np.ndarray) -> np.ndarray:
    """Gives a C-contiguous array that owns its memory and may be written."""
    contiguous = value.flags.c_contiguous and value.flags.writeable
    alone = value.base is None or (isinstance(value.base, np.ndarray) and value.base.nbytes == value.nbytes)
    return value if contiguous and alone else np.array(value, order="C")


def _texts(value: Any) -> list[str]:
    """Gives the names in a cell, in a text or in nothing."""
    if isinstance(value, str):
        return [value] if value else []
    return [text for text in value if isinstance(text, str)] if isinstance(value, Sequence) else []


def _plain(value: Any) -> Any:
    """Makes options of MATLAB plain: numbers and short lists in place of small arrays."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part) for part in value]
    if not isinstance(value, np.ndarray):
        return value
    if value.size == 1:
        return _number(value.item())
    if value.size <= SHORT and max(value.shape) == value.size:
        return [_number(item) for item in value.ravel().tolist()]
    return [] if not value.size else np.ascontiguousarray(value)


def _number(item: Any) -> Any:
    """Gives whole numbers as int: MATLAB has doubles only."""
    return int(item) if isinstance(item, float) and item.is_integer() and abs(item) < 2**53 else item
