"""What data objects say of themselves, for ``run.json``."""

from typing import Any, Protocol, runtime_checkable

__all__ = ["SelfDescribing"]


@runtime_checkable
class SelfDescribing(Protocol):
    """Data that know where they come from."""

    def describe(self) -> dict[str, Any]:
        """Returns JSON values: ``"kind"`` and what else tells where the examples come from.

        ``"classes"`` are the names of the classes. ``"preprocessing"`` is what makes an input of a picture:
        ``"size"`` [h, w], ``"channels"``, ``"fit"``, ``"value_range"`` and, where values are standardized, ``"mean"``
        and ``"std"``.
        """
        ...
