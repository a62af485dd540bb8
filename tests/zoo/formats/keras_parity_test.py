"""Files that the installed Keras writes give its own weights, by its own names."""

import os

import ml_dtypes
import numpy as np
import pytest

from jaxcnn.zoo.formats.keras.hdf5_file import read_keras_h5
from jaxcnn.zoo.formats.keras.keras_archive import read_keras
from tests.support import keras_models

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # what Keras does while it saves


def expected(model):
    """The weights by path, with the axes of transposed convolutions moved."""
    found = {}
    for weight in model.weights:
        array = np.asarray(weight.value)
        found[weight.path] = array.swapaxes(-1, -2) if "up" in weight.path and array.ndim > 1 else array
    return found


def check(checkpoint, wanted, *, order=True):
    if order:
        assert list(checkpoint.tensors) == list(wanted)
    assert set(checkpoint.tensors) == set(wanted)
    for name, array in wanted.items():
        got = checkpoint.tensors[name]
        assert got.dtype == array.dtype and got.flags.c_contiguous and got.flags.writeable, name
        np.testing.assert_array_equal(got, array)


def save_all(model, folder):
    model.save(folder / "m.keras")
    model.save(folder / "m.h5")
    model.save_weights(folder / "m.weights.h5")


def test_all_files_of_one_model(tmp_path):
    model = keras_models.model()
    save_all(model, tmp_path)
    wanted = expected(model)
    archive = read_keras(tmp_path / "m.keras", max_bytes=1 << 20)
    full = read_keras_h5(tmp_path / "m.h5", max_bytes=1 << 20)
    weights = read_keras_h5(tmp_path / "m.weights.h5", max_bytes=1 << 20)
    check(archive, wanted)
    check(full, wanted)
    check(weights, wanted, order=False)
    for checkpoint in (archive, full, weights):
        assert checkpoint.metadata["layouts"] == {"up/kernel": "HWOI"}
    for graph in (archive.graph, full.graph):
        assert [layer["config"]["name"] for layer in graph["config"]["layers"]] == [
            layer.name for layer in model.layers
        ]
    assert full.metadata["keras_version"] == archive.metadata["keras_version"] == keras.__version__


def test_many_layers_of_one_class_keep_their_names(tmp_path):
    layers = [keras.layers.Conv2D(2 + place % 3, 1, use_bias=place % 2 == 0, name=f"c{place}") for place in range(13)]
    model = keras.Sequential([keras.layers.Input((2, 2, 1)), *layers, keras.layers.PReLU(name="p")], name="many")
    save_all(model, tmp_path)
    wanted = {"/".join(name.split("/")[-2:]): array for name, array in expected(model).items()}
    check(read_keras(tmp_path / "m.keras", max_bytes=1 << 20), wanted)
    check(read_keras_h5(tmp_path / "m.weights.h5", max_bytes=1 << 20), wanted, order=False)
    full = read_keras_h5(tmp_path / "m.h5", max_bytes=1 << 20)
    assert [array.shape for array in full.tensors.values()] == [array.shape for array in wanted.values()]


def test_batch_normalization_without_scale_or_centre(tmp_path):
    layers = [
        keras.layers.BatchNormalization(scale=False, name="shifted"),
        keras.layers.BatchNormalization(center=False, name="scaled"),
        keras.layers.BatchNormalization(center=False, scale=False, name="neither"),
    ]
    model = keras.Sequential([keras.layers.Input((2, 2, 3)), *layers])
    model.save(tmp_path / "m.keras")
    wanted = {"/".join(name.split("/")[-2:]): array for name, array in expected(model).items()}
    check(read_keras(tmp_path / "m.keras", max_bytes=1 << 20), wanted)


def test_state_of_the_optimizer_is_left_out(tmp_path):
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, name="d")], name="s")
    model.compile("adam", "mse")
    model.optimizer.build(model.trainable_variables)
    save_all(model, tmp_path)
    for read, name in ((read_keras, "m.keras"), (read_keras_h5, "m.h5"), (read_keras_h5, "m.weights.h5")):
        checkpoint = read(tmp_path / name, max_bytes=1 << 20)
        assert [key.rpartition("/")[2] for key in checkpoint.tensors] == ["kernel", "bias"]
        assert any("optimizer" in note for note in checkpoint.metadata["notes"])


def test_wrappers_and_shared_names(tmp_path):
    wrapped = keras.layers.TimeDistributed(keras.layers.Conv2D(2, 1, name="same"), name="td")
    model = keras.Sequential([keras.layers.Input((2, 3, 3, 1)), wrapped], name="s")
    model.save(tmp_path / "m.keras")
    checkpoint = read_keras(tmp_path / "m.keras", max_bytes=1 << 20)
    wanted = [np.asarray(weight.value) for weight in model.weights]
    assert list(checkpoint.tensors) == ["td/same/kernel", "td/same/bias"]
    for got, array in zip(checkpoint.tensors.values(), wanted, strict=True):
        np.testing.assert_array_equal(got, array)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_dtypes_are_kept(tmp_path, dtype):
    model = keras.Sequential([keras.layers.Input((3,)), keras.layers.Dense(2, name="d", dtype=dtype)], name="s")
    save_all(model, tmp_path)
    wanted = np.asarray(model.layers[0].kernel.value)
    for read, name in ((read_keras, "m.keras"), (read_keras_h5, "m.h5"), (read_keras_h5, "m.weights.h5")):
        got = next(iter(read(tmp_path / name, max_bytes=1 << 20).tensors.values()))
        assert got.dtype == wanted.dtype and (dtype != "bfloat16" or got.dtype == ml_dtypes.bfloat16)
        np.testing.assert_array_equal(got, wanted)
