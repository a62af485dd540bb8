"""NumPy's arrays and Python's containers as the restricted unpickler builds them."""

import re
from typing import Any

import numpy as np

from jaxcnn.zoo.containers.mapped_file import copy_in_pieces
from jaxcnn.zoo.containers.source_file import SourceFile

__all__ = ["OBJECT_CODES", "PickledArray", "PickledDtype", "array_constructors", "copy_array", "parse_dtype"]

_NUMERIC = re.compile(r"[<>=|]?(?:[biufc]\d{1,2}|[?bBhHiIlLqQefdFD])")
_TEXTS = re.compile(r"[<>=|]?[SU]\d{1,6}")
OBJECT_CODES = ("O", "O4", "O8", "|O")
"""NumPy's codes of arrays of Python objects."""


def parse_dtype(source: SourceFile, code: str, what: str) -> np.dtype[Any]:
    """Parses the code that NumPy writes for a dtype of numbers, booleans or texts; ``O`` and records are refused."""
    if _NUMERIC.fullmatch(code) or _TEXTS.fullmatch(code):
        try:
            return np.dtype(code)
        except TypeError:
            pass
    hint = "; NumPy writes bfloat16 like this, save it as float32" if code.endswith("V2") else ""
    raise source.error(f"{what} has dtype {code[:60]!r}: neither numbers nor texts{hint}.")


def copy_array(source: SourceFile, raw: object, shape: object, dtype: np.dtype[Any], *, fortran: object) -> np.ndarray:
    """Copies the bytes of an array into a new one, C-contiguous, writable and in native byte order.

    Raises:
        FormatError: If ``raw`` does not hold the bytes of ``shape``, or the budget does not suffice.
    """
    if isinstance(raw, str):
        raw = raw.encode("latin-1")
    if not isinstance(raw, bytes | memoryview) or not isinstance(shape, tuple) or len(shape) > 32:
        raise source.error("a pickled array without shape or bytes.")
    if not all(type(size) is int for size in shape):
        raise source.error("a pickled array without shape or bytes.")
    source.spend_tensor(shape, dtype, "an array", stored=len(raw))
    # Arrays of booleans may hold no bytes but 0 and 1.
    flat = np.frombuffer(raw, np.uint8) if dtype.kind == "b" else np.frombuffer(raw, dtype)
    view = flat.reshape(shape, order="F" if fortran else "C")
    array = np.empty(shape, dtype.newbyteorder("="))
    copy_in_pieces(view, array, raw if isinstance(raw, memoryview) else None)
    return array


def _is_plain_key(key: object) -> bool:
    """Tests for texts and for integers whose hashes differ."""
    return isinstance(key, str) or (isinstance(key, int) and abs(key) < 1 << 60)


class PickledDtype:
    """A dtype being unpickled: its code, and the byte order that its state sets."""

    def __init__(self, source: SourceFile, code: object):
        """Takes NumPy's code, such as ``"f4"``."""
        if not isinstance(code, str):
            raise source.error("a pickled dtype without a code.")
        self.source, self.code, self.byte_order = source, code, ""

    def set_state(self, state: object) -> None:
        """Takes NumPy's state ``(version, order, subdtype, names, fields, size, alignment, flags)``."""
        if not isinstance(state, tuple) or len(state) < 5 or not isinstance(state[1], str) or len(state[1]) != 1:
            raise self.source.error("a pickled dtype with a state that NumPy does not write.")
        if any(part is not None for part in state[2:5]):
            raise self.source.error("an array of records; arrays of numbers are read.")
        self.byte_order = state[1] if state[1] in "<>" else ""

    @property
    def is_object(self) -> bool:
        """Whether arrays of it hold Python objects."""
        return self.code in OBJECT_CODES

    def dtype(self) -> np.dtype[Any]:
        """Returns NumPy's dtype."""
        return parse_dtype(self.source, self.byte_order + self.code.lstrip("<>=|"), "a pickled array")


class PickledArray:
    """An array being unpickled: after its state came, an array, or a list if its elements are objects."""

    def __init__(self, source: SourceFile):
        """Makes an array without a state."""
        self.source = source
        self.array: np.ndarray | None = None
        self.items: list[Any] | None = None

    def set_state(self, state: object) -> None:
        """Takes NumPy's state ``(version, shape, dtype, fortran, bytes or list)``."""
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], PickledDtype):
            raise self.source.error("a pickled array with a state that NumPy does not write.")
        _, shape, dtype, fortran, raw = state
        if not dtype.is_object:
            self.array = copy_array(self.source, raw, shape, dtype.dtype(), fortran=fortran)
        elif isinstance(raw, list):
            self.items = raw
        else:
            raise self.source.error("a pickled array of objects without objects.")

    @property
    def content(self) -> np.ndarray | list[Any] | None:
        """The array, or the list of its objects."""
        return self.array if self.array is not None else self.items


def array_constructors(source: SourceFile) -> dict[str, object]:
    """Returns the names that pickles of arrays, numbers and containers use, with what builds their instances."""

    def scalar(dtype: object, raw: object = "") -> object:
        if not isinstance(dtype, PickledDtype) or dtype.is_object:
            raise source.error("a pickled number without a dtype.")
        return copy_array(source, raw, (), dtype.dtype(), fortran=False).item()

    def reconstruct(*_: object) -> PickledArray:
        return PickledArray(source)

    def from_buffer(raw: object, dtype: object, shape: object, order: object) -> PickledArray:
        array = PickledArray(source)
        array.set_state((1, shape, dtype, isinstance(order, str) and order == "F", raw))
        return array

    def encode(text: object, encoding: object) -> bytes:
        if encoding not in ("latin1", "latin-1") or not isinstance(text, str):
            raise source.error("bytes of an unknown encoding in the pickle.")
        return text.encode("latin-1")

    def ordered_dict(pairs: object = ()) -> dict[str | int, object]:
        if not isinstance(pairs, list | tuple) or not all(
            isinstance(pair, list | tuple) and len(pair) == 2 and _is_plain_key(pair[0]) for pair in pairs
        ):
            raise source.error("an ordered dictionary of something other than pairs in the pickle.")
        return {key: value for key, value in pairs}

    def as_set(items: object = ()) -> list[object]:
        if not isinstance(items, list | tuple):
            raise source.error("a set of something other than a list in the pickle.")
        return list(items)

    def counter(counts: object = None) -> dict[str | int, object]:
        if not isinstance(counts, dict | None):
            raise source.error("a counter of something other than a dictionary in the pickle.")
        return counts or {}

    def byte_array(content: object = b"", encoding: object = "latin-1") -> object:
        return encode(content, encoding) if isinstance(content, str) else as_bytes(content)

    def as_bytes(content: object) -> object:
        if not isinstance(content, bytes | memoryview):
            raise source.error("bytes of something other than bytes in the pickle.")
        return content

    def as_complex(real: float, imaginary: float) -> complex:
        return complex(float(real), float(imaginary))

    names: dict[str, object] = {
        "collections.OrderedDict": ordered_dict,
        "collections.Counter": counter,
        "_codecs.encode": encode,
        "numpy.dtype": lambda code, *_: PickledDtype(source, code),
        "numpy.ndarray": "numpy.ndarray",
    }
    for core in ("numpy.core", "numpy._core"):
        names |= {f"{core}.multiarray._reconstruct": reconstruct, f"{core}.multiarray.scalar": scalar}
        names |= {f"{core}.numeric._frombuffer": from_buffer}
    for builtins in ("builtins", "__builtin__"):
        names |= {
            f"{builtins}.set": as_set,
            f"{builtins}.bytearray": byte_array,
            f"{builtins}.complex": as_complex,
            f"{builtins}.bytes": lambda: b"",
        }
    return names
