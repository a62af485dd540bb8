"""Layers of Keras that move values without changing them, and those that are random in training mode."""

import functools

from jaxcnn._typing import Number
from jaxcnn.zoo.graphs.keras.layer_call import Handler, LayerCall, LayerValue
from jaxcnn.zoo.graphs.keras.options import LARGEST, is_integer

__all__ = ["LAYERS"]


def _flatten(call: LayerCall) -> LayerValue:
    """Adds Flatten: in the order of the source; Keras moves channels last that its option states as first."""
    x = call.input()
    if call.options.get("data_format") is not None and call.data_format() == "channels_first":
        x = call.move(x, True)
    else:
        x = call.source(x)
    return call.add("flatten", x, rank=1, moved=False, begin=x.lead)


def _reshape(call: LayerCall) -> LayerValue:
    x = call.source(call.input())
    shape = call.options.get("target_shape", call.options.get("dims"))
    good = isinstance(shape, list | tuple) and all(is_integer(n) and -1 <= n <= LARGEST for n in shape)
    if not good or list(shape).count(-1) > 1:
        raise call.options.wrong("target_shape", "sizes, of which at most one is -1")
    return call.reshape(x, tuple(shape))


def _permute(call: LayerCall) -> LayerValue:
    x = call.source(call.input())
    dims = call.options.integers("dims", x.rank)
    if sorted(dims) != list(range(1, x.rank + 1)):
        raise call.options.wrong("dims", f"an order of the axes 1 to {x.rank}")
    return call.permute(x, [dim - 1 for dim in dims])


def _repeat_vector(call: LayerCall) -> LayerValue:
    x = call.add("expand_dims", call.input(rank=1), rank=2, axis=-2)
    return call.add("repeat", x, axis=-2, count=call.options.integer("n"))


def _identity(call: LayerCall) -> LayerValue:
    return call.add("identity", call.input())


def _rate(call: LayerCall, key: str = "rate", highest: Number = 1.0) -> float:
    rate = call.options.number(key, 0.5)
    if not 0 <= rate <= highest:
        raise call.options.wrong(key, f"a number in [0, {highest:g}]")
    return rate


def _dropout(call: LayerCall) -> LayerValue:
    """Adds dropout; a noise shape says along which axes a mask is shared."""
    x = call.input()
    shape = call.options.get("noise_shape")
    if shape is None:
        return call.add("dropout", x, rate=_rate(call))
    good = isinstance(shape, list | tuple) and len(shape) == x.rank + 1
    if not good or not all(n is None or (is_integer(n) and n >= 1) for n in shape):
        raise call.options.wrong("noise_shape", f"{x.rank + 1} sizes")
    sizes = [1 if n == 1 else None for n in shape[1:]]
    sizes = [*sizes[1:], sizes[0]] if x.moved else sizes
    return call.add("dropout", x, rate=_rate(call), shape=(*(None,) * x.lead, *sizes))


def _drop_channels(call: LayerCall) -> LayerValue:
    x = call.input()
    rank = int(call.layer.kind[-2])
    return call.add("spatial_dropout", call.images(x, rank), rate=_rate(call))


def _drop_paths(call: LayerCall) -> LayerValue:
    """Adds ConvNeXt's stochastic depth: whole examples are dropped."""
    x = call.input()
    return call.add("dropout", x, rate=_rate(call, "drop_path_rate"), shape=(1,) * (x.rank + x.lead))


def _random(call: LayerCall, *, op: str) -> LayerValue:
    return call.add(op, call.input(), rate=_rate(call, highest=0.999999))


def _add_noise(call: LayerCall) -> LayerValue:
    return call.add("gaussian_noise", call.input(), sigma=_rate(call, "stddev", LARGEST))


def _augment(call: LayerCall) -> LayerValue:
    """Adds nothing: augmentation is for training, where inputs are augmented by ``jaxcnn.augment``."""
    call.parts.builder.note(f"The augmentation layer {call.label!r} ({call.layer.kind}) was left out.")
    return call.add("identity", call.inputs[0])


_AUGMENTATIONS = [f"Random{name}" for name in (
    "Flip", "Rotation", "Zoom", "Translation", "Contrast", "Brightness", "Shear", "Height", "Width", "Hue",
    "Saturation", "Sharpness", "Grayscale", "ColorDegeneration", "ColorJitter", "Posterization", "Erasing",
    "ElasticTransform", "GaussianBlur", "Invert", "Perspective", "Shear",
)]  # fmt: skip

LAYERS: dict[str, Handler] = {
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Permute": _permute,
    "RepeatVector": _repeat_vector,
    "Identity": _identity,
    "ActivityRegularization": _identity,
    "Dropout": _dropout,
    "FixedDropout": _dropout,
    "StochasticDepth": _drop_paths,
    **{f"SpatialDropout{rank}D": _drop_channels for rank in "123"},
    "GaussianDropout": functools.partial(_random, op="gaussian_dropout"),
    "AlphaDropout": functools.partial(_random, op="alpha_dropout"),
    "GaussianNoise": _add_noise,
    **dict.fromkeys([*_AUGMENTATIONS, "AugMix", "RandAugment", "MixUp", "CutMix"], _augment),
}
"""Layers that change shapes, and random ones."""
