"""A CNN against the same kind of CNN behind a spatial transformer, on rotated, scaled and shifted digits.

Paper: Jaderberg et al. 2015, arXiv:1506.02025, section 4.1, at a small scale: the 8x8 digits that come with
    scikit-learn instead of MNIST, enlarged to 20 pixels; networks of 20,000 parameters; 800 steps.
    It shows a gap at a short, equal budget; the paper's gap after 150,000 steps is far smaller.
Command: ``jaxcnn train``
Hardware: 2 CPU cores
Time: 2 minutes for both networks and 3 seeds, compilation and report included
Result: test error 15.97 ± 0.68 % (CNN), 5.07 ± 1.21 % (behind the transformer), mean and standard
    deviation over 3 seeds; ``benchmarks/results/rts_digits-cpu-2.json``

Learning rates. The localizer gets a fifth of the classifier's: with one rate for both, 6e-3 and more
moves the sampling frame out of the image for some seeds, and nothing is learned after that.
"""

import dataclasses
from typing import Any, Literal

import flax.linen as nn
import jax
import numpy as np
import optax

from jaxcnn import data, models
from jaxcnn._check import check, check_choice, is_integer_at_least
from jaxcnn._typing import Batch, PyTree
from jaxcnn.recipes._runner import Recipe, check_config

__all__ = ["ARMS", "RECIPE", "Arm", "Config", "build", "generator", "optimizer", "test_set"]

Arm = Literal["cnn", "st_cnn"]
ARMS: tuple[Arm, ...] = ("cnn", "st_cnn")

# 20,112 and 20,240 parameters on the 42 x 42 canvas
_LOCALIZER = {"localizer_features": (8, 16), "localizer_units": 32, "localizer_pool_last": True}
_ARCHITECTURES: dict[str, dict[str, Any]] = {
    "cnn": {"features": (19, 38)},
    "st_cnn": {"features": (16, 32), **_LOCALIZER},
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Configuration of a run.

    Example:
        >>> from jaxcnn import recipes
        >>> recipes.rts_digits.Config(steps=100).learning_rate
        0.005
    """

    steps: int = 800
    """Training steps of each network."""
    seeds: int = 3
    """How many networks to train per arm, seeded 0, 1, ..."""
    arms: tuple[Arm, ...] = ARMS
    """Which networks to train: the plain CNN, the CNN behind a spatial transformer."""
    batch: int = 64
    """Examples per step, each distorted anew."""
    learning_rate: float = 5e-3
    """Adam's initial learning rate; it decays to 1 % of that along a cosine."""
    localizer_scale: float = 0.2
    """Factor of the transformer's learning rate; above about 1e-3 its frame may leave the image."""
    transform: Literal["attention", "translation", "similarity", "affine", "projective", "tps"] = "affine"
    """Family of transforms that the transformer predicts."""
    kind: Literal["R", "RTS", "P", "E", "T", "TC"] = "RTS"
    """Distortion of the digits: rotated; rotated, scaled, shifted; projective; elastic; shifted; with clutter."""
    canvas: int = 42
    """Side of the distorted images, in pixels."""
    test_repeats: int = 10
    """How often each of the 360 test digits appears in the fixed test set, each time distorted differently."""
    evaluate_every: int = 100
    """Steps between evaluations on the test set, for the curves."""

    def __post_init__(self) -> None:
        """Refuses values that no run can have."""
        check_config(self, ARMS, counts=("test_repeats",), rates=("learning_rate", "localizer_scale"))
        fits = is_integer_at_least(self.canvas, 28) and self.canvas <= 512
        check(fits, "Config", "canvas", "28 to 512 pixels", self.canvas)


def build(config: Config, arm: Arm) -> nn.Module:
    """Builds the network of an arm, untrained.

    Args:
        config: The configuration.
        arm: Which network.

    Returns:
        A Linen module for images (*b, canvas, canvas, 1), 10 logits.

    Example:
        >>> from jaxcnn import recipes
        >>> type(recipes.rts_digits.build(recipes.rts_digits.Config(), "cnn")).__name__
        'CNN'
    """
    check_choice("build", "arm", arm, ARMS)
    transform: dict[str, Any] = {"transform": config.transform} if arm == "st_cnn" else {}
    return models.create(arm, kernel_sizes=(5, 5), downsample=2, **_ARCHITECTURES[arm], **transform)


def optimizer(config: Config) -> optax.GradientTransformation:
    """Builds Adam with a cosine schedule, slower for the spatial transformer.

    Args:
        config: The configuration.

    Returns:
        The Optax transformation.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import recipes
        >>> tx = recipes.rts_digits.optimizer(recipes.rts_digits.Config(localizer_scale=0.5))
        >>> params = {"transformer": jnp.zeros(1), "classifier": jnp.zeros(1)}
        >>> updates, _ = tx.update(jax.tree.map(jnp.ones_like, params), tx.init(params), params)
        >>> (updates["transformer"] / updates["classifier"]).tolist()
        [0.5]
    """
    schedule = optax.cosine_decay_schedule(config.learning_rate, config.steps, alpha=0.01)
    scale = optax.masked(optax.scale(config.localizer_scale), _is_localizer)
    return optax.chain(optax.scale_by_adam(), scale, optax.scale_by_learning_rate(schedule))


def _is_localizer(params: PyTree) -> PyTree:
    return {name: jax.tree.map(lambda _, n=name: n == "transformer", tree) for name, tree in params.items()}


def generator(config: Config, *, split: Literal["train", "test"] = "train") -> data.Generator:
    """Builds the generator of distorted digits.

    Args:
        config: The configuration.
        split: The 1437 digits to train on, or the 360 to test with.

    Returns:
        The generator.

    Example:
        >>> import jax
        >>> from jaxcnn import recipes
        >>> draw = recipes.rts_digits.generator(recipes.rts_digits.Config())
        >>> draw(jax.random.key(0), 2)["image"].shape
        (2, 42, 42, 1)
    """
    return data.distorted(*data.digits(size=20, split=split), kind=config.kind, canvas=config.canvas)


def test_set(config: Config) -> Batch:
    """Draws the test set, the same in every run of one configuration.

    Args:
        config: The configuration.

    Returns:
        ``{"image": (n, canvas, canvas, 1), "label": (n,)}`` as NumPy arrays.

    Example:
        >>> import numpy as np
        >>> from jaxcnn import recipes
        >>> test = recipes.rts_digits.test_set(recipes.rts_digits.Config(test_repeats=1))
        >>> np.bincount(test["label"]).sum()
        np.int64(360)
    """
    batch = generator(config, split="test").fixed(jax.random.key(1000), repeats=config.test_repeats)
    return {name: np.asarray(value) for name, value in batch.items()}


RECIPE = Recipe(
    name="rts_digits",
    title="Digits behind a spatial transformer",
    config=Config,
    arms=ARMS,
    classes=tuple("0123456789"),
    build=build,
    optimizer=optimizer,
    data=lambda config: generator(config).stream(config.batch),
    test_set=test_set,
    preprocessing=lambda config: {"reader": "digit", "size": [config.canvas] * 2, "channels": 1, "value_range": [0, 1]},
    originals=lambda config: len(generator(config, split="test").labels),
    setting=lambda config: f"Built-in digits, distorted on the fly ({config.kind}, {config.canvas} x {config.canvas}).",
)
