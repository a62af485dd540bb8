"""The reader of ``.npy`` and ``.npz``, also with pickled dictionaries; real, hostile and damaged files."""

import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from jaxcnn import zoo
from jaxcnn.zoo.formats.numpy_file import read_numpy
from tests.support.fuzzing import fuzz
from tests.support.real_data import DATA, needs_data

DTYPES = ("f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?", "c8", "c16", ">f4", ">i8")


def npy(array: np.ndarray, **options) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, **options)
    return buffer.getvalue()


def pickled(tree) -> bytes:
    """Writes a dictionary with ``numpy.save``."""
    array = np.empty((), object)
    array[()] = tree
    return npy(array, allow_pickle=True)


def raw_npy(body: bytes, descr: str = "|O", shape: str = "()") -> bytes:
    """An ``.npy`` whose header says what it is told to."""
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body


def equal(found: np.ndarray, wanted: np.ndarray) -> None:
    assert found.dtype == wanted.dtype.newbyteorder("=") and found.dtype.isnative
    assert found.flags.c_contiguous and found.flags.writeable and found.flags.owndata
    np.testing.assert_array_equal(found, wanted)


@pytest.mark.parametrize("dtype", DTYPES)
def test_npy(tmp_path, dtype):
    array = (np.arange(6) % 2 if dtype == "?" else np.arange(6)).astype(dtype).reshape(2, 3)
    for name, stored in (("c", array), ("fortran", np.asfortranarray(array)), ("scalar", array[1, 1])):
        (tmp_path / name).write_bytes(npy(stored))
        checkpoint = zoo.read(tmp_path / name)
        assert list(checkpoint.tensors) == ["arr_0"] and checkpoint.metadata["layouts"] == {}
        equal(checkpoint.tensors["arr_0"], np.asarray(stored))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    arrays = {"a/b.c": np.arange(6, dtype=np.float16).reshape(3, 2), "empty": np.zeros((0, 2)), "0d": np.array(3)}
    save(tmp_path / "a.npz", **arrays, classes=np.array(["cat", "dog"]))
    checkpoint = zoo.read(tmp_path / "a.npz")
    assert list(checkpoint.tensors) == list(arrays)
    for name, array in arrays.items():
        equal(checkpoint.tensors[name], array)
    assert checkpoint.metadata["extra"] == {"classes": ["cat", "dog"]}
    assert checkpoint.metadata["notes"] == ["Axes are as stored: the file does not say which arrays are kernels."]


def test_entries_that_are_no_arrays_are_noted(tmp_path):
    with zipfile.ZipFile(tmp_path / "a", "w") as archive:
        archive.writestr("x.npy", npy(np.ones(2)))
        archive.writestr("read.me", "text")
    checkpoint = zoo.read(tmp_path / "a")
    assert list(checkpoint.tensors) == ["x"]
    assert checkpoint.metadata["notes"][1] == "Entry 'read.me' is not an array and was left out."


@pytest.mark.parametrize("inside", [False, True])
def test_pickled_dictionaries(tmp_path, inside):
    big, number = np.arange(200, dtype="<f4").reshape(5, 40), np.arange(3, dtype=">i2")
    tree = {
        "conv": {"weights": big, "bias": number},
        b"list": [number, {"x": big.T}],
        "epoch": np.int64(3),
        "name": "n",
    }
    path = tmp_path / "a"
    if inside:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("net.npy", pickled(tree))
    else:
        path.write_bytes(pickled(tree))
    checkpoint = zoo.read(path)
    before = "net/" if inside else ""
    wanted = {"conv/weights": big, "conv/bias": number, "list/0": number, "list/1/x": big.T}
    assert list(checkpoint.tensors) == [before + name for name in wanted]
    for name, array in wanted.items():
        equal(checkpoint.tensors[before + name], array)
    extra = {"epoch": 3, "name": "n"}
    assert checkpoint.metadata["extra"] == ({"net": extra} if inside else extra)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_pickles_of_every_protocol(tmp_path, protocol):
    array = np.arange(300, dtype=np.float32)
    outer = np.empty((), object)
    outer[()] = {"w": array, "flag": np.bool_(True), "small": np.arange(3.0)}
    (tmp_path / "a").write_bytes(raw_npy(pickle.dumps(outer, protocol=protocol)))
    checkpoint = zoo.read(tmp_path / "a")
    equal(checkpoint.tensors["w"], array)
    equal(checkpoint.tensors["small"], np.arange(3.0))
    assert checkpoint.metadata["extra"] == {"flag": True}


def test_booleans_are_0_or_1(tmp_path):
    (tmp_path / "a").write_bytes(raw_npy(b"\x00\x02\xff", "|b1", "(3,)"))
    assert zoo.read(tmp_path / "a").tensors["arr_0"].view(np.uint8).tolist() == [0, 1, 1]


class Call:
    """Is pickled as a call of ``os.mkdir``."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_nothing_is_run(tmp_path):
    (tmp_path / "a").write_bytes(pickled({"a": Call(tmp_path / "made")}))
    with pytest.raises(zoo.FormatError, match=r"refuses \w+\.mkdir: a pickled object; arrays, numbers"):
        zoo.read(tmp_path / "a")
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy(np.zeros(3))[:-1], r"declares shape \(3,\), 24 bytes, but holds 23 bytes"),
        (npy(np.zeros(3))[:20], "a header of 118 bytes, more than"),
        (raw_npy(b"", "<f8", "(1000000000000,)"), "but holds 0 bytes"),
        (raw_npy(b"", "<f8", "(-1,)"), "not that of an array"),
        (raw_npy(b"", "<f8", "(0,) + __import__('os')"), None),
        (raw_npy(b"", "<f8", "(99999999999999999999,)"), "has the shape"),
        (raw_npy(b"", "<f8", "(" + "1," * 40 + ")"), "without shape"),
        (raw_npy(bytes(4), "|V4", "(1,)"), "has dtype '|V4': neither numbers nor texts"),
        (npy(np.ones(2, ml_dtypes.bfloat16)), "NumPy writes bfloat16 like this, save it as float32"),
        (npy(np.zeros(2, [("a", "f4")])), "not that of an array of numbers"),
        (raw_npy(b"", "<M8[s]", "(0,)"), "has dtype '<M8"),
        (b"\x93NUMPY\x09\x00" + bytes(20), "version 1 to 3"),
        (raw_npy(b"not a pickle"), "cannot be read at byte 0"),
    ],
)
def test_error_for_headers_that_lie(tmp_path, content, message):
    (tmp_path / "a").write_bytes(content)
    if message is None:
        assert zoo.read(tmp_path / "a").tensors["arr_0"].shape == (0,)  # the header is searched, never evaluated
        return
    with pytest.raises(zoo.FormatError, match=message):
        zoo.read(tmp_path / "a")


def test_bytes_behind_an_array_are_ignored_as_by_numpy(tmp_path):
    (tmp_path / "a.npy").write_bytes(npy(np.arange(3)) + b"\0")
    np.testing.assert_array_equal(np.load(tmp_path / "a.npy"), np.arange(3))
    checkpoint = zoo.read(tmp_path / "a.npy")
    np.testing.assert_array_equal(checkpoint.tensors["arr_0"], np.arange(3))
    assert checkpoint.metadata["notes"][-1] == "1 bytes behind the array were ignored."


def test_error_for_bombs(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1 << 24))
    with pytest.raises(zoo.FormatError, match="more than is left of max_bytes=1000000"):
        zoo.read(tmp_path / "a.npz", max_bytes=1_000_000)
    shared = np.zeros(1 << 12, np.uint8)
    (tmp_path / "b").write_bytes(pickled([shared] * 5000))  # one array in many places: its bytes are once in the file
    with pytest.raises(zoo.FormatError, match="nested too deeply, too many|two tensors|max_bytes"):
        zoo.read(tmp_path / "b", max_bytes=1 << 11)


def test_damaged_files_are_read_or_refused(tmp_path):
    tree = {"conv": {"weights": np.arange(120, dtype=np.float32).reshape(5, 24), "bias": np.arange(3.0)}, "n": [1, "x"]}
    for number, content in enumerate((npy(np.arange(40.0)), pickled(tree))):
        assert fuzz(read_numpy, content, tmp_path / str(number), cases=40).refused > 15
    for save in (np.savez, np.savez_compressed):
        buffer = io.BytesIO()
        save(buffer, a=np.arange(40.0), b=np.ones((2, 3), np.int8))
        assert fuzz(read_numpy, buffer.getvalue(), tmp_path / "z", cases=40).refused > 15


@needs_data
@pytest.mark.parametrize(("number", "size"), [(1, 6632), (2, 100_178), (3, 389_040)])
def test_real_pickled_dictionaries(number, size):
    tensors = zoo.read(DATA / "tensorflow" / f"mtcnn_det{number}.npy").tensors
    assert sum(array.size for array in tensors.values()) == size
    assert tensors["conv1/weights"].shape[:3] == (3, 3, 3) and tensors["conv1/weights"].dtype == np.float32


@needs_data
def test_real_indices():
    array = zoo.read(DATA / "keras" / "mlperftiny_cifar10_perf_samples_idxs.npy").tensors["arr_0"]
    np.testing.assert_array_equal(array, np.load(DATA / "keras" / "mlperftiny_cifar10_perf_samples_idxs.npy"))


def test_an_entry_without_a_name_does_not_stand_in_the_way(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, kernel=np.arange(3))
    with zipfile.ZipFile(path, "a") as archive, archive.open(zipfile.ZipInfo(""), "w") as entry:
        entry.write(b"nameless")
    tensors = read_numpy(path, max_bytes=1 << 20).tensors
    np.testing.assert_array_equal(tensors["kernel"], np.arange(3))
