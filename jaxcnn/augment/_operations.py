"""The operations that the policies draw from, and one of them done to an example."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._draws import entry
from jaxcnn.augment._geometry import Geometry, Reading
from jaxcnn.ops._sampling import pixel_matrices as matrices
from jaxcnn.ops._sampling.pixel_matrices import Matrix

__all__ = ["AUGMIX", "AUTO", "FACTORS", "RANDOM", "amounts", "operate"]

RANDOM = (
    *("identity", "shear_x", "shear_y", "translate_x", "translate_y", "rotate", "brightness", "saturation"),
    *("contrast", "sharpness", "posterize", "solarize", "autocontrast", "equalize"),
)
"""Those of RandAugment and TrivialAugment."""

AUTO = (*RANDOM[1:], "invert", "identity")
"""Those of AutoAugment."""

AUGMIX = (
    *("autocontrast", "equalize", "posterize", "rotate", "solarize", "shear_x", "shear_y", "translate_x"),
    *("translate_y", "identity"),
)
"""Those of AugMix, which leaves out what the corruptions of its benchmark have."""

FACTORS = ("brightness", "saturation", "contrast", "sharpness")
"""Those that take a factor, 1 doing nothing."""

_LAST = (0.0, 0.0, 1.0)

# About the image's upper left corner, as Pillow and torchvision do it.
_MOVES: dict[str, Callable[[Any, tuple[int, int]], Matrix]] = {
    "shear_x": lambda s, shape: ((1.0, s, 0.5 * s), (0.0, 1.0, 0.0), _LAST),
    "shear_y": lambda s, shape: ((1.0, 0.0, 0.0), (s, 1.0, 0.5 * s), _LAST),
    "translate_x": lambda t, shape: ((1.0, 0.0, -t), (0.0, 1.0, 0.0), _LAST),
    "translate_y": lambda t, shape: ((1.0, 0.0, 0.0), (0.0, 1.0, -t), _LAST),
    "rotate": lambda degrees, shape: matrices.matrix_from_affine(degrees, (0.0, 0.0), 1.0, (0.0, 0.0), shape),
}
_CHANGES: dict[str, Callable[..., Any]] = {
    "brightness": ops.adjust_brightness,
    "saturation": ops.adjust_saturation,
    "contrast": ops.adjust_contrast,
    "sharpness": ops.adjust_sharpness,
    "posterize": lambda image, bits: ops.posterize(image, jnp.asarray(bits, jnp.int32)),
    "solarize": ops.solarize,
    "autocontrast": lambda image, amount: ops.autocontrast(image),
    "equalize": lambda image, amount: ops.equalize(image),
    "invert": lambda image, amount: ops.invert(image),
}


def amounts(
    fraction: Any,
    sign: Any,
    *,
    shear: float,
    translate: tuple[float, float],
    degrees: float,
    colour: float = 0.0,
    bits: Any = 8,
) -> dict[str, Any]:
    """Gives what every operation is told, at a share of its full strength.

    Args:
        fraction: The share, in [0, 1].
        sign: 1 or -1, of those that go both ways.
        shear: Full strength, a slope.
        translate: Full strength, (x, y) in pixels.
        degrees: Full strength of the rotation.
        colour: How far from 1 the factors of brightness, saturation, contrast and sharpness go.
        bits: What posterize keeps.

    Returns:
        Name to number.
    """
    signed = sign * fraction
    return dict.fromkeys(FACTORS, 1 + signed * colour) | {
        "shear_x": signed * shear,
        "shear_y": signed * shear,
        "translate_x": signed * translate[0],
        "translate_y": signed * translate[1],
        "rotate": signed * degrees,
        "posterize": bits,
        "solarize": 1 - fraction,
        "autocontrast": None,
        "equalize": None,
        "invert": None,
    }


def operate(chain: Chain, index: Any, names: Sequence[str], told: Mapping[str, Any], reading: Reading) -> Chain:
    """Does operation number ``index`` of ``names`` to an example, and computes no other where that can be avoided."""
    moves = [name for name in names if name in _MOVES]
    changes = [name for name in names if name in _CHANGES]
    matrix = matrices.IDENTITY
    for name in moves:
        matrix = matrices.select_entries(index == names.index(name), _MOVES[name](told[name], chain.shape), matrix)
    geometry = Geometry(chain.shape, chain.shape, (matrix,), reading)
    if chain.example is None:
        return chain.read(geometry)
    floating = chain.floating()

    def move(example: Any) -> Any:
        return floating.with_example(example).read(geometry).floating().example

    def change(example: Any, *, name: str) -> Any:
        return floating.with_example(example).change(lambda image: _CHANGES[name](image, told[name])).example

    branches = [lambda example: example, move, *(functools.partial(change, name=name) for name in changes)]
    kinds = [0 if name == "identity" else 1 if name in moves else 2 + changes.index(name) for name in names]
    chosen = entry(np.array(kinds, np.int32), index)
    return floating.with_example(jax.lax.switch(chosen, branches, floating.example))
