"""TensorFlow's checkpoints of versions 1 and 2, and its SavedModels."""

import itertools
import re
from collections.abc import Hashable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint, FormatError
from jaxcnn.zoo.containers.crc32c import crc32c, unmask
from jaxcnn.zoo.containers.mapped_file import map_file, release_pages
from jaxcnn.zoo.containers.protobuf import ProtobufReader
from jaxcnn.zoo.containers.protobuf_schema import FIXED32, INT, UINT, Message, Repeated, WireType
from jaxcnn.zoo.containers.protobuf_text import read_prototxt
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.containers.sstable import SSTable, is_sstable
from jaxcnn.zoo.formats.tensorflow.graph_def import (
    find_transposed_variables,
    is_saved_model,
    list_nodes,
    parse_saved_model,
    read_constants,
)
from jaxcnn.zoo.formats.tensorflow.kernel_uses import GraphUses, move_transposed
from jaxcnn.zoo.formats.tensorflow.object_graph import OBJECT_GRAPH, is_metric, is_slot, name_objects
from jaxcnn.zoo.formats.tensorflow.program_parts import describe_functions, describe_signatures, find_handles
from jaxcnn.zoo.formats.tensorflow.tensor_proto import (
    DTYPES,
    SHAPE,
    SLICE,
    TYPE_NAMES,
    SliceAssembly,
    decode,
    read_shape,
)
from jaxcnn.zoo.formats.tensorflow.v1_slices import read_v1_tensors, slice_key

__all__ = ["is_tensorflow_checkpoint", "read_tensorflow_checkpoint"]

_SHARD = re.compile(r"(.+)\.data-[0-9]{5}-of-[0-9]{5}")
_LIST_HEAD = b"model_checkpoint_path:"
_STRING_DTYPE = 7
_EXPANSION = 22 * 8  # a byte of a table decompresses to at most 22, each of which is at most a number of 8 bytes
_HEADER = Message({1: ("shards", UINT), 2: ("endianness", UINT), 3: ("version", Message({1: ("producer", INT)}))})
_ENTRY = Message(
    {
        1: ("dtype", UINT),
        2: ("shape", SHAPE),
        3: ("shard", UINT),
        4: ("offset", UINT),
        5: ("size", UINT),
        6: ("crc32c", FIXED32),
        7: ("slices", Repeated(SLICE)),
    }
)


def is_tensorflow_checkpoint(path: Path, head: bytes) -> bool:
    """Tests whether a path leads to a checkpoint or a SavedModel of TensorFlow.

    Args:
        path: A file, a folder, or the common prefix of a checkpoint's files.
        head: The first bytes of a file.

    Returns:
        Whether it does.
    """
    if path.is_dir():
        return (path / "saved_model.pb").is_file() or _is_list(path / "checkpoint") or bool(_list_indices(path))
    if not path.is_file():
        return is_sstable(_index_path(path))
    shard = _SHARD.fullmatch(path.name)
    beside = shard is not None and is_sstable(_index_path(path.parent / shard[1]))
    if head.startswith(_LIST_HEAD) or is_sstable(path) or beside:
        return True
    return is_saved_model(path, head) or _is_hub_module(path)


def read_tensorflow_checkpoint(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the variables of a checkpoint or a SavedModel.

    Convention:
        Names are those of the variables; in checkpoints of objects the full names where they are unambiguous,
        otherwise the paths of objects, and ``metadata["keys"]`` holds the keys of the file. Variables of optimizers and
        metrics are left out with a note. Partitioned variables are assembled. TensorFlow stores kernels as
        (kh, kw, in, out) and (kh, kw, c, m), matrices as (in, out). Only those of transposed convolutions,
        (kh, kw, out, in), become (kh, kw, in, out): where the graph of a SavedModel or of the ``.meta`` beside a
        checkpoint says so, otherwise where the size of the bias or a name such as ``conv2d_transpose`` does.

    Args:
        path: The index, a shard, their common prefix, a checkpoint of version 1, the text file
            ``checkpoint`` or its folder, ``saved_model.pb`` or its folder, ``tfhub_module.pb`` beside it, or a folder
            that holds one index.
        max_bytes: What all tensors may take.

    Returns:
        Tensors, writable. The graph is the list of nodes of a SavedModel, otherwise None; then the metadata also hold
        its ``"functions"``, their ``"arguments"`` and ``"results"``, its ``"signatures"``, the ``"constants"``, and
        ``"handles"``: name of the node of a variable to the name of the tensor.

    Raises:
        FileNotFoundError: If there is no such file, or a shard is missing.
        FormatError: If a file is truncated or damaged, a checksum differs, or tensors exceed ``max_bytes``.

    Example:
        >>> from jaxcnn.zoo.formats.tensorflow.checkpoint_files import read_tensorflow_checkpoint
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.ckpt.index"
        >>> _ = path.write_bytes(bytes(100))
        >>> read_tensorflow_checkpoint(path, max_bytes=1 << 20)
        Traceback (most recent call last):
        jaxcnn.zoo.checkpoint.FormatError: ...: does not end with the footer of a table; it is truncated or not a table.

    Parity:
        Values equal those of ``tf.train.load_checkpoint``; which also returns the variables of optimizers.

    References:
        Format of the index: LevelDB's table format; of the entries: ``tensor_bundle.proto`` of TensorFlow.
    """
    model, notes = _find_saved_model(path), []
    if model is None:
        place, notes = _locate(path)
        result = _read_table(SourceFile(place, max_bytes))
        stated, more = _read_meta_graph(place)
        notes = [*result.metadata["notes"], *notes, *more]
        return _move_kernels(result, {**result.metadata, "notes": notes}, stated)
    reader = ProtobufReader(SourceFile(model, max_bytes))
    meta = parse_saved_model(reader, map_file(model))
    graph = meta.get("graph", {})
    index = model.parent / "variables" / "variables.index"
    if index.is_file():
        result = _read_table(SourceFile(index, max_bytes))
        result = _move_kernels(result, result.metadata, GraphUses(graph).transposed_variables())
        tensors, metadata = result.tensors, dict(result.metadata)
        metadata["constants"], layouts, _ = read_constants(reader, graph)
        metadata["layouts"] = {**layouts, **metadata["layouts"]}
        metadata["handles"] = find_handles(reader, graph, metadata, tensors)
    else:
        tensors, layouts, notes = read_constants(reader, graph)
        notes.append("The SavedModel has no variables; its tensors are the constants of its graph.")
        metadata = {"layouts": layouts, "notes": notes}
    info = meta.get("info", {})
    metadata |= {"format": "tensorflow-savedmodel", "framework": "tensorflow", "tags": info.get("tags", [])}
    metadata["framework_version"] = info.get("version", "")
    nodes, metadata["functions"] = list_nodes(graph)
    metadata |= describe_functions(graph)
    metadata["signatures"] = describe_signatures(meta)
    metadata["producer"] = graph.get("versions", {}).get("producer", 0)
    return Checkpoint(tensors, metadata, nodes)


def _read_meta_graph(place: Path) -> tuple[dict[str, bool], list[str]]:
    """Returns how the graph saved beside a checkpoint, if there is one, uses variables as kernels, and notes."""
    path = place.with_name(place.name.removesuffix(".index") + ".meta")
    if not path.is_file():
        return {}, []
    try:
        return find_transposed_variables(ProtobufReader(SourceFile(path)), map_file(path)), []
    except FormatError as error:
        return {}, [f"The graph beside the checkpoint cannot be read and was ignored: {error.reason}"]


def _move_kernels(checkpoint: Checkpoint, metadata: Mapping[str, Any], stated: Mapping[str, bool]) -> Checkpoint:
    tensors, layouts = dict(checkpoint.tensors), dict(metadata["layouts"])
    notes = [*metadata["notes"], *move_transposed(tensors, layouts, stated, guess=True)]
    return Checkpoint(tensors, {**metadata, "layouts": layouts, "notes": notes})


def _is_list(path: Path) -> bool:
    """Tests whether a file lists checkpoints; other libraries also write files named ``checkpoint``."""
    if not path.is_file():
        return False
    with open(path, "rb") as file:
        return file.read(len(_LIST_HEAD)) == _LIST_HEAD


def _index_path(prefix: Path) -> Path:
    return prefix.with_name(prefix.name + ".index")


def _list_indices(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.name.endswith(".index") and is_sstable(path))


def _find_saved_model(path: Path) -> Path | None:
    """Returns the file ``saved_model.pb`` if the path means a SavedModel."""
    if path.is_dir():
        return path / "saved_model.pb" if (path / "saved_model.pb").is_file() else None
    if path.is_file():
        if _is_hub_module(path):
            return path.with_name("saved_model.pb")
        with open(path, "rb") as file:
            return path if is_saved_model(path, file.read(3)) else None
    return None


def _is_hub_module(path: Path) -> bool:
    """Tests whether a file is the one that marks the SavedModel beside it as a module of TensorFlow Hub."""
    return path.name == "tfhub_module.pb" and path.with_name("saved_model.pb").is_file()


def _locate(path: Path) -> tuple[Path, list[str]]:
    """Finds the table that a path means, and notes any choice that was made."""
    if path.is_dir() and _is_list(path / "checkpoint"):
        path = path / "checkpoint"
    if path.is_dir():
        found = _list_indices(path)
        if len(found) != 1:
            raise FormatError(path, f"must be a folder with one index of a checkpoint, got {len(found)}.")
        return found[0], []
    shard = _SHARD.fullmatch(path.name)
    if shard is not None and path.is_file() and not is_sstable(path):
        return _index_path(path.parent / shard[1]), []
    if not path.is_file():
        if _index_path(path).is_file():
            return _index_path(path), []
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
        raise FormatError(path, f"names the checkpoint {str(names)[:100]}, expected one below its own folder.")
    prefix = path.parent.joinpath(*parts)
    place = _index_path(prefix) if _index_path(prefix).is_file() else prefix
    if place.is_file() and not is_sstable(place):
        raise FormatError(place, "does not end with the footer of a table; it is truncated or not a checkpoint.")
    return place, notes


def _read_table(source: SourceFile) -> Checkpoint:
    data = map_file(source.path)
    table = SSTable(source, data, source.max_bytes + (1 << 20))
    reader = ProtobufReader(source)
    items = table.items()
    try:
        key, header = next(items)
    except StopIteration:
        raise source.error("is an empty table.") from None
    if key != b"":
        raise source.error(f"begins with the key {key[:40]!r}, not with the description of a checkpoint.")
    kinds = {number: kind for number, kind, _ in reader.fields(header)}
    metadata: dict[str, Any] = {"format": "tensorflow-checkpoint-v2", "framework": "tensorflow", "layouts": {}}
    if kinds.get(1) == WireType.LENGTH_DELIMITED:
        metadata["format"] = "tensorflow-checkpoint-v1"
        tensors, left_out = read_v1_tensors(reader, itertools.chain([(key, header)], items), len(data) * _EXPANSION)
        shapes = {name: array.shape for name, array in tensors.items()}
        slots = [name for name in tensors if is_slot(name, shapes)]
        metrics = [name for name in tensors if is_metric(name)]
        tensors = {name: array for name, array in tensors.items() if name not in {*slots, *metrics}}
        metadata["notes"] = _write_notes(slots, metrics, left_out)
    else:
        tensors, metadata["notes"], metadata["keys"], metadata["duplicates"] = _Bundle(reader, header, items).tensors()
    return Checkpoint(tensors, metadata)


def _write_notes(slots: list[str], metrics: list[str], left_out: list[str]) -> list[str]:
    notes = []
    if slots:
        notes.append(f"{len(slots)} variables of optimizers are left out, such as {slots[0]!r}.")
    if metrics:
        notes.append(f"{len(metrics)} variables of metrics are left out, such as {metrics[0]!r}.")
    if left_out:
        notes.append(f"{len(left_out)} entries that hold no numbers are left out, such as {left_out[0]!r}.")
    return notes


class _Bundle:
    """A checkpoint of version 2: the entries of its index, and shards that hold the values."""

    def __init__(self, reader: ProtobufReader, header: memoryview, items: Iterable[tuple[bytes, memoryview]]):
        self.reader, self.source = reader, reader.source
        self.index = Path(reader.source.path)
        stated = reader.message(header, _HEADER)
        self.count = stated.get("shards", 0)
        if not 0 < self.count < 100_000 or stated.get("endianness", 0) > 1:
            raise self.source.error(f"states {self.count} shards and byte order {stated.get('endianness', 0)}.")
        self.order: Literal["<", ">"] = ">" if stated.get("endianness", 0) else "<"
        self.entries = {key: reader.message(value, _ENTRY) for key, value in items}
        self.shards: dict[int, memoryview] = {}

    def tensors(self) -> tuple[dict[str, np.ndarray], list[str], dict[str, str], dict[str, str]]:
        """Reads all variables; also returns notes, keys by name where they differ, and names by other keys."""
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
            found = name_objects(self.reader, self.single_text(graph), contents)
            names, slots, duplicates = found.names, found.slots, found.duplicates
        else:
            shapes = {key: read_shape(self.reader, self.entries[key.encode()].get("shape", {}), key) for key in keys}
            slots = [key for key in keys if is_slot(key, shapes)]
            names, duplicates = {key: key for key in keys if not is_slot(key, shapes)}, {}
        metrics = [name for key, name in names.items() if is_metric(name, key)]
        names = {key: name for key, name in names.items() if not is_metric(name, key)}
        tensors = {name: self.tensor(key, name) for key, name in names.items()}
        notes = _write_notes(slots, metrics, left_out)
        if duplicates:
            notes.append(
                f"{len(duplicates)} variables that the file holds twice are returned once, such as "
                f"{next(iter(duplicates))!r}."
            )
        again = {key: names[first] for key, first in duplicates.items() if first in names}
        return tensors, notes, {name: key for key, name in names.items() if name != key}, again

    def identity(self, entry: dict[str, Any], name: str) -> Hashable:
        """Returns what distinguishes the content of an entry: type, shape and location or checksum."""
        shape = read_shape(self.reader, entry.get("shape", {}), name)
        place = (entry.get("shard"), entry.get("offset")) if entry.get("slices") else entry.get("crc32c")
        return entry["dtype"], shape, place

    def text(self, key: bytes) -> str:
        """Decodes a key."""
        try:
            return key.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.source.error(
                f"has the key {key[:80]!r}, which is neither text nor the key of a slice."
            ) from error

    def tensor(self, key: str, name: str) -> np.ndarray:
        """Reads one variable."""
        entry = self.entries[key.encode()]
        dtype = DTYPES[entry["dtype"]]
        shape = read_shape(self.reader, entry.get("shape", {}), name)
        if not entry.get("slices"):
            self.source.spend_tensor(shape, dtype, name, stored=entry.get("size", 0))
            array = np.array(self.values(entry, dtype, name).reshape(shape), dtype)
            release_pages(self.content(entry, name))
            return array
        parts = [self.entries.get(slice_key(key, piece), {}) for piece in entry["slices"]]
        if any(part.get("dtype") != entry["dtype"] or part.get("slices") for part in parts):
            raise self.source.error(f"a slice of {name} is missing or of another dtype.")
        bound = sum(len(self.content(part, name)) for part in parts)
        assembly = SliceAssembly(self.source, name, shape, dtype, entry["slices"], bound)
        for piece, part in zip(entry["slices"], parts, strict=True):
            assembly.put(piece, self.values(part, dtype, name))
        return assembly.finish()

    def values(self, entry: dict[str, Any], dtype: np.dtype, name: str) -> np.ndarray:
        """Returns the values of an entry, a view of its shard, after verifying their checksum."""
        content = self.content(entry, name)
        if len(content) % dtype.itemsize:
            raise self.source.error(f"{name} has {len(content)} bytes of {dtype.name}.")
        if crc32c(content) != unmask(entry.get("crc32c", 0)):
            raise self.source.error(f"{name} does not match its stored checksum.")
        return decode(content, dtype, self.order)

    def content(self, entry: dict[str, Any], name: str) -> memoryview:
        """Returns the bytes of an entry, a view of its shard."""
        number, begin, size = entry.get("shard", 0), entry.get("offset", 0), entry.get("size", 0)
        if number >= self.count:
            raise self.source.error(f"{name} is in shard {number} of {self.count}.")
        if size == 0:
            return memoryview(b"")
        if number not in self.shards:
            prefix = self.index.name.removesuffix(".index")
            self.shards[number] = map_file(self.index.with_name(f"{prefix}.data-{number:05d}-of-{self.count:05d}"))
        shard = self.shards[number]
        if begin + size > len(shard):
            raise self.source.error(
                f"{name} is {size} bytes at byte {begin} of a shard of {len(shard)}; it is truncated."
            )
        return shard[begin : begin + size]

    def single_text(self, entry: dict[str, Any]) -> memoryview:
        """Returns the only text of an entry, stored as its length, the length's checksum, and its bytes."""
        content = self.content(entry, OBJECT_GRAPH)
        length, place = self.reader.varint(content, 0)
        if (
            entry.get("dtype") != _STRING_DTYPE
            or entry.get("shape", {}).get("dim")
            or length != len(content) - place - 4
        ):
            raise self.source.error("the description of the objects is not a text.")
        sizes = length.to_bytes(4 if length < 1 << 32 else 8, "little")
        checked = sizes + bytes(content[place:])
        if crc32c(checked) != unmask(entry.get("crc32c", 0)):
            raise self.source.error("the description of the objects does not match its stored checksum.")
        return content[place + 4 :]
