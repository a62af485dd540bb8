"""The operations that the policies draw from, their magnitudes, and one of them applied to an example."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._draws import lookup
from jaxcnn.augment._examples import Example
from jaxcnn.augment._pixel_maps import PixelMap, SamplingRequest
from jaxcnn.ops._sampling import pixel_matrices as matrices
from jaxcnn.ops._sampling.pixel_matrices import Matrix

__all__ = ["AUGMIX", "AUTO", "FACTORS", "RANDOM", "Magnitudes", "apply_op", "make_magnitudes"]

RANDOM = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "saturation"),
    *("contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize"),
)
"""The operations of RandAugment and TrivialAugment."""

AUTO = (*RANDOM[1:], "invert", "identity")
"""The operations of AutoAugment."""

AUGMIX = (
    *("autocontrast", "equalize", "posterize", "rotate", "solarize", "shear_x", "shear_y", "translate_x"),
    *("translate_y", "identity"),
)
"""The operations of AugMix, which leaves out those that resemble the corruptions of its benchmark."""

FACTORS = ("brightness", "saturation", "contrast", "sharpness")
"""The operations whose magnitude is a factor; 1 does nothing."""

Magnitudes = dict[str, jax.Array | int]
"""The magnitude of every operation that has one."""

_LAST = (0.0, 0.0, 1.0)

# Shears about the image's upper left corner, as Pillow and torchvision do them.
_MOVES: dict[str, Callable[[jax.Array | int, tuple[int, int]], Matrix]] = {
    "shear_x": lambda s, shape: ((1.0, s, 0.5 * s), (0.0, 1.0, 0.0), _LAST),
    "shear_y": lambda s, shape: ((1.0, 0.0, 0.0), (s, 1.0, 0.5 * s), _LAST),
    "translate_x": lambda t, shape: ((1.0, 0.0, -t), (0.0, 1.0, 0.0), _LAST),
    "translate_y": lambda t, shape: ((1.0, 0.0, 0.0), (0.0, 1.0, -t), _LAST),
    "rotate": lambda degrees, shape: matrices.matrix_from_affine(degrees, (0.0, 0.0), 1.0, (0.0, 0.0), shape),
}
_CHANGES: dict[str, Callable[[jax.Array, Any], jax.Array]] = {
    "brightness": ops.adjust_brightness,
    "saturation": ops.adjust_saturation,
    "contrast": ops.adjust_contrast,
    "sharpness": ops.adjust_sharpness,
    "posterize": lambda image, bits: ops.posterize(image, jnp.asarray(bits, jnp.int32)),
    "solarize": ops.solarize,
    "autocontrast": lambda image, _: ops.autocontrast(image),
    "equalize": lambda image, _: ops.equalize(image),
    "invert": lambda image, _: ops.invert(image),
}


def make_magnitudes(
    fraction: jax.Array,
    sign: jax.Array,
    *,
    shear: float,
    translate: tuple[float, float],
    degrees: float,
    factor: float = 0.0,
    bits: jax.Array | int = 8,
) -> Magnitudes:
    """Returns the magnitudes of all operations at a fraction of their full strength.

    Args:
        fraction: The fraction, in [0, 1].
        sign: 1 or -1, the direction of operations that have two.
        shear: Full strength, a slope.
        translate: Full strength, (x, y) in pixels.
        degrees: Full strength of the rotation.
        factor: How far the factors of brightness, saturation, contrast and sharpness get from 1.
        bits: How many bits posterize keeps.

    Returns:
        The magnitude of every operation that has one, by name.
    """
    signed = sign * fraction
    return dict.fromkeys(FACTORS, 1 + signed * factor) | {
        "shear_x": signed * shear,
        "shear_y": signed * shear,
        "translate_x": signed * translate[0],
        "translate_y": signed * translate[1],
        "rotate": signed * degrees,
        "posterize": bits,
        "solarize": 1 - fraction,
    }


def apply_op(
    chain: Chain, index: jax.Array, names: Sequence[str], magnitudes: Magnitudes, sampling: SamplingRequest
) -> Chain:
    """Applies operation number ``index`` of ``names`` to an example, computing no other where that can be avoided."""
    moves = [name for name in names if name in _MOVES]
    changes = [name for name in names if name in _CHANGES]
    matrix = matrices.IDENTITY
    for name in moves:
        chosen = index == names.index(name)
        matrix = matrices.select_entries(chosen, _MOVES[name](magnitudes[name], chain.shape), matrix)
    pixel_map = PixelMap(chain.shape, chain.shape, (matrix,), sampling)
    if chain.source is None:
        return chain.sample(pixel_map)
    floating = chain.to_float()

    def move(example: Example) -> Example:
        return floating.replace_example(example).sample(pixel_map).to_float().example

    def change(example: Example, *, name: str) -> Example:
        function, magnitude = _CHANGES[name], magnitudes.get(name)
        return floating.replace_example(example).change(lambda image: function(image, magnitude)).example

    branches = [lambda example: example, move, *(functools.partial(change, name=name) for name in changes)]
    numbers = [0 if name == "identity" else 1 if name in moves else 2 + changes.index(name) for name in names]
    branch = lookup(np.array(numbers, np.int32), index)
    return floating.replace_example(jax.lax.switch(branch, branches, floating.example))
