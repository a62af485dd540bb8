"""`jaxcnn eval`: the recorded errors are found again, for run folders of every kind."""

import json
import sys

import numpy as np
import PIL.Image
import pytest

from jaxcnn import train
from jaxcnn.cli import main
from tests.support.command_line import refused


def table(text):
    """Network -> the cells of its row."""
    rows = [line.split("  ") for line in text.splitlines() if line.startswith(" ") and line.strip(" ─")]
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    return {row[0]: row[1:] for row in cells}


def test_eval_of_an_experiment_finds_the_recorded_results(run, capsys):
    assert main(["eval", str(run)]) == 0
    said = capsys.readouterr().out
    results = json.loads((run / "results.json").read_text())
    found = table(said)
    assert found["network"] == ["test error, %", "test loss"] and "360 test images" in said
    for arm in ("cnn", "st_cnn"):
        assert found[f"{arm} seed 0"][0] == f"{results['arms'][arm]['mean']:.2f}"


def test_eval_of_one_run_of_an_experiment_draws_the_same_test_set(run, capsys):
    assert main(["eval", str(run / "cnn" / "seed0"), "--checkpoint", "last"]) == 0
    results = json.loads((run / "results.json").read_text())
    assert table(capsys.readouterr().out)["cnn"][0] == f"{results['arms']['cnn']['mean']:.2f}"


def test_eval_of_a_users_run_reads_its_pictures_again(color_run, capsys):
    assert main(["eval", str(color_run)]) == 0
    last = [line for line in train.read_history(color_run) if line["split"] == "test"][-1]
    assert table(capsys.readouterr().out)["Perceptron"] == [
        f"{100 * (1 - last['accuracy']):.2f}",
        f"{last['loss']:.3f}",
    ]


@pytest.mark.filterwarnings("default")
def test_classes_of_other_test_data_are_matched_by_name(color_run, tmp_path, capsys):
    (tmp_path / "red brick").mkdir()
    PIL.Image.new("RGB", (5, 5), (235, 30, 15)).save(tmp_path / "red brick" / "one.png")
    assert main(["eval", str(color_run), "--data", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert table(said.out)["Perceptron"][0] == "0.00"
    assert said.err.startswith("warning: image_folder: root ") and "no images of 'blue sky'" in said.err


def test_eval_of_an_ensemble_takes_data_and_the_users_module(ensemble, capsys):
    arguments = ["--data", ensemble / "test.npz", "--import", ensemble / "user_net.py"]
    assert main(["eval", str(ensemble / "run"), *map(str, arguments)]) == 0
    found = table(capsys.readouterr().out)
    assert found["network"] == ["test error, %", "test loss", "top-5 error, %"]
    lines = [line for line in train.read_history(ensemble / "run") if line["split"] == "test"]
    for line in lines:
        error, loss, _ = found[f"UserNet member {line['member']}"]
        assert error == f"{100 * (1 - line['accuracy']):.2f}" and float(loss) == pytest.approx(line["loss"], abs=1e-3)
    mean = np.mean([100 * (1 - line["accuracy"]) for line in lines])
    assert found["UserNet, mean"][0].startswith(f"{mean:.2f} ± ")


def test_errors_of_models_and_data(ensemble, color_run, tmp_path, capsys, monkeypatch):
    monkeypatch.delitem(sys.modules, "user_net", raising=False)  # another test may have imported it
    run, test = ensemble / "run", ensemble / "test.npz"
    assert "--data must name test data, as" in refused(capsys, "eval", run)
    said = refused(capsys, "eval", run, "--data", test)
    assert "the module of class user_net:UserNet is not imported; --import FILE.py imports the file" in said
    said = refused(capsys, "eval", run, "--data", test, "--import", tmp_path / "none.py")
    assert "--import must be a module that can be imported, got" in said
    assert "images of shape (4, 4, 3), got (3, 3, 1)" in refused(capsys, "eval", color_run, "--data", test)
    assert "must be a folder of pictures or of idx files" in refused(capsys, "eval", color_run, "--data", "no/such")
    assert "--data must be an existing file, got 'no.npz'" in refused(capsys, "eval", color_run, "--data", "no.npz")
    (tmp_path / "a").mkdir()
    PIL.Image.new("RGB", (5, 5)).save(tmp_path / "a" / "one.png")
    said = refused(capsys, "eval", color_run, "--data", tmp_path)
    assert "a folder of the classes 'blue sky', 'red brick', got " in said and "which also has 'a'" in said
    np.savez(tmp_path / "many.npz", images=np.zeros((2, 4, 4, 3), np.uint8), labels=[0, 7])
    assert "labels 0 to 1, got 0 to 7" in refused(capsys, "eval", color_run, "--data", tmp_path / "many.npz")
    assert "checkpoint must be 'last', 'best' or one of [4, 5]" in refused(
        capsys, "eval", color_run, "--checkpoint", "3"
    )
