"""Random smooth deformations of an example: thin-plate splines and elastic fields."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import ops
from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import PRNGKey
from jaxcnn.augment._chain import Example, augmentation, chain_of
from jaxcnn.augment._geometry import Geometry, Reading, displaced
from jaxcnn.ops._sampling.transforms import regular_points, tps_coefficients, tps_points
from jaxcnn.ops.sampling import Mode, PaddingMode, check_options, sample_pixels

__all__ = ["random_elastic", "random_tps"]


@augmentation(geometric=True)
def random_tps(
    key: PRNGKey,
    image: Example,
    *,
    strength: float = 0.05,
    points: int = 4,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: Any = 0.0,
) -> Example:
    """Bends an example by a thin-plate spline through randomly moved points of a regular grid.

    Args:
        key: The draw.
        image: The example.
        strength: Standard deviation of the points' ways, as a share of width and height.
        points: Points of the grid along each axis, at least 2.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside, in [0, 1].

    Returns:
        The example, of the same shape and dtype; exactly the input where ``strength`` is 0.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.random_tps(jax.random.key(0), jnp.ones((8, 8, 3)), strength=0.0).min().item()
        1.0

    Parity:
        ``ops.warp_tps`` with ``align_corners=True``; the distortion E of Jaderberg et al. 2015, arXiv:1506.02025.
    """
    chain, reading = chain_of(image), Reading(mode, padding_mode, fill_value)
    check(is_integer_at_least(points, 2), "random_tps", "points", "an integer of at least 2", repr(points))
    check(strength >= 0, "random_tps", "strength", "at least 0", repr(strength))
    control = regular_points(points, points)
    moved = 2 * strength * jax.random.normal(key, control.shape, jnp.float32)
    coefficients = tps_coefficients(control, 0.0, name="random_tps", dtype=jnp.float32)
    h, w = chain.shape
    half = (w - 1) / 2, (h - 1) / 2

    def displacement(x: Any, y: Any, every: bool) -> tuple[Any, Any]:
        del every
        u, v = (p / max(r, 0.5) - (r > 0) for p, r in zip((x, y), half, strict=True))
        dx, dy = tps_points(moved, control, coefficients, u, v)
        return half[0] * dx, half[1] * dy

    return chain.read(Geometry(chain.shape, chain.shape, (displaced(displacement),), reading))  # type: ignore


@augmentation(geometric=True)
def random_elastic(
    key: PRNGKey,
    image: Example,
    *,
    alpha: float = 34.0,
    sigma: float = 4.0,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "border",
    fill_value: Any = 0.0,
) -> Example:
    """Moves every pixel by a smooth random field: uniform noise in [-1, 1], smoothed, times ``alpha``.

    Args:
        key: The draw.
        image: The example.
        alpha: Factor of the smoothed field, in pixels; the field itself is small, about 0.3 / ``sigma``.
        sigma: Standard deviation of the Gaussian that smooths it, in pixels.
        mode: ``"bilinear"``, ``"nearest"`` or ``"bicubic"``.
        padding_mode: What lies outside: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside, in [0, 1].

    Returns:
        The example, of the same shape and dtype; exactly the input where ``alpha`` is 0.

    Raises:
        ValueError: If ``image`` is no example, or an option is wrong.

    Example:
        >>> augment.random_elastic(jax.random.key(0), jnp.ones((8, 8, 3))).shape
        (8, 8, 3)

    Parity:
        ``ops.warp_flow`` of a field smoothed by ``ops.gaussian_blur``. torchvision's ``ElasticTransform`` moves by
        half of what its ``alpha`` says here: it divides by the size and adds to [-1, 1].

    References:
        Simard et al. 2003, "Best practices for convolutional neural networks applied to visual document analysis".
    """
    chain, reading = chain_of(image), Reading(mode, padding_mode, fill_value)
    check(alpha >= 0, "random_elastic", "alpha", "at least 0", repr(alpha))
    check(sigma > 0, "random_elastic", "sigma", "above 0", repr(sigma))
    noise = jax.random.uniform(key, (*chain.shape, 2), jnp.float32, -1.0, 1.0)
    # As wide as the image allows: the blur mirrors at the border and cannot mirror more than there is.
    reach = min(int(np.ceil(3 * sigma)), *(n - 1 for n in chain.shape))
    field = alpha * ops.gaussian_blur(noise, sigma, kernel_size=2 * reach + 1) if reach > 0 else 0 * noise
    how = check_options("random_elastic", field, "bilinear", "border", 0.0, False, False)

    def displacement(x: Any, y: Any, every: bool) -> tuple[Any, Any]:
        here = field if every else sample_pixels(field, (x, y), how, 1)
        return here[..., 0], here[..., 1]

    return chain.read(Geometry(chain.shape, chain.shape, (displaced(displacement),), reading))  # type: ignore
