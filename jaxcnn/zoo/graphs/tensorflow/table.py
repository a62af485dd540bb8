"""The table of TensorFlow's operations: what a node is, and which function imports it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

__all__ = ["HANDLERS", "SourceNode", "handles"]


@dataclasses.dataclass(frozen=True)
class SourceNode:
    """A node of TensorFlow.

    Attributes:
        name: Its name, within functions behind the name of the call.
        op: Its operation.
        position: Its place in the file.
        attributes: Its settings.
        outputs: How many of its outputs are read at least.
    """

    name: str
    op: str
    position: int
    attributes: Mapping[str, Any]
    outputs: int = 1

    def integer(self, key: str, default: int) -> int:
        """Returns a setting that is a whole number."""
        return self._checked(key, default, lambda value: type(value) is int, "a whole number")

    def number(self, key: str, default: float) -> float:
        """Returns a setting that is a number."""
        found = self._checked(key, default, lambda value: type(value) in (int, float), "a number")
        if not abs(found) < float("inf"):
            raise ValueError(f"{key} must be finite, got {found}.")
        return float(found)

    def flag(self, key: str, default: bool) -> bool:
        """Returns a setting that is true or false."""
        return self._checked(key, default, lambda value: type(value) is bool, "true or false")

    def text(self, key: str, default: str) -> str:
        """Returns a setting that is a text."""
        return self._checked(key, default, lambda value: isinstance(value, str), "a text")

    def integers(self, key: str, default: Sequence[int] = ()) -> list[int]:
        """Returns a setting that is a list of whole numbers."""

        def fits(value: Any) -> bool:
            return isinstance(value, list | tuple) and all(type(one) is int for one in value)

        return list(self._checked(key, default, fits, "a list of whole numbers"))

    def _checked(self, key: str, default: Any, fits: Callable[[Any], bool], expected: str) -> Any:
        value = self.attributes.get(key, default)
        if not fits(value):
            raise ValueError(f"{key} must be {expected}, got {str(value)[:60]!r}.")
        return value


Handler = Callable[..., Any]

HANDLERS: dict[str, Handler] = {}
"""Operation to the function that imports it: it takes the context, the node, and what its inputs are."""


def handles(*operations: str) -> Callable[[Handler], Handler]:
    """Registers the function below it for some operations.

    Args:
        *operations: TensorFlow's names.

    Returns:
        The decorator.
    """

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(operations, handler))
        return handler

    return register
