"""Messages about wrong dtypes and keys say how to get the right ones; what they say works."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import augment, models, ops
from tests.support.untyped import untyped

pytestmark = pytest.mark.errors

IMAGE = np.full((2, 8, 8, 1), 51, np.uint8)


def test_errors_of_dtypes_name_the_conversion():
    with pytest.raises(
        ValueError, match=r"got uint8\(2, 8, 8, 1\); x.astype\('float32'\) / 255 converts images of bytes"
    ):
        models.create("lenet").init(jax.random.key(0), IMAGE)
    with pytest.raises(ValueError, match=r"got int32\(2, 8, 8, 1\); image.astype\('float32'\) converts it"):
        ops.grid_sample(untyped(jnp.asarray(IMAGE, jnp.int32)), jnp.zeros((2, 3, 2)))
    with pytest.raises(
        ValueError, match=r"got int32\(2, 8, 8, 1\); image.astype\('uint8'\) converts levels of 0 to 255"
    ):
        ops.invert(untyped(jnp.asarray(IMAGE, jnp.int32)))


def test_errors_of_keys_name_the_conversion():
    image = jnp.ones((4, 4, 3))
    old = jax.random.PRNGKey(7)
    with pytest.raises(
        ValueError, match=r"an old-style key; jax.random.wrap_key_data\(key\) converts it, jax.random.key"
    ):
        augment.random_hue(untyped(old), image)
    new = augment.random_hue(jax.random.wrap_key_data(old), image)
    np.testing.assert_array_equal(new, augment.random_hue(jax.random.key(7), image))
    with pytest.raises(ValueError, match=r"key must be one typed key, got 7; jax.random.key\(7\) makes one"):
        augment.random_hue(untyped(7), image)
    with pytest.raises(ValueError, match=r"got 'seed'; jax.random.key\(seed\) makes one"):
        augment.random_hue(untyped("seed"), image)
