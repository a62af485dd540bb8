"""Augmentations put together: in turn, perhaps, one of several, over a batch, undone."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import check, check_positive_shape, shape_text
from jaxcnn._typing import PRNGKey
from jaxcnn.augment import _chain
from jaxcnn.augment._chain import Chain, advance, augmentation, chain_of, has_branches, is_geometric, takes_chain
from jaxcnn.augment._draws import probability, uniforms
from jaxcnn.augment._keys import one_key
from jaxcnn.ops._materialize import materialize

__all__ = ["Augmentation", "batched", "inverse", "one_of", "random_apply", "sequence"]


_LARGE = 2**20  # values of a batch
_CACHED = 2**19  # values of the examples that are done at once


@runtime_checkable
class Augmentation(Protocol):
    """What changes one example."""

    def __call__(self, key: PRNGKey, image: Any, /) -> Any:
        """Draws from ``key`` and changes ``image``."""
        ...


def sequence(functions: Sequence[Augmentation]) -> Augmentation:
    """Puts augmentations one after another; geometric neighbours become one map and are read once.

    Convention:
        The key of function i is ``fold_in(key, i)``. Neighbours whose ``mode`` or ``padding_mode`` differ are read
        in turn, as are steps with something between them that changes colours. What a step would have moved out of
        the frame is still there for the next: read once, a turn there and back loses no corners.

    Args:
        functions: Augmentations, with options bound by ``functools.partial``; any ``(key, image) -> image``
            among them runs as it is, on what is read by then.

    Returns:
        ``(key, image) -> image``, one augmentation, which may stand in another sequence.

    Raises:
        ValueError: If ``functions`` is empty, or one of them cannot be called.

    Example:
        >>> from functools import partial
        >>> change = augment.sequence([augment.random_flip_left_right, partial(augment.random_rotation, degrees=10.0)])
        >>> change(jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)
    """
    functions = _functions("sequence", functions)

    @augmentation(geometric=all(map(is_geometric, functions)), branches=any(map(has_branches, functions)))
    def sequence(key: PRNGKey, image: Any) -> Any:
        chain = chain_of(image)
        for i, function in enumerate(functions):
            chain = advance(function, jax.random.fold_in(key, i), chain)
        return chain

    return sequence


def random_apply(function: Augmentation, *, p: float = 0.5) -> Augmentation:
    """Makes an augmentation that changes an example with probability ``p`` only.

    Args:
        function: The augmentation; it must keep shape and dtype.
        p: Probability; may be traced.

    Returns:
        ``(key, image) -> image``. Of geometric functions the map is chosen, so they still join their neighbours.

    Raises:
        ValueError: If ``p`` is outside of [0, 1], or ``function`` cannot be called.

    Example:
        >>> seldom = augment.random_apply(augment.random_invert, p=0.0)
        >>> seldom(jax.random.key(0), jnp.ones((2, 2, 3))).max().item()
        1.0
    """
    (function,) = _functions("random_apply", [function])
    probability("random_apply", "p", p)

    @augmentation(geometric=is_geometric(function), branches=has_branches(function))
    def random_apply(key: PRNGKey, image: Any) -> Any:
        chain = chain_of(image)
        (number,) = uniforms(jax.random.fold_in(key, 0), 1)
        inner = jax.random.fold_in(key, 1)
        if is_geometric(function) or chain.example is None:
            return advance(function, inner, chain).where(number < p, chain)
        done = chain.floating()
        change = _branch(function, inner, done)

        def changed(example: Any) -> Any:
            result = change(example)
            shape = done.with_example(result).shape
            got = f"one from {done.shape} to {shape}"
            check(shape == done.shape, "random_apply", "function", "one that keeps the shape", got)
            return result

        return done.with_example(jax.lax.cond(number < p, changed, lambda e: e, done.example))

    return random_apply


def one_of(functions: Sequence[Augmentation], *, weights: Sequence[float] | None = None) -> Augmentation:
    """Makes an augmentation that is one of several, drawn for every example.

    Args:
        functions: Augmentations that all give the same shape.
        weights: How likely each is, of any sum; None: equally.

    Returns:
        ``(key, image) -> image``. If all are geometric, the map is chosen and read once.

    Raises:
        ValueError: If ``functions`` is empty, one cannot be called, or ``weights`` do not fit; and (when called) if
            results are not of one shape.

    Example:
        >>> flip = augment.one_of([augment.random_flip_left_right, augment.random_flip_up_down])
        >>> flip(jax.random.key(0), jnp.ones((2, 2, 3))).shape
        (2, 2, 3)
    """
    functions = _functions("one_of", functions)
    geometric = all(map(is_geometric, functions))
    shares = np.ones(len(functions)) if weights is None else np.asarray(weights, np.float64)
    good = shares.shape == (len(functions),) and bool(np.all(shares >= 0)) and shares.sum() > 0
    check(good, "one_of", "weights", f"{len(functions)} numbers of at least 0, not all 0", repr(weights))
    limits = (np.cumsum(shares)[:-1] / shares.sum()).astype(np.float32)

    @augmentation(geometric=geometric, branches=any(map(has_branches, functions)))
    def one_of(key: PRNGKey, image: Any) -> Any:
        chain = chain_of(image)
        (number,) = uniforms(jax.random.fold_in(key, 0), 1)
        chosen = jnp.sum(number >= limits, dtype=jnp.int32)
        inner = jax.random.fold_in(key, 1)
        if geometric or chain.example is None:
            result = advance(functions[0], inner, chain)
            for i, function in enumerate(functions[1:], 1):
                result = advance(function, inner, chain).where(chosen == i, result)
            return result
        done = chain.floating()
        forms: list[str] = []

        def branch(function: Augmentation) -> Callable[[Any], Any]:
            change = _branch(function, inner, done)

            def changed(example: Any) -> Any:
                result = change(example)
                forms.append(str(jax.tree.map(shape_text, result)))
                check(forms[0] == forms[-1], "one_of", "functions", f"such that all give {forms[0]}", forms[-1])
                return result

            return changed

        return done.with_example(jax.lax.switch(chosen, [branch(f) for f in functions], done.example))

    return one_of


@runtime_checkable
class BatchAugmentation(Protocol):
    """What changes a batch of examples."""

    def __call__(self, key: PRNGKey, images: Any, /, *, start: Any = 0) -> Any:
        """Draws from ``key`` for every example, the first being number ``start``."""
        ...


def batched(function: Augmentation) -> BatchAugmentation:
    """Makes an augmentation of one example one of a batch, with a draw of its own for every example.

    Convention:
        The key of example i is ``fold_in(key, start + i)``: what happens to an example does not depend on the size of
        the batch, on how it is sharded, or on the number of devices.

    Args:
        function: The augmentation of one example.

    Returns:
        ``(key, images, *, start=0) -> images``; images (n, h, w, c), or a dictionary of arrays with a leading n.
        ``start`` is the number of the first example, an integer, where a batch is a part of a larger one; numbers
        are counted modulo 2^32, and one that is a JAX array is not looked at.

    Raises:
        ValueError: If ``function`` cannot be called, or (when called) the leading axes differ, ``key`` is not one typed
            key, or ``start`` no number of an example.

    Example:
        >>> flips = augment.batched(augment.random_flip_left_right)
        >>> flips(jax.random.key(0), jnp.ones((4, 2, 2, 3))).shape
        (4, 2, 2, 3)
    """
    (function,) = _functions("batched", [function])

    def batched(key: PRNGKey, images: Any, /, *, start: Any = 0) -> Any:
        one_key("batched", key)
        _check_start(start)
        leaves = jax.tree.leaves(images)
        sizes = {jnp.shape(leaf)[0] if jnp.ndim(leaf) else -1 for leaf in leaves}
        one_size = len(sizes) == 1 and -1 not in sizes
        check(one_size, "batched", "images", "arrays of one leading size", str([jnp.shape(v) for v in leaves]))

        def one(number: Any, example: Any) -> Any:
            return function(jax.random.fold_in(key, jnp.uint32(start) + number.astype(jnp.uint32)), example)

        def together(images: Any) -> Any:
            return jax.vmap(lambda example: one(jax.lax.axis_index("example"), example), axis_name="example")(images)

        def in_parts(images: Any) -> Any:
            """Does one example after another, or a few at a time."""
            numbers = jnp.arange(n, dtype=jnp.uint32)
            if has_branches(function):
                return jax.lax.map(lambda args: one(*args), (numbers, images))

            def part(args: Any) -> Any:
                return materialize(jax.vmap(one), *args)  # computed right into the result, it would use one core

            whole = n - n % at_once
            first = jax.tree.map(lambda x: x[:whole].reshape(-1, at_once, *x.shape[1:]), (numbers, images))
            done = jax.tree.map(lambda x: x.reshape(whole, *x.shape[2:]), jax.lax.map(part, first))
            if whole == n:
                return done
            rest = part(jax.tree.map(lambda x: x[whole:], (numbers, images)))
            return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), done, rest)

        images, n, values = jax.tree.map(jnp.asarray, images), len(leaves[0]), sum(map(jnp.size, leaves))
        at_once = _at_once(n, values)
        small = at_once == n and not has_branches(function)
        if n == 0 or small or any(jax.typeof(leaf).sharding.mesh.explicit_axes for leaf in leaves):
            return together(images)
        return jax.lax.platform_dependent(images, cpu=in_parts, default=together)

    return batched


def inverse(function: Augmentation) -> Callable[..., Any]:
    """Makes what brings a geometrically augmented image, or a map of predictions for it, back to where it was.

    Convention:
        The same key gives the same draw. Changes of colour are passed over, also those of policies; ``aug_mix`` has no
        inverse.

    Args:
        function: An augmentation made of this namespace's functions.

    Returns:
        ``(key, image, *, shape=None) -> image``: ``image`` (..., h, w, c) is what ``function`` gave for ``key``, or
        has its shape; ``shape`` is the height and width of the original, by default the same. What lay outside of the
        frame comes back as the padding says.

    Raises:
        ValueError: If ``function`` is not one of ``augment``'s, or (when called) the shapes do not fit.

    Example:
        >>> image, key = jnp.arange(3.0).reshape(1, 3, 1), jax.random.key(1)
        >>> there = augment.random_flip_left_right(key, image)
        >>> back = augment.inverse(augment.random_flip_left_right)(key, there)
        >>> bool(jnp.all(back == image))
        True
    """
    check(takes_chain(function), "inverse", "function", "made of augment's functions", repr(function))

    def inverse(key: PRNGKey, image: Any, *, shape: tuple[int, int] | None = None) -> Any:
        chain = _chain.start("inverse", image)
        source = chain.shape if shape is None else check_positive_shape("inverse", "shape", shape, "h w")
        geometry = advance(function, key, _chain.probe((source[0], source[1]))).geometry
        fits = geometry.shape == chain.shape
        check(fits, "inverse", "image", f"of {geometry.shape} pixels, as the augmentation gives", str(chain.shape))
        return chain.read(geometry.inverted(geometry.source)).finish()

    return inverse


def _check_start(start: Any) -> None:
    """Refuses what is no number of an example; a JAX array may be traced, or be waited for on a device."""
    if isinstance(start, jax.Array):
        good = start.ndim == 0 and jnp.issubdtype(start.dtype, jnp.integer)
    else:
        start = start[()] if isinstance(start, np.ndarray) else start
        good = isinstance(start, int | np.integer) and not isinstance(start, bool) and 0 <= start < 2**32
    check(bool(good), "batched", "start", "an integer of at least 0 and below 2**32", repr(start))


def _at_once(n: int, values: int) -> int:
    """Tells how many of n examples, of so many values in all, to do at once on CPU: what stays in its caches."""
    if values < _LARGE:
        return n
    most = max(1, min(n, n * _CACHED // values))
    return next((k for k in range(most, most // 2, -1) if n % k == 0), most)


def _branch(function: Augmentation, key: PRNGKey, chain: Chain) -> Callable[[Any], Any]:
    return lambda example: advance(function, key, chain.with_example(example)).floating().example


def _functions(name: str, functions: Any) -> tuple[Augmentation, ...]:
    listed = isinstance(functions, Sequence) and len(functions) > 0 and all(callable(f) for f in functions)
    check(listed, name, "functions", "one or more (key, image) -> image", repr(functions))
    return tuple(functions)
