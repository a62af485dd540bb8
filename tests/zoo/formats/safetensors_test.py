"""Safetensors files that are damaged, hostile or were changed."""

import json
import struct

import ml_dtypes
import numpy as np
import pytest

from jaxcnn import zoo
from jaxcnn.zoo.formats.safetensors_file import read_safetensors
from tests.support.fuzzing import fuzz


def raw(header, body: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def entry(dtype="F32", shape=(1,), offsets=(0, 4)) -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a header of 0 bytes"),
        (struct.pack("<Q", 1 << 60) + b"{}", "a header of 1152921504606846976 bytes"),
        (raw(b"{" * 100000), "the header is not one of safetensors"),
        (raw(b'{"a":' * 100000), "the header is not one of safetensors"),
        (raw(b"\xff\xfe{}"), "the header is not one of safetensors"),
        (raw([1]), "it is not an object"),
        (raw(b'{"a":1,"a":2}'), "a name occurs twice"),
        (raw({"a": entry(shape=(1 << 40,), offsets=(0, 4))}, bytes(4)), "but holds 4 bytes"),
        (raw({"a": entry(shape=(-1,))}, bytes(4)), "'a' is described by"),
        (raw({"a": entry(dtype="I3")}, bytes(4)), "'a' is described by"),
        (raw({"a": entry(offsets=(0, 400))}, bytes(4)), "'a' is described by"),
        (raw({"a": entry(shape=(True,))}, bytes(4)), "'a' is described by"),
        (raw({"a": entry(), "b": entry()}, bytes(4)), "safetensors cannot read it"),
        (raw({"a": entry(offsets=(4, 8))}, bytes(8)), "safetensors cannot read it"),
        (raw({"__metadata__": {"a": 1}}), "'__metadata__' is described by"),
        (raw({"__metadata__": {"jaxcnn": "[" * 10000}}), "the metadata written by jaxcnn is damaged"),
        (raw({"__metadata__": {"jaxcnn": "[]"}}), "the metadata written by jaxcnn is damaged"),
    ],
)
def test_error_for_headers_that_lie(tmp_path, content, message):
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(zoo.FormatError, match=message):
        read_safetensors(tmp_path / "a", max_bytes=1 << 30)


def test_error_for_changed_tensors(tmp_path):
    zoo.save({"a": np.arange(4.0)}, tmp_path / "a")
    content = bytearray((tmp_path / "a").read_bytes())
    content[-1] ^= 1
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(zoo.FormatError, match="the tensors are not those that were saved: their SHA-256 differs"):
        zoo.read(tmp_path / "a")


def test_damaged_files_are_read_or_refused(tmp_path):
    zoo.save({"a": np.arange(40.0), "b/c": np.ones((2, 3), bool), "d": np.ones(3, ml_dtypes.bfloat16)}, tmp_path / "a")
    content = (tmp_path / "a").read_bytes()
    assert fuzz(read_safetensors, content, tmp_path / "b", cases=40).refused > 15
    plain = raw({"a": entry("F32", (40,), (0, 160)), "b": entry("BOOL", (2,), (160, 162))}, bytes(162))
    outcome = fuzz(read_safetensors, plain, tmp_path / "c", cases=40)
    assert outcome.refused > 15 and outcome.read > 0
