"""Layers in Caffe's format from before 2013, which kept all parameters in one message, in the form of later files."""

from collections.abc import Mapping
from typing import Any

from jaxcnn.zoo.containers.protobuf_schema import BOOL, BYTES, FLOAT, TEXT, UINT, Enumeration, Message, Repeated
from jaxcnn.zoo.formats.caffe.parameters import FILLER

__all__ = ["EARLIEST_LAYER", "upgrade_layers"]

EARLIEST_LAYER = Message(
    {
        1: ("name", TEXT),
        2: ("type", TEXT),
        3: ("num_output", UINT),
        4: ("biasterm", BOOL),
        5: ("weight_filler", FILLER),
        6: ("bias_filler", FILLER),
        7: ("pad", UINT),
        8: ("kernelsize", UINT),
        9: ("group", UINT),
        10: ("stride", UINT),
        11: ("pool", Enumeration("MAX", "AVE", "STOCHASTIC")),
        12: ("dropout_ratio", FLOAT),
        13: ("local_size", UINT),
        14: ("alpha", FLOAT),
        15: ("beta", FLOAT),
        16: ("source", TEXT),
        17: ("scale", FLOAT),
        18: ("meanfile", TEXT),
        19: ("batchsize", UINT),
        20: ("cropsize", UINT),
        21: ("mirror", BOOL),
        22: ("k", FLOAT),
        50: ("blobs", Repeated(BYTES)),
        51: ("blobs_lr", Repeated(FLOAT)),
        52: ("weight_decay", Repeated(FLOAT)),
        62: ("new_height", UINT),
        63: ("new_width", UINT),
        65: ("concat_dim", UINT),
    }
)
"""The layer inside a layer of such a file."""

_TYPES = {"accuracy": "Accuracy", "bnll": "BNLL", "concat": "Concat", "conv": "Convolution", "data": "Data"}
_TYPES |= {"dropout": "Dropout", "euclidean_loss": "EuclideanLoss", "flatten": "Flatten", "hdf5_data": "HDF5Data"}
_TYPES |= {"hdf5_output": "HDF5Output", "im2col": "Im2col", "images": "ImageData", "infogain_loss": "InfogainLoss"}
_TYPES |= {"innerproduct": "InnerProduct", "lrn": "LRN", "pool": "Pooling", "relu": "ReLU", "sigmoid": "Sigmoid"}
_TYPES |= {"multinomial_logistic_loss": "MultinomialLogisticLoss", "softmax": "Softmax", "split": "Split"}
_TYPES |= {"softmax_loss": "SoftmaxWithLoss", "tanh": "TanH", "window_data": "WindowData"}

_MESSAGES = {"Convolution": "convolution", "InnerProduct": "inner_product", "Pooling": "pooling", "LRN": "lrn"}
_MESSAGES |= {"Dropout": "dropout", "Concat": "concat", "Data": "data", "ImageData": "image_data"}
_MESSAGES |= {"WindowData": "window_data", "HDF5Data": "hdf5_data"}
_RENAMED = {"biasterm": "bias_term", "kernelsize": "kernel_size", "meanfile": "mean_file", "batchsize": "batch_size"}
_RENAMED |= {"cropsize": "crop_size"}
_KEPT = ("name", "type", "blobs", "blobs_lr", "weight_decay")
_REPEATED = ("pad", "kernelsize", "stride")


def upgrade_layers(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Converts layers from before 2013 to the form of later ones, which others are in.

    Layers of padding are joined with the convolutions and pools that read them, as Caffe does.

    Args:
        layers: Layers of any age.

    Returns:
        The layers.

    Example:
        >>> from jaxcnn.zoo.formats.caffe.earliest import upgrade_layers
        >>> upgrade_layers([{"layer": {"name": "a", "type": "pool", "kernelsize": 3}, "bottom": ["x"], "top": ["y"]}])
        [{'name': 'a', 'type': 'Pooling', 'bottom': ['x'], 'top': ['y'], 'pooling_param': {'kernel_size': 3}}]
    """
    result: list[dict[str, Any]] = []
    padded: dict[str, tuple[str, int]] = {}  # blob to the blob that it pads, and by how much
    for outer in layers:
        inner = outer.get("layer")
        if not isinstance(inner, Mapping):
            result.append(outer)
            continue
        bottoms, tops = outer.get("bottom", []), outer.get("top", [])
        if inner.get("type") == "padding" and len(bottoms) == len(tops) == 1:
            padded[tops[0]] = (bottoms[0], inner.get("pad", 0))
            continue
        pads = [padded[name][1] for name in bottoms if name in padded]
        bottoms = [padded[name][0] if name in padded else name for name in bottoms]
        result.append(_upgrade(inner, bottoms, tops, pads))
    return result


def _upgrade(inner: Mapping[str, Any], bottoms: list[str], tops: list[str], pads: list[int]) -> dict[str, Any]:
    stated = str(inner.get("type", ""))
    kind = _TYPES.get(stated, stated)
    fields = {"pad": pads[0], **inner} if pads and kind in ("Convolution", "Pooling") else inner
    found: dict[str, Any] = {"name": inner.get("name", ""), "type": kind, "bottom": bottoms, "top": tops}
    found |= {key: inner[key] for key in _KEPT[2:] if key in inner}
    params = {}
    for key, value in fields.items():
        if key not in _KEPT:
            repeated = kind == "Convolution" and key in _REPEATED
            params[_RENAMED.get(key, key)] = [value] if repeated else value
    if params:
        found[f"{_MESSAGES.get(kind, kind.lower())}_param"] = params
    return found
