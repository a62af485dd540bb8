"""Files of PyTorch: zip archives, the older run of pickles, TorchScript, read without unpickling any object."""

import re
from pathlib import Path
from typing import Any

from jaxcnn.zoo.checkpoint import Budget, Checkpoint, FormatError
from jaxcnn.zoo.containers.mapped_file import mapped
from jaxcnn.zoo.containers.pickle_program import Bag
from jaxcnn.zoo.containers.pickled_arrays import PickledArray
from jaxcnn.zoo.containers.pickled_leaves import flatten
from jaxcnn.zoo.containers.zip_archive import Archive, archive_names
from jaxcnn.zoo.formats.pytorch.layouts import layouts_of
from jaxcnn.zoo.formats.pytorch.pickled_tensors import Described, torch_pickle
from jaxcnn.zoo.formats.pytorch.storages import read_tensors

__all__ = ["is_pytorch", "read_pytorch"]

_MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # the first pickle of files before PyTorch 1.6: a number of 10 bytes
_MAGIC_NUMBER = 0x1950A86A20F9469CFC6C
_PICKLE = re.compile(r"(?:[^/]+/)?data\.pkl")
_TAR = (b"sys_info", b"pickle", b"storages", b"tensors")
_WRAPPERS = ("state_dict", "model_state_dict", "model_state", "model", "network", "net", "weights", "params")
_PREFIX = "module."
_DROPPED = f"The prefix {_PREFIX!r} of all names was dropped."


def is_pytorch(path: Path, head: bytes) -> bool:
    """Says whether a file is one of PyTorch: a zip archive with ``data.pkl``, a run of pickles, or the old tar."""
    if head.startswith(b"\x80") and _MAGIC in head[:32]:
        return True
    return _is_tar(head) or any(_PICKLE.fullmatch(name) for name in archive_names(path, head))


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar" and head[:100].rstrip(b"\0").removeprefix(b"./").rstrip(b"/") in _TAR


def read_pytorch(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the tensors of a ``.pth``, ``.pt`` or TorchScript file; no object of the file is made and nothing is run.

    Convention: Kernels, that is tensors of 2 to 5 axes whose name ends in ``weight``, become (in, out),
    (k, in, out), (kh, kw, in, out) and (kd, kh, kw, in, out), depthwise ones (kh, kw, c, 1); their order in the file
    is in ``metadata["layouts"]``, as ``layouts_of`` tells it from names and shapes. Transposed convolutions and
    embeddings cannot be told from others, so their axes move likewise. A prefix ``module.`` that all names of a
    dictionary have is dropped, and so is the name of a dictionary such as ``state_dict`` that holds all tensors;
    tensors of several dictionaries have dotted names. What is no tensor is in ``metadata["extra"]``. Quantised
    tensors become float32. Arrays are writable and own their memory.

    Args:
        path: The file.
        max_bytes: What the tensors may take.

    Returns:
        The tensors, with the metadata ``"container"`` (``"zip"``, ``"legacy"`` or ``"torchscript"``) and ``"extra"``.

    Raises:
        FormatError: For a damaged file, and for one that holds other objects than tensors, numbers and texts.
    """
    data = mapped(path)
    head = bytes(data[:512])
    budget = Budget(path, max_bytes)
    if _is_tar(head):
        raise FormatError(path, "the tar form of PyTorch before 0.1.10; save it again with a later version.")
    if head.startswith(b"PK"):
        return _read_zip(path, Archive(path, max_bytes), budget)
    if head.startswith(b"\x80") and _MAGIC in head[:32]:
        return _read_legacy(path, data, budget)
    raise FormatError(path, f"no file of PyTorch: it begins with {head[:8]!r}.")


def _read_zip(path: Path, archive: Archive, budget: Budget) -> Checkpoint:
    found = [name for name in archive.entries if _PICKLE.fullmatch(name)]
    if len(found) != 1:
        raise FormatError(path, f"a zip archive with {len(found)} entries data.pkl in place of one.")
    root = found[0].removesuffix("data.pkl")
    order = "little"
    if f"{root}byteorder" in archive.entries:
        order = str(archive.read(f"{root}byteorder")[:16], "latin-1").strip()
    if order not in ("little", "big"):
        raise FormatError(path, f"the order of bytes {order!r} is neither 'little' nor 'big'.")
    script = f"{root}constants.pkl" in archive.entries
    tree = torch_pickle(path, archive.read(found[0]), budget, script=script).load()
    return _checkpoint(
        path,
        tree,
        lambda key: archive.read(f"{root}data/{key}"),
        budget=budget,
        size=len(archive),
        container="torchscript" if script else "zip",
        big_endian=order == "big",
    )


def _read_legacy(path: Path, data: memoryview, budget: Budget) -> Checkpoint:
    sizes: dict[str, int] = {}
    pickle = torch_pickle(path, data, budget, sizes=sizes)
    magic, protocol, system = pickle.load(), pickle.load(), pickle.load()
    if type(magic) is not int or magic != _MAGIC_NUMBER or type(protocol) is not int or protocol != 1001:
        raise FormatError(path, "a file of PyTorch of an unknown version.")
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise FormatError(path, "written on a machine of another order of bytes; save it again on another machine.")
    tree, keys = pickle.load(), pickle.load()
    spans: dict[str, memoryview] = {}
    position = pickle.position
    for key in keys if isinstance(keys, list) else ():
        if not isinstance(key, str) or key not in sizes or key in spans:
            raise FormatError(path, "a list of storages that the tensors do not have.")
        count = int.from_bytes(data[position : position + 8], "little", signed=True)
        size = count * sizes[key]
        if count < 0 or size > len(data) - position - 8:
            raise FormatError(path, f"storage {key!r} of {count} elements goes on beyond the end of the file.")
        spans[key] = data[position + 8 : position + 8 + size]
        position += 8 + size

    def storage(key: str) -> memoryview:
        if key not in spans:
            raise FormatError(path, f"the file has no storage {key!r}.")
        return spans[key]

    return _checkpoint(path, tree, storage, budget=budget, size=len(data), container="legacy")


def _checkpoint(path: Path, tree: Any, storage: Any, *, container: str, **reading: Any) -> Checkpoint:
    notes: list[str] = []

    def children(node: Any) -> Any:
        if isinstance(node, Bag):
            return _attributes(node)
        if isinstance(node, PickledArray):
            return node.array if node.array is not None else node.items
        keys = list(node) if isinstance(node, dict) else []
        if keys and all(isinstance(key, str) and key.startswith(_PREFIX) for key in keys):
            if _DROPPED not in notes:
                notes.append(_DROPPED)
            return {key.removeprefix(_PREFIX): value for key, value in node.items()}
        return node

    def leaves_of(node: Any) -> tuple[dict[str, Any], Any]:
        return flatten(path, node, is_leaf=_is_tensor, children=children, separator=".")

    tensors, extra = leaves_of(tree)
    for wrapper in _WRAPPERS:
        inner = tree.get(wrapper) if isinstance(tree, dict) else None
        if not isinstance(inner, dict):
            continue
        below, _ = leaves_of(inner)
        if below and len(below) == len(tensors):
            tensors, tree = below, inner
            notes.append(f"All tensors lie under {wrapper!r}; their names are without it.")
    if not tensors:
        raise FormatError(path, "holds no tensors.")
    named = {name or "tensor": tensor for name, tensor in tensors.items()}
    tensors = {name: tensor for name, tensor in named.items() if isinstance(tensor, Described)}
    layouts = layouts_of({name: tensor.shape for name, tensor in tensors.items()})
    others = [name for name in named if name not in tensors]
    if others:
        notes.append(f"{len(others)} arrays of NumPy keep their axes: {', '.join(others[:8])}.")
    quantized = [name for name, tensor in tensors.items() if tensor.quantized]
    if quantized:
        notes.append(f"{len(quantized)} quantised tensors were made float32: {', '.join(quantized[:8])}.")
    if container == "torchscript":
        notes.append("The program and its constants were not read.")
    arrays: dict[str, Any] = dict(read_tensors(path, tensors, layouts, storage, **reading))
    arrays = {name: arrays[name] if name in tensors else leaf.array for name, leaf in named.items()}
    metadata = {"format": "pytorch", "framework": "pytorch", "layouts": layouts, "notes": notes}
    return Checkpoint(arrays, metadata | {"container": container, "extra": extra or {}})


def _is_tensor(node: Any) -> bool:
    if isinstance(node, PickledArray):
        return node.array is not None and node.array.dtype.kind not in "SU"
    return isinstance(node, Described)


def _attributes(bag: Bag) -> Any:
    """Gives the attributes of an object of TorchScript; those of packed parameters are named."""
    state = bag.state
    if bag.name.endswith("LinearPackedParamsBase") and isinstance(state, tuple) and len(state) == 2:
        return {"weight": state[0], "bias": state[1]}
    if "PackedParamsBase" in bag.name and isinstance(state, tuple) and len(state) == 3:
        _, needed, optional = state
        if isinstance(needed, list) and isinstance(optional, list) and len(needed) == 2 and len(optional) == 1:
            return {"weight": needed[1], "bias": optional[0], "config": needed[0]}
    return state if isinstance(state, dict | list | tuple) else None
