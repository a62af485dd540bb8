"""Hints about mistyped names: slips of the keyboard and parts of names, but nothing that is only similar."""

import pytest

from jaxcnn._suggest import suggest

COMMANDS = ("train", "eval", "predict", "report", "models", "augment", "records", "download", "inspect", "convert")
MODELS = ("cnn", "fcn", "lenet", "mobilenet", "mobilenet_v2", "resnet18", "resnet34", "resnet50", "xception")


@pytest.mark.parametrize(
    ("typed", "known", "hint"),
    [
        ("tran", COMMANDS, " (did you mean 'train'?)"),
        ("trian", COMMANDS, " (did you mean 'train'?)"),
        ("--stpes", ("--seeds", "--steps"), " (did you mean --steps?)"),
        ("--rate", ("--seeds", "--learning-rate"), " (did you mean --learning-rate?)"),
        ("LeNet", MODELS, " (did you mean 'lenet'?)"),
        ("MobileNetV2", MODELS, " (did you mean 'mobilenet_v2'?)"),
        ("exception", MODELS, " (did you mean 'xception'?)"),
        ("resnet", MODELS, " (did you mean 'resnet18' or 'resnet34' or 'resnet50'?)"),
        ("mobile", MODELS, " (did you mean 'mobilenet' or 'mobilenet_v2'?)"),
        *((name, MODELS, "") for name in ("alexnet", "googlenet", "rnn", "unet", "")),
        (None, MODELS, ""),
        ("xyz", COMMANDS, ""),
    ],
)
def test_hints(typed, known, hint):
    assert suggest(typed, known) == hint
