"""Augmentations of single examples lifted to batches."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.export import is_symbolic_dim

from jaxcnn._check import as_array, check, check_single_key
from jaxcnn._typing import AnyArray, PRNGKey, PyTree
from jaxcnn.augment._decorator import (
    Augmentation,
    as_tree,
    calls_others,
    check_functions,
    describe_function,
    has_branches,
    is_geometric,
)
from jaxcnn.augment._draws import to_threefry_key
from jaxcnn.augment._examples import check_float_range
from jaxcnn.augment._programs import run_program
from jaxcnn.ops._materialize import materialize

__all__ = ["BatchAugmentation", "batched"]

Index = int | np.integer | AnyArray

_LARGE = 2**20  # values in a batch
_CACHED = 2**19  # values in the examples that are processed at once


@runtime_checkable
class BatchAugmentation(Protocol):
    """Changes a batch of examples."""

    def __call__(self, key: PRNGKey, images: Any, /, *, start: Index = 0) -> Any:
        """Draws from ``key`` for every example, the first being number ``start``."""
        ...


def batched(function: Augmentation) -> BatchAugmentation:
    """Lifts an augmentation of one example to a batch, with a draw of its own for every example.

    Convention:
        The key of example i is ``fold_in(key, start + i)``: what happens to an example does not depend on the size of
        the batch, on how it is sharded, or on the number of devices.

    Args:
        function: The augmentation of one example.

    Returns:
        ``(key, images, *, start=0) -> images``; images (n, h, w, c), or a dictionary of arrays with a leading n.
        ``start`` is the number of the first example, an integer, where a batch is a part of a larger one; numbers
        are counted modulo 2^32, and the value of a JAX array is not checked.

    Raises:
        ValueError: If ``function`` cannot be called, or (when called) the leading axes differ, ``key`` is not one typed
            key, or ``start`` is not the number of an example.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> flips = augment.batched(augment.random_flip_left_right)
        >>> flips(jax.random.key(0), jnp.ones((4, 2, 2, 3))).shape
        (4, 2, 2, 3)
    """
    (function,) = check_functions("batched", [function])

    return _Batched(function)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _Batched:
    """An augmentation of batches."""

    function: Augmentation

    def __call__(self, key: PRNGKey, images: PyTree, /, *, start: Index = 0) -> PyTree:
        check_single_key("batched", key)
        _check_start(start)
        leaves = jax.tree.leaves(images)
        shapes = [jnp.shape(as_array("batched", "images", leaf)) for leaf in leaves]
        one_size = len({shape[:1] for shape in shapes} - {()}) == 1 and () not in shapes
        check(one_size, "batched", "images", "arrays of one leading size", str(shapes))
        image = images.get("image") if isinstance(images, Mapping) else images
        if isinstance(image, jax.Array | np.ndarray) and not is_geometric(self.function):
            check_float_range("batched", image)
        start = start if isinstance(start, jax.Array) else np.asarray(start, np.uint32)
        settings, pure = (as_tree(self.function), _LARGE, _CACHED), not calls_others(self.function)
        return run_program(_augment_batch, settings, key, start, images, pure=pure)

    def __repr__(self) -> str:
        return f"batched({describe_function(self.function)})"


def _augment_batch(settings: tuple[Augmentation, int, int], key: PRNGKey, start: AnyArray, images: PyTree) -> PyTree:
    function, large, cached = settings
    key = to_threefry_key(key)

    def augment_one(number: jax.Array, example: PyTree) -> PyTree:
        return function(jax.random.fold_in(key, jnp.uint32(start) + number.astype(jnp.uint32)), example)

    def augment_together(images: PyTree) -> PyTree:
        def augment_mapped(example: PyTree) -> PyTree:
            return augment_one(jax.lax.axis_index("example"), example)

        return jax.vmap(augment_mapped, axis_name="example")(images)

    def augment_in_parts(images: PyTree) -> PyTree:
        """Processes one example after another, or a few at a time."""
        numbers = jnp.arange(n, dtype=jnp.uint32)
        if has_branches(function):
            return jax.lax.map(lambda args: augment_one(*args), (numbers, images))

        def augment_part(args: tuple[jax.Array, PyTree]) -> PyTree:
            return materialize(jax.vmap(augment_one), *args)  # computed right into the result, it would use one core

        even = n - n % at_once
        first = jax.tree.map(lambda x: x[:even].reshape(-1, at_once, *x.shape[1:]), (numbers, images))
        done = jax.tree.map(lambda x: x.reshape(even, *x.shape[2:]), jax.lax.map(augment_part, first))
        if even == n:
            return done
        rest = augment_part(jax.tree.map(lambda x: x[even:], (numbers, images)))
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), done, rest)

    images = jax.tree.map(jnp.asarray, images)
    leaves = jax.tree.leaves(images)
    n, values = leaves[0].shape[0], sum(math.prod(leaf.shape) for leaf in leaves)
    at_once = n if is_symbolic_dim(n) else _at_once(n, values, large, cached)
    small = at_once == n and not has_branches(function)
    if n == 0 or small or any(jax.typeof(leaf).sharding.mesh.explicit_axes for leaf in leaves):
        return augment_together(images)
    return jax.lax.platform_dependent(images, cpu=augment_in_parts, default=augment_together)


def _check_start(start: Index) -> None:
    """Refuses anything but the number of an example; only the dtype of a JAX array is checked, it may be traced."""
    if isinstance(start, jax.Array):
        good = start.ndim == 0 and jnp.issubdtype(start.dtype, jnp.integer)
    else:
        start = start[()] if isinstance(start, np.ndarray) else start
        good = isinstance(start, int | np.integer) and not isinstance(start, bool) and 0 <= start < 2**32
    check(bool(good), "batched", "start", "an integer of at least 0 and below 2**32", repr(start))


def _at_once(n: int, values: int, large: int, cached: int) -> int:
    """Returns how many of n examples with so many values in all to process at once on CPU: what fits in its caches."""
    if values < large:
        return n
    most = max(1, min(n, n * cached // values))
    return next((k for k in range(most, most // 2, -1) if n % k == 0), most)
