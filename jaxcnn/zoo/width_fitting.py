"""Finds the width multiplier that a weight file was written with."""

from collections.abc import Iterable, Mapping
from typing import Protocol, runtime_checkable

__all__ = ["ScaledNetwork", "fit_alpha"]


@runtime_checkable
class ScaledNetwork(Protocol):
    """A model with a width multiplier."""

    def widths(self) -> dict[str, int]:
        """Lists the filters of the layers that the multiplier makes wider or narrower."""
        ...

    def clone(self, *, alpha: float) -> "ScaledNetwork":
        """Returns the model with another multiplier."""
        ...


def fit_alpha(model: ScaledNetwork, stored: Mapping[str, int]) -> float | None:
    """Finds the width multiplier with which a model's layers have as many filters as those of a file.

    Of several it is 1, or the one with the fewest digits.

    Args:
        model: The model.
        stored: Layer to number of filters in the file; layers that the file lacks are left out.

    Returns:
        The multiplier, or None if none fits.
    """
    for alpha in _list_alphas():
        widths = model.clone(alpha=alpha).widths()
        if all(widths[layer] == filters for layer, filters in stored.items()):
            return alpha
    return None


def _list_alphas() -> Iterable[float]:
    """Lists multipliers from coarse to fine."""
    yield 1.0
    for digits, steps in ((20, 60), (100, 300), (1000, 3000), (2048, 6144)):
        for step in range(1, steps + 1):
            yield step / digits
