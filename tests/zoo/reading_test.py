"""``zoo.read``: the choice of the reader, and what it refuses."""

import io
import json
import zipfile

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
    np.savez(tmp_path / "a.npz")
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes())
    np.save(tmp_path / "c.npy", np.array({"epoch": 3}, object), allow_pickle=True)
    (tmp_path / "d.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    with h5py.File(tmp_path / "g.h5", "w") as file:
        file.attrs["layer_names"] = ["relu"]
        file.create_group("relu").attrs["weight_names"] = np.array([], "S1")
    for path in sorted(tmp_path.iterdir())[2:]:
        with pytest.raises(zoo.FormatError, match="holds no tensors"):
            zoo.read(path)


def test_networks_without_tensors_run(tmp_path):
    """A network that only pools needs no weights."""
    pool = 'layer { name: "pool" type: "Pooling" bottom: "x" top: "pool" pooling_param { kernel_size: 2 stride: 2 } }'
    inputs = 'input: "x" input_dim: 1 input_dim: 3 input_dim: 8 input_dim: 8 '
    (tmp_path / "a.prototxt").write_text(inputs + pool)
    layer = pb.block(1, "relu") + pb.block(2, "ReLU") + pb.block(3, "x") + pb.block(4, "relu")
    sizes = b"".join(pb.number(4, size) for size in (1, 3, 8, 8))
    (tmp_path / "b.caffemodel").write_bytes(pb.block(1, "net") + pb.block(3, "x") + sizes + pb.block(100, layer))
    layers = [
        ("InputLayer", {"name": "x", "batch_shape": [None, 8, 8, 3]}),
        ("MaxPooling2D", {"name": "pool", "trainable": True}),
    ]
    listed = [{"class_name": kind, "config": config} for kind, config in layers]
    model = json.dumps({"class_name": "Sequential", "config": {"name": "net", "layers": listed}})
    with h5py.File(tmp_path / "d.h5", "w") as file:
        file.attrs["model_config"] = model
        file.create_group("model_weights").attrs["layer_names"] = ["pool"]
        file.create_group("model_weights/pool").attrs["weight_names"] = np.array([], "S1")
    with h5py.File(empty := io.BytesIO(), "w") as file:
        file.create_group("layers/pool/vars")
    with zipfile.ZipFile(tmp_path / "c.keras", "w") as archive:
        archive.writestr("config.json", model)
        archive.writestr("model.weights.h5", empty.getvalue())
    for path in sorted(tmp_path.iterdir()):
        assert zoo.read(path).tensors == {}
        network = zoo.load(path)
        side = 8 if path.stem == "b" else 4
        assert untyped(network.model.apply(network.variables, np.ones((2, 8, 8, 3)))).shape == (2, side, side, 3)
    (tmp_path / "e.prototxt").write_text(inputs + pool.replace("Pooling", "BatchNorm"))
    with pytest.raises(zoo.FormatError, match="holds no weights; load its caffemodel"):
        zoo.load(tmp_path / "e.prototxt")
