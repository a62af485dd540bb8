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
from typing import Any, ClassVar, Concatenate, ParamSpec, Protocol, TypeGuard, cast, overload, runtime_checkable

import jax
import numpy as np
from jax.core import Tracer

from jaxcnn._check import check, check_single_key
from jaxcnn._typing import AnyArray, PRNGKey
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._draws import to_threefry_key
from jaxcnn.augment._examples import PARTS, Example, check_example, check_float_range, image_of
from jaxcnn.augment._programs import run_program

__all__ = [
    "Augmentation",
    "Composition",
    "ExampleFunction",
    "advance",
    "as_tree",
    "augmentation",
    "calls_others",
    "change_example",
    "check_functions",
    "describe_function",
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


class Composition:
    """An augmentation made of others: a frozen dataclass, which can be pickled, and a tree with its options as leaves.

    Subclasses have a field ``functions``.
    """

    name: ClassVar[str]  # of the public function that builds it
    functions: tuple[Augmentation, ...]

    def __init_subclass__(cls) -> None:
        jax.tree_util.register_pytree_node(cls, cls._flatten, lambda _, values: cls(*values))

    def __call__(self, key: PRNGKey, image: Any, /) -> Any:
        """Draws from ``key`` and changes ``image``."""
        return change_example(self.name, self, key, image)

    def apply(self, key: PRNGKey, image: Chain) -> Chain:
        """Continues a chain."""
        raise NotImplementedError

    @property
    def geometric(self) -> bool:
        """Whether it only moves pixels."""
        return all(map(is_geometric, self.functions))

    @property
    def branches(self) -> bool:
        """Whether it does one of several things, some of them expensive."""
        return any(map(has_branches, self.functions))

    def _values(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(cast(Any, self)) if f.name != "functions"}

    def _flatten(self) -> tuple[tuple[Any, ...], None]:
        return (tuple(map(as_tree, self.functions)), *self._values().values()), None

    def __repr__(self) -> str:
        options = "".join(f", {k}={v!r}" for k, v in self._values().items() if v is not None)
        return f"{self.name}([{', '.join(map(describe_function, self.functions))}]{options})"


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
            bound = functools.partial(augment_example, *args, **options)
            return change_example(function.__name__, bound, key, image)

        functools.update_wrapper(augment_example, function)
        signature = inspect.signature(function)
        first, image, *rest = signature.parameters.values()
        public = [first, image.replace(annotation=Example), *rest]
        augment_example.__dict__["__signature__"] = signature.replace(parameters=public, return_annotation=Example)
        augment_example.__annotations__ = {**function.__annotations__, image.name: Example, "return": Example}
        _STEPS[augment_example] = _Step(function, geometric, branches)
        return augment_example

    return decorate


def change_example(name: str, function: Augmentation, key: PRNGKey, example: Example) -> Example:
    """Calls an augmentation of ours with an example, on behalf of the public function ``name``."""
    check_single_key(name, key)
    check_example(name, example)
    if not is_geometric(function):
        check_float_range(name, image_of(example))
    pure, settings = not calls_others(function), (name, as_tree(function))
    if not isinstance(example, Mapping):
        return run_program(_change_parts, settings, key, example, pure=pure).get("image", example)
    parts = {k: v for k, v in example.items() if k in PARTS or (not pure and isinstance(v, jax.Array | np.ndarray))}
    return {**example, **run_program(_change_parts, settings, key, parts, pure=pure)}


def _change_parts(settings: tuple[str, Augmentation], key: PRNGKey, example: Example) -> Mapping[str, Any]:
    """Returns the parts of an example that are changed."""
    name, function = settings
    result = advance(function, to_threefry_key(key), Chain.start(name, example)).result()
    before, after = (e if isinstance(e, Mapping) else {"image": e} for e in (example, result))
    return {k: v for k, v in after.items() if v is not before.get(k)}


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


def calls_others(function: object) -> bool:
    """Returns whether a function is not of this namespace, or calls one that is not."""
    while isinstance(function, functools.partial):
        function = function.func
    if isinstance(function, Composition):
        return any(map(calls_others, function.functions))
    return _find_step(function) is None


def as_tree(function: Augmentation) -> Augmentation:
    """Returns an augmentation as a tree for JAX, whose leaves are its options."""
    if not isinstance(function, functools.partial):
        return function
    options = {k: _AS_NUMBERS[k](v) if k in _AS_NUMBERS else v for k, v in function.keywords.items()}
    return jax.tree_util.Partial(as_tree(function.func), *function.args, **options)


def _is_readable_array(value: object) -> TypeGuard[AnyArray]:
    """Returns whether a value is an array whose entries can be read."""
    array = isinstance(value, jax.Array | np.ndarray) and not isinstance(value, Tracer)
    return array and getattr(value, "is_fully_addressable", True)


def _fill_as_numbers(fill: object) -> object:
    """Returns a known array of at most one axis as numbers, so that equal fills are known to be equal."""
    if not _is_readable_array(fill) or fill.ndim > 1:
        return fill
    numbers = np.asarray(fill).astype(np.float64).tolist()
    return tuple(numbers) if isinstance(numbers, list) else numbers


def _rows_as_numbers(rows: object) -> object:
    """Returns a known array of rows as one of NumPy, as a program cannot take them as arguments."""
    return np.asarray(rows) if _is_readable_array(rows) else rows


_AS_NUMBERS = {
    "fill_value": _fill_as_numbers,
    "mask_fill_value": _fill_as_numbers,
    "keypoint_pairs": _rows_as_numbers,
}
"""Options that are read while a program is built, and how to read those that are arrays."""


def describe_function(function: object) -> str:
    """Returns an augmentation as it would be written."""
    if isinstance(function, functools.partial):
        bound = [repr(v) for v in function.args] + [f"{k}={v!r}" for k, v in function.keywords.items()]
        return f"partial({', '.join([describe_function(function.func), *bound])})"
    named = isinstance(function, types.FunctionType | types.BuiltinFunctionType)
    return function.__qualname__ if named else repr(function)


def _find_step(function: object) -> _Step | None:
    """Returns the step behind an augmentation, with the options that ``functools.partial`` bound to it."""
    bound: list[functools.partial[Any]] = []
    while isinstance(function, functools.partial):
        bound.append(function)
        function = function.func
    step = _STEPS.get(function) if isinstance(function, types.FunctionType) else None
    if isinstance(function, Composition):
        step = _Step(function.apply, function.geometric, function.branches)
    for partial in reversed(bound):
        step = step and dataclasses.replace(
            step, function=functools.partial(step.function, *partial.args, **partial.keywords)
        )
    return step
