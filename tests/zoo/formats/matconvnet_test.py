"""Networks of MatConvNet: written as MATLAB writes them, real, damaged and hostile ones."""

import struct
import zlib

import h5py
import numpy as np
import pytest
import scipy.io
from numpy.typing import DTypeLike

from jaxcnn.zoo import FormatError
from jaxcnn.zoo.containers.matlab_v5 import read_variables_v5
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.formats.keras.hdf5_file import is_keras_h5
from jaxcnn.zoo.formats.matconvnet.mat_file import is_matconvnet, read_matconvnet
from tests.support import real_data
from tests.support.fuzzing import fuzz
from tests.support.matlab_files import Records, write
from tests.support.selection import daily
from tests.support.untyped import untyped

ROOT = real_data.DATA / "matconvnet"
MIB = 1 << 20
FORMS = ["v6", "v7", "v7.3"]


def numbers(*shape, dtype: DTypeLike = np.float32, start=0):
    return (np.arange(np.prod(shape)) + start).reshape(shape).astype(dtype)


def simple_net():
    """A SimpleNN in the present form, MATLAB's axes: kernels (h, w, in, out)."""
    layers = [
        {"type": "conv", "name": "c1", "weights": [numbers(3, 2, 3, 8), numbers(1, 8)], "stride": np.float64(2)},
        {"type": "bnorm", "name": "b1", "weights": [numbers(8, 1), numbers(8, 1, start=1), numbers(8, 2)]},
        {"type": "relu", "name": "r1", "leak": np.float64(0.5)},
        {"type": "conv", "name": "dw", "weights": [numbers(3, 2, 1, 16), np.zeros((0, 0), np.float32)]},
        {"type": "conv", "name": "g", "weights": [numbers(1, 1, 8, 4), numbers(4)], "pad": np.array([0.0, 1, 0, 1])},
        {"type": "convt", "name": "up", "weights": [numbers(2, 3, 5, 4), numbers(1, 5)]},
        {"type": "conv", "name": "last", "weights": [numbers(2, 3, 5, 1), numbers(1, 1)], "momentum": [numbers(2, 3)]},
        {"type": "conv", "name": "last", "weights": [numbers(2, 3, 1, 1), numbers(1, 1)], "precious": np.bool_(True)},
        {"type": "custom", "weights": [numbers(3, 4)]},
    ]
    image = {"imageSize": np.array([8.0, 9, 3]), "averageImage": numbers(8, 9, 3), "interpolation": "bilinear"}
    return {"layers": layers, "meta": {"normalization": image, "classes": {"name": ["cat", "Hündin"]}}}


SIMPLE = {
    "c1/filters": numbers(3, 2, 3, 8),
    "c1/biases": numbers(8),
    "b1/multipliers": numbers(8),
    "b1/biases": numbers(8, start=1),
    "b1/moments": numbers(8, 2),
    "dw/filters": numbers(3, 2, 1, 16).reshape(3, 2, 8, 2),
    "g/filters": numbers(1, 1, 8, 4),
    "g/biases": numbers(4),
    "up/filters": numbers(2, 3, 5, 4).swapaxes(2, 3),
    "up/biases": numbers(5),
    "last/filters": numbers(2, 3, 5, 1),
    "last/biases": numbers(1),
    "layer8/filters": numbers(2, 3, 1, 1),
    "layer8/biases": numbers(1),
    "layer9/weights1": numbers(3, 4),
}


def dag_net():
    conv = {"size": np.array([3.0, 3, 1, 4]), "hasBias": np.bool_(True), "pad": np.array([1.0, 1, 1, 1]), "opts": []}
    layer = {"name": "c", "type": "dagnn.Conv", "inputs": ["input"], "outputs": ["x1"], "params": ["cf", "cb"]}
    more = {"name": "n", "type": "dagnn.BatchNorm", "inputs": ["x1"], "outputs": ["x2"], "params": ["ng", "nb", "nm"]}
    cat = {"name": "k", "type": "dagnn.Concat", "inputs": ["x1", "x2"], "outputs": ["x3"], "params": []}
    deep = {"name": "d", "type": "dagnn.Conv", "inputs": ["x3"], "outputs": ["x4"], "params": ["df"]}
    up = {"name": "u", "type": "dagnn.ConvTranspose", "inputs": ["x4"], "outputs": ["y"], "params": ["uf"]}
    blocks = [conv, {"epsilon": np.float64(1e-5)}, {"dim": np.float64(3)}, {"hasBias": np.bool_(False)}, {}]
    layers = [
        {**described, "block": block} for described, block in zip((layer, more, cat, deep, up), blocks, strict=True)
    ]
    values = {
        "cf": numbers(3, 3, 1, 4),
        "cb": numbers(4, 1),
        "ng": numbers(4, 1),
        "nb": numbers(4, 1),
        "nm": numbers(4, 2),
        "df": numbers(3, 3, 1, 8),
        "uf": numbers(2, 2, 6, 8),
        "unused": numbers(2, 3, 4),
    }
    params = [{"name": name, "value": value, "learningRate": np.float64(0.5)} for name, value in values.items()]
    names = [{"name": name, "precious": np.bool_(False)} for name in ("input", "x1", "x2", "x3", "x4", "y")]
    return {"layers": Records(layers), "params": Records(params), "vars": Records(names), "meta": np.zeros((0, 0))}


def check(checkpoint, wanted):
    assert list(checkpoint.tensors) == list(wanted)
    for name, array in wanted.items():
        got = checkpoint.tensors[name]
        assert got.dtype == array.dtype and got.flags.c_contiguous and got.flags.writeable, name
        assert got.base is None or got.base.nbytes == got.nbytes, name
        np.testing.assert_array_equal(got, array, strict=True, err_msg=name)


# Networks of every form.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("variable", ["net", "model"])
def test_simple_network(tmp_path, form, variable):
    path = write(tmp_path / "net.mat", form, {variable: simple_net(), "info": {"loss": numbers(3)}})
    head = path.read_bytes()[:4096]
    assert is_matconvnet(path, head) and not is_keras_h5(path, head)
    checkpoint = read_matconvnet(path, max_bytes=MIB)
    check(checkpoint, SIMPLE)
    metadata = checkpoint.metadata
    assert metadata["network"] == "SimpleNN" and metadata["groups"] == {"dw/filters": 8, "g/filters": 2}
    assert metadata["layouts"]["up/filters"] == ("IOWH" if form == "v7.3" else "HWOI")
    assert metadata["layouts"].get("c1/filters") == ("OIWH" if form == "v7.3" else None)
    assert metadata["meta"]["classes"]["name"] == ["cat", "Hündin"]
    assert metadata["meta"]["normalization"]["imageSize"] == [8, 9, 3]
    np.testing.assert_array_equal(metadata["meta"]["normalization"]["averageImage"], numbers(8, 9, 3))
    assert any("info" in note for note in metadata["notes"])
    layers = checkpoint.graph["layers"]
    assert [layer["type"] for layer in layers] == [layer["type"] for layer in simple_net()["layers"]]
    assert layers[0] == {"type": "conv", "name": "c1", "stride": 2, "params": ["c1/filters", "c1/biases"]}
    assert layers[2]["leak"] == 0.5 and layers[4]["pad"] == [0, 1, 0, 1] and "momentum" not in layers[6]
    assert layers[7]["precious"] is True


@pytest.mark.parametrize("form", FORMS)
def test_fields_at_the_top_and_the_old_form(tmp_path, form):
    layers = [
        {"type": "conv", "filters": numbers(3, 3, 3, 4), "biases": numbers(1, 4), "filtersMomentum": numbers(3, 3)},
        {"type": "conv", "name": "fc", "filters": numbers(5, 5, 4), "biases": numbers(1, 1)},
        {"type": "softmax"},
    ]
    variables = {"layers": layers, "classes": {"name": ["a"]}, "normalization": {"imageSize": np.array([9.0, 9, 3])}}
    checkpoint = read_matconvnet(write(tmp_path / "net.mat", form, variables), max_bytes=MIB)
    wanted = {"layer1/filters": numbers(3, 3, 3, 4), "layer1/biases": numbers(4)}
    wanted |= {"fc/filters": numbers(5, 5, 4, 1), "fc/biases": numbers(1)}
    check(checkpoint, wanted)
    assert checkpoint.metadata["notes"] == [] and checkpoint.metadata["meta"]["classes"] == {"name": ["a"]}
    assert [layer["name"] for layer in checkpoint.graph["layers"]] == ["layer1", "fc", "layer3"]


def test_transposed_convolutions_pass_on_their_outputs(tmp_path):
    kernels = {"conv": numbers(1, 1, 1, 4), "convt": numbers(1, 1, 2, 4), "last": numbers(1, 1, 2, 2)}
    layers = [{"type": kind.replace("last", "conv"), "weights": [kernel]} for kind, kernel in kernels.items()]
    checkpoint = read_matconvnet(write(tmp_path / "net.mat", "v6", {"net": {"layers": layers}}), max_bytes=MIB)
    assert checkpoint.metadata["groups"] == {}


@pytest.mark.parametrize("form", FORMS)
def test_graph_network(tmp_path, form):
    checkpoint = read_matconvnet(write(tmp_path / "net.mat", form, {"net": dag_net()}), max_bytes=MIB)
    wanted = {record["name"]: record["value"] for record in dag_net()["params"]}
    wanted |= {name: wanted[name].reshape(-1) for name in ("cb", "ng", "nb")}
    wanted |= {"df": wanted["df"].reshape(3, 3, 8, 1), "uf": wanted["uf"].swapaxes(2, 3)}
    check(checkpoint, wanted)
    assert checkpoint.metadata["network"] == "DagNN" and checkpoint.metadata["groups"] == {"df": 8}
    graph = checkpoint.graph
    assert [layer["name"] for layer in graph["layers"]] == list("cnkdu")
    assert graph["layers"][1]["params"] == ["ng", "nb", "nm"] and graph["layers"][2]["inputs"] == ["x1", "x2"]
    assert graph["layers"][0]["block"] == {"size": [3, 3, 1, 4], "hasBias": True, "pad": [1, 1, 1, 1], "opts": []}
    assert graph["params"][0] == {"name": "cf", "learningRate": 0.5}
    assert [variable["name"] for variable in graph["vars"]] == ["input", "x1", "x2", "x3", "x4", "y"]


def test_numbers_stored_small_big_endian_and_rare_values(tmp_path):
    """The parts of level 5 that a network rarely has, against what scipy reads."""
    variables = {
        "net": {
            "layers": [],
            "bytes": np.arange(5, dtype=np.uint8),
            "wide": np.array([[1, 2**40]], np.int64),
            "doubles": numbers(2, 3, 4, dtype=np.float64),
            "truth": np.array([[True, False]]),
            "rows": np.array(["ab ", "cde"]),
            "deep": {"cell": [["x"], {"y": np.float32(1)}]},
        }
    }
    path = write(tmp_path / "a.mat", "v7", variables)
    found, names = read_variables_v5(
        SourceFile(path, MIB), choose=lambda names, struct: names, marker="layers", ignored=()
    )
    net, wanted = found["net"], scipy.io.loadmat(path, simplify_cells=True)["net"]
    assert names == ["net"] and net["layers"] == []
    for key in ("bytes", "wide", "doubles", "truth"):
        np.testing.assert_array_equal(np.squeeze(net[key]), wanted[key])
        assert net[key].dtype == variables["net"][key].dtype
    assert net["rows"] == ["ab", "cde"] and net["deep"]["cell"][0] == ["x"]
    np.testing.assert_array_equal(net["deep"]["cell"][1]["y"], [[1]])


def element(kind, content):
    return struct.pack(">II", kind, len(content)) + content + bytes(-len(content) % 8)


def matrix(kind, shape, name, *parts, order=">"):
    head = element(6, struct.pack(">II", kind, 0)) + element(5, struct.pack(f">{len(shape)}i", *shape))
    return element(14, head + element(1, name) + b"".join(parts))


def big_endian(*variables):
    return b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack(">H", 0x0100) + b"MI" + b"".join(variables)


def big_struct(name, fields):
    names = b"".join(key.ljust(16, b"\0") for key in fields)
    return matrix(2, (1, 1), name, element(5, struct.pack(">i", 16)), element(1, names), *fields.values())


def test_big_endian_file_whose_doubles_are_stored_as_bytes(tmp_path):
    kernel = matrix(6, (2, 2, 1), b"", element(2, bytes([1, 2, 3, 4])))
    weights = matrix(1, (1, 1), b"", kernel)
    kind = matrix(4, (1, 4), b"", element(4, "conv".encode("utf-16-be")))
    layer = big_struct(b"", {b"type": kind, b"weights": weights, b"func": matrix(16, (1, 1), b"", bytes(8))})
    net = big_struct(b"net", {b"layers": matrix(1, (1, 1), b"", layer)})
    path = tmp_path / "net.mat"
    path.write_bytes(big_endian(net))
    checkpoint = read_matconvnet(path, max_bytes=MIB)
    assert checkpoint.tensors["layer1/filters"].dtype == np.float64
    np.testing.assert_array_equal(checkpoint.tensors["layer1/filters"].reshape(2, 2), [[1, 3], [2, 4]])
    assert checkpoint.graph["layers"][0]["func"] == {"MATLAB_class": "function_handle"}


# Real files.


@real_data.needs_data
def test_real_simple_network():
    path = ROOT / "dncnn_sigma25_merged.mat"
    checkpoint = read_matconvnet(path, max_bytes=8 * MIB)
    layers = [layer["type"] for layer in checkpoint.graph["layers"]]
    assert layers.count("conv") == 17 and layers.count("relu") == 16
    assert len(checkpoint.tensors) == 34 and sum(array.size for array in checkpoint.tensors.values()) == 555_137
    shapes = [array.shape for name, array in checkpoint.tensors.items() if name.endswith("filters")]
    assert shapes == [(3, 3, 1, 64)] + [(3, 3, 64, 64)] * 15 + [(3, 3, 64, 1)]
    assert checkpoint.metadata["groups"] == {}


@real_data.needs_data
def test_real_simple_network_removes_noise():
    """Rotated images were trained on, too, so this says nothing of height and width, but of all else."""
    image_file = pytest.importorskip("PIL.Image")
    checkpoint = read_matconvnet(ROOT / "dncnn_sigma25_merged.mat", max_bytes=8 * MIB)
    clean = np.asarray(image_file.open(ROOT / "Set12" / "01.png"), np.float32)[96:160, 96:160] / 255
    noisy = clean + np.random.default_rng(0).normal(0, 25 / 255, clean.shape).astype(np.float32)

    x = noisy[..., None]
    for layer in checkpoint.graph["layers"]:
        if layer["type"] == "relu":
            x = np.maximum(x, 0)
            continue
        kernel, bias = (checkpoint.tensors[name] for name in layer["params"])
        padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), (0, 1))  # h w c kh kw
        x = np.einsum("hwcij,ijco->hwo", windows, kernel, optimize=True) + bias
    before, after = (10 * np.log10(1 / np.mean((image - clean) ** 2)) for image in (noisy, noisy - x[..., 0]))
    assert before < 20.5 and after > 28


@real_data.needs_data
def test_real_graph_network():
    checkpoint = read_matconvnet(ROOT / "dncnn_dagnn_epoch50.mat", max_bytes=8 * MIB)
    assert len(checkpoint.graph["layers"]) == 50 and len(checkpoint.tensors) == 79
    assert sum(array.size for array in checkpoint.tensors.values()) == 558_977
    assert checkpoint.tensors["conv1_f"].shape == (3, 3, 1, 64) and checkpoint.tensors["conv48_f"].shape == (
        3,
        3,
        64,
        1,
    )
    for name, array in checkpoint.tensors.items():
        assert array.shape == (64, 2) or not name.endswith("_m")
    with h5py.File(ROOT / "dncnn_dagnn_epoch50.mat") as file:
        for place in (0, 2, 78):
            stored = untyped(file[untyped(file["net/params/value"])[place, 0]])[()]
            got = list(checkpoint.tensors.values())[place]
            np.testing.assert_array_equal(got.reshape(-1), stored.T.reshape(-1))


# Damaged and hostile files.


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("net", daily([simple_net, dag_net], [dag_net]))
@pytest.mark.errors
def test_fuzz(tmp_path, form, net):
    path = write(tmp_path / "net.mat", form, {"net": net()})
    cases = 40 if form == "v7.3" else 80
    outcome = fuzz(read_matconvnet, path.read_bytes(), tmp_path / "damaged.mat", cases=cases, max_bytes=MIB)
    assert outcome.refused >= 15


@pytest.mark.errors
@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "no header of MATLAB"),
        (big_endian(), "no struct with layers"),
        (big_endian(element(9, bytes(8))), "element of type 9"),
        (big_endian(struct.pack(">II", 14, 1 << 30)), "element of type 14"),
        (big_endian(matrix(6, (1, 2), b"net", element(9, bytes(16)))), "no struct with layers"),
        (
            big_endian(big_struct(b"net", {b"layers": matrix(6, (1 << 20, 1 << 20), b"", element(9, b""))})),
            "declares the shape",
        ),
        (big_endian(big_struct(b"net", {b"layers": matrix(6, (-1, 2), b"", element(9, b""))})), "impossible shape"),
        (big_endian(big_struct(b"net", {b"layers": matrix(1, (1 << 30, 1), b"")})), "elements are declared"),
        (
            big_endian(big_struct(b"net", {b"layers": matrix(4, (1 << 23, 0), b"", element(16, b""))})),
            "more than is left of max_bytes",
        ),
        (big_endian(big_struct(b"net", {b"layers": matrix(99, (1, 1), b"")})), "unknown class 99"),
        (
            big_endian(
                big_struct(b"net", {b"layers": matrix(1, (1, 1), b"", matrix(6, (1, 1), b"", element(9, bytes(8))))})
            ),
            "is not a struct",
        ),
        (big_endian(matrix(17, (1, 1), b"net")), "element of type|no struct"),
        (
            big_endian(matrix(2, (1, 1), b"net", element(5, struct.pack(">i", -4)), element(1, bytes(16)))),
            "field names",
        ),
    ],
)
def test_hostile_files_of_level_5_are_refused(tmp_path, content, reason):
    path = tmp_path / "net.mat"
    path.write_bytes(content)
    with pytest.raises(FormatError, match=reason) as caught:
        read_matconvnet(path, max_bytes=MIB)
    assert caught.value.path == str(path)


@pytest.mark.errors
def test_nesting_without_end_is_refused(tmp_path):
    inner = matrix(6, (1, 1), b"", element(9, bytes(8)))
    for _ in range(200):
        inner = matrix(1, (1, 1), b"", inner)
    path = tmp_path / "net.mat"
    path.write_bytes(big_endian(big_struct(b"net", {b"layers": inner})))
    with pytest.raises(FormatError, match="nested too deeply"):
        read_matconvnet(path, max_bytes=MIB)


@pytest.mark.errors
def test_deflated_bombs_are_refused(tmp_path):
    kernel = matrix(7, (1 << 11, 1 << 12), b"", element(7, bytes(1 << 25)))
    cells = matrix(1, (1, 1 << 18), b"", struct.pack(">II", 14, 0) * (1 << 18))
    skipped = big_struct(b"", {b"momentum": kernel})
    for layers, reason in ((kernel, "max_bytes"), (cells, "max_bytes"), (skipped, "max_bytes")):
        content = zlib.compress(big_struct(b"net", {b"layers": layers}), 9)
        path = tmp_path / "net.mat"
        path.write_bytes(big_endian(struct.pack(">II", 15, len(content)) + content))
        with pytest.raises(FormatError, match=reason):
            read_matconvnet(path, max_bytes=MIB)


@pytest.mark.errors
def test_deflated_elements_that_end_early_are_refused(tmp_path):
    whole = big_struct(b"net", {b"layers": matrix(1, (1, 0), b"")})
    for content in (zlib.compress(whole[:60]), zlib.compress(whole)[:30], zlib.compress(b""), b"no zlib"):
        path = tmp_path / "net.mat"
        path.write_bytes(big_endian(struct.pack(">II", 15, len(content)) + content))
        with pytest.raises(FormatError):
            read_matconvnet(path, max_bytes=MIB)


def cycle(file):
    cell = file.create_dataset("#refs#/loop", (1, 1), h5py.ref_dtype)
    cell.attrs["MATLAB_class"] = np.bytes_("cell")
    cell[0, 0] = cell.ref
    file["net/layers"][0, 0] = cell.ref


def laughter(file):
    inner = file["#refs#/r1"].ref
    for name in ("a", "b"):
        cell = file.create_dataset(f"#refs#/{name}", data=np.array([[inner], [inner]], h5py.ref_dtype))
        cell.attrs["MATLAB_class"] = np.bytes_("cell")
        inner = cell.ref
    file["net/layers"][0, 0] = inner


def nothing(file):
    file["net/layers"][0, 0] = h5py.Reference()


def elsewhere(file):
    del file["net/layers"]
    file["net/layers"] = h5py.ExternalLink("other.mat", "/net/layers")


def an_object(file):
    file["net"].attrs["MATLAB_class"] = np.bytes_("dagnn.DagNN")


def long_texts(file):
    del file["net/layers"]
    file["net/layers"] = ["x" * 9000] * 9
    file["net/layers"].attrs["MATLAB_class"] = np.bytes_("cell")


def a_type(file):
    file["net/more"] = np.dtype("f4")


def records(file):
    file["net/more"] = np.zeros(3, "f4,f4")


def no_text(file):
    file["net/layers"].attrs["MATLAB_class"] = np.bytes_("char")


@pytest.mark.errors
@pytest.mark.parametrize(
    "edit, reason",
    [
        (cycle, "holds itself"),
        (laughter, "also occurs elsewhere"),
        (nothing, "reference to nothing"),
        (elsewhere, "soft or external link"),
        (an_object, "of class dagnn.DagNN"),
        (no_text, "not a struct"),
        (long_texts, "not references"),
        (a_type, "neither a group nor a dataset"),
        (records, "tensors of a network never"),
    ],
)
def test_hostile_files_of_version_7_3_are_refused(tmp_path, edit, reason):
    path = write(tmp_path / "net.mat", "v7.3", {"net": simple_net()})
    with h5py.File(path, "r+") as file:
        edit(file)
    with pytest.raises(FormatError, match=reason):
        read_matconvnet(path, max_bytes=MIB)


@pytest.mark.errors
@pytest.mark.parametrize("form", FORMS)
def test_memory_is_limited_before_it_is_taken(tmp_path, form):
    net = {"layers": [{"type": "conv", "weights": [numbers(1, 1, 100, 100), numbers(100)]}]}
    path = write(tmp_path / "net.mat", form, {"net": net})
    assert len(read_matconvnet(path, max_bytes=41_000).tensors) == 2
    with pytest.raises(FormatError, match="needs 40000 bytes"):
        read_matconvnet(path, max_bytes=39_999)


@pytest.mark.errors
@pytest.mark.parametrize("form", FORMS)
def test_networks_of_odd_parts_are_refused(tmp_path, form):
    odd = [
        ({"layers": [{"type": "conv", "weights": ["text"]}]}, "filters is not an array"),
        ({"layers": [{"type": "conv", "weights": [numbers(1, 2, 1, 2, 3)]}]}, "is a kernel of the shape"),
        ({"layers": ["text"]}, "is not a struct"),
        ({**dag_net(), "params": Records([{"name": "a", "value": "text"}])}, "no name of its own or no value"),
        ({"other": []}, "no struct with layers"),
    ]
    for net, reason in odd:
        with pytest.raises(FormatError, match=reason):
            read_matconvnet(write(tmp_path / "net.mat", form, {"net": net}), max_bytes=MIB)


@pytest.mark.errors
def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_matconvnet(tmp_path / "none.mat", max_bytes=MIB)
    assert not is_matconvnet(tmp_path / "none.mat", b"PK\x03\x04")
