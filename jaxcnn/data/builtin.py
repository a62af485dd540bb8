"""Images that come with a dependency, for use without a network."""

from typing import Any, Literal

import numpy as np

from jaxcnn._check import check, check_choice, is_integer_at_least
from jaxcnn._typing import Float, Int
from jaxcnn.data.shuffling import permute_range

__all__ = ["digits"]

_TEST_IMAGES = 360  # of 1797; leaves 1437 for training


def digits(
    *, size: int = 20, split: Literal["train", "test"] = "train", seed: int = 0
) -> tuple[Float[np.ndarray, "n size size c=1"], Int[np.ndarray, " n"]]:
    """Returns the handwritten digits of scikit-learn, resized.

    The 1797 images of 8 x 8 pixels are split into 1437 for training and 360 for testing, stratified by
    class, and resized bilinearly. The split ignores writers: the data set does not name them. Both are
    shuffled, so that the first images of either are of all classes.

    Convention:
        Values 0 to 16 become [0, 1]; white strokes on black. Pixels are squares (half-pixel centers,
        border pixels repeated), so ``size=8`` gives the original values.

    Args:
        size: Height and width of the result.
        split: ``"train"`` (1437 images) or ``"test"`` (360).
        seed: Determines the split and the order; use the same seed for both splits.

    Returns:
        Images in float32 and labels in int32.

    Raises:
        ValueError: If an option is out of range.

    Example:
        >>> from jaxcnn import data
        >>> images, labels = data.digits(split="test")
        >>> images.shape, labels.shape
        ((360, 20, 20, 1), (360,))

    References:
        E. Alpaydin, C. Kaynak, "Optical Recognition of Handwritten Digits", UCI repository, 1998.
    """
    check_choice("digits", "split", split, ("train", "test"))
    check(is_integer_at_least(size, 1), "digits", "size", "a positive integer", repr(size))
    check(
        is_integer_at_least(seed, 0) and seed < 2**64,
        "digits",
        "seed",
        "an integer in [0, 2**64)",
        repr(seed),
    )
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    images, labels = np.asarray(bunch["images"]), np.asarray(bunch["target"])
    chosen = _split_stratified(labels, _TEST_IMAGES, seed)[split == "train"]
    weights = _bilinear_weights(images.shape[1], size)
    resized = np.einsum("ih,nhw,jw->nij", weights, images[chosen] / 16.0, weights)
    return np.clip(resized, 0, 1).astype(np.float32)[..., None], labels[chosen].astype(np.int32)


def _split_stratified(labels: np.ndarray, test_count: int, seed: int) -> tuple[np.ndarray, ...]:
    """Divides 0 .. n - 1 into test and training indices with equal shares of every class."""
    n = len(labels)
    order = permute_range(n, seed)
    counts = np.bincount(labels)
    exact = counts * test_count / n
    quota = np.floor(exact).astype(int)
    # The places that rounding down leaves go to the largest remainders.
    quota[np.argsort(quota - exact, kind="stable")[: test_count - quota.sum()]] += 1
    shuffled = labels[order]
    rank = np.zeros(n, int)
    for label in range(len(counts)):
        rank[shuffled == label] = np.arange(counts[label])
    in_test = rank < quota[shuffled]
    # Shuffled once more: at the beginning of the order nearly all images of the rare classes go to the test set.
    return tuple(part[permute_range(len(part), seed, 1)] for part in (order[in_test], order[~in_test]))


def _bilinear_weights(size_in: int, size_out: int) -> np.ndarray:
    """Returns the (size_out, size_in) matrix of linear interpolation between pixel centers."""
    position = (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
    pixels = np.arange(size_in)
    return np.stack([np.interp(position, pixels, row) for row in np.eye(size_in)], axis=1)
