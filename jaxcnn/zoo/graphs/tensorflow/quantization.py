"""Quantized constants, and the simulated quantization of training."""

import numpy as np

from jaxcnn.zoo.graphs.tensorflow.table import SourceNode

__all__ = ["dequantize", "quantize_fake", "read_ranges"]


def dequantize(node: SourceNode, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Evaluates Dequantize.

    Args:
        node: The node, for its mode and dtype.
        x: Integers.
        low: What the smallest of them means, one number or one per entry of an axis.
        high: What the largest of them means.

    Returns:
        Floating numbers, float32.

    Raises:
        ValueError: If the mode is unknown or the ranges do not fit.
    """
    mode, kind, axis = node.text("mode", "MIN_COMBINED"), node.text("T", "quint8").removeprefix("q"), -1
    if low.size > 1:
        axis = node.integer("axis", -1)
        fits = 0 <= axis < x.ndim and low.size == high.size == x.shape[axis] and mode != "MIN_FIRST"
    else:
        fits = low.size == high.size == 1
    if not fits or kind not in ("int8", "uint8", "int16", "uint16", "int32"):
        raise ValueError(f"it de-quantizes {kind} by ranges of the shapes {low.shape} and {high.shape}.")
    shape = [-1 if at == axis else 1 for at in range(x.ndim)]
    first, last = (end.astype(np.float64).reshape(shape if axis >= 0 else ()) for end in (low, high))
    info = np.iinfo(kind)
    values = x.astype(np.float64)
    if mode == "SCALED":
        narrow = node.flag("narrow_range", False)
        scale = np.maximum(np.abs(last) / info.max, np.abs(first) / abs(info.min + narrow) if info.min else 0.0)
        return (values * scale).astype(np.float32)
    if mode not in ("MIN_COMBINED", "MIN_FIRST"):
        raise ValueError(f"the mode must be MIN_COMBINED, MIN_FIRST or SCALED, got {mode!r}.")
    scale = (last - first) / (float(info.max) - float(info.min))
    if mode == "MIN_FIRST":
        lowest = np.float32(first) / np.float32(scale or 1)  # in float32, as halves are frequent
        first = np.copysign(np.floor(np.abs(lowest) + np.float32(0.5)), lowest) * scale
    return ((values - float(info.min)) * scale + first).astype(np.float32)


def read_ranges(node: SourceNode, *ends: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Reads the ranges of a simulated quantization, moved so that 0 is one of their levels.

    Args:
        node: The node, for the number of bits.
        *ends: Smallest and largest number, one each or one per channel; none if the node states them.

    Returns:
        Smallest and largest numbers, one or one per channel, and the number of levels.

    Raises:
        ValueError: If there is no such range.
    """
    if not ends:
        ends = (np.asarray(node.number("min", -6.0)), np.asarray(node.number("max", 6.0)))
    lows, highs = (one.reshape(-1).astype(np.float64) for one in ends)
    bits, least = node.integer("num_bits", 8), int(node.flag("narrow_range", False))
    finite = lows.shape == highs.shape and np.isfinite(lows).all() and np.isfinite(highs).all()
    if not 2 <= bits <= 16 or not finite or not (lows < highs).all():
        raise ValueError(f"it quantizes to {bits} bits between {lows[:4]} and {highs[:4]}.")
    most = 2**bits - 1
    scale = (highs - lows) / (most - least)
    nudged = np.clip(np.floor(least - lows / scale + 0.5), least, most)
    return (least - nudged) * scale, (most - nudged) * scale, most - least + 1


def quantize_fake(node: SourceNode, x: np.ndarray, *ends: np.ndarray) -> np.ndarray:
    """Evaluates a simulated quantization of a constant.

    Args:
        node: The node.
        x: The constant.
        *ends: As of ``read_ranges``.

    Returns:
        The rounded numbers, float32.

    Raises:
        ValueError: If the ranges do not fit.
    """
    low, high, levels = read_ranges(node, *ends)
    if low.size not in (1, x.shape[-1] if x.ndim else 1):
        raise ValueError(f"it has {low.size} ranges for the shape {x.shape}.")
    scale = (high - low) / (levels - 1)
    return (np.floor((np.clip(x, low, high) - low) / scale + 0.5) * scale + low).astype(np.float32)
