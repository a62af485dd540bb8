"""Options of layers as their configurations state them, checked."""

import math
import reprlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np

from jaxcnn.zoo.checkpoint import FormatError

__all__ = ["LARGEST", "Options", "find_constant", "is_integer"]

LARGEST = 1 << 24
"""Of integers in configurations: sizes, channels, factors."""


def is_integer(value: object) -> TypeGuard[int]:
    """Tests for an integer of moderate size; booleans are none."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= 1 << 40


def find_constant(value: object) -> np.ndarray | None:
    """Converts a number, a list of numbers or an array that Keras has serialized to an array.

    Args:
        value: A part of a configuration.

    Returns:
        The array, float32 unless it has integers or booleans; None if it is something else.

    Example:
        >>> from jaxcnn.zoo.graphs.keras.options import find_constant
        >>> find_constant({"class_name": "__numpy__", "config": {"value": [1.5, 2.5], "dtype": "float32"}}).tolist()
        [1.5, 2.5]
        >>> find_constant("same") is None
        True
    """
    if isinstance(value, Mapping):
        if value.get("class_name") not in ("__numpy__", "__tensor__") or not isinstance(value.get("config"), Mapping):
            return None
        value = value["config"].get("value")
    if isinstance(value, str | bytes) or value is None or isinstance(value, Mapping):
        return None
    try:
        array = np.asarray(value)
    except ValueError:
        return None
    if array.dtype.kind not in "fiub":
        return None
    return array.astype(np.float32) if array.dtype.kind == "f" else array


class Options:
    """The configuration of a layer; every reader of an option names the layer if the option is wrong.

    Args:
        config: The configuration.
        error: Builds the error of the layer of a reason.
    """

    def __init__(self, config: Mapping[str, Any], error: Callable[[str], FormatError]):
        self.config, self.error = config, error

    def get(self, key: str, default: Any = None) -> Any:
        """Returns an option as it is; a null counts as missing."""
        value = self.config.get(key)
        return default if value is None else value

    def wrong(self, key: str, expected: str) -> FormatError:
        """Builds the error of an option."""
        return self.error(f"{key} must be {expected}, got {reprlib.repr(self.config.get(key))}.")

    def flag(self, key: str, default: bool) -> bool:
        """Reads a boolean."""
        value = self.get(key, default)
        if value not in (True, False):
            raise self.wrong(key, "true or false")
        return bool(value)

    def integer(self, key: str, default: int | None = None, *, low: int = 1) -> int:
        """Reads an integer from ``low`` to ``LARGEST``."""
        value = self.get(key, default)
        value = int(value) if isinstance(value, float) and value.is_integer() else value
        if not is_integer(value) or not low <= value <= LARGEST:
            raise self.wrong(key, f"an integer in [{low}, {LARGEST}]")
        return value

    def integers(
        self, key: str, count: int, default: int | Sequence[int] | None = None, *, low: int = 1
    ) -> tuple[int, ...]:
        """Reads an integer for all axes, or a list of ``count``."""
        value = self.get(key, default)
        listed: Any = [value] * count if is_integer(value) else value
        good = isinstance(listed, list | tuple) and len(listed) == count
        if not good or not all(is_integer(one) and low <= one <= LARGEST for one in listed):
            raise self.wrong(key, f"{count} integers of at least {low}")
        return tuple(listed)

    def number(self, key: str, default: float | None = None) -> float:
        """Reads a finite number."""
        value = self.get(key, default)
        array = find_constant(value)
        if array is None or array.size != 1 or array.dtype.kind == "b" or not math.isfinite(float(array.reshape(()))):
            raise self.wrong(key, "a finite number")
        return float(value) if isinstance(value, int | float) else float(array.reshape(()))

    def numbers(self, key: str, default: float) -> float | tuple[float, ...]:
        """Reads one finite number, or a list of them."""
        value = self.get(key, default)
        array = find_constant(value)
        if array is None or array.ndim > 1 or not 0 < array.size <= LARGEST or not np.isfinite(array).all():
            raise self.wrong(key, "a finite number, or a list of them")
        if array.ndim == 0:
            return float(value) if isinstance(value, int | float) else float(array)
        return tuple(map(float, array))

    def choice(self, key: str, allowed: Sequence[str], default: str | None = None) -> str:
        """Reads one of several texts."""
        value = self.get(key, default)
        value = value.lower() if isinstance(value, str) else value
        if value not in allowed:
            raise self.wrong(key, f"one of {tuple(allowed)}")
        return value

    def pairs(self, key: str, rank: int, default: int = 0) -> tuple[tuple[int, int], ...]:
        """Reads a pair (before, after) for every axis: an integer, one per axis, or pairs."""
        value: Any = self.get(key, default)
        if rank == 1 and isinstance(value, list | tuple) and len(value) == 2 and all(map(is_integer, value)):
            value = [value]
        value = [value] * rank if is_integer(value) else value
        listed: Any = value if isinstance(value, list | tuple) else []
        pairs: list[Any] = [[one, one] if is_integer(one) else one for one in listed]
        good = len(pairs) == rank and all(isinstance(one, list | tuple) and len(one) == 2 for one in pairs)
        if not good or not all(is_integer(n) and 0 <= n <= LARGEST for pair in pairs for n in pair):
            raise self.wrong(key, f"an integer, {rank} integers or {rank} pairs of at least 0")
        return tuple((low, high) for low, high in pairs)
