"""Networks of Caffe."""

import os
from pathlib import Path

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.graphs.builder import GraphBuilder, ImportedNetwork

__all__ = ["import_caffe"]


def import_caffe(path: Path, checkpoint: Checkpoint, *, graph: str | os.PathLike[str] | None = None) -> ImportedNetwork:
    """Imports a network of Caffe.

    Args:
        path: The file.
        checkpoint: Its content.
        graph: The prototxt of the network.

    Returns:
        The network.

    Raises:
        FormatError: If it is inconsistent or has unknown operations.
    """
    builder = GraphBuilder(path, checkpoint.tensors)
    return builder.finish([])
