"""The optional package ``jaxcnn-native`` of compiled CPU kernels: whether it is asked for, and its import."""

import importlib
import os
from types import ModuleType

__all__ = ["load", "wanted"]


def wanted() -> bool:
    """Tells if the environment variable ``JAXCNN_NATIVE`` asks for native kernels wherever there are some."""
    return os.environ.get("JAXCNN_NATIVE", "0") not in ("", "0")


def load(function: str) -> ModuleType:
    """Imports the package, which makes its kernels known to JAX.

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
