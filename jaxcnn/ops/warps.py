"""Image and transform in one call, composed in pixel units: the identity gives the image back exactly.

Normalised float32 coordinates cannot hit the pixel centres exactly (off by about 3e-5 of the range
at 224 pixels). A warp therefore starts from exact pixel positions and adds the transform's
displacement, which is exactly zero for the identity.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxcnn._check import array, at_least_rank, check, floating, positive_shape, shape_text
from jaxcnn._typing import AnyArray, Array, Float
from jaxcnn.ops._batching import over_batch, working_dtype
from jaxcnn.ops._transforms import affine_points, projective_points, tps_coefficients, tps_points
from jaxcnn.ops.grids import check_matrix, check_points, mesh
from jaxcnn.ops.sampling import Mode, PaddingMode, check_image, check_options, sample_pixels

__all__ = ["warp_affine", "warp_flow", "warp_perspective", "warp_tps"]


def warp_affine(
    image: Float[AnyArray, "*#batch h_in w_in c"],
    theta: Float[AnyArray, "*#batch 2 3"],
    *,
    shape: tuple[int, int] | None = None,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: float | Float[AnyArray, "*c"] = 0.0,
    align_corners: bool = False,
) -> Float[Array, "*#batch h w c"]:
    """Warps an image by an affine transform.

    Convention:
        As ``affine_grid`` and ``grid_sample``: ``theta`` maps output points to input points, (x, y) in
        [-1, 1]. Leading axes broadcast: one matrix may serve a whole batch.

    Args:
        image: The image.
        theta: The matrix.
        shape: Height and width of the output; None keeps the image's.
        mode: ``"bilinear"`` or ``"nearest"``.
        padding_mode: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside.
        align_corners: What -1 and 1 stand for.

    Returns:
        The warped image in its dtype.

    Raises:
        ValueError: As ``affine_grid`` and ``grid_sample``.

    Example:
        >>> image = jnp.arange(3.0).reshape(1, 3, 1)
        >>> mirror = jnp.array([[-1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
        >>> ops.warp_affine(image, mirror)[0, :, 0].tolist()
        [2.0, 1.0, 0.0]

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 3.2.
    """
    theta = check_matrix("warp_affine", "theta", theta, 2, 3)

    def displace(theta: Any, x: Any, y: Any) -> Any:
        return affine_points(theta, x, y, relative=True)

    options = (mode, padding_mode, fill_value, align_corners)
    return _warp("warp_affine", image, theta, "theta", displace, shape, *options)


def warp_perspective(
    image: Float[AnyArray, "*#batch h_in w_in c"],
    matrix: Float[AnyArray, "*#batch 3 3"],
    *,
    shape: tuple[int, int] | None = None,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: float | Float[AnyArray, "*c"] = 0.0,
    align_corners: bool = False,
) -> Float[Array, "*#batch h w c"]:
    """Warps an image by a projective transform (homography).

    Convention:
        As ``projective_grid`` and ``grid_sample``: ``matrix`` maps output points to input points, (x, y)
        in [-1, 1]; points with w <= 0 lie outside. Leading axes broadcast.

    Args:
        image: The image.
        matrix: The matrix; a positive factor changes nothing.
        shape: Height and width of the output; None keeps the image's.
        mode: ``"bilinear"`` or ``"nearest"``.
        padding_mode: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside.
        align_corners: What -1 and 1 stand for.

    Returns:
        The warped image in its dtype.

    Raises:
        ValueError: As ``projective_grid`` and ``grid_sample``.

    Example:
        >>> image = jnp.arange(3.0).reshape(1, 3, 1)
        >>> ops.warp_perspective(image, jnp.diag(jnp.array([-1.0, 1.0, 1.0])))[0, :, 0].tolist()
        [2.0, 1.0, 0.0]

    References:
        Jaderberg et al. 2015, arXiv:1506.02025, section 3.2.
    """
    matrix = check_matrix("warp_perspective", "matrix", matrix, 3, 3)

    def displace(matrix: Any, x: Any, y: Any) -> Any:
        return projective_points(matrix, x, y, relative=True)

    options = (mode, padding_mode, fill_value, align_corners)
    return _warp("warp_perspective", image, matrix, "matrix", displace, shape, *options)


def warp_tps(
    image: Float[AnyArray, "*#batch h_in w_in c"],
    points: Float[AnyArray, "*#batch k xy=2"],
    *,
    shape: tuple[int, int] | None = None,
    control_points: Float[AnyArray, "k xy=2"] | None = None,
    regularization: float | Float[AnyArray, ""] = 0.0,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: float | Float[AnyArray, "*c"] = 0.0,
    align_corners: bool = False,
) -> Float[Array, "*#batch h w c"]:
    """Warps an image by a thin-plate spline.

    Convention:
        As ``tps_grid`` and ``grid_sample``: the spline sends control points of the output to ``points``
        of the input, (x, y) in [-1, 1]. Leading axes broadcast.

    Args:
        image: The image.
        points: Where in the input the control points lie.
        shape: Height and width of the output; None keeps the image's.
        control_points: Where they lie in the output; None stands for a regular square grid.
        regularization: 0 interpolates the points; more bends less.
        mode: ``"bilinear"`` or ``"nearest"``.
        padding_mode: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside.
        align_corners: What -1 and 1 stand for.

    Returns:
        The warped image in its dtype.

    Raises:
        ValueError: As ``tps_grid`` and ``grid_sample``.

    Example:
        >>> image = jnp.arange(4.0).reshape(2, 2, 1)
        >>> corners = jnp.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0]])
        >>> bool(jnp.all(ops.warp_tps(image, corners) == image))
        True

    References:
        Bookstein 1989, "Principal warps: thin-plate splines and the decomposition of deformations".
    """
    points, control, strength = check_points("warp_tps", points, control_points, regularization)
    image = check_image("warp_tps", image)
    dtype = working_dtype(image, points)
    coefficients = tps_coefficients(control, strength, name="warp_tps", dtype=dtype)

    def displace(points: Any, x: Any, y: Any) -> Any:
        return tps_points(points - jnp.asarray(control, dtype), control, coefficients, x, y)

    options = (mode, padding_mode, fill_value, align_corners)
    return _warp("warp_tps", image, points, "points", displace, shape, *options)


def warp_flow(
    image: Float[AnyArray, "*#batch h w c"],
    flow: Float[AnyArray, "*#batch h w xy=2"],
    *,
    mode: Mode = "bilinear",
    padding_mode: PaddingMode = "zeros",
    fill_value: float | Float[AnyArray, "*c"] = 0.0,
    align_corners: bool = False,
) -> Float[Array, "*#batch h w c"]:
    """Warps an image by a displacement field.

    Convention:
        ``flow`` is in pixels, (x, y): output pixel (i, j) is read at row i + y, column j + x. Leading
        axes broadcast.

    Args:
        image: The image.
        flow: The displacement of every pixel.
        mode: ``"bilinear"`` or ``"nearest"``.
        padding_mode: ``"zeros"``, ``"border"``, ``"reflection"`` or ``"fill"``.
        fill_value: With ``"fill"``: what lies outside.
        align_corners: Matters for ``"reflection"`` only: mirrored at the border pixels' centres or edges.

    Returns:
        The warped image in its dtype.

    Raises:
        ValueError: If a form, dtype or option is wrong, or if the two differ in height or width.

    Example:
        >>> image = jnp.arange(3.0).reshape(1, 3, 1)
        >>> one_right = jnp.broadcast_to(jnp.array([1.0, 0.0]), (1, 3, 2))
        >>> ops.warp_flow(image, one_right, padding_mode="border")[0, :, 0].tolist()
        [1.0, 2.0, 2.0]
    """
    image, flow = check_image("warp_flow", image), array("warp_flow", "flow", flow)
    floating("warp_flow", "flow", flow)
    at_least_rank("warp_flow", "flow", flow, "h w 2")
    expected = (*image.shape[-3:-1], 2)
    check(flow.shape[-3:] == expected, "warp_flow", "flow", f"of shape (..., {expected})", shape_text(flow))
    fill = check_options("warp_flow", image, mode, padding_mode, fill_value)
    dtype = working_dtype(image, flow)
    h, w = expected[:2]
    row, column = (jnp.asarray(v, dtype) for v in np.mgrid[:h, :w])

    def one(image: Any, flow: Any) -> Any:
        x, y = column + flow[..., 0].astype(dtype), row + flow[..., 1].astype(dtype)
        return sample_pixels(image, x, y, mode, padding_mode, fill, align_corners)

    return over_batch(one, (image, flow), (3, 3), name="warp_flow", arguments="image and flow")


def _warp(
    name: str,
    image: Any,
    transform: Any,
    argument: str,
    displace: Any,
    shape: Any,
    mode: Any,
    padding_mode: Any,
    fill_value: Any,
    align_corners: bool,
) -> Any:
    image = check_image(name, image)
    fill = check_options(name, image, mode, padding_mode, fill_value)
    dtype = working_dtype(image, transform)
    h, w = image.shape[-3:-1]
    size = positive_shape(name, "shape", (h, w) if shape is None else shape, "h w")
    x, y = mesh(name, size, align_corners, dtype)
    column = jnp.asarray(_matching_pixels(size[1], w, align_corners), dtype)[None, :]
    row = jnp.asarray(_matching_pixels(size[0], h, align_corners), dtype)[:, None]
    half_w, half_h = ((n - 1) / 2 if align_corners else n / 2 for n in (w, h))

    def one(image: Any, transform: Any) -> Any:
        dx, dy = displace(transform.astype(dtype), x, y)
        return sample_pixels(image, column + half_w * dx, row + half_h * dy, mode, padding_mode, fill, align_corners)

    return over_batch(one, (image, transform), (3, 2), name=name, arguments=f"image and {argument}")


def _matching_pixels(size_out: int, size_in: int, align_corners: bool) -> np.ndarray:
    """Returns where the pixels of an output axis lie on the input axis, exact integers if they are as many."""
    if size_out == size_in:
        return np.arange(size_out, dtype=np.float64)
    if align_corners:
        return np.linspace(0, size_in - 1, size_out) if size_out > 1 else np.full(1, (size_in - 1) / 2)
    return (np.arange(size_out) + 0.5) * size_in / size_out - 0.5
