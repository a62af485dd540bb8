"""`jaxcnn train`: a complete folder, which is continued where it was stopped."""

import json
import os
import shutil
from html.parser import HTMLParser

import numpy as np
import PIL.Image
import pytest

from jaxcnn.cli import main
from jaxcnn.cli import train as train_command
from jaxcnn.recipes import _runner
from tests.support import toy_recipe
from tests.support.command_line import refused


def test_train_leaves_a_complete_folder(run):
    assert {path.name for path in run.iterdir()} >= {
        *("run.json", "metrics.jsonl", "results.json", "report.html", "plots", "cnn", "st_cnn")
    }
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {(line["arm"], line["seed"], line["split"]) for line in lines} == {
        (arm, 0, split) for arm in ("cnn", "st_cnn") for split in ("train", "test")
    }
    results = json.loads((run / "results.json").read_text())
    assert results["test_images"] == 360
    counts = [results["arms"][arm]["parameters"] for arm in ("cnn", "st_cnn")]
    assert max(counts) / min(counts) < 1.05  # equal budgets
    last = [line["accuracy"] for line in lines if line["split"] == "test" and line["step"] == 4]
    assert [results["arms"][arm]["mean"] for arm in ("cnn", "st_cnn")] == pytest.approx([100 * (1 - a) for a in last])
    for name in ("curves", "frames", "confusion", "mistakes"):
        pixels = np.asarray(PIL.Image.open(run / "plots" / f"{name}.png").convert("L"))
        assert pixels.std() > 5, name  # something is drawn


def test_report_is_one_self_contained_page(run):
    found = {"img": [], "source": [], "link": [], "script": []}

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag in found:
                found[tag].append(dict(attrs))

    text = (run / "report.html").read_text()
    Parser().feed(text)
    assert len(found["img"]) == 4
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in found["img"])
    assert len(found["source"]) == 3 * 4 and {source["media"] for source in found["source"]} == {
        *("(max-width: 980px) and (prefers-color-scheme: dark)", "(max-width: 980px)", "(prefers-color-scheme: dark)")
    }
    assert all(source["srcset"].startswith("data:image/png;base64,") for source in found["source"])
    assert not found["link"] and not found["script"] and "http" not in text
    assert "at the same budget of 4 steps of 8 images each" in text and "sampling frame (orange)" in text


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """An experiment of the toy recipe that was not trained yet."""
    monkeypatch.setattr(_runner, "find_recipe", lambda name: toy_recipe.RECIPE)
    monkeypatch.setattr(_runner, "write_run_page", toy_recipe.write_plain_page)
    folder = tmp_path / "toy"
    _runner.open_experiment(toy_recipe.RECIPE, toy_recipe.Config(seeds=1), folder)
    return folder


def test_resume_continues_and_prints_the_result(toy, capsys):
    assert main(["train", "--resume", str(toy), "--no-progress"]) == 0
    said = capsys.readouterr().out
    assert f"Run folder: {toy}" in said and "compile time, s" in said and "hidden" in said
    assert (toy / "results.json").is_file() and (toy / "report.html").is_file()


def test_an_interrupted_run_names_the_command_that_continues_it(toy, monkeypatch, capsys):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(train_command, "run_experiment", stop)
    assert main(["train", "--resume", str(toy)]) == 130
    assert capsys.readouterr().err == f"\njaxcnn: stopped; jaxcnn train --resume {toy} continues\n"


def test_run_folders_that_do_not_fit_are_refused(run, small, tmp_path, capsys):
    assert "must be new or empty" in refused(capsys, "train", *small, "--run", run)
    other = tmp_path / "other"
    other.mkdir()
    about = json.loads((run / "run.json").read_text())
    config = about["recipe"]["config"]
    for change, message in (
        ({"format": 99, "jaxcnn": "7.0"}, "was written by jaxcnn 7.0 (format 99); this version"),
        ({"recipe": {"name": "rts_digits", "config": {"stesp": 3}}}, "must hold the options of this version"),
        (
            {"recipe": {"name": "rts_digits", "config": config | {"steps": -1}}},
            "steps must be a positive integer, got -1",
        ),
        ({"recipe": {"name": "rts_digits", "config": config | {"learning_rate": "fast"}}}, "must hold the options"),
        ({"recipe": {"name": "rts_digits", "config": config | {"arms": None}}}, "must hold the options"),
        ({"recipe": {"name": "rts_digits", "config": []}}, "is damaged: config must be"),
        ({"recipe": {"name": "os", "config": {}}}, "recipe must be one of ('rts_digits',), got 'os'"),
    ):
        (other / "run.json").write_text(json.dumps(about | change))
        assert message in refused(capsys, "train", "--resume", other)
    (other / "run.json").write_text("{")
    for command in (["eval", other], ["predict", other, "x.png"], ["report", other], ["train", "--resume", other]):
        assert "with a damaged run.json" in refused(capsys, *command)
    (other / "run.json").write_text(json.dumps(about))
    for command in (["eval", other], ["predict", other, "x.png"]):
        said = refused(capsys, *command)
        assert "must be trained as far as cnn seed 0" in said and f"jaxcnn train --resume {other} continues it" in said


def test_errors_of_old_folders_name_the_version_that_wrote_them(tmp_path, capsys):
    old = {"format": 1, "recipe": "rts_digits", "jaxcnn": "0.1.0", "config": {"steps": 4}}
    (tmp_path / "config.json").write_text(json.dumps(old))
    for command in (
        ["eval", tmp_path],
        ["predict", tmp_path, "x.png"],
        ["report", tmp_path],
        ["train", "--resume", tmp_path],
    ):
        assert f"{tmp_path} was written by jaxcnn 0.1.0 (format 1); this version" in refused(capsys, *command)


@pytest.mark.filterwarnings("default")
@pytest.mark.nightly  # tests/train/damage_test.py holds the same daily
def test_a_cut_checkpoint_is_replaced_by_the_one_before(run, tmp_path, capsys):
    folder = tmp_path / "cut"
    shutil.copytree(run, folder)
    largest = max((folder / "cnn").rglob("4/state/**/d/*"), key=lambda path: path.stat().st_size)
    os.truncate(largest, 1000)
    for command in (["eval", folder], ["train", "--resume", folder, "--no-progress"]):
        assert main([str(a) for a in command]) == 0
        said = capsys.readouterr().err
        assert "warning: " in said and "checkpoints/4 cannot be read" in said and "the one after step 3 is used" in said
    assert main(["eval", str(folder)]) == 0 and capsys.readouterr().err == ""  # trained again to its end
