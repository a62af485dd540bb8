"""How contract tests compare results."""

from typing import Any

import jax
import numpy as np


def close(got: Any, want: Any, tolerance: float = 1e-5) -> None:
    """Compares trees by max|difference| / max|reference|."""
    for value, true in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        value, true = np.asarray(value, np.float64), np.asarray(true, np.float64)
        np.testing.assert_allclose(value, true, rtol=0, atol=tolerance * max(np.abs(true).max(), 1e-3))
