"""Convolutions: ordinary, depthwise, separable."""

import jax
import jax.numpy as jnp
from jax import lax

from jaxcnn._check import as_array, check, check_choice, check_floating, check_min_rank, is_integer_at_least, shape_text
from jaxcnn._typing import AnyArray, Array, Float, Padding, PerAxis, Precision
from jaxcnn.ops import _native
from jaxcnn.ops._batching import working_dtype
from jaxcnn.ops._convolution import depthwise
from jaxcnn.ops._convolution.depthwise_dispatch import IMPLEMENTATIONS, Implementation
from jaxcnn.ops._convolution.ordinary import convolve
from jaxcnn.ops._convolution.shape import resolve_conv_shape
from jaxcnn.ops._padding import AXES

__all__ = ["conv", "depthwise_conv", "separable_conv", "shared_depthwise_conv"]


def conv(
    x: Float[AnyArray, "*b_spatial_c"],
    kernel: Float[AnyArray, "*spatial_c_f"],
    *,
    strides: PerAxis = 1,
    padding: Padding = "SAME",
    dilation: PerAxis = 1,
    input_dilation: PerAxis = 1,
    groups: int = 1,
    precision: Precision = None,
) -> Float[Array, "*b_spatial_f"]:
    """Convolves images with kernels that mix all channels of a group.

    The kernel is not flipped (a cross-correlation, as in every deep learning library). On CPU it stays fast
    where JAX's own convolution is slow: in groups, under ``vmap`` over kernels (members of an ensemble, per-example
    kernels) and, for its gradients, inside ``lax.scan`` and ``lax.map``.

    Convention:
        - Axes: x (*b, h, w, c), kernel (kh, kw, c // groups, f), output (*b, h_out, w_out, f); the rank of the
          kernel says how many spatial axes there are: 1, 2 or 3. Any number of leading axes.
        - Group i maps input channels c // groups * i and following to output channels f // groups * i and following.
          On CPU a value that is not finite may spread to neighboring groups, which are computed together.
        - On a mesh with explicit axes only the leading axes may be sharded.

    Args:
        x: Images or feature maps.
        kernel: Weights.
        strides: Step between outputs, in pixels.
        padding: ``"SAME"`` (ceil(h / stride) outputs), ``"VALID"``, ``"REFLECT"`` and ``"CIRCULAR"`` (around
            an odd kernel as many outputs as inputs, at stride 1), ``"CAUSAL"`` (1-D: outputs depend on no
            later input), an integer, or one integer or pair (before, after) per spatial axis: zeros.
        dilation: Step between the taps of the kernel, in pixels.
        input_dilation: Step between the pixels of x, with zeros in between; not together with ``"SAME"``.
        groups: Number of groups of channels that do not mix.
        precision: As in ``jax.lax.conv_general_dilated``.

    Returns:
        The filtered maps, in the wider of both dtypes.

    Raises:
        ValueError: If a rank, dtype, number of channels or option is wrong, the kernel does not fit into
            the padded x, or a reflection would extend beyond it.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> x = jnp.arange(4.0).reshape(1, 4, 1)
        >>> ops.conv(x, jnp.array([[[1.0, 0.0]], [[0.0, 2.0]]]), padding="VALID")[0].tolist()  # (kw=2, c=1, f=2)
        [[0.0, 2.0], [1.0, 4.0], [2.0, 6.0]]

    Parity:
        Equals ``jax.lax.conv_general_dilated``, ``flax.linen.Conv`` without its bias, and
        ``torch.nn.functional.conv2d``; with strides, PyTorch has no ``"SAME"``.
    """
    x, kernel = _prepare_arrays("conv", x, kernel, channels="c // groups, f")
    check(is_integer_at_least(groups, 1), "conv", "groups", "an integer of at least 1", repr(groups))
    x, conv_shape = resolve_conv_shape(
        "conv", x, kernel, strides=strides, padding=padding, dilation=dilation, input_dilation=input_dilation
    )
    return convolve(x, kernel, conv_shape, int(groups), precision)


def depthwise_conv(
    x: Float[AnyArray, "*b_spatial_c"],
    kernel: Float[AnyArray, "*spatial_c_m"],
    *,
    strides: PerAxis = 1,
    padding: Padding = "SAME",
    dilation: PerAxis = 1,
    implementation: Implementation = "auto",
) -> Float[Array, "*b_spatial_cm"]:
    """Convolves every channel with its own kernels: m kernels per channel yield c * m channels.

    The kernel is not flipped (a cross-correlation, as in every deep learning library). Derivatives of
    any order, forward and reverse, are again depthwise convolutions and their adjoints.

    Convention:
        - Axes: x (*b, h, w, c), kernel (kh, kw, c, m), output (*b, h_out, w_out, c * m); the rank of the
          kernel says how many spatial axes there are: 1, 2 or 3. Any number of leading axes.
        - Channel i and its kernel j yield output channel i * m + j.
        - Sums are accumulated in float32 or wider; the result has the wider of both dtypes.

    Args:
        x: Images or feature maps.
        kernel: One kernel (kh, kw) per channel and multiple.
        strides: Step between outputs, in pixels.
        padding: ``"SAME"`` (ceil(h / stride) outputs), ``"VALID"``, ``"REFLECT"`` and ``"CIRCULAR"`` (around
            an odd kernel as many outputs as inputs, at stride 1), ``"CAUSAL"`` (1-D: outputs depend on no
            later input), an integer, or one integer or pair (before, after) per spatial axis: zeros.
        dilation: Step between the taps of the kernel, in pixels; can be combined with strides.
        implementation: ``"auto"`` chooses by platform and shape; ``"stencil"`` is a fused sum of shifted
            products, ``"xla"`` the grouped convolution of XLA, ``"native"`` compiled kernels from the optional
            package jaxcnn-native, on CPU for float32 and 1 or 2 spatial axes (elsewhere as ``"auto"``).

    Returns:
        The filtered maps.

    Raises:
        ValueError: If a rank, dtype, number of channels or option is wrong, the kernel does not fit into
            the padded x, or a reflection would extend beyond it.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> x = jnp.arange(8.0).reshape(1, 4, 2)
        >>> difference = jnp.array([[[1.0], [1.0]], [[-1.0], [-1.0]]])  # (kw=2, c=2, m=1)
        >>> ops.depthwise_conv(x, difference, padding="VALID")[0].tolist()
        [[-2.0, -2.0], [-2.0, -2.0], [-2.0, -2.0]]

    Parity:
        Equals ``torch.nn.functional.conv2d(groups=c)`` and ``keras.layers.DepthwiseConv2D``; with
        strides, PyTorch has no ``"SAME"``.

    References:
        Howard et al. 2017, arXiv:1704.04861, section 3.1.
    """
    x, kernel = _prepare_arrays("depthwise_conv", x, kernel)
    return _convolve_depthwise("depthwise_conv", x, kernel, strides, padding, dilation, implementation)


def shared_depthwise_conv(
    x: Float[AnyArray, "*b_spatial_c"],
    kernel: Float[AnyArray, "*spatial_1_m"],
    *,
    strides: PerAxis = 1,
    padding: Padding = "SAME",
    dilation: PerAxis = 1,
    implementation: Implementation = "auto",
) -> Float[Array, "*b_spatial_cm"]:
    """Convolves every channel with the same kernels, for instance with a Sobel or Gaussian filter.

    Convention:
        - Axes: x (*b, h, w, c), kernel (kh, kw, 1, m), output (*b, h_out, w_out, c * m), and likewise with
          1 or 3 spatial axes.
        - Channel i and filter j yield output channel i * m + j.

    Args:
        x: Images or feature maps.
        kernel: The filters, shared by all channels.
        strides: As in ``depthwise_conv``.
        padding: As in ``depthwise_conv``.
        dilation: As in ``depthwise_conv``.
        implementation: As in ``depthwise_conv``.

    Returns:
        The filtered maps.

    Raises:
        ValueError: As in ``depthwise_conv``, and if the second last axis of the kernel is not 1.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> sobel = jnp.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]])[..., None, None]
        >>> ramp = jnp.broadcast_to(jnp.arange(5.0)[:, None], (5, 5, 3))  # rises along x in all 3 channels
        >>> ops.shared_depthwise_conv(ramp, sobel, padding="VALID")[0, 0].tolist()
        [8.0, 8.0, 8.0]
    """
    x, kernel = _prepare_arrays("shared_depthwise_conv", x, kernel)
    both = f"x {shape_text(x)} and kernel {shape_text(kernel)}"
    check(kernel.shape[-2] == 1, "shared_depthwise_conv", "kernel", "of shape (..., 1, m)", both)
    kernel = _repeat_for_channels(kernel, x)
    return _convolve_depthwise("shared_depthwise_conv", x, kernel, strides, padding, dilation, implementation)


def separable_conv(
    x: Float[AnyArray, "*b_spatial_c"],
    depthwise_kernel: Float[AnyArray, "*spatial_c_m"],
    pointwise_kernel: Float[AnyArray, "*ones_cm_f"],
    *,
    strides: PerAxis = 1,
    padding: Padding = "SAME",
    dilation: PerAxis = 1,
    implementation: Implementation = "auto",
) -> Float[Array, "*b_spatial_f"]:
    """Filters in space by a depthwise convolution, then mixes channels by a pointwise (1x1) one.

    Convention:
        Axes: x (*b, h, w, c), depthwise_kernel (kh, kw, c, m) or, shared by all channels, (kh, kw, 1, m);
        pointwise_kernel (1, 1, c * m, f); output (*b, h_out, w_out, f); likewise with 1 or 3 spatial axes.

    Args:
        x: Images or feature maps.
        depthwise_kernel: The spatial filters.
        pointwise_kernel: Weights that mix the channels.
        strides: Of the depthwise part, as in ``depthwise_conv``.
        padding: As in ``depthwise_conv``.
        dilation: As in ``depthwise_conv``.
        implementation: As in ``depthwise_conv``.

    Returns:
        The maps, in the widest of the dtypes.

    Raises:
        ValueError: As in ``depthwise_conv``, and if the pointwise kernel has another shape.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxcnn import ops
        >>> x = jnp.ones((1, 4, 4, 2))
        >>> ops.separable_conv(x, jnp.ones((3, 3, 2, 1)), jnp.ones((1, 1, 2, 5)), padding="VALID").shape
        (1, 2, 2, 5)

    Parity:
        Equals ``keras.layers.SeparableConv2D`` without its bias.

    References:
        Chollet 2017, arXiv:1610.02357.
    """
    name = "separable_conv"
    x, depthwise_kernel = _prepare_arrays(name, x, depthwise_kernel, "depthwise_kernel")
    if depthwise_kernel.shape[-2] == 1:
        depthwise_kernel = _repeat_for_channels(depthwise_kernel, x)
    maps = x.shape[-1] * depthwise_kernel.shape[-1]
    pointwise_kernel = as_array(name, "pointwise_kernel", pointwise_kernel)
    check_floating(name, "pointwise_kernel", pointwise_kernel)
    ones = (1,) * (depthwise_kernel.ndim - 2)
    fits = pointwise_kernel.shape[:-1] == (*ones, maps) and pointwise_kernel.shape[-1] > 0
    expected = (
        f"of shape {(*ones, maps, 'f')}, as x is {shape_text(x)} and depthwise_kernel {shape_text(depthwise_kernel)}"
    )
    check(fits, name, "pointwise_kernel", expected, shape_text(pointwise_kernel))
    maps = _convolve_depthwise(
        name, x, depthwise_kernel, strides, padding, dilation, implementation, "depthwise_kernel"
    )
    return mix_channels(maps, pointwise_kernel.reshape(pointwise_kernel.shape[-2:]))


def mix_channels(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Multiplies the channels (*b, c) by a kernel (c, f): a pointwise convolution, accumulated in float32 or wider."""
    x, kernel = _promote(x, kernel)
    wide = working_dtype(x)
    return lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())), preferred_element_type=wide).astype(x.dtype)


def _convolve_depthwise(
    name: str,
    x: jax.Array,
    kernel: jax.Array,
    strides: PerAxis,
    padding: Padding,
    dilation: PerAxis,
    implementation: Implementation,
    argument: str = "kernel",
) -> jax.Array:
    """Convolves arrays that ``_prepare_arrays`` has returned."""
    check_choice(name, "implementation", implementation, IMPLEMENTATIONS)
    if implementation == "native":
        _native.import_kernels("depthwise_conv")
    both = f"x {shape_text(x)} and {argument} {shape_text(kernel)}"
    check(kernel.shape[-2] == x.shape[-1], name, argument, "of as many channels (second last axis) as x has", both)
    x, conv_shape = resolve_conv_shape(
        name, x, kernel, strides=strides, padding=padding, dilation=dilation, argument=argument
    )
    return depthwise.forward(x, kernel, conv=conv_shape, implementation=implementation)


def _repeat_for_channels(kernel: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.broadcast_to(kernel, (*kernel.shape[:-2], x.shape[-1], kernel.shape[-1]))


def _prepare_arrays(
    name: str, x: AnyArray, kernel: AnyArray, argument: str = "kernel", channels: str = "c, m"
) -> tuple[jax.Array, jax.Array]:
    """Converts both to JAX arrays of one dtype; raises an error for a wrong rank or dtype."""
    x, kernel = as_array(name, "x", x), as_array(name, argument, kernel)
    both = f"{shape_text(kernel)}, with x {shape_text(x)}"
    check(kernel.ndim - 2 in AXES, name, argument, f"of shape (*spatial, {channels}) with 1 to 3 spatial axes", both)
    check_floating(name, "x", x)
    check_floating(name, argument, kernel)
    check_min_rank(name, "x", x, f"{AXES[kernel.ndim - 2]} c")
    check(x.shape[-1] > 0, name, "x", "of at least one channel", shape_text(x))
    return _promote(x, kernel)


def _promote(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    with jax.numpy_dtype_promotion("standard"):
        dtype = jnp.promote_types(x.dtype, kernel.dtype)
    return x.astype(dtype), kernel.astype(dtype)
