"""Mixup and CutMix: labels, sharding, dtypes, error messages."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxcnn import augment
from tests.augment.functions import (
    KEY,
    as_uint8,
    photograph,
)
from tests.support.selection import daily


class TestMixing:
    images = jnp.stack([photograph() * (i + 1) / 4 for i in range(4)])
    labels = jnp.arange(4)

    @pytest.mark.parametrize("mix", [augment.mixup, augment.cutmix])
    @pytest.mark.parametrize("alpha", daily([1.0, 0.3], [0.3]))
    def test_labels_are_mixed_as_the_images(self, mix, alpha):
        images = jnp.stack([jnp.full((16, 16, 4), 0.0).at[..., i].set(1) for i in range(4)])
        mixed, soft = mix(KEY, images, self.labels, num_classes=4, alpha=alpha)
        np.testing.assert_allclose(mixed.mean((1, 2)), soft, atol=1e-5)
        np.testing.assert_allclose(soft.sum(-1), 1, atol=1e-6)
        assert len(np.unique(np.round(np.asarray(soft).max(-1), 4))) == 4  # each pair has its own
        again, _ = mix(KEY, as_uint8(images), soft, num_classes=4, alpha=alpha)
        np.testing.assert_allclose(np.asarray(again, np.float32) / 255, mixed, atol=0.51 / 255)

    @pytest.mark.parametrize("mix", daily([augment.mixup, augment.cutmix], [augment.cutmix]))
    def test_batches_may_be_sharded_on_an_explicit_mesh(self, mix):
        alone = mix(KEY, self.images, self.labels, num_classes=4)
        mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2])
        with jax.set_mesh(mesh):
            batch = jax.device_put((self.images, self.labels), NamedSharding(mesh, PartitionSpec("data")))
            mixed = jax.jit(functools.partial(mix, num_classes=4))(KEY, *batch)
        for result, expected in zip(mixed, alone, strict=True):
            assert result.sharding.spec[0] == "data"
            np.testing.assert_allclose(jax.device_get(result), expected, atol=1e-6)

    @pytest.mark.parametrize("mix", [augment.mixup, augment.cutmix])
    def test_labels_are_float32_where_float64_is_allowed(self, mix):
        with jax.enable_x64(True):
            _, soft = jax.eval_shape(functools.partial(mix, num_classes=4), KEY, self.images, self.labels)
        assert soft.dtype == jnp.float32

    @pytest.mark.errors
    def test_errors(self):
        with pytest.raises(ValueError, match=r"mixup: labels must be \(4,\) numbers or \(4, 3\)"):
            augment.mixup(KEY, self.images, jnp.ones((4, 2)), num_classes=3)
        with pytest.raises(ValueError, match="cutmix: alpha must be above 0"):
            augment.cutmix(KEY, self.images, self.labels, num_classes=4, alpha=0.0)
