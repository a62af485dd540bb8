"""A recipe that trains in a second: two arms on images whose brighter half is their class."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcnn.recipes._runner import Recipe, check_config

ARMS = ("linear", "hidden")


@dataclasses.dataclass(frozen=True)
class Config:
    """As small as a configuration can be."""

    steps: int = 6
    seeds: int = 2
    arms: tuple[str, ...] = ARMS
    batch: int = 8
    evaluate_every: int = 3
    rate: float = 0.1

    def __post_init__(self):
        check_config(self, ARMS, counts=(), rates=("rate",))


def draw(key):
    left, right = jax.random.uniform(key, (2, 8))
    image = jnp.repeat(jnp.stack([left, right], -1)[:, None, :, None], 2, 1)
    return {"image": image, "label": (right > left).astype(jnp.int32)}


class Perceptron(nn.Module):
    """As small as a network can be."""

    hidden: int = 0

    @nn.compact
    def __call__(self, x):
        x = x.reshape(len(x), -1)
        x = nn.relu(nn.Dense(self.hidden)(x)) if self.hidden else x
        return nn.Dense(2)(x)


def build(config, arm):
    return Perceptron(4 if arm == "hidden" else 0)


def write_plain_page(info, page, networks, evaluation):
    """Writes the words of a page, in place of ``write_run_page``, whose plots take seconds."""
    path = info.folder / "report.html"
    path.write_text(f"{page.title}: {page.summary} {page.rows} of {len(networks)} networks")
    return path


RECIPE = Recipe(
    name="toy",
    title="Which half is brighter",
    config=Config,
    arms=ARMS,
    classes=("left", "right"),
    build=build,
    optimizer=lambda config: optax.sgd(config.rate),
    data=lambda config: draw,
    test_set=lambda config: {name: np.asarray(value) for name, value in draw(jax.random.key(9)).items()},
    preprocessing=lambda config: {"size": [2, 2], "channels": 1, "value_range": [0, 1]},
    setting=lambda config: "Images of two halves.",
)
