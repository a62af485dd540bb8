"""What every test and example runs under: eight fake CPU devices, quick compilation and a cache of it."""

import gc
import os
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
# Most of the time goes into compiling programs that run once. With less optimisation results agree to rounding:
# XLA's passes rewrite programs as ever, only the machine code comes unoptimised, in one piece, and from its older
# emitters where this jaxlib still has them, in half the time. Tests of exact results also compile as users do, see
# ``tests/support/released.py``.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
os.environ["XLA_FLAGS"] = " ".join(
    [
        "--xla_cpu_use_fusion_emitters=false" * version("jaxlib").startswith("0.10."),
        "--xla_cpu_parallel_codegen_split_count=1",
        os.environ.get("XLA_FLAGS", ""),  # of what is given twice the last holds
        "--xla_force_host_platform_device_count=8",
    ]
)

import pytest

from tests.support.compilation_cache import CompilationCache

pytest_plugins = ["pytester", "tests.support.selection"]

# Tracing allocates so much, and next to no garbage in cycles, that collecting it took a seventh of all the time.
gc.set_threshold(10_000, 20, 50)

CACHE = CompilationCache(Path(__file__).parent / ".jax_cache")


@pytest.fixture(autouse=True, scope="module")
def _bounded_memory():
    yield
    CACHE.relieve()


def pytest_collection_finish():
    """Leaves modules and tests out of every later search for garbage."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure():
    """Leaves what was compiled to later runs."""
    CACHE.close()


# Scripts that write fixtures, with frameworks that need not be there. Collecting them would also put their folder, with
# subfolders of these frameworks' names, where modules are looked for.
collect_ignore_glob = ["tests/fixtures/*"]
