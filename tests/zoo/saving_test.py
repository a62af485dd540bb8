"""Weights saved as safetensors and read again, and files converted."""

import hashlib
import os

import flax.linen as nn
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from jaxcnn import zoo
from jaxcnn.graphs import GraphNetwork
from jaxcnn.zoo import saving
from jaxcnn.zoo.filling import fill
from jaxcnn.zoo.formats.safetensors_file import DTYPES_BY_CODE
from tests.support import paths
from tests.support.real_data import DATA, needs_data
from tests.support.small_graph import GRAPH

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


def test_variables_of_a_graph_round_trip(tmp_path, key):
    model, image = GraphNetwork(GRAPH), jnp.zeros((1, 6, 5, 3))
    variables = jax.jit(model.init)(key, image)
    zoo.save(variables, tmp_path / "a")
    filled = fill(jax.eval_shape(model.init, key, image), zoo.read(tmp_path / "a").tensors)
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


def test_npz_files_hold_the_tensors_as_numpy_reads_them(tmp_path):
    tensors = {"conv/kernel": np.ones((3, 3, 1, 2), np.float32).T, "file": np.array(3), "b.c": np.zeros(2, bool)}
    zoo.save(tensors, tmp_path / "a.NPZ")
    zoo.convert(tmp_path / "a.NPZ", tmp_path / "b.npz")
    for name in ("a.NPZ", "b.npz"):
        equal(zoo.read(tmp_path / name).tensors, tensors)
        with np.load(tmp_path / name) as found:
            equal(dict(found), tensors)
    assert zoo.read(tmp_path / "b.npz").metadata["format"] == "numpy"


@pytest.mark.parametrize("name", ["a.npy", "a.h5", "a.pth", "a.PT", "a.ckpt", "a.bin", "a.safetensors.tmp"])
def test_error_for_suffixes_of_other_formats(tmp_path, name):
    """A file is never of another format than its name claims."""
    zoo.save({"a": np.ones(1)}, tmp_path / "source")
    with pytest.raises(ValueError, match=r"save: path must be a file that ends in .safetensors or .npz, got"):
        zoo.save({"a": np.ones(1)}, tmp_path / name)
    with pytest.raises(ValueError, match=r"convert: target must be a file that ends in .safetensors or .npz, got"):
        zoo.convert(tmp_path / "source", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_error_for_what_npz_cannot_hold(tmp_path):
    with pytest.raises(ValueError, match=r"got bfloat16\(2,\) at 'a'; .safetensors holds it"):
        zoo.save({"a": np.ones(2, ml_dtypes.bfloat16)}, tmp_path / "a.npz")
    with pytest.raises(ValueError, match=r"path must be a .safetensors file, to hold a provenance"):
        zoo.save({"a": np.ones(2)}, tmp_path / "a.npz", provenance={})
    assert list(tmp_path.iterdir()) == []


@needs_data
def test_real_files_converted(tmp_path):
    for source in ("pytorch/ultraface_version-slim-320.pth", "tensorflow/mtcnn_det1.npy"):
        original = zoo.convert(DATA / source, tmp_path / "a")
        equal(zoo.read(tmp_path / "a").tensors, original.tensors)
