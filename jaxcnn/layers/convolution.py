"""Convolutions as Linen modules: ordinary, depthwise, separable."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype as promote_to_common_dtype
from flax.typing import ConvGeneralDilatedT

from jaxcnn import ops
from jaxcnn._check import check, check_floating, check_min_rank, is_integer_at_least, repeat_per_axis, shape_text
from jaxcnn._typing import AnyArray, Array, Dtype, Float, Initializer, Padding, PerAxis
from jaxcnn.initializers import depthwise_variance_scaling
from jaxcnn.ops._convolution.depthwise_dispatch import Implementation
from jaxcnn.ops._convolution.ordinary import conv_general_dilated
from jaxcnn.ops._padding import AXES
from jaxcnn.ops.convolution import mix_channels

__all__ = ["Conv", "DepthwiseConv", "SeparableConv"]


class Conv(nn.Conv):
    """Convolves like Flax's ``nn.Conv``, but computes pointwise (1x1) convolutions as matrix products.

    On CPU that makes their gradients several times faster, and under ``vmap`` over kernels they stay
    products. Arguments, parameters and results are the same as those of ``flax.linen.Conv``.

    Convention:
        Input (*b, h, w, c), output (*b, h_out, w_out, features); likewise with 1 or 3 spatial axes if the
        kernel size has that many numbers.

    Parameters: ``kernel`` (kh, kw, c // feature_group_count, features) and ``bias`` (features,).

    Args:
        features: Number of output channels.
        kernel_size: Size of the kernel, one number per spatial axis.
        strides: Step between outputs, in pixels.
        padding: ``"SAME"``, ``"VALID"``, ``"CIRCULAR"``, ``"REFLECT"``, ``"CAUSAL"`` (1-D), an integer, or one
            integer or pair per spatial axis.
        input_dilation: Step between the pixels of the input, zeros in between.
        kernel_dilation: Step between the taps of the kernel, in pixels.
        feature_group_count: Number of groups of channels that do not mix.
        use_bias: Whether to add a bias.
        mask: Factors for the kernel, of its shape.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.
        precision: As in ``jax.lax.conv_general_dilated``.
        kernel_init: Initializer of the kernel.
        bias_init: Initializer of the bias.
        promote_dtype: Function that converts input and parameters to one dtype.

    Raises:
        ValueError: If mask and kernel have different shapes, or as ``jax.lax.conv_general_dilated``.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import layers
        >>> layer = layers.Conv(7, (1, 1), strides=2)
        >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 8, 5)))
        >>> y.shape, variables["params"]["kernel"].shape
        ((1, 4, 4, 7), (1, 1, 5, 7))

    Parity:
        Equals ``flax.linen.Conv`` in parameters and, up to rounding, in results and gradients.
    """

    # Flax annotates this field by a protocol that cannot be checked at run time.
    promote_dtype: Any = promote_to_common_dtype
    conv_general_dilated: ConvGeneralDilatedT | None = conv_general_dilated

    def __call__(self, x: Float[AnyArray, "*b_spatial_c"], *, train: bool = False) -> Float[Array, "*b_spatial_f"]:
        """Convolves ``x``; ``train`` changes nothing."""
        del train
        return super().__call__(x)


class DepthwiseConv(nn.Module):
    """Convolves every channel with its own kernels.

    Convention:
        - Input (*b, h, w, c), output (*b, h_out, w_out, c * m), where m is the depth multiplier; likewise
          with 1 or 3 spatial axes if the kernel size has that many numbers. Any number of leading axes.
        - Channel i and its kernel j give output channel i * m + j, as in Keras.
        - Differs from ``keras.layers.DepthwiseConv2D``: padding defaults to ``"SAME"``, and the initial
          kernel is scaled by the kh * kw inputs of each output, while Keras's Glorot counts all channels.

    Parameters: ``kernel`` (kh, kw, c, m) and ``bias`` (c * m,).

    Args:
        kernel_size: Size of the kernel: one number per spatial axis, or one for both axes of images.
        depth_multiplier: Kernels per channel, m.
        strides: Step between outputs, in pixels.
        padding: As in ``ops.depthwise_conv``.
        kernel_dilation: Step between the taps of the kernel, in pixels.
        use_bias: Whether to add a bias.
        kernel_init: Initializer of the kernel.
        bias_init: Initializer of the bias.
        implementation: As in ``ops.depthwise_conv``.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is wrong, the input has the wrong rank or dtype, or the kernel does not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import layers
        >>> layer = layers.DepthwiseConv((3, 3), depth_multiplier=2, strides=2)
        >>> y, variables = layer.init_with_output(jax.random.key(0), jnp.ones((1, 8, 8, 5)))
        >>> y.shape, variables["params"]["kernel"].shape
        ((1, 4, 4, 10), (3, 3, 5, 2))

    References:
        Howard et al. 2017, arXiv:1704.04861, section 3.1.
    """

    kernel_size: PerAxis
    _: dataclasses.KW_ONLY
    depth_multiplier: int = 1
    strides: PerAxis = 1
    padding: Padding = "SAME"
    kernel_dilation: PerAxis = 1
    use_bias: bool = True
    kernel_init: Initializer = depthwise_variance_scaling(1.0)
    bias_init: Initializer = nn.initializers.zeros
    implementation: Implementation = "auto"
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b_spatial_c"], *, train: bool = False) -> Float[Array, "*b_spatial_cm"]:
        """Filters ``x``; ``train`` changes nothing."""
        del train
        size = _check_arguments("DepthwiseConv", x, self.kernel_size, depth_multiplier=self.depth_multiplier)
        c, m = x.shape[-1], self.depth_multiplier
        kernel = self.param("kernel", self.kernel_init, (*size, c, m), self.param_dtype)
        bias = self.param("bias", self.bias_init, (c * m,), self.param_dtype) if self.use_bias else None
        x, kernel, bias = promote_to_common_dtype(x, kernel, bias, dtype=self.dtype)
        y = ops.depthwise_conv(
            x,
            kernel,
            strides=self.strides,
            padding=self.padding,
            dilation=self.kernel_dilation,
            implementation=self.implementation,
        )
        return _add_bias(y, bias)


class SeparableConv(nn.Module):
    """Filters in space channel by channel, then mixes the channels: a depthwise and a pointwise convolution.

    There is no activation between the two (Chollet 2017 found that best). With ``shared=True`` all channels
    share the same m spatial filters, which takes the fewest parameters.

    Convention:
        - Input (*b, h, w, c), output (*b, h_out, w_out, features); likewise with 1 or 3 spatial axes if the
          kernel size has that many numbers. Any number of leading axes. Strides and dilation act on the depthwise part.
        - Channels between the two are ordered i * m + j, input channel i and filter j, as in Keras.
        - Differs from ``keras.layers.SeparableConv2D``: padding defaults to ``"SAME"``; both
          kernels are scaled by the number of inputs that each output actually has (Keras's Glorot takes kh * kw * c
          for the depthwise one); a bias between the two is available; strides and dilation can be combined.

    Parameters: ``depthwise_kernel`` (kh, kw, c, m), if shared (kh, kw, 1, m); ``depthwise_bias`` (c * m,), if
    shared (m,); ``pointwise_kernel`` (1, 1, c * m, features); ``bias`` (features,).

    Args:
        features: Number of output channels.
        kernel_size: Size of the spatial kernel: one number per spatial axis, or one for both axes of images.
        depth_multiplier: Spatial filters per channel, m; if shared, their total number.
        strides: Step between outputs, in pixels.
        padding: As in ``ops.depthwise_conv``.
        kernel_dilation: Step between the taps of the spatial kernel, in pixels.
        shared: Whether all channels share the spatial filters.
        use_depthwise_bias: Whether to add a bias between the two parts.
        use_bias: Whether to add a bias at the end.
        depthwise_init: Initializer of the spatial kernel.
        pointwise_init: Initializer of the pointwise kernel.
        bias_init: Initializer of both biases.
        implementation: As in ``ops.depthwise_conv``.
        dtype: Dtype of the computation; None promotes input and parameters.
        param_dtype: Dtype of the parameters.

    Raises:
        ValueError: If an option is wrong, the input has the wrong rank or dtype, or the kernel does not fit.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import layers
        >>> layer = layers.SeparableConv(64, (3, 3), depth_multiplier=2, shared=True, use_depthwise_bias=True)
        >>> variables = layer.init(jax.random.key(0), jnp.ones((1, 8, 8, 32)))
        >>> sum(leaf.size for leaf in jax.tree.leaves(variables))  # 2 (9 + 1) + 64 (2 * 32 + 1)
        4180

    References:
        Chollet 2017, "Xception", arXiv:1610.02357.
    """

    features: int
    kernel_size: PerAxis
    _: dataclasses.KW_ONLY
    depth_multiplier: int = 1
    strides: PerAxis = 1
    padding: Padding = "SAME"
    kernel_dilation: PerAxis = 1
    shared: bool = False
    use_depthwise_bias: bool = False
    use_bias: bool = True
    depthwise_init: Initializer = depthwise_variance_scaling(1.0)
    pointwise_init: Initializer = nn.initializers.lecun_normal()
    bias_init: Initializer = nn.initializers.zeros
    implementation: Implementation = "auto"
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: Float[AnyArray, "*b_spatial_c"], *, train: bool = False) -> Float[Array, "*b_spatial_f"]:
        """Convolves ``x``; ``train`` changes nothing."""
        del train
        name = "SeparableConv"
        size = _check_arguments(
            name, x, self.kernel_size, features=self.features, depth_multiplier=self.depth_multiplier
        )
        c, m = x.shape[-1], self.depth_multiplier
        maps = 1 if self.shared else c
        depthwise = self.param("depthwise_kernel", self.depthwise_init, (*size, maps, m), self.param_dtype)
        between = None
        if self.use_depthwise_bias:
            between = self.param("depthwise_bias", self.bias_init, (maps * m,), self.param_dtype)
        ones = (1,) * len(size)
        pointwise = self.param("pointwise_kernel", self.pointwise_init, (*ones, c * m, self.features), self.param_dtype)
        bias = self.param("bias", self.bias_init, (self.features,), self.param_dtype) if self.use_bias else None
        x, depthwise, between, pointwise, bias = promote_to_common_dtype(
            x, depthwise, between, pointwise, bias, dtype=self.dtype
        )
        convolve = ops.shared_depthwise_conv if self.shared else ops.depthwise_conv
        x = convolve(
            x,
            depthwise,
            strides=self.strides,
            padding=self.padding,
            dilation=self.kernel_dilation,
            implementation=self.implementation,
        )
        if between is not None:
            x = _add_bias(x, jnp.tile(between, c) if self.shared else between)
        return _add_bias(mix_channels(x, pointwise.reshape(c * m, self.features)), bias)


def _check_arguments(name: str, x: AnyArray, kernel_size: PerAxis, **numbers: int) -> tuple[int, ...]:
    """Returns the kernel's size per spatial axis; raises an error for wrong input or numbers."""
    for argument, value in numbers.items():
        check(is_integer_at_least(value, 1), name, argument, "a positive integer", repr(value))
    size = repeat_per_axis(kernel_size, 2)
    valid = isinstance(size, Sequence) and len(size) in AXES and all(is_integer_at_least(n, 1) for n in size)
    check(valid, name, "kernel_size", "a positive integer or 1 to 3 of them", repr(kernel_size))
    check_min_rank(name, "x", x, f"{AXES[len(size)]} c")
    check_floating(name, "x", x)
    check(x.shape[-1] > 0, name, "x", "of at least one channel", shape_text(x))
    return tuple(size)


def _add_bias(y: jax.Array, bias: jax.Array | None) -> jax.Array:
    return y if bias is None else y + bias.reshape((1,) * (y.ndim - 1) + (-1,))
