"""Permutations that depend on their seeds only: not on NumPy's version, not on the order of calls."""

import numpy as np

__all__ = ["permute_range"]


def permute_range(n: int, *numbers: int) -> np.ndarray:
    """Returns a permutation of ``0 .. n - 1`` that up to two non-negative ``numbers`` (< 2**64) determine.

    NumPy promises the raw stream of a bit generator for all versions, but not what
    ``Generator.permutation`` makes of it; hence the sort of raw 64-bit numbers.
    """
    key = np.array([*numbers, 0, 0][:2], np.uint64)
    return np.argsort(np.random.Philox(key=key).random_raw(n), kind="stable")
