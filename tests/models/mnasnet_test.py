"""MNASNet against torchvision, with random weights."""

from typing import Any

import jax
import numpy as np
import pytest

from jaxcnn import zoo
from tests.support.parity import compare_with_torch, randomize_torch
from tests.support.torchvision_cpu import require_torchvision

torch = pytest.importorskip("torch")

STAGES = ((3, 3, 24, 2, 2), (5, 6, 24, 1, 1))


def build(alpha: float, *, classes: int = 7, first_version: bool = False) -> Any:
    """Builds torchvision's network with these stages; its first version had as wide a stem at any width."""
    torch.manual_seed(0)
    mnasnet = require_torchvision().models.mnasnet
    nn, momentum = torch.nn, 1 - 0.9997
    wide, narrow, filters, *_ = mnasnet._get_depths(alpha)
    if first_version:
        wide, narrow = 32, 16
    net = mnasnet.MNASNet(alpha, num_classes=classes, dropout=0.0)
    stages, before = [], narrow
    for kernel, expansion, _, number, stride in STAGES:
        stages.append(mnasnet._stack(before, filters, kernel, stride, expansion, number, momentum))
        before = filters
    net.layers = nn.Sequential(
        nn.Conv2d(3, wide, 3, padding=1, stride=2, bias=False),
        nn.BatchNorm2d(wide, momentum=momentum),
        nn.ReLU(),
        nn.Conv2d(wide, wide, 3, padding=1, groups=wide, bias=False),
        nn.BatchNorm2d(wide, momentum=momentum),
        nn.ReLU(),
        nn.Conv2d(wide, narrow, 1, bias=False),
        nn.BatchNorm2d(narrow, momentum=momentum),
        *stages,
        nn.Conv2d(filters, 1280, 1, bias=False),
        nn.BatchNorm2d(1280, momentum=momentum),
        nn.ReLU(),
    )
    return net


def test_equals_torchvision(tmp_path):
    options = {"stages": STAGES, "dropout": 0.0}
    compare_with_torch(build(0.5), "mnasnet0_5", tmp_path, options=options, sizes=((33, 47),))


def test_files_of_the_first_version_have_a_stem_of_one_width(tmp_path):
    """torchvision's loader recognizes them by the version that the file states; here the shapes tell."""
    net = build(0.5, first_version=True)
    net._version = 1  # as its loader leaves a network that it has put together again
    randomize_torch(net)
    torch.save(net.state_dict(), tmp_path / "first.pth")
    loaded = zoo.load(tmp_path / "first.pth", model="mnasnet0_5", stages=STAGES)
    assert getattr(loaded.model, "scale_stem", None) is False
    assert loaded.provenance["notes"][-1] == "scale_stem False follows from the shapes of the file."
    images = np.random.default_rng(0).uniform(-2, 2, (2, 32, 32, 3)).astype(np.float32)
    with torch.no_grad():
        want = net.eval()(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).numpy()
    got = jax.jit(loaded.model.apply)(loaded.variables, images)
    np.testing.assert_allclose(got, want, atol=1e-5 * np.abs(want).max())


@pytest.mark.nightly
@pytest.mark.parametrize("name", ["mnasnet0_5", "mnasnet0_75", "mnasnet1_0", "mnasnet1_3"])
def test_whole_network_equals_torchvision(name, tmp_path):
    torch.manual_seed(0)
    net = getattr(require_torchvision().models.mnasnet, name)(num_classes=7, dropout=0.0)
    sizes = ((224, 224), (193, 161)) if name == "mnasnet0_5" else ((75, 91),)
    compare_with_torch(net, name, tmp_path, options={"dropout": 0.0}, sizes=sizes)
