"""Weight files in timm's naming, of PyTorch and as safetensors, against timm: shrunken members.

Collected where timm is installed (``pip install --no-deps timm torchvision``).
"""

from functools import partial

import jax
import numpy as np
import pytest

from jaxcnn import zoo
from tests.support.parity import compare_with_torch, randomize_torch
from tests.support.selection import daily
from tests.support.torchvision_cpu import require_torchvision

torch = pytest.importorskip("torch")
require_torchvision()
timm = pytest.importorskip("timm")

FILTERS = (8, 16, 16, 24)
ROWS = (
    ("fused", 1, 3, 1, 16, 1),
    ("fused", 4, 3, 2, 24, 1),
    ("plain", 1, 3, 1, 24, 1),
    ("plain", 6, 5, 2, 32, 2),
)
DEFINITIONS = [
    ["cn_r1_k3_s1_e1_c16_skip"],
    ["er_r1_k3_s2_e4_c24"],
    ["ds_r1_k3_s1_e1_c24_se0.25"],
    ["ir_r2_k5_s2_e6_c32_se0.25"],
]


def build_convnext(**options):
    return timm.models.convnext.ConvNeXt(depths=(1, 2, 1, 1), dims=FILTERS, num_classes=7, **options)


def build_efficientnet(padding, epsilon):
    table = timm.models._efficientnet_builder.decode_arch_def(DEFINITIONS)
    return timm.models.efficientnet.EfficientNet(
        table,
        num_classes=7,
        num_features=32,
        stem_size=16,
        pad_type=padding,
        norm_layer=partial(torch.nn.BatchNorm2d, eps=epsilon),
        act_layer=torch.nn.SiLU,
    )


def build_resnet():
    block = timm.models.resnet.Bottleneck
    return timm.models.resnet.ResNet(block, (1, 1, 1, 1), num_classes=7, cardinality=4, base_width=8)


CONVNEXT = {"blocks": (1, 2, 1, 1), "filters": FILTERS, "drop_path": 0.0}
EFFICIENTNET = {"blocks": ROWS, "stem": 16, "last": 32, "drop_path": 0.0, "dropout": 0.0}
CASES = {
    # case: the original, our name and options
    "convnext": (build_convnext, "convnext_tiny", CONVNEXT),
    "convnext with convolutions": (partial(build_convnext, conv_mlp=True), "convnext_tiny", CONVNEXT),
    "efficientnet": (
        partial(build_efficientnet, "", 1e-5),
        "efficientnet_v2_s",
        EFFICIENTNET | {"variant": "torchvision"},
    ),
    "tf_efficientnet": (
        partial(build_efficientnet, "same", 1e-3),
        "efficientnet_v2_s",
        EFFICIENTNET | {"variant": "tensorflow_v2"},
    ),
    "resnet": (build_resnet, "resnext50_32x4d", {"blocks": (1, 1, 1, 1), "groups": 4, "width_per_group": 8}),
}


@pytest.mark.parametrize("case", daily(CASES, ["tf_efficientnet"]))
def test_equals_timm(case, tmp_path):
    build, name, options = CASES[case]
    compare_with_torch(build(), name, tmp_path, options=options, sizes=((33, 47),), train=case == "tf_efficientnet")


@pytest.mark.parametrize("case", daily(["convnext", "resnet"], ["convnext"]))
def test_safetensors_of_timm_hold_the_same(case, tmp_path):
    """Their kernels are in PyTorch's order of axes, which the file does not state."""
    from safetensors.torch import save_file

    build, name, options = CASES[case]
    net = build()
    randomize_torch(net)
    torch.save(net.state_dict(), tmp_path / "pytorch_model.bin")
    save_file(net.state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    one, other = (
        zoo.load(tmp_path / file, model=name, **options).variables
        for file in ("pytorch_model.bin", "model.safetensors")
    )
    jax.tree.map(np.testing.assert_array_equal, one, other)
