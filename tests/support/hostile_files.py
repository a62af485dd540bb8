"""Writes small files that make careless readers take much memory or time: collisions, repeated and tiny parts."""

import io
import struct
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import h5py
import numpy as np

from tests.support import protobufs as pb

_HASH_MODULUS = (1 << 61) - 1  # of Python's hashes of numbers


def zip_of(*entries: tuple[str, bytes], pack: int = zipfile.ZIP_STORED) -> bytes:
    """Writes an archive; names may occur twice."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", pack) as archive:
        warnings.simplefilter("ignore")  # of a name that occurs twice
        for name, content in entries:
            archive.writestr(name, content)
    return buffer.getvalue()


def pickle_of(body: bytes) -> bytes:
    """Writes an archive of PyTorch with the pickle of a body."""
    return zip_of(("a/data.pkl", b"\x80\x02" + body + b"."))


def _colliding_integers(count: int) -> bytes:
    keys = ((place * _HASH_MODULUS).to_bytes(12, "little") for place in range(1, count + 1))
    return pickle_of(b"}(" + b"".join(b"\x8a\x0c" + key + b"N" for key in keys) + b"u")


def _colliding_floats(count: int) -> bytes:
    keys = (struct.pack(">d", (1 + place % 61) * 2.0 ** (61 * (place % 16))) for place in range(count))
    return pickle_of(b"}(" + b"".join(b"G" + key + b"N" for key in keys) + b"u")


def _tuples_as_keys(count: int) -> bytes:
    keys = (b"J" + struct.pack("<i", place) + b"K\x01\x86" for place in range(count))
    return pickle_of(b"}(" + b"".join(key + b"N" for key in keys) + b"u")


def _colliding_pairs(count: int) -> bytes:
    keys = (b"\x8a\x0c" + (place * _HASH_MODULUS).to_bytes(12, "little") for place in range(1, count + 1))
    return pickle_of(b"ccollections\nOrderedDict\n](" + b"".join(key + b"N\x86" for key in keys) + b"e\x85R")


def _long_name_of_many(count: int) -> bytes:
    array = (
        b"(cnumpy.core.multiarray\n_reconstruct\n)R(K\x01)cnumpy\ndtype\nX\x02\x00\x00\x00f4\x85R\x89C\x04aaaatbq\x02"
    )
    name = b"X" + struct.pack("<I", 1 << 16) + b"a" * (1 << 16)
    return pickle_of(b"}" + name + b"]" + array + b"h\x02" * count + b"es")


def _json_of_braces(count: int) -> bytes:
    text = b'{"a":[' + b"{}," * (20 * count) + b"{}]}"
    return len(text).to_bytes(8, "little") + text


def _linked_datasets(count: int) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.attrs["layer_names"] = [f"l{place}" for place in range(count)]
        data = file.create_dataset("x", data=np.zeros(1 << 10, np.float32), compression="gzip")
        for place in range(count):
            group = file.create_group(f"l{place}")
            group.attrs["weight_names"] = ["w"]
            group["w"] = data
    return buffer.getvalue()


_NODE = pb.block(1, pb.block(1, "a"), pb.block(2, "NoOp"))

FILES: Mapping[str, tuple[Callable[[int], bytes], str]] = {
    "colliding integers": (_colliding_integers, "more than 1000 keys"),
    "colliding floats": (_colliding_floats, "more than 1000 keys"),
    "tuples as keys": (_tuples_as_keys, "more than 1000 keys"),
    "colliding pairs": (_colliding_pairs, "something other than pairs"),
    "entries of one name": (lambda count: zip_of(*[("a/data.pkl", b"\x80\x02N.")] * 2), "two entries 'a/data.pkl'"),
    "arrays of one name": (lambda count: zip_of(*[("a.npy", b"")] * 2), "two entries 'a.npy'"),
    "empty sets": (lambda count: pickle_of(b"](" + b"\x8f" * count + b"e"), "small parts"),
    "a long name of many": (_long_name_of_many, "small parts"),
    "tiny nodes": (lambda count: _NODE + b"\x0a\x00" * count, "small parts"),
    "tiny layers": (lambda count: pb.block(100, pb.block(2, "ReLU")) + b"\xa2\x06\x00" * count, "small parts"),
    "tiny messages of text": (lambda count: b'layer { type: "a" }' + b"a{}" * count, "small parts"),
    "blobs of a long name": (
        lambda count: pb.block(100, pb.block(1, "n" * (1 << 20)), pb.block(2, "X"), b"\x3a\x00" * 100),
        "small parts",
    ),
    "braces": (_json_of_braces, "small parts"),
    "linked data": (lambda count: _linked_datasets(100), "one of many names of the same data"),
}
"""Kind to what writes such a file with about so many parts, and why it is refused."""


def write(path: Path, kind: str, count: int) -> str:
    """Writes a file of a kind and returns the reason for which it is refused."""
    make, reason = FILES[kind]
    path.write_bytes(make(count))
    return reason
