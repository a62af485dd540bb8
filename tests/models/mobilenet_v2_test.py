"""MobileNet v2 against torchvision, Keras and TensorFlow slim, with random weights."""

import os

import numpy as np
import pytest

from tests.support.keras_parity import build_keras, compare_with_keras
from tests.support.parity import compare_with_torch
from tests.support.selection import daily
from tests.support.slim_parity import compare_with_slim
from tests.support.torchvision_cpu import require_torchvision

os.environ.setdefault("KERAS_BACKEND", "jax")

TORCHVISION = {
    # our options; of the tables a width that is not the default's
    "small": {"blocks": ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 1, 2)), "alpha": 0.5},
    "whole": {},
}
KERAS = [
    # sizes, suffix of the file, options of both
    (((64, 64), (57, 43)), ".weights.h5", {"alpha": 0.35}),
    (((45, 32),), ".keras", {"alpha": 0.3708}),
    (((224, 224), (193, 161)), ".weights.h5", {}),
]


@pytest.mark.parametrize("case", daily(TORCHVISION, ("small",)))
def test_equals_torchvision(case, tmp_path):
    torch = pytest.importorskip("torch")
    mobilenetv2 = require_torchvision().models.mobilenetv2
    torch.manual_seed(0)
    options = TORCHVISION[case]
    settings = [list(group) for group in options["blocks"]] if "blocks" in options else None
    net = mobilenetv2.MobileNetV2(
        num_classes=7, width_mult=options.get("alpha", 1.0), inverted_residual_setting=settings, dropout=0.0
    )
    kept = {key: value for key, value in options.items() if key != "alpha"}  # which follows from the file
    sizes = ((33, 47),) if case == "small" else ((224, 224), (193, 161))
    compare_with_torch(net, "mobilenet_v2", tmp_path, options={"dropout": 0.0, **kept}, sizes=sizes)


@pytest.mark.nightly  # the tree is torchvision's, and the mechanisms are those of slim's test
@pytest.mark.parametrize(("sizes", "suffix", "options"), KERAS)
def test_equals_keras(sizes, suffix, options, tmp_path):
    pytest.importorskip("keras")
    compare_with_keras(
        lambda size: build_keras("MobileNetV2", size, **options),
        "keras/mobilenet_v2",
        tmp_path,
        options=options if suffix == ".keras" else {},  # alpha follows from the file
        sizes=sizes,
        suffix=suffix,
        images=12,
    )


@pytest.mark.nightly
def test_equals_keras_built_for_any_size(tmp_path):
    pytest.importorskip("keras")
    compare_with_keras(
        # with the classifier Keras does not build it for no size
        lambda size: build_keras("MobileNetV2", (None, None), include_top=False, pooling="avg", alpha=0.35),
        "keras/mobilenet_v2",
        tmp_path,
        options={"any_size": True},
        sizes=((67, 93),),
    )


def test_equals_slim(tmp_path):
    compare_with_slim(
        "slim_mobilenet_v2",
        "tensorflow/mobilenet_v2",
        tmp_path,
        np.random.default_rng(1).uniform(-1, 1, (2, 33, 47, 3)).astype(np.float32),
        options={"stem": 8, "blocks": ((1, 8, 1, 1), (3, 8, 2, 2), (6, 16, 1, 2), (3, 16, 2, 2)), "last": 24},
    )
