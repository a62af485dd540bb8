"""Hints about mistyped names."""

import re
from collections.abc import Iterable

__all__ = ["suggest"]

_MOST = 2
"""Slips of the keyboard in a long name."""

_LONGEST = 100
"""Letters of a name that is compared letter by letter."""

_COMPARED = 5000
"""Names that are compared letter by letter: files have hundreds of thousands."""

_PART = 4
"""Characters of a part that stands for a whole name."""


def suggest(name: object, known: Iterable[str], most: int = 3) -> str:
    """Writes a hint with the names that were probably meant, to be appended to a message.

    A name was probably meant if what was typed is a part of it, or differs from it by one slip of the keyboard (two
    from ten letters on). Case, hyphens, underscores and spaces do not count. Names of the same kind often share
    an ending, so similarity alone suggests nothing: ``resnet`` is not a mistyped ``lenet``.

    Args:
        name: What was typed.
        known: The names that exist.
        most: The largest number of names to suggest.

    Returns:
        For example ``" (did you mean 'lenet'?)"``; empty if no name is close.
    """
    typed, slips, parts = _simplify(str(name)), [], []
    compared = 0
    for one in known:
        simple = _simplify(one)
        if typed == simple:
            return f" (did you mean {_quote(one)}?)"
        near = abs(len(typed) - len(simple)) <= _MOST and len(simple) <= _LONGEST and compared < _COMPARED
        compared += near
        if near and (count := _distance(typed, simple)) <= _allowed(typed, simple):
            slips.append((count, one))
        elif len(typed) >= _PART and typed in simple:
            parts.append((len(simple), one))
    found = [one for _, one in sorted(slips or parts, key=lambda pair: pair[0])][:most]
    return f" (did you mean {' or '.join(map(_quote, found))}?)" if found else ""


def _quote(name: str) -> str:
    return name if name.startswith("-") else repr(name)


def _simplify(name: str) -> str:
    return re.sub(r"[-_ ]", "", name.lower())


def _allowed(typed: str, name: str) -> int:
    """Returns how many slips of the keyboard names of this length may have."""
    longer = max(len(typed), len(name))
    return 0 if longer < 4 else 1 if longer < 10 else _MOST


def _distance(a: str, b: str) -> int:
    """Counts the insertions, deletions, substitutions and swaps of neighbors between two words."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a):
        older, before = before, row
        row = [i + 1]
        for j, y in enumerate(b):
            swapped = i > 0 and j > 0 and x == b[j - 1] and y == a[i - 1]
            choices = [before[j + 1] + 1, row[j] + 1, before[j] + (x != y)]
            row.append(min([*choices, older[j - 1] + 1] if swapped else choices))
    return row[-1]
