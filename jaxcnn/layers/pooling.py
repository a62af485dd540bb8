"""Pooling layers: from feature maps (*b, h, w, c) to one vector per example."""

import dataclasses
from collections.abc import Callable
from typing import Literal, TypedDict

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn import ops
from jaxcnn._check import check, check_choice, check_floating, check_min_rank, is_integer_at_least, shape_text
from jaxcnn._typing import AnyArray, Array, Dtype, Float

__all__ = ["GlobalWeightedAveragePool"]

Activation = Literal["exp_sigmoid", "softmax", "sigmoid", "softplus"]


class _DenseOptions(TypedDict):
    use_bias: bool
    dtype: Dtype | None
    param_dtype: Dtype


class GlobalWeightedAveragePool(nn.Module):
    """Averages feature maps with weights that it predicts from them, so that the weights show where the layer looks.

    Class-agnostic (``features=None``): a 1x1 convolution computes one score s per position, w = activation(s),
    and all channels are averaged with the same weights w / sum w. Class-specific (``features=k``): one
    1x1 convolution computes k class maps, another k scores per position, and each class map is averaged with
    its own weights: the result is logits.

    The scorer's weights are initialized to zero: a new layer equals global average pooling (of the class maps).

    Convention:
        - Input (*b, h, w, c), output (*b, c) or (*b, k); any number of leading axes.
        - ``"exp_sigmoid"`` is exp(sigmoid(s)), within (1, e): no position weighs more than e times
          another. ``"softmax"`` is exp(s), unbounded. ``"sigmoid"`` and ``"softplus"`` are the usual
          functions. A callable maps scores to weights >= 0, elementwise.
        - Weights and sums are float32 or wider for every ``dtype``. Weights that are all 0 give 0.

    Parameters: the dense layers ``scorer`` and, class-specific, ``classifier``.

    Sows into ``"intermediates"``: ``weights``, which sum to 1 over space, and ``scores`` before the
    activation, both (*b, h, w, 1) or (*b, h, w, k); class-specific also ``class_maps`` (*b, h, w, k).

    Args:
        activation: Function that maps scores to weights, see Convention.
        features: Number of classes k; None is class-agnostic.
        use_bias: Whether the dense layers have a bias.
        dtype: Dtype of the dense layers and of the output; with None, the class-agnostic output keeps
            the input's, the class-specific one promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is unknown, the input has the wrong rank or dtype or an empty spatial
            axis, or a callable changes the shape.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import layers, ops
        >>> layer = layers.GlobalWeightedAveragePool()
        >>> x = jnp.arange(8.0).reshape(1, 2, 2, 2)
        >>> pooled, sown = layer.init_with_output(jax.random.key(0), x)
        >>> pooled.tolist(), ops.global_average_pool(x).tolist()
        ([[3.0, 4.0]], [[3.0, 4.0]])

    References:
        Qiu 2018, "Global weighted average pooling bridges pixel-level localization and image-level
        classification", arXiv:1809.08264; the formula follows independent implementations.
    """

    _: dataclasses.KW_ONLY
    activation: Activation | Callable[[jax.Array], jax.Array] = "exp_sigmoid"
    features: int | None = None
    use_bias: bool = True
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b h w c"], *, train: bool = False) -> Float[Array, "*b features"]:
        """Pools ``x``; ``train`` changes nothing."""
        del train
        name = "GlobalWeightedAveragePool"
        check_min_rank(name, "x", x, "h w c")
        check_floating(name, "x", x)
        check(0 not in x.shape[-3:-1], name, "x", "at least 1 x 1 pixels", shape_text(x))
        k = self.features
        check(k is None or is_integer_at_least(k, 1), name, "features", "None or a positive integer", repr(k))
        x = x if self.dtype is None else x.astype(self.dtype)
        options: _DenseOptions = {"use_bias": self.use_bias, "dtype": self.dtype, "param_dtype": self.param_dtype}
        scores = nn.Dense(k or 1, kernel_init=nn.initializers.zeros, name="scorer", **options)(x)
        maps = x if k is None else nn.Dense(k, name="classifier", **options)(x)
        weights = self._weights(scores.astype(jnp.float64 if scores.dtype == jnp.float64 else jnp.float32))
        if self.is_mutable_collection("intermediates"):
            total = jnp.sum(weights, (-3, -2), keepdims=True)
            share = jnp.where(total == 0, jnp.zeros_like(weights), weights / jnp.where(total == 0, 1, total))
            self.sow("intermediates", "weights", share)
            self.sow("intermediates", "scores", scores)
            if k is not None:
                self.sow("intermediates", "class_maps", maps)
        return ops.weighted_average_pool(maps, weights)

    def _weights(self, scores: jax.Array) -> jax.Array:
        name, activation = "GlobalWeightedAveragePool", self.activation
        if callable(activation):
            weights = jnp.asarray(activation(scores))
            check(weights.shape == scores.shape, name, "activation", f"one that keeps {scores.shape}", weights.shape)
            return weights
        check_choice(name, "activation", activation, ("exp_sigmoid", "softmax", "sigmoid", "softplus"))
        if activation == "exp_sigmoid":
            return jnp.exp(nn.sigmoid(scores))
        if activation == "softmax":
            return jnp.exp(scores - lax.stop_gradient(jnp.max(scores, (-3, -2), keepdims=True)))
        return nn.sigmoid(scores) if activation == "sigmoid" else nn.softplus(scores)
