"""Inception v2: the network of the batch norm paper, with pairs of 3x3 convolutions for 5x5 ones."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._check import check
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._branches import VARIANTS, Mixed, Pool, Separable, Step, Unit, UnitChain
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images

__all__ = ["ARCHITECTURES", "InceptionV2"]


class ModuleRow(NamedTuple):
    """Filters of a module; without a 1x1 convolution it halves height and width."""

    one: int | None
    reduce_three: int
    three: int
    reduce_double: int
    double: int
    pooled: int | None = None
    max_pool: bool = False  # in the place of the average


_MODULES: tuple[tuple[ModuleRow, ...], ...] = (
    # slim's Mixed_3b to 3c, 4a to 4e, 5a to 5c
    (
        ModuleRow(64, 64, 64, 64, 96, 32),
        ModuleRow(64, 64, 96, 64, 96, 64),
    ),
    (
        ModuleRow(None, 128, 160, 64, 96),
        ModuleRow(224, 64, 96, 96, 128, 128),
        ModuleRow(192, 96, 128, 96, 128, 128),
        ModuleRow(160, 128, 160, 128, 160, 96),
        ModuleRow(96, 128, 192, 160, 192, 96),
    ),
    (
        ModuleRow(None, 128, 192, 192, 256),
        ModuleRow(352, 192, 320, 160, 224, 128),
        ModuleRow(352, 192, 320, 192, 224, 128, max_pool=True),
    ),
)


class InceptionV2(nn.Module):
    """Inception v2 (BN-Inception) as TF-slim has it: a separable and two other convolutions, and ten modules.

    Convention:
        The first module of stages 4 and 5 halves height and width. ``Mixed_4b`` of slim is ``stage4/block2``; its
        branches ``branch1`` to ``branch4`` have ``conv1``, ``bn1``, ``conv2`` and so on. The first convolution,
        ``stage1/sepconv1``, has a bias and no batch norm.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        alpha: Width multiplier: every number of filters is multiplied by it, then rounded down.
        min_filters: The least number of filters of a convolution.
        stem: Filters of the three convolutions, before ``alpha``.
        modules: Filters of the modules of stages 3 to 5, before ``alpha``: the 1x1 convolution (None in modules that
            halve height and width), the 1x1 and the 3x3 one of the second branch, those of the third branch, which
            has two 3x3 convolutions, the one behind the pool, and whether that takes the maximum.
        dropout: Rate of dropout before the head.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is wrong.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("tensorflow/inception_v2", num_classes=1001)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        11179361

    Parity:
        Logits equal TF-slim's ``inception_v2``, for images in [-1, 1] up to the size of its pooling window, 224 x 224
        pixels.

    References:
        Ioffe & Szegedy 2015, "Batch normalization: accelerating deep network training by reducing internal covariate
        shift", arXiv:1502.03167, figure 5.
    """

    num_classes: int | None = 10
    alpha: float = 1.0
    min_filters: int = 16
    stem: tuple[int, int, int] = (64, 64, 192)
    modules: Sequence[Sequence[ModuleRow]] = _MODULES
    dropout: float = 0.2
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def table(self) -> list[tuple[Step, ...]]:
        """Lists the steps of every stage."""
        check(len(self.modules) == 3, "inception_v2", "modules", "those of three stages", len(self.modules))
        first, second, wide = (self._scale_width(filters) for filters in self.stem)
        third, fourth, fifth = (tuple(self._list_branches(ModuleRow(*row)) for row in stage) for stage in self.modules)
        pool = Pool("max", 3, 2)
        return [
            (Separable(first, (7, 7), 2, multiplier=max(min(first // 3, 8), 1)),),
            (pool, Unit(second), Unit(wide, (3, 3))),
            (pool, *third),
            fourth,
            fifth,
        ]

    def _list_branches(self, row: ModuleRow) -> Mixed:
        width = self._scale_width
        stride = 2 if row.one is None else 1
        second = (Unit(width(row.reduce_three)), Unit(width(row.three), (3, 3), stride))
        double = width(row.double)
        third = (Unit(width(row.reduce_double)), Unit(double, (3, 3)), Unit(double, (3, 3), stride))
        if row.one is None or row.pooled is None:
            return Mixed((second, third, (Pool("max", 3, 2),)))
        last = (Pool("max" if row.max_pool else "avg"), Unit(width(row.pooled)))
        return Mixed(((Unit(width(row.one)),), second, third, last))

    def _scale_width(self, filters: int) -> int:
        return max(int(filters * self.alpha), self.min_filters)

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check(self.alpha > 0, "inception_v2", "alpha", "above 0", self.alpha)
        check_images("inception_v2", x)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        y = jnp.asarray(x)
        for i, steps in enumerate(self.table(), 1):
            y = UnitChain(steps, VARIANTS["tensorflow"], self.remat, name=f"stage{i}", **dtypes)(y, train)
        return pool_and_classify(y, self.num_classes, dropout=self.dropout, train=train, **dtypes)


ARCHITECTURES: Mapping[str, Architecture] = {
    "tensorflow/inception_v2": Architecture(InceptionV2, {}, 11_179_361, classes=1001),
}
"""The named networks."""
