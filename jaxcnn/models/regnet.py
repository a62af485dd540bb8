"""RegNet: a space of residual networks in which a linear function of the depth determines all widths."""

import functools
import itertools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.layers.convolution import Conv
from jaxcnn.layers.dropout import DropPath
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images
from jaxcnn.models._norms import TORCH_NORM
from jaxcnn.models._residual import BlockStage, add_shortcut, spread_drop_path
from jaxcnn.models._squeeze import SqueezeExcite
from jaxcnn.models._widths import round_to_multiple

__all__ = ["ARCHITECTURES", "RegNet"]


class RegNetBlock(nn.Module):
    """A 1x1, a grouped 3x3 and a 1x1 convolution of the same width, with a shortcut around them.

    Args:
        filters: Channels of all three.
        stride: Stride of the 3x3 convolution.
        group_width: Channels of each of its groups.
        squeezed: Share of the input's channels that squeeze and excitation behind it has; 0 leaves it out.
        drop_path: Probability of dropping the branch.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    filters: int
    stride: int
    group_width: int
    squeezed: float = 0.0
    drop_path: float = 0.0
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the block."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = functools.partial(nn.BatchNorm, use_running_average=not train, **TORCH_NORM, **dtypes)
        conv = functools.partial(Conv, self.filters, use_bias=False, kernel_init=_he, **dtypes)
        x = jnp.asarray(x)
        y = nn.relu(norm(name="bn1")(conv((1, 1), name="conv1")(x)))
        groups = self.filters // self.group_width
        y = conv((3, 3), self.stride, padding=1, feature_group_count=groups, name="conv2")(y)
        y = nn.relu(norm(name="bn2")(y))
        if self.squeezed:
            y = SqueezeExcite(round(self.squeezed * x.shape[-1]), name="se", **dtypes)(y)
        y = norm(name="bn3")(conv((1, 1), name="conv3")(y))
        if self.stride != 1 or x.shape[-1] != self.filters:
            x = norm(name="shortcut_bn")(conv((1, 1), self.stride, name="shortcut")(x))
        y = DropPath(self.drop_path, name="drop_path")(y, train=train) if self.drop_path else y
        return nn.relu(add_shortcut(y, x))


class Stage(NamedTuple):
    """What the blocks of a stage have in common."""

    blocks: int
    width: int
    group_width: int


class RegNet(nn.Module):
    """RegNet: a 3x3 convolution at stride 2, and stages of residual blocks whose 3x3 convolutions are grouped.

    Block j is ``initial_width + slope * j`` wide, rounded to ``initial_width`` times a power of ``factor``, then to a
    multiple of 8; blocks of one width are a stage, which strides. With squeeze and excitation it is a RegNetY, without
    a RegNetX.

    Convention:
        The tree: ``conv1`` and ``bn1``, then ``stage2/block1/conv1`` and so on, ``se/reduce`` and ``se/expand``,
        ``shortcut`` for projections, ``head``. torchvision's ``trunk_output.block2.block2-0.f.a`` is
        ``stage2/block1/conv1``.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        depth: Number of blocks.
        initial_width: Width of the first block before rounding, a multiple of 8.
        slope: What every block adds to it.
        factor: Smallest ratio of the widths of two stages, about.
        group_width: Channels per group of the 3x3 convolutions.
        squeezed: Channels of squeeze and excitation, as a share of the block's input's; 0 leaves it out.
        stem: Filters of the first convolution.
        drop_path: Probability of dropping the last block's branch; of earlier ones proportionally less.
        dropout: Rate of dropout before the head.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If ``initial_width`` is no multiple of 8, ``slope`` is negative or ``factor`` not above 1.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("regnet_y_400mf", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        4344144

    Parity:
        Logits equal ``torchvision.models.regnet_y_400mf`` and so on, axes moved.

    References:
        Radosavovic et al. 2020, "Designing network design spaces", arXiv:2003.13678, section 3.3 and tables of the
        appendix.
    """

    num_classes: int | None = 10
    depth: int = 16
    initial_width: int = 48
    slope: float = 27.89
    factor: float = 2.09
    group_width: int = 8
    squeezed: float = 0.0
    stem: int = 32
    drop_path: float = 0.0
    dropout: float = 0.0
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def table(self) -> list[Stage]:
        """Lists the stages."""
        stages = []
        powers = [
            round(math.log(1 + self.slope * j / self.initial_width) / math.log(self.factor)) for j in range(self.depth)
        ]
        for power, blocks in itertools.groupby(powers):
            width = 8 * round(self.initial_width * self.factor**power / 8)
            group_width = min(self.group_width, width)
            stages.append(Stage(len(list(blocks)), round_to_multiple(width, group_width), group_width))
        return stages

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        width = self.initial_width
        multiple = is_integer_at_least(width, 8) and width % 8 == 0
        check(multiple, "regnet", "initial_width", "a positive multiple of 8", width)
        check(self.slope >= 0, "regnet", "slope", "at least 0", self.slope)
        check(self.factor > 1, "regnet", "factor", "above 1", self.factor)
        check_images("regnet", x)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        norm = nn.BatchNorm(use_running_average=not train, name="bn1", **TORCH_NORM, **dtypes)
        y = Conv(self.stem, (3, 3), 2, 1, use_bias=False, kernel_init=_he, name="conv1", **dtypes)(x)
        y = nn.relu(norm(y))
        stages = self.table()
        rates = spread_drop_path(self.drop_path, [stage.blocks for stage in stages])
        for i, stage in enumerate(stages):
            options: dict[str, Any] = {
                "filters": stage.width,
                "group_width": stage.group_width,
                "squeezed": self.squeezed,
                **dtypes,
            }
            blocks = [{**options, "stride": 2 if j == 0 else 1, "drop_path": rate} for j, rate in enumerate(rates[i])]
            y = BlockStage(RegNetBlock, blocks, self.remat, name=f"stage{i + 1}")(y, train)
        return pool_and_classify(y, self.num_classes, dropout=self.dropout, train=train, **dtypes)


_he = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


def _make(
    depth: int, initial_width: int, slope: float, factor: float, group_width: int, squeezed: float = 0.0
) -> dict[str, Any]:
    return {
        "depth": depth,
        "initial_width": initial_width,
        "slope": slope,
        "factor": factor,
        "group_width": group_width,
        "squeezed": squeezed,
    }


ARCHITECTURES: Mapping[str, Architecture] = {
    "regnet_x_400mf": Architecture(RegNet, _make(22, 24, 24.48, 2.54, 16), 5_495_976),
    "regnet_x_800mf": Architecture(RegNet, _make(16, 56, 35.73, 2.28, 16), 7_259_656),
    "regnet_x_1_6gf": Architecture(RegNet, _make(18, 80, 34.01, 2.25, 24), 9_190_136),
    "regnet_x_3_2gf": Architecture(RegNet, _make(25, 88, 26.31, 2.25, 48), 15_296_552),
    "regnet_x_8gf": Architecture(RegNet, _make(23, 80, 49.56, 2.88, 120), 39_572_648),
    "regnet_x_16gf": Architecture(RegNet, _make(22, 216, 55.59, 2.1, 128), 54_278_536),
    "regnet_x_32gf": Architecture(RegNet, _make(23, 320, 69.86, 2.0, 168), 107_811_560),
    "regnet_y_400mf": Architecture(RegNet, _make(16, 48, 27.89, 2.09, 8, 0.25), 4_344_144),
    "regnet_y_800mf": Architecture(RegNet, _make(14, 56, 38.84, 2.4, 16, 0.25), 6_432_512),
    "regnet_y_1_6gf": Architecture(RegNet, _make(27, 48, 20.71, 2.65, 24, 0.25), 11_202_430),
    "regnet_y_3_2gf": Architecture(RegNet, _make(21, 80, 42.63, 2.66, 24, 0.25), 19_436_338),
    "regnet_y_8gf": Architecture(RegNet, _make(17, 192, 76.82, 2.19, 56, 0.25), 39_381_472),
    "regnet_y_16gf": Architecture(RegNet, _make(18, 200, 106.23, 2.48, 112, 0.25), 83_590_140),
    "regnet_y_32gf": Architecture(RegNet, _make(20, 232, 115.89, 2.53, 232, 0.25), 145_046_770),
    "regnet_y_128gf": Architecture(RegNet, _make(27, 456, 160.83, 2.52, 264, 0.25), 644_812_894),
}
"""The named networks."""
