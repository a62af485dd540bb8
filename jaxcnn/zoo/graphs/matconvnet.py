"""Networks of MatConvNet."""

from pathlib import Path

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.graphs.builder import GraphBuilder, ImportedNetwork

__all__ = ["import_matconvnet"]


def import_matconvnet(path: Path, checkpoint: Checkpoint) -> ImportedNetwork:
    """Imports a network of MatConvNet.

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
