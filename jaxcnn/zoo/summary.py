"""Summarizes what a checkpoint holds, as lines of text."""

from collections.abc import Mapping

from jaxcnn._check import check, is_integer_at_least
from jaxcnn.zoo.checkpoint import Checkpoint

__all__ = ["count_layers", "summarize"]


def summarize(checkpoint: Checkpoint, *, tensors: int = 20) -> list[str]:
    """Describes format, size, notes and first tensors of a checkpoint.

    Args:
        checkpoint: What ``read`` returned.
        tensors: How many tensors to list.

    Returns:
        Lines; characters of names that cannot be printed are replaced.

    Raises:
        ValueError: If ``tensors`` is negative.

    Example:
        >>> from jaxcnn.zoo import Checkpoint
        >>> from jaxcnn.zoo.summary import summarize
        >>> import numpy as np
        >>> kernel = np.ones((3, 3, 1, 8), np.float32)
        >>> metadata = {"format": "pytorch", "framework": "pytorch", "layouts": {"w": "OIHW"}, "notes": []}
        >>> for line in summarize(Checkpoint({"w": kernel}, metadata)):
        ...     print(line)
        format     pytorch
        framework  pytorch
        tensors    1, of 72 values in 288 bytes
        w  (3, 3, 1, 8)  float32  from OIHW
    """
    check(is_integer_at_least(tensors, 0), "summarize", "tensors", "an integer of at least 0", repr(tensors))
    arrays, metadata = checkpoint.tensors, checkpoint.metadata
    values, size = (sum(getattr(array, what) for array in arrays.values()) for what in ("size", "nbytes"))
    rows = [("format", metadata["format"]), ("framework", metadata["framework"])]
    rows.append(("tensors", f"{len(arrays):,}, of {values:,} values in {size:,} bytes"))
    if checkpoint.graph is not None:
        rows.append(("graph", f"{count_layers(checkpoint.graph):,} layers"))
    rows += [("note", note) for note in metadata.get("notes", [])]
    lines = [f"{title:<9}  {_printable(text)}" for title, text in rows]
    layouts = metadata.get("layouts", {})
    shown = [
        (_printable(name), str(array.shape), array.dtype.name, f"from {layouts[name]}" if name in layouts else "")
        for name, array in list(arrays.items())[:tensors]
    ]
    widths = [max((len(row[place]) for row in shown), default=0) for place in range(3)]
    for row in shown:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        lines.append("  ".join([*cells, row[3]]).rstrip())
    if len(arrays) > len(shown):
        lines.append(f"and {len(arrays) - len(shown):,} more")
    return lines


def count_layers(graph: object) -> int:
    """Counts the layers, nodes or operators of a checkpoint's graph, including those of nested models.

    Args:
        graph: The graph of any format: Caffe's and MatConvNet's layers, Keras's configuration, TensorFlow's nodes,
            TensorFlow Lite's subgraphs.

    Returns:
        Their number.

    Example:
        >>> from jaxcnn.zoo.summary import count_layers
        >>> count_layers({"layers": [{"type": "conv"}, {"type": "relu"}]})
        2
    """
    total = 0
    waiting = [graph]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            total += sum("operators" not in entry for entry in node if isinstance(entry, Mapping))
            waiting += [entry for entry in node if isinstance(entry, Mapping)]
        elif isinstance(node, Mapping):
            waiting += [node.get(key) for key in ("layers", "operators", "config")]
    return total


def _printable(text: object) -> str:
    shown = "".join(letter if letter.isprintable() else "?" for letter in str(text)[:1000])
    return shown.encode("utf-8", "replace").decode()
