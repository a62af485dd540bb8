"""MNASNet: inverted residuals of kernels and expansions that a search on a phone has found, as torchvision has them."""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from jaxcnn._check import check
from jaxcnn._typing import AnyArray, Array, Dtype, Float, Number
from jaxcnn.layers.convolution import Conv
from jaxcnn.models._architecture import Architecture
from jaxcnn.models._dtypes import Dtypes
from jaxcnn.models._head import pool_and_classify
from jaxcnn.models._inputs import check_images
from jaxcnn.models._norms import NormConstants
from jaxcnn.models._widths import round_to_multiple
from jaxcnn.models.mobilenet_v3 import ExcitedResidual, MobileNetV3Variant

__all__ = ["ARCHITECTURES", "MNASNet"]

_STAGES = (
    # kernel, expansion, filters, number of blocks, stride of the first: figure 7 of the paper, MnasNet-B1
    (3, 3, 24, 3, 2),
    (5, 3, 40, 3, 2),
    (5, 6, 80, 3, 2),
    (3, 6, 96, 2, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)

_NORM = NormConstants(momentum=0.9997, epsilon=1e-5)
_VARIANT = MobileNetV3Variant(_NORM, same=False, rescales=False, fixed_ends=False)


class MNASStage(nn.Module):
    """Inverted residuals of one kernel and expansion.

    Args:
        blocks: Options of the blocks, in order.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
    """

    blocks: tuple[Mapping[str, Any], ...]
    remat: bool = False

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], train: bool = False) -> Float[Array, "*b h_out w_out f"]:
        """Returns the maps of the last block."""
        block = nn.remat(ExcitedResidual, static_argnums=(2,)) if self.remat else ExcitedResidual
        y = jnp.asarray(x)
        for i, options in enumerate(self.blocks, 1):
            y = block(**options, name=f"block{i}")(y, train)
        return y


class MNASNet(nn.Module):
    """MNASNet (B1): a convolution, a separable one, six stages of inverted residuals, a 1x1 convolution.

    Convention:
        The tree reads like the table: ``conv1``, ``separable`` with ``depthwise`` and ``project``,
        ``stage2/block1/expand`` and so on, ``conv_last``, ``head``. torchvision's ``layers.9.0`` is ``stage2/block1``.

    Args:
        num_classes: Number of logits; None returns the pooled features.
        alpha: Width multiplier: numbers of filters are multiplied by it, then rounded to multiples of 8; the last
            convolution keeps its number.
        scale_stem: Whether ``alpha`` applies to the convolutions before the stages, too; in torchvision's first version
            it did not, and files of that are recognized.
        stem: Filters of the first convolution and of the pointwise one, before ``alpha``.
        stages: Kernel, expansion, filters before ``alpha``, number of blocks and stride of the first, of each stage.
        last: Filters of the last convolution.
        drop_path: Probability of dropping the last block's branch; of earlier ones proportionally less.
        dropout: Rate of dropout before the head.
        remat: Whether to compute activations again in the backward pass instead of keeping them.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If ``alpha`` is not above 0.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import models
        >>> model = models.create("mnasnet1_0", num_classes=1000)
        >>> variables = jax.eval_shape(model.init, jax.random.key(0), jnp.ones((1, 224, 224, 3)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        4383312

    Parity:
        Logits equal ``torchvision.models.MNASNet(alpha)``, axes moved.

    References:
        Tan et al. 2018, "MnasNet: platform-aware neural architecture search for mobile", arXiv:1807.11626.
    """

    num_classes: int | None = 10
    alpha: Number = 1.0
    scale_stem: bool = True
    stem: tuple[int, int] = (32, 16)
    stages: Sequence[tuple[int, int, int, int, int]] = _STAGES
    last: int = 1280
    drop_path: float = 0.0
    dropout: float = 0.2
    remat: bool = False
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    def widths(self) -> dict[str, int]:
        """Lists the filters of the layers that ``alpha`` makes wider or narrower."""
        alpha = float(self.alpha)
        first, second = (round_to_multiple(alpha * filters, 8) if self.scale_stem else filters for filters in self.stem)
        found = {"conv1": first, "separable/project": second}
        for i, (_, _, filters, number, _) in enumerate(self.stages, 1):
            found |= {f"stage{i}/block{j}/project": round_to_multiple(alpha * filters, 8) for j in range(1, number + 1)}
        return found

    def table(self) -> list[list[dict[str, Any]]]:
        """Lists the options of every block, stage by stage; the first stage is the separable convolution."""
        first, before = list(self.widths().values())[:2]
        common = {"squeezed": 0, "activation": "relu", "dilation": 1, "variant": _VARIANT, "any_size": False}
        separable = {"kernel": 3, "expanded": first, "expands": False, "filters": before, "stride": 1}
        found, place = [[{**separable, "residual": False, **common}]], 0
        last = max(sum(number for *_, number, _ in self.stages) - 1, 1)
        for i, (kernel, expansion, _, number, stride) in enumerate(self.stages, 1):
            stage = []
            for j in range(number):
                filters = self.widths()[f"stage{i}/block{j + 1}/project"]
                step = stride if j == 0 else 1
                block = {"kernel": kernel, "expanded": expansion * before, "expands": True, "filters": filters}
                block |= {"stride": step, "residual": step == 1, "drop_path": self.drop_path * place / last}
                stage.append(block | common)
                before, place = filters, place + 1
            found.append(stage)
        return found

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b classes"]:
        """Returns logits, or pooled features where ``num_classes`` is None."""
        check(bool(self.alpha > 0), "mnasnet", "alpha", "above 0", self.alpha)
        check_images("mnasnet", x)
        dtypes = Dtypes(dtype=self.dtype, param_dtype=self.param_dtype)
        [[separable], *stages] = self.table()
        conv = Conv(self.widths()["conv1"], (3, 3), 2, 1, use_bias=False, kernel_init=_he, name="conv1", **dtypes)
        y = nn.relu(nn.BatchNorm(use_running_average=not train, name="conv1_bn", **_NORM, **dtypes)(conv(x)))
        y = ExcitedResidual(**separable, name="separable", **dtypes)(y, train)
        for i, blocks in enumerate(stages, 1):
            options = tuple({**block, **dtypes} for block in blocks)
            y = MNASStage(options, self.remat, name=f"stage{i}")(y, train)
        y = Conv(self.last, (1, 1), use_bias=False, kernel_init=_he, name="conv_last", **dtypes)(y)
        y = nn.relu(nn.BatchNorm(use_running_average=not train, name="conv_last_bn", **_NORM, **dtypes)(y))
        return pool_and_classify(y, self.num_classes, dropout=self.dropout, train=train, **dtypes)


_he = nn.initializers.he_normal()

ARCHITECTURES: Mapping[str, Architecture] = {
    "mnasnet0_5": Architecture(MNASNet, {"alpha": 0.5}, 2_218_512),
    "mnasnet0_75": Architecture(MNASNet, {"alpha": 0.75}, 3_170_208),
    "mnasnet1_0": Architecture(MNASNet, {"alpha": 1.0}, 4_383_312),
    "mnasnet1_3": Architecture(MNASNet, {"alpha": 1.3}, 6_282_256),
}
"""The named networks."""
