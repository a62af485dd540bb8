"""Names of a user's own: a real file of another repository, and what is said of a mapping that does not fit."""

import re

import jax
import numpy as np
import pytest

from jaxcnn import zoo
from tests.support.real_data import DATA, needs_data
from tests.support.untyped import untyped

FILE = DATA / "pytorch" / "mobilenet_v2_1.0_features_tonylins.pt"

PLACES = {"expand": 0, "expand_bn": 1, "depthwise": 3, "depthwise_bn": 4, "project": 6, "project_bn": 7}
MAPPING = [
    ("conv1", "features.0.0"),
    ("conv1_bn", "features.0.1"),
    (r"block0/depthwise(_bn)?", lambda norm: f"features.1.conv.{1 if norm else 0}"),  # it does not expand
    (r"block0/project(_bn)?", lambda norm: f"features.1.conv.{4 if norm else 3}"),
    (r"block(\d+)/(\w+)", lambda block, part: f"features.{block + 1}.conv.{PLACES[part]}"),
    ("conv_last", "features.18.0"),
    ("conv_last_bn", "features.18.1"),
]


@needs_data
def test_mobilenet_v2_of_another_repository():
    """Its features are those of torchvision's network filled with the same tensors, which are in the same order."""
    loaded = zoo.load(FILE, model="mobilenet_v2", mapping=MAPPING)
    assert loaded.activation == "features" and loaded.provenance["model"] == "mobilenet_v2"
    images = np.random.default_rng(0).uniform(-2, 2, (2, 33, 38, 3)).astype(np.float32)
    features = np.asarray(jax.jit(loaded.model.apply)(loaded.variables, images))
    assert features.shape == (2, 1280)
    torch = pytest.importorskip("torch")
    from tests.support.torchvision_cpu import require_torchvision

    net = require_torchvision().models.mobilenet_v2().features.eval()
    stored = torch.load(FILE, weights_only=True, map_location="cpu").values()
    net.load_state_dict(dict(zip(net.state_dict(), stored, strict=True)))
    with torch.no_grad():
        want = net(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())).mean((2, 3)).numpy()
    assert np.abs(features - want).max() < 1e-4 * np.abs(want).max()


def write(path, changed):
    """Writes a file of a small VGG with names of PyTorch, some of them changed."""
    shapes = {"0": (4, 3, 3, 3), "3": (5, 4, 3, 3)}
    tensors = {f"features.{n}.weight": np.ones(shape, np.float32).transpose(2, 3, 1, 0) for n, shape in shapes.items()}
    tensors |= {f"features.{n}.bias": np.ones(shape[:1], np.float32) for n, shape in shapes.items()}
    tensors = {changed.get(name, name): tensor for name, tensor in tensors.items()}
    np.savez(path, **tensors)


RULES = [(r"stage1/conv1", "features.0"), (r"stage2/conv1", "features.3")]
SMALL = {"convolutions": (1, 1), "filters": (4, 5)}


def load(path, mapping=None, **options):
    return zoo.load(path, model="vgg11", mapping=RULES if mapping is None else mapping, **untyped(SMALL | options))


def test_errors_of_mappings_are_grouped_by_layer(tmp_path):
    path = tmp_path / "own.npz"
    write(path, {})
    assert load(path).activation == "features"
    write(path, {"features.3.weight": "features.4.weight", "features.3.bias": "features.4.bias"})
    with pytest.raises(zoo.FormatError) as caught:
        load(path)
    assert str(caught.value).splitlines() == [
        f"{path}: does not fit the model",
        "1 layer of the model without tensors in the file:",
        "  stage2/conv1: no features.3.bias, features.3.weight; nearest: features.4.bias",
        "1 layer of the file without a place in the model:",
        "  features.4: weight, bias",
    ]
    write(path, {})
    with pytest.raises(zoo.FormatError) as caught:
        load(path, mapping=RULES[:1])
    assert "  stage2/conv1: no rule matches it (bias, kernel); nearest: features.3.bias" in str(caught.value)
    with pytest.raises(zoo.FormatError) as caught:
        load(path, filters=(4, 6))
    assert str(caught.value).splitlines()[1:] == [
        "1 layer of the model with tensors of another shape:",
        "  stage2/conv1: bias (6,), but features.3.bias (5,); kernel (3, 3, 4, 6), but",
        "    features.3.weight (3, 3, 4, 5)",
    ]


def test_errors_of_mappings_are_no_wall(tmp_path):
    path = tmp_path / "own.npz"
    write(path, {})
    with pytest.raises(zoo.FormatError) as caught:
        zoo.load(path, model="vgg19_bn", mapping=[(r"(.*)", r"other/\1")])
    lines = str(caught.value).splitlines()[1:]
    assert len(lines) < 30 and max(map(len, lines)) <= 80
    assert any(re.fullmatch(r"  and \d+ more", line) for line in lines)
