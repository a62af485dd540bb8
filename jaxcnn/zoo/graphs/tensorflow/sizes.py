"""Sizes of axes that are known only when a network runs, as polynomials of the batch and of unknown sizes."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Union

__all__ = ["BATCH", "Dimension", "SymbolicSize", "divide_exactly", "round_up", "simplify"]

Dimension = Union[int, "SymbolicSize"]
Monomial = tuple[str, ...]

_MAX_TERMS = 64
_MAX_TEXT = 4096


class SymbolicSize:
    """A polynomial of symbols, such as ``batch * 8732`` or ``height - 2``.

    Quotients that are not exact become symbols that are named by what they are, so that equal expressions are equal.

    Args:
        terms: Symbols, sorted, to their factor.
    """

    def __init__(self, terms: Mapping[Monomial, Fraction]):
        self.terms = {key: value for key, value in sorted(terms.items()) if value}
        if len(self.terms) > _MAX_TERMS or sum(map(len, self.symbols())) > _MAX_TEXT:
            raise ValueError("a size is computed in too many steps.")

    @classmethod
    def symbol(cls, name: str) -> "SymbolicSize":
        """Returns the size of a name."""
        return cls({(name,): Fraction(1)})

    def symbols(self) -> set[str]:
        """Returns the names of the symbols."""
        return {name for key in self.terms for name in key}

    def __repr__(self) -> str:
        """Prints the polynomial."""
        parts = [
            "*".join([*([str(factor)] if factor != 1 or not key else []), *key]) for key, factor in self.terms.items()
        ]
        return f"({'+'.join(parts)})" if len(parts) != 1 else parts[0]

    def __eq__(self, other: object) -> bool:
        """Compares the polynomials."""
        return isinstance(other, SymbolicSize) and self.terms == other.terms

    def __hash__(self) -> int:
        """Hashes the polynomial."""
        return hash(tuple(self.terms.items()))

    def __add__(self, other: Dimension) -> Dimension:
        """Adds."""
        terms = dict(self.terms)
        for key, value in _terms(other).items():
            terms[key] = terms.get(key, Fraction(0)) + value
        return simplify(SymbolicSize(terms))

    def __radd__(self, other: Dimension) -> Dimension:
        """Adds."""
        return self + other

    def __neg__(self) -> Dimension:
        """Changes the sign."""
        return simplify(SymbolicSize({key: -value for key, value in self.terms.items()}))

    def __sub__(self, other: Dimension) -> Dimension:
        """Subtracts."""
        return self + -other

    def __rsub__(self, other: Dimension) -> Dimension:
        """Subtracts."""
        return -self + other

    def __mul__(self, other: Dimension) -> Dimension:
        """Multiplies."""
        terms: dict[Monomial, Fraction] = {}
        for key, value in self.terms.items():
            for second, factor in _terms(other).items():
                joined = tuple(sorted((*key, *second)))
                terms[joined] = terms.get(joined, Fraction(0)) + value * factor
        return simplify(SymbolicSize(terms))

    def __rmul__(self, other: Dimension) -> Dimension:
        """Multiplies."""
        return self * other

    def __floordiv__(self, other: Dimension) -> Dimension:
        """Divides, rounding down."""
        exact = divide_exactly(self, other)
        return SymbolicSize.symbol(f"({self!r}//{other!r})") if exact is None else exact

    def __rfloordiv__(self, other: int) -> Dimension:
        """Divides, rounding down."""
        return SymbolicSize.symbol(f"({other!r}//{self!r})")

    def __mod__(self, other: Dimension) -> Dimension:
        """Returns the rest of a division."""
        return 0 if divide_exactly(self, other) is not None else SymbolicSize.symbol(f"({self!r}%{other!r})")

    __truediv__ = __floordiv__


BATCH = SymbolicSize.symbol("batch")
"""The number of examples."""


def _terms(value: Dimension) -> Mapping[Monomial, Fraction]:
    return value.terms if isinstance(value, SymbolicSize) else {(): Fraction(int(value))}


def simplify(value: Dimension) -> Dimension:
    """Converts a polynomial without symbols to a number."""
    if isinstance(value, SymbolicSize) and not value.symbols():
        number = value.terms.get((), Fraction(0))
        if number.denominator != 1:
            raise ValueError(f"a size is {number}.")
        return int(number)
    return value


def divide_exactly(value: Dimension, by: Dimension) -> Dimension | None:
    """Divides, or returns None if the quotient is not known to be a whole number.

    Args:
        value: What is divided.
        by: The divisor; of several terms only where the quotient is a number.

    Returns:
        The quotient.

    Example:
        >>> from jaxcnn.zoo.graphs.tensorflow.sizes import BATCH, divide_exactly
        >>> divide_exactly(BATCH * 12, BATCH * 4), divide_exactly(BATCH, 2)
        (3, None)
    """
    terms, divisor = _terms(value), _terms(by)
    if not any(divisor.values()):
        return None
    if value == by:
        return 1
    if len(divisor) > 1:
        first = next(iter(divisor))
        factor = terms.get(first, Fraction(0)) / divisor[first]
        whole = factor.denominator == 1 and factor and terms == {key: one * factor for key, one in divisor.items()}
        return int(factor) if whole else None
    (symbols, number), *_ = divisor.items()
    result: dict[Monomial, Fraction] = {}
    for key, factor in terms.items():
        left = list(key)
        for name in symbols:
            if name not in left:
                return None
            left.remove(name)
        if (factor / number).denominator != 1:
            return None
        result[tuple(left)] = factor / number
    return simplify(SymbolicSize(result))


def round_up(value: Dimension, by: int) -> Dimension:
    """Divides, rounding up."""
    return -((-value) // by)
