"""Dilation in the place of strides, for denser maps with the same weights."""

from collections.abc import Sequence

__all__ = ["dilate_strides"]


def dilate_strides(
    strides: Sequence[int], output_stride: int, *, before: int, own: bool = False
) -> list[tuple[int, int]]:
    """Replaces the strides beyond an output stride by dilation.

    A layer whose stride is left out keeps the dilation of the layers before it, as in slim: the layers behind it
    look at pixels further apart.

    Args:
        strides: Stride of each layer.
        output_stride: Pixels of the image per pixel of the last maps.
        before: Stride of all that is in front of these layers.
        own: Whether a layer whose stride is left out is dilated itself, as in torchvision's MobileNet v3.

    Returns:
        Stride and dilation of each layer.
    """
    found, reached, dilation = [], before, 1
    for stride in strides:
        if reached * stride > output_stride:
            found.append((1, dilation * stride if own else dilation))
            dilation *= stride
        else:
            found.append((stride, dilation))
            reached *= stride
    return found
