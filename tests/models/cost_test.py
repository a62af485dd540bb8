"""Operations of models: by hand for layers, as published for networks; ``python -m tests.models.cost_test`` records."""

import json
from pathlib import Path

import flax.linen as nn
import pytest

from jaxcnn import layers, models
from jaxcnn.models.cost import read_flops
from jaxcnn.models.registry import ARCHITECTURES
from tests.support.selection import daily

RECORDED = Path(models.__file__).parent / "recorded_flops.json"


def count(name: str) -> int:
    one = ARCHITECTURES[name]
    return models.count_flops(models.create(name, num_classes=one.classes), (one.size, one.size, 3))


@pytest.mark.parametrize(
    ("layer", "flops"),
    [
        (layers.Conv(8, (3, 3), 2, feature_group_count=2), 2 * 4 * 3 * 9 * 2 * 8),  # 7 x 5 pixels of 4 channels
        (layers.DepthwiseConv((3, 5), depth_multiplier=2), 2 * 7 * 5 * 15 * 8),
        (layers.SeparableConv(6, (3, 3)), 2 * 7 * 5 * (9 * 4 + 4 * 6)),
        (layers.SeparableConv(6, (3, 3), shared=True, depth_multiplier=2), 2 * 7 * 5 * (9 * 8 + 8 * 6)),
        (nn.Dense(3), 2 * 7 * 5 * 4 * 3),
        (nn.BatchNorm(use_running_average=True), 0),
    ],
)
def test_operations_of_layers_are_those_counted_by_hand(layer, flops):
    assert models.count_flops(nn.Sequential([layer]), (7, 5, 4)) == flops


def test_operations_of_published_networks():
    """Twice the multiply-adds that their sources state: 4.089 billion of torchvision's, 0.569 of the paper's."""
    assert count("resnet50") / 2e9 == pytest.approx(4.089, abs=1e-3)
    assert count("mobilenet") / 2e9 == pytest.approx(0.569, abs=1e-3)


@pytest.mark.parametrize("name", daily(ARCHITECTURES, ("resnet18", "mobilenet_v2")))
def test_recorded_operations_are_those_of_the_models(name):
    """The list of models shows numbers that were written down; run this module after a change of a model."""
    assert read_flops()[name] == count(name)


if __name__ == "__main__":
    found = {name: count(name) for name in sorted(ARCHITECTURES)}
    RECORDED.write_text(json.dumps(found, indent=1) + "\n", "utf-8")
