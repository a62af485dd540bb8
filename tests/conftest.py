"""Fixtures, and JAX at its strictest: no silent rank promotion, and in ops no silent dtype promotion."""

import contextlib
import importlib.util
from pathlib import Path

import hypothesis
import jax
import pytest

from tests.support.selection import times

hypothesis.settings.register_profile(
    "default",
    deadline=None,  # the first example compiles
    derandomize=True,
    max_examples=times(20),
    suppress_health_check=[hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.function_scoped_fixture],
)
hypothesis.settings.load_profile("default")

_TIMM = all(importlib.util.find_spec(name) for name in ("torchvision", "timm"))
collect_ignore = [] if _TIMM else ["models/timm_parity_test.py"]
"""What needs an optional package is left out where that is missing."""

OPS = Path(__file__).parent / "ops"


@pytest.fixture(autouse=True)
def _strict_promotion(request):
    """Ranks never promote silently; in the tests of ops dtypes do not either."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(jax.numpy_rank_promotion("raise"))
        if request.path.parent == OPS and not request.path.name.endswith("_parity_test.py"):
            stack.enter_context(jax.numpy_dtype_promotion("strict"))
        yield


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch):
    """What is printed depends on no terminal that the tests happen to run in."""
    monkeypatch.delenv("COLUMNS", raising=False)


@pytest.fixture
def key():
    """One typed key."""
    return jax.random.key(0)


@pytest.fixture
def getkey():
    """A function that gives a fresh key at every call, the same ones in every run."""
    count = iter(range(1_000_000))
    return lambda: jax.random.fold_in(jax.random.key(20), next(count))
