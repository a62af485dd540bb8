"""The adjoints of ``_taps`` by compiled CPU kernels, from the optional package ``jaxcnn-native``."""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.ops import _native

__all__ = ["choose", "takes"]


def takes(*arrays: Any) -> bool:
    """Tells if there are kernels for these operands: float32."""
    return all(a.dtype == jnp.float32 for a in arrays)


def choose(name: str, *, taps: Any) -> Any:
    """Gives the function that computes a primitive."""
    _native.load("grid_sample")
    return functools.partial({"to_pixels": _to_pixels, "to_weights": _to_weights}[name], taps=taps)


def _to_weights(pixels: Any, first: Any, g: Any, *, taps: Any) -> Any:
    call = _call("jaxcnn_taps_to_weights", (first.size, taps.number))
    g = g.reshape(first.size, -1)
    weights = call(pixels.reshape(-1, *pixels.shape[-2:]), g, first.reshape(-1), **_how(first, taps))
    return weights.reshape(*first.shape, taps.number)


def _to_pixels(g: Any, first: Any, *weights: Any, taps: Any) -> Any:
    c = g.shape[-1]
    own = taps.images(first)
    call = _call("jaxcnn_taps_to_pixels", (math.prod(own), taps.pixels, c))
    pixels = call(g.reshape(first.size, c), _stacked(weights), first.reshape(-1), **_how(first, taps))
    return pixels.reshape(*own, taps.pixels, c)


def _stacked(weights: Any) -> Any:
    return jnp.stack([weight.reshape(-1) for weight in weights], -1)


def _call(target: str, shape: tuple[int, ...]) -> Any:
    return jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(shape, jnp.float32))


def _how(first: Any, taps: Any) -> dict[str, Any]:
    numbers = {"rows": taps.rows, "groups": first.shape[: len(taps.own)], "own": [int(own) for own in taps.own]}
    return {k: np.array(v, np.int64) for k, v in numbers.items()} | {"width": np.int64(taps.width)}
