"""`jaxcnn predict`: probabilities and a drawing, with the run's classes and pre-processing."""

import numpy as np
import PIL.Image
import pytest

from jaxcnn.cli import main
from jaxcnn.cli import predict as predict_command
from tests.support.command_line import refused
from tests.support.selection import daily_cases


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


def test_predict_names_the_classes_of_a_users_run(color_run, tmp_path, capsys):
    PIL.Image.new("RGB", (50, 30), (10, 30, 240)).save(tmp_path / "sky.png")
    PIL.Image.new("RGB", (30, 50), (230, 20, 0)).save(tmp_path / "wall.png")
    assert main(["predict", str(color_run), str(tmp_path / "sky.png"), str(tmp_path / "wall.png")]) == 0
    said = capsys.readouterr().out
    rows = {line.split()[0]: line for line in said.splitlines() if ".png" in line}
    assert "blue sky" in rows["sky.png"] and "red brick" in rows["wall.png"]
    assert (color_run / "predictions.png").is_file()


def test_predict_takes_a_member_of_an_ensemble(ensemble, pictures, tmp_path, capsys):
    options = ["--import", ensemble / "user_net.py", "--member", 1, "--out", tmp_path / "out.png"]
    assert main(["predict", *map(str, [ensemble / "run", pictures[1], *options])]) == 0
    assert "most probable" in capsys.readouterr().out


def test_pictures_that_cannot_be_read_are_refused(run, color_run, tmp_path, capsys):
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
    assert "must hold readable images" in refused(capsys, "predict", color_run, tmp_path / "text.png")
    assert "must be an existing file" in refused(capsys, "predict", color_run, tmp_path / "none.png")
    assert "jaxcnn predict: missing IMAGE" in refused(capsys, "predict", run)
    said = refused(capsys, "predict", run, "x.png", "--arm", "cnn", "--seed", "5")
    assert "must have cnn seed 5; it has cnn, st_cnn, seeds 0 to 0" in said
    assert "--invert must be left alone" in refused(capsys, "predict", color_run, "x.png", "--invert", "yes")


@pytest.mark.parametrize(
    ("suffix", "head"),
    daily_cases(
        [("png", b"\x89PNG"), ("jpg", b"\xff\xd8\xff"), ("pdf", b"%PDF"), ("svg", b"<?xml")], [("pdf", b"%PDF")]
    ),
)
def test_the_suffix_of_out_decides_the_format(run, pictures, suffix, head, tmp_path):
    out = tmp_path / f"out.{suffix}"
    assert main(["predict", str(run), str(pictures[0]), "--out", str(out)]) == 0
    assert out.read_bytes().startswith(head)


def test_folders_and_outputs_are_refused_before_the_work(run, pictures, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(predict_command, "classify", None)  # whatever is too late fails
    said = refused(capsys, "predict", run, tmp_path)
    assert f"got '{tmp_path}', a folder; {tmp_path}/* names its files" in said
    (tmp_path / "file").write_text("")
    for out, message in (
        (tmp_path, "--out must be a file, got"),
        (tmp_path / "none" / "a.png", "--out must be a file in a folder that exists"),
        (tmp_path / "file" / "a.png", "--out must be a file in a folder that exists"),
        (tmp_path / "a.txt", "--out must be a file that ends in .png, .jpg"),
        ("/proc/a.png", "--out must be writable, got '/proc/a.png'"),
    ):
        assert message in refused(capsys, "predict", run, pictures[0], "--out", out)
    assert not (tmp_path / "a.txt").exists()


def test_errors_of_members(ensemble, capsys):
    said = refused(capsys, "predict", ensemble / "run", "x.png", "--member", "2")
    assert "--member must be one of the 2 members, from 0, got 2" in said
