"""The optional package ``jaxcnn-native`` of compiled CPU kernels: whether it was requested, and its import."""

import importlib
import os
from types import ModuleType

__all__ = ["import_kernels", "is_requested"]


def is_requested() -> bool:
    """Returns whether the environment variable ``JAXCNN_NATIVE`` requests native kernels wherever they exist."""
    return os.environ.get("JAXCNN_NATIVE", "0") not in ("", "0")


def import_kernels(function: str) -> ModuleType:
    """Imports the package, which registers its kernels with JAX.

    Raises:
        ValueError: If it is not installed.
    """
    try:
        return importlib.import_module("jaxcnn_native")
    except ImportError as error:
        raise ValueError(
            f'{function}: native kernels (JAXCNN_NATIVE=1 or implementation="native") need the package '
            "jaxcnn-native: pip install ./native in a clone of jaxcnn, or do without them."
        ) from error
