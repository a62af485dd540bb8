"""AlexNet against torchvision and TensorFlow slim: thin layers and random weights that are written to files."""

import pytest

from tests.support.parity import compare_with_torch
from tests.support.slim_fixtures import compare_with_fixture


def test_equals_torchvision(tmp_path):
    torch = pytest.importorskip("torch")
    from tests.support.torchvision_cpu import require_torchvision

    filters, hidden = (6, 8, 8, 8, 6), (12, 10)
    with torch.device("meta"):
        net = require_torchvision().models.AlexNet(num_classes=7, dropout=0.0)
    places = [place for place, layer in enumerate(net.features) if isinstance(layer, torch.nn.Conv2d)]
    for place, before, after in zip(places, (3, *filters), filters, strict=False):
        old = net.features[place]
        net.features[place] = torch.nn.Conv2d(before, after, old.kernel_size, old.stride, old.padding)
    for place, sizes in ((1, (6 * 36, 12)), (4, (12, 10)), (6, (10, 7))):
        net.classifier[place] = torch.nn.Linear(*sizes)
    options = {"filters": filters, "hidden": hidden, "dropout": 0.0}
    compare_with_torch(net, "alexnet", tmp_path, options=options, sizes=((63, 131),))


@pytest.mark.nightly  # vgg_test.py compares the same classifier
def test_equals_slim():
    options = {"filters": (4, 12, 24, 24, 16), "hidden": (256, 256), "dropout": 0.0}
    compare_with_fixture("alexnet_v2", "tensorflow/alexnet_v2", options=options)
