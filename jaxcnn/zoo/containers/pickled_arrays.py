"""NumPy's arrays and Python's containers as the restricted unpickler makes them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import Budget, FormatError
from jaxcnn.zoo.containers.mapped_file import let_go

__all__ = ["PickledArray", "PickledDtype", "array_of", "array_names", "dtype_of"]

_NUMERIC = re.compile(r"[<>=|]?(?:[biufc]\d{1,2}|[?bBhHiIlLqQefdFD])")
_TEXTS = re.compile(r"[<>=|]?[SU]\d{1,6}")


def dtype_of(path: Path, code: str, what: str) -> np.dtype[Any]:
    """Gives the dtype of numbers, booleans or texts that NumPy writes as ``code``; ``O`` and records are refused."""
    if _NUMERIC.fullmatch(code) or _TEXTS.fullmatch(code):
        try:
            return np.dtype(code)
        except TypeError:
            pass
    hint = "; NumPy writes bfloat16 so, save it as float32" if code.endswith("V2") else ""
    raise FormatError(path, f"{what} has dtype {code[:60]!r}: neither numbers nor texts{hint}.")


def array_of(path: Path, raw: Any, shape: Any, dtype: np.dtype[Any], fortran: Any, budget: Budget) -> np.ndarray:
    """Copies the bytes of an array into a new one, C-contiguous, writable and of native order of bytes.

    Raises:
        FormatError: If ``raw`` has not the bytes of ``shape``, or memory is not granted.
    """
    if isinstance(raw, str):
        raw = raw.encode("latin-1")
    sizes = shape if isinstance(shape, tuple) else ()
    good = isinstance(raw, bytes | memoryview) and all(type(size) is int for size in sizes) and sizes == shape
    if not good or len(sizes) > 32:
        raise FormatError(path, "a pickled array without shape or bytes.")
    budget.tensor(sizes, dtype, "an array", stored=len(raw))
    flat = np.frombuffer(raw, np.uint8) if dtype.kind == "b" else np.frombuffer(raw, dtype)
    if dtype.kind == "b":
        flat = flat != 0  # no byte but 0 and 1 may lie in an array of booleans
    array = flat.reshape(sizes, order="F" if fortran else "C")
    array = np.array(array, array.dtype.newbyteorder("="), order="C")
    if isinstance(raw, memoryview):
        let_go(raw)
    return array


class PickledDtype:
    """A dtype being unpickled: its code, and the order of bytes that its state brings."""

    def __init__(self, path: Path, code: Any) -> None:
        """Takes NumPy's code, such as ``"f4"``."""
        if not isinstance(code, str):
            raise FormatError(path, "a pickled dtype without a code.")
        self.path, self.code, self.order = path, code, ""

    def set_state(self, state: Any) -> None:
        """Takes NumPy's state ``(version, order, subdtype, names, fields, size, alignment, flags)``."""
        if not isinstance(state, tuple) or len(state) < 5 or not isinstance(state[1], str) or len(state[1]) != 1:
            raise FormatError(self.path, "a pickled dtype with a state that NumPy does not write.")
        if any(part is not None for part in state[2:5]):
            raise FormatError(self.path, "an array of records; arrays of numbers are read.")
        self.order = state[1] if state[1] in "<>" else ""

    @property
    def is_object(self) -> bool:
        """Whether arrays of it hold Python objects."""
        return self.code in ("O", "O4", "O8", "|O")

    def dtype(self) -> np.dtype[Any]:
        """Gives NumPy's dtype."""
        return dtype_of(self.path, self.order + self.code.lstrip("<>=|"), "a pickled array")


class PickledArray:
    """An array being unpickled: ``array`` of numbers, or ``items`` of an array of objects."""

    def __init__(self, path: Path, budget: Budget) -> None:
        """Makes an array without content."""
        self.path, self._budget = path, budget
        self.array: np.ndarray | None = None
        self.items: list[Any] | None = None

    def set_state(self, state: Any) -> None:
        """Takes NumPy's state ``(version, shape, dtype, fortran, bytes or list)``."""
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], PickledDtype):
            raise FormatError(self.path, "a pickled array with a state that NumPy does not write.")
        _, shape, dtype, fortran, raw = state
        if not dtype.is_object:
            self.array = array_of(self.path, raw, shape, dtype.dtype(), fortran, self._budget)
        elif isinstance(raw, list):
            self.items = raw
        else:
            raise FormatError(self.path, "a pickled array of objects without objects.")


def array_names(path: Path, budget: Budget) -> dict[str, Any]:
    """Gives the names that pickles of arrays, numbers and containers use, with what makes their instances."""

    def scalar(dtype: Any, raw: Any = "") -> Any:
        if not isinstance(dtype, PickledDtype) or dtype.is_object:
            raise FormatError(path, "a pickled number without a dtype.")
        return array_of(path, raw, (), dtype.dtype(), False, budget).item()

    def reconstruct(*_: Any) -> PickledArray:
        return PickledArray(path, budget)

    def from_buffer(raw: Any, dtype: Any, shape: Any, order: Any) -> PickledArray:
        array = PickledArray(path, budget)
        array.set_state((1, shape, dtype, isinstance(order, str) and order == "F", raw))
        return array

    def encode(text: Any, encoding: Any) -> bytes | memoryview:
        if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
            raise FormatError(path, "bytes of an unknown encoding in the pickle.")
        return text.encode("latin-1")

    def ordered(pairs: Any = ()) -> dict[Any, Any]:
        if not isinstance(pairs, list | tuple) or not all(
            isinstance(pair, list | tuple) and len(pair) == 2 and isinstance(pair[0], str | int) for pair in pairs
        ):
            raise FormatError(path, "an ordered dictionary of other than pairs in the pickle.")
        return {key: value for key, value in pairs}

    def as_set(items: Any = ()) -> list[Any]:
        if not isinstance(items, list | tuple):
            raise FormatError(path, "a set of other than a list in the pickle.")
        return list(items)

    def as_complex(real: Any, imaginary: Any) -> complex:
        return complex(float(real), float(imaginary))

    names: dict[str, Callable[..., Any] | str] = {
        "collections.OrderedDict": ordered,
        "_codecs.encode": encode,
        "numpy.dtype": lambda code, *_: PickledDtype(path, code),
        "numpy.ndarray": "numpy.ndarray",
    }
    for core in ("numpy.core", "numpy._core"):
        names |= {f"{core}.multiarray._reconstruct": reconstruct, f"{core}.multiarray.scalar": scalar}
        names |= {f"{core}.numeric._frombuffer": from_buffer}
    for builtins in ("builtins", "__builtin__"):
        names |= {f"{builtins}.set": as_set, f"{builtins}.complex": as_complex, f"{builtins}.bytes": lambda: b""}
    return names
