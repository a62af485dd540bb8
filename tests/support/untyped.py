"""For tests that use values in ways that the type checker cannot follow or rightly refuses."""

from typing import Any


def untyped(value: object) -> Any:
    """Returns the value as it is and hides its type from the type checker, to pass a wrong one on purpose."""
    return value
