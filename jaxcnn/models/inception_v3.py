"""Inception v3: five stages, the last three of parallel branches with factorized convolutions."""

from collections.abc import Callable, Mapping, Sequence

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._check import check, check_choice
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._auxiliary import AuxiliaryHead
from jaxcnn.models._branches import VARIANTS, Fork, Mixed, Pool, Source, Step, Unit, UnitChain
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images, undo_normalization

__all__ = ["ARCHITECTURES", "InceptionV3"]

_DROPOUT = {"torchvision": 0.5, "keras": 0.0, "tensorflow": 0.2}

Width = Callable[[int], int]
"""A number of filters, as in the paper, to the number at the model's width."""


def _module_a(width: Width, pooled: int) -> Mixed:
    """Lists the branches of figure 5, a 5x5 convolution as two of 3x3 (and one that is not factorized)."""
    return Mixed(
        (
            (Unit(width(64)),),
            (Unit(width(48)), Unit(width(64), (5, 5))),
            (Unit(width(64)), Unit(width(96), (3, 3)), Unit(width(96), (3, 3))),
            (Pool("avg"), Unit(width(pooled))),
        )
    )


def _reduction_b(width: Width) -> Mixed:
    """Lists the branches of figure 10, which halve height and width."""
    return Mixed(
        (
            (Unit(width(384), (3, 3), 2, "VALID"),),
            (Unit(width(64)), Unit(width(96), (3, 3)), Unit(width(96), (3, 3), 2, "VALID")),
            (Pool("max", 3, 2, "VALID"),),
        )
    )


def _module_c(width: Width, inner: int) -> Mixed:
    """Lists the branches of figure 6, with 7x7 convolutions as 1x7 and 7x1."""
    narrow, row, column = width(inner), (1, 7), (7, 1)
    double = (Unit(narrow), Unit(narrow, column), Unit(narrow, row), Unit(narrow, column), Unit(width(192), row))
    return Mixed(
        (
            (Unit(width(192)),),
            (Unit(narrow), Unit(narrow, row), Unit(width(192), column)),
            double,
            (Pool("avg"), Unit(width(192))),
        )
    )


def _reduction_d(width: Width) -> Mixed:
    """Lists the branches of the second reduction."""
    wide = width(192)
    return Mixed(
        (
            (Unit(wide), Unit(width(320), (3, 3), 2, "VALID")),
            (Unit(wide), Unit(wide, (1, 7)), Unit(wide, (7, 1)), Unit(wide, (3, 3), 2, "VALID")),
            (Pool("max", 3, 2, "VALID"),),
        )
    )


def _module_e(width: Width) -> Mixed:
    """Lists the branches of figure 7, with a 1x3 and a 3x1 convolution side by side."""
    fork = Fork((Unit(width(384), (1, 3)), Unit(width(384), (3, 1))))
    return Mixed(
        (
            (Unit(width(320)),),
            (Unit(width(384)), fork),
            (Unit(width(448)), Unit(width(384), (3, 3)), fork),
            (Pool("avg"), Unit(width(192))),
        )
    )


class InceptionV3(nn.Module):
    """Inception v3: five convolutions and eleven modules of parallel branches.

    Convention:
        - Maps of stage i have about one pixel per 2**i pixels of the image. A module is
          ``stage4/block2/branch3/conv5``, its branches and their convolutions in the paper's order; where a branch
          ends in two convolutions side by side they are ``conv2a`` and ``conv2b``. ``Mixed_5b`` of torchvision and
          slim is ``stage3/block1``, ``Mixed_6a`` ``stage4/block1``, ``Mixed_7a`` ``stage5/block1``.
        - ``variant`` chooses the implementation to match. ``"torchvision"``: average pools count the padding's
          zeros, dropout 0.5. ``"keras"`` and ``"tensorflow"`` (slim): they do not, and batch norm has no scale.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        variant: ``"torchvision"``, ``"keras"`` or ``"tensorflow"``.
        alpha: Width multiplier: every number of filters is multiplied by it, then rounded down.
        min_filters: The least number of filters of a convolution.
        blocks: Number of modules of stages 3 to 5; fewer leave out the last ones.
        auxiliary: Whether to have the auxiliary classifier behind stage 4. In training its logits are sown as
            ``auxiliary_logits`` into the collection ``"intermediates"``; images must then be large enough for it.
        transform_input: Whether images are normalized by ImageNet's mean and standard deviation, which is undone
            first: what torchvision sets with its trained weights. By default they are in [-1, 1].
        dropout: Rate of dropout before the head; None is the variant's default.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is wrong, or the image is below 75 x 75 pixels.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("inception_v3", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 299, 299, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        23834568

    Parity:
        Logits equal ``torchvision.models.inception_v3(transform_input=transform_input)``, axes moved,
        ``keras.applications.InceptionV3(classifier_activation=None)``, and TF-slim's ``inception_v3`` up to the size
        of its pooling window, 299 x 299 pixels.

    References:
        Szegedy et al. 2015, "Rethinking the Inception architecture for computer vision", arXiv:1512.00567, table 1.
    """

    num_classes: int | None = 10
    variant: Source = "torchvision"
    alpha: float = 1.0
    min_filters: int = 16
    blocks: Sequence[int] = (3, 5, 3)
    auxiliary: bool = False
    transform_input: bool = False
    dropout: float | None = None
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def table(self) -> list[tuple[Step, ...]]:
        """Lists the steps of every stage."""
        width = self._scale_width
        pool = Pool("max", 3, 2, "VALID")
        modules = (
            [_module_a(width, 32), _module_a(width, 64), _module_a(width, 64)],
            [_reduction_b(width), *(_module_c(width, inner) for inner in (128, 160, 160, 192))],
            [_reduction_d(width), _module_e(width), _module_e(width)],
        )
        possible = len(self.blocks) == 3 and all(
            1 <= n <= len(stage) for n, stage in zip(self.blocks, modules, strict=True)
        )
        check(possible, "inception_v3", "blocks", "three numbers, of at most 3, 5 and 3 modules", tuple(self.blocks))
        third, fourth, fifth = (stage[:n] for n, stage in zip(self.blocks, modules, strict=True))
        first = (
            Unit(width(32), (3, 3), 2, "VALID"),
            Unit(width(32), (3, 3), 1, "VALID"),
            Unit(width(64), (3, 3)),
        )
        second = (pool, Unit(width(80)), Unit(width(192), (3, 3), 1, "VALID"))
        return [first, second, (pool, *third), tuple(fourth), tuple(fifth)]

    def _scale_width(self, filters: int) -> int:
        return max(int(filters * self.alpha), self.min_filters)

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("inception_v3", "variant", self.variant, tuple(VARIANTS))
        check(self.alpha > 0, "inception_v3", "alpha", "above 0", self.alpha)
        check_images("inception_v3", x, smallest=75)
        variant = VARIANTS[self.variant]
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        y = undo_normalization("inception_v3", x) if self.transform_input else jnp.asarray(x)
        for i, steps in enumerate(self.table(), 1):
            y = UnitChain(steps, variant, self.remat, name=f"stage{i}", **dtypes)(y, train)
            if i == 4 and self.auxiliary and self.num_classes is not None and (train or self.is_initializing()):
                widths = (self._scale_width(128), self._scale_width(768))
                head = AuxiliaryHead(self.num_classes, widths, variant, name="auxiliary", **dtypes)
                self.sow("intermediates", "auxiliary_logits", head(y, train))
        rate = _DROPOUT[self.variant] if self.dropout is None else self.dropout
        return pool_and_classify(y, self.num_classes, dropout=rate, train=train, **dtypes)


ARCHITECTURES: Mapping[str, Architecture] = {
    "inception_v3": Architecture(InceptionV3, {}, 23_834_568, size=299),
    "keras/inception_v3": Architecture(InceptionV3, {"variant": "keras"}, 23_817_352, size=299),
    "tensorflow/inception_v3": Architecture(InceptionV3, {"variant": "tensorflow"}, 23_819_401, size=299, classes=1001),
}
"""The named networks."""
