"""Sizes, strides, dilations and padding of a convolution, checked once."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from jaxcnn._check import check, check_positive_shape, is_size_at_least, repeat_per_axis, shape_text
from jaxcnn._typing import Padding, PerAxis
from jaxcnn.ops._padding import AXES, padding_pairs, same_padding

__all__ = ["ConvShape", "resolve_conv_shape"]

_NUMPY_MODES = {"REFLECT": "reflect", "CIRCULAR": "wrap"}  # of jnp.pad


@dataclasses.dataclass(frozen=True)
class ConvShape:
    """The static description of a convolution: the parameter of the primitives.

    Arrays are x (*x_mapped, *batch, *input_size, c), kernel (*mapped, *kernel_size, ., .) and output
    (*mapped, *batch, *output_size, .). The mapped axes are those along which ``vmap`` maps the kernel;
    ``x_is_mapped`` tells for each of them whether x is mapped, too. If not, all kernels along the axis see the same x.
    """

    input_size: tuple[int, ...]
    kernel_size: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]  # zeros
    input_dilation: tuple[int, ...]  # step between the pixels of x, with zeros in between
    x_is_mapped: tuple[bool, ...] = ()

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.input_size)

    @property
    def dilated_input_size(self) -> tuple[int, ...]:
        """Spatial shape of x with the zeros between its pixels."""
        return _dilate_size(self.input_size, self.input_dilation)

    @property
    def output_size(self) -> tuple[int, ...]:
        """Spatial shape of the output."""
        return tuple(
            (n + low + high - (k - 1) * d - 1) // s + 1
            for n, k, s, d, (low, high) in zip(
                self.dilated_input_size, self.kernel_size, self.strides, self.dilation, self.padding, strict=True
            )
        )

    @property
    def to_input_padding(self) -> tuple[tuple[int, int], ...]:
        """Padding of the output's gradient, dilated by ``strides``, for its convolution with the flipped kernel."""
        padding = []
        for n, k, o, s, d, (low, _) in zip(
            self.dilated_input_size,
            self.kernel_size,
            self.output_size,
            self.strides,
            self.dilation,
            self.padding,
            strict=True,
        ):
            reach = (k - 1) * d
            padding.append((reach - low, n - ((o - 1) * s + 1) + low))
        return tuple(padding)

    @property
    def to_kernel_padding(self) -> tuple[tuple[int, int], ...]:
        """Padding of x for its convolution with the output's gradient, dilated by ``strides``."""
        axes = zip(self.padding, self.to_input_padding, self.kernel_size, self.dilation, strict=True)
        return tuple((low, (k - 1) * d - after) for (low, _), (_, after), k, d in axes)


def resolve_conv_shape(
    function: str,
    x: jax.Array,
    kernel: jax.Array,
    *,
    strides: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    input_dilation: PerAxis = 1,
    argument: str = "kernel",
) -> tuple[jax.Array, ConvShape]:
    """Checks that image, kernel and options fit together; error messages call the kernel ``argument``.

    Returns:
        ``x``, already padded if the padding is not zeros, and the shape of the remaining convolution.
    """
    rank = kernel.ndim - 2
    names = AXES[rank]
    input_size, kernel_size = x.shape[-1 - rank : -1], kernel.shape[:rank]
    both = f"x {shape_text(x)} and {argument} {shape_text(kernel)}"
    check(0 not in input_size, function, "x", "at least one pixel along each spatial axis", both)
    check(0 not in kernel.shape, function, argument, "at least one weight along each axis", both)
    strides = check_positive_shape(function, "strides", repeat_per_axis(strides, rank), names)
    dilation = check_positive_shape(function, "dilation", repeat_per_axis(dilation, rank), names)
    input_dilation = check_positive_shape(function, "input_dilation", repeat_per_axis(input_dilation, rank), names)
    # With an input dilation it would be unclear which size "SAME" refers to.
    ambiguous = isinstance(padding, str) and padding == "SAME" and input_dilation != (1,) * rank
    check(not ambiguous, function, "padding", "given in numbers if input_dilation is not 1", repr(padding))
    mode, pairs = _resolve_padding(function, padding, input_size, kernel_size, strides, dilation, both)
    if mode != "zeros":
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1 - rank) + pairs + [(0, 0)], mode=_NUMPY_MODES[mode])
        input_size, pairs = x.shape[-1 - rank : -1], [(0, 0)] * rank
    conv = ConvShape(input_size, kernel_size, strides, dilation, tuple(pairs), input_dilation)
    fits = all(is_size_at_least(n, 1) for n in conv.output_size)
    check(fits, function, argument, f"no larger than the padded x, with dilation {dilation} and padding {pairs}", both)
    return x, conv


def _resolve_padding(
    function: str,
    padding: Padding,
    input_size: Sequence[int],
    kernel_size: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    both: str,
) -> tuple[str, list[tuple[int, int]]]:
    """Returns how to pad, ``"zeros"`` or a key of ``_NUMPY_MODES``, and by how much."""
    rank = len(input_size)
    widths = _dilate_size(kernel_size, dilation)
    expected = (
        f'"SAME", "VALID", "REFLECT", "CIRCULAR", "CAUSAL" (1-D), an integer or {rank} pairs of integers, at least 0'
    )
    if not isinstance(padding, str):
        return "zeros", padding_pairs(function, padding, rank, expected=expected)
    if padding == "VALID":
        return "zeros", [(0, 0)] * rank
    if padding == "SAME":
        return "zeros", same_padding(input_size, widths, strides)
    if padding == "CAUSAL" and rank == 1:
        return "zeros", [(widths[0] - 1, 0)]
    check(padding in _NUMPY_MODES, function, "padding", expected, repr(padding))
    pairs = [((w - 1) // 2, w // 2) for w in widths]
    limits = [n - 1 if padding == "REFLECT" else n for n in input_size]
    fits = all(is_size_at_least(n, max(pair)) for pair, n in zip(pairs, limits, strict=True))
    smaller = "smaller than x" if padding == "REFLECT" else "no larger than x"
    check(fits, function, "padding", f'{smaller} under "{padding}"', f"{pairs}, from {both} and dilation {dilation}")
    return padding, pairs


def _dilate_size(size: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Computes the size with ``dilation - 1`` positions inserted between neighbors."""
    return tuple((n - 1) * d + 1 for n, d in zip(size, dilation, strict=True))
