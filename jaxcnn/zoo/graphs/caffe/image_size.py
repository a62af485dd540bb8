"""The size of images that fits the weights of inner products, where the file does not state it."""

from collections.abc import Callable

from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.graphs.caffe.network import CaffeNetwork

__all__ = ["find_size"]

_LARGEST = 2048
_USUAL = (28, 32, 64, 96, 128, 160, 192, 224, 227, 256, 299, 320, 384, 512)


def find_size(build: Callable[[int], CaffeNetwork]) -> int | None:
    """Finds the height and width of images for which all inner products read what they have weights for.

    Of several sizes it is one of those in use, else the one of which windows leave the fewest pixels out, else the
    largest.

    Args:
        build: Builds the network for a size.

    Returns:
        The size, or None if none fits.
    """

    def compare(size: int) -> tuple[int, int]:
        """Returns -1, 0 or 1 for a size that is too small, right or too large, and the pixels left out."""
        try:
            network = build(size)
        except FormatError:
            return -1, 0
        signs = {
            0 if read is None or read == stored else 1 if read > stored else -1 for read, stored in network.fan_ins
        }
        return (1 if 1 in signs else -1 if -1 in signs else 0), network.remainder

    low, high = 1, _LARGEST
    while low < high:  # the largest size that is not too large
        middle = (low + high + 1) // 2
        low, high = (low, middle - 1) if compare(middle)[0] > 0 else (middle, high)
    fitting = []
    for size in range(low, max(low - 64, 0), -1):
        sign, remainder = compare(size)
        if sign != 0:
            break
        fitting.append((size not in _USUAL, remainder, -size))
    return -min(fitting)[2] if fitting else None
