"""JSON in weight files, parsed within bounds."""

import json
from typing import Any

from jaxcnn.zoo.containers.source_file import SourceFile

__all__ = ["parse_json"]

_NESTED_COST, _ITEM_COST = 80, 32  # bytes of Python's objects


def parse_json(source: SourceFile, text: str | bytes, *, unique: bool = False) -> Any:
    """Parses JSON; what its lists and items will take is counted before.

    Args:
        source: The file.
        text: The text.
        unique: Whether a name that occurs twice in an object is an error.

    Returns:
        What ``json.loads`` returns.

    Raises:
        FormatError: If its parts take more memory than those of real files.
        ValueError: If it is not JSON.
        RecursionError: If it is nested too deeply.

    Example:
        >>> from jaxcnn.zoo.containers.json_text import parse_json
        >>> from jaxcnn.zoo.containers.source_file import SourceFile
        >>> parse_json(SourceFile("example"), '{"layers": [1, 2]}')
        {'layers': [1, 2]}
    """
    decoded = text if isinstance(text, str) else text.decode("utf-8")
    nested = decoded.count("[") + decoded.count("{")
    source.spend_objects(_NESTED_COST * nested + _ITEM_COST * decoded.count(","))
    return json.loads(decoded, object_pairs_hook=_unique_pairs if unique else None)


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) != len(pairs):
        raise ValueError("a name occurs twice")
    return dict(pairs)
