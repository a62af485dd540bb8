"""Weights in tar archives: TensorFlow's slim's, hostile ones, damaged ones."""

import gzip
import io
import tarfile

import numpy as np
import pytest

from jaxcnn import zoo
from tests.support import fuzzing
from tests.support.untyped import untyped
from tests.zoo.formats.caffe_test import layer, values
from tests.zoo.formats.tensorflow_checkpoint_test import FIXTURES


def npz():
    buffer = io.BytesIO()
    np.savez(buffer, kernel=np.arange(12.0))
    return buffer.getvalue()


def packed(path, members, *, mode="w:gz"):
    """Writes an archive of (name, content) and of entries that are given whole."""
    with tarfile.open(path, untyped(mode)) as archive:
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
            else:
                name, content = member
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return path


def files(folder):
    return [(f"./model/{file.name}", file.read_bytes()) for file in sorted((FIXTURES / folder).iterdir())]


@pytest.mark.parametrize("mode", ["w", "w:gz"])
@pytest.mark.parametrize("folder", ["named_v1", "named_v2"])
def test_checkpoints_of_tensorflow(tmp_path, folder, mode):
    beside = [(f"model/{name}", (FIXTURES / name).read_bytes()) for name in ("frozen.pb", "float.tflite")]
    beside += [("model/graph.meta", b"\x00"), ("model/checkpoint", b"model")]
    path = packed(tmp_path / "model_2016_08_23.tar", files(folder) + beside, mode=mode)
    checkpoint, expected = zoo.read(path), zoo.read(FIXTURES / folder)
    assert checkpoint.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        np.testing.assert_array_equal(checkpoint.tensors[name], tensor)
    assert checkpoint.metadata["notes"][-1].startswith("read from the archive: ")


def test_a_network_of_caffe(tmp_path):
    weights = layer("conv", "Convolution", values(4, 3, 2, 2))
    beside = [("net/deploy.prototxt", b'name: "net"'), ("net/mean.binaryproto", b"x"), ("net/means.npz", npz())]
    path = packed(tmp_path / "net.tar.gz", [*beside, ("net/net.caffemodel", weights)])
    (tmp_path / "net.caffemodel").write_bytes(weights)
    (expected,) = zoo.read(tmp_path / "net.caffemodel").tensors.values()
    (tensor,) = zoo.read(path).tensors.values()
    np.testing.assert_array_equal(tensor, expected)


def test_other_weights_and_what_lies_beside(tmp_path):
    link = tarfile.TarInfo("weights/link.npz")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    folder = tarfile.TarInfo("weights")
    folder.type = tarfile.DIRTYPE
    members = [folder, link, ("weights/._own.npz", b"fork"), ("weights/README.md", b"text"), ("weights/own.npz", npz())]
    checkpoint = zoo.read(packed(tmp_path / "own.tgz", members))
    np.testing.assert_array_equal(checkpoint.tensors["kernel"], np.arange(12.0))
    assert checkpoint.metadata["notes"][-1] == "read from the archive: own.npz (NumPy)"


@pytest.mark.errors
@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ([("a.txt", b"text")], "weights in one file, got none"),
        ([("a.npz", npz()), ("b.npz", npz())], "weights in one file, got a.npz, b.npz"),
        ([("a/one.npz", npz()), ("b/one.npz", npz())], "a member 'b/one.npz', which is in the way"),
        ([("a.npy", b"\x93NUMPY\x01\x00v\x00{")], "a.npy in the archive: "),
        ([(f"{i}.txt", b"") for i in range(1001)], "at most 1000 members"),
        ([("inner.tgz", gzip.compress(b"no archive"))], "weights in one file, got none"),
    ],
)
def test_archives_without_clear_weights_are_refused(tmp_path, members, reason):
    with pytest.raises(zoo.FormatError, match=reason):
        zoo.read(packed(tmp_path / "weights.tgz", members))


@pytest.mark.errors
@pytest.mark.parametrize("name", ["../escaped.npz", "/tmp/escaped.npz", "a/../../escaped.npz"])
def test_names_lead_nowhere_else(tmp_path, name):
    inside = tmp_path / "inside"
    inside.mkdir()
    checkpoint = zoo.read(packed(inside / "weights.tgz", [(name, npz())]))
    assert list(checkpoint.tensors) == ["kernel"]
    assert [file.name for file in tmp_path.rglob("*")] == ["inside", "weights.tgz"]


@pytest.mark.errors
def test_bombs_are_refused(tmp_path):
    bomb = packed(tmp_path / "bomb.tgz", [("zeros.npz", bytes(32 << 20))])
    assert bomb.stat().st_size < 1 << 16
    with pytest.raises(zoo.FormatError, match=r"'zeros.npz' needs 33554432 bytes, more than is left of max_bytes"):
        zoo.read(bomb, max_bytes=1 << 20)
    header = tarfile.TarInfo("long")
    header.type, header.size = tarfile.XHDTYPE, 1 << 31
    (tmp_path / "header.tgz").write_bytes(gzip.compress(header.tobuf() + bytes(8 << 20)))
    with pytest.raises(zoo.FormatError, match="a header of 2147483648 bytes"):
        zoo.read(tmp_path / "header.tgz")


@pytest.mark.errors
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_damaged_archives_are_read_or_refused(tmp_path, mode):
    def read(path, max_bytes):
        return zoo.read(path, max_bytes=max_bytes)

    content = packed(tmp_path / "intact.tar", files("named_v2"), mode=mode).read_bytes()
    assert fuzzing.fuzz(read, content, tmp_path / "damaged.tar", cases=40, max_bytes=1 << 22).refused >= 15
