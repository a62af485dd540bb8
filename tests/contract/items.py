"""The list that all contract tests run over: small inputs for every public op, loss, layer and model, and one graph.

An item that is public but not listed here fails ``items_test.py``. Every item is a pure
function of arrays; of a layer or model the first argument is its parameters, moved away from their
initial values.
"""

import collections
import contextlib
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import layers, losses, models, ops
from jaxcnn.graphs import GraphNetwork
from tests.support.small_graph import GRAPH


class Item(NamedTuple):
    """One public function at small inputs."""

    name: str
    function: Callable[..., Any]
    arrays: tuple[Any, ...]
    batched: tuple[bool, ...]  # which arguments have a leading batch axis
    differentiable: tuple[int, ...]
    bfloat16: Callable[..., Any] | None = None  # the same with computation in bfloat16; None: cast the arrays

    def strict(self) -> Any:
        """Returns the context it must work in: ops name their dtypes, Flax's own layers promote."""
        strict = self.name.startswith(("ops.", "losses."))
        return jax.numpy_dtype_promotion("strict") if strict else contextlib.nullcontext()

    @property
    def axes(self) -> tuple[int | None, ...]:
        """The axes to map over: the first one of batched arguments."""
        return tuple(0 if batched else None for batched in self.batched)

    def loop_arrays(self) -> tuple[Any, ...]:
        """Returns the arguments with a further leading axis of two on the batched ones."""
        return tuple(np.stack([a, a[::-1]]) if b else a for a, b in zip(self.arrays, self.batched, strict=True))

    def member(self, arrays: tuple[Any, ...], number: int) -> list[Any]:
        """Returns the arguments of one step of the loop over such arrays."""
        return [a[number] if b else a for a, b in zip(arrays, self.batched, strict=True)]


def uniform(*shape: int, low: float = 0.0, high: float = 1.0) -> np.ndarray:
    """Draws an array; the shape is the seed."""
    return np.random.default_rng(shape).uniform(low, high, shape).astype(np.float32)


def near(values: Any, spread: float = 0.1) -> np.ndarray:
    """Returns a batch of two arrays near given values."""
    values = np.asarray(values, np.float32)
    return values + uniform(2, *values.shape, low=-spread, high=spread)


IMAGE = uniform(2, 6, 5, 3)
GRID = uniform(2, 4, 7, 2, low=-1.3, high=1.3)
FLOW = uniform(2, 6, 5, 2, low=-2, high=2)
THETA = near([[0.8, 0.2, 0.1], [-0.1, 0.9, 0.05]])
MATRIX = near([[0.8, 0.2, 0.1], [-0.1, 0.9, 0.05], [0.1, 0.1, 1.0]], 0.03)
POINTS = near([[-1, -1], [1, -1], [-1, 1], [1, 1]])
VOLUME = uniform(2, 3, 5, 4, 2)
NOISE = uniform(2, 6, 5, 3, low=-2, high=2.5)
THETA_3D = near([[0.8, 0.2, 0.1, 0.05], [-0.1, 0.9, 0.1, 0.05], [0.1, -0.1, 0.9, 0.1]])

FACTOR = np.array([0.6, 1.7], np.float32)
PALE = uniform(2, 6, 5, 3, low=0.25, high=0.5)  # nothing of it is clipped
LEVELS = (np.floor(uniform(2, 24, 20, 3) * 200) + np.float32(0.5)) / np.float32(256)  # not where a step is

CORNERS = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1], [0.2, 0.1]], np.float32)
FRAME = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
PAIRS = (near(CORNERS, 0.2), near(CORNERS * 0.7, 0.1))

OPS: dict[str, list[tuple[tuple[Any, ...], dict[str, Any]]]] = {
    "ops.adaptive_avg_pool": [((IMAGE,), {"shape": (4, 7)})],
    "ops.add_gaussian_noise": [
        ((IMAGE, NOISE, np.array([0.1, 0.3], np.float32)), {}),
        ((IMAGE, NOISE[..., :1]), {"sigma": 0.2}),
    ],
    "ops.add_salt_and_pepper": [((IMAGE, uniform(2, 6, 5, 1), np.array([0.5, 0.9], np.float32)), {"salt": 0.4})],
    "ops.add_shot_noise": [
        ((IMAGE, uniform(2, 6, 5, 3, low=0.01), np.array([5.3, 60.7], np.float32)), {}),
    ],
    "ops.add_speckle_noise": [((IMAGE, NOISE, np.array([0.1, 0.3], np.float32)), {})],
    "ops.adjust_brightness": [((IMAGE, FACTOR), {}), ((IMAGE, FACTOR), {"clip": False})],
    "ops.adjust_contrast": [((IMAGE, FACTOR), {}), ((IMAGE[..., :2], FACTOR), {"clip": False})],
    "ops.adjust_gamma": [((IMAGE, FACTOR), {}), ((IMAGE, FACTOR), {"gain": 0.5})],
    "ops.adjust_hue": [((IMAGE, FACTOR - 1.2), {})],
    "ops.adjust_saturation": [((IMAGE, FACTOR), {}), ((IMAGE, FACTOR), {"clip": False})],
    "ops.adjust_sharpness": [((IMAGE, FACTOR), {})],
    "ops.affine": [
        ((IMAGE,), {"degrees": 20.0, "translate": (0.7, -0.4), "scale": 0.9, "shear": (5.0, -3.0)}),
        ((IMAGE,), {"degrees": -50.0, "mode": "bicubic", "padding_mode": "reflection"}),
    ],
    "ops.affine_grid": [((THETA,), {"shape": (4, 3)}), ((THETA_3D,), {"shape": (2, 4, 3)})],
    "ops.apply_color_matrix": [((IMAGE, near(np.eye(3, 4))), {}), ((PALE, near(np.eye(4))), {"clip": False})],
    "ops.apply_matrix": [((THETA, PAIRS[0]), {}), ((MATRIX, PAIRS[0]), {})],
    "ops.apply_tps": [((uniform(2, 8, 2), CORNERS, PAIRS[0]), {})],
    "ops.autocontrast": [((IMAGE,), {})],
    "ops.avg_pool": [((IMAGE,), {"window": (3, 2)}), ((IMAGE,), {"window": 2, "padding": "SAME", "ceil_mode": True})],
    "ops.brightness_matrix": [((FACTOR,), {})],
    "ops.class_activation_map": [((IMAGE, uniform(3, 4)), {})],
    "ops.compose_matrices": [((THETA, MATRIX), {}), ((THETA_3D, THETA_3D * 0.9), {})],
    "ops.contrast_matrix": [((FACTOR, FACTOR - 0.2), {})],
    "ops.conv": [
        ((IMAGE, uniform(3, 2, 3, 4)), {"strides": (1, 2)}),
        ((IMAGE, uniform(3, 3, 1, 6)), {"groups": 3, "padding": "CIRCULAR", "dilation": 2}),
    ],
    "ops.crop_and_resize": [((IMAGE, uniform(2, 3, 4, low=-1, high=6)), {"shape": (3, 2), "padding_mode": "border"})],
    "ops.depthwise_conv": [
        ((IMAGE, uniform(3, 2, 3, 1)), {}),
        ((IMAGE, uniform(3, 3, 3, 2)), {"strides": 2, "dilation": (2, 1), "padding": ((2, 1), (0, 3))}),
        ((IMAGE, uniform(3, 3, 3, 2)), {"strides": 2, "padding": "REFLECT", "implementation": "xla"}),
        ((IMAGE, uniform(3, 3, 2)), {"padding": "CAUSAL"}),
        ((IMAGE[:, None], uniform(1, 3, 3, 3, 1)), {"padding": "CIRCULAR"}),
    ],
    "ops.equalize": [((LEVELS,), {})],
    "ops.erase": [((IMAGE, near([1, 0, 3, 4])), {}), ((IMAGE, near([1, 2, 7, 4])), {"value": PALE[0]})],
    "ops.fit_affine": [(PAIRS, {})],
    "ops.fit_homography": [(PAIRS, {})],
    "ops.fit_tps": [((PAIRS[1], CORNERS), {})],
    "ops.flip_left_right": [((IMAGE,), {})],
    "ops.flip_up_down": [((IMAGE,), {})],
    "ops.flow_grid": [((FLOW,), {}), ((uniform(2, 3, 2, 4, 3, low=-1.1),), {})],
    "ops.gaussian_blur": [((IMAGE, FACTOR), {"kernel_size": 5}), ((IMAGE,), {"sigma": 0.6})],
    "ops.gem_pool": [((IMAGE + 0.1,), {"p": 3.0})],
    "ops.global_average_pool": [((IMAGE,), {})],
    "ops.global_max_pool": [((IMAGE,), {})],
    "ops.grid_mask": [((IMAGE,), {"period": 3.0, "ratio": 0.4, "offset": (1.0, 2.0)})],
    "ops.grid_sample": [
        ((IMAGE, GRID), {}),
        ((IMAGE, GRID), {"padding_mode": "border", "align_corners": True}),
        ((IMAGE, GRID), {"padding_mode": "reflection"}),
        ((IMAGE, GRID), {"mode": "nearest", "padding_mode": "fill", "fill_value": 0.5}),
        ((IMAGE, GRID), {"mode": "bicubic", "padding_mode": "reflection", "align_corners": True}),
        ((IMAGE, GRID), {"antialias": True}),
        ((VOLUME, uniform(2, 3, 2, 4, 3, low=-1.1)), {"padding_mode": "fill", "fill_value": 0.5}),
    ],
    "ops.hsv_to_rgb": [((IMAGE,), {})],
    "ops.invert": [((IMAGE,), {})],
    "ops.invert_matrix": [((THETA,), {}), ((MATRIX,), {})],
    "ops.linearized_grid_sample": [((IMAGE, GRID, uniform(5, 2, low=-0.3, high=0.3)), {})],
    "ops.lse_pool": [((IMAGE,), {"r": 4.0})],
    "ops.max_pool": [((IMAGE,), {"window": 2}), ((IMAGE,), {"window": 3, "strides": 2, "ceil_mode": True})],
    "ops.permute_channels": [((IMAGE,), {"permutation": (2, 0, 1)})],
    "ops.posterize": [((IMAGE,), {"bits": 3})],
    "ops.projective_grid": [((MATRIX,), {"shape": (4, 3)})],
    "ops.rgb_to_grayscale": [((IMAGE,), {})],
    "ops.rgb_to_hsv": [((IMAGE,), {})],
    "ops.saturation_matrix": [((FACTOR,), {})],
    "ops.perspective": [((IMAGE, near(FRAME * 4 + 0.5, 0.4), near(FRAME * 3 + 1, 0.4)), {})],
    "ops.remap": [((IMAGE, GRID * 3 + 2), {}), ((IMAGE, GRID * 3 + 2), {"mode": "bicubic", "padding_mode": "border"})],
    "ops.rotate_90": [((IMAGE,), {"turns": 1}), ((IMAGE,), {"turns": -2})],
    "ops.separable_conv": [((IMAGE, uniform(3, 3, 3, 2), uniform(1, 1, 6, 4)), {})],
    "ops.shared_depthwise_conv": [((IMAGE, uniform(3, 3, 1, 2)), {})],
    "ops.solarize": [((IMAGE, FACTOR - 0.2), {})],
    "ops.to_grayscale": [((IMAGE,), {})],
    "ops.tps_grid": [((POINTS,), {"shape": (4, 3)})],
    "ops.warp_affine": [((IMAGE, THETA), {"shape": (4, 3)}), ((VOLUME, THETA_3D), {})],
    "ops.warp_flow": [((IMAGE, FLOW), {}), ((VOLUME, uniform(2, 3, 5, 4, 3, low=-1.7)), {})],
    "ops.warp_perspective": [((IMAGE, MATRIX), {})],
    "ops.warp_tps": [((IMAGE, POINTS), {})],
    "ops.weighted_average_pool": [((IMAGE, uniform(2, 6, 5, 1)), {}), ((IMAGE, uniform(2, 6, 5, 3) + 0.1), {})],
    "losses.cross_entropy": [((uniform(2, 4), np.eye(4, dtype=np.float32)[:2]), {"label_smoothing": 0.1})],
    "losses.jensen_shannon": [((uniform(2, 3, 4),), {})],
}

SHARED_ARGUMENTS = {
    ("ops.apply_tps", 1),
    ("ops.fit_tps", 1),
    ("ops.linearized_grid_sample", 2),
    ("ops.class_activation_map", 1),
    ("ops.conv", 1),
    ("ops.depthwise_conv", 1),
    ("ops.separable_conv", 1),
    ("ops.separable_conv", 2),
    ("ops.shared_depthwise_conv", 1),
}
"""Arguments that all examples share; the others have a batch axis."""

TRUE_GRADIENTS = {"ops.erase": (0,), "ops.linearized_grid_sample": (0,), "ops.solarize": (0,)}
"""Arguments whose gradient is that of the value, for items where this does not hold for all arguments."""


class Localizer(nn.Module):
    """A localizer small enough to compile in no time."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.tanh(nn.Dense(4, name="dense")(x.reshape(*x.shape[:-3], np.prod(x.shape[-3:]))))


def transformer(transform: str, **options: Any) -> nn.Module:
    """Builds a spatial transformer with the small localizer."""
    return layers.SpatialTransformer(Localizer(), transform, output_shape=(4, 5), **options)  # pyright: ignore[reportArgumentType] options differ between transforms


class VolumeLocalizer(nn.Module):
    """The same for volumes."""

    @nn.compact
    def __call__(self, x: Any) -> Any:
        return nn.tanh(nn.Dense(4, name="dense")(x.reshape(*x.shape[:-4], np.prod(x.shape[-4:]))))


LAYERS: dict[str, list[tuple[Callable[..., nn.Module], bool]]] = {
    # name: (builder, whether to call it with train=True)
    "layers.Conv": [
        (functools.partial(layers.Conv, 4, (3, 2)), False),
        (functools.partial(layers.Conv, 4, (1, 1), strides=2), False),
    ],
    "layers.DepthwiseConv": [(functools.partial(layers.DepthwiseConv, (3, 2), depth_multiplier=2), False)],
    "layers.DropBlock": [(functools.partial(layers.DropBlock, 0.3, 2), True)],
    "layers.DropPath": [(functools.partial(layers.DropPath, 0.5), True)],
    "layers.GlobalWeightedAveragePool": [
        (layers.GlobalWeightedAveragePool, False),
        (functools.partial(layers.GlobalWeightedAveragePool, features=4), False),
    ],
    "layers.InverseCompositionalTransformer": [
        (functools.partial(layers.InverseCompositionalTransformer, Localizer(), "projective", steps=2), False),
        (
            functools.partial(
                layers.InverseCompositionalTransformer, Localizer(), "similarity", steps=2, output_shape=(4, 3)
            ),
            False,
        ),
    ],
    "layers.ParallelTransformer": [
        (functools.partial(layers.ParallelTransformer, Localizer(), 2, transform="affine", output_shape=(4, 3)), False)
    ],
    "layers.SeparableConv": [
        (functools.partial(layers.SeparableConv, 4, 3), False),
        (
            functools.partial(layers.SeparableConv, 4, 3, depth_multiplier=2, shared=True, use_depthwise_bias=True),
            False,
        ),
    ],
    "layers.SpatialDropout": [(functools.partial(layers.SpatialDropout, 0.5), True)],
    "layers.SpatialTransformer": [
        *[(functools.partial(transformer, name), False) for name in ("attention", "translation", "similarity")],
        (functools.partial(transformer, "affine", padding_mode="border"), False),
        (functools.partial(transformer, "projective", align_corners=True), False),
        (functools.partial(transformer, "tps", control_points=(2, 2)), False),
    ],
    "layers.VolumeTransformer": [
        (functools.partial(layers.VolumeTransformer, VolumeLocalizer(), output_shape=(2, 3, 4)), False)
    ],
}

MODELS: dict[str, tuple[dict[str, Any], tuple[int, int, int]]] = {
    # name: options that shrink it, and the shape of one example
    "alexnet": ({"filters": (3, 3, 3, 3, 3), "hidden": (4, 3), "dropout": 0.0}, (63, 66, 1)),
    "cifar_resnet20": ({"blocks": 1, "stem": 3}, (9, 8, 3)),
    "cnn": ({"features": (3, 4), "kernel_sizes": (3, 3)}, (12, 13, 1)),
    "convnext_tiny": ({"blocks": (1, 1), "filters": (4, 6), "layer_scale": 0.5, "drop_path": 0.0}, (9, 8, 3)),
    "densenet121": ({"layers": (2, 1), "growth": 2, "stem": 3, "expansion": 2}, (17, 14, 3)),
    "efficientnet_b0": (
        {"stem": 8, "last": 8, "blocks": (("plain", 2, 3, 1, 8, 1),), "dropout": 0.0, "drop_path": 0.0},
        (9, 8, 3),
    ),
    "fcn": ({"units": (6, 5)}, (6, 5, 1)),
    "gwap_cnn": ({"features": (3, 4)}, (8, 9, 1)),
    "inception_v3": ({"alpha": 0.02, "min_filters": 2, "blocks": (1, 1, 2), "dropout": 0.0}, (75, 76, 1)),
    "googlenet": (
        {"stem": (3, 2, 4), "modules": ([(2, 2, 3, 2, 2, 2)], [(2, 2, 2, 2, 3, 2)], []), "dropout": 0.0},
        (17, 14, 3),
    ),
    "tensorflow/inception_v2": ({"alpha": 0.02, "min_filters": 2, "dropout": 0.0}, (17, 14, 3)),
    "inception_resnet_v2": ({"alpha": 0.02, "min_filters": 2, "blocks": (1, 1, 2), "dropout": 0.0}, (75, 76, 1)),
    "lenet": ({}, (12, 13, 1)),
    "mini_xception": ({"stem": (3, 4), "features": (5,)}, (10, 9, 1)),
    "mnasnet0_5": (
        {"alpha": 1.0, "stem": (8, 8), "stages": ((3, 2, 8, 1, 2),), "last": 8, "dropout": 0.0},
        (9, 8, 3),
    ),
    "mobilenet": ({"alpha": 0.5, "stem": 6, "blocks": ((8, 1), (10, 2))}, (9, 8, 3)),
    "mobilenet_v2": ({"stem": 8, "blocks": ((2, 8, 2, 2),), "last": 8, "dropout": 0.0}, (9, 8, 3)),
    "mobilenet_v3_small": (
        {"stem": 8, "blocks": ((3, 16, 8, True, "hard_swish", 2),), "hidden": 8, "dropout": 0.0},
        (9, 8, 3),
    ),
    "regnet_y_400mf": (
        {"depth": 3, "initial_width": 8, "slope": 4.0, "group_width": 4, "stem": 3, "drop_path": 0.0},
        (17, 14, 3),
    ),
    "resnet50": ({"blocks": (1, 1), "stem": 4, "groups": 2, "width_per_group": 32, "drop_path": 0.0}, (17, 14, 3)),
    "resnet50_v2": ({"blocks": (1, 1), "stem": 4, "filters": 2}, (17, 14, 3)),
    "shufflenet_v2_x0_5": (
        {"blocks": (1, 2), "filters": (4, 6), "stem": 3, "last": 5, "dropout": 0.0},
        (17, 14, 3),
    ),
    "st_cnn": (
        {"features": (3, 4), "kernel_sizes": (3, 3), "localizer_features": (2, 3), "output_shape": (12, 13)},
        (28, 29, 1),
    ),
    "st_fcn": ({"units": (6, 5), "localizer_units": (4,), "output_shape": (6, 5)}, (6, 5, 1)),
    "squeezenet1_1": ({"stem": 3, "fires": (2, 1), "pools": (1, 2), "dropout": 0.0}, (12, 15, 3)),
    "vgg11_bn": ({"convolutions": (1, 2), "filters": (3, 4), "hidden": (5, 4), "dropout": 0.0}, (9, 8, 3)),
    "xception": ({"stem": (3, 4), "entry": (5,), "middle_blocks": 1, "exit": (6, 7, 8)}, (15, 14, 3)),
}


IN_TRAINING = ("gwap_cnn", "mobilenet")
"""Models that are also tested in training, where they compute something else.

Left out are ``mini_xception`` and ``xception``, which are made of the same parts, and ``mobilenet_v2``: where a linear
convolution and a batch norm follow a batch norm, the gradient of the first one's bias is zero in training, and only
rounding is left to compare.
"""


def op_item(title: str, name: str, arrays: tuple[Any, ...], options: dict[str, Any]) -> Item:
    """Builds the item of an op or loss: a function of arrays with its options set."""
    namespace, _, short = name.partition(".")
    function = getattr({"ops": ops, "losses": losses}[namespace], short)
    batched = tuple((name, position) not in SHARED_ARGUMENTS for position in range(len(arrays)))
    differentiable = TRUE_GRADIENTS.get(name, tuple(range(len(arrays))))
    return Item(title, functools.partial(function, **options), arrays, batched, differentiable)


def module_item(name: str, build: Callable[..., nn.Module], x: np.ndarray, train: bool) -> Item:
    """Builds the item of a module: a function of its parameters and input."""
    rngs = {"dropout": jax.random.key(3)} if train else {}
    variables = jax.tree.map(np.asarray, jax.jit(build().init)(jax.random.key(0), x))
    params, rest = moved(variables.pop("params", {})), variables

    def output(params: Any, x: Any, **options: Any) -> Any:
        module = build(**options)
        return module.apply({"params": params, **rest}, x, train=train, rngs=rngs, mutable=["batch_stats"])[0]

    differentiable = (0, 1) if jax.tree.leaves(params) else (1,)
    narrow = functools.partial(output, dtype=jnp.bfloat16) if jax.tree.leaves(params) else None
    return Item(name, output, (params, x), (False, True), differentiable, narrow)


def moved(params: Mapping[str, Any]) -> Any:
    """Moves parameters away from their initial values, where zeros hide whole branches."""
    leaves, tree = jax.tree.flatten(params)
    random = np.random.default_rng(1)
    return tree.unflatten([np.asarray(leaf) + 0.1 * random.standard_normal(leaf.shape, np.float32) for leaf in leaves])


def builders() -> dict[str, Callable[[], Item]]:
    """Lists every item by name, none of them built yet."""
    found: dict[str, Callable[[], Item]] = {}
    for name, uses in OPS.items():
        for number, (arrays, options) in enumerate(uses):
            title = f"{name}[{number}]" if len(uses) > 1 else name
            found[title] = functools.partial(op_item, title, name, arrays, options)
    for name, builds in LAYERS.items():
        for number, (build, train) in enumerate(builds):
            title = f"{name}[{number}]" if len(builds) > 1 else name
            x = VOLUME if "Volume" in name else IMAGE
            found[title] = functools.partial(module_item, title, build, x, train)
    found["graphs.GraphNetwork"] = functools.partial(
        module_item, "graphs.GraphNetwork", functools.partial(GraphNetwork, GRAPH), IMAGE, False
    )
    for name, (options, shape) in MODELS.items():
        create = functools.partial(models.create, name, num_classes=3, **options)
        for train in (False, True) if name in IN_TRAINING else (False,):
            title = f"models.{name}[train]" if train else f"models.{name}"
            found[title] = functools.partial(module_item, title, create, uniform(2, *shape), train)
    return found


@functools.cache
def get(name: str) -> Item:
    """Builds an item."""
    return builders()[name]()


NAMES = list(builders())
ALONE = [name for name in NAMES if not name.endswith("[train]")]
ALONE = [name for name in ALONE if name.partition(".")[2] not in ("DropBlock", "DropPath", "SpatialDropout")]
"""Items in which an example's result does not depend on its place or company in the batch."""


OTHER_CODE = (
    *(f"ops.grid_sample[{i}]" for i in (3, 4, 5, 6)),
    *(f"ops.depthwise_conv[{i}]" for i in (1, 2, 3, 4)),
    *("ops.conv[1]", "ops.warp_affine[1]", "layers.SpatialTransformer[4]", "layers.SpatialTransformer[5]"),
)
"""Further items whose options lead elsewhere: to another form, another rank, another family of transforms."""

COMPOSED = ("models.mini_xception", "models.mobilenet[train]", "models.st_cnn")
"""Models that hold all kinds of layers: convolutions, batch statistics, a transformer."""


def _first(name: str) -> bool:
    """Returns whether an item is the first one of its name, or computes what that one does not."""
    if name.startswith("models."):
        return name in COMPOSED
    return not name.endswith("]") or name.endswith("[0]") or name in OTHER_CODE


FIRST = [name for name in NAMES if _first(name)]
"""Items enough for what depends on how a function is put together and less on its options."""

DAILY = [name for name in FIRST if not name.startswith("models.") or name == "models.mini_xception"]
"""Items for tests that compile one program."""

OWN = (
    *("ops.conv[0]", "ops.conv[1]", "ops.depthwise_conv[0]", "ops.depthwise_conv[1]", "ops.shared_depthwise_conv"),
    *("ops.grid_sample[0]", "ops.grid_sample[4]", "ops.linearized_grid_sample"),
    *("ops.max_pool[0]", "ops.avg_pool[0]", "ops.gaussian_blur[0]", "graphs.GraphNetwork"),
)
"""Items with primitives or derivatives of the package's own, whose rules for batching and sharding are its own too."""

OTHERS = (
    *("ops.adjust_contrast[0]", "ops.equalize", "ops.fit_affine", "ops.grid_sample[5]", "ops.grid_sample[6]"),
    *("ops.invert_matrix[0]", "ops.warp_affine[0]", "ops.weighted_average_pool[0]", "losses.cross_entropy"),
    *("layers.Conv[0]", "layers.GlobalWeightedAveragePool[0]", "layers.SpatialTransformer[0]"),
)

ENGINES = (*OWN, *OTHERS)
"""One item of every engine, to which most of the contract is held daily: the others are composed of what these compute.

All items but the models are called under ``jit`` daily, and held to all of it by ``pytest -m nightly``.
"""


@functools.cache
def compiled(name: str) -> Callable[..., jax.Array]:
    """Returns an item's function under ``jit``, the same one for all tests, which counts its traces in ``TRACES``."""
    item = get(name)

    def counted(*arrays: Any) -> jax.Array:
        TRACES[name] += 1
        return item.function(*arrays)

    return jax.jit(counted)


TRACES: collections.Counter[str] = collections.Counter()
"""How often each compiled item was traced."""
