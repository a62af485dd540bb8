"""Numbers of filters."""

__all__ = ["round_to_multiple"]


def round_to_multiple(width: float | int, divisor: int) -> int:
    """Rounds ``width`` to the nearest multiple of ``divisor`` that is positive and at least nine tenths of it."""
    rounded = max(divisor, int(width + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * width else rounded
