"""Chains of convolutions and parallel branches: the parts of the Inception networks, described as data."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.initializers import depthwise_variance_scaling
from jaxcnn.layers.convolution import Conv, SeparableConv
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._norms import KERAS_NORM, NormConstants
from jaxcnn.models._residual import add_shortcut

__all__ = [
    "VARIANTS",
    "Branch",
    "UnitChain",
    "Fork",
    "Mixed",
    "Pool",
    "Residual",
    "Separable",
    "Source",
    "Step",
    "Unit",
    "UnitVariant",
    "list_units",
]

Source = Literal["torchvision", "keras", "tensorflow"]
"""The implementations to match."""


class UnitVariant(NamedTuple):
    """Settings in which the sources' convolutions and pools differ."""

    norm: NormConstants
    use_scale: bool  # whether batch norm has a learned scale
    count_padding: bool  # whether average pools count the zeros of the padding


VARIANTS: Mapping[str, UnitVariant] = {
    "torchvision": UnitVariant(NormConstants(momentum=0.9, epsilon=1e-3), use_scale=True, count_padding=True),
    "keras": UnitVariant(KERAS_NORM, use_scale=False, count_padding=False),
    "tensorflow": UnitVariant(NormConstants(momentum=0.9997, epsilon=1e-3), use_scale=False, count_padding=False),
}


class Unit(NamedTuple):
    """A convolution, batch norm, ReLU."""

    filters: int
    size: tuple[int, int] = (1, 1)
    stride: int = 1
    padding: Literal["SAME", "VALID"] | int = "SAME"


class Separable(NamedTuple):
    """A separable convolution with a bias, ReLU."""

    filters: int
    size: tuple[int, int]
    stride: int
    multiplier: int


class Pool(NamedTuple):
    """A pool."""

    kind: Literal["max", "avg"]
    size: int = 3
    stride: int = 1
    padding: Literal["SAME", "VALID"] | int = "SAME"
    ceil_mode: bool = False


class Fork(NamedTuple):
    """Units side by side at the end of a branch."""

    units: tuple[Unit, ...]


Branch = tuple[Unit | Pool | Fork, ...]


class Mixed(NamedTuple):
    """Branches whose maps are concatenated."""

    branches: tuple[Branch, ...]


class Residual(NamedTuple):
    """Branches whose maps, concatenated, projected by a 1x1 convolution and scaled, are added to the input."""

    branches: tuple[Branch, ...]
    scale: float
    activate: bool = True  # whether ReLU follows the addition


Step = Unit | Separable | Pool | Fork | Mixed | Residual


def list_units(steps: Sequence[Step], path: str) -> Iterator[tuple[str, Unit]]:
    """Lists path and data of the convolutions of a chain, in order.

    Args:
        steps: The chain.
        path: Its path in the model.

    Yields:
        ``"stage3/block1/branch2/conv1"`` and the unit.
    """
    units = blocks = 0
    for step in steps:
        if isinstance(step, Unit):
            units += 1
            yield f"{path}/conv{units}", step
        elif isinstance(step, Fork):
            units += 1
            for letter, unit in zip("abcd", step.units, strict=False):
                yield f"{path}/conv{units}{letter}", unit
        elif isinstance(step, Mixed | Residual):
            blocks += 1
            for i, branch in enumerate(step.branches, 1):
                yield from list_units(branch, f"{path}/block{blocks}/branch{i}")


class UnitChain(nn.Module):
    """Convolutions, pools and blocks of branches, one after another.

    Args:
        steps: What they are.
        variant: What differs between sources.
        remat: Whether to compute activations of blocks again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    steps: tuple[Step, ...]
    variant: UnitVariant
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Float[AnyArray, "*b h w c"], train: bool = False, taps: list[Any] | None = None
    ) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the last step, and appends those of every block to ``taps``."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        y = jnp.asarray(x)
        units = blocks = 0
        for step in self.steps:
            if isinstance(step, Pool):
                y = self._pool(y, step)
            elif isinstance(step, Unit):
                units += 1
                y = self._convolve(y, step, str(units), train)
            elif isinstance(step, Separable):
                y = self._convolve_separably(y, step)
            elif isinstance(step, Fork):
                units += 1
                letters = zip("abcd", step.units, strict=False)
                y = jnp.concatenate([self._convolve(y, unit, f"{units}{a}", train) for a, unit in letters], -1)
            else:
                blocks += 1
                y = block(step, self.variant, name=f"block{blocks}", **dtypes)(y, train)
                if taps is not None:
                    taps.append(y)
        return y

    def _convolve(self, x: Array, unit: Unit, number: str, train: bool) -> Array:
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        conv = Conv(
            unit.filters,
            unit.size,
            unit.stride,
            padding=unit.padding,
            use_bias=False,
            kernel_init=_he,
            name=f"conv{number}",
            **dtypes,
        )
        norm = nn.BatchNorm(
            use_running_average=not train,
            use_scale=self.variant.use_scale,
            name=f"bn{number}",
            **self.variant.norm,
            **dtypes,
        )
        return nn.relu(norm(conv(x)))

    def _convolve_separably(self, x: Array, step: Separable) -> Array:
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        conv = SeparableConv(
            step.filters,
            step.size,
            depth_multiplier=step.multiplier,
            strides=step.stride,
            depthwise_init=_depthwise_he,
            pointwise_init=_he,
            name="sepconv1",
            **dtypes,
        )
        return nn.relu(conv(x))

    def _pool(self, x: Array, pool: Pool) -> Array:
        if pool.kind == "max":
            return ops.max_pool(x, pool.size, strides=pool.stride, padding=pool.padding, ceil_mode=pool.ceil_mode)
        return ops.avg_pool(
            x,
            pool.size,
            strides=pool.stride,
            padding=pool.padding,
            ceil_mode=pool.ceil_mode,
            count_include_pad=self.variant.count_padding,
        )


class Block(nn.Module):
    """Branches side by side: concatenated, or added to the input.

    Args:
        step: The branches.
        variant: What differs between sources.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    step: Mixed | Residual
    variant: UnitVariant
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the block."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        branches = enumerate(self.step.branches, 1)
        maps = [UnitChain(steps, self.variant, name=f"branch{i}", **dtypes)(x, train) for i, steps in branches]
        y = jnp.concatenate(maps, -1)
        if isinstance(self.step, Mixed):
            return y
        y = Conv(x.shape[-1], (1, 1), kernel_init=_he, name="project", **dtypes)(y)
        y = add_shortcut(y * self.step.scale, x)
        return nn.relu(y) if self.step.activate else y


_he = nn.initializers.he_normal()
_depthwise_he = depthwise_variance_scaling(2.0)
