"""Files of Keras: stored ones, written ones of every version, real ones, damaged and hostile ones."""

import io
import json
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from numpy.typing import DTypeLike

from jaxcnn.zoo import FormatError
from jaxcnn.zoo.formats.keras.hdf5_file import is_keras_h5, read_keras_h5
from jaxcnn.zoo.formats.keras.keras_archive import is_keras, read_keras
from tests.support import real_data
from tests.support.fuzzing import fuzz
from tests.support.keras_models import FILES, FIXTURE, WEIGHTS, value
from tests.support.untyped import untyped

ROOT = real_data.DATA / "keras"
MIB = 1 << 20
MODEL, STORE, ARCHIVE = FILES


@pytest.fixture
def stored(tmp_path):
    """Unpacks one of the files that Keras wrote."""

    def unpack(name):
        with zipfile.ZipFile(FIXTURE) as file:
            return Path(file.extract(name, tmp_path))

    return unpack


def reader(path):
    """Chooses the reader by content, as ``zoo.read`` does."""
    head = path.read_bytes()[:4096]
    assert is_keras(path, head) != is_keras_h5(path, head)
    return read_keras if is_keras(path, head) else read_keras_h5


def write_h5(path, layers, *, attributes=None, group=None, text=np.bytes_):
    """Writes a file as Keras 1 and 2 do: ``layers`` maps a layer to its weights by name."""
    with h5py.File(path, "w") as file:
        file.attrs.update(attributes or {})
        holder = file.create_group(group) if group else file
        holder.attrs["layer_names"] = [text(layer) for layer in layers]
        for layer, weights in layers.items():
            inner = holder.create_group(layer)
            inner.attrs["weight_names"] = [text(name) for name in weights]
            for name, array in weights.items():
                inner[name] = array
    return path


def numbers(*shape, dtype: DTypeLike = np.float32, start=0):
    return (np.arange(np.prod(shape)) + start).reshape(shape).astype(dtype)


# What Keras wrote.


@pytest.mark.parametrize("name", FILES)
def test_stored_files_hold_what_was_written(stored, name):
    path = stored(name)
    checkpoint = reader(path)(path, max_bytes=MIB)
    assert set(checkpoint.tensors) == set(WEIGHTS)
    assert path.name == STORE or list(checkpoint.tensors) == list(WEIGHTS)
    for name, got in checkpoint.tensors.items():
        wanted = value(name)
        wanted = wanted.swapaxes(2, 3) if name == "up/kernel" else wanted
        assert got.dtype == wanted.dtype and got.flags.c_contiguous and got.flags.writeable
        np.testing.assert_array_equal(got, wanted)
    assert checkpoint.metadata["layouts"] == {"up/kernel": "HWOI"}
    assert any("transposed" in note for note in checkpoint.metadata["notes"])
    assert checkpoint.metadata["framework"] == "keras"
    assert (checkpoint.graph is None) == (path.name == STORE)
    assert path.name == STORE or checkpoint.graph["config"]["name"] == "small"


def test_layers_and_paths_say_where_tensors_stand(stored):
    archive, store = read_keras(stored(ARCHIVE), max_bytes=MIB), read_keras_h5(stored(STORE), max_bytes=MIB)
    assert archive.metadata["layers"]["inner/ic"] == ["inner/ic/kernel", "inner/ic/bias"]
    for checkpoint in (archive, store):
        assert checkpoint.metadata["paths"]["inner/ic/kernel"] == "layers/sequential/layers/conv2d/vars/0"
    assert read_keras_h5(stored(MODEL), max_bytes=MIB).metadata["layers"]["inner"] == [
        "inner/ic/kernel",
        "inner/ic/bias",
    ]


# Keras 1 and 2.


@pytest.mark.parametrize("text", [np.bytes_, str])
@pytest.mark.parametrize("group", [None, "model_weights"])
def test_weights_and_full_models(tmp_path, text, group):
    layers = {
        "input": {},
        "conv": {"conv/kernel:0": numbers(3, 3, 2, 4), "conv/bias:0": numbers(4)},
        "dw": {"dw/depthwise_kernel:0": numbers(3, 3, 4, 2)},
        "dense": {"dense_1/kernel:0": numbers(8, 3, dtype=np.float16), "dense_1/bias:0": numbers(3, dtype=np.float64)},
    }
    attributes = {"keras_version": "2.8.0", "backend": "tensorflow", "training_config": text('{"loss": "mse"}')}
    path = write_h5(tmp_path / "w.h5", layers, attributes=attributes, group=group, text=text)
    checkpoint = read_keras_h5(path, max_bytes=MIB)
    flat = {name: array for weights in layers.values() for name, array in weights.items()}
    assert list(checkpoint.tensors) == list(flat)
    for name, array in flat.items():
        assert checkpoint.tensors[name].dtype == array.dtype
        np.testing.assert_array_equal(checkpoint.tensors[name], array)
    assert checkpoint.metadata["training_config"] == {"loss": "mse"}
    assert checkpoint.metadata["keras_version"] == "2.8.0" and checkpoint.metadata["layouts"] == {}


def test_dtypes_and_byte_orders(tmp_path):
    kinds = [">f4", "<f8", ">f2", "i1", ">i4", "u2", ">u8", "?"]
    layers: dict[str, dict[str, np.ndarray]] = {
        "l": {f"w{place}": numbers(3, 2).astype(kind) for place, kind in enumerate(kinds)}
    }
    layers["l"]["scalar"] = np.array(5, np.float32)
    layers["l"]["none"] = np.zeros((0, 3), np.float32)
    tensors = read_keras_h5(write_h5(tmp_path / "w.h5", layers), max_bytes=MIB).tensors
    for name, array in layers["l"].items():
        assert tensors[name].dtype == array.dtype.newbyteorder("=") and tensors[name].dtype.isnative
        assert tensors[name].shape == array.shape
        np.testing.assert_array_equal(tensors[name], array)


def test_compressed_and_chunked_datasets(tmp_path):
    path = write_h5(tmp_path / "w.h5", {"l": {}})
    array = numbers(20, 30)
    with h5py.File(path, "a") as file:
        names = ["gzip", "shuffled", "checked", "all", "chunks", "random"]
        file["l"].attrs["weight_names"] = names
        untyped(file["l"]).create_dataset("gzip", data=array, compression="gzip")
        untyped(file["l"]).create_dataset("shuffled", data=array, compression="gzip", shuffle=True)
        untyped(file["l"]).create_dataset("checked", data=array, fletcher32=True)
        untyped(file["l"]).create_dataset("all", data=array, compression="gzip", shuffle=True, fletcher32=True)
        untyped(file["l"]).create_dataset("chunks", data=array, chunks=(7, 8), maxshape=(None, 30))
        noise = np.random.default_rng(0).bytes(2400)  # which deflate makes larger
        untyped(file["l"]).create_dataset(
            "random", data=np.frombuffer(noise, "u4").reshape(20, 30), chunks=(20, 30), compression=1
        )
    tensors = dict(read_keras_h5(path, max_bytes=MIB).tensors)
    assert tensors.pop("random").tobytes() == noise
    for got in tensors.values():
        np.testing.assert_array_equal(got, array)


def test_names_in_pieces(tmp_path):
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file.attrs["layer_names0"], file.attrs["layer_names1"] = [b"a", b"b"], [b"c"]
        for layer in "abc":
            group = file.create_group(layer)
            group.attrs["weight_names0"], group.attrs["weight_names1"] = [f"{layer}/k"], [f"{layer}/b"]
            group[f"{layer}/k"], group[f"{layer}/b"] = numbers(2, 3), numbers(3)
    names = ["a/k", "a/b", "b/k", "b/b", "c/k", "c/b"]
    assert list(read_keras_h5(path, max_bytes=MIB).tensors) == names


def test_equal_names_are_told_apart_by_their_group(tmp_path):
    layers = {"a": {"kernel": numbers(2, 3), "own": numbers(1)}, "b": {"kernel": numbers(3, 4)}}
    tensors = read_keras_h5(write_h5(tmp_path / "w.h5", layers), max_bytes=MIB).tensors
    assert list(tensors) == ["a/kernel", "own", "b/kernel"]


def test_first_files_have_numbers_only(tmp_path):
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file.attrs["nb_layers"] = 2
        file.create_group("layer_0").attrs["nb_params"] = 0
        group = file.create_group("layer_1")
        group.attrs["nb_params"] = 2
        group["param_0"], group["param_1"] = numbers(5, 2, 3, 3), numbers(5)
    checkpoint = read_keras_h5(path, max_bytes=MIB)
    assert list(checkpoint.tensors) == ["layer_1/param_0", "layer_1/param_1"]
    assert checkpoint.tensors["layer_1/param_0"].shape == (3, 3, 2, 5)


# The order of Theano.


def theano_pair(tmp_path, *, attributes=None, name="w.h5"):
    """A file in Theano's order, and the kernels that must come out if they were mirrored."""
    kernels = [numbers(3, 2, 3, 8), numbers(1, 1, 8, 4, start=5), numbers(3, 3, 4, 6)]
    layers = {
        f"c{place}": {
            f"c{place}_W": np.ascontiguousarray(kernel[::-1, ::-1].transpose(3, 2, 0, 1)),
            f"c{place}_b": numbers(len(kernel.T)),
        }
        for place, kernel in enumerate(kernels)
    }
    layers["d"] = {"d_W": numbers(6, 2), "d_b": numbers(2)}
    return write_h5(tmp_path / name, layers, attributes=attributes), kernels


@pytest.mark.parametrize("attributes", [None, {"keras_version": "1.2.2"}, {"backend": "theano"}])
def test_theanos_kernels_are_turned_upright(tmp_path, attributes):
    path, kernels = theano_pair(tmp_path, attributes=attributes)
    checkpoint = read_keras_h5(path, max_bytes=MIB)
    for place, kernel in enumerate(kernels):
        got = checkpoint.tensors[f"c{place}_W"]
        assert got.flags.c_contiguous and checkpoint.metadata["layouts"][f"c{place}_W"] == "OIHW"
        np.testing.assert_array_equal(got, kernel)
    assert checkpoint.tensors["d_W"].shape == (6, 2)
    assert len(checkpoint.metadata["notes"]) == 2


@pytest.mark.parametrize(
    "attributes, name", [({"backend": "tensorflow"}, "w.h5"), (None, "th_dim_ordering_tf_kernels.h5")]
)
def test_kernels_of_other_backends_are_not_mirrored(tmp_path, attributes, name):
    path, kernels = theano_pair(tmp_path, attributes=attributes, name=name)
    checkpoint = read_keras_h5(path, max_bytes=MIB)
    for place, kernel in enumerate(kernels):
        np.testing.assert_array_equal(checkpoint.tensors[f"c{place}_W"], kernel[::-1, ::-1])


def test_keras_2_of_theano_is_mirrored_but_not_moved(tmp_path):
    kernel = numbers(3, 3, 2, 4)
    attributes = {"keras_version": "2.1.0", "backend": "theano"}
    layers = {"c": {"c/kernel:0": kernel, "c/bias:0": numbers(4)}, "s": {"s/depthwise_kernel:0": kernel}}
    checkpoint = read_keras_h5(write_h5(tmp_path / "w.h5", layers, attributes=attributes), max_bytes=MIB)
    np.testing.assert_array_equal(checkpoint.tensors["c/kernel:0"], kernel[::-1, ::-1])
    np.testing.assert_array_equal(checkpoint.tensors["s/depthwise_kernel:0"], kernel)
    assert checkpoint.metadata["layouts"] == {}


def test_neighbouring_kernels_tell_the_order(tmp_path):
    for shapes, moved in (([(8, 3, 3, 3), (4, 8, 1, 1)], True), ([(3, 3, 3, 3), (3, 3, 3, 8)], False)):
        layers = {f"c{place}": {f"c{place}_W": numbers(*shape)} for place, shape in enumerate(shapes)}
        checkpoint = read_keras_h5(write_h5(tmp_path / "w.h5", layers), max_bytes=MIB)
        assert bool(checkpoint.metadata["layouts"]) == moved


def test_sequences_of_theano_are_mirrored(tmp_path):
    config = {"class_name": "Model", "config": {"layers": [{"class_name": "Conv1D", "config": {"name": "c"}}]}}
    attributes = {"keras_version": "2.1.0", "backend": "theano", "model_config": json.dumps(config)}
    layers = {"c": {"c/kernel:0": numbers(3, 2, 4)}, "e": {"e/embeddings:0": numbers(3, 2, 4)}}
    layers["c2"] = {"c2/kernel:0": numbers(3, 3, 1, 1)}
    checkpoint = read_keras_h5(write_h5(tmp_path / "w.h5", layers, attributes=attributes), max_bytes=MIB)
    np.testing.assert_array_equal(checkpoint.tensors["c/kernel:0"], numbers(3, 2, 4)[::-1])
    np.testing.assert_array_equal(checkpoint.tensors["e/embeddings:0"], numbers(3, 2, 4))


def test_kernels_of_other_kinds_do_not_vote(tmp_path):
    layers = {"d": {"d/depthwise_kernel": numbers(3, 3, 3, 1)}, "n": {"n/gamma": numbers(3)}}
    layers |= {"u": {"conv2d_transpose/kernel": numbers(5, 5, 5, 3), "conv2d_transpose/bias": numbers(5)}}
    checkpoint = read_keras_h5(write_h5(tmp_path / "w.h5", layers), max_bytes=MIB)
    np.testing.assert_array_equal(checkpoint.tensors["d/depthwise_kernel"], numbers(3, 3, 3, 1))
    assert checkpoint.metadata["layouts"] == {"conv2d_transpose/kernel": "HWOI"}


def test_a_declared_order_beats_the_sizes(tmp_path):
    config = {"class_name": "Model", "config": {"layers": [{"class_name": "Convolution2D", "config": {"name": "c"}}]}}
    config["config"]["layers"][0]["config"]["dim_ordering"] = "th"
    attributes = {"model_config": json.dumps(config), "keras_version": "1.1.0", "backend": "tensorflow"}
    path = write_h5(tmp_path / "w.h5", {"c": {"c_W": numbers(4, 4, 4, 4)}}, attributes=attributes)
    checkpoint = read_keras_h5(path, max_bytes=MIB)
    np.testing.assert_array_equal(checkpoint.tensors["c_W"], numbers(4, 4, 4, 4).transpose(2, 3, 1, 0))
    assert checkpoint.graph == config


@pytest.mark.parametrize("declared", [True, False])
def test_transposed_convolutions(tmp_path, declared):
    config = {"class_name": "Model", "config": {"layers": [{"class_name": "Conv2DTranspose", "config": {"name": "u"}}]}}
    attributes = {"keras_version": "2.2.4", **({"model_config": json.dumps(config)} if declared else {})}
    kernel = numbers(2, 2, 5, 3)
    layers = {"u": {"u/kernel:0": kernel, "u/bias:0": numbers(5)}}
    checkpoint = read_keras_h5(write_h5(tmp_path / "w.h5", layers, attributes=attributes), max_bytes=MIB)
    np.testing.assert_array_equal(checkpoint.tensors["u/kernel:0"], kernel.swapaxes(2, 3))
    assert checkpoint.metadata["layouts"] == {"u/kernel:0": "HWOI"}


def test_kernels_of_unknown_layers_are_left_alone(tmp_path):
    layers = {
        "a": {"a/kernel": numbers(3, 3, 4, 1), "a/bias": numbers(4)},
        "b": {"b/kernel": numbers(3, 3, 4, 4), "b/bias": numbers(4)},
        "c": {"c/kernel": numbers(3, 3, 2, 8), "c/bias": numbers(8)},
    }
    path = write_h5(tmp_path / "w.h5", layers, attributes={"keras_version": "3.1.0"})
    checkpoint = read_keras_h5(path, max_bytes=MIB)
    for layer in layers:
        np.testing.assert_array_equal(checkpoint.tensors[f"{layer}/kernel"], layers[layer][f"{layer}/kernel"])
    assert checkpoint.metadata["layouts"] == {} and checkpoint.metadata["notes"] == []


# Keras 3 beyond the stored files.


def write_store(path, groups):
    with h5py.File(path, "w") as file:
        for name, arrays in groups.items():
            group = file.require_group(name)
            for key, array in arrays.items():
                group[key] = array
    return path


def test_store_without_names_keeps_its_paths(tmp_path):
    arrays = {"0": numbers(3, 3, 1, 2), "1": numbers(2)}
    path = write_store(tmp_path / "w.h5", {"layers/conv2d/vars": arrays, "my_block/custom/vars": {"scale": numbers(2)}})
    assert list(read_keras_h5(path, max_bytes=MIB).tensors) == [
        "layers/conv2d/vars/0",
        "layers/conv2d/vars/1",
        "my_block/custom/vars/scale",
    ]


def test_variables_of_one_name_are_told_apart_by_their_paths(tmp_path):
    groups = {f"layers/conv2d{after}/vars": {"0": numbers(1, 1, 2, 2)} for after in ("", "_1")}
    path = write_store(tmp_path / "w.h5", groups)
    with h5py.File(path, "a") as file:
        for group in groups:
            file[group].attrs["name"] = "same"
    assert list(read_keras_h5(path, max_bytes=MIB).tensors) == [f"{group}/0" for group in groups]


def test_archive_without_names_in_its_weights_takes_them_from_the_configuration(tmp_path):
    layers = [
        {"class_name": "Conv2D", "config": {"name": name, "use_bias": name != "c1"}} for name in ("c0", "c1", "c2")
    ]
    layers.append({"class_name": "Sequential", "config": {"name": "inner", "layers": layers[:1]}})
    groups = {f"layers/conv2d{after}/vars": {"0": numbers(1, 1, 2, 2)} for after in ("", "_1", "_2")}
    groups["layers/conv2d/vars"]["1"] = groups["layers/conv2d_2/vars"]["1"] = numbers(2)
    groups["layers/sequential/layers/conv2d/vars"] = {"0": numbers(1, 1, 2, 3), "1": numbers(3)}
    weights = write_store(tmp_path / "w.h5", groups)
    with zipfile.ZipFile(tmp_path / "m.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "config.json", json.dumps({"class_name": "Functional", "config": {"name": "m", "layers": layers}})
        )
        archive.write(weights, "model.weights.h5")
    names = ["c0/kernel", "c0/bias", "c1/kernel", "c2/kernel", "c2/bias", "inner/c0/kernel", "inner/c0/bias"]
    assert list(read_keras(tmp_path / "m.keras", max_bytes=MIB).tensors) == names


# Real files.


@real_data.needs_data
@pytest.mark.parametrize(
    "name, tensors, values, version",
    [
        ("mobilenet_v1_0.25_224_imagenet.h5", 137, 475_544, "2.8.0"),
        ("fer2013_mini_XCEPTION.102-0.66.hdf5", 80, 58_423, "2.0.5"),
        ("mlperftiny_cifar10_resnet8.h5", 48, 78_666, "2.4.0"),
    ],
)
def test_real_full_models(name, tensors, values, version):
    checkpoint = reader(ROOT / name)(ROOT / name, max_bytes=4 * MIB)
    assert len(checkpoint.tensors) == tensors
    assert sum(array.size for array in checkpoint.tensors.values()) == values
    assert checkpoint.metadata["keras_version"] == version and checkpoint.metadata["layouts"] == {}
    assert len(checkpoint.graph["config"]["layers"]) > 20
    with h5py.File(ROOT / name) as file:
        for layer, names in checkpoint.metadata["layers"].items():
            for tensor in names:
                np.testing.assert_array_equal(
                    checkpoint.tensors[tensor], untyped(file["model_weights"])[layer][tensor][()]
                )


@real_data.needs_data
def test_real_files_in_two_orders_are_one_network():
    tf, th = (
        read_keras_h5(ROOT / f"squeezenet_weights_{order}_dim_ordering_{order}_kernels_notop.h5", max_bytes=4 * MIB)
        for order in ("tf", "th")
    )
    assert list(tf.tensors) == list(th.tensors) and len(tf.tensors) == 50
    assert sum(array.size for array in tf.tensors.values()) == 722_496
    for name, array in tf.tensors.items():
        np.testing.assert_array_equal(array, th.tensors[name])
    assert len(th.metadata["layouts"]) == 25 and tf.metadata["layouts"] == {} and len(th.metadata["notes"]) == 2


@real_data.needs_data
def test_real_file_under_another_name_is_the_same_network(tmp_path):
    path = ROOT / "squeezenet_weights_th_dim_ordering_th_kernels_notop.h5"
    copy = tmp_path / "renamed"
    copy.write_bytes(path.read_bytes())
    first, second = read_keras_h5(path, max_bytes=4 * MIB), read_keras_h5(copy, max_bytes=4 * MIB)
    for name, array in first.tensors.items():
        np.testing.assert_array_equal(array, second.tensors[name])


# Damaged and hostile files.


@pytest.mark.parametrize("name", FILES)
@pytest.mark.errors
def test_fuzz(tmp_path, stored, name):
    path = stored(name)
    outcome = fuzz(reader(path), path.read_bytes(), tmp_path / f"damaged{path.suffix}", cases=40, max_bytes=MIB)
    assert outcome.refused >= 15


@pytest.mark.errors
def test_fuzz_of_old_files(tmp_path):
    path, _ = theano_pair(tmp_path, attributes={"model_config": json.dumps({"class_name": "Sequential", "config": []})})
    fuzz(read_keras_h5, path.read_bytes(), tmp_path / "damaged.h5", cases=40, max_bytes=MIB)


def edited(tmp_path, edit):
    path = tmp_path / "edited.h5"
    write_h5(path, {"l": {"k": numbers(2, 3)}})
    with h5py.File(path, "a") as file:
        edit(file)
    return path


def replace(file, **options):
    del file["l/k"]
    untyped(file["l"]).create_dataset("k", **options)


def virtual(file):
    del file["l/k"]
    layout = h5py.VirtualLayout((2, 3), "f4")
    layout[:] = h5py.VirtualSource("other.h5", "k", (2, 3))
    file["l"].create_virtual_dataset("k", layout)


def link(target):
    def edit(file):
        del file["l/k"]
        file["l/k"] = target

    return edit


def unknown_filter(file):
    del file["l/k"]
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((2, 3))
    plan.set_filter(h5py.h5z.FILTER_NBIT, 0, ())
    h5py.h5d.create(file["l"].id, b"k", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((2, 3)), plan)


def packed_twice(file):
    del file["l/k"]
    plan = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plan.set_chunk((2, 3))
    plan.set_deflate(9)
    plan.set_deflate(9)
    h5py.h5d.create(file["l"].id, b"k", h5py.h5t.NATIVE_FLOAT, h5py.h5s.create_simple((2, 3)), plan)
    file["l/k"][...] = numbers(2, 3)


def chunk(content, mask=0):
    def edit(file):
        replace(file, shape=(10,), dtype="f4", chunks=(10,), compression="gzip")
        file["l/k"].id.write_direct_chunk((0,), content, mask)

    return edit


HOSTILE = {
    "a chunk that unpacks to more": (chunk(zlib.compress(bytes(32 * MIB))), "does not expand to its 40 bytes"),
    "a chunk that unpacks to less": (chunk(zlib.compress(bytes(39))), "does not expand to its 40 bytes"),
    "a chunk that ends early": (chunk(zlib.compress(bytes(range(40)))[:-6]), "does not expand to its 40 bytes"),
    "a chunk that says it is not deflated": (chunk(bytes(39), 1), "does not expand to its 40 bytes"),
    "a chunk that is none": (chunk(b"not deflated at all"), "error: Error -3"),
    "a dataset packed twice": (packed_twice, "filters"),
    "a filter of h5py": (lambda file: replace(file, data=numbers(99), compression="lzf"), "filters"),
    "a link to another file": (link(h5py.ExternalLink("other.h5", "/k")), "soft or external link"),
    "a soft link to itself": (link(h5py.SoftLink("/l/k")), "soft or external link"),
    "a soft link out": (link(h5py.SoftLink("/l")), "soft or external link"),
    "values in another file": (
        lambda file: replace(file, shape=(2, 3), dtype="f4", external=[("other.bin", 0, 24)]),
        "keeps its values in another file",
    ),
    "a virtual dataset": (virtual, "keeps its values in another file"),
    "a bomb of nothing": (lambda file: replace(file, shape=(1000, 100), dtype="f4"), "holds 0 bytes"),
    "a deflated bomb": (
        lambda file: replace(file, shape=(1 << 22,), dtype="f8", compression="gzip", chunks=(1 << 19,)),
        "max_bytes",
    ),
    "absurd chunks": (
        lambda file: replace(file, data=numbers(10), chunks=(1 << 21,), maxshape=(None,)),
        "far more than its values",
    ),
    "a filter that is not read": (unknown_filter, "filters"),
    "texts": (lambda file: replace(file, data=["a", "b"]), "not a dtype of tensors"),
    "records": (lambda file: replace(file, data=np.zeros(2, "i4,f4")), "not a dtype of tensors"),
    "references": (lambda file: replace(file, data=file["l"].ref, dtype=h5py.ref_dtype), "not a dtype of tensors"),
    "complex numbers": (lambda file: replace(file, data=np.zeros(2, "c8")), "not a dtype of tensors"),
    "a missing weight": (lambda file: file["l"].pop("k"), "does not hold it"),
    "a missing layer": (lambda file: file.pop("l"), "has no group"),
    "a group in place of a weight": (lambda file: (file["l"].pop("k"), file["l"].create_group("k")), "does not hold"),
    "a type in place of a weight": (link(np.dtype("f4")), "neither a group nor a dataset"),
    "names that are numbers": (lambda file: file["l"].attrs.create("weight_names", [1.5]), "must hold texts"),
    "the same name twice": (lambda file: file["l"].attrs.create("weight_names", [b"k", b"k"]), "two weights named"),
    "a configuration that is no JSON": (lambda file: file.attrs.create("model_config", "{"), "JSONDecodeError"),
    "a configuration of brackets": (lambda file: file.attrs.create("model_config", "[" * 60000), "RecursionError"),
    "a name that is no UTF-8": (lambda file: file.attrs.create("layer_names", [b"\xff"]), "UnicodeDecodeError"),
}


@pytest.mark.errors
@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_files_are_refused(tmp_path, what):
    (tmp_path / "other.bin").write_bytes(bytes(24))
    write_store(tmp_path / "other.h5", {"/": {"k": numbers(2, 3)}})
    edit, reason = HOSTILE[what]
    path = edited(tmp_path, edit)
    with pytest.raises(FormatError, match=reason) as caught:
        read_keras_h5(path, max_bytes=MIB)
    assert caught.value.path == str(path)


@pytest.mark.errors
def test_groups_that_hold_themselves_are_refused(tmp_path):
    path = write_store(tmp_path / "w.h5", {"layers/conv2d/vars": {"0": numbers(1, 1, 1, 1)}})
    with h5py.File(path, "a") as file:
        file["layers/conv2d/layers"] = file["layers"]
    with pytest.raises(FormatError, match="holds itself"):
        read_keras_h5(path, max_bytes=MIB)


@pytest.mark.errors
def test_many_names_of_one_long_text_are_refused(tmp_path):
    config = json.dumps("x" * 60000)
    path = write_h5(
        tmp_path / "w.h5", {"l": {"k": numbers(1)}}, attributes={"model_config": config, "more": "y" * 5000}
    )
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = ["l"] * 3000
    names = struct.Struct("<IQI")  # length, collection, number in it
    content = bytearray(path.read_bytes())
    long = content.find(struct.pack("<I", len(config)), content.find(b"model_config"))
    entry = names.unpack_from(content, long)
    assert entry[0] == len(config)
    with pytest.raises(FormatError, match="has no group|two weights|no layer"):
        read_keras_h5(path, max_bytes=MIB)
    runs = (place for place in range(0, len(content) - 3200, 4) if names.unpack_from(content, place)[0] == 1)
    entries = lambda place: [names.unpack_from(content, place + 16 * number) for number in range(200)]
    place = next(place for place in runs if all(length == 1 for length, _, _ in entries(place)))
    for number in range(200):
        names.pack_into(content, place + 16 * number, *entry)
    path.write_bytes(content)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError, match="layer_names needs"):
            read_keras_h5(path, max_bytes=MIB)
        assert tracemalloc.get_traced_memory()[1] < 4 * MIB
    finally:
        tracemalloc.stop()


@pytest.mark.errors
def test_a_collection_of_texts_whose_sizes_do_not_add_up_is_refused(tmp_path, stored):
    content = bytearray(stored(MODEL).read_bytes())
    place = content.find(b"GCOL")
    size = struct.unpack_from("<Q", content, place + 8)[0]
    struct.pack_into("<Q", content, place + 8, size + 4096)  # HDF5 2.0 does not come back from this
    path = tmp_path / "w.h5"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="collection of strings"):
        read_keras_h5(path, max_bytes=MIB)


@pytest.mark.errors
def test_datasets_in_one_another_are_refused(tmp_path):
    layers = {"l": {f"k{place}": numbers(10_000, start=place) for place in range(2)}}
    path = write_h5(tmp_path / "w.h5", layers)
    with h5py.File(path) as file:
        first, last = (untyped(file["l"])[name].id.get_offset() for name in layers["l"])
    content = path.read_bytes()
    assert last + 40_000 == len(content)
    content = content.replace(struct.pack("<Q", last), struct.pack("<Q", first))
    content = content.replace(struct.pack("<Q", len(content)), struct.pack("<Q", last))
    path.write_bytes(content[:last])
    with pytest.raises(FormatError, match="claim more bytes than the file has"):
        read_keras_h5(path, max_bytes=MIB)


@pytest.mark.errors
@pytest.mark.parametrize("bits", [0x00, 0x02, 0x5F])
def test_a_text_of_an_unknown_kind_is_refused(tmp_path, stored, bits):
    content = bytearray(stored(MODEL).read_bytes())
    content[content.find(b"\x19", content.find(b"model_config\0")) + 1] = bits  # HDF5 2.0 crashes on some of them
    path = tmp_path / "w.h5"
    path.write_bytes(content)
    with pytest.raises(FormatError, match="model_config of / is neither text nor numbers"):
        read_keras_h5(path, max_bytes=MIB)


@pytest.mark.errors
def test_memory_is_limited_before_it_is_taken(tmp_path):
    path = write_h5(tmp_path / "w.h5", {"a": {"ka": numbers(100)}, "b": {"kb": numbers(101)}})
    assert len(read_keras_h5(path, max_bytes=804).tensors) == 2
    with pytest.raises(FormatError, match="kb needs 404 bytes"):
        read_keras_h5(path, max_bytes=803)


@pytest.mark.errors
def test_a_missing_file_and_a_file_of_something_else(tmp_path):
    for read in (read_keras, read_keras_h5):
        with pytest.raises(FileNotFoundError):
            read(tmp_path / "none", max_bytes=MIB)
        for content in (b"", b"text", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n"):
            (tmp_path / "other").write_bytes(content)
            with pytest.raises(FormatError):
                read(tmp_path / "other", max_bytes=MIB)
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    with pytest.raises(FormatError, match="neither the attribute layer_names nor variables"):
        read_keras_h5(tmp_path / "empty.h5", max_bytes=MIB)


def archive(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


ARCHIVES = {
    "no weights": ([("config.json", "{}")], "has no model.weights.h5"),
    "weights in several files": ([("config.json", "{}"), ("model.weights.json", "{}")], "several files"),
    "weights that are none": ([("config.json", "{}"), ("model.weights.h5", b"x" * 99)], "OSError"),
    "a bomb": ([("config.json", "{}"), ("model.weights.h5", bytes(8 * MIB))], "max_bytes"),
    "a bomb of text": ([("config.json", " " * (4 * MIB)), ("model.weights.h5", b"")], "max_bytes"),
    "a configuration that is no JSON": ([("config.json", "}"), ("model.weights.h5", b"")], "JSONDecodeError"),
    "a configuration of brackets": ([("config.json", "[" * 100000), ("model.weights.h5", b"")], "RecursionError"),
}


@pytest.mark.errors
@pytest.mark.parametrize("what", ARCHIVES)
def test_hostile_archives_are_refused(tmp_path, what):
    members, reason = ARCHIVES[what]
    with pytest.raises(FormatError, match=reason):
        read_keras(archive(tmp_path / "m.keras", members), max_bytes=MIB)


@pytest.mark.errors
def test_archives_of_rare_methods_and_lying_sizes_are_refused(tmp_path):
    members = [("config.json", "{}"), ("model.weights.h5", bytes(1000))]
    with pytest.raises(FormatError, match="method that is not read"):
        read_keras(archive(tmp_path / "m.keras", members, zipfile.ZIP_LZMA), max_bytes=MIB)
    content = bytearray(archive(tmp_path / "m.keras", members, zipfile.ZIP_STORED).read_bytes())
    place = content.rfind(b"PK\x01\x02")
    struct.pack_into("<I", content, place + 24, 999_999)
    (tmp_path / "m.keras").write_bytes(content)
    with pytest.raises(FormatError, match="more than its content can expand to"):
        read_keras(tmp_path / "m.keras", max_bytes=MIB)


@pytest.mark.errors
def test_configurations_of_any_form_do_no_harm(tmp_path):
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        file["layers/conv2d/vars/0"] = numbers(1, 1, 1, 1)
    layer = {"class_name": "Conv2D", "config": []}
    for config in (None, 1, [], {"config": 3}, {"config": {"layers": 5}}, {"config": {"layers": [1, layer]}}):
        members = [("config.json", json.dumps(config)), ("model.weights.h5", weights.getvalue())]
        checkpoint = read_keras(archive(tmp_path / "m.keras", members), max_bytes=MIB)
        assert list(checkpoint.tensors) == ["layers/conv2d/vars/0"] and checkpoint.graph == config
