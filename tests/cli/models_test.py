"""`jaxcnn models`."""

from jaxcnn import models
from jaxcnn.cli import main


def test_models_lists_what_create_builds(capsys):
    assert main(["models"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in models.names()) and "222,026" in said
