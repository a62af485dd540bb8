"""Augmentations composed: in sequence, with a probability, one of several."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import check, check_single_key, shape_text
from jaxcnn._typing import AnyArray, PRNGKey
from jaxcnn.augment._argument_checks import NumberOption, Scalar, check_number, check_probability
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._decorator import (
    Augmentation,
    Composition,
    advance,
    change_example,
    check_functions,
    describe_function,
    takes_chain,
)
from jaxcnn.augment._draws import draw_uniforms, to_threefry_key
from jaxcnn.augment._examples import Example, check_example
from jaxcnn.augment._programs import is_tracing

__all__ = ["one_of", "random_apply", "sequence"]


def sequence(functions: Sequence[Augmentation]) -> Augmentation:
    """Applies augmentations one after another; neighboring geometric steps are merged and sampled once.

    Convention:
        The key of function i is ``fold_in(key, i)``. Neighbors whose ``mode`` or ``padding_mode`` differ are
        sampled one after another, as are steps with a change of colors between them. What a step moves out of the
        frame is still available to the next: rotating by 40 degrees and back restores the original, corners included.

    Args:
        functions: Augmentations, with options bound by ``functools.partial``; any other ``(key, image) -> image``
            is called with the image sampled so far.

    Returns:
        ``(key, image) -> image``, an augmentation, which may be part of another sequence.

    Raises:
        ValueError: If ``functions`` is empty, or one of them cannot be called.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> from functools import partial
        >>> change = augment.sequence([augment.random_flip_left_right, partial(augment.random_rotation, degrees=10.0)])
        >>> change(jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)
    """
    return _Sequence(check_functions("sequence", functions))


def random_apply(function: Augmentation, *, p: NumberOption = 0.5) -> Augmentation:
    """Builds an augmentation that is applied with probability ``p``.

    Args:
        function: The augmentation; it must keep shape and dtype.
        p: Probability; may be traced.

    Returns:
        ``(key, image) -> image``. For a geometric function the choice is between maps, so it is still merged with its
        neighbors.

    Raises:
        ValueError: If ``p`` is outside of [0, 1], or ``function`` cannot be called.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> seldom = augment.random_apply(augment.random_invert, p=0.0)
        >>> seldom(jax.random.key(0), jnp.ones((2, 2, 3))).max().item()
        1.0
    """
    (function,) = check_functions("random_apply", [function])
    check_probability("random_apply", "p", p)

    return _RandomApply((function,), p)


def one_of(
    functions: Sequence[Augmentation], *, weights: Sequence[NumberOption] | AnyArray | None = None
) -> Augmentation:
    """Builds an augmentation that applies one of several, drawn for every example.

    Args:
        functions: Augmentations that all return the same shape.
        weights: Relative probabilities, of any sum; None: all equal.

    Returns:
        ``(key, image) -> image``. If all are geometric, the choice is between maps and the image is sampled once.

    Raises:
        ValueError: If ``functions`` is empty, one cannot be called, or ``weights`` do not fit; and (when called) if
            their results differ in shape.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> flip = augment.one_of([augment.random_flip_left_right, augment.random_flip_up_down])
        >>> flip(jax.random.key(0), jnp.ones((2, 2, 3))).shape
        (2, 2, 3)
    """
    functions = check_functions("one_of", functions)
    items = weights if isinstance(weights, Sequence | np.ndarray | jax.Array) else ()
    count, expected = len(functions), "numbers of at least 0, not all 0"
    check(weights is None or len(items) == count, "one_of", "weights", f"{count} {expected}", repr(weights))
    shares = [check_number("one_of", "weights", v, f"{count} {expected}", lambda v: v >= 0) for v in items]
    known = [v for v in shares if isinstance(v, float)]
    positive = len(known) < count or sum(known) > 0 or weights is None
    check(positive, "one_of", "weights", f"{count} {expected}", repr(weights))
    return _OneOf(functions, None if weights is None else tuple(shares))


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _Sequence(Composition):
    """Functions one after another."""

    name: ClassVar[str] = "sequence"
    functions: tuple[Augmentation, ...]

    def __call__(self, key: PRNGKey, image: Any, /) -> Any:
        steps = list(_list_steps(self.functions))
        if is_tracing() or all(takes_chain(function) for _, function in steps):
            return super().__call__(key, image)
        # Functions of others get what they would get without the sequence, values that are not traced.
        check_single_key(self.name, key)
        key = to_threefry_key(key)
        for ours, group in itertools.groupby(steps, lambda step: takes_chain(step[1])):
            paths, functions = zip(*group, strict=True)
            if ours:
                image = change_example(self.name, _Steps(functions, paths), key, image)
                continue
            for path, function in zip(paths, functions, strict=True):
                image = function(_fold_path(key, path), image)
                check_example(self.name, image)
        return image

    def apply(self, key: PRNGKey, image: Chain) -> Chain:
        for i, function in enumerate(self.functions):
            image = advance(function, jax.random.fold_in(key, i), image)
        return image


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _Steps(Composition):
    """Neighbors in a sequence, also a nested one; ``paths`` are the numbers that are folded into the key of each."""

    name: ClassVar[str] = "sequence"
    functions: tuple[Augmentation, ...]
    paths: tuple[tuple[int, ...], ...]

    def apply(self, key: PRNGKey, image: Chain) -> Chain:
        for path, function in zip(self.paths, self.functions, strict=True):
            image = advance(function, _fold_path(key, path), image)
        return image


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _RandomApply(Composition):
    """A function applied with a probability."""

    name: ClassVar[str] = "random_apply"
    functions: tuple[Augmentation]
    p: NumberOption

    def apply(self, key: PRNGKey, image: Chain) -> Chain:
        (function,) = self.functions
        check_probability(self.name, "p", self.p)
        (number,) = draw_uniforms(jax.random.fold_in(key, 0), 1)
        inner = jax.random.fold_in(key, 1)
        if self.geometric or image.source is None:
            return advance(function, inner, image).where(number < self.p, image)
        chain = image.to_float()
        branch = _example_function(function, inner, chain)

        def branch_of_same_shape(example: Example) -> Example:
            result = branch(example)
            shape = chain.replace_example(result).shape
            got = f"one from {chain.shape} to {shape}"
            check(shape == chain.shape, self.name, "function", "one that keeps the shape", got)
            expected, got = (jax.tree.map(shape_text, e) for e in (chain.example, result))
            check(expected == got, self.name, "function", f"one that keeps {expected}", got)
            return result

        return chain.replace_example(jax.lax.cond(number < self.p, branch_of_same_shape, lambda e: e, chain.example))

    def __repr__(self) -> str:
        return f"random_apply({describe_function(self.functions[0])}, p={self.p!r})"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class _OneOf(Composition):
    """One of several functions, drawn by weights or evenly."""

    name: ClassVar[str] = "one_of"
    functions: tuple[Augmentation, ...]
    weights: tuple[Scalar, ...] | None

    def apply(self, key: PRNGKey, image: Chain) -> Chain:
        functions = self.functions
        (number,) = draw_uniforms(jax.random.fold_in(key, 0), 1)
        chosen = jnp.sum(number >= self._limits(), dtype=jnp.int32)
        inner = jax.random.fold_in(key, 1)
        if self.geometric or image.source is None:
            result = advance(functions[0], inner, image)
            for i, function in enumerate(functions[1:], 1):
                result = advance(function, inner, image).where(chosen == i, result)
            return result
        chain = image.to_float()
        shapes: list[str] = []

        def make_branch(function: Augmentation) -> Callable[[Example], Example]:
            branch = _example_function(function, inner, chain)

            def branch_of_same_shape(example: Example) -> Example:
                result = branch(example)
                shapes.append(str(jax.tree.map(shape_text, result)))
                check(shapes[0] == shapes[-1], self.name, "functions", f"such that all give {shapes[0]}", shapes[-1])
                return result

            return branch_of_same_shape

        branches = [make_branch(function) for function in functions]
        return chain.replace_example(jax.lax.switch(chosen, branches, chain.example))

    def _limits(self) -> np.ndarray | jax.Array:
        """Returns the numbers in (0, 1) from which on the next function is chosen."""
        shares = np.ones(len(self.functions)) if self.weights is None else self.weights
        if any(isinstance(share, jax.Array) for share in shares):
            total = jnp.cumsum(jnp.stack([jnp.asarray(share, jnp.float32) for share in shares]))
            return total[:-1] / total[-1]
        total = np.cumsum(np.asarray(shares, np.float64))
        return (total[:-1] / total[-1]).astype(np.float32)


def _list_steps(
    functions: Sequence[Augmentation], path: tuple[int, ...] = ()
) -> Iterator[tuple[tuple[int, ...], Augmentation]]:
    """Lists the functions of a sequence and of sequences in it, each with the numbers that are folded into its key."""
    for i, function in enumerate(functions):
        if isinstance(function, _Sequence):
            yield from _list_steps(function.functions, (*path, i))
        else:
            yield (*path, i), function


def _fold_path(key: PRNGKey, path: tuple[int, ...]) -> PRNGKey:
    return functools.reduce(jax.random.fold_in, path, key)


def _example_function(function: Augmentation, key: PRNGKey, chain: Chain) -> Callable[[Example], Example]:
    return lambda example: advance(function, key, chain.replace_example(example)).to_float().example
