"""RegNets against torchvision's, shrunken; the stages that follow from their parameters."""

import jax
import jax.numpy as jnp
import pytest

from jaxcnn import models
from tests.support.parity import compare_with_torch
from tests.support.torchvision_cpu import require_torchvision
from tests.support.untyped import untyped


def test_equals_torchvision(tmp_path):
    regnet = require_torchvision().models.regnet
    stages = regnet.BlockParams.from_init_params(depth=4, w_0=8, w_a=7.0, w_m=1.6, group_width=6, se_ratio=0.25)
    small = {"depth": 4, "initial_width": 8, "slope": 7.0, "factor": 1.6, "group_width": 6, "stem": 6}
    net = regnet.RegNet(stages, num_classes=7, stem_width=6)
    compare_with_torch(net, "regnet_y_400mf", tmp_path, options=small, sizes=((33, 47),))


@pytest.mark.parametrize(
    ("name", "blocks", "widths", "group_width"),
    [
        # of torchvision's networks; that of regnet_x_400mf is not the paper's, whose last stage has 384 channels
        ("regnet_x_400mf", (1, 2, 7, 12), (32, 64, 160, 400), 16),
        ("regnet_x_3_2gf", (2, 6, 15, 2), (96, 192, 432, 1008), 48),
        ("regnet_x_32gf", (2, 7, 13, 1), (336, 672, 1344, 2520), 168),
        ("regnet_y_400mf", (1, 3, 6, 6), (48, 104, 208, 440), 8),
        ("regnet_y_8gf", (2, 4, 10, 1), (224, 448, 896, 2016), 56),
        ("regnet_y_32gf", (2, 5, 12, 1), (232, 696, 1392, 3712), 232),
    ],
)
def test_stages_follow_from_the_parameters(name, blocks, widths, group_width):
    table = untyped(models.create(name)).table()
    assert tuple(stage.blocks for stage in table) == blocks
    assert tuple(stage.width for stage in table) == widths
    assert {stage.group_width for stage in table} == {group_width}


def test_errors_of_options():
    x = jnp.ones((1, 32, 32, 3))
    for options, message in (
        ({"initial_width": 20}, "regnet: initial_width must be a positive multiple of 8, got 20"),
        ({"slope": -1.0}, r"regnet: slope must be at least 0, got -1\.0"),
        ({"factor": 1.0}, r"regnet: factor must be above 1, got 1\.0"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(models.create("regnet_x_400mf", **untyped(options)).init, jax.random.key(0), x)
