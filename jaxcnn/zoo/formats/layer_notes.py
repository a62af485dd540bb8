"""Notes on what a reader changed; layers with the same note share one line."""

__all__ = ["LayerNotes"]


class LayerNotes:
    """Collects notes about layers or tensors.

    Example:
        >>> from jaxcnn.zoo.formats.layer_notes import LayerNotes
        >>> notes = LayerNotes()
        >>> for name, groups in [("conv2", 2), ("conv4", 2), ("conv5", 4)]:
        ...     notes.add(name, "a grouped kernel; groups:", groups)
        >>> notes.lines()
        ['conv2 and 2 others: a grouped kernel; groups: 2 to 4']
    """

    def __init__(self) -> None:
        self._found: dict[str, list[tuple[str, int | float | None]]] = {}

    def add(self, name: str, text: str, value: int | float | None = None) -> None:
        """Adds a note.

        Args:
            name: The layer or tensor.
            text: The note; layers with the same text share one line.
            value: A number that follows the text; several become a range.
        """
        self._found.setdefault(text, []).append((name, value))

    def lines(self) -> list[str]:
        """Writes one line for each text, in the order of their first occurrence."""
        lines = []
        for text, found in self._found.items():
            others = f" and {len(found) - 1} other{'s' if len(found) > 2 else ''}" if len(found) > 1 else ""
            values = sorted({value for _, value in found if value is not None})
            numbers = [f" {values[0]:g}"] if values else []
            numbers += [f" to {values[-1]:g}"] if len(values) > 1 else []
            lines.append(f"{found[0][0]}{others}: {text}{''.join(numbers)}")
        return lines
