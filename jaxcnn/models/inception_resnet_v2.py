"""Inception-ResNet v2: residual blocks whose branches are those of Inception."""

from collections.abc import Mapping, Sequence
from typing import Literal

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._check import check, check_choice, is_integer_at_least
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._auxiliary import AuxiliaryHead
from jaxcnn.models._branches import VARIANTS, Branch, Mixed, Pool, Residual, Step, Unit, UnitChain
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images

__all__ = ["ARCHITECTURES", "InceptionResNetV2"]

_DROPOUT = {"keras": 0.0, "tensorflow": 0.2}


class InceptionResNetV2(nn.Module):
    """Inception-ResNet v2: five convolutions, three modules of branches, and 10, 20 and 10 residual blocks.

    Convention:
        - Maps of stage i have about one pixel per 2**i pixels of the image. The first block of stages 3 to 5 is
          ``Mixed_5b``, ``Mixed_6a`` and ``Mixed_7a`` of slim; the residual ones follow: ``block35_1`` is
          ``stage3/block2``, with ``branch1`` to ``branch3`` and ``project``. The last one is scaled by 1 and has no
          ReLU. ``stage6/conv1`` is the 1x1 convolution at the end.
        - ``variant`` states whose constants batch norm has, and whose rate dropout.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        variant: ``"keras"`` or ``"tensorflow"`` (slim).
        alpha: Width multiplier: every number of filters is multiplied by it, then rounded down.
        min_filters: The least number of filters of a convolution.
        blocks: Number of residual blocks of stages 3 to 5.
        auxiliary: Whether to have the auxiliary classifier behind stage 4. In training its logits are sown as
            ``auxiliary_logits`` into the collection ``"intermediates"``; images must then be large enough for it.
        dropout: Rate of dropout before the head; None is the variant's default.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is wrong, or the image is below 75 x 75 pixels.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("inception_resnet_v2", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 299, 299, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        55813192

    Parity:
        Logits equal ``keras.applications.InceptionResNetV2(classifier_activation=None)``, where pixels are in
        [-1, 1], and TF-slim's ``inception_resnet_v2``.

    References:
        Szegedy et al. 2016, "Inception-v4, Inception-ResNet and the impact of residual connections on learning",
        arXiv:1602.07261, figures 15 to 19.
    """

    num_classes: int | None = 10
    variant: Literal["keras", "tensorflow"] = "keras"
    alpha: float = 1.0
    min_filters: int = 1
    blocks: Sequence[int] = (10, 20, 10)
    auxiliary: bool = False
    dropout: float | None = None
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def table(self) -> list[tuple[Step, ...]]:
        """Lists the steps of every stage."""
        possible = len(self.blocks) == 3 and all(is_integer_at_least(n, 1) for n in self.blocks)
        check(possible, "inception_resnet_v2", "blocks", "three positive integers", tuple(self.blocks))
        unit, pool = self._unit, Pool("max", 3, 2, "VALID")
        row, column, square, wide = (1, 7), (7, 1), (3, 3), (5, 5)
        short_row, short_column = (1, 3), (3, 1)
        third = (
            (unit(96),),
            (unit(48), unit(64, wide)),
            (unit(64), unit(96, square), unit(96, square)),
            (Pool("avg"), unit(64)),
        )
        fourth = (
            (unit(384, square, 2),),
            (unit(256), unit(256, square), unit(384, square, 2)),
            (pool,),
        )
        fifth = (
            (unit(256), unit(384, square, 2)),
            (unit(256), unit(288, square, 2)),
            (unit(256), unit(288, square), unit(320, square, 2)),
            (pool,),
        )
        a: tuple[Branch, ...] = (
            (unit(32),),
            (unit(32), unit(32, square)),
            (unit(32), unit(48, square), unit(64, square)),
        )
        b: tuple[Branch, ...] = ((unit(192),), (unit(128), unit(160, row), unit(192, column)))
        c: tuple[Branch, ...] = ((unit(192),), (unit(192), unit(224, short_row), unit(256, short_column)))
        first = (unit(32, square, 2), Unit(self._scale_width(32), square, 1, "VALID"), unit(64, square))
        second = (pool, unit(80), Unit(self._scale_width(192), square, 1, "VALID"))
        return [
            first,
            second,
            (pool, Mixed(third), *[Residual(a, 0.17)] * self.blocks[0]),
            (Mixed(fourth), *[Residual(b, 0.1)] * self.blocks[1]),
            (Mixed(fifth), *[Residual(c, 0.2)] * (self.blocks[2] - 1), Residual(c, 1.0, activate=False)),
            (unit(1536),),
        ]

    def _unit(self, filters: int, size: tuple[int, int] = (1, 1), stride: int = 1) -> Unit:
        """Describes a convolution; at stride 2 it is not padded."""
        return Unit(self._scale_width(filters), size, stride, "SAME" if stride == 1 else "VALID")

    def _scale_width(self, filters: int) -> int:
        return max(int(filters * self.alpha), self.min_filters)

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("inception_resnet_v2", "variant", self.variant, tuple(_DROPOUT))
        check(self.alpha > 0, "inception_resnet_v2", "alpha", "above 0", self.alpha)
        check_images("inception_resnet_v2", x, smallest=75)
        variant = VARIANTS[self.variant]
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        y = jnp.asarray(x)
        for i, steps in enumerate(self.table(), 1):
            y = UnitChain(steps, variant, self.remat, name=f"stage{i}", **dtypes)(y, train)
            if i == 4 and self.auxiliary and self.num_classes is not None and (train or self.is_initializing()):
                widths = (self._scale_width(128), self._scale_width(768))
                head = AuxiliaryHead(self.num_classes, widths, variant, name="auxiliary", **dtypes)
                self.sow("intermediates", "auxiliary_logits", head(y, train))
        rate = _DROPOUT[self.variant] if self.dropout is None else self.dropout
        return pool_and_classify(y, self.num_classes, dropout=rate, train=train, **dtypes)


_TENSORFLOW = {"variant": "tensorflow"}

ARCHITECTURES: Mapping[str, Architecture] = {
    "inception_resnet_v2": Architecture(InceptionResNetV2, {}, 55_813_192, size=299, source="keras"),
    "tensorflow/inception_resnet_v2": Architecture(InceptionResNetV2, _TENSORFLOW, 55_814_729, size=299, classes=1001),
}
"""The named networks."""
