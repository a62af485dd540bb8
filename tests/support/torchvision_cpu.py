"""Imports torchvision beside a PyTorch without CUDA.

Its wheel holds compiled operators for CUDA; its networks are plain Python. Installed by
``pip install --no-deps torchvision``, it can be imported once the operators that it describes are declared.
"""

import importlib
import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

__all__ = ["import_torchvision", "require_torchvision"]


def import_torchvision() -> ModuleType:
    """Returns the module, or raises ImportError where it or PyTorch is not installed."""
    import torch

    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        raise ImportError("torchvision is not installed")
    described = (Path(spec.origin).parent / "_meta_registrations.py").read_text()
    names = sorted(set(re.findall(r'register_fake\("torchvision::(\w+)"\)', described)))
    if not hasattr(torch.ops.torchvision, names[0]):
        library = torch.library.Library("torchvision", "DEF")
        for name in names:
            library.define(f"{name}(Tensor x) -> Tensor")
        _KEPT.append(library)  # it declares the operators for as long as it lives
    return importlib.import_module("torchvision")


def require_torchvision() -> ModuleType:
    """Returns the module, or skips the test where it or PyTorch is not installed."""
    pytest.importorskip("torch")
    try:
        return import_torchvision()
    except ImportError as error:
        pytest.skip(str(error))


_KEPT: list[object] = []
