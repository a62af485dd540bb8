"""`jaxcnn report`: plots and a page for run folders of every kind."""

import shutil

import pytest

from jaxcnn.cli import main
from tests.support.command_line import refused


@pytest.mark.nightly
def test_report_of_an_experiment_is_the_one_that_training_wrote(run, tmp_path, capsys):
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    (folder / "report.html").unlink()
    shutil.rmtree(folder / "plots")
    assert main(["report", str(folder)]) == 0
    assert capsys.readouterr().out == f"Report: {folder / 'report.html'}\n"
    assert (folder / "report.html").read_text() == (run / "report.html").read_text()
    assert sorted(p.name for p in (folder / "plots").iterdir()) == sorted(p.name for p in (run / "plots").iterdir())


def test_report_of_a_users_run_shows_test_images_and_configuration(color_run):
    assert main(["report", str(color_run)]) == 0
    page = (color_run / "report.html").read_text()
    for text in (
        "Perceptron (98 parameters), trained for 5 steps",
        "8 test images",
        "Confusion matrix",
        "image_folder",
    ):
        assert text in page, text
    assert {p.name for p in (color_run / "plots").iterdir()} == {
        f"{name}.png" for name in ("curves", "frames", "confusion", "mistakes")
    }


def test_report_without_test_data_shows_the_curves(ensemble):
    assert main(["report", str(ensemble / "run")]) == 0
    page = (ensemble / "run" / "report.html").read_text()
    assert "UserNet (2 members, 120 parameters each)" in page and "UserNet, mean" in page and page.count("<img") == 1
    assert "as it was evaluated last during training" in page and "<h2>Learning curves</h2>" in page


def test_what_an_experiment_does_not_take_is_refused(run, capsys):
    assert "an experiment takes neither --data nor --checkpoint" in refused(capsys, "report", run, "--data", "x.npz")
    assert "must be a run folder with run.json" in refused(capsys, "report", "no/such/run")
