"""TensorFlow's checkpoints of both versions, and its SavedModels."""

import re
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxcnn.zoo.checkpoint import Budget, Checkpoint, FormatError
from jaxcnn.zoo.containers.crc32c import crc32c, unmasked
from jaxcnn.zoo.containers.mapped_file import let_go, mapped
from jaxcnn.zoo.containers.protobuf import Wire
from jaxcnn.zoo.containers.protobuf_text import read_prototxt
from jaxcnn.zoo.containers.sstable import Table, is_table
from jaxcnn.zoo.formats.tensorflow.graph_def import constants, plain_nodes, saved_model, serialized
from jaxcnn.zoo.formats.tensorflow.object_graph import OBJECT_GRAPH, is_slot, object_names
from jaxcnn.zoo.formats.tensorflow.tensor_proto import DTYPES, SHAPE, SLICE, TYPE_NAMES, Assembly, decoded, shape_of
from jaxcnn.zoo.formats.tensorflow.v1_slices import old_tensors, slice_key

__all__ = ["is_tensorflow_checkpoint", "read_tensorflow_checkpoint"]

_SHARD = re.compile(r"(.+)\.data-[0-9]{5}-of-[0-9]{5}")
_LIST = b"model_checkpoint_path:"
_STRING = 7
_RATIO = 22 * 8  # a table's bytes may be decompressed to 22, and a byte of a list is at most a number of eight
_HEADER = {1: ("shards", "uint"), 2: ("endianness", "uint"), 3: ("version", {1: ("producer", "int")})}
_ENTRY = {1: ("dtype", "uint"), 2: ("shape", SHAPE), 3: ("shard", "uint"), 4: ("offset", "uint"), 5: ("size", "uint")}
_ENTRY |= {6: ("crc32c", "fixed32"), 7: ("slices", [SLICE])}


def is_tensorflow_checkpoint(path: Path, head: bytes) -> bool:
    """Says whether a path leads to a checkpoint or a SavedModel of TensorFlow.

    Args:
        path: A file, a folder, or the common beginning of a checkpoint's files.
        head: The first bytes of a file.

    Returns:
        Whether it does.
    """
    if path.is_dir():
        return (path / "saved_model.pb").is_file() or _is_list(path / "checkpoint") or bool(_indices(path))
    if not path.is_file():
        return is_table(_index(path))
    shard = _SHARD.fullmatch(path.name)
    beside = shard is not None and is_table(_index(path.parent / shard[1]))
    return head.startswith(_LIST) or is_table(path) or beside or serialized(path, head)


def read_tensorflow_checkpoint(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the variables of a checkpoint or a SavedModel.

    Convention:
        Names are the variables': of a checkpoint of objects the full names where they are unambiguous, otherwise the
        paths of objects; then ``metadata["keys"]`` holds the keys of the file. Variables of optimizers are left out
        with a note. Partitioned variables are put together. Kernels are stored as they come out, (kh, kw, in, out)
        and (kh, kw, c, m), matrices as (in, out).

    Args:
        path: The index, a shard, the beginning of their names, a checkpoint of the first version, the text file
            ``checkpoint`` or its folder, ``saved_model.pb`` or its folder, or a folder that holds one index.
        max_bytes: What all tensors may take.

    Returns:
        Tensors, writable. The graph is the list of nodes of a SavedModel, otherwise None.

    Raises:
        FileNotFoundError: If there is no such file, or a shard is missing.
        FormatError: If a file is truncated or damaged, a checksum differs, or there are more than ``max_bytes``.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.ckpt.index"
        >>> _ = path.write_bytes(bytes(100))
        >>> read_tensorflow_checkpoint(path, max_bytes=1 << 20)
        Traceback (most recent call last):
        jaxcnn.zoo.checkpoint.FormatError: ...: does not end with the footer of a table; it is truncated or no table.

    Parity:
        Values equal those of ``tf.train.load_checkpoint``; there, optimizers' variables are not left out.

    References:
        Format of the index: LevelDB's table format; of the entries: ``tensor_bundle.proto`` of TensorFlow.
    """
    model, notes = _model_of(path), []
    budget = Budget(path, max_bytes)
    if model is None:
        place, notes = _located(path)
        result = _read_table(place, budget, max_bytes)
        result.metadata["notes"].extend(notes)
        return result
    wire = Wire(model)
    meta = saved_model(wire, mapped(model))
    graph = meta.get("graph", {})
    index = model.parent / "variables" / "variables.index"
    if index.is_file():
        result = _read_table(index, budget, max_bytes)
        tensors, metadata = result.tensors, dict(result.metadata)
    else:
        tensors, layouts, notes = constants(wire, graph, budget)
        notes.append("The SavedModel has no variables; its tensors are the constants of its graph.")
        metadata = {"layouts": layouts, "notes": notes}
    info = meta.get("info", {})
    metadata |= {"format": "tensorflow-savedmodel", "framework": "tensorflow", "tags": info.get("tags", [])}
    metadata["framework_version"] = info.get("version", "")
    nodes, metadata["functions"] = plain_nodes(graph)
    return Checkpoint(tensors, metadata, nodes)


def _is_list(path: Path) -> bool:
    """Says whether a file lists checkpoints; other libraries, too, write files named ``checkpoint``."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(_LIST)) == _LIST


def _index(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def _indices(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(".index") and is_table(path))


def _model_of(path: Path) -> Path | None:
    """Gives the file ``saved_model.pb`` where the path means a SavedModel."""
    if path.is_dir():
        return path / "saved_model.pb" if (path / "saved_model.pb").is_file() else None
    if path.is_file():
        with open(path, "rb") as file:
            return path if serialized(path, file.read(3)) else None
    return None


def _located(path: Path) -> tuple[Path, list[str]]:
    """Finds the table that a path means, and notes what had to be chosen."""
    if path.is_dir() and _is_list(path / "checkpoint"):
        path = path / "checkpoint"
    if path.is_dir():
        found = _indices(path)
        if len(found) != 1:
            raise FormatError(path, f"must be a folder with one index of a checkpoint, got {len(found)}.")
        return found[0], []
    shard = _SHARD.fullmatch(path.name)
    if shard is not None and path.is_file() and not is_table(path):
        return _index(path.parent / shard[1]), []
    if not path.is_file():
        if _index(path).is_file():
            return _index(path), []
        raise FileNotFoundError(f"zoo: path must be an existing file, folder or checkpoint, got {str(path)!r}.")
    if not _is_list(path):
        return path, []
    names = read_prototxt(path).get("model_checkpoint_path", [])
    name = names[0] if len(names) == 1 and isinstance(names[0], str) else ""
    notes = []
    if name.startswith("/") or re.match(r"[A-Za-z]+:", name):
        name = re.split(r"[/\\]", name)[-1]
        notes.append(f"The list of checkpoints names another folder; {name!r} is read from its own.")
    parts = name.split("/")
    if not name or "\0" in name or "\\" in name or any(part in ("", ".", "..") or len(part) > 200 for part in parts):
        raise FormatError(path, f"names the checkpoint {str(names)[:100]}, expected one below its folder.")
    prefix = path.parent.joinpath(*parts)
    place = _index(prefix) if _index(prefix).is_file() else prefix
    if place.is_file() and not is_table(place):
        raise FormatError(place, "does not end with the footer of a table; it is truncated or no checkpoint.")
    return place, notes


def _read_table(path: Path, budget: Budget, max_bytes: int) -> Checkpoint:
    data = mapped(path)
    table = Table(path, data, max_bytes + (1 << 20))
    wire = Wire(path)
    items = table.items()
    try:
        key, header = next(items)
    except StopIteration:
        raise FormatError(path, "is an empty table.") from None
    if key != b"":
        raise FormatError(path, f"begins with the key {key[:40]!r}, not with the description of a checkpoint.")
    kinds = {number: kind for number, kind, _ in wire.fields(header)}
    metadata: dict[str, Any] = {"format": "tensorflow-checkpoint-v2", "framework": "tensorflow", "layouts": {}}
    if kinds.get(1) == 2:
        metadata["format"] = "tensorflow-checkpoint-v1"
        tensors, left_out = old_tensors(wire, _again((key, header), items), budget, len(data) * _RATIO)
        shapes = {name: array.shape for name, array in tensors.items()}
        slots = [name for name in tensors if is_slot(name, shapes)]
        tensors = {name: array for name, array in tensors.items() if not is_slot(name, shapes)}
        metadata["notes"] = _notes(slots, left_out)
    else:
        tensors, metadata["notes"], metadata["keys"] = _Bundle(path, wire, header, items).tensors(budget)
    return Checkpoint(tensors, metadata)


def _notes(slots: list[str], left_out: list[str]) -> list[str]:
    notes = []
    if slots:
        notes.append(f"{len(slots)} variables of optimizers are left out, such as {slots[0]!r}.")
    if left_out:
        notes.append(f"{len(left_out)} entries that hold no numbers are left out, such as {left_out[0]!r}.")
    return notes


def _again(first: Any, rest: Any) -> Any:
    yield first
    yield from rest


class _Bundle:
    """A checkpoint of the second version: entries of the index, and shards that hold the values."""

    def __init__(self, path: Path, wire: Wire, header: memoryview, items: Any):
        self.path, self.wire = path, wire
        stated = wire.message(header, _HEADER)
        self.count = stated.get("shards", 0)
        if not 0 < self.count < 100_000 or stated.get("endianness", 0) > 1:
            raise wire.fail(f"states {self.count} shards and byte order {stated.get('endianness', 0)}.")
        self.order: Literal["<", ">"] = ">" if stated.get("endianness", 0) else "<"
        self.entries = {key: wire.message(value, _ENTRY) for key, value in items}
        self.shards: dict[int, memoryview] = {}

    def tensors(self, budget: Budget) -> tuple[dict[str, np.ndarray], list[str], dict[str, str]]:
        """Reads all variables; also notes what is left out, and gives the keys of what has another name."""
        pieces = set()
        keys, left_out = [], []
        for key, entry in self.entries.items():
            if entry.get("slices"):
                pieces |= {slice_key(self.text(key), piece) for piece in entry["slices"]}
        for key, entry in self.entries.items():
            if key in pieces:
                continue
            if entry.get("dtype", 0) in DTYPES:
                keys.append(self.text(key))
            elif key != OBJECT_GRAPH.encode():
                left_out.append(f"{self.text(key)} ({TYPE_NAMES.get(entry.get('dtype', 0), entry.get('dtype', 0))})")
        graph = self.entries.get(OBJECT_GRAPH.encode())
        if graph is not None:
            contents = {key: self.identity(self.entries[key.encode()], key) for key in keys}
            found = object_names(self.wire, self.only_text(graph), contents)
            names, slots, doubled = found.names, found.slots, found.doubled
        else:
            shapes = {key: shape_of(self.wire, self.entries[key.encode()].get("shape", {}), key) for key in keys}
            slots = [key for key in keys if is_slot(key, shapes)]
            names, doubled = {key: key for key in keys if not is_slot(key, shapes)}, []
        tensors = {name: self.tensor(key, name, budget) for key, name in names.items()}
        notes = _notes(slots, left_out)
        if doubled:
            notes.append(f"{len(doubled)} variables that the file holds twice are given once, such as {doubled[0]!r}.")
        return tensors, notes, {name: key for key, name in names.items() if name != key}

    def identity(self, entry: dict[str, Any], name: str) -> Any:
        shape = shape_of(self.wire, entry.get("shape", {}), name)
        place = (entry.get("shard"), entry.get("offset")) if entry.get("slices") else entry.get("crc32c")
        return entry["dtype"], shape, place

    def text(self, key: bytes) -> str:
        try:
            return key.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.wire.fail(f"has the key {key[:80]!r}, which is no text and belongs to no slice.") from error

    def tensor(self, key: str, name: str, budget: Budget) -> np.ndarray:
        entry = self.entries[key.encode()]
        dtype = DTYPES[entry["dtype"]]
        shape = shape_of(self.wire, entry.get("shape", {}), name)
        if not entry.get("slices"):
            budget.tensor(shape, dtype, name, stored=entry.get("size", 0))
            array = np.array(self.values(entry, dtype, name).reshape(shape), dtype)
            let_go(self.content(entry, name))
            return array
        parts = [self.entries.get(slice_key(key, piece), {}) for piece in entry["slices"]]
        if any(part.get("dtype") != entry["dtype"] or part.get("slices") for part in parts):
            raise self.wire.fail(f"a slice of {name} is missing or of another dtype.")
        bound = sum(len(self.content(part, name)) for part in parts)
        whole = Assembly(self.path, name, shape, dtype, entry["slices"], budget, bound)
        for piece, part in zip(entry["slices"], parts, strict=True):
            whole.put(piece, self.values(part, dtype, name))
        return whole.whole()

    def values(self, entry: dict[str, Any], dtype: np.dtype, name: str) -> np.ndarray:
        """Gives the values of an entry, a view of its shard, their checksum verified."""
        content = self.content(entry, name)
        if len(content) % dtype.itemsize:
            raise self.wire.fail(f"{name} has {len(content)} bytes of {dtype.name}.")
        if crc32c(content) != unmasked(entry.get("crc32c", 0)):
            raise self.wire.fail(f"{name} has another checksum than is stored.")
        return decoded(content, dtype, self.order)

    def content(self, entry: dict[str, Any], name: str) -> memoryview:
        number, begin, size = entry.get("shard", 0), entry.get("offset", 0), entry.get("size", 0)
        if number >= self.count:
            raise self.wire.fail(f"{name} is in shard {number} of {self.count}.")
        if size == 0:
            return memoryview(b"")
        if number not in self.shards:
            prefix = self.path.name.removesuffix(".index")
            self.shards[number] = mapped(self.path.with_name(f"{prefix}.data-{number:05d}-of-{self.count:05d}"))
        shard = self.shards[number]
        if begin + size > len(shard):
            raise self.wire.fail(f"{name} is {size} bytes at byte {begin} of a shard of {len(shard)}; it is truncated.")
        return shard[begin : begin + size]

    def only_text(self, entry: dict[str, Any]) -> memoryview:
        """Gives the one text that an entry holds: its length, the length's checksum, its bytes."""
        content = self.content(entry, OBJECT_GRAPH)
        length, place = self.wire.varint(content, 0)
        if entry.get("dtype") != _STRING or entry.get("shape", {}).get("dim") or length != len(content) - place - 4:
            raise self.wire.fail("the description of the objects is no text.")
        sizes = length.to_bytes(4 if length < 1 << 32 else 8, "little")
        checked = sizes + bytes(content[place:])
        if crc32c(checked) != unmasked(entry.get("crc32c", 0)):
            raise self.wire.fail("the description of the objects has another checksum than is stored.")
        return content[place + 4 :]
