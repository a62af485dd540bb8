"""Networks of TensorFlow."""

from pathlib import Path

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.graphs.builder import GraphBuilder, ImportedNetwork

__all__ = ["import_tensorflow"]


def import_tensorflow(path: Path, checkpoint: Checkpoint) -> ImportedNetwork:
    """Imports a network of TensorFlow.

    Args:
        path: The file.
        checkpoint: Its content.

    Returns:
        The network.

    Raises:
        FormatError: If it is inconsistent or has unknown operations.
    """
    builder = GraphBuilder(path, checkpoint.tensors)
    return builder.finish([])
