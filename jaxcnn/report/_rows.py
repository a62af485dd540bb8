"""What a gallery of augmentations shows: which functions, with which options, in which order."""

import dataclasses
import inspect
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import augment
from jaxcnn._check import check_choice
from jaxcnn._typing import Float, Number

__all__ = ["Cell", "Row", "cells", "rows"]

DRAWS = 5


@dataclasses.dataclass(frozen=True)
class Cell:
    """One picture of a row."""

    label: str
    function: Callable[..., Any]
    draw: int = 0
    """Number of the draw; cells with the same number differ only in their options."""


@dataclasses.dataclass(frozen=True)
class Row:
    """Pictures side by side."""

    group: str
    names: tuple[str, ...]
    """The functions, usually one; several share a row if each has only a picture or two."""
    note: str
    """What changes from left to right."""
    cells: tuple[Cell, ...]
    shown: tuple[int, ...] = (3,)
    """Index of the cell that represents each function where there is room for one only."""


def rows(shape: tuple[int, int], functions: Sequence[str] = ()) -> list[Row]:
    """Lists the rows of some functions, or all, for an image of a given height and width.

    Functions of ``augment`` without a row here get one at the end.
    """
    found = [*_geometric(shape), *_color(), *_tone(), *_noise(shape), *_erasing(shape)]
    known = {name for row in found for name in row.names} | {"random_apply"}
    for name in dir(augment):
        function = getattr(augment, name)
        if name.startswith("random_") and name not in known and _needs_nothing(function):
            found.append(_draws("others", name, "draws with the default options"))
    names = [name for row in found for name in row.names]
    for name in functions:
        check_choice("augment", "functions", name, names)
    return [row for row in found if not functions or set(functions) & set(row.names)]


def cells(image: Float[np.ndarray, "h w c"], row: Row, *, seed: int = 0) -> list[np.ndarray]:
    """Computes the pictures of a row."""
    key, given = jax.random.key(seed), jnp.asarray(image, jnp.float32)
    functions = [cell.function for cell in row.cells]
    # Compiled only if one program serves the whole row; for a single picture compiling takes longer than it saves.
    if len(functions) > 1 and all(function is functions[0] for function in functions):
        functions = [jax.jit(functions[0])] * len(functions)
    pairs = zip(functions, row.cells, strict=True)
    return [np.asarray(function(jax.random.fold_in(key, cell.draw), given)) for function, cell in pairs]


def _needs_nothing(function: Callable[..., Any]) -> bool:
    parameters = list(inspect.signature(function).parameters.values())
    return [p.name for p in parameters if p.default is p.empty] == ["key", "image"]


def _rising(
    group: str,
    name: str,
    option: str,
    values: Sequence[Any],
    label: Callable[[Any], str],
    to_option: Callable[[Any], Any] = lambda value: value,
    **options: object,
) -> Row:
    """Makes a row of one draw with one option rising; ``to_option`` converts a value to the option."""
    function, keyword = getattr(augment, name), option.partition(",")[0]  # after a comma, its meaning
    shown = [Cell(label(value), partial(function, **{keyword: to_option(value)}, **options)) for value in values]
    return Row(group, (name,), option, tuple(shown))


def _draws(group: str, name: str, note: str, **options: object) -> Row:
    """Makes a row of several draws with the same options."""
    function = partial(getattr(augment, name), **options)
    return Row(group, (name,), note, tuple(Cell(f"draw {i + 1}", function, i) for i in range(DRAWS)))


def _exactly(value: Number) -> tuple[Number, Number]:
    return value, value


def _degrees(value: Number) -> str:
    return f"{value:g}°"


def _percent(value: Number) -> str:
    return f"{100 * value:g} %"


def _plain(value: Number) -> str:
    return f"{value:g}"


def _times(value: Number) -> str:
    return f"{value:g} times"


def _pixels(value: Number) -> str:
    return f"{value:g} px"


def _at_most(value: Number) -> str:
    return f"≤ {100 * value:g} %"


def _geometric(shape: tuple[int, int]) -> list[Row]:
    group, (h, w) = "geometric", shape
    longer, shorter = max(h, w), min(h, w)
    always: dict[str, Any] = {"p": 1.0}
    flips = (
        Cell("left right", partial(augment.random_flip_left_right, **always)),
        Cell("up down", partial(augment.random_flip_up_down, **always)),
        *(Cell(f"{90 * n}°", partial(augment.random_rotate_90, turns=(n,))) for n in (1, 2, 3)),
    )
    if h != w:  # a quarter turn would not keep the shape
        flips = (*flips[:2], Cell("180°", partial(augment.random_rotate_90, turns=(2,))))
    names = ("random_flip_left_right", "random_flip_up_down", "random_rotate_90")
    shares = (0.9, 0.75, 0.6, 0.45, 0.3)
    crops = [(max(1, round(share * h)), max(1, round(share * w))) for share in shares]
    cut = [
        Cell(_percent(share), partial(augment.random_crop, shape=crop))
        for share, crop in zip(shares, crops, strict=True)
    ]
    paddings = [max(1, round(share * shorter)) for share in (0.06, 0.12, 0.25, 0.4, 0.6)]
    every: dict[str, Any] = {"degrees": 30.0, "translate": 0.1, "scale": (0.7, 1.3), "shear": 15.0}
    alphas = [round(longer * share, 1) for share in (0.1, 0.2, 0.3, 0.45, 0.7)]
    return [
        Row(group, names, "p = 1; turns", flips, (0, 1, 2)),
        _rising(group, "random_rotation", "degrees", (5.0, 15.0, 30.0, 60.0, 90.0), _degrees, _exactly),
        _rising(group, "random_translation", "translate", (0.05, 0.1, 0.2, 0.3, 0.4), _at_most),
        _rising(group, "random_scale", "scale", (0.5, 0.75, 1.25, 1.5, 2.0), _times, _exactly),
        _rising(group, "random_shear", "degrees", (5.0, 10.0, 20.0, 30.0, 40.0), _degrees, _exactly),
        _draws(group, "random_affine", "draws, all at once", **every),
        _rising(group, "random_perspective", "distortion", (0.1, 0.3, 0.5, 0.7, 0.9), _plain, **always),
        _rising(group, "random_elastic", "alpha", alphas, _plain, sigma=max(1.0, longer / 48)),
        _rising(group, "random_tps", "strength", (0.01, 0.02, 0.04, 0.06, 0.1), _percent),
        Row(group, ("random_crop",), "shape, relative to the image", tuple(cut), (1,)),
        _draws(group, "random_resized_crop", "draws, scale 0.08 to 1", shape=shape),
        _rising(group, "random_pad_and_crop", "padding", paddings, _pixels),
    ]


def _color() -> list[Row]:
    group = "color"
    factors = (0.25, 0.5, 1.3, 1.6, 2.0)
    every: dict[str, Any] = {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1}
    gray = Cell("gray", partial(augment.random_grayscale, p=1.0))
    shuffled = [Cell(f"shuffle {i + 1}", augment.random_channel_shuffle, i) for i in range(4)]
    names = ("random_grayscale", "random_channel_shuffle")
    return [
        _rising(group, "random_brightness", "brightness", factors, _times, _exactly),
        _rising(group, "random_contrast", "contrast", factors, _times, _exactly),
        _rising(group, "random_saturation", "saturation", (0.0, 0.5, 1.5, 2.0, 3.0), _times, _exactly),
        _rising(group, "random_hue", "hue, fraction of the circle", (-0.4, -0.2, -0.1, 0.1, 0.3), _plain, _exactly),
        _rising(group, "random_gamma", "gamma", (0.4, 0.7, 1.5, 2.0, 3.0), _plain, _exactly),
        _draws(group, "random_color_jitter", "draws, all at once", **every),
        Row(group, names, "p = 1", (gray, *shuffled), (0, 2)),
    ]


def _tone() -> list[Row]:
    group = "tone"
    always: dict[str, Any] = {"p": 1.0}
    names = ("random_invert", "random_equalize", "random_autocontrast")
    whole = [Cell(name.removeprefix("random_"), partial(getattr(augment, name), **always)) for name in names]
    return [
        Row(group, names, "p = 1", tuple(whole), (0, 1, 2)),
        _rising(group, "random_posterize", "bits", (5, 4, 3, 2, 1), _plain, **always),
        _rising(group, "random_solarize", "threshold", (0.9, 0.7, 0.5, 0.3, 0.1), _plain, **always),
        _rising(group, "random_sharpness", "sharpness", (0.0, 0.5, 2.0, 4.0, 8.0), _times, _exactly, **always),
    ]


def _noise(shape: tuple[int, int]) -> list[Row]:
    group = "noise and blur"
    sigmas = (0.5, 1.0, 2.0, 3.0, 5.0)
    side = 2 * min(15, *(n - 1 for n in shape)) + 1  # one size, one program; 3 of the largest deviations
    return [
        _rising(group, "random_gaussian_noise", "sigma", (0.03, 0.06, 0.12, 0.2, 0.35), _plain),
        _rising(group, "random_speckle_noise", "sigma", (0.05, 0.1, 0.2, 0.4, 0.7), _plain),
        _rising(group, "random_shot_noise", "photons", (300.0, 100.0, 30.0, 10.0, 4.0), _plain),
        _rising(group, "random_salt_and_pepper", "amount", (0.005, 0.02, 0.05, 0.1, 0.25), _percent),
        _rising(group, "random_gaussian_blur", "sigma", sigmas, _pixels, kernel_size=side),
    ]


def _erasing(shape: tuple[int, int]) -> list[Row]:
    group, shorter = "erasing", min(shape)
    sizes = [max(1, round(share * shorter)) for share in (0.1, 0.2, 0.35, 0.5, 0.7)]
    always: dict[str, Any] = {"p": 1.0}
    grids: dict[str, Any] = {"period": (0.3, 0.3), **always}
    return [
        _rising(group, "random_cutout", "size", sizes, _pixels),
        _rising(
            group,
            "random_erasing",
            "scale, of the area",
            (0.02, 0.05, 0.1, 0.2, 0.33),
            _percent,
            _exactly,
            value="random",
            **always,
        ),
        _rising(group, "random_grid_mask", "ratio, fraction kept", (0.9, 0.75, 0.6, 0.45, 0.3), _plain, **grids),
    ]
