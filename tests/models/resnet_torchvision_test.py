"""ResNets against torchvision with random weights and statistics that are written to a file: shrunken members."""

import pytest

from tests.support.parity import compare_with_torch
from tests.support.selection import daily
from tests.support.torchvision_cpu import require_torchvision

torch = pytest.importorskip("torch")


CASES = {
    # name: the original, our options, sizes
    "resnet18": (
        lambda models: models.ResNet(models.resnet.BasicBlock, [1, 2, 1, 1], num_classes=7),
        {"blocks": (1, 2, 1, 1)},
    ),
    "resnext50_32x4d": (
        lambda models: models.ResNet(
            models.resnet.Bottleneck, [1, 1, 1, 1], num_classes=7, groups=4, width_per_group=8
        ),
        {"blocks": (1, 1, 1, 1), "groups": 4, "width_per_group": 8},
    ),
    "resnet50": (
        lambda models: models.ResNet(
            models.resnet.Bottleneck, [1, 1, 2, 2], num_classes=7, replace_stride_with_dilation=[False, True, True]
        ),
        {"blocks": (1, 1, 2, 2), "output_stride": 8},
    ),
}


@pytest.mark.parametrize("name", daily(CASES, ("resnet18", "resnext50_32x4d")))
def test_equals_torchvision(name, tmp_path):
    build, options = CASES[name]
    torch.manual_seed(0)
    compare_with_torch(build(require_torchvision().models), name, tmp_path, options=options, sizes=((33, 47),))
