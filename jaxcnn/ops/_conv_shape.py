"""Where the taps of a convolution lie: strides, dilations and zero padding, checked once."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from jaxcnn._check import check, check_positive_shape, repeat_per_axis, shape_text
from jaxcnn.ops._padding import AXES, padding_pairs, same_padding

__all__ = ["Geometry", "place"]

_MODES = {"REFLECT": "reflect", "CIRCULAR": "wrap"}


@dataclasses.dataclass(frozen=True)
class Geometry:
    """One convolution, all of it static: the parameter of the primitives.

    Arrays are x (*own, *batch, *size, c), kernel (*shared, *kernel, ., .) and output
    (*shared, *batch, *outputs, .). The shared axes are those that ``vmap`` has mapped over kernels;
    ``shared`` tells of each whether x has it, too. Without it all kernels of the axis see one x.
    """

    size: tuple[int, ...]
    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]  # zeros
    input_dilation: tuple[int, ...]  # step between the pixels of x, zeros in between
    shared: tuple[bool, ...] = ()

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.size)

    @property
    def spread(self) -> tuple[int, ...]:
        """Spatial shape of x with the zeros between its pixels."""
        return _spread(self.size, self.input_dilation)

    @property
    def outputs(self) -> tuple[int, ...]:
        """Spatial shape of the output."""
        return tuple(
            (n + low + high - (k - 1) * d - 1) // s + 1
            for n, k, s, d, (low, high) in zip(
                self.spread, self.kernel, self.strides, self.dilation, self.padding, strict=True
            )
        )

    @property
    def adjoint_padding(self) -> tuple[tuple[int, int], ...]:
        """Zeros around the output's gradient, ``strides - 1`` zeros between its entries, before the flipped kernel."""
        padding = []
        for n, k, o, s, d, (low, _) in zip(
            self.spread, self.kernel, self.outputs, self.strides, self.dilation, self.padding, strict=True
        ):
            reach = (k - 1) * d
            padding.append((reach - low, n - ((o - 1) * s + 1) + low))
        return tuple(padding)

    @property
    def kernel_padding(self) -> tuple[tuple[int, int], ...]:
        """Zeros around x where the output's gradient slides over it, its taps ``strides`` apart, for the kernel's."""
        ends = zip(self.padding, self.adjoint_padding, self.kernel, self.dilation, strict=True)
        return tuple((low, (k - 1) * d - after) for (low, _), (_, after), k, d in ends)


def place(
    function: str,
    x: jax.Array,
    kernel: Any,
    strides: Any,
    padding: Any,
    dilation: Any,
    argument: str,
    input_dilation: Any = 1,
) -> tuple[jax.Array, Geometry]:
    """Checks how image and kernel, which messages call ``argument``, fit together.

    Returns:
        ``x``, padded where the padding is not of zeros, and the geometry of what is left to do.
    """
    rank = kernel.ndim - 2
    names = AXES[rank]
    size, taps = x.shape[-1 - rank : -1], kernel.shape[:rank]
    both = f"x {shape_text(x)} and {argument} {shape_text(kernel)}"
    check(0 not in size, function, "x", "at least one pixel along each spatial axis", both)
    check(0 not in kernel.shape, function, argument, "at least one weight along each axis", both)
    steps = check_positive_shape(function, "strides", repeat_per_axis(strides, rank), names)
    gaps = check_positive_shape(function, "dilation", repeat_per_axis(dilation, rank), names)
    between = check_positive_shape(function, "input_dilation", repeat_per_axis(input_dilation, rank), names)
    same = isinstance(padding, str) and padding == "SAME"  # as x or as what is spread?
    check(
        not same or between == (1,) * rank,
        function,
        "padding",
        "given in numbers if input_dilation is not 1",
        repr(padding),
    )
    widths = _spread(taps, gaps)
    mode, pads = _padding(function, padding, size, widths, steps, gaps, both)
    if mode != "zeros":
        x = jnp.pad(x, [(0, 0)] * (x.ndim - 1 - rank) + pads + [(0, 0)], mode=_MODES[mode])
        size, pads = x.shape[-1 - rank : -1], [(0, 0)] * rank
    geometry = Geometry(size, taps, steps, gaps, tuple(pads), between)
    fits = all(n > 0 for n in geometry.outputs)
    check(fits, function, argument, f"no larger than the padded x, with dilation {gaps} and padding {pads}", both)
    return x, geometry


def _padding(
    function: str,
    padding: Any,
    size: Sequence[int],
    widths: Sequence[int],
    strides: Sequence[int],
    dilation: Sequence[int],
    both: str,
) -> tuple[str, list[tuple[int, int]]]:
    rank = len(size)
    expected = (
        f'"SAME", "VALID", "REFLECT", "CIRCULAR", "CAUSAL" (1-D), an integer or {rank} pairs of integers, at least 0'
    )
    if isinstance(padding, str):
        if padding == "VALID":
            return "zeros", [(0, 0)] * rank
        if padding == "SAME":
            return "zeros", same_padding(size, widths, strides)
        if padding == "CAUSAL" and rank == 1:
            return "zeros", [(widths[0] - 1, 0)]
        check(padding in _MODES, function, "padding", expected, repr(padding))
        pads = [((w - 1) // 2, w // 2) for w in widths]
        limit = [n - 1 if padding == "REFLECT" else n for n in size]
        fits = all(max(pair) <= n for pair, n in zip(pads, limit, strict=True))
        smaller = "smaller than x" if padding == "REFLECT" else "no larger than x"
        check(fits, function, "padding", f'{smaller} under "{padding}"', f"{pads}, from {both} and dilation {dilation}")
        return padding, pads
    return "zeros", padding_pairs(function, padding, rank, expected=expected)


def _spread(size: Sequence[int], dilation: Sequence[int]) -> tuple[int, ...]:
    """Gives the size with ``dilation - 1`` zeros between the pixels."""
    return tuple((n - 1) * d + 1 for n, d in zip(size, dilation, strict=True))
