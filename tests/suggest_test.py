"""Hints about mistyped names: slips of the keyboard and parts of names, but nothing that is only similar."""

import pytest

from jaxcnn import models
from jaxcnn._suggest import suggest

COMMANDS = ("train", "eval", "predict", "report", "models", "augment", "records", "download", "inspect", "convert")


@pytest.mark.parametrize(
    ("typed", "known", "hint"),
    [
        ("tran", COMMANDS, " (did you mean 'train'?)"),
        ("trian", COMMANDS, " (did you mean 'train'?)"),
        ("--stpes", ("--seeds", "--steps"), " (did you mean --steps?)"),
        ("--rate", ("--seeds", "--learning-rate"), " (did you mean --learning-rate?)"),
        ("LeNet", models.names(), " (did you mean 'lenet'?)"),
        ("MobileNetV2", models.names(), " (did you mean 'mobilenet_v2'?)"),
        ("exception", models.names(), " (did you mean 'xception'?)"),
        ("resnet", models.names(), " (did you mean 'resnet18' or 'resnet34' or 'resnet50'?)"),
        ("mobile", models.names(), " (did you mean 'mobilenet' or 'mobilenet_v2'?)"),
        *((name, models.names(), "") for name in ("alexnet", "googlenet", "rnn", "unet", "")),
        (None, models.names(), ""),
        ("xyz", COMMANDS, ""),
    ],
)
def test_hints(typed, known, hint):
    assert suggest(typed, known) == hint
