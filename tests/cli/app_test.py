"""The command line: one small run for all, then eval, predict and resume on it; mistakes give one line and code 2."""

import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import PIL.Image
import pytest

from jaxcnn import zoo
from jaxcnn.cli import main
from tests.support.public import ROOT

SMALL = [
    "--steps",
    "4",
    "--seeds",
    "1",
    "--batch",
    "8",
    "--test-repeats",
    "1",
    "--evaluate-every",
    "2",
    "--no-progress",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "run"
    assert main(["train", *SMALL, "--run", str(folder)]) == 0
    return folder


def refused(capsys, *arguments):
    """Code 2, nothing on standard output, one line on standard error, which is returned."""
    assert main([str(a) for a in arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1 and "Traceback" not in said.err
    return said.err


def test_train_leaves_a_complete_folder(run):
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "metrics.jsonl", "results.json", "report.html", "plots", "cnn", "st_cnn")
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
    found = {"img": [], "link": [], "script": []}

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag in found:
                found[tag].append(dict(attrs))

    text = (run / "report.html").read_text()
    Parser().feed(text)
    assert len(found["img"]) == 4
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in found["img"])
    assert not found["link"] and not found["script"] and "http" not in text
    assert "short, equal budget" in text


def test_eval_finds_the_same_errors(run, capsys):
    assert main(["eval", str(run)]) == 0
    said = capsys.readouterr().out
    results = json.loads((run / "results.json").read_text())
    for arm in ("cnn", "st_cnn"):
        assert f"{results['arms'][arm]['mean']:.2f}" in said


@pytest.fixture
def pictures(tmp_path):
    """A dark stroke on paper, and a light one on the canvas."""
    paper = np.full((120, 90, 3), 250, np.uint8)
    paper[20:100, 40:48] = 10
    canvas = np.zeros((42, 42), np.uint8)
    canvas[10:30, 20:24] = 255
    PIL.Image.fromarray(paper).save(tmp_path / "paper.png")
    PIL.Image.fromarray(canvas).save(tmp_path / "canvas.png")
    return tmp_path / "paper.png", tmp_path / "canvas.png"


@pytest.mark.parametrize("arm", ["cnn", "st_cnn"])
def test_predict_prints_probabilities_and_draws(run, pictures, arm, tmp_path, capsys):
    out = tmp_path / "out.png"
    assert main(["predict", str(run), *map(str, pictures), "--arm", arm, "--out", str(out)]) == 0
    said = capsys.readouterr().out
    for name in ("paper.png", "canvas.png"):
        row = next(line for line in said.splitlines() if line.split()[:1] == [name]).split()
        shares = [float(v) for v in row[2:]]
        assert len(shares) == 10 and abs(sum(shares) - 100) < 6  # rounded to whole percents
        assert int(row[1]) == int(np.argmax(shares)) or shares.count(max(shares)) > 1
    assert np.asarray(PIL.Image.open(out).convert("L")).std() > 5


def test_resume_goes_on_where_a_run_was_stopped(run, tmp_path, capsys):
    folder = tmp_path / "stopped"
    shutil.copytree(run, folder)
    for name in ("results.json", "report.html", "metrics.jsonl"):
        (folder / name).unlink()
    shutil.rmtree(folder / "st_cnn")  # stopped between the two networks
    assert main(["train", "--resume", str(folder), "--no-progress"]) == 0
    before, after = (json.loads((f / "results.json").read_text())["arms"] for f in (run, folder))
    assert [before[arm]["errors"] for arm in before] == [after[arm]["errors"] for arm in after]
    assert (folder / "report.html").is_file()


def test_models_lists_what_create_builds(capsys):
    from jaxcnn import models

    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in models.names()) and "222,026" in said


def test_augment_draws_and_prints_the_paths(pictures, tmp_path, capsys):
    out = tmp_path / "gallery"
    small = ["--functions", "random_invert", "--policy", "basic", "--size", "12", "--samples", "2", "--overview"]
    names = ["functions.png", "policy.png", "overview.png", "index.html"]
    for _ in range(2):  # its own folder is replaced
        assert main(["augment", *map(str, pictures), *small, "--out", str(out)]) == 0
        assert capsys.readouterr().out.splitlines() == [str(out / name) for name in names]
    for name in names[:3]:
        assert np.asarray(PIL.Image.open(out / name).convert("L")).std() > 5, name
    page = (out / "index.html").read_text()
    assert "paper.png, canvas.png" in page
    assert "--policy basic --functions random_invert" in page and "--size 12 --samples 2 --overview" in page


def test_errors_of_augment(pictures, tmp_path, capsys):
    (tmp_path / "text.png").write_text("not a picture")
    for name, message in (("none.png", "which does not exist"), ("text.png", "must be a readable picture")):
        said = refused(capsys, "augment", pictures[0], tmp_path / name, "--out", tmp_path / "new")
        assert message in said and name in said
    said = refused(capsys, "augment", pictures[0], "--policy", "best", "--out", tmp_path / "new")
    assert "policy must be one of (" in said and "'basic'" in said and "got 'best'" in said
    assert "an earlier gallery" in refused(capsys, "augment", pictures[0], "--out", tmp_path)
    assert "at least 8" in refused(capsys, "augment", pictures[0], "--size", "4", "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_help_and_version(capsys):
    for arguments in ([], ["--help"], ["train", "--help"], ["predict", "--help"], ["augment", "--help"], ["--version"]):
        assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "Show what every augmentation, and a whole policy, makes of pictures" in said
    assert "Train a CNN, and a CNN behind a spatial transformer" in said
    assert "Training steps of each network. (default: 800)" in said
    assert "jaxcnn 0." in said


@pytest.mark.parametrize(
    "command", ["train", "eval", "predict", "augment", "records", "download", "inspect", "convert"]
)
def test_help_says_one_default_per_option_in_words(command, capsys):
    assert main([command, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert not any(text in said for text in ("(default: )", "(default: None)", "[default"))


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
    assert "path must be a file in a folder that exists" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "--stpes", "3"],
            "unrecognized options: --stpes, 3 (did you mean --steps?); see jaxcnn train --help",
        ),
        (["train", "--steps", "many"], "error parsing --steps"),
        (["train", "--steps", "0"], "steps must be a positive integer, got 0"),
        (["train", "--arms", "mlp"], "invalid choice 'mlp'"),
        (["trian"], "unrecognized options: trian"),
        (["inspect"], "missing from jaxcnn inspect: FILE"),
        (["convert", "a"], "missing from jaxcnn convert: TARGET"),
        (["eval"], "missing from jaxcnn eval: RUN"),
        (["eval", "no/such/run"], "got 'no/such/run'"),
        (["train", "--resume", "no/such/run"], "got 'no/such/run'"),
        (["train", "--resume", "no/such/run", "--steps", "5"], "takes all options from the run, got also --steps"),
        (["predict", "no/such/run", "x.png"], "got 'no/such/run'"),
    ],
)
def test_errors_of_the_command_line(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


def test_errors_of_run_folders(run, tmp_path, capsys):
    assert "must be new or empty" in refused(capsys, "train", *SMALL, "--run", run)
    for change, message in (
        ({"format": 99}, "must be of format 1, got"),
        ({"config": {"stesp": 3}}, "must hold the options of a run of this version"),
        ({"config": {"steps": -1}}, "steps must be a positive integer, got -1"),
        ({"config": []}, "must hold the options of a run of this version, got []"),
        ({"config": None}, "must hold the options of a run of this version, got None"),
        ({"config": {"canvas": [42]}}, "canvas must be 28 to 512 pixels"),
        ({"config": {"learning_rate": "fast"}}, "must hold the options of a run"),
        ({"config": {"arms": None}}, "must hold the options of a run"),
    ):
        other = tmp_path / "other"
        other.mkdir(exist_ok=True)
        (other / "config.json").write_text(json.dumps(json.loads((run / "config.json").read_text()) | change))
        for command in (["eval", other], ["predict", other, "x.png"], ["train", "--resume", other]):
            assert message in refused(capsys, *command)
    (other / "config.json").write_text("{")
    assert "must be the config.json of a run" in refused(capsys, "eval", other)
    (other / "config.json").write_bytes((run / "config.json").read_bytes())
    assert "must be trained as far as cnn seed 0" in refused(capsys, "eval", other)


def test_errors_of_a_cut_checkpoint(run, tmp_path, capsys):
    folder = tmp_path / "cut"
    shutil.copytree(run, folder)
    largest = max((folder / "cnn").rglob("state/**/d/*"), key=lambda path: path.stat().st_size)
    os.truncate(largest, 1000)
    for command in (["eval", folder], ["train", "--resume", folder, "--no-progress"]):
        assert main([str(a) for a in command]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and "checkpoints/4 cannot be read" in said


def test_errors_of_pictures(run, tmp_path, capsys):
    (tmp_path / "text.png").write_text("not a picture")
    PIL.Image.new("L", (60, 60), 255).save(tmp_path / "blank.png")
    whole = tmp_path / "cut.png"
    PIL.Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 60), np.uint8)).save(whole)
    whole.write_bytes(whole.read_bytes()[:500])
    for name, message in (
        ("none.png", "which does not exist"),
        ("text.png", "must be a readable picture"),
        ("cut.png", "must be a readable picture"),
        ("blank.png", "with something on it"),
    ):
        said = refused(capsys, "predict", run, tmp_path / name)
        assert message in said and name in said
    assert "at least one picture" in refused(capsys, "predict", run)
    assert "must have cnn seed 5" in refused(capsys, "predict", run, "x.png", "--arm", "cnn", "--seed", "5")


def test_errors_exit_the_process_with_code_2():
    done = subprocess.run(
        [sys.executable, "-m", "jaxcnn.cli", "eval", "no/such/run"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
