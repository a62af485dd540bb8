"""A tiny network and tiny data for the tests of training."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np


class Block(nn.Module):
    """Convolution and batch norm; the norm takes its switch as an argument or as a field."""

    features: int
    switch: str = "argument"

    @nn.compact
    def __call__(self, x, *, train=False):
        x = nn.Conv(self.features, (3, 3), strides=2, name="conv")(x)
        if self.switch == "argument":
            x = nn.BatchNorm(name="norm", momentum=0.9)(x, use_running_average=not train)
        elif self.switch == "position":
            x = nn.BatchNorm(name="norm", momentum=0.9)(x, not train)
        else:
            x = nn.BatchNorm(name="norm", momentum=0.9, use_running_average=not train)(x)
        return nn.relu(x)


class Net(nn.Module):
    """Two blocks, dropout, a dense head."""

    rate: float = 0.2
    switch: str = "argument"
    classes: int = 3

    @nn.compact
    def __call__(self, x, *, train=False):
        x = Block(4, self.switch, name="block1")(x, train=train)
        self.sow("intermediates", "features", x)
        x = Block(6, self.switch, name="block10")(x, train=train)
        x = nn.Dropout(self.rate, deterministic=not train, name="dropout")(x)
        return nn.Dense(self.classes, name="head")(x.mean((1, 2)))


class Linear(nn.Module):
    """Logits straight from the pixels: compiles in no time, for tests of what is around the network."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3, name="head")(x.reshape((len(x), -1)))


def draw(key, n=12):
    """Draws images whose label is the third that is bright."""
    label_key, noise_key = jax.random.split(key)
    label = jax.random.randint(label_key, (n,), 0, 3)
    column = jnp.arange(9)[None, :] // 3
    bright = (column == label[:, None]).astype(jnp.float32)[:, None, :, None]
    noise = jax.random.uniform(noise_key, (n, 9, 9, 1))
    return {"image": 0.5 * bright + 0.5 * noise, "label": label}


def host_batch(seed, n=12):
    """Draws a batch and brings it to the host."""
    return jax.tree.map(np.asarray, draw(jax.random.key(seed), n))


def assert_same(a, b):
    """Compares two trees bit for bit, typed keys included."""
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
            x, y = jax.random.key_data(x), jax.random.key_data(y)
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(x, y)
