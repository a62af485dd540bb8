"""The gradients of the weighted gather by compiled CPU kernels, from the optional package ``jaxcnn-native``."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import ShapedArray

from jaxcnn.ops import _native
from jaxcnn.ops._sampling.gather_spec import GatherSpec

__all__ = ["image_gradient", "supports", "weight_gradient"]


def supports(*arrays: ShapedArray) -> bool:
    """Returns whether there are kernels for these operands: for float32 only."""
    return all(a.dtype == jnp.float32 for a in arrays)


def image_gradient(g: jax.Array, base_index: jax.Array, *weights: jax.Array, spec: GatherSpec) -> jax.Array:
    """Adds g (*points, c) times weights, each (*points), to the pixels (n, c) that they read."""
    c = g.shape[-1]
    batch_shape = spec.batch_shape(base_index)
    call = _kernel("jaxcnn_taps_to_pixels", (math.prod(batch_shape), spec.num_pixels, c))
    pixels = call(
        g.reshape(base_index.size, c), _stack_taps(weights), base_index.reshape(-1), **_attributes(base_index, spec)
    )
    return pixels.reshape(*batch_shape, spec.num_pixels, c)


def weight_gradient(pixels: jax.Array, base_index: jax.Array, g: jax.Array, *, spec: GatherSpec) -> jax.Array:
    """Sums pixels (n, c) times g (*points, c) over channels, for every tap."""
    call = _kernel("jaxcnn_taps_to_weights", (base_index.size, spec.num_taps))
    g = g.reshape(base_index.size, -1)
    pixels = pixels.reshape(-1, *pixels.shape[-2:])
    weights = call(pixels, g, base_index.reshape(-1), **_attributes(base_index, spec))
    return weights.reshape(*base_index.shape, spec.num_taps)


def _stack_taps(weights: Sequence[jax.Array]) -> jax.Array:
    return jnp.stack([weight.reshape(-1) for weight in weights], -1)


def _kernel(target: str, shape: tuple[int, ...]) -> Callable[..., jax.Array]:
    """Returns a kernel that computes a float32 array of this shape."""
    _native.import_kernels("grid_sample")
    call = jax.ffi.ffi_call(target, jax.ShapeDtypeStruct(shape, jnp.float32))

    def compute(*arrays: jax.Array, **attributes: np.ndarray | np.int64) -> jax.Array:
        return jnp.asarray(call(*arrays, **attributes))

    return compute


def _attributes(base_index: jax.Array, spec: GatherSpec) -> dict[str, np.ndarray | np.int64]:
    """Returns what is passed to a kernel, under the names that it has there."""
    lists = {
        "rows": spec.row_offsets,
        "groups": base_index.shape[: len(spec.is_batched)],
        "own": [int(batched) for batched in spec.is_batched],
    }
    return {name: np.array(v, np.int64) for name, v in lists.items()} | {"width": np.int64(spec.row_width)}
