"""``zoo.read``: the choice of the reader, and what it refuses."""

import h5py
import numpy as np
import pytest

from jaxcnn import zoo
from tests.support import paths
from tests.support import protobufs as pb
from tests.support.untyped import untyped

FIXTURES = paths.FIXTURES / "torch"


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
            zoo.read(tmp_path / "a.pth", max_bytes=untyped(max_bytes))


def test_names_of_files_say_nothing(tmp_path):
    (tmp_path / "a.h5").write_bytes((FIXTURES / "legacy.pth").read_bytes())
    assert zoo.read(tmp_path / "a.h5").metadata["container"] == "legacy"


def test_error_for_files_without_tensors(tmp_path):
    """A file that is read must hold weights; a description of a network of Caffe states that it has none."""
    np.savez(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes())
    np.save(tmp_path / "c.npy", np.array({"epoch": 3}, object), allow_pickle=True)
    (tmp_path / "d.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    (tmp_path / "e.pb").write_bytes(bytes.fromhex("0a09 0a0178 12044e6f4f70"))
    (tmp_path / "f.caffemodel").write_bytes(pb.block(1, "net") + pb.block(100, pb.block(1, "a"), pb.block(2, "ReLU")))
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file.attrs["layer_names"] = ["relu"]
        file.create_group("relu").attrs["weight_names"] = np.array([], "S1")
    for path in sorted(tmp_path.iterdir())[2:]:
        with pytest.raises(zoo.FormatError, match="holds no tensors"):
            zoo.read(path)
    (tmp_path / "net.prototxt").write_text('layer { name: "a" type: "ReLU" }')
    assert zoo.read(tmp_path / "net.prototxt").tensors == {}
