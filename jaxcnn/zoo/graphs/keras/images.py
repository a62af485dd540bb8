"""The pre-processing layers of Keras for images."""

from typing import Any

from jaxcnn.zoo.graphs.keras.layer_call import Handler, LayerCall, LayerValue, UnknownLayer

__all__ = ["LAYERS", "resize"]

_METHODS = {"bilinear": "bilinear", "nearest": "nearest", "bicubic": "cubic"}


def _rescale(call: LayerCall) -> LayerValue:
    """Adds ``x * scale + offset``; lists have a number for each channel."""
    x = call.input()
    scale, offset = call.options.numbers("scale", 1.0), call.options.numbers("offset", 0.0)
    if isinstance(scale, tuple) or isinstance(offset, tuple):
        first = call.options.get("data_format") is not None and call.data_format() == "channels_first"
        x = call.move(x, True) if first else call.source(x)
    return call.add("rescale", x, scale=scale, offset=offset)


def resize(call: LayerCall, x: LayerValue, size: tuple[int, ...], method: object) -> LayerValue:
    """Adds the resizing of images that are held channels last."""
    method = method.lower() if isinstance(method, str) else method
    if not isinstance(method, str) or method not in _METHODS:
        raise UnknownLayer(f"{call.layer.kind} with the interpolation {str(method)[:20]!r}")
    rounded: dict[str, Any] = {"steps": call.parts.cubic_steps} if method == "bicubic" else {}
    return call.add("resize", x, size=size, method=_METHODS[method], **rounded)


def _size(call: LayerCall) -> tuple[int, int]:
    return call.options.integer("height"), call.options.integer("width")


def _resize(call: LayerCall) -> LayerValue:
    x = call.images(call.input(), 2)
    if call.options.flag("antialias", False) or call.options.flag("pad_to_aspect_ratio", False):
        raise UnknownLayer("Resizing with antialias or pad_to_aspect_ratio")
    if call.options.flag("crop_to_aspect_ratio", False):
        x = call.add("crop_to_proportions", x, size=_size(call))
    return resize(call, x, _size(call), call.options.get("interpolation", "bilinear"))


def _crop_center(call: LayerCall) -> LayerValue:
    """Adds the center crop; an image that is smaller is resized instead, its sides in proportion."""
    x = call.images(call.input(), 2)
    return call.add("center_crop", x, size=_size(call), enlarge=True)


def _crop_randomly(call: LayerCall) -> LayerValue:
    """Adds what a random crop is in inference: nothing in Keras 3, before that the largest middle part, resized."""
    x = call.images(call.input(), 2)
    if call.parts.is_keras_3:
        return call.add("identity", x)
    return resize(call, call.add("crop_to_proportions", x, size=_size(call)), _size(call), "bilinear")


LAYERS: dict[str, Handler] = {
    "Rescaling": _rescale,
    "Resizing": _resize,
    "CenterCrop": _crop_center,
    "RandomCrop": _crop_randomly,
}
"""Layers that make the input of an image."""
