"""`jaxcnn inspect` of files that describe their network, and `jaxcnn predict` with them."""

import xml.etree.ElementTree as ElementTree

import numpy as np
import PIL.Image
import pytest

from jaxcnn import zoo
from jaxcnn.cli import main
from tests.support.command_line import refused
from tests.support.real_data import DATA, needs_data

LENET = DATA / "caffe" / "lenet_iter_10000.caffemodel"
DETECTOR = DATA / "caffe" / "ultraface_slim-320.caffemodel"


@pytest.fixture
def digit(tmp_path):
    """A light one on black, as in MNIST."""
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 13:16] = 255
    PIL.Image.fromarray(image).save(tmp_path / "one.png")
    return tmp_path / "one.png"


@needs_data
def test_inspect_prints_and_draws_the_network(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    drawing = tmp_path / "lenet.svg"
    assert main(["inspect", str(LENET), "--tensors", "1", "--plot", str(drawing)]) == 0
    said = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:] for line in said.splitlines() if line.startswith(" ") and line.strip()}
    assert rows["conv1"] == ["conv", "Convolution", "24x24x20", "520", "0.59"]
    assert rows["ip1"] == ["dense", "InnerProduct", "500", "400,500", "0.80"]
    assert "431,080 values" in said and "input      data (28, 28, 1)" in said
    assert all(len(line) <= 80 for line in said.splitlines() if line.startswith(" "))
    texts = [one.text for one in ElementTree.parse(drawing).getroot().iter()]
    assert "conv2" in texts and "8 x 8 x 50" in texts


@needs_data
def test_predict_names_the_classes_and_draws_evidence(digit, tmp_path, capsys):
    out = tmp_path / "out.png"
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"digit {i}" for i in range(10)))
    arguments = ["predict", str(LENET), str(digit), str(digit), "--labels", str(names), "--heatmap", "--out", str(out)]
    assert main(arguments) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["one.png"]]
    assert len(lines) == 10 and lines[0][1:3] == ["digit", "1"] and float(lines[0][3]) > 50
    assert np.asarray(PIL.Image.open(out).convert("L")).std() > 5


@needs_data
def test_an_input_is_described_on_the_command_line(digit, tmp_path, capsys):
    """Black and white are 0 and 1 there, so that another division is another input."""
    options = ["--value-range", "0,1", "--mean", "0", "--std", "0.00390625", "--out", str(tmp_path / "out.png")]
    assert main(["predict", str(LENET), str(digit), *options]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.split()[:1] == ["one.png"]]
    assert len(rows) == 5 and rows[0][1] == rows[0][3]  # without names classes are numbers


@needs_data
def test_an_input_of_a_named_model_is_described_on_the_command_line(digit, tmp_path, capsys):
    weights = DATA / "pytorch" / "cifar10_resnet20-12fca82f.th"
    options = ["--model", "cifar_resnet20", "--mean", "0.5,0.5,0.5", "--std", "0.2,0.2,0.2", "--value-range", "0,1"]
    assert main(["predict", str(weights), str(digit), *options, "--out", str(tmp_path / "out.png")]) == 0
    assert "one.png" in capsys.readouterr().out


@needs_data
def test_errors_of_networks_that_do_not_classify(digit, tmp_path, capsys):
    said = refused(capsys, "predict", DETECTOR, digit, "--out", tmp_path / "out.png")
    assert "FILE must be a classifier, with one number per class; its outputs are boxes (4420, 4), scores" in said
    few = tmp_path / "few.txt"
    few.write_text("a\nb")
    said = refused(capsys, "predict", LENET, digit, "--labels", few, "--out", tmp_path / "out.png")
    assert "--labels must name the network's 10 classes, got 2 names" in said
    for option, value, message in (
        ("--mean", "a,b", "--mean must be numbers with commas between them, or an existing file, got 'a,b'"),
        ("--std", "", "--std must be numbers with commas between them, got ''"),
        ("--value-range", "1,2", "--value-range must be 0,1 or 0,255, got 1,2"),
        ("--arm", "cnn", "--arm must be left out, except for a run folder"),
    ):
        assert message in refused(capsys, "predict", LENET, digit, option, value, "--out", tmp_path / "out.png")


def test_errors_of_inspection(tmp_path, capsys):
    path = tmp_path / "weights.npz"
    np.savez(path, kernel=np.ones((3, 3, 1, 8), np.float32))
    assert "--plot must be a file that ends in .svg" in refused(capsys, "inspect", path, "--plot", "a.png")
    assert "--size must be a positive integer, got 0" in refused(capsys, "inspect", path, "--size", "0")
    said = refused(capsys, "inspect", path, "--plot", tmp_path / "a.svg")
    assert "--plot must be left out" in said and not (tmp_path / "a.svg").exists()


def test_a_network_that_cannot_run_still_shows_its_tensors(tmp_path, capsys, monkeypatch):
    def refuse(*arguments, **options):
        raise zoo.FormatError(tmp_path, "has operations that are not supported: Foo (node 1, 'foo').")

    path = tmp_path / "weights.npz"
    np.savez(path, kernel=np.ones((3, 3, 1, 8), np.float32))
    monkeypatch.setattr("jaxcnn.cli.inspection.describes_network", lambda *a, **o: True)
    monkeypatch.setattr("jaxcnn.cli.inspection.import_network", refuse)
    assert main(["inspect", str(path)]) == 0
    said = capsys.readouterr().out
    assert "kernel  (3, 3, 1, 8)" in said
    assert "cannot run:" in said and "Foo (node 1, 'foo')" in said
