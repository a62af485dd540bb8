"""What every reader of weight files returns, and the error that it raises."""

import dataclasses
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcnn._representation import short_repr, summary_html

__all__ = ["MAX_BYTES", "Checkpoint", "FormatError", "WeightFormat"]

MAX_BYTES = 4 << 30
"""How many bytes of tensors a file may hold, by default."""

SHOWN = 20
"""Tensors that a notebook shows of a checkpoint."""


class FormatError(ValueError):
    """A file that is truncated, corrupt, hostile, unsupported or of another format: ``path: reason``."""

    def __init__(self, path: str | os.PathLike[str], reason: str):
        """Joins path and reason."""
        super().__init__(f"{os.fspath(path)}: {reason}")
        self.path = os.fspath(path)
        self.reason = reason

    def __reduce__(self) -> tuple[type["FormatError"], tuple[str, str]]:
        """Pickles both arguments; an exception would pickle only its message."""
        return type(self), (self.path, self.reason)


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The content of one weight file.

    Attributes:
        tensors: Name to array, in the order of the file and under its names. Kernels of convolutions are
            (kh, kw, in, out), depthwise ones (kh, kw, c, m), kernels of dense layers (in, out).
        metadata: ``"format"`` and ``"framework"``; ``"layouts"``: name to the axis order in the file, such as
            ``"OIHW"``, for each tensor whose axes were moved; ``"notes"``: what was left out or changed, in words;
            and whatever else the file states about itself.
        graph: The network as the file describes it, or None if it carries weights only.
    """

    tensors: Mapping[str, np.ndarray]
    metadata: Mapping[str, Any]
    graph: Any = None

    def __repr__(self) -> str:
        """Describes it in one line; arrays by their shapes."""
        return short_repr(self)

    def _repr_html_(self) -> str:
        """Builds a table of the tensors for notebooks."""
        values = sum(array.size for array in self.tensors.values())
        rows = [(name, array.shape, array.dtype) for name, array in list(self.tensors.items())[:SHOWN]]
        more = [(f"and {len(self.tensors) - SHOWN:,} more", "", "")] if len(self.tensors) > SHOWN else []
        title = f"Checkpoint: {self.metadata.get('format')}, {len(self.tensors):,} tensors, {values:,} values"
        return summary_html(title, [("tensor", "shape", "dtype"), *rows, *more])


class WeightFormat(NamedTuple):
    """One format that ``zoo.read`` knows.

    Attributes:
        name: For messages and notes.
        matches: ``matches(path, head)`` tests whether a path whose file begins with the bytes ``head`` is of it.
        read: ``read(path, max_bytes=...)`` reads such a file.
    """

    name: str
    matches: Callable[[Path, bytes], bool]
    read: Callable[..., Checkpoint]
