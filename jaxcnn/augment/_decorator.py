"""The decorator that makes an augmentation of examples from a function of chains.

The body of a decorated function gets a ``Chain`` in the place of an image and returns one. Called with an example, the
augmentation begins a chain and returns its result; called by another augmentation through ``advance``, it continues the
chain of that one.
"""

import dataclasses
import functools
import inspect
import types
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, overload, runtime_checkable

import jax
import numpy as np

from jaxcnn._check import check
from jaxcnn._typing import AnyArray, PRNGKey
from jaxcnn.augment._argument_checks import check_single_key
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._examples import Example

__all__ = [
    "Augmentation",
    "ExampleFunction",
    "advance",
    "augmentation",
    "check_functions",
    "has_branches",
    "is_geometric",
    "takes_chain",
]

Options = ParamSpec("Options")


@runtime_checkable
class Augmentation(Protocol):
    """Changes one example; ours or a user's, any ``(key, image) -> image``."""

    def __call__(self, key: PRNGKey, image: Any, /) -> Any:
        """Draws from ``key`` and changes ``image``."""
        ...


@runtime_checkable
class ExampleFunction(Protocol[Options]):
    """An augmentation of this library: (key, image, *, options) -> image, arrays to arrays, dictionaries likewise."""

    @overload
    def __call__(
        self, key: PRNGKey, image: jax.Array, /, *args: Options.args, **options: Options.kwargs
    ) -> jax.Array: ...
    @overload
    def __call__(
        self, key: PRNGKey, image: np.ndarray, /, *args: Options.args, **options: Options.kwargs
    ) -> AnyArray: ...
    @overload
    def __call__(
        self, key: PRNGKey, image: Mapping[str, Any], /, *args: Options.args, **options: Options.kwargs
    ) -> Mapping[str, Any]: ...


@dataclasses.dataclass(frozen=True)
class _Step:
    """The function of chains behind an augmentation, and what it does."""

    function: Callable[..., Chain]
    geometric: bool
    branches: bool


# By identity: attributes would be copied to others by ``functools.wraps`` and ``jax.jit``.
_STEPS: weakref.WeakKeyDictionary[Callable[..., Any], _Step] = weakref.WeakKeyDictionary()


def augmentation(
    *, geometric: bool, branches: bool = False
) -> Callable[[Callable[Concatenate[PRNGKey, Chain, Options], Chain]], ExampleFunction[Options]]:
    """Makes an augmentation of examples from a function of chains.

    Args:
        geometric: Whether it only moves pixels.
        branches: Whether it does one of several things, some of them expensive.

    Returns:
        The decorator.
    """

    def decorate(function: Callable[Concatenate[PRNGKey, Chain, Options], Chain]) -> ExampleFunction[Options]:
        @overload
        def augment_example(
            key: PRNGKey, image: jax.Array, *args: Options.args, **options: Options.kwargs
        ) -> jax.Array: ...
        @overload
        def augment_example(
            key: PRNGKey, image: np.ndarray, *args: Options.args, **options: Options.kwargs
        ) -> AnyArray: ...
        @overload
        def augment_example(
            key: PRNGKey, image: Mapping[str, Any], *args: Options.args, **options: Options.kwargs
        ) -> Mapping[str, Any]: ...
        def augment_example(key: PRNGKey, image: Example, *args: Options.args, **options: Options.kwargs) -> Example:
            check_single_key(function.__name__, key)
            return function(key, Chain.start(function.__name__, image), *args, **options).result()

        functools.update_wrapper(augment_example, function)
        signature = inspect.signature(function)
        first, image, *rest = signature.parameters.values()
        public = [first, image.replace(annotation=Example), *rest]
        augment_example.__dict__["__signature__"] = signature.replace(parameters=public, return_annotation=Example)
        augment_example.__annotations__ = {**function.__annotations__, image.name: Example, "return": Example}
        _STEPS[augment_example] = _Step(function, geometric, branches)
        return augment_example

    return decorate


def advance(function: Augmentation, key: PRNGKey, chain: Chain) -> Chain:
    """Applies an augmentation of any origin to a chain."""
    step = _find_step(function)
    if step is not None:
        return step.function(key, chain)
    check(chain.source is not None, "inverse", "every function", "one of augment's", repr(function))
    return Chain.start("sequence", function(key, chain.result()))


def check_functions(name: str, functions: object) -> tuple[Augmentation, ...]:
    """Returns a sequence of augmentations as a tuple, or refuses anything else."""
    listed = isinstance(functions, Sequence) and len(functions) > 0 and all(callable(f) for f in functions)
    check(listed, name, "functions", "one or more (key, image) -> image", repr(functions))
    return tuple(functions) if isinstance(functions, Sequence) else ()


def takes_chain(function: object) -> bool:
    """Returns whether a function is one of ours, also with options bound by ``functools.partial``."""
    return _find_step(function) is not None


def is_geometric(function: object) -> bool:
    """Returns whether a function of ours only moves pixels."""
    step = _find_step(function)
    return step is not None and step.geometric


def has_branches(function: object) -> bool:
    """Returns whether a function does one of several things, some of them expensive, also inside of ``jax.jit``."""
    while function is not None:
        step = _find_step(function)
        if step is not None:
            return step.branches
        wrapped = getattr(function, "__wrapped__", None)
        function = function.func if isinstance(function, functools.partial) else wrapped
    return False


def _find_step(function: object) -> _Step | None:
    """Returns the step behind an augmentation, with the options that ``functools.partial`` bound to it."""
    bound: list[functools.partial[Any]] = []
    while isinstance(function, functools.partial):
        bound.append(function)
        function = function.func
    step = _STEPS.get(function) if isinstance(function, types.FunctionType) else None
    for partial in reversed(bound):
        step = step and dataclasses.replace(
            step, function=functools.partial(step.function, *partial.args, **partial.keywords)
        )
    return step
