"""GoogLeNet (Inception v1): five stages, the last three of modules of four parallel branches."""

from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn import ops
from jaxcnn._check import check, check_choice
from jaxcnn._typing import AnyArray, Array, Dtype, Float
from jaxcnn.layers.dropout import SpatialDropout
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._branches import VARIANTS, Mixed, Pool, Step, Unit, UnitChain, UnitVariant
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images, flatten_maps, undo_normalization

__all__ = ["ARCHITECTURES", "GoogLeNet"]

Row = tuple[int, int, int, int, int, int]
"""Filters of a module: 1x1; the reduction before the 3x3, the 3x3; both of the 5x5; behind the pool."""

_MODULES: tuple[tuple[Row, ...], ...] = (
    # table 1 of the paper: inception (3a) and (3b), (4a) to (4e), (5a) and (5b)
    (
        (64, 96, 128, 16, 32, 32),
        (128, 128, 192, 32, 96, 64),
    ),
    (
        (192, 96, 208, 16, 48, 64),
        (160, 112, 224, 24, 64, 64),
        (128, 128, 256, 24, 64, 64),
        (112, 144, 288, 32, 64, 64),
        (256, 160, 320, 32, 128, 128),
    ),
    (
        (256, 160, 320, 32, 128, 128),
        (384, 192, 384, 48, 128, 128),
    ),
)


class GoogLeNetVariant(NamedTuple):
    """Settings in which the sources' versions of the network differ."""

    padding: int | Literal["SAME"]  # of the first convolution
    rounds_up: bool  # whether pools take an incomplete last window, instead of SAME padding


_VARIANTS = {
    "torchvision": GoogLeNetVariant(padding=3, rounds_up=True),
    "tensorflow": GoogLeNetVariant(padding="SAME", rounds_up=False),
}


class GoogLeNet(nn.Module):
    """GoogLeNet: three convolutions and nine modules of parallel branches.

    The sources have batch norm, which the paper's network has not, and 3x3 convolutions in the place of its 5x5 ones.

    Convention:
        - Inception (4b) of the paper is ``stage4/block2``: its branches ``branch1`` to ``branch4`` have ``conv1``,
          ``bn1``, ``conv2``, ``bn2``. torchvision's ``inception4b`` and slim's ``Mixed_4c`` are the same.
        - ``variant`` chooses the implementation to match. ``"torchvision"``: symmetric padding, pools that round up.
          ``"tensorflow"`` (slim): ``SAME`` padding, batch norm without scale.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        variant: ``"torchvision"`` or ``"tensorflow"``.
        stem: Filters of the three convolutions.
        modules: Filters of the modules of stages 3 to 5: the 1x1 convolution, then the 1x1 and the 3x3 one of the
            second branch and of the third, then the one behind the pool.
        auxiliary: Whether to have auxiliary classifiers behind the first and the fourth module of stage 4. In
            training their logits are sown as ``auxiliary1_logits`` and ``auxiliary2_logits`` into the collection
            ``"intermediates"``.
        transform_input: Whether images are normalized by ImageNet's mean and standard deviation, which is undone
            first: what torchvision sets with its trained weights. By default they are in [-1, 1].
        dropout: Rate of dropout before the head.
        auxiliary_dropout: Rate of dropout in the auxiliary classifiers.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is wrong.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("googlenet", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        6624904

    Parity:
        Logits equal ``torchvision.models.googlenet(transform_input=transform_input)``, axes moved, and TF-slim's
        ``inception_v1`` for images whose last maps fill its pooling window, such as 224 x 224 pixels.

    References:
        Szegedy et al. 2014, "Going deeper with convolutions", arXiv:1409.4842, table 1; Ioffe & Szegedy 2015,
        arXiv:1502.03167 for batch norm.
    """

    num_classes: int | None = 10
    variant: Literal["torchvision", "tensorflow"] = "torchvision"
    stem: tuple[int, int, int] = (64, 64, 192)
    modules: Sequence[Sequence[Row]] = _MODULES
    auxiliary: bool = False
    transform_input: bool = False
    dropout: float = 0.2
    auxiliary_dropout: float = 0.7
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def table(self) -> list[tuple[Step, ...]]:
        """Lists the steps of every stage."""
        check(len(self.modules) == 3, "googlenet", "modules", "those of three stages", len(self.modules))
        padding, rounds_up = _VARIANTS[self.variant]
        ends: Literal["SAME", "VALID"] = "VALID" if rounds_up else "SAME"
        pool, small = (Pool("max", size, 2, ends, rounds_up) for size in (3, 2))
        third, fourth, fifth = (tuple(_list_branches(row) for row in stage) for stage in self.modules)
        first, second, wide = self.stem
        return [
            (Unit(first, (7, 7), 2, padding),),
            (pool, Unit(second), Unit(wide, (3, 3))),
            (pool, *third),
            (pool, *fourth),
            (small, *fifth),
        ]

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check_choice("googlenet", "variant", self.variant, tuple(_VARIANTS))
        check_images("googlenet", x)
        variant = VARIANTS[self.variant]
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        y = undo_normalization("googlenet", x) if self.transform_input else jnp.asarray(x)
        taps: list[Array] = []
        for i, steps in enumerate(self.table(), 1):
            stage = UnitChain(steps, variant, self.remat, name=f"stage{i}", **dtypes)
            y = stage(y, train, taps if i == 4 else None)
        if self.auxiliary and self.num_classes is not None and (train or self.is_initializing()):
            for number, maps in enumerate((taps[0], taps[3]), 1):
                head = AuxiliaryClassifier(
                    self.num_classes, self.auxiliary_dropout, variant, name=f"auxiliary{number}", **dtypes
                )
                self.sow("intermediates", f"auxiliary{number}_logits", head(maps, train))
        return pool_and_classify(y, self.num_classes, dropout=self.dropout, train=train, **dtypes)


def _list_branches(row: Row) -> Mixed:
    """Lists the branches of figure 2 b, with a 3x3 convolution for the 5x5 one."""
    one, reduce_three, three, reduce_five, five, pooled = row
    return Mixed(
        (
            (Unit(one),),
            (Unit(reduce_three), Unit(three, (3, 3))),
            (Unit(reduce_five), Unit(five, (3, 3))),
            (Pool("max"), Unit(pooled)),
        )
    )


class AuxiliaryClassifier(nn.Module):
    """An auxiliary classifier: a pool to 4x4 maps, a 1x1 convolution, two dense layers.

    Args:
        num_classes: Number of logits.
        dropout: Rate of dropout between the dense layers.
        variant: What differs between sources.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
    """

    num_classes: int
    dropout: float
    variant: UnitVariant
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b classes"]:
        """Returns the logits."""
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        y = ops.adaptive_avg_pool(x, (4, 4))
        y = flatten_maps(UnitChain((Unit(128),), self.variant, name="convs", **dtypes)(y, train))
        y = nn.relu(nn.Dense(1024, name="hidden", **dtypes)(y))
        y = SpatialDropout(self.dropout, name="dropout")(y[..., None, None, :], train=train)[..., 0, 0, :]
        return nn.Dense(self.num_classes, name="logits", **dtypes)(y)


ARCHITECTURES: Mapping[str, Architecture] = {
    "googlenet": Architecture(GoogLeNet, {}, 6_624_904),
    "tensorflow/inception_v1": Architecture(GoogLeNet, {"variant": "tensorflow"}, 6_618_649, classes=1001),
}
"""The named networks."""
