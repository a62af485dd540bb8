"""Weights saved as safetensors and read again, files converted, variables filled; damaged files."""

import hashlib
import json
import os
import struct

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxcnn import zoo
from jaxcnn.zoo import saving
from jaxcnn.zoo.filling import fill
from jaxcnn.zoo.formats.safetensors_file import DTYPES_BY_CODE, read_safetensors
from tests.support import paths
from tests.support.fuzzing import fuzz
from tests.support.real_data import DATA, needs_data

FIXTURES = paths.FIXTURES / "torch"


def equal(found, wanted) -> None:
    assert list(found) == list(wanted)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype and found[name].shape == array.shape
        assert found[name].tobytes() == np.asarray(array).tobytes()  # bit for bit, NaN included
        assert found[name].flags.writeable and found[name].flags.c_contiguous


def everything() -> dict[str, np.ndarray]:
    tensors = {f"{code}/x.y": np.arange(6).reshape(2, 3).astype(dtype) for code, dtype in DTYPES_BY_CODE.items()}
    tensors |= {"0d": np.array(1.5, ml_dtypes.bfloat16), "empty": np.zeros((0, 3), np.int8), "": np.ones(1)}
    tensors |= {"nan": np.array([np.nan, -0.0, np.inf], np.float32), "ünï": np.ones(1, bool)}
    return tensors | {"strided": np.asfortranarray(np.arange(6.0).reshape(2, 3))}


# Saving


def test_every_dtype_and_name_bit_for_bit(tmp_path):
    tensors = everything()
    del tensors[""]
    zoo.save(tensors, tmp_path / "a")
    checkpoint = zoo.read(tmp_path / "a")
    equal(
        checkpoint.tensors, {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in tensors.items()}
    )
    assert checkpoint.metadata["format"] == "safetensors" and checkpoint.metadata["framework"] == "jaxcnn"
    assert checkpoint.metadata["layouts"] == {} and checkpoint.metadata["notes"] == []


def test_saved_files_are_read_by_safetensors_itself(tmp_path):
    safetensors = pytest.importorskip("safetensors.numpy")
    tensors = {"b": np.arange(3, dtype=np.int8), "a": np.arange(4.0)}
    zoo.save(tensors, tmp_path / "a")
    found = safetensors.load_file(tmp_path / "a")
    assert set(found) == {"a", "b"}
    np.testing.assert_array_equal(found["a"], tensors["a"])
    np.testing.assert_array_equal(found["b"], tensors["b"])
    safetensors.save_file(tensors, tmp_path / "b", {"author": "me"})
    checkpoint = zoo.read(tmp_path / "b")
    equal(dict(sorted(checkpoint.tensors.items())), dict(sorted(tensors.items())))
    assert checkpoint.metadata["extra"] == {"author": "me"} and checkpoint.metadata["framework"] == "safetensors"


def test_flax_variables_round_trip(tmp_path, key):
    model = nn.Sequential([nn.Conv(4, (3, 3)), nn.BatchNorm(use_running_average=True), nn.Dense(2)])
    variables = model.init(key, jnp.zeros((1, 5, 5, 3)))
    zoo.save(variables, tmp_path / "a", provenance={"seed": [1, None, "x"]})
    checkpoint = zoo.read(tmp_path / "a")
    assert "params/layers_0/kernel" in checkpoint.tensors and "batch_stats/layers_1/mean" in checkpoint.tensors
    assert checkpoint.metadata["provenance"] == {"seed": [1, None, "x"]}
    empty = jax.eval_shape(lambda: model.init(key, jnp.zeros((1, 5, 5, 3))))
    filled = fill(empty, checkpoint.tensors)
    jax.tree.map(np.testing.assert_array_equal, filled, variables)
    assert jax.tree.structure(filled) == jax.tree.structure(variables)


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ([1], "variables must be a mapping, got list"),
        ({"a": {"b/c": np.ones(1)}}, "keyed by names, without '/' where nested, got a/'b/c'"),
        ({"a/b": np.ones(1), "a": {"b": np.ones(1)}}, "without '/' where nested"),
        ({1: np.ones(1)}, "keyed by names"),
        ({"a": [np.ones(1)]}, "a tree of arrays, got list at 'a'"),
        ({"a": np.array(["x"])}, "of dtypes that safetensors has"),
        ({"a": np.ones(1, np.complex128)}, r"got complex128\(1,\) at 'a'"),
        ({"a": np.array([{}], object)}, "of dtypes that safetensors has"),
        ({"__metadata__": np.ones(1)}, "which the format reserves"),
    ],
)
def test_error_for_what_cannot_be_saved(tmp_path, variables, message):
    with pytest.raises(ValueError, match=message):
        zoo.save(variables, tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_error_for_keys_of_random_numbers_and_bad_provenance(tmp_path, key):
    with pytest.raises(ValueError, match="a tree of arrays"):
        zoo.save({"key": key}, tmp_path / "a")
    for provenance in ({"a": object()}, {"a": {1, 2}}):
        with pytest.raises(ValueError, match="save: provenance must be what JSON can hold"):
            zoo.save({"a": np.ones(1)}, tmp_path / "a", provenance=provenance)


def test_a_save_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    zoo.save({"a": np.ones(3)}, tmp_path / "a")
    before = (tmp_path / "a").read_bytes()
    order = []
    real = os.fsync

    def fsync(descriptor):
        order.append("fsync")
        real(descriptor)

    def replace(source, target):
        order.append("replace")
        raise OSError("no space")

    monkeypatch.setattr(saving.os, "fsync", fsync)
    monkeypatch.setattr(saving.os, "replace", replace)
    with pytest.raises(OSError, match="no space"):
        zoo.save({"a": np.zeros(3)}, tmp_path / "a")
    assert order == ["fsync", "replace"]
    assert (tmp_path / "a").read_bytes() == before and [path.name for path in tmp_path.iterdir()] == ["a"]


def test_mode_of_a_saved_file(tmp_path):
    (tmp_path / "plain").write_bytes(b"")
    zoo.save({"a": np.ones(1)}, tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "plain").stat().st_mode


# Converting


def test_converted_files_keep_layouts_and_notes(tmp_path):
    source = FIXTURES / "legacy.pth"
    original = zoo.convert(source, tmp_path / "a")
    checkpoint = zoo.read(tmp_path / "a")
    equal(checkpoint.tensors, original.tensors)
    for name in ("layouts", "notes", "framework"):
        assert checkpoint.metadata[name] == original.metadata[name]
    provenance = dict(checkpoint.metadata["provenance"])
    assert provenance.pop("source") == "legacy.pth"
    assert provenance.pop("sha256") == hashlib.sha256(source.read_bytes()).hexdigest()
    assert provenance == original.metadata


@needs_data
def test_real_files_converted(tmp_path):
    for source in ("pytorch/ultraface_version-slim-320.pth", "tensorflow/mtcnn_det1.npy"):
        original = zoo.convert(DATA / source, tmp_path / "a")
        equal(zoo.read(tmp_path / "a").tensors, original.tensors)


# Filling


def test_error_lists_everything_at_once():
    variables = {"params": {"a": jnp.zeros((2, 3)), "b": jnp.zeros(2), "c": jnp.zeros(1)}}
    tensors = {"params/a": np.zeros((3, 2), np.float32), "params/c": np.zeros(1, np.int32), "x": np.zeros(1)}
    message = (
        r"fill: tensors must be one per variable and of its shape, got missing 'params/b'; unexpected 'x'; "
        r"'params/a' float32\(3, 2\) in place of float32\(2, 3\); 'params/c' int32\(1,\) in place of float32\(1,\)\."
    )
    with pytest.raises(ValueError, match=message):
        fill(variables, tensors)


def test_filling_converts_to_the_dtype_of_the_variable():
    filled = fill({"a": jnp.zeros(2, jnp.bfloat16)}, {"a": np.array([1, 2], np.float64)})
    assert filled["a"].dtype == jnp.bfloat16 and filled["a"].tolist() == [1, 2]
    with pytest.raises(ValueError, match="fill: tensors must be a mapping"):
        fill({}, [1])


# Files that are wrong


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
        (raw(b"{" * 100000), "the header is none of safetensors"),
        (raw(b'{"a":' * 100000), "the header is none of safetensors"),
        (raw(b"\xff\xfe{}"), "the header is none of safetensors"),
        (raw([1]), "no object"),
        (raw(b'{"a":1,"a":2}'), "a name occurs twice"),
        (raw({"a": entry(shape=(1 << 40,), offsets=(0, 4))}, bytes(4)), "but holds 4 bytes"),
        (raw({"a": entry(shape=(-1,))}, bytes(4)), "'a' is described by"),
        (raw({"a": entry(dtype="I3")}, bytes(4)), "'a' is described by"),
        (raw({"a": entry(offsets=(0, 400))}, bytes(4)), "'a' is described by"),
        (raw({"a": entry(shape=(True,))}, bytes(4)), "'a' is described by"),
        (raw({"a": entry(), "b": entry()}, bytes(4)), "safetensors cannot read it"),
        (raw({"a": entry(offsets=(4, 8))}, bytes(8)), "safetensors cannot read it"),
        (raw({"__metadata__": {"a": 1}}), "'__metadata__' is described by"),
        (raw({"__metadata__": {"jaxcnn": "[" * 10000}}), "the metadata that jaxcnn writes are damaged"),
        (raw({"__metadata__": {"jaxcnn": "[]"}}), "the metadata that jaxcnn writes are damaged"),
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
    assert fuzz(read_safetensors, content, tmp_path / "b", cases=300).refused > 15
    plain = raw({"a": entry("F32", (40,), (0, 160)), "b": entry("BOOL", (2,), (160, 162))}, bytes(162))
    outcome = fuzz(read_safetensors, plain, tmp_path / "c", cases=300)
    assert outcome.refused > 15 and outcome.read > 0


# The choice of the reader


def test_error_for_unknown_content(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"GIF89a and so on")
    message = r"a\.pth: must be of a known format \(.*PyTorch, .*safetensors.*\), got a file that begins with b'GIF89a"
    with pytest.raises(zoo.FormatError, match=message):
        zoo.read(tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes((FIXTURES / "zip.pth").read_bytes()[:-9])
    with pytest.raises(zoo.FormatError, match="a zip archive that is damaged or holds none of these"):
        zoo.read(tmp_path / "a.pth")
    with pytest.raises(zoo.FormatError, match="a folder that is none of these"):
        zoo.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="read: path must be an existing file, got .*nothing"):
        zoo.read(tmp_path / "nothing")
    for max_bytes in (0, -1, 1.5, True, None):
        with pytest.raises(ValueError, match="read: max_bytes must be a positive integer"):
            zoo.read(tmp_path / "a.pth", max_bytes=max_bytes)


def test_names_of_files_say_nothing(tmp_path):
    (tmp_path / "a.h5").write_bytes((FIXTURES / "legacy.pth").read_bytes())
    assert zoo.read(tmp_path / "a.h5").metadata["container"] == "legacy"
