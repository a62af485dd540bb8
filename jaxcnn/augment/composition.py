"""Augmentations composed: in sequence, with a probability, one of several."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn._check import check, shape_text
from jaxcnn._typing import AnyArray, Float, PRNGKey
from jaxcnn.augment._argument_checks import check_probability
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._decorator import (
    Augmentation,
    advance,
    augmentation,
    check_functions,
    has_branches,
    is_geometric,
)
from jaxcnn.augment._draws import draw_uniforms
from jaxcnn.augment._examples import Example

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
    functions = check_functions("sequence", functions)

    @augmentation(geometric=all(map(is_geometric, functions)), branches=any(map(has_branches, functions)))
    def apply_sequence(key: PRNGKey, image: Chain) -> Chain:
        for i, function in enumerate(functions):
            image = advance(function, jax.random.fold_in(key, i), image)
        return image

    return apply_sequence


def random_apply(function: Augmentation, *, p: float | Float[AnyArray, ""] = 0.5) -> Augmentation:
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

    @augmentation(geometric=is_geometric(function), branches=has_branches(function))
    def apply_or_not(key: PRNGKey, image: Chain) -> Chain:
        (number,) = draw_uniforms(jax.random.fold_in(key, 0), 1)
        inner = jax.random.fold_in(key, 1)
        if is_geometric(function) or image.source is None:
            return advance(function, inner, image).where(number < p, image)
        chain = image.to_float()
        branch = _example_function(function, inner, chain)

        def branch_of_same_shape(example: Example) -> Example:
            result = branch(example)
            shape = chain.replace_example(result).shape
            got = f"one from {chain.shape} to {shape}"
            check(shape == chain.shape, "random_apply", "function", "one that keeps the shape", got)
            return result

        return chain.replace_example(jax.lax.cond(number < p, branch_of_same_shape, lambda e: e, chain.example))

    return apply_or_not


def one_of(functions: Sequence[Augmentation], *, weights: Sequence[float] | None = None) -> Augmentation:
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
    geometric = all(map(is_geometric, functions))
    shares = np.ones(len(functions)) if weights is None else np.asarray(weights, np.float64)
    good = shares.shape == (len(functions),) and bool(np.all(shares >= 0)) and bool(shares.sum() > 0)
    check(good, "one_of", "weights", f"{len(functions)} numbers of at least 0, not all 0", repr(weights))
    limits = (np.cumsum(shares)[:-1] / shares.sum()).astype(np.float32)

    @augmentation(geometric=geometric, branches=any(map(has_branches, functions)))
    def apply_one(key: PRNGKey, image: Chain) -> Chain:
        (number,) = draw_uniforms(jax.random.fold_in(key, 0), 1)
        chosen = jnp.sum(number >= limits, dtype=jnp.int32)
        inner = jax.random.fold_in(key, 1)
        if geometric or image.source is None:
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
                check(shapes[0] == shapes[-1], "one_of", "functions", f"such that all give {shapes[0]}", shapes[-1])
                return result

            return branch_of_same_shape

        branches = [make_branch(function) for function in functions]
        return chain.replace_example(jax.lax.switch(chosen, branches, chain.example))

    return apply_one


def _example_function(function: Augmentation, key: PRNGKey, chain: Chain) -> Callable[[Example], Example]:
    return lambda example: advance(function, key, chain.replace_example(example)).to_float().example
