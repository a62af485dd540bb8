"""What the commands have in common: how an option shows its default."""

from typing import Any

import tyro

__all__ = ["option"]


def option(metavar: str | None, default: str) -> Any:
    """Describes an option whose default is worked out later, in words."""
    return tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {default})")
