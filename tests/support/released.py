"""Compilation as users have it, for results that must be exact: the other tests skip most of the optimiser."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import jax

# What ``conftest.py`` of the root folder turns off.
OPTIONS: dict[str, Any] = {
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
}
if version("jaxlib").startswith("0.10."):
    OPTIONS["xla_cpu_use_fusion_emitters"] = True


def jit(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compiles a function with XLA's own settings."""
    return jax.jit(function, compiler_options=OPTIONS)
