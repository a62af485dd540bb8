"""ShuffleNet v2 against torchvision's, shrunken."""

import jax
import jax.numpy as jnp
import pytest

from jaxcnn import models
from tests.support.parity import compare_with_torch
from tests.support.torchvision_cpu import require_torchvision
from tests.support.untyped import untyped


def test_equals_torchvision(tmp_path):
    torchvision = require_torchvision()
    net = torchvision.models.ShuffleNetV2([1, 2, 1], [6, 8, 12, 16, 10], num_classes=7)
    small = {"blocks": (1, 2, 1), "filters": (8, 12, 16), "stem": 6, "last": 10}
    compare_with_torch(net, "shufflenet_v2_x1_0", tmp_path, options=small, sizes=((33, 47),))


def test_errors_of_options():
    model = models.create("shufflenet_v2_x1_0", filters=untyped((10, 21, 30)))
    with pytest.raises(ValueError, match=r"shufflenet_v2: filters must be even numbers, got \(10, 21, 30\)"):
        jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 32, 32, 3)))
