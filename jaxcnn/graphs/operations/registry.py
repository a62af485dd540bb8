"""The table of operations: what a node may be, which inputs, options and parameters it takes, and what it computes."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from jaxcnn._check import check
from jaxcnn._suggest import suggest

__all__ = ["Operation", "Step", "find_operation", "find_subject", "operation", "operation_names"]


@dataclasses.dataclass
class Step:
    """One node while it runs: its arrays and its surroundings.

    Attributes:
        inputs: Arrays, each with the batch axes.
        parameters: Role to array.
        options: The node's options, defaults included.
        batch: Sizes of the batch axes.
        train: Whether it runs in training mode.
        key: ``key()`` returns a random key for this node.
        new_statistics: Role to new value: batch statistics that the operation updates in training mode.
    """

    inputs: tuple[jax.Array, ...]
    parameters: Mapping[str, jax.Array]
    options: Mapping[str, Any]
    batch: tuple[int, ...]
    train: bool
    key: Callable[[], jax.Array]
    new_statistics: dict[str, jax.Array] = dataclasses.field(default_factory=dict)

    @property
    def leading(self) -> int:
        """The number of batch axes."""
        return len(self.batch)

    @property
    def x(self) -> jax.Array:
        """The first input."""
        return self.inputs[0]

    def __getitem__(self, option: str) -> Any:
        """Returns an option."""
        return self.options[option]

    def choose(self, option: str, *known: str) -> str:
        """Returns an option that must be one of some words."""
        if self.options[option] not in known:
            raise ValueError(f"{option} must be one of {known}, got {self.options[option]!r}.")
        return self.options[option]

    def axis(self, axis: int, x: jax.Array | None = None) -> int:
        """Converts an axis of an example, from the front or the end, to a negative axis of the array."""
        rank = (self.x if x is None else x).ndim - self.leading
        if not -rank <= axis < rank:
            raise ValueError(f"axis must be in [{-rank}, {rank}), got {axis}.")
        return axis - rank if axis >= 0 else axis

    def spread(self, value: jax.Array, x: jax.Array | None = None) -> jax.Array:
        """Adds axes of size 1 in front of a parameter, so that it has the rank of the first input, or of ``x``."""
        rank = (self.x if x is None else x).ndim
        if value.ndim > rank - self.leading:
            raise ValueError(f"a parameter of shape {value.shape} does not fit {rank - self.leading} axes.")
        return value.reshape((1,) * (rank - value.ndim) + value.shape)

    def axes(self, axes: Sequence[int]) -> tuple[int, ...]:
        """Converts axes of an example to negative axes of the array."""
        return tuple(self.axis(axis) for axis in axes)


Apply = Callable[[Step], jax.Array | Sequence[jax.Array]]

REQUIRED = object()
"""The default of an option that every node must state."""


@dataclasses.dataclass(frozen=True)
class Operation:
    """What nodes of one operation take.

    Attributes:
        name: Its name.
        apply: Computes the outputs of a step.
        inputs: Fewest and largest number of inputs; None for any.
        outputs: Number of outputs; None for any.
        options: Option to default.
        parameters: Roles that must be there.
        optional: Roles that may be there.
    """

    name: str
    apply: Apply
    inputs: tuple[int, int | None]
    outputs: int | None
    options: Mapping[str, Any]
    parameters: tuple[str, ...]
    optional: tuple[str, ...]

    def find_fault(
        self, inputs: int, outputs: int, options: Mapping[str, Any], parameters: Mapping[str, str]
    ) -> str | None:
        """Describes what is wrong with a node; None if nothing is."""
        low, high = self.inputs
        if inputs < low or (high is not None and inputs > high):
            count = f"{low}" if low == high else f"at least {low}" if high is None else f"{low} to {high}"
            return f"it must have {count} inputs, got {inputs}."
        if self.outputs is not None and outputs != self.outputs:
            return f"it must have {self.outputs} outputs, got {outputs}."
        for key in options:
            if key not in self.options:
                return f"it has no option {key!r}{suggest(key, self.options)}."
        missing = [key for key, value in self.options.items() if value is REQUIRED and key not in options]
        missing += [role for role in self.parameters if role not in parameters]
        if missing:
            return f"it lacks {', '.join(missing)}."
        for role in parameters:
            if role not in self.parameters and role not in self.optional:
                return f"it takes no parameter {role!r}."
        return None


_OPERATIONS: dict[str, Operation] = {}


def operation(
    name: str,
    *,
    inputs: int | tuple[int, int | None] = 1,
    outputs: int | None = 1,
    parameters: Sequence[str] = (),
    optional: Sequence[str] = (),
    **options: Any,
) -> Callable[[Apply], Apply]:
    """Registers the function below it as an operation.

    Args:
        name: Name of the operation.
        inputs: Number of inputs, or the fewest and the most, None for any.
        outputs: Number of outputs; None for any.
        parameters: Roles of arrays that a node must have.
        optional: Roles of arrays that it may have.
        **options: Options and their defaults; ``REQUIRED`` for those without.

    Returns:
        The decorator.

    Example:
        >>> from jaxcnn.graphs.operations.registry import find_operation
        >>> found = find_operation("conv")
        >>> found.parameters, found.optional, found.options["padding"]
        (('kernel',), ('bias',), 'VALID')
    """

    def register(apply: Apply) -> Apply:
        counts = (inputs, inputs) if isinstance(inputs, int) else inputs
        check(name not in _OPERATIONS, "operation", "name", "new", repr(name))
        _OPERATIONS[name] = Operation(name, apply, counts, outputs, options, tuple(parameters), tuple(optional))
        return apply

    return register


def find_operation(name: str) -> Operation | None:
    """Returns the operation of a name, or None."""
    _import_all()
    return _OPERATIONS.get(name)


def find_subject(name: str) -> str:
    """Returns the subject of an operation, the name of the file that registers it: ``"convolutions"``, ``"pooling"``.

    Empty for an unknown operation.
    """
    found = find_operation(name)
    return "" if found is None else found.apply.__module__.rpartition(".")[2]


def operation_names() -> tuple[str, ...]:
    """Returns the names of all operations.

    Returns:
        The names, sorted.

    Example:
        >>> from jaxcnn.graphs.operations.registry import operation_names
        >>> "conv" in operation_names()
        True
    """
    _import_all()
    return tuple(sorted(_OPERATIONS))


def _import_all() -> None:
    """Imports the files of operations, which register themselves."""
    import jaxcnn.graphs.operations  # noqa: F401
