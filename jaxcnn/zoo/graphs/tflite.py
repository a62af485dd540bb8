"""Networks of TensorFlow Lite."""

from pathlib import Path

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.graphs.builder import GraphBuilder, ImportedNetwork

__all__ = ["import_tflite"]


def import_tflite(path: Path, checkpoint: Checkpoint) -> ImportedNetwork:
    """Imports a network of TensorFlow Lite.

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
