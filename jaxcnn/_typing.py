"""Names for shapes and types that every module shares.

Axis vocabulary of the annotations: ``*batch`` any number of leading axes, ``h w c`` height, width
and channels, ``_in`` and ``_out`` where a size changes, ``k`` control points, ``xy=2`` coordinates.
Channels are always last. ``Float`` covers every floating dtype, bfloat16 included.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key, Num, PyTree, UInt8, UInt32

__all__ = [
    "AnyArray",
    "Array",
    "ArrayLike",
    "Batch",
    "Bool",
    "Dtype",
    "FillValue",
    "Float",
    "Initializer",
    "Int",
    "Key",
    "Num",
    "Number",
    "PRNGKey",
    "Padding",
    "PerAxis",
    "Precision",
    "PyTree",
    "Shaped",
    "UInt8",
    "UInt32",
    "Variables",
]

AnyArray = jax.Array | np.ndarray
"""What an op accepts; it returns JAX arrays. ``ArrayLike`` also covers Python and NumPy numbers."""

Shaped = AnyArray | jax.ShapeDtypeStruct
"""Anything that has a shape and a dtype, with or without values."""

Number = int | float | np.integer | np.floating
"""A number that is known when a program is traced."""

FillValue = Number | Sequence[Number | AnyArray] | AnyArray
"""The value outside of an image: one for all channels, or one per channel."""

PerAxis = int | Sequence[int]
"""One integer per spatial axis, or one for all of them: strides, dilations, windows."""

Padding = str | int | Sequence[int | tuple[int, int]]
"""A named padding, one integer for all sides, or one integer or pair (before, after) per spatial axis."""

Precision = jax.lax.PrecisionLike | list[str] | list[jax.lax.Precision]
"""The precision of a convolution or matrix product, as ``jax.lax`` accepts it."""

Dtype = DTypeLike
"""A floating dtype of computation or of parameters."""

PRNGKey = Key[Array, ""]
"""One typed key, as ``jax.random.key`` makes it."""

Variables = Mapping[str, Any]
"""Flax variables: collection name -> tree, always with ``"params"`` where a model has parameters."""

Batch = Mapping[str, Any]
"""A batch of examples: ``{"image": (n, h, w, c), "label": (n,)}`` and what else a task needs."""

Initializer = Callable[[jax.Array, Sequence[int], Any], jax.Array]
"""``(key, shape, dtype) -> array``, as in ``jax.nn.initializers``."""
