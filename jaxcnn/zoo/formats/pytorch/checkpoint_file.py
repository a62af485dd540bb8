"""PyTorch's files: zip archives, the older sequence of pickles and TorchScript."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint, FormatError
from jaxcnn.zoo.containers.mapped_file import map_file
from jaxcnn.zoo.containers.pickled_arrays import PickledArray
from jaxcnn.zoo.containers.pickled_trees import flatten_tree
from jaxcnn.zoo.containers.restricted_unpickler import OpaqueObject
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.containers.zip_archive import ZipArchive, list_entries
from jaxcnn.zoo.formats.pytorch.layouts import infer_layouts
from jaxcnn.zoo.formats.pytorch.pickled_tensors import MissingTensor, torch_unpickler
from jaxcnn.zoo.formats.pytorch.script_objects import CONSTANTS, ScriptObjects, list_constants
from jaxcnn.zoo.formats.pytorch.sparse_tensors import SparseTensor
from jaxcnn.zoo.formats.pytorch.storages import StorageReader, copy_tensors
from jaxcnn.zoo.formats.pytorch.tensor_views import TensorView

__all__ = ["is_pytorch", "read_pytorch"]

_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the first pickle of files before PyTorch 1.6: a number of 10 bytes
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PICKLE_ENTRY = re.compile(r"(?:[^/]+/)?data\.pkl")
_TAR_MEMBERS = (b"sys_info", b"pickle", b"storages", b"tensors")
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "weights", "params")
_CONSTANTS_FOLDER = "constants/"
_PARALLEL_PREFIX = "module."
_PREFIX_NOTE = f"The prefix {_PARALLEL_PREFIX!r} of all names was dropped."


def is_pytorch(path: Path, head: bytes) -> bool:
    """Tests whether a file is PyTorch's: a zip archive with ``data.pkl``, a sequence of pickles, or the old tar."""
    if head.startswith(b"\x80") and _MAGIC in head[:32]:
        return True
    return _is_tar(head) or any(_PICKLE_ENTRY.fullmatch(name) for name in list_entries(path, head))


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar" and head[:100].rstrip(b"\0").removeprefix(b"./").rstrip(b"/") in _TAR_MEMBERS


def read_pytorch(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the tensors of a ``.pth``, ``.pt`` or TorchScript file without instantiating or executing anything in it.

    Convention: Kernels become (in, out), (k, in, out), (kh, kw, in, out) and (kd, kh, kw, in, out), whose last two
    axes are in / groups and out; those of transposed convolutions (kh, kw, in, out / groups); their order in the file
    is in ``metadata["layouts"]``. ``infer_layouts`` says what tells a kernel and its kind. A state dict does not state
    groups: kernels of depthwise convolutions stay (kh, kw, 1, out), with a note; where the program of TorchScript
    states them, they become (kh, kw, c, m). Embeddings of a state dict are taken for dense layers.

    A prefix ``module.`` that all names of a dictionary have is dropped, and so is the name of a dictionary such as
    ``state_dict`` that holds all tensors; tensors of several dictionaries have dotted names. The weight and bias that
    dynamic quantization packs are named ``..._packed_params.weight`` and ``.bias``; constants of TorchScript's program,
    such as the weights of a frozen module, ``CONSTANTS.c0`` and so on, as the program calls them.

    Quantized tensors become float32, sparse ones dense, complex numbers of half precision complex64. Arrays are
    writable and own their memory. Everything else is in ``metadata["extra"]``.

    Args:
        path: The file.
        max_bytes: What the tensors may take.

    Returns:
        The tensors, with the metadata ``"container"`` (``"zip"``, ``"legacy"`` or ``"torchscript"``) and ``"extra"``.

    Raises:
        FormatError: For a damaged file, and for one that holds objects other than tensors, numbers and texts.
    """
    data = map_file(path)
    head = bytes(data[:512])
    source = SourceFile(path, max_bytes)
    if _is_tar(head):
        raise source.error("the tar format of PyTorch before 0.1.10; save it again with a later version.")
    if head.startswith(b"PK"):
        return _read_zip(source)
    if head.startswith(b"\x80") and _MAGIC in head[:32]:
        return _read_legacy(source, data)
    raise source.error(f"not a file of PyTorch: it begins with {head[:8]!r}.")


def _read_zip(source: SourceFile) -> Checkpoint:
    archive = ZipArchive(source)
    found = [name for name in archive.entries if _PICKLE_ENTRY.fullmatch(name)]
    if len(found) != 1:
        raise source.error(f"a zip archive with {len(found)} entries data.pkl instead of one.")
    root = found[0].removesuffix("data.pkl")
    order = "little"
    if f"{root}byteorder" in archive.entries:
        order = str(archive.read(f"{root}byteorder")[:16], "latin-1").strip()
    if order not in ("little", "big"):
        raise source.error(f"the byte order {order!r} is neither 'little' nor 'big'.")
    script = f"{root}constants.pkl" in archive.entries
    tree = torch_unpickler(source, archive.read(found[0]), script=script).load()
    objects, constants, notes = None, {}, []
    if script:
        try:
            content = archive.read(f"{root}constants.pkl")
            constants = list_constants(torch_unpickler(source, content, script=True, folder=_CONSTANTS_FOLDER).load())
        except FormatError as error:
            notes.append(f"The constants of the program are left out: {error.reason}")
        objects = ScriptObjects(archive, root, constants)

    def storage(key: str) -> memoryview:
        return archive.read(f"{root}{key}" if key.startswith(_CONSTANTS_FOLDER) else f"{root}data/{key}")

    big_endian, size = order == "big", len(archive)
    return _build_checkpoint(
        source, tree, storage, size=size, big_endian=big_endian, objects=objects, constants=constants, notes=notes
    )


def _read_legacy(source: SourceFile, data: memoryview) -> Checkpoint:
    element_sizes: dict[str, int] = {}
    unpickler = torch_unpickler(source, data, element_sizes=element_sizes)
    magic, protocol, system = unpickler.load(), unpickler.load(), unpickler.load()
    if type(magic) is not int or magic != _MAGIC_NUMBER or type(protocol) is not int or protocol != 1001:
        raise source.error("a file of PyTorch of an unknown version.")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise source.error("written on a big-endian machine; save it again on a little-endian one.")
    tree, keys = unpickler.load(), unpickler.load()
    spans: dict[str, memoryview] = {}
    position = unpickler.position
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in element_sizes or key in spans:
            raise source.error("a list of storages that the tensors do not have.")
        count = int.from_bytes(data[position : position + 8], "little", signed=True)
        size = count * element_sizes[key]
        if count < 0 or size > len(data) - position - 8:
            raise source.error(f"storage {key!r} of {count} elements extends beyond the end of the file.")
        spans[key] = data[position + 8 : position + 8 + size]
        position += 8 + size

    def storage(key: str) -> memoryview:
        if key not in spans:
            raise source.error(f"the file has no storage {key!r}.")
        return spans[key]

    return _build_checkpoint(source, tree, storage, size=len(data), container="legacy", notes=[])


def _build_checkpoint(
    source: SourceFile,
    tree: object,
    storage: StorageReader,
    *,
    size: int,
    notes: list[str],
    container: str = "zip",
    big_endian: bool = False,
    objects: ScriptObjects | None = None,
    constants: Mapping[str, object] | None = None,
) -> Checkpoint:
    missing: dict[int, MissingTensor] = {}

    def children(node: object) -> object:
        if isinstance(node, MissingTensor):
            missing[id(node)] = node
        if isinstance(node, OpaqueObject) and objects is not None:
            return objects.find_attributes(node)
        if isinstance(node, PickledArray):
            return node.content
        if not isinstance(node, dict) or not node:
            return node
        node = {key: _name_packed(key, value) for key, value in node.items()}
        if all(isinstance(key, str) and key.startswith(_PARALLEL_PREFIX) for key in node):
            if _PREFIX_NOTE not in notes:
                notes.append(_PREFIX_NOTE)
            return {key.removeprefix(_PARALLEL_PREFIX): value for key, value in node.items()}
        return node

    def flatten(node: object) -> tuple[dict[str, Any], Any]:
        return flatten_tree(source, node, is_leaf=_is_tensor, children=children, separator=".")

    tensors, extra = flatten(tree)
    for wrapper in _WRAPPERS:
        inner = tree.get(wrapper) if isinstance(tree, dict) else None
        if not isinstance(inner, dict):
            continue
        below, _ = flatten(inner)
        if below and len(below) == len(tensors):
            tensors, tree = below, inner
            notes.append(f"All tensors are under {wrapper!r}, which their names omit.")
    below, _ = flatten(constants or {})
    if below:
        tensors |= {f"{CONSTANTS}.{name}": tensor for name, tensor in below.items()}
        notes.append(f"{len(below)} tensors are constants of the program, such as {CONSTANTS}.{next(iter(below))}.")
    if not tensors:
        reasons = f"; left out: {next(iter(missing.values())).reason}" if missing else ""
        raise source.error(f"holds no tensors with values{reasons}.")
    named = {name or "tensor": tensor for name, tensor in tensors.items()}
    tensors = {name: tensor for name, tensor in named.items() if isinstance(tensor, TensorView | SparseTensor)}

    def read_tensor(tensor: TensorView) -> np.ndarray:
        return copy_tensors(source, {"": tensor}, {}, {}, storage, size=size, big_endian=big_endian)[""]

    uses = objects.find_tensor_uses(tensors, read_tensor) if objects is not None else {}
    layouts = infer_layouts({name: tensor.shape for name, tensor in tensors.items()}, uses)
    others = [name for name in named if name not in tensors]
    if others:
        notes.append(f"{len(others)} arrays of NumPy keep their axes: {', '.join(others[:8])}.")
    sparse = [name for name, tensor in tensors.items() if isinstance(tensor, SparseTensor)]
    if sparse:
        notes.append(f"{len(sparse)} sparse tensors became dense: {', '.join(sparse[:8])}.")
    if missing:
        reason = next(iter(missing.values())).reason
        notes.append(f"{len(missing)} tensors without values of their own are left out, such as {reason}.")
    quantized = [name for name, tensor in tensors.items() if isinstance(tensor, TensorView) and tensor.quantization]
    if quantized:
        notes.append(f"{len(quantized)} quantized tensors were converted to float32: {', '.join(quantized[:8])}.")
    notes.extend(layouts.notes)
    if objects is not None:
        container = "torchscript"
        notes.append("The program was read only for how it uses the tensors.")
    arrays: dict[str, Any] = dict(
        copy_tensors(source, tensors, layouts.axes, layouts.channels, storage, size=size, big_endian=big_endian)
    )
    arrays = {name: arrays[name] if name in tensors else leaf.array for name, leaf in named.items()}
    metadata = {"format": "pytorch", "framework": "pytorch", "layouts": layouts.axes, "notes": notes}
    return Checkpoint(arrays, metadata | {"container": container, "extra": extra or {}})


def _is_tensor(node: object) -> bool:
    if isinstance(node, PickledArray):
        return node.array is not None and node.array.dtype.kind not in "SU"
    return isinstance(node, TensorView | SparseTensor)


def _name_packed(key: object, value: object) -> object:
    """Names the weight and bias that dynamic quantization packs into a pair without names."""
    is_packed = isinstance(key, str) and key.rpartition(".")[2] == "_packed_params"
    if is_packed and isinstance(value, tuple) and len(value) == 2 and isinstance(value[0], TensorView):
        return {"weight": value[0], "bias": value[1]}
    return value
