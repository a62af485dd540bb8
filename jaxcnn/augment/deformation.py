"""Random smooth deformations of an example: thin-plate splines and elastic fields."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import Number, PRNGKey
from jaxcnn.augment._argument_checks import NumberOption, check_number, is_known_number
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._decorator import augmentation
from jaxcnn.augment._pixel_maps import FillValue, PixelMap, SamplingRequest, displacement_map
from jaxcnn.ops._sampling.transforms import regular_points, tps_coefficients, tps_points
from jaxcnn.ops.sampling import Mode, PaddingMode, check_options, sample_pixels

__all__ = ["random_elastic", "random_tps"]


@augmentation(geometric=True)
def random_tps(
    key: PRNGKey,
    image: Chain,
    *,
    strength: NumberOption = 0.05,
    points: int = 4,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: FillValue = 0.0,
    mask_fill_value: FillValue = 0,
) -> Chain:
    """Deforms an example by a thin-plate spline through randomly displaced points of a regular grid.

    Args:
        key: Key of the draw.
        image: The example.
        strength: Standard deviation of the displacements, as a fraction of width and height.
        points: Points of the grid along each axis, at least 2.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What is outside of the image: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: the value outside, in [0, 1].
        mask_fill_value: The value of a mask there, and where the image is 0 (``"zeros"``); 255 is usual.

    Returns:
        The example, with the same shape and dtype; exactly the input if ``strength`` is 0.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_tps(jax.random.key(0), jnp.ones((8, 8, 3)), strength=0.0).min().item()
        1.0

    Parity:
        ``ops.warp_tps`` with ``align_corners=True``; the distortion E of Jaderberg et al. 2015, arXiv:1506.02025.
    """
    sampling = SamplingRequest(mode, padding_mode, fill_value, mask_fill_value)
    check(is_integer_at_least(points, 2), "random_tps", "points", "an integer of at least 2", repr(points))
    strength = check_number("random_tps", "strength", strength, "at least 0", lambda v: v >= 0)
    control = regular_points(points, points)
    displacements = 2 * strength * jax.random.normal(key, control.shape, jnp.float32)
    coefficients = tps_coefficients(control, 0.0, name="random_tps", dtype=jnp.float32)
    h, w = image.shape
    half = (w - 1) / 2, (h - 1) / 2

    def displacement(x: jax.Array, y: jax.Array, all_pixels: bool) -> tuple[jax.Array, jax.Array]:
        del all_pixels
        u, v = (p / max(r, 0.5) - float(r > 0) for p, r in zip((x, y), half, strict=True))
        dx, dy = tps_points(displacements, control, coefficients, u, v)
        return half[0] * dx, half[1] * dy

    return image.sample(PixelMap(image.shape, image.shape, (displacement_map(displacement, image.shape),), sampling))


@augmentation(geometric=True)
def random_elastic(
    key: PRNGKey,
    image: Chain,
    *,
    alpha: NumberOption = 34.0,
    sigma: Number = 4.0,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "border",
    fill_value: FillValue = 0.0,
    mask_fill_value: FillValue = 0,
) -> Chain:
    """Displaces every pixel by a smooth random field: uniform noise in [-1, 1], smoothed, times ``alpha``.

    Args:
        key: Key of the draw.
        image: The example.
        alpha: Factor of the smoothed field, in pixels; the field itself is small, about 0.3 / ``sigma``.
        sigma: Standard deviation of the Gaussian that smooths it, in pixels.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What is outside of the image: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: the value outside, in [0, 1].
        mask_fill_value: The value of a mask there, and where the image is 0 (``"zeros"``); 255 is usual.

    Returns:
        The example, with the same shape and dtype; exactly the input if ``alpha`` is 0.

    Raises:
        ValueError: If ``image`` is not an example, or an option is invalid.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn import augment
        >>> augment.random_elastic(jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)

    Parity:
        ``ops.warp_flow`` of a field smoothed by ``ops.gaussian_blur``. torchvision's ``ElasticTransform`` moves by
        half as much for the same ``alpha``: it divides by the size and adds to coordinates in [-1, 1].

    References:
        Simard et al. 2003, "Best practices for convolutional neural networks applied to visual document analysis".
    """
    sampling = SamplingRequest(mode, padding_mode, fill_value, mask_fill_value)
    alpha = check_number("random_elastic", "alpha", alpha, "at least 0", lambda v: v >= 0)
    known = is_known_number(sigma) and 0 < sigma < np.inf
    check(
        known, "random_elastic", "sigma", "above 0 and not traced, as the size of a kernel depends on it", repr(sigma)
    )
    noise = jax.random.uniform(key, (*image.shape, 2), jnp.float32, -1.0, 1.0)
    # As wide as the image allows: the blur reflects at the border and cannot reflect more than the image.
    reach = min(int(np.ceil(3 * sigma)), *(n - 1 for n in image.shape))
    field = alpha * ops.gaussian_blur(noise, float(sigma), kernel_size=2 * reach + 1) if reach > 0 else 0 * noise
    options = check_options("random_elastic", field, "bilinear", "border", 0.0, False, False)

    def displacement(x: jax.Array, y: jax.Array, all_pixels: bool) -> tuple[jax.Array, jax.Array]:
        here = field if all_pixels else sample_pixels(field, (x, y), options, 1)
        return here[..., 0], here[..., 1]

    return image.sample(PixelMap(image.shape, image.shape, (displacement_map(displacement, image.shape),), sampling))
