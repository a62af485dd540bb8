"""`jaxcnn models`."""

from jaxcnn import models
from jaxcnn.cli import main


def test_models_lists_what_create_builds(capsys):
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in models.names()) and "222,026" in said
    assert main(["models", "ResNext"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if "50" in line] == [
        ["resnext50_32x4d", "25,028,904", "8.46", "224", "81.2"]  # as torchvision states: 4.23 billion multiply-adds
    ]
    assert main(["models", "resnet51"]) == 2
    assert "models: text must be part of a model's name, got 'resnet51'" in capsys.readouterr().err
