"""`jaxcnn augment`."""

import numpy as np
import PIL.Image

from jaxcnn.cli import main
from tests.support.command_line import refused


def test_augment_draws_and_prints_the_paths(pictures, tmp_path, capsys):
    out = tmp_path / "gallery"
    small = ["--functions", "random_invert", "--policy", "basic", "--size", "12", "--samples", "2", "--overview"]
    names = ["functions.png", "policy.png", "overview.png", "index.html"]
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
    for out in (tmp_path / "text.png", tmp_path / "text.png" / "new"):
        assert "--out must be a folder" in refused(capsys, "augment", pictures[0], "--out", out)
    assert "a folder; " in refused(capsys, "augment", tmp_path, "--out", tmp_path / "new")
    assert not (tmp_path / "new").exists()
