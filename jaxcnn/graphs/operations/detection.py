"""Operations of detectors in graphs."""

import jax
import jax.numpy as jnp

from jaxcnn.graphs.operations.registry import REQUIRED, Step, operation

__all__: list[str] = []


@operation(
    "prior_box",
    inputs=2,
    min_sizes=REQUIRED,
    max_sizes=(),
    aspect_ratios=(),
    flip=True,
    clip=False,
    variances=(0.1,),
    step_size=None,
    offset=0.5,
    image_size=None,
)
def _prior_boxes(step: Step) -> jax.Array:
    """Computes the boxes that a detector's predictions refer to, from the sizes of the feature map and of the image.

    The result is (2, h * w * boxes * 4): corners (x_min, y_min, x_max, y_max) relative to the image, then variances.

    References:
        ``prior_box_layer.cpp`` of SSD (Liu et al. 2016, arXiv:1512.02325).
    """
    maps, image = step.inputs
    rows, columns = maps.shape[-3:-1]
    height, width = step["image_size"] or image.shape[-3:-1]
    step_y, step_x = step["step_size"] or (height / rows, width / columns)
    ratios = [1.0]
    for ratio in step["aspect_ratios"]:
        for one in (ratio, 1 / ratio) if step["flip"] else (ratio,):
            if all(abs(one - known) > 1e-6 for known in ratios):
                ratios.append(one)
    sizes = []
    for i, least in enumerate(step["min_sizes"]):
        sizes.append((least, least))
        if step["max_sizes"]:
            middle = (least * step["max_sizes"][i]) ** 0.5
            sizes.append((middle, middle))
        sizes += [(least * ratio**0.5, least / ratio**0.5) for ratio in ratios[1:]]
    if rows * columns * len(sizes) > 2**24:
        raise ValueError(f"{rows} x {columns} x {len(sizes)} boxes are too many.")
    half = jnp.asarray(sizes, jnp.float32).reshape(1, 1, -1, 2) / 2
    x = (jnp.arange(columns, dtype=jnp.float32) + step["offset"]) * step_x
    y = (jnp.arange(rows, dtype=jnp.float32) + step["offset"]) * step_y
    centers = jnp.stack(jnp.broadcast_arrays(x[None, :, None], y[:, None, None]), -1)  # rows, columns, 1, xy
    extent = jnp.asarray([width, height, width, height], jnp.float32).reshape(1, 1, 1, 4)
    corners = jnp.concatenate([centers - half, centers + half], -1) / extent
    corners = jnp.clip(corners, 0, 1) if step["clip"] else corners
    variances = step["variances"] if len(step["variances"]) == 4 else step["variances"] * 4
    result = jnp.stack([corners.reshape(-1), jnp.tile(jnp.asarray(variances[:4], jnp.float32), corners.size // 4)])
    return jnp.broadcast_to(result, (*maps.shape[: step.leading], *result.shape))
