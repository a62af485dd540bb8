"""The parameters of Caffe's layers, checked: kinds, ranges, choices."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jaxcnn.zoo.checkpoint import FormatError

__all__ = ["LARGEST", "LayerOptions"]

LARGEST = 2**31 - 1
"""The largest integer that Caffe's parameters can state."""


class LayerOptions:
    """One message of parameters, such as ``convolution_param``.

    Args:
        name: Its name, for error messages.
        values: Its fields.
        error: Builds the error to raise, which names the layer.
    """

    def __init__(self, name: str, values: object, error: Callable[[str], FormatError]):
        self.name, self.error = name, error
        if not isinstance(values, Mapping):
            raise error(f"{name} must be a message, got {values!r:.60}.")
        self.values: Mapping[str, Any] = values

    def __contains__(self, field: str) -> bool:
        """Returns whether a field is stated."""
        return field in self.values

    def fault(self, field: str, expected: str, got: object) -> FormatError:
        """Builds the error for a field."""
        return self.error(f"{self.name}.{field} must be {expected}, got {got!r:.60}.")

    def integer(self, field: str, default: int, *, least: int = 0, most: int = LARGEST) -> int:
        """Returns an integer in an interval."""
        return self._check_integer(field, self._last(field, default), least, most)

    def integers(self, field: str, *, least: int = 0, most: int = LARGEST) -> tuple[int, ...]:
        """Returns all integers of a field, none if it is not stated."""
        return tuple(self._check_integer(field, value, least, most) for value in self._all(field))

    def number(self, field: str, default: float) -> float:
        """Returns a finite number."""
        return self._check_number(field, self._last(field, default))

    def numbers(self, field: str) -> tuple[float, ...]:
        """Returns all numbers of a field, none if it is not stated."""
        return tuple(self._check_number(field, value) for value in self._all(field))

    def flag(self, field: str, default: bool) -> bool:
        """Returns a boolean."""
        value = self._last(field, default)
        if not isinstance(value, bool):
            raise self.fault(field, "true or false", value)
        return value

    def choice(self, field: str, choices: Sequence[str], default: str) -> str:
        """Returns one of some names, which forks also state by their numbers."""
        value = self._last(field, default)
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(choices):
            value = choices[value]
        if not isinstance(value, str) or value not in choices:
            raise self.fault(field, f"one of {', '.join(choices)}", value)
        return value

    def messages(self, field: str) -> list["LayerOptions"]:
        """Returns all messages of a field."""
        return [LayerOptions(f"{self.name}.{field}", value, self.error) for value in self._all(field)]

    def text(self, field: str, default: str = "") -> str:
        """Returns a text."""
        value = self._last(field, default)
        if not isinstance(value, str):
            raise self.fault(field, "a text", value)
        return value

    def _all(self, field: str) -> list[Any]:
        value = self.values.get(field, ())
        return list(value) if isinstance(value, list | tuple) else [value]

    def _last(self, field: str, default: Any) -> Any:
        """Returns the last value of a field, as protocol buffers do where one is repeated that should not be."""
        value = self.values.get(field, default)
        if isinstance(value, list | tuple):
            return value[-1] if value else default
        return value

    def _check_integer(self, field: str, value: object, least: int, most: int) -> int:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if isinstance(value, int | float) and number and least <= value <= most and value == int(value):
            return int(value)
        raise self.fault(field, f"an integer in [{least}, {most}]", value)

    def _check_number(self, field: str, value: object) -> float:
        if not isinstance(value, int | float) or isinstance(value, bool) or abs(value) > 3.5e38 or value != value:
            raise self.fault(field, "a finite number", value)
        return float(value)
