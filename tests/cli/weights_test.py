"""`jaxcnn inspect` and `jaxcnn convert`."""

import numpy as np
import pytest

from jaxcnn import zoo
from jaxcnn.cli import main
from tests.support.command_line import refused
from tests.support.paths import ROOT


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "weights.npz"
    np.savez(path, **{"conv/kernel": np.ones((3, 3, 1, 8), np.float32), "conv/bias": np.zeros(8, np.float16)})
    return path


def test_inspect_shows_what_a_file_holds(weights, capsys):
    assert main(["inspect", str(weights), "--tensors", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["format     numpy", "framework  numpy", "tensors    2, of 80 values in 304 bytes"]
    assert lines[3].startswith("note       Axes are as stored")
    assert lines[4:] == ["conv/kernel  (3, 3, 1, 8)  float32", "and 1 more"]


def test_convert_writes_a_file_and_keeps_others(weights, tmp_path, capsys):
    target = tmp_path / "weights.safetensors"
    assert main(["convert", str(weights), str(target)]) == 0
    assert f"2 tensors: {target}" in capsys.readouterr().out
    for name, array in np.load(weights).items():
        np.testing.assert_array_equal(zoo.read(target).tensors[name], array, strict=True)
    assert main(["inspect", str(target)]) == 0
    assert "conv/kernel  (3, 3, 1, 8)  float32" in capsys.readouterr().out
    target.write_bytes(b"mine")
    assert "target must be new unless --force is given" in refused(capsys, "convert", weights, target)
    assert target.read_bytes() == b"mine"
    assert main(["convert", str(weights), str(target), "--force"]) == 0
    assert len(zoo.read(target).tensors) == 2


def test_convert_writes_what_the_suffix_says(weights, tmp_path, capsys):
    assert main(["convert", str(weights), str(tmp_path / "copy.npz")]) == 0
    with np.load(tmp_path / "copy.npz") as found:
        assert {name: array.shape for name, array in found.items()} == {"conv/kernel": (3, 3, 1, 8), "conv/bias": (8,)}
    capsys.readouterr()
    assert "ends in .safetensors or .npz" in refused(capsys, "convert", weights, "copy.h5")


def test_errors_of_weight_files(weights, tmp_path, capsys):
    cut, other, module = tmp_path / "cut.npz", tmp_path / "other", ROOT / "tests" / "fixtures" / "torch" / "module.pth"
    cut.write_bytes(weights.read_bytes()[:200])
    other.write_text("no weights")
    for command in (["inspect"], ["convert", tmp_path / "target"]):
        for path, message in (
            (tmp_path / "none", "must be an existing file, got"),
            (tmp_path, "got a folder that is none of these"),
            (cut, "damaged"),
            (other, "must be of a known format (PyTorch, NumPy,"),
            (module, "refuses torch.nn.modules.linear.Linear: a pickled module, not weights"),
        ):
            said = refused(capsys, command[0], path, *command[1:])
            assert message in said and str(path) in said
    assert not (tmp_path / "target").exists()
    assert "tensors must be an integer of at least 0, got -1" in refused(capsys, "inspect", weights, "--tensors", "-1")
    said = refused(capsys, "convert", weights, tmp_path / "no" / "folder")
    assert "target must be a file in a folder that exists" in said
