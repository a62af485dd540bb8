"""Geometric augmentations undone."""

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from jaxcnn._check import check, check_choice, check_positive_shape, check_single_key
from jaxcnn._typing import FillValue, PRNGKey
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._decorator import Augmentation, advance, as_tree, describe_function, takes_chain
from jaxcnn.augment._draws import to_threefry_key
from jaxcnn.augment._examples import PARTS, Example, check_example
from jaxcnn.augment._programs import run_program
from jaxcnn.ops.sampling import PaddingMode

__all__ = ["InverseAugmentation", "inverse"]


@runtime_checkable
class InverseAugmentation(Protocol):
    """Undoes the geometric part of an augmentation."""

    def __call__(self, key: PRNGKey, image: Example, /, *, shape: tuple[int, int] | None = None) -> Any:
        """Undoes the draw of ``key``; ``shape`` is the height and width of the original."""
        ...


def inverse(
    function: Augmentation,
    *,
    padding_mode: PaddingMode | None = None,
    fill_value: FillValue = 0.0,
    mask_fill_value: FillValue = 0,
) -> InverseAugmentation:
    """Builds the inverse of a geometric augmentation, for an augmented image or a map of predictions for it.

    Convention:
        The same key is the same draw. Changes of color are not undone, including those of policies; ``aug_mix`` has no
        inverse.

    Args:
        function: An augmentation built from the functions of this namespace.
        padding_mode: What is where the result has no pixels of the original: ``"zeros"``, ``"border"``,
            ``"reflection"`` or ``"fill"``; None: as ``function`` pads, ``"zeros"`` if it does not, as crops do not.
        fill_value: With ``"fill"``: the value there, in [0, 1].
        mask_fill_value: The value of masks there, with ``"zeros"`` and ``"fill"``.

    Returns:
        ``(key, image, *, shape=None) -> image``: ``image`` (..., h, w, c) is the result of ``function`` for ``key``, or
        has its shape; ``shape`` is the height and width of the original, by default the same. What was moved out of
        the frame is padded; the inverse of an image of ones, padded with zeros, tells where that is.

    Raises:
        ValueError: If ``function`` is not one of ``augment``'s, or (when called) the shapes do not fit.

    Example:
        >>> from functools import partial
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> image, key = jnp.arange(3.0).reshape(1, 3, 1), jax.random.key(1)
        >>> there = augment.random_flip_left_right(key, image)
        >>> back = augment.inverse(augment.random_flip_left_right)(key, there)
        >>> bool(jnp.all(back == image))
        True

        The part of the original that is known after a crop:

        >>> known = augment.inverse(partial(augment.center_crop, shape=(1, 1)), padding_mode="zeros")
        >>> known(key, jnp.ones((1, 1, 1)), shape=(1, 3))[0, :, 0].tolist()
        [0.0, 1.0, 0.0]
    """
    check(takes_chain(function), "inverse", "function", "made of augment's functions", repr(function))
    if padding_mode is not None:
        check_choice("inverse", "padding_mode", padding_mode, ("zeros", "border", "reflection", "fill"))
    return _Inverse(function, padding_mode, fill_value, mask_fill_value)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _Inverse:
    """The inverse of an augmentation."""

    function: Augmentation
    padding_mode: PaddingMode | None
    fill_value: FillValue
    mask_fill_value: FillValue

    def __call__(self, key: PRNGKey, image: Example, /, *, shape: tuple[int, int] | None = None) -> Example:
        check_single_key("inverse", key)
        check_example("inverse", image)
        parts = image if isinstance(image, Mapping) else {"image": image}
        parts = {k: v for k, v in parts.items() if k in PARTS}
        fills = (self.fill_value, self.mask_fill_value) if self.padding_mode is not None else None
        settings = as_tree(self.function), self.padding_mode, fills, shape
        changed = run_program(_invert_parts, settings, key, parts)
        return {**image, **changed} if isinstance(image, Mapping) else changed["image"]

    def __repr__(self) -> str:
        names = () if self.padding_mode is None else ("padding_mode", "fill_value", "mask_fill_value")
        options = "".join(f", {name}={getattr(self, name)!r}" for name in names)
        return f"inverse({describe_function(self.function)}{options})"


def _invert_parts(
    settings: tuple[Augmentation, PaddingMode | None, tuple[FillValue, FillValue] | None, tuple[int, int] | None],
    key: PRNGKey,
    parts: Mapping[str, Any],
) -> Mapping[str, Any]:
    """Undoes an augmentation for the parts of an example that it may have changed."""
    function, padding_mode, fills, shape = settings
    chain = Chain.start("inverse", parts)
    source = chain.shape if shape is None else check_positive_shape("inverse", "shape", shape, "h w")
    start = Chain.without_example((source[0], source[1]))
    pixel_map = advance(function, to_threefry_key(key), start).pixel_map
    expected = f"of {pixel_map.shape} pixels, as the augmentation's result"
    check(pixel_map.shape == chain.shape, "inverse", "image", expected, str(chain.shape))
    back = pixel_map.invert(pixel_map.source)
    sampling = back.sampling
    if padding_mode is not None and fills is not None:
        sampling = sampling._replace(padding_mode=padding_mode, fill_value=fills[0], mask_fill_value=fills[1])
    elif sampling.padding_mode is None:
        sampling = sampling._replace(padding_mode="zeros")
    result = chain.sample(dataclasses.replace(back, sampling=sampling)).result()
    return result if isinstance(result, Mapping) else {"image": result}
