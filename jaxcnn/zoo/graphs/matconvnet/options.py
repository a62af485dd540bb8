"""The options of MatConvNet's layers, checked: kinds, ranges, numbers of values."""

import itertools
import math
import sys
from collections.abc import Callable, Mapping

import numpy as np

from jaxcnn.zoo.checkpoint import FormatError

__all__ = ["LARGEST", "LayerFields", "list_numbers"]

LARGEST = 2**20
"""The largest stride, padding or size of a window."""

_MOST = 64  # numbers of one option


class LayerFields:
    """The fields of one layer.

    ``opts``, pairs of names and values that MatConvNet passes on to its functions, count as fields.

    Args:
        values: The fields.
        error: Builds the error to raise, which names the layer.
    """

    def __init__(self, values: object, error: Callable[[str], FormatError]):
        self.error = error
        self.values: dict[str, object] = dict(values) if isinstance(values, Mapping) else {}
        opts = self.values.get("opts")
        pairs = opts if isinstance(opts, list) else []
        for name, value in itertools.pairwise(pairs):
            if isinstance(name, str) and name.lower() in ("pad", "stride", "dilate", "epsilon", "crop", "upsample"):
                self.values[name.lower()] = value

    def find(self, *names: str) -> object:
        """Returns the first of some fields that is stated, or None."""
        return next((self.values[name] for name in names if name in self.values), None)

    def integers(self, name: str, default: int, *, least: int = 0, counts: tuple[int, ...] = (1, 2)) -> list[int]:
        """Returns integers in [least, LARGEST], as many as one of ``counts``; one that is not stated is the default."""
        value = self.values.get(name)
        found = [default] if _is_missing(value) else list_numbers(value)
        good = found is not None and len(found) in counts
        if found is None or not good or not all(one == int(one) and least <= one <= LARGEST for one in found):
            expected = f"{' or '.join(map(str, counts))} integers in [{least}, {LARGEST}]"
            raise self.error(f"{name} must be {expected}, got {value!r:.60}.")
        return [int(one) for one in found]

    def pair(self, name: str, default: int, *, least: int = 0) -> tuple[int, int]:
        """Returns a number of rows and one of columns."""
        found = self.integers(name, default, least=least)
        return found[0], found[-1]

    def sides(self, name: str) -> tuple[tuple[int, int], tuple[int, int]]:
        """Returns what is added or cut off at the sides: top and bottom, left and right."""
        found = self.integers(name, 0, counts=(1, 2, 4))
        if len(found) == 2:  # rows and columns
            return (found[0], found[0]), (found[1], found[1])
        top, bottom, left, right = found * 4 if len(found) == 1 else found
        return (top, bottom), (left, right)

    def number(self, name: str, default: float) -> float:
        """Returns a finite number."""
        return self.numbers(name, (default,))[0]

    def numbers(self, name: str, default: tuple[float, ...]) -> list[float]:
        """Returns finite numbers, as many as the default has."""
        value = self.values.get(name)
        found = list(default) if _is_missing(value) else list_numbers(value)
        if found is None or len(found) != len(default):
            raise self.error(f"{name} must be {len(default)} finite numbers, got {value!r:.60}.")
        return found

    def flag(self, name: str, default: bool) -> bool:
        """Returns a truth value."""
        value = self.values.get(name)
        if value is None:
            return default
        found = list_numbers(value)
        if found is None or len(found) != 1:
            raise self.error(f"{name} must be true or false, got {value!r:.60}.")
        return bool(found[0])


def _is_missing(value: object) -> bool:
    """Returns whether a field is not stated, or states an empty array."""
    return value is None or (isinstance(value, list) and not value)


def list_numbers(value: object) -> list[float] | None:
    """Lists finite numbers from a number, a list or an array of few values; None for anything else."""
    if isinstance(value, np.ndarray):
        value = value.ravel().tolist() if value.size <= _MOST else None
    items = list(value) if isinstance(value, list | tuple) else [value]
    found: list[float] = []
    for one in items[: _MOST + 1]:
        if not isinstance(one, bool | int | float) or abs(one) > sys.float_info.max:  # integers may be too large
            return None
        found.append(float(one))
    return found if 0 < len(found) <= _MOST and all(map(math.isfinite, found)) else None
