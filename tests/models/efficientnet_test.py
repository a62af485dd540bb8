"""EfficientNet, both versions, against torchvision and Keras, with random weights that these write to files."""

import os
from functools import partial

import jax
import numpy as np
import pytest

from jaxcnn import models, zoo
from jaxcnn.zoo.family_filling import build_filled
from tests.support.keras_parity import (
    build_keras,
    compare_with_keras,
    measure_difference,
    randomize_keras,
    run_keras,
    save_keras,
)
from tests.support.parity import compare_with_torch
from tests.support.selection import daily
from tests.support.torchvision_cpu import require_torchvision
from tests.support.untyped import untyped

os.environ.setdefault("KERAS_BACKEND", "jax")

OFF = {"dropout": 0.0, "drop_path": 0.0}
PLAIN = (("plain", 1, 3, 1, 16, 1), ("plain", 3, 5, 2, 24, 2))
FUSED = (("fused", 1, 3, 1, 16, 1), ("fused", 2, 3, 2, 24, 1), ("plain", 3, 3, 1, 24, 1))


def build_small_torch(family, rows, norm):
    torch = pytest.importorskip("torch")
    inputs = (16, *(row[4] for row in rows))
    kinds = {"plain": family.MBConvConfig, "fused": family.FusedMBConvConfig}
    table = [
        kinds[kind](expansion, kernel, stride, before, filters, blocks)
        for before, (kind, expansion, kernel, stride, filters, blocks) in zip(inputs, rows, strict=False)
    ]
    layer = partial(torch.nn.BatchNorm2d, **norm)
    return family.EfficientNet(table, 0.0, 0.0, num_classes=7, last_channel=32, norm_layer=layer)


TORCH = {
    "efficientnet_b0": (PLAIN, {}),
    "efficientnet_b5": (PLAIN, {"eps": 1e-3, "momentum": 0.01}),
    "efficientnet_v2_s": (FUSED, {"eps": 1e-3}),
}


@pytest.mark.parametrize("name", daily(TORCH, ["efficientnet_v2_s"]))
def test_equals_torchvision(name, tmp_path):
    pytest.importorskip("torch")
    rows, norm = TORCH[name]
    net = build_small_torch(require_torchvision().models.efficientnet, rows, norm)
    options = {"blocks": rows, "width": 1.0, "depth": 1.0, "stem": 16, "last": 32, **OFF}
    if "v2" in name:
        options = {key: value for key, value in options.items() if key not in ("width", "depth")}
    compare_with_torch(net, name, tmp_path, options=options, sizes=((33, 47),))


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_v2_s"])
def test_real_size_equals_torchvision(name, tmp_path):
    pytest.importorskip("torch")
    net = getattr(require_torchvision().models, name)(dropout=0.0, stochastic_depth_prob=0.0)
    compare_with_torch(net, name, tmp_path, options=OFF, sizes=((224, 224), (193, 161)))


def build_small_keras(name, rows, size, stem, **options):
    """Builds a network of Keras of these rows, without dropout."""
    applications = pytest.importorskip("keras.src.applications")
    settings = {"weights": None, "classes": 11, "classifier_activation": None, "input_shape": (*size, 3)} | options
    inputs = (stem, *(row[4] for row in rows))
    table = []
    for before, (kind, expansion, kernel, stride, filters, blocks) in zip(inputs, rows, strict=False):
        row = {"kernel_size": kernel, "expand_ratio": expansion, "strides": stride}
        row["se_ratio"] = 0.25 if kind == "plain" else 0.0
        if "v2" in name:
            row |= {"input_filters": before, "output_filters": filters, "num_repeat": blocks}
            row["conv_type"] = int(kind == "fused")
        else:
            row |= {"filters_in": before, "filters_out": filters, "repeats": blocks, "id_skip": True}
        table.append(row)
    with jax.numpy_rank_promotion("allow"):
        if "v2" in name:
            build = applications.efficientnet_v2.EfficientNetV2
            return build(1.0, 1.0, 224, 0.0, 0.0, blocks_args=table, name=name, **settings)
        return applications.efficientnet.EfficientNet(1.0, 1.0, 224, 0.0, 0.0, blocks_args=table, **settings)


KERAS = {
    # our name: Keras's name, from which the normalization of the pixels follows, and the table
    "keras/efficientnet_b0": ("efficientnetb0", PLAIN),
    "keras/efficientnet_v2_b0": ("efficientnetv2-b0", FUSED),
    "keras/efficientnet_v2_s": ("efficientnetv2-s", FUSED),
}


@pytest.mark.parametrize("name", daily(KERAS, ["keras/efficientnet_b0"]))
def test_equals_keras(name, tmp_path):
    """Pixels are normalized inside, by statistics of the file or by constants."""
    original, rows = KERAS[name]
    compare_with_keras(
        lambda size: build_small_keras(original, rows, size, 32),
        name,
        tmp_path,
        options={"blocks": rows, "stem": 32, **OFF},
        sizes=((33, 46),),
        low=0.0,
        high=255.0,
    )


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("name", "original"),
    [("keras/efficientnet_b0", "EfficientNetB0"), ("keras/efficientnet_v2_b2", "EfficientNetV2B2")],
)
def test_real_size_equals_keras(name, original, tmp_path):
    pytest.importorskip("keras")

    def build(size):
        net = build_keras(original, size)
        for layer in net.layers:
            if type(layer).__name__ == "Dropout":
                layer.rate = 0.0
        return net

    compare_with_keras(build, name, tmp_path, options=OFF, sizes=((224, 224), (193, 161)), low=0.0, high=255.0)


def test_weights_of_imagenet_rescale_twice_in_keras(tmp_path, monkeypatch):
    """Its files hold standard deviations for variances, and its network for them divides by their roots once more."""
    efficientnet = pytest.importorskip("keras.src.applications.efficientnet")
    options = {"include_top": False, "pooling": "avg"}
    plain = build_small_keras("b0", PLAIN[:1], (33, 46), 32, **options)
    randomize_keras(plain)
    plain.get_layer(index=2).adapt_variance.assign(efficientnet.IMAGENET_STDDEV_RGB)
    path = tmp_path / "imagenet.weights.h5"
    save_keras(plain, path)
    monkeypatch.setattr(efficientnet.file_utils, "get_file", lambda *_, **__: path)
    options |= {"weights": "imagenet", "weights_name": "b0", "classes": 1000}
    net = build_small_keras("b0", PLAIN[:1], (33, 46), 32, **options)
    settings = {"blocks": PLAIN[:1], "stem": 32, **OFF}
    model, variables, _ = build_filled(path, zoo.read(path), "keras/efficientnet_b0", options=settings)
    x = np.random.default_rng(0).uniform(0, 255, (2, 33, 46, 3)).astype(np.float32)
    assert measure_difference(jax.jit(model.apply)(variables, x), run_keras(net, x, train=False)[0]) < 1e-5


def test_statistics_of_the_pixels_are_adapted_to_other_channels(tmp_path):
    net = build_small_keras("b0", PLAIN[:1], (33, 46), 32)
    randomize_keras(net)
    path = tmp_path / "three.weights.h5"
    save_keras(net, path)
    settings = {"model": "keras/efficientnet_b0", "blocks": PLAIN[:1], "stem": 32}
    three, one = (zoo.load(path, channels=channels, **settings) for channels in (None, 1))
    before, after = (loaded.variables["batch_stats"]["normalization"] for loaded in (three, one))
    np.testing.assert_allclose(after["mean"], [before["mean"].mean()], rtol=1e-6)
    assert one.variables["params"]["stem"]["kernel"].shape[2] == after["var"].size == 1
    assert one.provenance["notes"] == ("The first kernel was adapted from 3 to 1 channels.",)
    assert three.provenance["notes"] == ()


def test_widths_and_depths_are_scaled():
    for name, blocks, filters in (
        ("efficientnet_b4", [2, 4, 4, 6, 6, 8, 2], [24, 32, 56, 112, 160, 272, 448]),
        ("keras/efficientnet_v2_b3", [2, 3, 3, 5, 7, 12], [16, 40, 56, 112, 136, 232]),
    ):
        table = models.create(name).table()
        assert [len(stage) for stage in table] == blocks
        assert [stage[0]["filters"] for stage in table] == filters


def test_drop_path_grows_over_all_blocks():
    rates = [block["drop_path"] for stage in models.create("efficientnet_b0").table() for block in stage]
    np.testing.assert_allclose(rates, 0.2 * np.arange(16) / 16)
    last = models.create("keras/efficientnet_v2_b1").table()[-1][-1]
    assert last["drop_path"] == pytest.approx(0.2 * 26 / 21)  # Keras divides by the number before scaling


def test_errors_of_options():
    for options, message in (
        ({"variant": "timm"}, "efficientnet: variant must be one of .*got 'timm'"),
        ({"width": 0.0}, "efficientnet: width must be above 0, got 0.0"),
        ({"depth": -1.0}, "efficientnet: depth must be above 0, got -1.0"),
        ({"blocks": (("dense", 1, 3, 1, 8, 1),)}, "blocks must be of the kinds 'plain' and 'fused', got .*dense"),
    ):
        init = models.create("efficientnet_b0", **untyped(options)).init
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(init, jax.random.key(0), np.ones((1, 32, 32, 3), np.float32))
