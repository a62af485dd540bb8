"""Quantized constants, and the simulated quantization of training."""

import numpy as np

from jaxcnn.zoo.graphs.tensorflow.table import SourceNode

__all__ = ["dequantize", "nudge_range", "quantize_fake"]


def dequantize(node: SourceNode, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Evaluates Dequantize.

    Args:
        node: The node, for its mode and dtype.
        x: Integers.
        low: What the smallest of them means.
        high: What the largest of them means.

    Returns:
        Floating numbers, float32.

    Raises:
        ValueError: If the mode is unknown or the range is not one number per end.
    """
    mode, kind = node.text("mode", "MIN_COMBINED"), node.text("T", "quint8").removeprefix("q")
    if low.size != 1 or high.size != 1 or kind not in ("int8", "uint8", "int16", "uint16", "int32"):
        raise ValueError(f"it de-quantizes {kind} by ranges of the shapes {low.shape} and {high.shape}.")
    first, last = float(low.reshape(-1)[0]), float(high.reshape(-1)[0])
    info = np.iinfo(kind)
    values = x.astype(np.float64)
    if mode == "SCALED":
        narrow = node.flag("narrow_range", False)
        scale = max(abs(last) / info.max, abs(first) / abs(info.min + narrow) if info.min else 0.0)
        return (values * scale).astype(np.float32)
    if mode not in ("MIN_COMBINED", "MIN_FIRST"):
        raise ValueError(f"the mode must be MIN_COMBINED, MIN_FIRST or SCALED, got {mode!r}.")
    scale = (last - first) / (float(info.max) - float(info.min))
    if mode == "MIN_FIRST":
        first = np.round(first / scale) * scale if scale else first
    return ((values - float(info.min)) * scale + first).astype(np.float32)


def nudge_range(node: SourceNode, low: float, high: float) -> tuple[float, float, int]:
    """Moves the range of a simulated quantization so that 0 is one of its levels.

    Args:
        node: The node, for the number of bits.
        low: Smallest number.
        high: Largest number.

    Returns:
        Smallest and largest number, and the number of levels.

    Raises:
        ValueError: If there is no such range.
    """
    bits = node.integer("num_bits", 8)
    if not 2 <= bits <= 16 or not low < high or not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"it quantizes to {bits} bits between {low} and {high}.")
    least, most = float(node.flag("narrow_range", False)), float(2**bits - 1)
    scale = (high - low) / (most - least)
    zero = least - low / scale
    nudged = least if zero < least else most if zero > most else np.floor(zero + 0.5)
    return (least - nudged) * scale, (most - nudged) * scale, int(most - least) + 1


def quantize_fake(node: SourceNode, x: np.ndarray, *ends: np.ndarray) -> np.ndarray:
    """Evaluates a simulated quantization of a constant.

    Args:
        node: The node.
        x: The constant.
        *ends: Smallest and largest number, one each or one per entry of the last axis; none if the node states them.

    Returns:
        The rounded numbers, float32.

    Raises:
        ValueError: If the ranges do not fit.
    """
    if not ends:
        ends = (np.asarray(node.number("min", -6.0)), np.asarray(node.number("max", 6.0)))
    lows, highs = (np.broadcast_to(one.reshape(-1), (max(one.size for one in ends),)) for one in ends)
    if lows.size not in (1, x.shape[-1] if x.ndim else 1):
        raise ValueError(f"it has {lows.size} ranges for the shape {x.shape}.")
    ranges = np.array([nudge_range(node, float(low), float(high)) for low, high in zip(lows, highs, strict=True)])
    low, high, levels = ranges[:, 0], ranges[:, 1], ranges[0, 2]
    scale = (high - low) / (levels - 1)
    return (np.floor((np.clip(x, low, high) - low) / scale + 0.5) * scale + low).astype(np.float32)
