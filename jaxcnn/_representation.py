"""Short texts for ``repr`` and notebooks: arrays by dtype and shape, trees of arrays by their counts."""

import dataclasses
import html
import reprlib
from collections.abc import Mapping, Sequence

import jax
import jax.core
import numpy as np

from jaxcnn._check import shape_text
from jaxcnn._typing import PyTree

__all__ = ["short_repr", "shorten", "summary_html"]

_ITEMS = 4
"""Items of a sequence or a mapping that are shown."""

_LENGTH = 120
"""Characters of a part that is shown as it is."""


def short_repr(instance: object) -> str:
    """Describes a dataclass by its fields, on one line of a few hundred characters.

    Numbers and short texts are shown as they are, arrays by dtype and shape, trees of arrays by the number of arrays
    and of values, long sequences by their ends and length.

    Args:
        instance: An instance of a dataclass.

    Returns:
        The text.

    Example:
        >>> import dataclasses
        >>> import numpy as np
        >>> from jaxcnn._representation import short_repr
        >>> Pair = dataclasses.make_dataclass("Pair", ["params", "loss"])
        >>> short_repr(Pair({"kernel": np.ones((3, 3)), "bias": np.ones(3)}, 0.25))
        'Pair(params={2 arrays, 12 values}, loss=0.25)'
    """
    fields = dataclasses.fields(instance) if dataclasses.is_dataclass(instance) else ()
    parts = [f"{field.name}={shorten(getattr(instance, field.name))}" for field in fields if field.repr]
    return f"{type(instance).__name__}({', '.join(parts)})"


def summary_html(title: str, rows: Sequence[Sequence[object]]) -> str:
    """Builds a small table for a notebook; the first row holds the names of the columns.

    Args:
        title: The line above.
        rows: Cells, converted to escaped text.

    Returns:
        HTML.
    """
    cells = [
        "".join(f'<{tag} style="text-align: left">{html.escape(str(cell))}</{tag}>' for cell in row)
        for tag, row in zip(["th", *["td"] * (len(rows) - 1)], rows, strict=True)
    ]
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<div><b>{html.escape(title)}</b><table>{body}</table></div>"


def shorten(value: object) -> str:
    """Describes a value as ``short_repr`` describes fields."""
    if isinstance(value, float | np.floating):
        return f"{value:.4g}"
    if isinstance(value, jax.Array | np.ndarray):
        return _shorten_array(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _cut(repr(value), 4 * _LENGTH)
    if isinstance(value, Mapping | tuple | list):
        counts = _count_arrays(value)
        if counts is not None and (isinstance(value, Mapping) or counts[0] > 1 or hasattr(value, "_fields")):
            return f"{{{counts[0]:,} array{'s' * (counts[0] != 1)}, {counts[1]:,} values}}"
        return _shorten_items(value)
    return _cut(reprlib.repr(value) if isinstance(value, str) else repr(value), _LENGTH)


def _shorten_array(array: jax.Array | np.ndarray) -> str:
    """Returns the value of a number, dtype and shape of anything else, also of what has no value any more."""
    lost = isinstance(array, jax.core.Tracer) or (
        isinstance(array, jax.Array) and (array.is_deleted() or not array.is_fully_addressable)
    )
    number = array.ndim == 0 and isinstance(array.dtype, np.dtype) and array.dtype.kind in "biuf"
    return shorten(array.item()) if number and not lost else shape_text(array)


def _shorten_items(value: Mapping[object, object] | Sequence[object]) -> str:
    if isinstance(value, Mapping):
        shown = [f"{key!r}: {shorten(item)}" for key, item in list(value.items())[:_ITEMS]]
        more = [f"... {len(value):,} items"] if len(value) > _ITEMS else []
        return f"{{{', '.join([*shown, *more])}}}"
    short = len(value) <= _ITEMS
    shown = [shorten(item) for item in (value if short else value[:1])]
    inside = ", ".join(shown if short else [*shown, f"... {len(value):,} items"])
    if isinstance(value, tuple):
        return f"({inside}{',' * (len(value) == 1)})"
    return f"[{inside}]"


def _count_arrays(tree: PyTree) -> tuple[int, int] | None:
    """Returns the numbers of arrays and of their values, None for a tree with other leaves or without arrays."""
    leaves = jax.tree.leaves(tree)
    shaped = [leaf for leaf in leaves if isinstance(leaf, jax.Array | np.ndarray | jax.ShapeDtypeStruct)]
    large = any(leaf.ndim for leaf in shaped)
    return (len(shaped), sum(leaf.size for leaf in shaped)) if large and len(shaped) == len(leaves) else None


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 20]} ... {text[-14:]}"
