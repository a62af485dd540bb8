"""The distribution of random resized crops."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import augment
from tests.augment.functions import KEY, P


def test_resized_crops_are_drawn_as_torchvision_draws_them():
    """Area and aspect ratio of the part, seen in the image of the coordinates."""
    h, w = 60, 80
    y, x = np.mgrid[:h, :w].astype(np.float32)
    image = jnp.asarray(np.stack([x, y], -1))
    crop = augment.batched(P(augment.random_resized_crop, shape=(4, 4), antialias=False, scale=(0.2, 0.8)))
    parts = np.asarray(jax.jit(crop)(KEY, jnp.stack([image] * 300)))
    width = (parts[:, 0, 3, 0] - parts[:, 0, 0, 0]) / 3 * 4
    height = (parts[:, 3, 0, 1] - parts[:, 0, 0, 1]) / 3 * 4
    area, ratio = width * height / (h * w), width / height
    assert 0.19 < area.min() < 0.25 and 0.7 < area.max() < 0.83
    assert 0.72 < ratio.min() < 0.8 and 1.25 < ratio.max() < 1.4
    assert abs(np.log(ratio).mean()) < 0.05
