"""Finds the width multiplier that a weight file was written with."""

from collections.abc import Container, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

__all__ = ["ScaledNetwork", "fit_widths"]


@runtime_checkable
class ScaledNetwork(Protocol):
    """A model with a width multiplier."""

    def widths(self) -> dict[str, int]:
        """Lists the filters of the layers that the multiplier makes wider or narrower."""
        ...

    def clone(self, **options: Any) -> "ScaledNetwork":
        """Returns the model with other options."""
        ...


def fit_widths(model: ScaledNetwork, stored: Mapping[str, int], given: Container[str]) -> dict[str, Any]:
    """Finds the options with which a model's layers have as many filters as those of a file.

    Of several width multipliers that fit it is 1, or the one with the fewest digits.

    Args:
        model: The model.
        stored: Layer to number of filters in the file; layers that the file lacks are left out.
        given: Names of options that stay as they are.

    Returns:
        The options to change: ``alpha``, and ``scale_stem`` of MNASNet. Empty if the model fits as it is, or nothing
        does.
    """
    for changes in _list_changes(model, given):
        widths = model.clone(**changes).widths()
        if all(widths.get(layer) == filters for layer, filters in stored.items()):
            return changes
    return {}


def _list_changes(model: ScaledNetwork, given: Container[str]) -> Iterator[dict[str, Any]]:
    """Lists options to try, those of the model first."""
    stems = [{}]
    if hasattr(model, "scale_stem") and "scale_stem" not in given:
        stems.append({"scale_stem": not getattr(model, "scale_stem")})  # noqa: B009
    yield from stems
    if "alpha" not in given:
        yield from ({"alpha": alpha, **stem} for alpha in _list_alphas() for stem in stems)


def _list_alphas() -> Iterator[float]:
    """Lists multipliers from coarse to fine."""
    yield 1.0
    for digits, steps in ((20, 60), (100, 300), (1000, 3000), (2048, 6144)):
        for step in range(1, steps + 1):
            yield step / digits
